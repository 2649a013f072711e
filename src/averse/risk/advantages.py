"""Advantages: how much better an action was than expected, neutral and risk-averse.

All take the conventions of `averse.risk.bellman` (time first; `discounts` = gamma (1 - terminated); `continues` is 0
where the trajectory breaks after the step; next values belong to the state before any automatic reset) and write
delta_t = r_t + discount_t V(s_{t+1}) - V(s_t).

Beware of V = rho(Z), a risk-adjusted critic, in plain `gae` (the advantage "risk-value" of some published methods). A
risk measure that enters through V alone is almost only a baseline: at lam = 1 the expected policy gradient is exactly
the risk-neutral one, whatever the measure. `entropic`, `action_value`, `influence_advantage` and
`mean_variance_advantage` put the risk where the action is.

Axes: T time, N atoms, n actions; `...` batch axes. Nothing here stops gradients; learners do.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from averse.risk.arguments import of_arrays
from averse.risk.bellman import _aligned, lambda_returns
from averse.risk.broadcasting import per_value, same_rank
from averse.risk.distributions import Distribution
from averse.risk.measures import RiskMeasure


@of_arrays
def gae(
    values: ArrayLike,
    next_values: ArrayLike,
    rewards: ArrayLike,
    discounts: ArrayLike,
    continues: ArrayLike,
    lam: ArrayLike,
) -> Array:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16), as [T, ...], in units of reward.

    A_t = delta_t + discount_t lam continues_t A_{t+1}: the lambda-return less V(s_t).

    Args:
      values: [T, ...], V(s_t).
      next_values: [T, ...], V(s_{t+1}).
      rewards: [T, ...].
      discounts: [T, ...].
      continues: [T, ...].
      lam: scalar or [T, ...]; 0 trusts the critic alone, 1 the observed rewards.
    """
    next_values, rewards, discounts, lams = _aligned(next_values, rewards, discounts, continues, lam)
    deltas = rewards + discounts * next_values - jnp.asarray(values)
    return _discounted_sums(deltas, discounts * lams)


@of_arrays
def entropic(
    values: ArrayLike,
    next_values: ArrayLike,
    rewards: ArrayLike,
    discounts: ArrayLike,
    continues: ArrayLike,
    lam: ArrayLike,
    tau: ArrayLike,
    exponent_clip: ArrayLike = 10.0,
) -> tuple[Array, Array]:
    """Advantages of the entropic objective -tau log E[exp(-return/tau)], from a critic V = Entropic(tau)(Z).

    A_t = tau (1 - y_t) with y_t = exp(-delta_t/tau) ((1 - lam) + lam y_{t+1}^discount_t), and y = 1 after a break.

    The policy gradient of the entropic objective weighs grad log pi by tau (1 - exp(-(G_t - V_t)/tau)), with G_t the
    return to go: y_t stands for that exponential. As G_t - V_t = delta_t + gamma (G_{t+1} - V_{t+1}) it obeys
    y_t = exp(-delta_t/tau) y_{t+1}^gamma, into which lam mixes 1, what an exact critic expects of y_{t+1}. At discount
    1 and with an exact critic this is, for every lam, an unbiased estimate of the exact advantage; the exact *gradient*
    also visits states in the proportions of the tilted process, see `entropic_weights`. It is `gae` as tau -> inf,
    and exactly so at tau = inf, which may be traced.

    Computed as the certainty equivalent m_t = -tau log(y_t), a number in units of reward, so that no digit is lost at
    large tau (m_t is then the advantage itself) and nothing overflows at small tau.

    Args:
      values: [T, ...], Entropic(tau)(Z(s_t)).
      next_values: [T, ...], Entropic(tau)(Z(s_{t+1})).
      rewards: [T, ...].
      discounts: [T, ...].
      continues: [T, ...].
      lam: scalar or [T, ...].
      tau: scalar or [...] or [T, ...], in units of reward, in (0, inf].
      exponent_clip: bound of |log y_t|; A_t >= -tau (exp(clip) - 1). Bounded exponents keep learning stable.

    Returns:
      The advantages [T, ...] in units of reward, and whether the exponent was clipped there [T, ...] (bool), whose mean
      is the clip fraction.
    """
    next_values, rewards, discounts, lams = _aligned(next_values, rewards, discounts, continues, lam)
    deltas = rewards + discounts * next_values - jnp.asarray(values)
    tau = jnp.broadcast_to(jnp.asarray(tau, deltas.dtype), deltas.shape)
    finite = jnp.isfinite(tau)
    t = jnp.where(finite, tau, 1)
    bound = jnp.broadcast_to(jnp.asarray(exponent_clip, deltas.dtype), deltas.shape) * tau

    def step(following, inputs):
        delta, discount, lam_t, tau_t, finite_t, bound_t = inputs
        mixed = jnp.where(finite_t, -tau_t * _log_mixture(-discount * following / tau_t, lam_t), 0)
        current = delta + jnp.where(finite_t, mixed, lam_t * discount * following)
        clipped = jnp.abs(current) > bound_t
        current = jnp.clip(current, -bound_t, bound_t)
        return current, (current, clipped)

    inputs = (deltas, discounts, lams, t, finite, bound)
    _, (equivalents, clipped) = jax.lax.scan(step, jnp.zeros_like(deltas[-1]), inputs, reverse=True)
    bounded = jnp.where(finite, equivalents, 0)
    return jnp.where(finite, -t * jnp.expm1(-bounded / t), equivalents), clipped


