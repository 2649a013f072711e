"""Distributional Bellman operators: projections, losses and lambda-returns of return distributions.

Conventions of every recursion here, for a trajectory of T steps with any batch axes after the time axis:

* `rewards[t]` [T, ...], in units of reward;
* `discounts[t]` = gamma (1 - terminated[t]) [T, ...]: 0 where the episode truly ended, gamma where it was truncated;
* `continues[t]` [T, ...]: 0 where the trajectory breaks after step t, terminated *or* truncated, else 1;
* the "next" prediction at t is the critic's at the state that step t led to, *before* any automatic reset. At a break
  and at the last step of the batch the recursion bootstraps on it in full, so that truncation is not taken for death.

Axes: T time, N atoms, M target atoms; `...` batch axes.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from averse.risk.arguments import of_arrays
from averse.risk.broadcasting import lifted, same_rank

# Up to so many atoms it is cheaper on a CPU to visit every pair of atoms in vector instructions than to scatter.
_DENSE_ATOMS = 64


@of_arrays
def project(target_atoms: ArrayLike, probs: ArrayLike, support: ArrayLike) -> Array:
    """Projects probabilities at arbitrary atoms onto a fixed support (Bellemare et al. 2017, eq. 7).

    The probability of a target atom between two atoms of the support is split between them in proportion to proximity,
    which keeps its mean; one beyond the support goes to the nearest end. All of it arrives: on an atom exactly, beyond
    the ends, and with every target at one point (a terminal step).

    Args:
      target_atoms: [..., M], in units of reward, any order; broadcasts against `probs`.
      probs: [..., M].
      support: [N], ascending, N >= 2, not necessarily equally spaced.

    Returns:
      Probabilities on the support [..., N], with the same sum as `probs`.
    """
    target_atoms, probs, support = jnp.asarray(target_atoms), jnp.asarray(probs), jnp.asarray(support)
    num_atoms = support.shape[0]
    positions = jnp.interp(target_atoms, support, jnp.arange(num_atoms, dtype=support.dtype))
    shape = jnp.broadcast_shapes(positions.shape, probs.shape)
    return _spread_by_scatter(jnp.broadcast_to(positions, shape), jnp.broadcast_to(probs, shape), num_atoms)


@of_arrays
def shift_and_project(probs: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, support: ArrayLike) -> Array:
    """The distribution of reward + discount * Z, projected onto the support of Z: `project` for the affine case.

    Args:
      probs: [..., N], the distribution of Z.
      rewards: [...].
      discounts: [...], in [0, 1]; 0 puts all mass at the reward.
      support: [N], ascending and equally spaced.

    Returns:
      Probabilities [..., N], with the same sum as `probs`.
    """
    probs = jnp.asarray(probs)
    num_atoms = probs.shape[-1]
    positions = _shifted_positions(rewards, discounts, jnp.asarray(support))
    shape = jnp.broadcast_shapes(positions.shape, probs.shape)
    spread = _spread_by_visits if num_atoms <= _DENSE_ATOMS else _spread_by_scatter
    return spread(jnp.broadcast_to(positions, shape), jnp.broadcast_to(probs, shape), num_atoms)


@of_arrays
def clamped_mass(probs: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, support: ArrayLike) -> Array:
    """The probability [...] of reward + discount * Z that lies outside the support, which `shift_and_project` clamps.

    A support that holds the returns shows next to none. Arguments as in `shift_and_project`.
    """
    support = jnp.asarray(support)
    positions = _shifted_positions(rewards, discounts, support, clamp=False)
    last = support.shape[0] - 1
    rounding = 8 * last * jnp.finfo(positions.dtype).eps
    positions, probs = same_rank(positions, jnp.asarray(probs))
    outside = (positions < -rounding) | (positions > last + rounding)
    return jnp.sum(jnp.where(outside, probs, 0), -1)


@of_arrays
def cross_entropy(logits: ArrayLike, probs: ArrayLike) -> Array:
    """-sum_i probs_i log softmax(logits)_i as [...], for logits and target probabilities [..., N]."""
    probs, logits = same_rank(jnp.asarray(probs), jnp.asarray(logits))
    return -jnp.sum(probs * jax.nn.log_softmax(logits, -1), -1)


@of_arrays
def cross_entropy_to_shifted(
    logits: ArrayLike, probs_next: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, support: ArrayLike
) -> Array:
    """The C51 loss: cross-entropy from the projection of reward + discount * Z' to softmax(logits), as [...].

    The cross-entropy is linear in its target, so that the projection need not be formed: it is the expectation under
    Z' of log q, linearly interpolated at the shifted atoms.

    Args:
      logits: [..., N], the prediction.
      probs_next: [..., N], the distribution of Z' (stop its gradient where it comes from the same network).
      rewards: [...].
      discounts: [...], in [0, 1].
      support: [N], ascending and equally spaced.
    """
    log_q = jax.nn.log_softmax(jnp.asarray(logits), -1)
    positions = _shifted_positions(rewards, discounts, jnp.asarray(support))
    positions = jnp.broadcast_to(positions, jnp.broadcast_shapes(positions.shape, log_q.shape))
    log_q = jnp.broadcast_to(log_q, positions.shape)
    lower, fraction = _split(positions, log_q.shape[-1])
    at_lower = jnp.take_along_axis(log_q, lower, -1, mode="promise_in_bounds")
    at_upper = jnp.take_along_axis(log_q, lower + 1, -1, mode="promise_in_bounds")
    probs, expected = same_rank(jnp.asarray(probs_next), (1 - fraction) * at_lower + fraction * at_upper)
    return -jnp.sum(probs * expected, -1)


@of_arrays
def quantile_huber_loss(
    values: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None, kappa: float = 1.0
) -> Array:
    """The quantile regression Huber loss of QR-DQN (Dabney et al. 2018, eq. 10), as [...].

    sum_i E_j[ |level_i - 1{u_ij < 0}| L_kappa(u_ij) ] with u_ij = targets_j - values_i, level_i = (2i + 1) / (2N) and
    L_kappa(u) = u^2 / 2 within kappa, kappa (|u| - kappa / 2) beyond. (IQN divides by kappa: the same at 1.)

    Args:
      values: [..., N], the predicted quantiles, i-th at level_i.
      targets: [..., M] (stop their gradient where they come from the same network).
      weights: [..., M], probabilities of the targets; equal by default.
      kappa: threshold of the Huber loss in units of reward, static; 0 is the plain quantile regression loss.
    """
    values, targets = same_rank(jnp.asarray(values), jnp.asarray(targets))
    num_quantiles = values.shape[-1]
    levels = (jnp.arange(num_quantiles, dtype=values.dtype) + 0.5) / num_quantiles
    levels = lifted(levels, values.ndim - 1)
    errors = targets[..., None, :] - values[..., :, None]
    sizes = jnp.abs(errors)
    if kappa > 0:
        losses = jnp.where(sizes <= kappa, jnp.square(errors) / 2, kappa * (sizes - kappa / 2))
    else:
        losses = sizes
    losses = jnp.abs(levels[..., None] - (errors < 0).astype(levels.dtype)) * losses
    per_target = jnp.sum(losses, -2)
    if weights is None:
        return jnp.mean(per_target, -1)
    weights, per_target = same_rank(jnp.asarray(weights), per_target)
    return jnp.sum(weights * per_target, -1)


@of_arrays
def lambda_returns(
    next_values: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, continues: ArrayLike, lam: ArrayLike
) -> Array:
    """The lambda-returns of a trajectory (Sutton, Barto 2018, eq. 12.18), as [T, ...].

    G_t = r_t + discount_t ((1 - lam_t) V(s_{t+1}) + lam_t G_{t+1}), where lam_t = lam continues_t, and the last step
    bootstraps on V(s_T). lam = 0 gives one-step targets, lam = 1 discounted sums of rewards up to the break.

    Args:
      next_values: [T, ...], V(s_{t+1}); see the conventions of this module.
      rewards: [T, ...].
      discounts: [T, ...].
      continues: [T, ...].
      lam: scalar or [T, ...].
    """
    next_values, rewards, discounts, lams = _aligned(next_values, rewards, discounts, continues, lam)

    def step(following, inputs):
        next_value, reward, discount, lam_t = inputs
        current = reward + discount * ((1 - lam_t) * next_value + lam_t * following)
        return current, current

    return jax.lax.scan(step, next_values[-1], (next_values, rewards, discounts, lams), reverse=True)[1]


@of_arrays
def categorical_lambda_returns(
    probs_next: ArrayLike,
    rewards: ArrayLike,
    discounts: ArrayLike,
    continues: ArrayLike,
    lam: ArrayLike,
    support: ArrayLike,
) -> Array:
    """The distributional lambda-returns of a trajectory on a fixed support, as probabilities [T, ..., N].

    Z_t = PROJECT[r_t + discount_t ((1 - lam_t) Z(s_{t+1}) + lam_t Z_{t+1})], a mixture of distributions (not of random
    variables), with lam_t = lam continues_t; the last step bootstraps on Z(s_T). Projection keeps the mean, so that
    the means are the scalar `lambda_returns` wherever nothing is clamped.

    Args:
      probs_next: [T, ..., N], Z(s_{t+1}); see the conventions of this module.
      rewards: [T, ...].
      discounts: [T, ...].
      continues: [T, ...].
      lam: scalar or [T, ...].
      support: [N], ascending and equally spaced.
    """
    probs_next, support = jnp.asarray(probs_next), jnp.asarray(support)
    _, rewards, discounts, lams = _aligned(probs_next[..., 0], rewards, discounts, continues, lam)

    def step(following, inputs):
        probs, reward, discount, lam_t = inputs
        mixture = probs + lam_t[..., None] * (following - probs)
        current = shift_and_project(mixture, reward, discount, support)
        return current, current

    return jax.lax.scan(step, probs_next[-1], (probs_next, rewards, discounts, lams), reverse=True)[1]


@of_arrays
def quantile_lambda_returns(
    values_next: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, continues: ArrayLike, lam: ArrayLike
) -> Array:
    """The distributional lambda-returns of a trajectory as quantiles [T, ..., N], ascending over the last axis.

    As `categorical_lambda_returns`; the mixture of 2N weighted values is turned into N equally probable ones by taking
    its quantiles at the levels (2i + 1) / (2N), the projection that is closest in 1-Wasserstein distance (Dabney et
    al. 2018, lemma 2). It keeps quantiles rather than the mean; averages of slices would keep the mean but narrow the
    distribution a little at each of the T steps, and with it the tail that risk is about.

    Args:
      values_next: [T, ..., N], the quantiles of Z(s_{t+1}) in any order; see the conventions of this module.
      rewards: [T, ...].
      discounts: [T, ...].
      continues: [T, ...].
      lam: scalar or [T, ...].
    """
    values_next = jnp.sort(jnp.asarray(values_next), -1)
    _, rewards, discounts, lams = _aligned(values_next[..., 0], rewards, discounts, continues, lam)

    def step(following, inputs):
        values, reward, discount, lam_t = inputs
        mixture = _requantised_mixture(values, following, lam_t[..., None])
        current = reward[..., None] + discount[..., None] * mixture
        return current, current

    return jax.lax.scan(step, values_next[-1], (values_next, rewards, discounts, lams), reverse=True)[1]


# --- the parts ------------------------------------------------------------------------------------------------------


def _aligned(next_values, rewards, discounts, continues, lam) -> tuple[Array, Array, Array, Array]:
    """The inputs of a recursion at one shape [T, ...] and type, with lam_t = lam continues_t."""
    shape = jnp.shape(next_values)
    dtype = jnp.result_type(next_values, rewards, discounts)
    lams = jnp.asarray(continues, dtype) * jnp.asarray(lam, dtype)
    arrays = (next_values, rewards, discounts, lams)
    return tuple(jnp.broadcast_to(jnp.asarray(array, dtype), shape) for array in arrays)  # type: ignore[return-value]


def _shifted_positions(rewards: ArrayLike, discounts: ArrayLike, support: Array, clamp: bool = True) -> Array:
    """Where reward + discount * support lies, [..., N], in units of the atoms' spacing from the first atom."""
    last = support.shape[0] - 1
    rewards, discounts, index = same_rank(
        jnp.asarray(rewards)[..., None], jnp.asarray(discounts)[..., None], jnp.arange(last + 1, dtype=support.dtype)
    )
    spacing = (support[-1] - support[0]) / last
    offset = (rewards + (discounts - 1) * support[0]) / spacing
    positions = offset + discounts * index
    return jnp.clip(positions, 0, last) if clamp else positions


