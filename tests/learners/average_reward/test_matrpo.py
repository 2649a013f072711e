"""MV-MATRPO, MATRPO and MV-IPPO: each step against what it claims, and learning against exact optima."""

import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_team import RandomTeam, best_objective
from tiers import first_quick

import averse
from averse import AverseError, environments, learners
from averse.environments.batch import reset_batch, step_batch
from averse.environments.protocol import Box, Discrete
from averse.evaluation.known_models import policy_tables
from averse.learners.average_reward.objective import average_reward_advantages, pseudo_reward, updated
from averse.learners.contract import Trajectory
from averse.planning import improvement_bound, mean_variance
from averse.training.compiled import CompiledGroup

METHODS = ("mv-matrpo", "matrpo", "mv-ippo")
SMALL = {"num_envs": 16, "rollout_steps": 16, "hidden": (16,)}


def rollout(environment, learner, state, seed=0):
    """A trajectory of the learner's own, as the training loop gathers it."""
    batch, first = reset_batch(environment, jax.random.key(seed), learner.num_envs)

    def step(carry, key):
        batch, now = carry
        actions, extras = learner.act(state, now.observations, now.available, key)
        batch, after = step_batch(environment, batch, actions)
        given = {
            "observations": now.observations, "global_state": now.global_state, "available": now.available,
            "actions": actions, "extras": extras, "active": jnp.ones(actions.shape[:2], bool), "first": now.truncated,
        }  # fmt: skip
        rest = {
            name: getattr(after, name) for name in Trajectory._fields if name in after._fields and name not in given
        }
        return (batch, after), Trajectory(**given, **rest)

    return jax.lax.scan(step, (batch, first), jax.random.split(jax.random.key(seed + 1), learner.rollout_steps))[1]


def log_probs(environment, learner, state, trajectory):
    """log pi_i(a_i|s) of the actions taken, and all action probabilities, [T, B, A] and [T, B, A, n]."""
    probs = learner.action_probabilities(state, trajectory.observations, trajectory.available)
    taken = jnp.take_along_axis(probs, trajectory.actions[..., None], -1)[..., 0]
    return jnp.log(taken), probs


def centred_advantages(config_beta, lam, state, trajectory, critic):
    """The advantages of an update, from the functions that are tested on their own."""
    rewards = trajectory.rewards.mean(-1)
    moments = updated(state.moments, rewards, 0.1)
    advantages = average_reward_advantages(
        critic(trajectory.global_state), critic(trajectory.next_global_state),
        pseudo_reward(rewards, moments.eta, config_beta), moments.objective(config_beta), trajectory.truncated, lam,
    )  # fmt: skip
    return advantages - advantages.mean()


