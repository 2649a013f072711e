"""Episodes that begin as bad ones did: importance weights against exact sums, and a world whose bad start is known."""

import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_trajectory import World
from random_trajectory import trajectory as a_trajectory
from scipy import stats

import averse
from averse import environments, learners
from averse.environments import CompiledEnvironment, Discrete
from averse.environments.protocol import StepResult
from averse.errors import AverseError
from averse.training.compiled import CompiledGroup
from averse.training.metrics import episode_figures
from averse.training.starts import BINS, REMEMBERED, TAIL, Drawn, Ended, Proposal, draw, learned, tail_metrics
from averse.training.trainee import EpisodeRecord

SMALL = {"num_envs": 32, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (8,)}
SHARE = 0.4


@dataclass(frozen=True)
class Weather(CompiledEnvironment):
    """Two steps of nothing to decide: it rains in one episode of sixteen, and costs 10; luck adds noise."""

    num_agents = 1
    action_space = Discrete(2)
    observation_size = 1
    horizon = 2
    reward_bounds = (-12.0, 2.0)
    num_conditions = 3

    def observe(self, state):
        return state[0][None, None]

    def reset(self, key):
        own, key = jax.random.split(key)
        return self.begin(key, jax.random.uniform(own, (3,)))

    def begin(self, key, conditions):
        state = (jnp.where(conditions[1] < 1 / 16, 1.0, 0.0), jnp.int32(0))
        return state, self.observe(state)

    def step(self, key, state, actions):
        rain, time = state
        after = (rain, time + 1)
        reward = -5.0 * rain + 0.1 * jax.random.normal(key, (1,))
        over = time >= 1
        return StepResult(after, self.observe(after), reward, jnp.zeros(1), over[None], jnp.bool_(False), {})


def uneven(dimensions: int) -> jax.Array:
    """Ratios of a proposal that is far from even, [D, K]."""
    counts = jax.random.gamma(jax.random.key(3), 0.7, (dimensions, BINS)) + 0.02
    return BINS * counts / counts.sum(-1, keepdims=True)


def test_weights_are_the_exact_ratio_of_probabilities():
    ratios = uneven(2)
    conditions, drawn = jax.vmap(lambda key: draw(ratios, SHARE, key))(jax.random.split(jax.random.key(0), 200_000))
    assert ((conditions >= 0) & (conditions < 1)).all()
    np.testing.assert_array_equal(np.floor(np.asarray(conditions) * BINS), drawn.bins)
    # how often each pair of bins is drawn, against the mixture; and its weight, against even chance over that
    table = np.asarray(ratios, np.float64) / BINS
    table /= table.sum(-1, keepdims=True)
    expected = (1 - SHARE) / BINS**2 + SHARE * table[0][:, None] * table[1][None]
    first, second = np.asarray(drawn.bins).T
    counts = np.zeros((BINS, BINS))
    np.add.at(counts, (first, second), 1)
    assert stats.chisquare(counts.ravel(), expected.ravel() * len(first)).pvalue > 1e-3
    np.testing.assert_allclose(drawn.weight, (1 / BINS**2 / expected)[first, second], rtol=1e-5)
    assert drawn.weight.max() <= 1 / (1 - SHARE) + 1e-6
    # so weighted means are those of even chance, though plain ones are not
    value = np.exp(3 * np.asarray(conditions)[:, 0]) * np.asarray(conditions)[:, 1]
    exact = (np.exp(3) - 1) / 3 / 2
    error = 4 * np.std(value * drawn.weight) / np.sqrt(len(value))
    assert abs(np.mean(value * drawn.weight) - exact) < error
    assert abs(value.mean() - exact) > 3 * error
    assert abs(np.mean(drawn.weight) - 1) < 4 * np.std(drawn.weight) / np.sqrt(len(value))


def test_conditions_stay_below_one_where_rounding_would_reach_it():
    ratios = jnp.ones((100_000, BINS))
    conditions, _ = draw(ratios, SHARE, jax.random.key(1))
    assert float(conditions.max()) < 1.0
    assert ((conditions * 4).astype(int) < 4).all()