def _split(positions: Array, num_atoms: int) -> tuple[Array, Array]:
    """The atom below each position (never the last one) and how far the position is towards the next, in [0, 1]."""
    lower = jnp.clip(jnp.floor(positions).astype(jnp.int32), 0, num_atoms - 2)
    return lower, positions - lower.astype(positions.dtype)


def _spread_by_scatter(positions: Array, probs: Array, num_atoms: int) -> Array:
    """Shares out probabilities [..., M] at positions [..., M] between their two neighbouring atoms, as [..., N]."""
    lower, fraction = _split(positions, num_atoms)

    def spread(probs, lower, fraction):
        zeros = jnp.zeros(num_atoms, probs.dtype)
        return (
            zeros.at[lower].add(probs * (1 - fraction), mode="promise_in_bounds")
            .at[lower + 1].add(probs * fraction, mode="promise_in_bounds")
        )  # fmt: skip

    flat = [array.reshape(-1, array.shape[-1]) for array in (probs, lower, fraction)]
    return jax.vmap(spread)(*flat).reshape(*positions.shape[:-1], num_atoms)


def _spread_by_visits(positions: Array, probs: Array, num_atoms: int) -> Array:
    """As `_spread_by_scatter`, by visiting each target atom in turn and giving every atom its share of it.

    M N multiplications instead of 2 M scattered additions, but in straight vector code that the compiler fuses into one
    loop without intermediate arrays. Also bit-reproducible on a GPU, where scattered additions are not.
    """
    atoms = lifted(jnp.arange(num_atoms, dtype=positions.dtype), positions.ndim - 1)
    total = jnp.zeros((*positions.shape[:-1], num_atoms), probs.dtype)
    for target in range(positions.shape[-1]):
        distance = jnp.abs(positions[..., target : target + 1] - atoms)
        total = total + probs[..., target : target + 1] * jax.nn.relu(1 - distance)
    return total


def _requantised_mixture(first: Array, second: Array, weight: Array) -> Array:
    """N quantiles of the mixture (1 - weight) first + weight second; first, second [..., N] ascending, weight [..., 1].

    Counting in place of merging: sorts and gathers cost several times more on a CPU than comparing all pairs.
    """
    num_quantiles = first.shape[-1]
    ranks = lifted(jnp.arange(1, num_quantiles + 1, dtype=first.dtype), first.ndim - 1)

    def number_below(points, others):
        return jnp.sum(others[..., :, None] <= points[..., None, :], -2, dtype=first.dtype)

    values = jnp.concatenate([first, second], -1)
    # The mixture's distribution function at its values, in units of 1/N, where the levels are half-integers.
    cumulated = jnp.concatenate(
        [
            (1 - weight) * ranks + weight * number_below(first, second),
            (1 - weight) * number_below(second, first) + weight * ranks,
        ],
        -1,
    )
    levels = ranks - 0.5 - 64 * num_quantiles * jnp.finfo(first.dtype).eps
    reached = cumulated[..., :, None] >= levels[..., None, :]
    return jnp.min(jnp.where(reached, values[..., :, None], jnp.inf), -2)
