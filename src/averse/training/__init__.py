"""The loop around a learner: rollouts, checkpoints, metrics, progress, resume."""

from averse.training.describe import describe
from averse.training.run import Run, load
from averse.training.train import DivergenceError, configure, default_settings, resume, run_training, train

__all__ = [
    "DivergenceError",
    "Run",
    "configure",
    "default_settings",
    "describe",
    "load",
    "resume",
    "run_training",
    "train",
]
