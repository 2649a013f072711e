"""MAPPO in all its forms: every combination trains, masks and dead agents are respected, settings are checked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_trajectory import World, WorldOfSets, trajectory
from tiers import first_quick, thorough

import averse
from averse import AverseError, environments, learners
from averse.environments.protocol import Box, Discrete
from averse.learners.parts.action_distributions import UNAVAILABLE, CategoricalActions, GaussianActions
from averse.learners.policy_gradient import mappo

SMALL = {"num_envs": 4, "rollout_steps": 8, "segment_length": 4, "minibatches": 2, "epochs": 2, "hidden": (16,)}
METHODS = ("ppo", "mappo", "reward-shaped-mappo", "mean-variance-mappo", "c51-cvar-mappo", "rqe-mappo")
PARTNERS = ("srpo-mappo", {"risk_warmup": 0.0})  # with a schedule adversaries begin with a gradient of 0

COMBINATIONS = [
    *[(method, {}) for method in METHODS],
    ("rqe-mappo", {"advantage": "risk-value"}),
    ("rqe-mappo", {"advantage": "action-value"}),
    ("rqe-mappo", {"advantage": "influence"}),
    ("rqe-mappo", {"critic": "quantile"}),
    ("rqe-mappo", {"critic": "quantile", "advantage": "action-value"}),
    ("rqe-mappo", {"critic": "quantile", "advantage": "influence", "measure": "wang:0.75"}),
    ("rqe-mappo", {"tau": float("inf")}),
    ("mappo", {"shared": False}),
    ("mappo", {"centralised": False}),
    ("c51-cvar-mappo", {"shared": False, "measure": "evar:0.2"}),
    ("ppo", {"recurrent": True}),
    ("mean-variance-mappo", {"recurrent": True, "shared": False}),
    ("rqe-mappo", {"recurrent": True, "advantage": "action-value"}),
    PARTNERS,
]


QUICK_IN_A_BOX = ("ppo",)  # continuous actions change the actor alone
THOROUGH = [  # no new part of the learner, but parts that others have, too
    ("rqe-mappo", {"advantage": "risk-value"}),
    ("rqe-mappo", {"advantage": "influence"}),
    ("rqe-mappo", {"critic": "quantile"}),
    ("rqe-mappo", {"critic": "quantile", "advantage": "action-value"}),
    ("rqe-mappo", {"tau": float("inf")}),
    ("mappo", {"shared": False}),
    ("ppo", {"recurrent": True}),
    ("rqe-mappo", {"recurrent": True, "advantage": "action-value"}),
    ("c51-cvar-mappo", {"shared": False, "measure": "evar:0.2"}),
]


def tier(method, settings, space):
    """A case with the marker of its tier."""
    if (method, settings) == PARTNERS:
        return thorough(method, settings, space)
    if isinstance(space, Discrete):
        return thorough(method, settings, space) if (method, settings) in THOROUGH else (method, settings, space)
    if settings or method not in METHODS or method == "mappo":
        return pytest.param(method, settings, space, marks=pytest.mark.slow)
    return (method, settings, space) if method in QUICK_IN_A_BOX else thorough(method, settings, space)


CASES = [
    tier(method, settings, space)
    for method, settings in COMBINATIONS
    for space in (Discrete(4), Box(2))
    if settings.get("advantage") != "action-value" or isinstance(space, Discrete)
]


@pytest.mark.parametrize(("method", "settings", "space"), CASES, ids=str)
def test_every_combination_updates_all_its_parameters(method, settings, space):
    world = World(space)
    learner = learners.learner(method, world, **SMALL, **settings)
    state = jax.jit(learner.init)(jax.random.key(0))
    new, metrics = jax.jit(learner.update)(state, trajectory(world, learner, state))
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert int(new.updates) == 1
    for before, after in zip(jax.tree.leaves(state.networks), jax.tree.leaves(new.networks)):
        assert np.isfinite(after).all()
        assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    "settings",
    first_quick([{}, {"recurrent": True, "shared": False}, {"centralised": False, "advantage": "action-value"}]),
    ids=str,
)
def test_networks_that_read_sets_update_all_their_parameters(settings):
    learner = learners.learner("rqe-mappo", WorldOfSets(), **SMALL, network="sets", **settings)
    state = jax.jit(learner.init)(jax.random.key(0))
    new, metrics = jax.jit(learner.update)(state, trajectory(WorldOfSets(), learner, state))
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    for before, after in zip(jax.tree.leaves(state.networks), jax.tree.leaves(new.networks)):
        assert np.isfinite(after).all()
        assert not np.array_equal(before, after)


@pytest.mark.parametrize("settings", first_quick([{}, {"centralised": False}, {"recurrent": True}]), ids=str)
def test_a_learner_that_reads_sets_does_not_mind_their_order(settings):
    world = WorldOfSets()
    learner = learners.learner("rqe-mappo", world, **SMALL, network="sets", **settings)
    state = jax.jit(learner.init)(jax.random.key(0))
    draws = np.random.default_rng(1)
    seen, cars = (draws.normal(size=shape).astype(np.float32) for shape in ((4, 3, 5), (4, 7)))
    others = seen[..., [0, 3, 4, 1, 2]], cars[..., [0, 4, 5, 6, 1, 2, 3]]
    available, memory = np.ones((4, 3, 4), bool), learner.initial_memory(4)

    @jax.jit
    def read(seen, cars):
        returns = learner.predict_returns(state, seen, cars, available, memory)
        return learner.action_probabilities(state, seen, available, memory), returns.probs

    for plain, other, backwards in zip(read(seen, cars), read(*others), read(seen[..., ::-1], cars[..., ::-1])):
        np.testing.assert_allclose(plain, other, atol=1e-6)
        assert not np.allclose(plain, backwards, atol=1e-6)


@pytest.mark.parametrize("settings", first_quick([{}, {"recurrent": True}]), ids=str)
def test_a_learner_that_reads_sets_learns_the_same_in_blocks(settings, monkeypatch):
    world, learnt = WorldOfSets(), []
    for rows in (1024, 12):
        monkeypatch.setattr(mappo, "BLOCK_ROWS", rows)
        learner = learners.learner("rqe-mappo", world, **SMALL, network="sets", **settings)
        state = jax.jit(learner.init)(jax.random.key(0))
        data = trajectory(world, learner, state)
        data = data._replace(active=data.active.at[:, :, 1].set(False))
        learnt.append(jax.jit(learner.update)(state, data))
    (one, metrics), (other, of_blocks) = learnt
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.networks, other.networks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), metrics, of_blocks)


@pytest.mark.parametrize("critic", ["scalar", *(pytest.param(c, marks=pytest.mark.slow) for c in ("quantile", "dual"))])
def test_the_scale_of_values_is_a_unit(critic):
    """Ten times the rewards and a scale of 10: every network learns the same."""
    world, learnt = World(), []
    for unit in (1.0, 10.0):
        settings = {**SMALL, "critic": critic, "value_scale": unit, "support": (-10 * unit, 10 * unit)}
        learner = learners.learner("mappo", world, **settings)
        state = jax.jit(learner.init)(jax.random.key(0))
        data = trajectory(world, learner, state)
        new, _ = jax.jit(learner.update)(state, data._replace(rewards=unit * data.rewards))
        learnt.append(jax.tree.leaves(new.networks))
    for one, other in zip(*learnt):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_drawn_pass_has_the_gradient_of_the_batch_on_average():
    """Each active sample counts once in expectation, and rows where nobody is active are never drawn."""
    config = learners.preset("mappo", **{**SMALL, "segment_length": 1}, batch_fraction=0.25)
    shape = (SMALL["rollout_steps"], SMALL["num_envs"], World.num_agents)
    advantages = np.random.default_rng(1).normal(size=shape).astype(np.float32) ** 3
    active = np.ones(shape, np.float32)
    active[:, 0] = 0.0
    fields = {name: np.zeros((*shape[:2], 1), np.float32) for name in mappo.Samples._fields}
    samples = mappo.Samples(**{**fields, "advantages": advantages, "active": active})
    segments = jax.jit(lambda samples: jax.tree.map(lambda x: mappo.segments(x, 1), samples))(samples)

    def counted(key):
        rows, drawn = mappo.drawn(config, segments, key)
        return jnp.zeros(segments.active.shape).at[rows].add(drawn.active[rows])

    draws = 4000
    counts = np.asarray(jax.jit(jax.vmap(counted))(jax.random.split(jax.random.key(2), draws)), np.float64)
    assert ((counts > 0).any((2, 3)).sum(1) == config.pass_segments).all()
    error = counts.std(0) / np.sqrt(draws) + 1e-9
    assert (np.abs(counts.mean(0) - np.asarray(segments.active)) < 5 * error).all()


@pytest.mark.parametrize("settings", [{}, {"batch_fraction": 0.5}], ids=str)
def test_a_dead_agents_data_changes_nothing(settings):
    """Whatever an inactive agent's observations, rewards and actions were, the update is the same."""
    world = World()
    learner = learners.learner("rqe-mappo", world, **SMALL, **settings)
    state = jax.jit(learner.init)(jax.random.key(0))
    data = trajectory(world, learner, state)
    dead = jnp.zeros_like(data.active).at[:, :, 1].set(True)
    data = data._replace(active=~dead, terminated=data.terminated | dead)
    garbage = data._replace(
        observations=jnp.where(dead[..., None], 7.0, data.observations),
        next_observations=jnp.where(dead[..., None], -7.0, data.next_observations),
        rewards=jnp.where(dead, 100.0, data.rewards),
    )
    update = jax.jit(learner.update)
    (one, _), (other, _) = update(state, data), update(state, garbage)
    for a, b in zip(jax.tree.leaves(one.networks), jax.tree.leaves(other.networks)):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_unavailable_actions_are_never_taken():
    world = World()
    learner = learners.learner("mappo", world, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    available = np.broadcast_to(np.arange(4) == 2, (64, 3, 4))
    observations = np.random.default_rng(1).normal(size=(64, 3, 5)).astype(np.float32)
    act = jax.jit(learner.act, static_argnames="greedy")
    for greedy in (True, False):
        actions, extras = act(state, observations, available, jax.random.key(2), greedy=greedy)
        assert (np.asarray(actions) == 2).all()
        np.testing.assert_allclose(extras["log_prob"], 0.0, atol=1e-6)


def test_policies_against_their_formulas():
    logits = jnp.array([0.3, -1.2, UNAVAILABLE])
    categorical = CategoricalActions(jax.nn.log_softmax(logits))
    p = np.exp([0.3, -1.2]) / np.exp([0.3, -1.2]).sum()
    assert categorical.entropy() == pytest.approx(-(p * np.log(p)).sum(), abs=1e-6)
    assert categorical.log_prob(jnp.array(1)) == pytest.approx(np.log(p[1]), abs=1e-6)
    gaussian = GaussianActions(jnp.array([0.5, -1.0]), jnp.array([-0.3, 0.2]))
    samples = jax.vmap(gaussian.sample)(jax.random.split(jax.random.key(0), 40_000))
    log_probs = jax.vmap(gaussian.log_prob)(samples)
    assert -float(log_probs.mean()) == pytest.approx(float(gaussian.entropy()), abs=0.02)
    np.testing.assert_allclose(samples.std(0), np.exp([-0.3, 0.2]), rtol=0.02)


def test_the_risk_schedule_goes_from_neutral_to_the_target():
    world = World()
    learner = learners.learner("rqe-mappo", world, total_updates=10, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    update = jax.jit(learner.update)
    fractions = []
    for i in range(8):
        state, metrics = update(state, trajectory(world, learner, state, seed=i))
        fractions.append(float(metrics["risk_fraction"]))
    np.testing.assert_allclose(fractions, [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1], atol=1e-6)


def test_swept_numbers_reach_the_measure():
    world = World()
    learner = learners.learner("rqe-mappo", world, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0), tau=jnp.float32(3.5), epsilon=0.2)
    assert float(state.measure.tau) == 3.5
    assert float(state.epsilon) == pytest.approx(0.2)
    assert learner.sweepable == {"tau", "epsilon", "learning_rate"}


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("rqe-mapo", {}, "did you mean rqe-mappo"),
        ("rqe-mappo", {"taw": 1.0}, "did you mean tau"),
        ("rqe-mappo", {"tau": 0.0}, "tau"),
        ("rqe-mappo", {"tau": -1.0}, "tau"),
        ("rqe-mappo", {"alpha": 0.1}, "its number is called tau"),
        ("c51-cvar-mappo", {"alpha": 0.0}, "alpha"),
        ("c51-cvar-mappo", {"alpha": 1.5}, "alpha"),
        ("c51-cvar-mappo", {"support": (3.0, 3.0)}, "lowest < highest"),
        ("c51-cvar-mappo", {"support": (3.0, -3.0)}, "lowest < highest"),
        ("mappo", {"advantage": "entropic"}, "needs critic 'categorical' or 'quantile'"),
        ("mappo", {"measure": "entropc:1"}, "did you mean entropic"),
        ("rqe-mappo", {"measure": "cvar:0.1"}, "needs an entropic measure"),
        ("rqe-mappo", {"measure": "var:0.1", "advantage": "influence"}, "influence function"),
        ("mappo", {"rollout_steps": 7}, "segment_length 4 must divide"),
        ("mappo", {"minibatches": 3}, "must divide the 8 segments"),
        ("mappo", {"batch_fraction": 0.2}, "batch_fraction 0.2 of 8 segments leaves less than one for each of 2"),
        ("mappo", {"batch_fraction": 0.0}, r"batch_fraction must be a number in \(0, 1\]"),
        ("mappo", {"recurrent": True, "segment_length": 1}, "segment_length >= 2"),
        ("mappo", {"network": "set"}, "unknown network 'set'; did you mean sets"),
        ("mappo", {"epsilon": -0.1}, "epsilon must be a finite number >= 0"),
        ("mappo", {"gamma": 1.5}, r"gamma must be a number in \[0, 1\]"),
        ("mean-variance-mappo", {"critic": "scalar"}, "needs critic 'dual'"),
    ],
)
def test_bad_settings_get_one_clear_line(method, settings, words):
    with pytest.raises(AverseError, match=words) as caught:
        learners.learner(method, World(), **{**SMALL, **settings})
    assert "\n" not in str(caught.value)