def test_a_proposal_counts_the_worst_episodes_by_their_weights():
    """Against plain loops, with rings that are filled again and episodes that are still going on."""
    rng = np.random.default_rng(0)
    proposal = Proposal.even(2)
    ring: list[tuple[float, float]] = []
    counts = np.zeros((2, BINS))
    for _ in range(9):
        done = rng.random((10, 30)) < 0.6
        returns = rng.normal(size=(10, 30)).astype(np.float32)
        drawn = Drawn(rng.integers(0, BINS, (10, 30, 2)).astype(np.int8), rng.uniform(0.2, 1.6, (10, 30)))
        proposal = learned(proposal, Ended(*map(jnp.asarray, (done, returns)), Drawn(*map(jnp.asarray, drawn))))
        ring = [*ring, *zip(returns[done], drawn.weight[done])][-REMEMBERED:]
        values, weights = np.array(ring).T
        order = np.argsort(values)
        mass = np.cumsum(weights[order]) / weights.sum()
        worst = values[order][np.searchsorted(mass, TAIL)]
        assert float(proposal.worst()) == pytest.approx(worst)
        counts *= 0.98
        for episode in zip(*np.nonzero(done & (returns <= worst))):
            for dimension in range(2):
                counts[dimension, drawn.bins[episode][dimension]] += drawn.weight[episode]
        np.testing.assert_allclose(proposal.counts, counts, rtol=1e-4)
    np.testing.assert_allclose(proposal.ratios().mean(-1), 1.0, rtol=1e-6)
    weights = jnp.asarray(drawn.weight)
    metrics = tail_metrics(proposal, weights)
    assert metrics["tail_share"] == pytest.approx(np.mean(values <= worst))
    assert metrics["effective_sample_size"] == pytest.approx(np.sum(drawn.weight) ** 2 / np.sum(drawn.weight**2) / 300)


def test_nothing_is_bad_before_there_is_something_to_compare_with():
    done = jnp.zeros((1, 30), bool).at[0, :19].set(True)
    drawn = Drawn(jnp.zeros((1, 30, 2), jnp.int8), jnp.ones((1, 30)))
    few = learned(Proposal.even(2), Ended(done, jnp.arange(30.0)[None], drawn))
    assert float(few.worst()) == -np.inf
    np.testing.assert_array_equal(few.counts, 0)
    more = learned(few, Ended(done, jnp.arange(30.0)[None], drawn))
    assert float(more.worst()) == 1.0
    assert float(more.counts.sum()) == 2 * 2  # two episodes of the second update, in each of two conditions


def test_rare_rain_comes_more_often_and_figures_are_those_of_all_weather():
    environment = Weather()
    learner = learners.learner("mappo", environment, **SMALL)
    group = CompiledGroup(environment, learner, [{"seed": 0}], tail_starts=0.5)
    group.start()
    group.advance(20)
    [metrics], [record] = group.advance(60)
    rained = record.returns[~np.isnan(record.returns)] < -5
    # 1 in 16 is due; from an eighth of the condition at most half of the draws by the proposal, a fifth of all
    assert 0.15 < rained.mean() < 0.25
    assert metrics["tail_share"] > 1.7 * TAIL
    assert 0.5 < metrics["effective_sample_size"] < 0.95
    figures = episode_figures(record)
    assert figures["return"] == pytest.approx(-10 / 16, abs=0.12)
    assert figures["cvar_05"] == pytest.approx(-10.0, abs=0.3)
    ratios = np.asarray(group.snapshot().environment.proposal.ratios())[0]
    assert ratios[1, 0] > 4
    assert np.abs(np.log(ratios[[0, 2]])).max() < 0.7


def test_figures_are_weighted_as_the_library_of_statistics_weighs():
    rng = np.random.default_rng(1)
    returns = np.where(rng.random(200) < 0.8, rng.normal(size=200), np.nan)
    weights = np.where(np.isnan(returns), np.nan, rng.uniform(0.1, 2.0, 200))
    speed = np.where(rng.random(200) < 0.5, rng.random(200), np.nan)
    figures = episode_figures(EpisodeRecord(returns, np.full(200, 3.0), {"speed": speed}, weights))
    there = ~np.isnan(returns)
    assert figures["return"] == pytest.approx(np.average(returns[there], weights=weights[there]))
    both = there & ~np.isnan(speed)
    assert figures["speed"] == pytest.approx(np.average(speed[both], weights=weights[both]))
    values, mass = returns[there], weights[there] / weights[there].sum()
    best_of_the_worst = [value + np.sum(mass * np.minimum(values - value, 0)) / 0.05 for value in values]
    assert figures["cvar_05"] == pytest.approx(max(best_of_the_worst))  # Rockafellar and Uryasev's form
    assert figures["episodes"] == there.sum()


