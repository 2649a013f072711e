"""The conditions of the theory, and the monotonicity that they stand for, checked on the operator itself."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.errors import AverseError
from averse.games import NormalForm, published, tractability, tractability_margin


def test_two_players():
    inside = tractability([12.5, 0.5], [0.68, 10])
    assert inside.margin == pytest.approx(0.55)
    assert inside.unique
    assert "Mazumdar" in inside.theorem
    weaker = tractability(2.0, 1.0)
    assert weaker.margin == -3
    assert weaker.unique
    assert "Zhang" in weaker.theorem
    outside = tractability(4.0, 1.0)  # 16 eps^2 = tau^2: the inequality is strict
    assert not outside.unique
    assert outside.radius == pytest.approx(1.0)
    assert not tractability(np.inf, 1.0).unique
    assert not tractability(0.1, 1.0, "kl", "entropy").unique
    assert tractability(0.1, 1.0, "reverse-kl", "entropy").unique


def test_every_published_fit_is_inside():
    assert min(tractability(game.tau, game.epsilon).margin for game in published().values()) > 0


def test_training_summary_margin():
    assert tractability_margin(0.5, 1.0, 2) == 0.75
    assert tractability_margin(0.5, 1.0, 4) == pytest.approx(-0.5)
    assert tractability(0.5, 1.0, players=4).margin == pytest.approx(-0.5)


def test_many_players_need_more_than_the_simple_condition():
    # eps_i >= sum of the others' tau implies uniqueness up to five players under KL, not beyond.
    for players, unique in ((3, True), (4, True), (6, False)):
        stand = tractability(1.0, players - 1.0, players=players)
        assert stand.margin == 0
        assert stand.unique == unique
    assert tractability(1.0, 5.0, "reverse-kl", "entropy", players=6).unique


@pytest.mark.parametrize(("penalty", "regulariser"), [("kl", "log-barrier"), ("reverse-kl", "entropy")])
def test_the_augmented_game_of_three_players_is_monotone_there(penalty, regulariser):
    """The symmetrised Jacobian of the weighted pseudo-gradient, on tangent directions.

    Under KL the worst points are rare actions, and adversaries that play all of them or none, with even odds.
    """
    game = NormalForm.random(1, (2, 2, 2))
    generator = np.random.default_rng(2)

    def lowest(radius, ratios, epsilon):
        matrix = (2 if penalty == "kl" else 1) * ratios[None, :] / (4 * epsilon[:, None])
        np.fill_diagonal(matrix, 0)
        values, vectors = np.linalg.eig(matrix)
        tau = ratios * radius / values.real.max()
        weights = abs(vectors[:, values.real.argmax()].real)
        assert tractability(tau, epsilon, penalty, regulariser, 3).radius == pytest.approx(radius)
        least = np.inf
        with jax.enable_x64(True):
            for rare in (0.4, 0.1, 0.01, 0.001):
                for _ in range(3):
                    x = np.tile([rare, 1 - rare], (3, 1))
                    p = np.tile([0.5 - rare / 4, rare / 4, rare / 4, 0.5 - rare / 4], (3, 1))
                    if penalty == "reverse-kl":
                        x = generator.dirichlet(np.ones(2), 3)
                        p = np.stack([np.outer(*np.delete(x, i, 0)).ravel() for i in range(3)])
                    least = min(least, _lowest_curvature(game, x, p, tau, epsilon, weights, penalty, regulariser))
        return least

    assert lowest(0.95, np.array([0.5, 1.0, 2.0]), np.array([1.0, 2.0, 0.5])) > 0
    # For equal players the condition is tight under reverse KL, and within a factor of four under KL.
    assert lowest(0.98, np.ones(3), np.ones(3)) > 0
    assert lowest(4.4 if penalty == "kl" else 1.1, np.ones(3), np.ones(3)) < 0


def _lowest_curvature(game, x, p, tau, epsilon, weights, penalty, regulariser):
    point, matrices = jnp.concatenate([jnp.ravel(x), jnp.ravel(p)]), game.matrices()
    jacobian = np.asarray(_jacobian(point, matrices, tau, epsilon, weights, penalty, regulariser))
    tangent = np.zeros((18, 12))
    for i in range(3):
        tangent[2 * i : 2 * i + 2, i] = [1, -1]
        for k in range(3):
            tangent[6 + 4 * i + k, 3 + 3 * i + k], tangent[6 + 4 * i + 3, 3 + 3 * i + k] = 1, -1
    symmetric = tangent.T @ (jacobian + jacobian.T) @ tangent / 2
    scale = 1 / np.sqrt(np.diag(symmetric))
    return np.linalg.eigvalsh(scale[:, None] * symmetric * scale).min()


@partial(jax.jit, static_argnames=("penalty", "regulariser"))
def _jacobian(point, matrices, tau, epsilon, weights, penalty, regulariser):
    """Of the weighted pseudo-gradient of three players and their adversaries [18, 18]."""

    def gradient(flat):
        x, p = flat[:6].reshape(3, 2), flat[6:].reshape(3, 4)
        own, adversary = [], []
        for i in range(3):
            others = [x[j] for j in range(3) if j != i]

            def loss(xi, i=i):
                nu = jnp.sum(xi * jnp.log(xi)) if regulariser == "entropy" else -jnp.sum(jnp.log(xi))
                return weights[i] * (-xi @ matrices[i] @ p[i] + epsilon[i] * nu)

            def counter(pi, i=i, others=others):
                y = jnp.outer(*others).ravel()
                d = jnp.sum(pi * jnp.log(pi / y)) if penalty == "kl" else jnp.sum(y * jnp.log(y / pi))
                return weights[i] * (x[i] @ matrices[i] @ pi + tau[i] * d)

            own.append(jax.grad(loss)(x[i]))
            adversary.append(jax.grad(counter)(p[i]))
        return jnp.concatenate([*own, *adversary])

    return jax.jacfwd(gradient)(point)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, 1.0), "above 0"),
        ((1.0, -1.0), "at least 0"),
        ((1.0, 1.0, "lk"), "unknown penalty"),
        (([1, 2, 3], 1.0), "one per player"),
        ((1.0, 1.0, "kl", "entropy", 1), "at least two players"),
    ],
)
def test_bad_settings(arguments, words):
    with pytest.raises(AverseError, match=words):
        tractability(*arguments)
