"""No-regret play in the augmented game: the algorithm of the theory.

Each player i plays x_i and faces an adversary that plays p_i, a joint strategy of the others. Round by round all 2n
learn from each other by optimistic mirror descent with their own regulariser as mirror map (Mazumdar, Panaganti, Shi
2025; the optimistic step after Rakhlin, Sridharan 2013):

  player     minimises  -x . R_i p_i + epsilon nu(x)
  adversary  minimises   x_i'R_i p + tau D(p, y_i),   y_i the product of what the others play

Inside the tractable region the last iterate converges to the equilibrium; outside, nothing is promised. Regret is the
average loss so far less that of the best fixed strategy in hindsight, the larger of a player's and its adversary's.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from averse.errors import AverseError
from averse.games import penalties
from averse.games.equilibrium import Equilibrium, Settings, certify, flat_parameters, in_reward, log_others
from averse.games.normal_form import NormalForm

_BLOCK = 50


def play(game: NormalForm, settings: Settings, tolerance: float = 1e-12, rounds: int = 200_000) -> Equilibrium:
    """Play until the residual of the last iterate is at most `tolerance`, or for `rounds` rounds.

    The history of a single game has "iteration", "residual" of the last iterate, and "regret" [., n] in units of
    reward.

    Raises:
      AverseError: bad settings; the action-dependent form, whose adversaries are one per action.
    """
    if settings.form != "aggregate":
        raise AverseError('no-regret play solves the form "aggregate", not "action-dependent": use method="direct"')
    own = flat_parameters(game, settings)
    parameters = (own.matrices, own.aversion, own.epsilon)
    # A step of one over twice the spread of a player's payoffs: stable for the bilinear part.
    rate = 2 * np.stack([np.maximum(np.ptp(m, axis=(1, 2)), 1e-12) for m in own.matrices], -1)
    with jax.enable_x64(True):
        state = jax.vmap(_start)(own.matrices)
        iterations, history = 0, []
        finished = np.full(own.aversion.shape[0], rounds)
        while iterations < rounds:
            count = min(_BLOCK, rounds - iterations)
            state, (certificate, regret) = _block(settings.static, count, parameters, rate, state)
            iterations += count
            answers = in_reward(own, certificate, tolerance)
            converged = answers["converged"].ravel()
            finished = np.where(converged & (finished == rounds), iterations, finished)
            if not own.lead:
                history.append((iterations, float(answers["residual"]), np.asarray(regret)[0] * own.units.scale[0]))
            if converged.all():
                break
        log_x = state[0]
    names = ("iteration", "residual", "regret")
    return Equilibrium(
        game=game,
        settings=settings,
        strategies=[np.exp(np.asarray(x)).reshape(*own.lead, -1) for x in log_x],
        **answers,
        iterations=np.minimum(finished, iterations).reshape(own.lead),
        method="no-regret",
        history={name: np.array(column) for name, column in zip(names, zip(*history))},
    )


def _start(matrices):
    """Uniform play; then last round's gradients, and the sums that hindsight needs."""
    # Of the type of later rounds, not a weak one: for another type `_block` would be compiled once more.
    log_x = [jnp.full(m.shape[0], -jnp.log(m.shape[0]), m.dtype) for m in matrices]
    log_p = [jnp.full(m.shape[1], -jnp.log(m.shape[1]), m.dtype) for m in matrices]
    gains = [m @ jnp.exp(p) for m, p in zip(matrices, log_p)]
    costs = [-jnp.exp(x) @ m for m, x in zip(matrices, log_x)]
    nothing = jax.tree.map(jnp.zeros_like, (gains, costs, costs))
    n = len(matrices)
    return log_x, log_p, gains, costs, (*nothing, jnp.zeros(n), jnp.zeros(n), jnp.zeros(()))


@partial(jax.jit, static_argnames=("static", "count"))
def _block(static, count, parameters, rate, state):
    def one(parameters, rate, state):
        matrices, aversion, epsilon = parameters
        state = lax.fori_loop(0, count, lambda _, s: _round(static, matrices, aversion, epsilon, rate, s), state)
        found = certify(static, matrices, aversion, epsilon, state[0])
        return state, (found, _regret(static, aversion, epsilon, state[4]))

    return jax.vmap(one)(parameters, rate, state)