def critic_of(state):
    """The critic with its layers written out: tanh between two dense ones."""
    first, second = (state.critic["params"][f"Dense_{k}"] for k in (0, 1))
    return lambda x: (jnp.tanh(x @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"])[..., 0]


def sequential_gains(advantages, ratios, order):
    """mean (ratio_i - 1) M A of each agent in turn, M the product of the ratios of those before: {agent: gain}."""
    factor, gains = jnp.ones_like(advantages), {}
    for agent in order:
        gains[agent] = float(((ratios[..., agent] - 1) * factor * advantages).mean())
        factor = factor * ratios[..., agent]
    return gains, factor


@pytest.mark.slow
def test_agents_take_their_turns_on_the_product_of_the_ratios_before_them():
    """The reported gains and divergences, recomputed from the parameters before and after: exactly one order of turns
    explains the gains of all agents, which is 0, 1, 2 where the order is fixed, and varies where it is random."""
    environment = RandomTeam(agents=3, actions=3)
    seen = set()
    for order in ("fixed", "random"):
        learner = learners.learner("mv-matrpo", environment, beta=0.8, lam=0.6, order=order, max_kl=0.05, **SMALL)
        update = jax.jit(learner.update)
        state = jax.jit(learner.init)(jax.random.key(3))
        for k in range(6):
            trajectory = rollout(environment, learner, state, seed=10 * k)
            new, metrics = update(state, trajectory)
            advantages = centred_advantages(0.8, 0.6, state, trajectory, critic_of(state))
            before, old_probs = log_probs(environment, learner, state, trajectory)
            after, new_probs = log_probs(environment, learner, new, trajectory)
            ratios = jnp.exp(after - before)
            divergences = (old_probs * jnp.log(old_probs / new_probs)).sum(-1).mean((0, 1))
            explained = []
            for turns in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
                gains, factor = sequential_gains(advantages, ratios, turns)
                found = [float(metrics[f"surrogate_gain_{agent}"]) for agent in range(3)]
                if np.allclose(found, [gains[agent] for agent in range(3)], atol=2e-6):
                    explained.append(turns)
            assert len(explained) == 1, (order, k, explained)
            seen.add((order, explained[0]))
            assert float(metrics["joint_ratio_max"]) == pytest.approx(float(factor.max()), rel=1e-4)
            for agent in range(3):
                assert divergences[agent] == pytest.approx(float(metrics[f"kl_{agent}"]), abs=1e-5)
                assert divergences[agent] <= 0.05 * 1.001
                if metrics[f"accepted_{agent}"]:
                    assert metrics[f"surrogate_gain_{agent}"] > 0
                else:
                    np.testing.assert_allclose(ratios[..., agent], 1.0, atol=1e-6)
            state = new
    assert {turns for order, turns in seen if order == "fixed"} == {(0, 1, 2)}
    assert len({turns for order, turns in seen if order == "random"}) > 2


@pytest.mark.slow
def test_an_agent_whose_step_is_refused_keeps_its_policy():
    environment = RandomTeam()
    learner = learners.learner("mv-matrpo", environment, accept=1.0, backtracks=1, max_kl=10.0, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    new, metrics = jax.jit(learner.update)(state, rollout(environment, learner, state))
    assert metrics["accepted_0"] == metrics["accepted_1"] == 0
    for before, after in zip(jax.tree.leaves(state.actors), jax.tree.leaves(new.actors)):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(
        critic_of(state)(jnp.eye(4)), critic_of(new)(jnp.eye(4))
    )  # the critic learns all the same


class World:
    """Sizes of an environment that nobody steps, and that has no end."""

    name = "world"
    average_reward = True
    num_agents = 3
    observation_size = 5
    global_state_size = 7
    horizon = 50
    metrics: dict = {}  # noqa: RUF012

    def __init__(self, action_space):
        self.action_space = action_space


@pytest.mark.parametrize("space", first_quick([Discrete(4), Box(2)]), ids=str)
@pytest.mark.parametrize("method", first_quick(METHODS, 2))
def test_every_learner_updates_all_its_networks_for_every_kind_of_action(method, space):
    world = World(space)
    learner = learners.learner(method, world, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 6)
    lead = (learner.rollout_steps, learner.num_envs)
    agents = (*lead, 3)
    observations = jax.random.normal(keys[0], (*agents, 5))
    n = space.num_actions if isinstance(space, Discrete) else 1
    available = jax.random.bernoulli(keys[1], 0.7, (*agents, n)).at[..., 0].set(True)
    actions, extras = learner.act(state, observations, available, keys[2])
    trajectory = Trajectory(
        observations=observations, global_state=jax.random.normal(keys[3], (*lead, 7)), available=available,
        actions=actions, extras=extras, rewards=jnp.repeat(jax.random.normal(keys[4], (*lead, 1)), 3, -1),
        costs=jnp.zeros(agents), terminated=jnp.zeros(agents, bool), truncated=jax.random.bernoulli(keys[5], 0.1, lead),
        active=jnp.ones(agents, bool), first=jnp.zeros(lead, bool), next_observations=observations,
        next_global_state=jax.random.normal(keys[3], (*lead, 7)), next_available=available,
    )  # fmt: skip
    new, metrics = jax.jit(learner.update)(state, trajectory)
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    networks = [state.networks, new.networks] if method == "mv-ippo" else [(x.actors, x.critic) for x in (state, new)]
    for before, after in zip(*map(jax.tree.leaves, networks)):
        assert np.isfinite(after).all()
        assert not np.array_equal(before, after)
    if isinstance(space, Discrete):
        probs = learner.action_probabilities(new, observations, available)
        np.testing.assert_allclose(probs.sum(-1), 1.0, atol=1e-5)
        assert (probs[~available] == 0).all()
        chosen, _ = learner.act(new, observations, available, keys[2], greedy=True)
        np.testing.assert_array_equal(chosen, probs.argmax(-1))
    else:
        assert learner.action_probabilities is None


@pytest.mark.slow
def test_ippo_is_ppo_for_each_agent_on_its_own():
    """Neither the other agents' actions nor what they see change an agent's update."""
    environment = RandomTeam(agents=3)
    learner = learners.learner("mv-ippo", environment, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    trajectory = rollout(environment, learner, state)
    others = trajectory._replace(
        actions=trajectory.actions.at[..., 1:].set(0),
        observations=trajectory.observations.at[..., 1:, :].set(7.0),
        next_observations=trajectory.next_observations.at[..., 1:, :].set(7.0),
    )
    one, other = (jax.jit(learner.update)(state, data)[0].networks for data in (trajectory, others))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_allclose(a[0], b[0], atol=1e-6)
        assert not np.allclose(a[1], b[1], atol=1e-6)


# --- learning against exact planning ----------------------------------------------------------------------------------

GAMES, UPDATES = 5, 150
SETTINGS = {"num_envs": 32, "rollout_steps": 32, "hidden": (16,), "lam": 0.7}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_learning_comes_close_to_the_best_policy_of_random_games(beta):
    """J exactly, of the learned stochastic policies: at most 10 % of the way from the optimum back to uniform play on
    average over games and training seeds, and better than uniform play in each; the bound of the theory holds."""
    shares = []
    for game_seed in range(GAMES):
        environment = RandomTeam(game_seed=game_seed, states=3)
        learner = learners.learner(
            "matrpo" if beta == 0 else "mv-matrpo", environment, beta=beta, damping=0.01, **SETTINGS
        )
        group = CompiledGroup(environment, learner, [{"seed": 2 * game_seed}, {"seed": 2 * game_seed + 1}])
        group.start()
        group.advance(UPDATES)
        game = environment.model()
        best = best_objective(game, beta)
        uniform = mean_variance(game, game.uniform_policy(), beta).objective
        for k in range(2):
            state = jax.tree.map(lambda x, k=k: x[k], group.learner_states())
            learned = mean_variance(game, policy_tables(environment, learner, state, game), beta).objective
            assert learned > uniform
            shares.append((best - learned) / (best - uniform))
    assert np.mean(shares) < 0.1, shares


@pytest.mark.slow
def test_the_lower_bound_of_every_update_is_below_the_true_change():
    environment = RandomTeam(game_seed=2, states=3)
    learner = learners.learner("mv-matrpo", environment, beta=0.5, damping=0.01, **SETTINGS)
    group = CompiledGroup(environment, learner, [{"seed": 0}])
    group.start()
    game = environment.model()

    def current():
        state = jax.tree.map(lambda x: x[0], group.learner_states())
        return policy_tables(environment, learner, state, game)

    tables = [current()]
    for _ in range(20):
        group.advance(1)
        tables.append(current())
    found = [improvement_bound(game, old, new, 0.5) for old, new in itertools.pairwise(tables)]
    assert all(each.bound <= each.change + 1e-9 for each in found)
    assert sum(each.change for each in found) > 0
    assert all(each.total_variation > 0 for each in found)


# --- the whole loop ---------------------------------------------------------------------------------------------------


def equal(one, other) -> bool:
    def data(x):
        return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    return all(
        np.array_equal(data(a), data(b)) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mv-matrpo", "mv-ippo"])
def test_a_resumed_sweep_over_beta_ends_bit_for_bit(method, tmp_path):
    arguments = {"steps": 256 * 12, "seeds": 2, "beta": [0.3, 1.0], "checkpoints": 6, **SMALL}
    run = averse.train("random_team:RandomTeam", method, out=tmp_path / "whole", **arguments)
    shutil.copytree(run.path, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "group-0" / "12")
    assert not averse.load(tmp_path / "cut").finished
    resumed = averse.training.resume(tmp_path / "cut")
    assert equal(resumed.learner_states, run.learner_states)
    np.testing.assert_allclose(run.learner_states.beta, [0.3, 0.3, 1.0, 1.0])
    alone = averse.train("random_team:RandomTeam", method, **{**arguments, "beta": 1.0, "seeds": [1]})
    for a, b in zip(jax.tree.leaves(alone.state(0).moments), jax.tree.leaves(run.state(3).moments)):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_environments_with_episodes_are_refused():
    for method in METHODS:
        with pytest.raises(AverseError, match="corridor has episodes"):
            learners.learner(method, environments.make("corridor"))


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("mv-matrpo", {"beta": -1.0}, "beta must be a finite number >= 0"),
        ("mv-matrpo", {"beta": float("inf")}, "beta must be a finite number"),
        ("mv-matrpo", {"lam": 1.5}, r"lam must be a number in \[0, 1\]"),
        ("mv-matrpo", {"smoothing": 0.0}, r"smoothing must be a number in \(0, 1\]"),
        ("mv-matrpo", {"max_kl": 0.0}, "max_kl must be a finite number > 0"),
        ("mv-matrpo", {"backtrack": 1.2}, r"backtrack must be a number in \(0, 1\]"),
        ("mv-matrpo", {"damping": -0.1}, "damping must be a finite number >= 0"),
        ("mv-matrpo", {"order": "sorted"}, "unknown order 'sorted'; allowed: fixed, random"),
        ("mv-matrpo", {"minibatches": 3}, "minibatches 3 must divide"),
        ("matrpo", {"betta": 1.0}, "did you mean beta"),
        ("mv-ippo", {"clip": 0.0}, "clip must be a finite number > 0"),
        ("mv-ippo", {"epsilon": -1.0}, "epsilon must be a finite number >= 0"),
        ("mv-ippo", {"max_kl": 0.1}, "unknown setting"),
    ],
)
def test_bad_settings_get_one_clear_line(method, settings, words):
    with pytest.raises(AverseError, match=words) as caught:
        learners.learner(method, RandomTeam(), **{**SMALL, **settings})
    assert "\n" not in str(caught.value)
