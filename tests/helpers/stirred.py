"""Runs that were never trained, with networks that are far from their beginning: cheap, and nothing in them is even."""

import jax
import jax.numpy as jnp
import numpy as np

from averse.training import Run, configure

SMALL = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (16, 8)}
REPLAY = {"num_envs": 4, "rollout_steps": 8, "batch_size": 4, "buffer_size": 8, "hidden": (8,)}
PARAMETERS = ("networks", "params", "actors", "critic")  # what states call them


def stirred(environment, method, environment_parameters=None, size=0.3, **settings) -> Run:
    """The run that a training of no updates would leave, its networks' parameters moved by draws of this size."""
    config = configure(environment, method, 64, environment_parameters=environment_parameters, **settings)
    environment = config.build_environment()
    learner = config.build_learner(environment)
    random = np.random.default_rng(0)

    def moved(leaf):
        return leaf + random.normal(0, size, leaf.shape).astype(leaf.dtype)

    states = []
    for trial in config.trials:
        swept = {name: jnp.float32(value) for name, value in trial.items() if name != "seed"}
        state = learner.init(jax.random.key(int(trial["seed"])), **swept)
        states.append(
            state._replace(**{k: jax.tree.map(moved, getattr(state, k)) for k in PARAMETERS if k in state._fields})
        )
    return Run(config, None, jax.tree.map(lambda *x: jnp.stack(x), *states), (0,) * len(states))
