"""Two policies as one: exact values by enumeration, both ends bit for bit, both memories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import averse
from averse.environments.cliff_walk import CELLS, CliffWalk
from averse.environments.corridor import RISKY, SAFE, Corridor
from averse.environments.risky_cartpole import RiskyCartPole
from averse.errors import AverseError
from averse.evaluation import compiled_player
from averse.learners.combined import Cast, Mixture, cast, likeliest, mixture
from averse.learners.fixed import fixed
from averse.training.policy import Policy

RIGHT, LEFT = 3, 2
SMALL = {"num_envs": 4, "rollout_steps": 8, "segment_length": 8, "minibatches": 1, "hidden": (8,)}


def always(*actions: int):
    """The learner of agents that each do the same all the time."""
    return fixed(lambda observations: jnp.broadcast_to(jnp.array(actions, jnp.int32), observations.shape[:2]))


def half_and_half(alpha: float) -> Mixture:
    return Mixture((), (), jnp.float32(alpha))


class TestExactValues:
    def test_steps_are_mixed_not_episodes(self):
        """In a corridor of 4 steps the risky ones are binomial, where mixing episodes would give none or all."""
        world, alpha, count = Corridor(length=4), 0.3, 20_000
        play = compiled_player(world, mixture(always(RISKY), always(SAFE)), greedy=False)
        played = play(half_and_half(alpha), np.arange(count))
        found = np.bincount(np.round(4 * played.info["risky"]).astype(int), minlength=5) / count
        exact = np.array([0.7**4, 4 * 0.3 * 0.7**3, 6 * 0.3**2 * 0.7**2, 4 * 0.3**3 * 0.7, 0.3**4])
        assert found == pytest.approx(exact, abs=4 * np.sqrt(0.25 / count))
        mean = 4 * (alpha * (0.9 * 1.5 - 0.1 * 2.0) + (1 - alpha))
        assert played.returns.mean() == pytest.approx(mean, abs=4 * played.returns.std() / np.sqrt(count))

    def test_each_agent_mixes_for_itself(self):
        """Against the exact value of the product of both agents' mixtures, by dynamic programming over all states."""
        world, alpha, count = CliffWalk(horizon=8), 0.5, 4_000
        forwards, stays = (RIGHT, LEFT), (LEFT, RIGHT)  # off the cliff at once; against the wall
        exact = exact_value(world, [own_mixture(alpha, a, b) for a, b in zip(forwards, stays)])
        ends = [
            exact_value(world, [own_mixture(weight, a, b) for a, b in zip(forwards, stays)]) for weight in (0.0, 1.0)
        ]
        play = compiled_player(world, mixture(always(*forwards), always(*stays)), greedy=False)
        returns = play(half_and_half(alpha), np.arange(count)).returns
        error = returns.std(0) / np.sqrt(count)
        assert returns.mean(0) == pytest.approx(exact, abs=4 * error.max())
        together = alpha * ends[1] + (1 - alpha) * ends[0]  # of whole episodes
        assert (abs(exact - together) > 10 * error).all(), "this world would not tell steps from episodes"
        for weight, value in zip((0.0, 1.0), ends):
            alone = play(half_and_half(weight), np.arange(count)).returns
            assert alone.mean(0) == pytest.approx(value, abs=4 * alone.std(0).max() / np.sqrt(count) + 1e-6)


def own_mixture(alpha: float, one: int, other: int) -> np.ndarray:
    probabilities = np.zeros(4)
    probabilities[one] += alpha
    probabilities[other] += 1 - alpha
    return probabilities


def exact_value(world: CliffWalk, policies) -> np.ndarray:
    """Both agents' expected returns, by enumeration of the world's Markov game, where each acts alike everywhere."""
    game = world.model()
    joint = np.einsum("a,b->ab", *policies)
    value = np.zeros((2, CELLS**2))
    for _ in range(world.horizon):
        following = game.rewards + value[:, game.next_states]
        value = np.einsum("ab,sabk,isabk->is", joint, game.probabilities, following)
    return value[:, game.start]


@pytest.fixture(scope="module")
def trained():
    """A policy with memory, and one of another family, that have learnt nothing yet."""
    world = RiskyCartPole(horizon=30)
    learners = [
        averse.learner("mappo", world, recurrent=True, **SMALL),
        averse.learner("dqn", world, num_envs=4, rollout_steps=8, hidden=(8,)),
    ]
    return world, learners, [jax.jit(learner.init)(jax.random.key(k)) for k, learner in enumerate(learners)]