@of_arrays
def exponential_errors(
    values: ArrayLike,
    next_values: ArrayLike,
    rewards: ArrayLike,
    discounts: ArrayLike,
    tau: ArrayLike,
    exponent_clip: ArrayLike = 10.0,
) -> Array:
    """exp(-delta_t/tau) of each step [T, ...]: of an exact critic V = Entropic(tau)(Z) its mean over steps is 1.

    That is the entropic Bellman equation, E[exp(-(r + V(s') - V(s))/tau)] = 1 at discount 1; with a discount the mean
    is a little more, as Entropic(tau)(gamma Z) is more than gamma Entropic(tau)(Z). A mean above 1 says that
    things turn out worse than the critic's risk-adjusted values promised, or that they scatter by errors of its own,
    which `entropic` at lam < 1 then charges as risk. Its logarithm, times -tau, is the mean error in units of reward.

    Args:
      values, next_values, rewards, discounts, tau: as in `entropic`.
      exponent_clip: bound of |delta_t/tau|.
    """
    given = (values, next_values, rewards, discounts, tau, exponent_clip)
    values, next_values, rewards, discounts, tau, bound = same_rank(*(jnp.asarray(array) for array in given))
    deltas = rewards + discounts * next_values - values
    return jnp.exp(jnp.clip(-deltas / tau, -bound, bound))


@of_arrays
def entropic_weights(
    values: ArrayLike,
    next_values: ArrayLike,
    rewards: ArrayLike,
    discounts: ArrayLike,
    continues: ArrayLike,
    tau: ArrayLike,
    exponent_clip: float = 10.0,
) -> Array:
    """How much more a step matters to the entropic objective than its frequency says, as [T, ...].

    w_t = prod_{k<t} exp(-beta_k delta_k) with beta_k = (product of discounts before k) / tau, over the steps since the
    trajectory began (in this batch): large after worse luck than expected. The gradient of the entropic objective is
    E[sum_t w_t A_t grad log pi] with A of `entropic`, exactly so at discount 1. Leaving w out, as PPO leaves out
    gamma^t, is a bias for less variance. w is a martingale of mean 1; at tau = inf it is 1.

    Args:
      values: [T, ...], Entropic(tau)(Z(s_t)); the other arguments as in `entropic`.
      next_values: [T, ...].
      rewards: [T, ...].
      discounts: [T, ...].
      continues: [T, ...].
      tau: scalar or [...] or [T, ...], in units of reward, in (0, inf].
      exponent_clip: bound of |log w_t|.
    """
    next_values, rewards, discounts, continues = _aligned(next_values, rewards, discounts, continues, 1.0)
    values, tau, rewards = same_rank(jnp.asarray(values), jnp.asarray(tau), rewards)
    deltas = (rewards + discounts * next_values - values) / tau

    def step(carry, inputs):
        log_weight, scale = carry
        delta, discount, continues_t = inputs
        later = (continues_t * (log_weight - scale * delta), jnp.where(continues_t > 0, scale * discount, 1))
        return later, log_weight

    initial = (jnp.zeros_like(deltas[0]), jnp.ones_like(deltas[0]))
    log_weights = jax.lax.scan(step, initial, (deltas, discounts, continues))[1]
    return jnp.exp(jnp.clip(log_weights, -exponent_clip, exponent_clip))


