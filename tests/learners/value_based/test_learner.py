"""The value-based family: targets against plain loops, memory, masks, agents that are done, settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_trajectory import World, trajectory
from tiers import first_quick, thorough

from averse import AverseError, learners
from averse.environments.protocol import Box
from averse.learners.value_based.exploration import epsilon_greedy
from averse.learners.value_based.learner import ValueBased

SMALL = {
    "num_envs": 4, "rollout_steps": 6, "batch_size": 8, "gradient_steps": 2, "buffer_size": 64, "hidden": (8,),
    "num_atoms": 6, "mixer_embedding": 8, "hypernet": 8,
}  # fmt: skip
METHODS = ("dqn", "c51", "qr-dqn", "vdn", "qmix", "rmix", "riskq")


def data_of(world, learner, state, seed=0):
    """`test_mappo.trajectory` with memories and beginnings of episodes."""
    data = trajectory(world, learner._replace(act=idle), state, seed)
    return filled(data, jax.eval_shape(lambda: learner.initial_memory(1)), seed)


def idle(state, observations, available, key, memory=()):
    return jnp.zeros(observations.shape[:3], jnp.int32), {}


@functools.partial(jax.jit, static_argnums=1)
def filled(data, blank, seed):
    actions = jax.random.categorical(jax.random.key(seed), jnp.where(data.available, 0.0, -jnp.inf))
    shape = actions.shape[:2]
    noise = lambda x: jax.random.normal(jax.random.key(seed + 1), (*shape, *x.shape[1:]))  # noqa: E731
    memory = jax.tree.map(noise, blank)
    data = data._replace(actions=actions, memory=memory)
    done = data.terminated.all(-1) | data.truncated
    first = jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])
    return data._replace(first=first, next_available=jnp.roll(data.available, -1, 0))


@functools.cache
def prepared(method, **settings):
    """The world, a learner for it, its first state and its compiled update."""
    world = World()
    learner = learners.learner(method, world, **{**SMALL, **settings})
    return world, learner, jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.update)


SLOW = pytest.mark.slow  # seconds of compilation each
VARIANTS = [
    *[(method, {}) for method in METHODS],
    pytest.param("dqn", {"recurrent": True, "shared": False}, marks=SLOW),
    pytest.param("qr-dqn", {"measure": "entropic:1", "lam": 0.5, "recurrent": True}, marks=SLOW),
    pytest.param("c51", {"measure": "cvar:0.2", "lam": 0.5}, marks=SLOW),
    pytest.param("qmix", {"recurrent": False, "target_interval": 2, "optimiser": "rmsprop"}, marks=SLOW),
    pytest.param("riskq", {"measure": "var:0.3", "double": False}, marks=SLOW),
    pytest.param("rmix", {"fixed_alpha": 0.3}, marks=SLOW),
    pytest.param("vdn", {"shared": False, "final_learning_rate": 0.1}, marks=SLOW),
]


@pytest.mark.parametrize(("method", "settings"), VARIANTS, ids=str)
def test_every_variant_updates_all_its_parameters(method, settings):
    world, learner, state, update = prepared(method, **settings)
    new, metrics = update(state, data_of(world, learner, state))
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert metrics["buffer_fill"] == pytest.approx(4 / 64)
    assert int(new.updates) == 1
    assert int(new.gradient_steps) == 2
    for kind in ("params", "target"):
        before, after = (jax.tree.leaves(getattr(s, kind)) for s in (state, new))
        for old, now in zip(before, after, strict=True):
            assert np.isfinite(now).all()
            assert not np.array_equal(old, now)


# --- the loss against plain loops -------------------------------------------------------------------------------------


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def linear(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def network_by_hand(params, observations, memory, agent):
    """One agent's GRU network at one moment: (outputs, memory), in numpy."""
    x = np.concatenate([observations, np.eye(World.num_agents)[agent]])
    encoder, recurrence, head = (params[part]["params"] for part in ("encoder", "recurrence", "head"))
    x = np.maximum(linear(encoder["Dense_0"], x), 0.0)
    inputs, recalled = linear(encoder["Dense_1"], x), linear(recurrence["Dense_0"], memory)
    h = len(memory)
    reset, update = sigmoid(inputs[:h] + recalled[:h]), sigmoid(inputs[h : 2 * h] + recalled[h : 2 * h])
    memory = (1 - update) * np.tanh(inputs[2 * h :] + reset * recalled[2 * h :]) + update * memory
    return linear(head["Dense_0"], memory), memory


