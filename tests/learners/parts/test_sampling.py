"""Rows drawn by their priorities: unbiased sums, by averages over many draws and by hand for two rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.learners.parts.sampling import advantage_priorities, priority_sample

PRIORITIES = jnp.array([0.5, 3.0, 1.0, 1.5, 5.0, 0.2, 2.0])
DRAWS = 30_000


def drawn(size, priorities=PRIORITIES, draws=DRAWS):
    """Whether each row was drawn, and its weight where it was, [draws, N]."""
    keys = jax.random.split(jax.random.key(3), draws)
    rows, weights = jax.vmap(lambda key: priority_sample(key, priorities, size))(keys)
    chosen = jax.vmap(lambda row: jnp.zeros(len(priorities), jnp.int32).at[row].add(1))(rows)
    return np.asarray(chosen), np.asarray(jnp.where(chosen > 0, weights, 0.0), np.float64)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_each_row_counts_once_in_expectation(size):
    """Each row, so any sum over rows: also one of numbers that have nothing to do with the priorities."""
    chosen, weights = drawn(size)
    assert (chosen.sum(-1) == size).all()
    assert chosen.max() == 1
    assert (weights[chosen > 0] >= 1.0).all()
    if size > 1:  # of a single row the weight has no variance
        error = weights.std(0) / np.sqrt(DRAWS)
        assert (np.abs(weights.mean(0) - 1.0) <= 4.5 * error + 1e-6).all()
        assert error.max() < 0.1
    frequencies = chosen.mean(0)
    assert (np.diff(frequencies[np.argsort(PRIORITIES)]) > 0).all()


def test_one_row_of_two_by_hand():
    """The first of p, q is drawn where p / u > q / v: P(v > q u / p) = 1 - q / (2 p) for q <= p."""
    chosen, weights = drawn(1, jnp.array([4.0, 1.0]))
    assert chosen[:, 0].mean() == pytest.approx(1 - 1 / 8, abs=4.5 * np.sqrt(7 / 64 / DRAWS))
    # It counts max(1, (1 / v) / 4): once where v >= 1/4, and then it is always drawn.
    first = weights[chosen[:, 0] > 0, 0]
    assert (first == 1.0).mean() == pytest.approx((3 / 4) / (7 / 8), abs=0.01)


def test_priorities_are_half_advantage_half_number():
    advantages = jnp.array([[1.0, -3.0], [0.0, 9.0], [0.0, 0.0], [5.0, 5.0]])
    active = jnp.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    mean = 4.0 / 5.0
    np.testing.assert_allclose(advantage_priorities(advantages, active), [4 + 2 * mean, mean, 2 * mean, 0], atol=1e-6)
    np.testing.assert_allclose(advantage_priorities(jnp.zeros((2, 2)), active[:2]), [2.0, 1.0])
    assert (advantage_priorities(advantages, active) > 0).all()