def test_an_update_counts_steps_by_their_episodes_weights():
    """Episodes with weight 0 teach nothing; and equal weights nothing but what none would."""
    world = World()
    learner = learners.learner("mappo", world, **SMALL | {"num_envs": 6, "rollout_steps": 8, "minibatches": 1})
    state = learner.init(jax.random.key(0))
    trajectory = a_trajectory(world, learner, state)
    weights = jnp.asarray([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    shape = trajectory.truncated.shape
    weighted = trajectory._replace(weights=jnp.broadcast_to(weights, shape))
    other = weighted._replace(rewards=trajectory.rewards + 9.0 * (1.0 - weights)[None, :, None])
    one, two = (learner.update(state, each)[0].networks for each in (weighted, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    plain = learner.update(state, trajectory)[0].networks
    even = learner.update(state, trajectory._replace(weights=jnp.ones(shape)))[0].networks
    jax.tree.map(np.testing.assert_array_equal, plain, even)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(one)))


@pytest.mark.parametrize("world", ["intersection", "risky-cartpole", "budget:risky-cartpole"])
def test_worlds_begin_as_they_would_by_chance(world):
    """What is observed first has the same distribution by `reset` and from even conditions."""
    environment = environments.make(world, **({"mass_std": 0.05} if "cartpole" in world else {}))
    keys = jax.random.split(jax.random.key(5), 3000)

    def begun(key):
        own, key = jax.random.split(key)
        return environment.begin(key, jax.random.uniform(own, (environment.num_conditions,)))

    def seen(beginning):
        state, observations = jax.vmap(beginning)(keys)
        numbers = [observations.reshape(len(keys), -1)]
        if "cartpole" in world:
            numbers.append(getattr(state, "inner", state).pole_mass[:, None])
        return np.concatenate(numbers, axis=-1)

    by_chance, from_conditions = seen(environment.reset), seen(begun)
    for column in range(by_chance.shape[1]):
        both = by_chance[:, column], from_conditions[:, column]
        assert np.allclose(*both) or stats.ks_2samp(*both).pvalue > 1e-5, column
    # and different conditions are different beginnings
    ends = [environment.begin(keys[0], jnp.full(environment.num_conditions, u))[1] for u in (0.1, 0.9)]
    assert not np.allclose(*ends)


def test_training_with_tail_starts_is_stored_resumed_and_evaluated(tmp_path):
    settings = {"tau": 10.0, **SMALL, "tail_starts": 0.5}
    whole = averse.train("risky-cartpole", "rqe-mappo", 4096, out=tmp_path / "whole", **settings)
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["tail_starts"] == 0.5
    half = averse.train("risky-cartpole", "rqe-mappo", 4096, out=tmp_path / "half", **settings, checkpoints=4)
    assert whole.config.tail_starts == half.config.tail_starts
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["effective_sample_size"] <= 1 for line in lines)
    again = averse.resume(tmp_path / "half", steps=8192)
    assert again.config.tail_starts == 0.5
    assert averse.evaluate(again, episodes=20)


def test_what_cannot_be_is_refused_in_a_line():
    with pytest.raises(AverseError, match="needs a compiled environment that says what its episodes begin with"):
        averse.train("corridor", "mappo", 100, tail_starts=0.5)
    with pytest.raises(AverseError, match="needs a method that weighs episodes"):
        averse.train("risky-cartpole", "dqn", 100, tail_starts=0.5)
    for wrong in (1.0, -0.1, float("nan"), "much"):
        with pytest.raises(AverseError, match="tail_starts"):
            averse.train("risky-cartpole", "mappo", 100, tail_starts=wrong)
