"""Risk-averse multi-agent reinforcement learning: agents whose bad outcomes are rare, with honest statistics.

import averse

run = averse.train("risky-cartpole", "rqe-mappo", steps=1e6, seeds=10, tau=[3.0, 10.0, 100.0], out="runs/tolerance")
print(averse.evaluate(run, episodes=1000))
actions = run.policy(tau=10.0, seed=0)(observations)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from averse.errors import AverseError, DivergenceError, WritingError
from averse.version import __version__

if TYPE_CHECKING:
    from averse import environments, evaluation, games, learners, planning, report, risk, training
    from averse.environments import check_environment, make
    from averse.evaluation import Evaluation, evaluate
    from averse.learners import learner
    from averse.training import Policy, Run, TrainingConfig, configure, load, resume
    from averse.training.train import train

# Imported when first used, so that `import averse` and a simulator's worker process stay light.
_WHERE = {
    "Evaluation": "averse.evaluation",
    "Policy": "averse.training",
    "Run": "averse.training",
    "TrainingConfig": "averse.training",
    "check_environment": "averse.environments",
    "configure": "averse.training",
    "evaluate": "averse.evaluation",
    "learner": "averse.learners",
    "load": "averse.training",
    "make": "averse.environments",
    "resume": "averse.training",
    "train": "averse.training",
}
_PACKAGES = ("environments", "evaluation", "games", "learners", "planning", "report", "risk", "training")

__all__ = [
    "AverseError",
    "DivergenceError",
    "Evaluation",
    "Policy",
    "Run",
    "TrainingConfig",
    "WritingError",
    "__version__",
    "check_environment",
    "configure",
    "environments",
    "evaluate",
    "evaluation",
    "games",
    "learner",
    "learners",
    "load",
    "make",
    "planning",
    "report",
    "resume",
    "risk",
    "train",
    "training",
]


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name in _PACKAGES:
        return import_module(f"averse.{name}")
    raise AttributeError(f"module 'averse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
