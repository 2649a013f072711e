"""RQE of a Markov game learned from play: a fast actor and a slow critic in every state (after Zhang, Mazumdar 2026).

The players see what happens, not the game's tables. All know the joint action and each keeps, for every state:

  critic  Q_i(s, a), what a joint action is worth to it. After a step to s' that pays r_i, at a rate beta,
            exp(-Q_i/tau) <- (1 - beta) exp(-Q_i/tau) + beta exp(-(r_i + gamma V_i(s'))/tau),
          a running mean whose fixed point is the entropic certainty equivalent; at tau = inf, of Q itself
  actor   theta_i(s), smoothed gains: x_i maximises theta_i . x - epsilon nu(x), and at a rate alpha
            theta_i <- (1 - alpha) theta_i + alpha g_i,   g_i = -df_i/dx_i in the stage game of all critics

V_i(s') = -f_i at what the actors play there now: critic and actor move at every step, neither waits for the other. The
rates are constants, the actor's the larger one, so that it follows the equilibrium of the stage games that the critic
shows it: "single-timescale", as the ratio of both rates stays what it is (arXiv 2602.12386, which proves convergence
where the stage games are monotone: see `tractability`). A smaller critic's rate ends nearer and later.

Axes: T table times (H steps, or 1), S states, n players, A_i actions, M joint actions, K outcomes.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import ArrayLike

from averse.errors import AverseError, shown
from averse.games import penalties
from averse.games.equilibrium import Form, gains, log_others, value
from averse.games.markov import Episodes, MarkovGame, MarkovPlay, stage_settings
from averse.games.penalties import Penalty, Regulariser
from averse.games.scores import equilibrium_gap
from averse.settings import Count, Number, Seed, Share, check_value


class _Tables(NamedTuple):
    """What is drawn from, by flat joint action."""

    levels: Array  # [S, M, K] cumulative probabilities of the outcomes
    next_states: Array  # [S, M, K]
    rewards: Array  # [n, S, M, K], or [n, S, M, 1]


class _Players(NamedTuple):
    """What has been learned."""

    critic: Array  # [T, S, n, M]
    tried: Array  # int [T, S, M]
    actor: list[Array]  # theta_i [T, S, A_i]


class _Rules(NamedTuple):
    """What a program is compiled for."""

    static: tuple[str, str, str]  # penalty, regulariser, form
    sizes: tuple[int, ...]
    horizon: int
    stationary: bool
    start: int


class _Numbers(NamedTuple):
    """What it is given."""

    aversion: Array  # [n]
    chance_aversion: Array  # [n]
    epsilon: Array  # [n]
    gamma: Array
    critic_rate: Array
    actor_rate: Array
    patience: Array  # steps that matter


class _View(NamedTuple):
    """What the players make of a state."""

    log_x: list[Array]  # [A_i]
    gains: list[Array]  # [A_i]
    values: Array  # [n]


def learn_actor_critic(
    game: MarkovGame,
    tau: ArrayLike,
    epsilon: ArrayLike,
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
    transition_tau: ArrayLike | None = None,
    *,
    episodes: int = 10_000,
    critic_rate: float = 0.01,
    actor_rate: float = 0.1,
    initial: float = 0.0,
    stationary: bool = False,
    snapshots: int = 10,
    seed: int = 0,
) -> MarkovPlay:
    """Let the players of a game learn by playing it, one episode after the other.

    Args:
      tau, epsilon, penalty, regulariser, form, transition_tau: of the stage games, as in `solve_markov`: numbers, or
        one per player [n].
      episodes: how many, of the game's horizon each.
      critic_rate: the least weight of a new outcome in (0, 1]. The n-th outcome of a joint action weighs
        (P + 1)/(P + n) where that is more, P the steps that matter, min(H, 1/(1 - gamma)), so that what is learned
        first is soon forgotten (Jin et al. 2018).
      actor_rate: weight of a state's new gains in (0, 1]; at least `critic_rate`.
      initial: what a joint action is held to be worth that was never tried. Above what it can be worth, players try
        everything.
      stationary: one strategy for all steps; the end of an episode is then no end of the game, which needs gamma < 1.
      snapshots: how many times the strategies are scored, the last time at the end.
      seed: of the draws.

    Source: Zhang, Mazumdar 2026 (arXiv 2602.12386) for an actor faster than the critic at a constant ratio; the actor's
    step, mirror descent with the regulariser as mirror map, the critic's rate and the tables by time are ours.

    Raises AverseError for arguments out of range, an actor slower than the critic, a stationary game without discount,
    and more snapshots than episodes.
    """
    settings, chance_tau = stage_settings(game, tau, epsilon, penalty, regulariser, form, transition_tau)
    taus, epsilons = settings.per_player(game.num_players)
    for name, kind, given in (
        ("episodes", Episodes, episodes),
        ("critic_rate", Share, critic_rate),
        ("actor_rate", Share, actor_rate),
        ("initial", Number, initial),
        ("stationary", bool, stationary),
        ("snapshots", Count, snapshots),
        ("seed", Seed, seed),
    ):
        check_value(name, kind, given)
    _check_together(game, episodes, critic_rate, actor_rate, stationary, snapshots)

    patience = min(game.horizon, 1 / (1 - game.gamma) if game.gamma < 1 else np.inf)
    rules = _Rules(settings.static, game.num_actions, game.horizon, stationary, game.start)
    history: dict[str, list] = {"episodes": [], "values": [], "gap": []}
    played = 0
    with jax.enable_x64(True):
        plain = (1 / taus, 1 / chance_tau, epsilons, game.gamma, critic_rate, actor_rate, patience)
        numbers = _Numbers(*(jnp.asarray(number, float) for number in plain))
        tables, players = _tables(game), _beginners(game, initial, 1 if stationary else game.horizon)
        for number in range(snapshots):
            first, played = played, episodes * (number + 1) // snapshots
            players = _play(rules, numbers, tables, players, jax.random.key(seed), first, played)
            log_x, values = _all_views(rules, numbers, players)
            strategies = [_by_step(np.exp(np.asarray(x)), game.horizon) for x in log_x]
            gap = equilibrium_gap(game, strategies, tau, epsilon, penalty, regulariser, form, transition_tau)
            for name, entry in (("episodes", played), ("values", gap.values), ("gap", gap.gaps)):
                history[name].append(entry)
    return MarkovPlay(
        strategies=strategies,
        values=np.moveaxis(np.asarray(values), 1, 2),
        visits=np.asarray(players.tried).sum(-1),
        history={name: np.array(column) for name, column in history.items()},
    )


def _check_together(
    game: MarkovGame, episodes: int, critic_rate: float, actor_rate: float, stationary: bool, snapshots: int
) -> None:
    if actor_rate < critic_rate:
        raise AverseError(f"actor_rate must be at least critic_rate, {critic_rate}, not {actor_rate}")
    if snapshots > episodes:
        raise AverseError(f"snapshots must be at most episodes, {shown(episodes)}, not {shown(snapshots)}")
    if stationary and game.gamma == 1:
        raise AverseError("stationary play needs a game with gamma below 1: without an end its values are infinite")


def _by_step(strategy: np.ndarray, horizon: int) -> np.ndarray:
    """[T, S, A] as [H, S, A]."""
    return np.broadcast_to(strategy, (horizon, *strategy.shape[1:]))


def _tables(game: MarkovGame) -> _Tables:
    n, states, outcomes = game.num_players, game.num_states, np.shape(game.probabilities)[-1]
    chance, rewards = np.asarray(game.probabilities), np.asarray(game.rewards)
    return _Tables(
        levels=jnp.asarray(chance.reshape(states, -1, outcomes).cumsum(-1)),
        next_states=jnp.asarray(np.asarray(game.next_states).reshape(states, -1, outcomes)),
        rewards=jnp.asarray(rewards.reshape(n, states, -1, rewards.shape[-1])),
    )


def _beginners(game: MarkovGame, initial: float, times: int) -> _Players:
    n, states, joint = game.num_players, game.num_states, int(np.prod(game.num_actions))
    return _Players(
        critic=jnp.full((times, states, n, joint), float(initial)),
        tried=jnp.zeros((times, states, joint), int),
        actor=[jnp.zeros((times, states, size)) for size in game.num_actions],
    )


def _view(rules: _Rules, numbers: _Numbers, row: _Players) -> _View:
    """What the players make of a state, from what they hold of it: critics [n, M], actors [A_i]."""
    log_x = [penalties.log_response(rules.static[1], theta, e) for theta, e in zip(row.actor, numbers.epsilon)]
    found, values = [], []
    for i, own in enumerate(log_x):
        matrix = jnp.moveaxis(row.critic[i].reshape(rules.sizes), i, 0).reshape(rules.sizes[i], -1)
        facing = (rules.static, matrix, own, log_others(log_x, i), numbers.aversion[i])
        found.append(gains(*facing)[0])
        values.append(value(*facing))
    return _View(log_x, found, jnp.stack(values))


@partial(jax.jit, static_argnames=("rules",))
def _all_views(rules, numbers, players):
    """Log strategies [T, S, A_i] and values [T, S, n] of all states."""
    view = jax.vmap(jax.vmap(partial(_view, rules, numbers)))(players)
    return view.log_x, view.values


@partial(jax.jit, static_argnames=("rules",), donate_argnames=("players",))
def _play(rules, numbers, tables, players, key, first, end):
    """Episodes number `first` to `end` - 1, one after the other."""

    def at(players, place):
        return jax.tree.map(lambda table: table[place], players)

    def write(players, place, row):
        return jax.tree.map(lambda table, new: table.at[place].set(new), players, row)

    # What is learned of a state is written a step later, before anything else is read, and never after: a table that is
    # read and then written in the same step is copied as a whole.
    def step(number, carry):
        players, learned, last, place, row, view, levels = carry
        players = write(players, last, learned)
        (time, state), level = place, levels[number]
        actions = [_draw(jnp.cumsum(jnp.exp(x)), u) for x, u in zip(view.log_x, level)]
        joint = jnp.ravel_multi_index(actions, rules.sizes, mode="clip")
        outcome = _draw(tables.levels[state, joint], level[-1])
        rewards = tables.rewards[:, state, joint]
        reward = rewards[:, outcome] if rewards.shape[-1] > 1 else rewards[:, 0]
        after = tables.next_states[state, joint, outcome]
        following = (time, after) if rules.stationary else (jnp.minimum(time + 1, rules.horizon - 1), after)
        next_row = at(players, following)
        next_view = _view(rules, numbers, next_row)
        goes_on = rules.stationary | (number + 1 < rules.horizon)
        target = reward + numbers.gamma * jnp.where(goes_on, next_view.values, 0.0)
        learned = _learned(numbers, row, view, joint, target)
        stays = rules.stationary & (after == state)  # what was read there is older than what was just learned
        next_row = jax.tree.map(lambda new, old: jnp.where(stays, new, old), learned, next_row)
        return players, learned, place, following, next_row, next_view, levels

    def episode(number, players):
        levels = jax.random.uniform(jax.random.fold_in(key, number), (rules.horizon, len(rules.sizes) + 1))
        start = (jnp.asarray(0), jnp.asarray(rules.start, tables.next_states.dtype))
        row = at(players, start)
        carry = (players, row, start, start, row, _view(rules, numbers, row), levels)
        players, learned, last, *_ = lax.fori_loop(0, rules.horizon, step, carry)
        return write(players, last, learned)

    return lax.fori_loop(first, end, episode, players)


def _learned(numbers: _Numbers, row: _Players, view: _View, joint: Array, target: Array) -> _Players:
    """What the players hold of a state once a joint action has led to `target` [n]."""
    tried = row.tried[joint] + 1
    rate = jnp.maximum(numbers.critic_rate, (numbers.patience + 1) / (numbers.patience + tried.astype(float)))
    return _Players(
        critic=row.critic.at[:, joint].set(_mixed(row.critic[:, joint], target, rate, numbers.chance_aversion)),
        tried=row.tried.at[joint].set(tried),
        actor=[theta + numbers.actor_rate * (gain - theta) for theta, gain in zip(row.actor, view.gains)],
    )


def _mixed(held: Array, target: Array, rate: Array, aversion: Array) -> Array:
    """-tau log of the mean of exp(-./tau), weights 1 - rate and rate; the plain mean at aversion 0."""
    safe = jnp.where(aversion > 0, aversion, 1.0)
    exponent = -safe * (target - held)
    mild = jnp.clip(exponent, -1.0, 1.0)  # where the other form loses digits
    near, far = jnp.log1p(rate * jnp.expm1(mild)), jnp.logaddexp(jnp.log1p(-rate), jnp.log(rate) + exponent)
    averse = held - jnp.where(exponent == mild, near, far) / safe
    return jnp.where(aversion > 0, averse, held + rate * (target - held))


def _draw(levels: Array, uniform: Array) -> Array:
    """An index, by cumulative probabilities [m]."""
    return jnp.minimum((levels < uniform * levels[-1]).sum(), levels.shape[0] - 1)