def values_by_hand(params, data, environment):
    """Q [T + 1, A, n] of one environment's column, the memory blank where episodes begin."""
    steps, agents = data.observations.shape[0], World.num_agents
    values = []
    memory = np.asarray(data.memory)[0, environment]
    for t in range(steps + 1):
        inside = t < steps
        seen = np.asarray(data.observations[t] if inside else data.next_observations[-1])[environment]
        if inside and data.first[t, environment]:
            memory = np.zeros_like(memory)
        outputs = [network_by_hand(params, seen[i], memory[i], i) for i in range(agents)]
        values.append([q for q, _ in outputs])
        memory = np.array([m for _, m in outputs])
    return np.array(values)


@pytest.mark.parametrize(
    ("mixer", "lam"),
    [("sum", 0.6), pytest.param("sum", 0.0, marks=SLOW), pytest.param("none", 0.0, marks=SLOW), thorough("none", 0.6)],
)
def test_double_q_and_lambda_targets_against_a_plain_loop(mixer, lam):
    """The loss of one gradient step on one sequence with ends, cuts and dead agents in it, worked out step by step."""
    world, gamma = World(), 0.9
    settings = {**SMALL, "num_envs": 1, "gradient_steps": 1, "rollout_steps": 12, "gamma": gamma, "lam": lam}
    learner = learners.learner("vdn", world, **{**settings, "mixer": mixer})
    state = jax.jit(learner.init)(jax.random.key(0))
    # A target network of its own, so that who chooses and who values is told apart.
    state = state._replace(
        target=jax.tree.map(lambda x: x + 0.3 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), state.params)
    )
    data = data_of(world, learner, state, seed=3)
    active = np.ones((12, 1, 3), bool)
    for t in range(1, 12):
        active[t] = data.first[t, 0] | ~np.asarray(data.terminated[t - 1])
    terminated = np.asarray(data.terminated) | ~active
    data = data._replace(active=jnp.asarray(active), terminated=jnp.asarray(terminated))
    assert terminated.any()
    assert (np.asarray(data.truncated)[:-1, 0] & ~terminated[:-1, 0].all(-1)).any()
    _, metrics = jax.jit(learner.update)(state, data)

    online, target = (
        values_by_hand(jax.tree.map(np.asarray, p["agents"]), data, 0) for p in (state.params, state.target)
    )
    masks = np.concatenate([data.available, data.next_available[-1:]])[:, 0]
    actions, rewards, over, cut = (
        np.asarray(x)[:, 0] for x in (data.actions, data.rewards, terminated, data.truncated)
    )
    active = active[:, 0]
    known = [t == 11 or not cut[t] or over[t].all() for t in range(12)]

    def following(t, i):
        choice = np.where(masks[t + 1, i], online[t + 1, i], -np.inf).argmax()
        return target[t + 1, i, choice]

    def goes_on(t, ended):
        return t < 11 and not ended and not cut[t] and known[t + 1]

    losses = []
    agents = range(3)
    ahead = np.zeros(3)
    for t in reversed(range(12)):
        if mixer == "sum":
            after = sum(following(t, i) for i in agents if not over[t, i])
            lam_t = lam if goes_on(t, over[t].all()) else 0.0
            y = rewards[t].mean() + gamma * (not over[t].all()) * ((1 - lam_t) * after + lam_t * ahead[0])
            q = sum(online[t, i, actions[t, i]] for i in agents if active[t, i])
            ahead[:] = y
            if known[t]:
                losses.append(0.5 * (q - y) ** 2)
        else:
            for i in agents:
                lam_t = lam if goes_on(t, over[t, i]) else 0.0
                ahead[i] = rewards[t, i] + gamma * (not over[t, i]) * ((1 - lam_t) * following(t, i) + lam_t * ahead[i])
                if known[t] and active[t, i]:
                    losses.append(0.5 * (online[t, i, actions[t, i]] - ahead[i]) ** 2)
    assert float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("method", first_quick(["vdn", "rmix"]))
