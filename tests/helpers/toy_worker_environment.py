"""A worker environment that does as it is told, for testing the machinery around it. Imports no JAX and no pytest."""

import os
import signal
import sys
import time

import numpy as np

from averse.environments.workers.process import Layout, WorkerStep
from averse.errors import AverseError

AGENTS = 2
KILL, RAISE, HANG, REFUSE = 100, 101, 102, 103  # actions of the first agent that end badly
NUM_ACTIONS = 104
FORBIDDEN = 90  # from this seed on, a reset by a seed raises an exception ...
DEADLY = 95  # ... and from this one up to 99 ends the process

LAYOUT = Layout(
    actions=((AGENTS,), "int32"),
    state={
        "observations": ((AGENTS, 3), "float32"),
        "global_state": ((1,), "float32"),
        "available": ((AGENTS, 2), "bool"),
    },
    outcome={
        "rewards": ((AGENTS,), "float32"),
        "costs": ((AGENTS,), "float32"),
        "terminated": ((AGENTS,), "bool"),
        "truncated": ((), "bool"),
        "total": ((), "float32"),
    },
)


class Toy:
    """Episodes of 2 + seed % 3 steps, every other seed's cut by time. The first agent is done one step early.

    Observations: seed, step, how many episodes this process has played (0 after an exact reset).
    """

    def __init__(self, refuse: bool = False, slow: float = 0.0):
        if refuse:
            raise AverseError("the toy refuses to start")
        self._slow, self._played = slow, 0
        self.has_jax = "jax" in sys.modules

    def reset(self, seed, exact):
        if exact and FORBIDDEN <= seed < DEADLY:
            raise ZeroDivisionError("the toy knows no such episode")
        if exact and DEADLY <= seed < 100:
            os.kill(os.getpid(), signal.SIGKILL)
        self._seed, self._step, self._total = seed, 0, 0.0
        self._played = 0 if exact else self._played + 1
        return self._state()

    def step(self, actions):
        if actions[0] == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if actions[0] == RAISE:
            raise ZeroDivisionError("the toy is broken")
        if actions[0] == HANG:
            time.sleep(60)
        if actions[0] == REFUSE:
            raise AverseError("the toy refuses this action")
        time.sleep(self._slow)
        self._step += 1
        self._total += float(actions.sum())
        length = 2 + self._seed % 3
        last, cut = self._step == length, self._seed % 2 == 1
        outcome = {
            "rewards": actions.astype(np.float32),
            "costs": np.ones(AGENTS),
            "terminated": np.array([self._step >= length - 1, last and not cut]),
            "truncated": last and cut,
            "total": self._total,
        }
        return WorkerStep(self._state(), outcome, last)

    def _state(self):
        row = [self._seed, self._step, self._played]
        return {
            "observations": np.tile(np.array(row, np.float32), (AGENTS, 1)),
            "global_state": [float(self.has_jax)],
            "available": np.array([[True, False]] * AGENTS),
        }

    def close(self):
        pass