def test_action_values_need_discrete_actions():
    with pytest.raises(AverseError, match="discrete"):
        learners.learner("rqe-mappo", World(Box(1)), **{**SMALL, "advantage": "action-value"})


def test_sets_need_an_environment_that_has_them():
    words = "network 'sets' needs an environment that describes a set .* world has no observation_layout"
    with pytest.raises(AverseError, match=words) as caught:
        learners.learner("mappo", World(), **SMALL, network="sets")
    assert "\n" not in str(caught.value)


def test_sets_are_pooled_to_as_many_numbers_as_asked_for():
    learner = learners.learner("mappo", WorldOfSets(), **SMALL, network="sets", set_units=5)
    networks = jax.jit(learner.init)(jax.random.key(0)).networks
    sets = [layer for network in networks.values() for name, layer in network["params"].items() if "Set" in name]
    assert [layer["kernel"].shape[-1] for layer in sets] == [5, 5, 5]  # the actor's, and the critic's two


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.optimised
def test_ppo_and_rqe_mappo_learn_cartpole():
    """Both beat a policy that pushes at random (about 20 steps) by far within 60,000 steps, on each of 3 seeds."""
    env = environments.make("risky-cartpole", level="none")
    assert env.num_agents == 1
    for method in ("ppo", "rqe-mappo"):
        run = averse.train(
            "risky-cartpole", method, steps=6e4, seeds=3, environment_parameters={"level": "none"},
            num_envs=16, rollout_steps=64,
            **({"tau": 10.0} if method == "rqe-mappo" else {}),
        )  # fmt: skip
        evaluation = averse.evaluate(run, episodes=20)
        for returns in evaluation.episodes.by_training_seed():
            assert returns.mean() > 100, (method, returns.mean())
