"""Risk-averse multi-agent reinforcement learning: agents whose bad outcomes are rare, with honest statistics.

import averse

run = averse.train("risky-cartpole", "rqe-mappo", steps=1e6, seeds=10, tau=[3.0, 10.0, 100.0], out="runs/tolerance")
print(averse.evaluate(run, episodes=1000))
actions = run.policy()(observations)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from averse.errors import AverseError
from averse.version import __version__

if TYPE_CHECKING:
    from averse.environments import make
    from averse.evaluation import Evaluation, evaluate
    from averse.learners import learner
    from averse.training import Run, load, resume
    from averse.training.train import train

# Imported when first used, so that `import averse` and a simulator's worker process stay light.
_WHERE = {
    "make": "averse.environments",
    "learner": "averse.learners",
    "train": "averse.training",
    "resume": "averse.training",
    "load": "averse.training",
    "Run": "averse.training",
    "evaluate": "averse.evaluation",
    "Evaluation": "averse.evaluation",
}

__all__ = ["AverseError", "Evaluation", "Run", "__version__", "evaluate", "learner", "load", "make", "resume", "train"]


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'averse' has no attribute {name!r}")