def test_acting_step_by_step_is_unrolling(method):
    """The memory that `act` carries gives the values, and levels of risk, that a replayed sequence gives."""
    world = World()
    learner = learners.learner(method, world, **{**SMALL, "num_envs": 1, "gradient_steps": 1})
    config = learners.preset(method, **{**SMALL, "num_envs": 1})
    state = jax.jit(learner.init)(jax.random.key(0))
    data = data_of(world, learner, state)
    first = data.first.at[0].set(True).at[3].set(True)
    network = ValueBased.of(config, world, 1).network
    together = jax.jit(network.unroll)(state.params["agents"], data.memory[0], data.observations, first)
    step, act, data, first = jax.jit(network.step), jax.jit(learner.act), *jax.device_get((data, first))
    blank = memory = learner.initial_memory(1)
    for t in range(6):
        if first[t, 0]:
            memory = blank
        alone, after = step(state.params["agents"], memory, data.observations[t])
        np.testing.assert_allclose(alone, together[t], atol=1e-5)
        _, extras = act(state, data.observations[t], data.available[t], jax.random.key(0), memory=memory)
        np.testing.assert_array_equal(extras["memory"], after)
        memory = after


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_agents_data_changes_nothing(method):
    """Whatever an inactive agent's observations and actions were, the update is the same; and its own rewards are 0."""
    world, learner, state, update = prepared(method)
    data = data_of(world, learner, state)
    dead = jnp.zeros_like(data.active).at[:, :, 1].set(True)
    data = data._replace(active=~dead, terminated=data.terminated | dead, rewards=jnp.where(dead, 0.0, data.rewards))
    garbage = data._replace(
        observations=jnp.where(dead[..., None], 7.0, data.observations),
        next_observations=jnp.where(dead[..., None], -7.0, data.next_observations),
        actions=jnp.where(dead, 0, data.actions),
    )
    (one, _), (other, _) = update(state, data), update(state, garbage)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params)):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_unavailable_actions_are_never_taken(method):
    world, _, state, _ = prepared(method)
    draws = np.random.default_rng(1)
    available = draws.random((500, 3, 4)) < 0.4
    available[..., 2] = True
    observations = draws.normal(size=(500, 3, 5)).astype(np.float32)

    @jax.jit
    def chosen(state, observations, available):
        actions = []
        for exploration, greedy in ((0.0, False), (0.5, False), (1.0, False), (0.5, True)):
            settings = {"exploration_start": exploration, "exploration_end": exploration}
            learner = learners.learner(method, world, **{**SMALL, **settings})
            memory, key = learner.initial_memory(500), jax.random.key(2)
            actions.append(learner.act(state, observations, available, key, memory=memory, greedy=greedy)[0])
        return actions

    for actions in chosen(state, observations, available):
        assert np.take_along_axis(available, np.asarray(actions)[..., None], -1).all()


def test_unavailable_actions_never_enter_a_target():
    """Values of next actions that are not available are not looked at."""
    world, learner, state, update = prepared("dqn", num_envs=1, gradient_steps=1)
    data = data_of(world, learner, state)
    mask = jnp.zeros_like(data.available).at[..., 1].set(True)
    data = data._replace(available=mask, next_available=mask, actions=jnp.ones_like(data.actions))
    layers = state.params["agents"]["params"]
    tempting = {**layers["Dense_1"], "bias": layers["Dense_1"]["bias"].at[jnp.array([0, 2, 3])].add(1e6)}
    tempted = {"agents": {"params": {**layers, "Dense_1": tempting}}}
    plain = update(state, data)[1]["loss"]
    assert float(update(state._replace(params=tempted, target=tempted), data)[1]["loss"]) == pytest.approx(float(plain))


