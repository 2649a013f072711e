"""Partners that push back: their perturbation and its price, who learns from what, and equilibria that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_games import MatrixGame, train

import averse
from averse import learners
from averse.errors import AverseError
from averse.games import NormalForm, rqe
from averse.learners.contract import Trajectory
from averse.learners.parts.action_distributions import CategoricalActions, GaussianActions, probabilities
from averse.learners.policy_gradient.adversaries import SRPO, Perturbation, of_egos, perturbed
from averse.learners.policy_gradient.mappo import Prices, Samples
from averse.risk import Entropic

# Both do best at the first actions, where each loses most if the other does not play along.
PAYOFFS = (((4.0, -3.0), (1.0, 0.0)), ((2.0, 1.0), (-4.0, 3.0)))
TAU = EPSILON = 1.0


def equilibrium(tau: float = TAU) -> np.ndarray:
    """The RQE of the game, [A, n]."""
    rows, columns = map(np.array, PAYOFFS)
    return np.stack(rqe(NormalForm([rows, columns.T]), tau, EPSILON, "kl", "entropy", "aggregate").strategies)


@pytest.mark.parametrize("tau", [0.3, 2.0, 1e6])
def test_the_perturbation_is_the_worst_one_for_its_price(tau):
    """Against all others on a grid of the simplex, in double precision."""
    pi, feared = np.array([0.2, 0.5, 0.3, 0.0]), np.array([1.0, -2.0, 0.5, -9.0])
    choice = CategoricalActions(jnp.log(jnp.maximum(jnp.asarray(pi, jnp.float32), 1e-30)))
    found, price = perturbed(choice, jnp.asarray(feared, jnp.float32), jnp.float32(tau))
    p = np.asarray(probabilities(found), np.float64)[:3]

    def cost(p):
        return p @ feared[:3] + tau * (p * np.log(np.maximum(p, 1e-300) / pi[:3])).sum(-1)

    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 201)] * 2), -1).reshape(-1, 2)
    grid = np.column_stack([grid, 1 - grid.sum(-1)])
    assert cost(p / p.sum()) < cost(grid[grid[:, 2] >= 0]).min() + 1e-5 * min(tau, 100.0)
    # The price of large tau is that of a small step: sum of squares over 2 tau, which a difference of logarithms loses.
    exact = -tau * np.log(pi[:3] @ np.exp(-feared[:3] / tau)) - p @ feared[:3]
    assert float(price) == pytest.approx(exact, abs=2e-6)


def test_no_perturbation_at_infinite_tolerance():
    choice = CategoricalActions(jnp.log(jnp.array([0.25, 0.75])))
    found, price = perturbed(choice, jnp.array([5.0, -5.0]), jnp.float32(jnp.inf))
    np.testing.assert_allclose(found.log_probs, choice.log_probs, atol=1e-6)
    assert abs(float(price)) < 1e-6


def test_of_a_linear_fear_a_normal_moves():
    """p is ~ pi exp(-f (a - mean) / (std tau)): the same normal elsewhere, for tau times its divergence."""
    choice = GaussianActions(jnp.array([1.0, -2.0]), jnp.log(jnp.array([0.5, 3.0])))
    feared, tau = jnp.array([0.8, -0.4]), 2.0
    found, price = perturbed(choice, feared, jnp.float32(tau))
    assert float(price) == pytest.approx(tau * float(found.divergence(choice)), rel=1e-5)
    grid = np.linspace(-40, 40, 200_001)
    for k in range(2):
        std = float(jnp.exp(choice.log_std[k]))
        log_p = -0.5 * ((grid - float(choice.mean[k])) / std) ** 2 - float(feared[k]) * grid / (std * tau)
        weights = np.exp(log_p - log_p.max())
        assert float(found.mean[k]) == pytest.approx((weights @ grid) / weights.sum(), abs=1e-4)


def test_each_environment_is_its_egos():
    rng = np.random.default_rng(0)
    shape = (2, 4, 3)  # T, B, A
    active = np.ones(shape, bool)
    active[1, 0, 0] = active[1, 1, 0] = False  # the ego of the first environment, a partner in the second
    terminated = np.zeros(shape, bool)
    terminated[0, 0, 0] = terminated[0, 1, 0] = True
    rewards, costs, price = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    rest = dict.fromkeys(Trajectory._fields)
    given = {"rewards": rewards, "costs": costs, "terminated": terminated, "active": active, "extras": {"price": price}}
    found = of_egos(Trajectory(**rest | jax.tree.map(jnp.asarray, given)))
    for t, b in np.ndindex(2, 4):
        ego = b % 3
        paid = sum(price[t, b, j] for j in range(3) if j != ego and active[t, b, j])
        np.testing.assert_allclose(found.rewards[t, b], rewards[t, b, ego] + paid, rtol=1e-5)
        np.testing.assert_allclose(found.costs[t, b], costs[t, b, ego])
        assert (found.terminated[t, b] == terminated[t, b, ego]).all()
        assert (found.active[t, b] == (active[t, b] & active[t, b, ego])).all()


@pytest.fixture(scope="module")
def parts() -> SRPO:
    settings = {"tau": TAU, "hidden": (), "critic_weight": 0.0, "risk_warmup": 0.0, "num_envs": 2}
    return SRPO.of(learners.preset("srpo-mappo", **settings), MatrixGame(PAYOFFS), 1)


@pytest.fixture(scope="module")
def blank(parts):
    """A state whose networks are all 0: uniform policies, and adversaries that fear nothing."""
    return jax.tree.map(jnp.zeros_like, jax.jit(parts.init)(jax.random.key(0)))._replace(measure=Entropic(TAU))


def given(networks: dict, logits: np.ndarray, feared: np.ndarray) -> dict:
    """The networks with the agents' logits [A, n], and what is feared of each one's actions [A, n], for weights."""
    # Rows of what all see, of the ego's identity in the adversary, and of one's own.
    kernels = {"actor": np.vstack([np.zeros((1, 2)), logits]), "adversary": np.vstack([np.zeros((3, 2)), feared])}
    dense = {name: {**networks[name]["params"]["Dense_0"], "kernel": jnp.asarray(k)} for name, k in kernels.items()}
    return {**networks, **{name: {"params": {"Dense_0": layer}} for name, layer in dense.items()}}


def plays(parts: SRPO, networks: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The actor's outputs [A, n], the policies [A, n] and each one's perturbation by the other's adversary [A, n]."""
    seen, allowed = jnp.ones((2, 2, 1)), jnp.ones((2, 2, 2), bool)
    outputs, _ = parts.actor.step(networks["actor"], (), seen)
    policy, _ = parts.policy(networks["actor"], seen, allowed, ())
    moved, _ = perturbed(policy, parts.feared(networks["adversary"], seen, jnp.eye(2), ()), jnp.float32(TAU))
    partners = probabilities(moved)[jnp.arange(2), jnp.array([1, 0])]  # of the agents 1 and 0
    return outputs[0], probabilities(policy)[0], partners[::-1]


