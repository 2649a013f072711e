"""The loop around a learner: configuration, rollouts, checkpoints, metrics, progress, resume."""

from averse.training.config import TrainingConfig, configure
from averse.training.describe import describe
from averse.training.loop import run_training
from averse.training.policy import Policy
from averse.training.run import Run, load
from averse.training.train import resume, train

__all__ = ["Policy", "Run", "TrainingConfig", "configure", "describe", "load", "resume", "run_training", "train"]
