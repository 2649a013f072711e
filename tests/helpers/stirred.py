"""Runs that were never trained, with networks that are far from their beginning: cheap, and nothing in them is even."""

from typing import Any

import jax
import numpy as np

from averse.learners.parts.measure import risk_measure, with_numbers
from averse.risk import CVaR
from averse.training import Run, configure

SMALL = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (16, 8)}
REPLAY = {"num_envs": 4, "rollout_steps": 8, "batch_size": 4, "buffer_size": 8, "hidden": (8,)}
PARAMETERS = ("networks", "params", "actors", "critic")  # what states call them


def stirred(environment, method, environment_parameters=None, size=0.4, **settings) -> Run:
    """The run that a training might leave: draws of this size for parameters, its measures, zeros for all else.

    Nothing is initialised, which takes longer than all else.
    """
    config = configure(environment, method, 64, environment_parameters=environment_parameters, **settings)
    learner, own = config.build_learner(config.build_environment()), config.learner_config()
    random = np.random.default_rng(0)
    blank: Any = jax.eval_shape(learner.init, jax.random.key(0))
    states: list[Any] = []
    for trial in config.trials:
        state = jax.tree.map(_zeros, blank)
        drawn = {
            name: jax.tree.map(lambda leaf: random.normal(0, size, leaf.shape).astype(np.float32), getattr(state, name))
            for name in PARAMETERS
            if name in state._fields
        }
        if "measure" in state._fields:
            held = getattr(own, "fixed_alpha", None)
            measure = risk_measure(own) if held is None else CVaR(held)
            swept = {name: trial[name] for name in trial if name in vars(measure)}
            drawn["measure"] = jax.tree.map(np.float32, with_numbers(measure, swept))
        states.append(state._replace(**drawn))
    return Run(config, None, jax.tree.map(lambda *x: np.stack(x), *states), (0,) * len(states))


def _zeros(leaf):
    """Keys, of which numpy knows nothing, are the one thing that is asked for nowhere."""
    return np.zeros(leaf.shape, np.uint32 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype)
