"""The loop around a learner: rollouts, checkpoints, metrics, progress, resume."""

from averse.training.defaults import default_settings
from averse.training.describe import describe
from averse.training.run import Run, load
from averse.training.train import DivergenceError, configure, resume, run_training, train

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