class TestEnds:
    def test_they_are_one_policy_alone_bit_for_bit(self, trained):
        """Over whole episodes, a policy that remembers among them."""
        world, learners, states = trained
        seeds = np.arange(12)
        mixed = compiled_player(world, mixture(*learners), greedy=False)
        for alpha, learner, own in ((1.0, *at(trained, 0)), (0.0, *at(trained, 1))):
            alone = compiled_player(world, learner, greedy=learner.explores_by_noise)(own, seeds)
            both = mixed(Mixture(*states, jnp.float32(alpha)), seeds)
            np.testing.assert_array_equal(both.returns, alone.returns)
            np.testing.assert_array_equal(both.length, alone.length)
        assert (mixed(Mixture(*states, jnp.float32(0.5)), seeds).returns != alone.returns).any()

    def test_both_memories_are_kept(self, trained):
        _, learners, states = trained
        both = mixture(*learners)
        seen, available = jnp.ones((2, 1, 4)), jnp.ones((2, 1, 2), bool)
        memory = both.initial_memory(2)
        alone = learners[0].initial_memory(2)
        for step in range(3):
            key = jax.random.key(step)
            _, extras = both.act(Mixture(*states, jnp.float32(0.0)), seen, available, key, memory=memory)
            _, own = learners[0].act(states[0], seen, available, key, memory=alone)
            memory, alone = extras["memory"], own["memory"]
        for ours, theirs in zip(jax.tree.leaves(memory[0]), jax.tree.leaves(alone), strict=True):
            assert np.abs(theirs).max() > 0
            np.testing.assert_array_equal(ours, theirs)


def at(trained, k: int):
    return trained[1][k], trained[2][k]


class TestCast:
    def test_who_acts_by_which(self):
        learner = cast(always(1, 1, 1), always(2, 2, 2))
        state = Cast((), (), jnp.array([True, False, True]))
        actions, _ = learner.act(state, jnp.zeros((2, 3, 1)), None, jax.random.key(0), memory=((), ()))
        assert actions.tolist() == [[1, 2, 1]] * 2

    def test_continuous_actions(self):
        one, other = (fixed(lambda seen, v=v: jnp.full((*seen.shape[:2], 2), v)) for v in (1.0, 2.0))
        state = Cast((), (), jnp.array([True, False]))
        actions, _ = cast(one, other).act(state, jnp.zeros((1, 2, 1)), None, jax.random.key(0))
        assert actions.tolist() == [[[1.0, 1.0], [2.0, 2.0]]]


class TestPolicies:
    @pytest.fixture
    def pair(self):
        world = Corridor(length=3)
        learner = averse.learner("ppo", world, **SMALL)
        return [Policy(learner, jax.jit(learner.init)(jax.random.key(k)), world) for k in range(2)]

    def test_probabilities_are_mixed(self, pair):
        seen = np.eye(3, dtype=np.float32)[:, None]
        one, other = (policy.probabilities(seen) for policy in pair)
        assert np.abs(one - other).max() > 1e-4
        assert pair[0].mix(pair[1], 0.3).probabilities(seen) == pytest.approx(0.3 * one + 0.7 * other, abs=1e-6)

    def test_ends_act_like_one(self, pair):
        seen = np.zeros((500, 1, 3), np.float32)
        for alpha, policy in ((1.0, pair[0]), (0.0, pair[1])):
            alone = Policy(policy._learner, policy._state, Corridor(length=3), random_seed=7)(seen)
            np.testing.assert_array_equal(pair[0].mix(pair[1], alpha, random_seed=7)(seen), alone)

    def test_greedy_ones_tell_no_probabilities(self, pair):
        """Those of its draws would not be those of its likeliest actions."""
        greedy = Policy(pair[0]._learner, pair[0]._state, Corridor(length=3), greedy=True)
        mixed = greedy.mix(pair[1], 1.0)
        seen = np.eye(3, dtype=np.float32)[:, None]
        np.testing.assert_array_equal(mixed(seen), greedy(seen))
        with pytest.raises(AverseError, match="tells no probabilities"):
            mixed.probabilities(seen)

    def test_continuous_draws_come_from_either(self):
        world = RiskyCartPole(continuous=True)
        learner = likeliest(averse.learner("ppo", world, **SMALL))
        one, other = (Policy(learner, jax.jit(learner.init)(jax.random.key(k)), world) for k in range(2))
        seen = np.full((4000, 1, 4), 0.3, np.float32)
        ends = [float(policy(seen[:1]).item()) for policy in (one, other)]
        drawn = one.mix(other, 0.25)(seen).ravel()
        first = np.isclose(drawn, ends[0], atol=1e-6)
        assert (first | np.isclose(drawn, ends[1], atol=1e-6)).all()
        assert first.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4000))

    @pytest.mark.parametrize(
        ("other", "alpha", "words"),
        [
            ("corridor", 1.5, "alpha must be"),
            ("corridor", float("nan"), "alpha must be"),
            ("longer", 0.5, "observation_size is 4, not 3"),
            (None, 0.5, "other must be a Policy"),
        ],
    )
    def test_what_does_not_go_together(self, pair, other, alpha, words):
        longer = Corridor(length=4)
        learner = averse.learner("ppo", longer, **SMALL)
        others = {
            "corridor": pair[1],
            "longer": Policy(learner, jax.jit(learner.init)(jax.random.key(0)), longer),
            None: 3,
        }
        with pytest.raises(AverseError, match=words) as error:
            pair[0].mix(others[other], alpha)
        assert "\n" not in str(error.value)
