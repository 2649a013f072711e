"""The traversal of host environments: what observers see, and what actors are asked."""

import jax.numpy as jnp
import numpy as np

from averse.environments.adapters.hosted import HostedVector
from averse.environments.risky_cartpole import RiskyCartPole
from averse.evaluation import Actor, learned, play_host, scripted
from averse.learners.fixed import fixed

WORLD = RiskyCartPole(horizon=60)
SEEDS = np.array([5, 3, 9, 4, 8])


def forward(step) -> np.ndarray:
    return np.ones(step.rewards.shape, np.int32)


def play(actor, num_envs=2, **arguments):
    vector = HostedVector(WORLD, num_envs)
    return play_host(vector, actor, SEEDS, horizon=WORLD.horizon, gamma=0.9, **arguments)


def test_an_observer_sees_the_start_and_every_step():
    moments = []
    played = play(scripted(forward), observer=moments.append)
    assert moments[0].actions is None
    assert (moments[0].times == 0).all()
    assert all((moment.actions == 1).all() for moment in moments[1:])
    # Two environments play three episodes each, the first seed twice; what was observed tells every other one again.
    returns, lengths = {}, {}
    for moment in moments[1:]:
        for b, seed in enumerate(moment.seeds.tolist()):
            returns[seed] = returns.get(seed, 0) + moment.step.rewards[b]
            lengths[seed] = max(lengths.get(seed, 0), int(moment.times[b]))
    np.testing.assert_array_equal(played.seeds, SEEDS)
    assert len(set(played.length.tolist())) > 1
    np.testing.assert_array_equal(played.length, [lengths[seed] for seed in SEEDS.tolist()])
    np.testing.assert_allclose(played.returns[1:], [returns[seed] for seed in SEEDS[1:].tolist()], rtol=1e-6)


def test_being_observed_changes_nothing():
    alone, observed = play(scripted(forward)), play(scripted(forward), observer=lambda moment: None)
    np.testing.assert_array_equal(alone.returns, observed.returns)


def test_progress_counts_every_episode_once():
    ended = []
    play(scripted(forward), num_envs=5, on_progress=ended.append)
    assert sum(ended) == len(SEEDS)


def test_an_actor_is_told_whose_episode_it_is_and_forgets_at_its_end():
    """Its memory counts its steps: wherever an episode begins, it must be back at 0."""
    asked = []

    def act(step, seeds, times, memory):
        asked.append((seeds, times, memory))
        return forward(step), memory + 1

    played = play(Actor(act, lambda num_envs: np.zeros(num_envs)))
    for _, times, memory in asked:
        np.testing.assert_array_equal(times, memory)
    assert set(SEEDS.tolist()) == {int(seed) for seeds, _, _ in asked for seed in seeds}
    assert max(times.max() for _, times, _ in asked) == played.length.max() - 1


def test_scripts_and_learners_of_one_mind_play_the_same_episodes():
    as_learner = learned(fixed(lambda observations: jnp.ones(observations.shape[:-1], jnp.int32)), greedy=False)(())
    np.testing.assert_array_equal(play(scripted(forward)).returns, play(as_learner).returns)
