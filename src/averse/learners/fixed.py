"""A learner that has nothing to learn: scripted policies where a learner is asked for, such as in evaluation."""

from collections.abc import Callable

import jax

from averse.learners.contract import Learner


def fixed(policy: Callable[[jax.Array], jax.Array], gamma: float = 1.0) -> Learner:
    """The learner that always plays `policy`, a function from observations [B, A, O] to actions [B, A, ...].

    Its state is the empty tuple and its update does nothing.
    """

    def act(state, observations, available, key, memory=(), greedy: bool = False):
        del state, available, key, memory, greedy
        return policy(observations), {}

    return Learner(
        init=lambda key, **swept: (),
        act=act,
        update=lambda state, trajectory: (state, {}),
        predict_returns=None,
        initial_memory=lambda num_envs: (),
        sweepable=frozenset(),
        rollout_steps=1,
        num_envs=1,
        gamma=gamma,
    )