def test_epsilon_greedy_draws_what_it_says():
    scores = np.broadcast_to(np.array([3.0, 1.0, 2.0, 0.0], np.float32), (40_000, 4))
    available = np.broadcast_to(np.array([False, True, True, True]), (40_000, 4))
    actions = jax.jit(epsilon_greedy)(jax.random.key(0), scores, available, np.float32(0.3))
    shares = np.bincount(actions, minlength=4) / 40_000
    np.testing.assert_allclose(shares, [0.0, 0.1, 0.8, 0.1], atol=0.01)


def test_the_target_network_follows():
    for settings, expected in (
        ({"target_rate": 1.0}, 1.0),
        ({"target_interval": 2}, 1.0),
        ({"target_interval": 3}, 0.0),
    ):
        world, learner, state, update = prepared("dqn", **settings)
        new, _ = update(state, data_of(world, learner, state))
        like = new.params if expected else state.target
        for a, b in zip(jax.tree.leaves(new.target), jax.tree.leaves(like)):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.thorough
def test_the_risk_level_predictor_receives_a_gradient():
    """Every parameter of RMIX's predictor moves by the temporal difference alone."""
    world, learner, state, update = prepared("rmix", quantile_weight=0.0, gradient_steps=1)
    new, metrics = update(state, data_of(world, learner, state))
    for old, now in zip(jax.tree.leaves(state.params["predictor"]), jax.tree.leaves(new.params["predictor"])):
        assert not np.array_equal(old, now)
    assert 0.1 <= float(metrics["risk_level"]) <= 1.0
    _, fixed, state, update = prepared("rmix", fixed_alpha=0.3)
    assert "predictor" not in state.params
    assert float(update(state, data_of(world, fixed, state))[1]["risk_level"]) == pytest.approx(0.3, abs=1e-5)


def test_the_risk_level_does_not_follow_what_all_steps_have_in_common():
    """Rewards shifted by 1,000: the team's error is another, the direction in which the predictor moves is not.

    (While values are far from what they will be, a level that followed them ran to its lowest and stayed there.)
    """
    world, learner, state, update = prepared("rmix", lam=0.0, gradient_steps=1, max_gradient_norm=1e9)
    data = data_of(world, learner, state)

    def moved(data):
        new, _ = update(state, data)
        pairs = zip(*(jax.tree.leaves(each.params["predictor"]) for each in (state, new)))
        return np.concatenate([(np.asarray(b) - np.asarray(a)).ravel() for a, b in pairs])

    plain, shifted = moved(data), moved(data._replace(rewards=data.rewards + 1000.0))
    assert plain @ shifted > 0.95 * np.linalg.norm(plain) * np.linalg.norm(shifted)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("qmx", {}, "did you mean qmix"),
        ("dqn", {"measure": "cvar:0.1"}, "knows no measure"),
        ("vdn", {"head": "quantile"}, "goes with head 'mean'"),
        ("riskq", {"measure": "entropic:1"}, "only for mean, cvar"),
        ("riskq", {"head": "mean", "measure": "mean"}, "needs head 'quantile'"),
        ("riskq", {"alpha": 0.1}, "its number is called eta"),
        ("qr-dqn", {"measure": "cvar:0"}, "alpha"),
        ("rmix", {"recurrent": False}, "recurrent"),
        ("rmix", {"fixed_alpha": 0.0}, "fixed_alpha"),
        ("qmix", {"fixed_alpha": 0.5}, "unknown setting of qmix 'fixed_alpha'"),
        ("rmix", {"measure": "cvar:0.1"}, "fixed_alpha holds it"),
        ("dqn", {"buffer_size": 2}, "buffer_size"),
        ("dqn", {"gamma": 1.5}, r"gamma must be a number in \[0, 1\]"),
        ("dqn", {"hidden": ()}, "hidden"),
        ("c51", {"support": (1.0, 1.0)}, "lowest < highest"),
    ],
)
def test_bad_settings_get_one_clear_line(method, settings, words):
    with pytest.raises(AverseError, match=words) as caught:
        learners.learner(method, World(), **{**SMALL, **settings})
    assert "\n" not in str(caught.value)


def test_actions_must_be_discrete():
    with pytest.raises(AverseError, match="discrete"):
        learners.learner("qmix", World(Box(1)), **SMALL)
