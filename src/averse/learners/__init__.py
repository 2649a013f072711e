"""How agents learn: one contract, one file per algorithm family, presets by name."""

from averse.learners.contract import Learner, Trajectory
from averse.learners.registry import build, learner, names, preset

__all__ = ["Learner", "Trajectory", "build", "learner", "names", "preset"]