def everything(parts: SRPO, networks: dict) -> Samples:
    """Every ego and joint action [N = 8, 1, A], each as active as it is likely, with its exact advantage."""
    outputs, policy, moved = plays(parts, networks)
    payoffs, ones = jnp.asarray(PAYOFFS), jnp.ones((2, 2, 2))
    mine, theirs = policy[:, :, None] * ones, moved[::-1, None, :] * ones  # [ego, own action, the other's]
    advantages = payoffs - (mine * theirs * payoffs).sum((1, 2), keepdims=True) * ones
    own, others = jnp.asarray(np.indices((2, 2, 2))[1:], jnp.int32)

    def by_agent(of_ego, of_other):
        """[ego, own, other] each to [N, 1, A]."""
        pairs = jnp.stack([of_ego, of_other], -1)
        return jnp.stack([pairs[0], pairs[1, ..., ::-1]]).reshape(8, 1, 2)

    return Samples(
        memory=(),
        first=jnp.ones((8, 1), bool),
        observations=jnp.ones((8, 1, 2, 1)),
        global_state=jnp.ones((8, 1, 1)),
        available=jnp.ones((8, 1, 2, 2), bool),
        actions=by_agent(own, others),
        log_prob=jnp.log(by_agent(mine, theirs)),
        advantages=by_agent(advantages, -advantages),
        targets=jnp.zeros((8, 1, 2, 1)),
        active=by_agent(mine * theirs, mine * theirs),
        besides=Perturbation(by_agent(ones, 0 * ones), jnp.broadcast_to(outputs[None, None], (8, 1, 2, 2))),
    )


def exact_gradient(parts: SRPO, networks: dict) -> dict:
    """Of the learner's own loss on all that can happen."""
    prices = Prices(jnp.float32(EPSILON), jnp.float32(1.0), Entropic(jnp.float32(TAU)))
    data = jax.lax.stop_gradient(everything(parts, networks))
    return jax.grad(lambda networks: parts.loss(prices, networks, data)[0])(networks)