@of_arrays
def action_value(risk_values: ArrayLike, probs: ArrayLike, actions: ArrayLike) -> Array:
    """rho(Z(s, a)) - sum_b pi(b|s) rho(Z(s, b)) as [...]: the advantage from a critic of one's own actions.

    Risk over the world and the other agents, not over one's own mixing: the preference of a risk-averse quantal
    response equilibrium (Mazumdar, Panaganti, Shi 2025), for any measure rho.

    Args:
      risk_values: [..., n], rho(Z(s, b)) for each action b, in units of reward.
      probs: [..., n], pi(b|s).
      actions: [...], the actions taken, integers.
    """
    risk_values = jnp.asarray(risk_values)
    actions = jnp.asarray(actions)
    taken = jnp.take_along_axis(risk_values, actions[..., None], -1)[..., 0]
    return taken - jnp.sum(jnp.asarray(probs) * risk_values, -1)


@of_arrays
def influence_advantage(measure: RiskMeasure, distribution: Distribution, target: Distribution) -> Array:
    """E over z ~ target of the measure's influence function at the critic's distribution, as [...].

    With the critic's Z(s_t) and the distributional lambda-return of step t as the target, it is the exact policy
    gradient of rho(Z(s_t)) for the decision at s_t, for any measure that has an influence function; its mean over
    actions is zero where the critic is exact. For Expectation it is the lambda-return less the value.

    Beyond the first decision of an episode it judges by what is good *from here on*. No measure but the entropic family
    is consistent in time, so that this is not the gradient of rho of the return of the whole episode, from which it
    can be far at small alpha (CVaR): `episode_influence_advantage` is.

    Args:
      measure: the risk measure.
      distribution: Z(s_t), batch axes [...].
      target: the return distribution of the action taken, same batch axes.

    Raises:
      AverseError: if the measure has no influence function (VaR, worst case).
    """
    return target.expectation(measure.influence(distribution, target.values))


@of_arrays
def episode_influence_advantage(
    measure: RiskMeasure,
    start: Distribution,
    distribution: Distribution,
    target: Distribution,
    earned: ArrayLike,
    scale: ArrayLike = 1.0,
) -> Array:
    """The advantage of a decision for a measure of the return of the *whole episode*, as [...].

    A_t = E over z ~ target of I(earned_t + scale_t z) - the same over z ~ Z(s_t), with I the measure's influence
    function at Z(s_0): what is good depends on what has been earned so far. With I(G) in the place of the return, this
    is the policy gradient theorem: sum_t A_t grad log pi(a_t|s_t) is the exact gradient of rho(Z(s_0)) where the
    targets are right in expectation (lam = 1, or an exact critic), at any discount. Policies that see only the state
    cannot use all that `earned` tells; those that see it can reach the optimum (Bauerle, Ott 2011, for CVaR).

    Args:
      measure: the risk measure.
      start: Z(s_0) of the episode that each step belongs to, batch axes [...].
      distribution: Z(s_t), batch axes [...]; the baseline.
      target: the return distribution of the action taken, same batch axes.
      earned: [...], sum_{k<t} gamma^k r_k within the episode, in units of reward.
      scale: [...], gamma^t.

    Raises:
      AverseError: if the measure has no influence function (VaR, worst case).
    """
    earned, scale = per_value(jnp.asarray(earned)), per_value(jnp.asarray(scale))

    def worth(future: Distribution) -> Array:
        before, factor, values = same_rank(earned, scale, future.values)
        return future.expectation(measure.influence(start, before + factor * values))

    return worth(target) - worth(distribution)