def _round(static, matrices, aversion, epsilon, rate, state):
    """Everybody plays, suffers, and updates at once. `rate` is one over the step size [n], in units of payoffs."""
    penalty, regulariser, _ = static
    log_x, log_p, last_gains, last_costs, sums = state
    sum_gains, sum_costs, sum_beliefs, player_loss, adversary_loss, rounds = sums
    new_x, new_p, gains, costs, beliefs, losses, adversaries = [], [], [], [], [], [], []
    for i, matrix in enumerate(matrices):
        x, p, log_y = jnp.exp(log_x[i]), jnp.exp(log_p[i]), log_others(log_x, i)
        gain, cost = matrix @ p, -x @ matrix
        gains.append(gain)
        costs.append(cost)
        beliefs.append(log_y if penalty == "kl" else jnp.exp(log_y))
        losses.append(-x @ gain + epsilon[i] * penalties.irregularity(regulariser, log_x[i]))
        # Divided by tau, so that neutral players need no special case, and without what does not depend on p.
        paid = p @ (log_p[i] - log_y) if penalty == "kl" else -jnp.exp(log_y) @ log_p[i]
        adversaries.append(-aversion[i] * p @ cost + paid)

        slope = log_x[i] if regulariser == "entropy" else -jnp.exp(-log_x[i])
        hopeful = 2 * gain - last_gains[i] + rate[i] * slope
        new_x.append(penalties.log_response(regulariser, hopeful, epsilon[i] + rate[i]))
        new_p.append(_adversary(penalty, 2 * cost - last_costs[i], log_y, log_p[i], aversion[i], rate[i]))
    add = partial(jax.tree.map, jnp.add)
    sums = (
        add(sum_gains, gains),
        add(sum_costs, costs),
        add(sum_beliefs, beliefs),
        player_loss + jnp.stack(losses),
        adversary_loss + jnp.stack(adversaries),
        rounds + 1,
    )
    return new_x, new_p, gains, costs, sums


def _adversary(penalty, cost, log_y, log_p, aversion, rate):
    """argmin over p of -cost . p + tau D(p, y) + rate B(p, last p), B the Bregman divergence of D's own kind."""
    weight = aversion * rate
    if penalty == "kl":
        return jax.nn.log_softmax((log_y + aversion * cost + weight * log_p) / (1 + weight))
    # B = sum y (p/q - log(p/q) - 1): p = (1 + weight) y / (constant - aversion cost + weight y/q).
    slope = aversion * cost - weight * jnp.exp(log_y - log_p)
    gap = (jnp.max(slope) - slope) / (1 + weight)
    y = jnp.maximum(jnp.exp(log_y), 1e-300)
    return jax.nn.log_softmax(log_y - jnp.log(gap + penalties.simplex_shift(y, gap)))


def _regret(static, aversion, epsilon, sums):
    """Average regret of each player, or of its adversary if that is larger, [n]."""
    penalty, regulariser, _ = static
    sum_gains, sum_costs, sum_beliefs, player_loss, adversary_loss, rounds = sums
    result = []
    for i, total in enumerate(sum_gains):
        gain = total / rounds
        best = penalties.log_response(regulariser, gain, epsilon[i])
        least = -jnp.exp(best) @ gain + epsilon[i] * penalties.irregularity(regulariser, best)
        own = player_loss[i] / rounds - least
        cost, belief = sum_costs[i] / rounds, sum_beliefs[i] / rounds
        if penalty == "kl":
            low = -jax.nn.logsumexp(belief + aversion[i] * cost)
        else:
            log_p = penalties.log_worst_belief(penalty, cost, jnp.log(jnp.maximum(belief, 1e-300)), aversion[i])
            low = -aversion[i] * jnp.exp(log_p) @ cost - belief @ log_p
        adversary = adversary_loss[i] / rounds - low
        tolerance = 1 / jnp.where(aversion[i] > 0, aversion[i], 1.0)
        result.append(jnp.maximum(own, jnp.where(aversion[i] > 0, tolerance * adversary, 0.0)))
    return jnp.stack(result)