def worst(ego: int, policies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the ego's adversary should fear of its partner's actions [n], and make of its partner's policy [n]."""
    feared = np.array(PAYOFFS[ego]).T @ policies[ego]
    moved = policies[1 - ego] * np.exp(-feared / TAU)
    return feared, moved / moved.sum()


def test_the_exact_gradient_is_zero_at_the_equilibrium(parts, blank):
    solution = equilibrium()
    feared = np.stack([worst(1 - partner, solution)[0] for partner in range(2)])
    gradient_of = jax.jit(lambda networks: jax.tree.leaves(exact_gradient(parts, networks)))

    def steepest(*numbers):
        return max(float(abs(leaf).max()) for leaf in gradient_of(given(blank.networks, *numbers)))

    assert steepest(np.log(solution), feared) < 1e-6
    assert steepest(np.log(solution), 0.9 * feared) > 1e-2
    assert steepest(0.9 * np.log(solution), feared) > 1e-2


@pytest.mark.thorough
def test_the_exact_gradient_leads_to_the_equilibrium(parts, blank):
    """The tabular form, from uniform play to `averse.games.rqe`."""

    def step(networks, _):
        return jax.tree.map(lambda x, g: x - 0.3 * g, networks, exact_gradient(parts, networks)), None

    networks = jax.jit(lambda networks: jax.lax.scan(step, networks, None, length=3000)[0])(blank.networks)
    _, policy, moved = plays(parts, networks)
    assert abs(equilibrium() - equilibrium(tau=np.inf)).max() > 0.5  # without an adversary they play for the best
    np.testing.assert_allclose(policy, equilibrium(), atol=1e-5)
    for ego in range(2):
        np.testing.assert_allclose(moved[1 - ego], worst(ego, equilibrium())[1], atol=1e-5)


def test_partners_are_perturbed_in_training_only(parts, blank):
    feared = np.array([[1.0, -0.5], [0.0, 2.0]])
    state = blank._replace(networks=given(blank.networks, np.zeros((2, 2)), feared))
    seen = jnp.ones((2, 2, 1)), jnp.ones((2, 2, 2), bool)
    keys = jax.random.split(jax.random.key(1), 4000)
    both = jax.jit(lambda key: (parts.behave(state, *seen, key)[0], parts.act(state, *seen, key)[0]))
    trained, acted = (np.asarray(actions).mean(0) for actions in jax.vmap(both)(keys))
    np.testing.assert_allclose(acted, 0.5, atol=0.03)
    tilted = 1 / (1 + np.exp((feared[:, 1] - feared[:, 0]) / TAU))
    # Agent 0 is the ego of the first environment, agent 1 of the second.
    np.testing.assert_allclose(trained, [[0.5, tilted[1]], [tilted[0], 0.5]], atol=0.03)


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_the_equilibrium_is_learned():
    settings = {"num_envs": 1024, "rollout_steps": 4, "segment_length": 4, "epochs": 1, "hidden": (8,), "gamma": 1.0}
    settings |= {"tau": TAU, "epsilon": EPSILON, "epsilon_units": "reward", "risk_warmup": 0.0}
    settings |= {"learning_rate": 1e-2, "final_learning_rate": 0.0}
    learner, states, _ = train(MatrixGame(PAYOFFS), "srpo-mappo", 300, seeds=2, **settings)
    seen = jnp.ones((1, 2, 1)), jnp.ones((1, 2, 2), bool)
    policies = np.asarray(jax.vmap(lambda state: learner.action_probabilities(state, *seen)[0])(states))
    np.testing.assert_allclose(policies.mean(0), equilibrium(), atol=1e-2)
    np.testing.assert_allclose(policies, np.broadcast_to(equilibrium(), policies.shape), atol=3e-2)


@pytest.mark.parametrize(
    ("environment", "settings", "words"),
    [
        ("corridor", {}, "needs? several agents, and corridor has 1"),
        ("intersection", {"num_envs": 3}, "num_envs must be 4 or more"),
        ("cliff-walk", {"measure": "cvar:0.1"}, "measure must be entropic"),
        ("cliff-walk", {"critic": "categorical"}, "critic 'scalar' and advantage 'gae'"),
        ("cliff-walk", {"alpha": 0.1}, "its number is called tau"),
    ],
)
def test_bad_settings_get_one_clear_line(environment, settings, words):
    with pytest.raises(AverseError, match=words) as caught:
        learners.learner("srpo-mappo", averse.environments.make(environment), **settings)
    assert "\n" not in str(caught.value)