@of_arrays
def mean_variance_advantage(
    values: ArrayLike,
    next_values: ArrayLike,
    second_moments: ArrayLike,
    next_second_moments: ArrayLike,
    rewards: ArrayLike,
    discounts: ArrayLike,
    continues: ArrayLike,
    lam: ArrayLike,
    weight: ArrayLike,
    centre: ArrayLike | None = None,
) -> Array:
    """Advantages of E[G] - weight Var[G] from two critics: V of the return G, M of its square. As [T, ...].

    M obeys M(s) = E[r^2 + 2 gamma r V(s') + gamma^2 M(s')] (Sobel 1982), hence has lambda-returns and an advantage A_M
    of its own: `second_moment_targets` less M(s_t). From (G - c)^2 = G^2 - 2 c G + c^2, the advantage of the squared
    deviation from a centre c is A_var = A_M - 2 c A_mean, and the result is A_mean - weight A_var. At lam = 1 all of
    it is Monte Carlo: no critic enters but as baseline, and where the trajectory is cut.

    With the centre V(s_t), the default, the deviation is from what is expected *now*: the influence of
    `MeanVariance(weight)` at Z(s_t), exact for the first decision of an episode. For the variance of the return of the
    whole episode (a different objective: it also punishes returning to the mean after a lucky start) let c be what is
    left of the initial expectation, c_t = (V(s_0) - sum_{k<t} gamma^k r_k) / gamma^t; at gamma = 1 the policy gradient
    is then exact.

    Args:
      values: [T, ...], V(s_t), in units of reward.
      next_values: [T, ...], V(s_{t+1}).
      second_moments: [T, ...], M(s_t), in squared units of reward.
      next_second_moments: [T, ...], M(s_{t+1}).
      rewards: [T, ...].
      discounts: [T, ...].
      continues: [T, ...].
      lam: scalar or [T, ...].
      weight: scalar or [...], price of variance, >= 0, in 1/reward.
      centre: [T, ...], in units of reward; V(s_t) by default.
    """
    centre = jnp.asarray(values if centre is None else centre)
    mean_advantages = gae(values, next_values, rewards, discounts, continues, lam)
    targets = second_moment_targets(next_values, next_second_moments, rewards, discounts, continues, lam)
    moment_advantages = targets - jnp.asarray(second_moments)
    weight, centre, mean_advantages = same_rank(jnp.asarray(weight), centre, mean_advantages)
    return mean_advantages - weight * (moment_advantages - 2 * centre * mean_advantages)


@of_arrays
def second_moment_targets(
    next_values: ArrayLike,
    next_second_moments: ArrayLike,
    rewards: ArrayLike,
    discounts: ArrayLike,
    continues: ArrayLike,
    lam: ArrayLike,
) -> Array:
    """Targets [T, ...] of the second-moment critic: the second moments of the distributional lambda-returns.

    Z^lam_t is r_t + discount_t times a draw from Z(s_{t+1}) with probability 1 - lam_t, from Z^lam_{t+1} with lam_t
    (`categorical_lambda_returns`). Its first two moments obey, for lam_t = lam continues_t,

        G_t = r_t + discount_t g_t,                                   g_t = (1 - lam_t) V(s_{t+1}) + lam_t G_{t+1}
        S_t = r_t^2 + 2 r_t discount_t g_t + discount_t^2 m_t,        m_t = (1 - lam_t) M(s_{t+1}) + lam_t S_{t+1}

    so that the product with the reward sees the same mixture of critic and rewards as the rest: V(s_{t+1}) alone in its
    place would leave a bias at lam = 1 wherever V is wrong. At lam = 1, S_t is the square of the observed return.

    Arguments as in `mean_variance_advantage`.
    """
    next_values = jnp.asarray(next_values)
    next_moments, rewards, discounts, lams = _aligned(next_second_moments, rewards, discounts, continues, lam)
    returns = lambda_returns(next_values, rewards, discounts, continues, lam)
    # The last step of the batch has nothing to mix in.
    following = jnp.concatenate([returns[1:], jnp.broadcast_to(next_values[-1:], returns[-1:].shape)])
    mixed = next_values + lams * (following - next_values)
    squares = jnp.square(rewards) + 2 * rewards * discounts * mixed
    return lambda_returns(next_moments, squares, jnp.square(discounts), continues, lam)


def _discounted_sums(deltas: Array, decays: Array) -> Array:
    """S_t = deltas_t + decays_t S_{t+1}, backward from 0, as [T, ...]."""

    def step(following, inputs):
        delta, decay = inputs
        current = delta + decay * following
        return current, current

    return jax.lax.scan(step, jnp.zeros_like(deltas[-1]), (deltas, decays), reverse=True)[1]


def _log_mixture(x: Array, lam: Array) -> Array:
    """log((1 - lam) + lam exp(x)), for lam in [0, 1], without overflow or cancellation."""
    mild = jnp.abs(x) < 0.7
    near = jnp.log1p(lam * jnp.expm1(jnp.where(mild, x, 0)))
    # In the same words at both ends of lam: log(0) = -inf is what log-sum-exp needs, but has no usable gradient.
    inner = (lam > 0) & (lam < 1)
    safe = jnp.where(inner, lam, 0.5)
    far = jnp.logaddexp(jnp.log1p(-safe), jnp.log(safe) + jnp.where(mild, 1, x))
    far = jnp.where(inner, far, jnp.where(lam > 0, x, 0))
    return jnp.where(mild, near, far)
