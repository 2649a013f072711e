"""Which players would play like these people? Fits of (tau, epsilon), and models compared on the published games."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from averse.errors import AverseError
from averse.games.equilibrium import Equilibrium, Form, Settings, checked_strategies
from averse.games.limits import nash, qre
from averse.games.normal_form import NormalForm
from averse.games.penalties import Penalty, Regulariser
from averse.games.published import PublishedGame, published
from averse.games.rqe import rqe
from averse.games.tractability import Tractability, tractability
from averse.settings import Seed, check_value

_CANDIDATES = 256
_ROUNDS = 20
_ENOUGH = 1e-4
_TIE_BREAK = 1e-6
_GRID = 33


@dataclass(frozen=True, eq=False)
class Fit:
    """The best settings found inside the tractable region.

    Attributes:
      tau, epsilon: per player [n], units of reward.
      equilibrium: the RQE there.
      distance: root mean square difference to the observed probabilities.
      tractability: where the settings stand; always inside.
    """

    tau: np.ndarray
    epsilon: np.ndarray
    equilibrium: Equilibrium
    distance: float
    tractability: Tractability

    def __str__(self) -> str:
        tau, epsilon = (", ".join(f"{v:.4g}" for v in values) for values in (self.tau, self.epsilon))
        return f"tau {tau}; epsilon {epsilon}; distance {self.distance:.2g} from the people; {self.tractability}"


def fit(
    game: NormalForm,
    observed: Sequence[ArrayLike],
    penalty: Penalty = "kl",
    regulariser: Regulariser = "log-barrier",
    form: Form = "aggregate",
    seed: int = 0,
) -> Fit:
    """The (tau, epsilon) inside the tractable region whose equilibrium is nearest to observed play.

    A shrinking random search over the logarithms of tau and epsilon, 256 games at a time in one compiled call: robust,
    and deterministic for a seed. A game of two actions each has as many settings as observations, so that a perfect fit
    shows flexibility, not truth; many settings may fit equally well.

    Args:
      observed: one distribution per player, [A_i].
      penalty, regulariser: a pair that the theory covers ("kl" with "log-barrier", "reverse-kl" with "entropy").

    Raises:
      AverseError: a pair for which there is no tractable region, or a bad game, distribution, name or seed.
    """
    people = checked_strategies(game, observed, "observed")
    Settings(1.0, 1.0, penalty, regulariser, form)
    generator = np.random.default_rng(check_value("seed", Seed, seed))
    n = game.num_players
    if not tractability(1.0, 100.0 * n, penalty, regulariser, n).covered:
        raise AverseError(
            f"no tractable region for {penalty}, {regulariser}: fit kl, log-barrier or reverse-kl, entropy"
        )
    spread = max(np.ptp(array) for array in game.arrays()) or 1.0
    centre: np.ndarray
    shape: np.ndarray
    centre, shape = np.log(spread) - np.ones(2 * n), 3.0 * np.eye(2 * n)
    best: np.ndarray | None = None
    for _ in range(_ROUNDS):
        draws = centre + generator.standard_normal((_CANDIDATES, 2 * n)) @ shape.T
        if best is not None:
            draws[0] = best
        draws = np.array([_inside(draw, n) for draw in np.clip(draws, np.log(spread) - 12, np.log(spread) + 6)])
        tau, epsilon = np.exp(draws[:, :n]), np.exp(draws[:, n:])
        found = rqe(game, tau, epsilon, penalty, regulariser, form, tolerance=1e-10)
        distances = _distance(found.strategies, people)
        # Nearer than people's own sampling error is as good as exact; then the settings nearest to the game's scale.
        loss = np.maximum(distances, _ENOUGH) + _TIE_BREAK * np.sum((draws - np.log(spread)) ** 2, -1)
        order = np.argsort(np.where(found.residual < 1e-8, loss, np.inf))
        best = draws[order[0]]
        elite = draws[order[: _CANDIDATES // 10]]
        # The good settings lie along a curve: sample with the covariance of the best ones.
        centre = best
        shape = np.asarray(1.5 * np.linalg.cholesky(np.cov(elite.T) + 1e-14 * np.eye(2 * n)))
    assert best is not None
    tau, epsilon = np.exp(best[:n]), np.exp(best[n:])
    solved = rqe(game, tau, epsilon, penalty, regulariser, form)
    distance = float(_distance(solved.strategies, people))
    return Fit(tau, epsilon, solved, distance, tractability(tau, epsilon, penalty, regulariser, n))


@dataclass(frozen=True)
class Model:
    """A theory of play over the published games.

    Attributes:
      parameters: how many numbers were fitted to the 26 observed frequencies.
      predictions: game name -> (probability of Up, of Left).
      distance: root mean square difference to the people over all games.
    """

    name: str
    parameters: int
    predictions: dict[str, tuple[float, float]]
    distance: float


def compare_with_people() -> list[Model]:
    """RQE, QRE and Nash against human play on the 13 games, the most flexible model first.

    "RQE, published" uses the authors' four numbers per game, fitted to these very people: two observations per game
    leave it almost no way to be wrong. "shared" models use the same settings, in units of each game's payoff range,
    for all games and players: those are predictions.
    """
    games = list(published().values())
    spreads = np.array([max(np.ptp(array) for array in game.game.arrays()) for game in games])
    batch = NormalForm.stack([game.game for game in games])
    people = np.array([[game.observed[0][0], game.observed[1][0]] for game in games])

    def model(name: str, parameters: int, play: np.ndarray) -> Model:
        predictions = {g.name: (float(p), float(q)) for g, (p, q) in zip(games, play)}
        return Model(name, parameters, predictions, float(np.sqrt(np.mean((play - people) ** 2))))

    exact = rqe(batch, np.stack([game.tau for game in games]), np.stack([game.epsilon for game in games]))
    own = np.array([_best_qre(game) for game in games])
    shared = _shared_rqe(batch, spreads, people)
    common = _shared_qre(batch, spreads, people)
    equilibria = [_fully_mixed(game.game) for game in games]
    return [
        model("RQE, published", 52, _firsts(exact)),
        model("QRE, one epsilon per game", 13, own),
        model("RQE, shared", 2, shared),
        model("QRE, shared", 1, common),
        model("Nash", 0, np.array(equilibria)),
    ]


def _inside(draw: np.ndarray, n: int) -> np.ndarray:
    """Raises log epsilon until the draw is inside the region: eps1 eps2 >= tau1 tau2, eps_i >= the others' tau."""
    tau, epsilon = draw[:n], draw[n:].copy()
    if n == 2:
        epsilon += max(tau.sum() - epsilon.sum(), 0.0) / 2 * (1 + 1e-9) + (1e-12 if tau.sum() > epsilon.sum() else 0)
    else:
        # (n - 1)/4 above one matters only from six players on; see `tractability`.
        factor = max(1.0, (n - 1) / 4)
        need = np.array([np.logaddexp.reduce(np.delete(tau, i)) for i in range(n)]) + np.log(factor) + 1e-9
        epsilon = np.maximum(epsilon, need)
    return np.concatenate([tau, epsilon])


def _distance(strategies: Sequence[np.ndarray], people: Sequence[np.ndarray]) -> np.ndarray:
    difference = np.concatenate([x - y for x, y in zip(strategies, people)], -1)
    return np.sqrt(np.mean(difference**2, -1))


def _firsts(equilibrium: Equilibrium) -> np.ndarray:
    return np.stack([x[..., 0] for x in equilibrium.strategies], -1)


def _best_qre(game: PublishedGame) -> np.ndarray:
    """QRE with the game's own best epsilon: a grid, refined."""
    spread = max(np.ptp(array) for array in game.game.arrays())
    observed = np.array([game.observed[0][0], game.observed[1][0]])

    def play(logs: np.ndarray) -> np.ndarray:
        return _firsts(qre(game.game, spread * np.exp(logs)[:, None] * np.ones(2), tolerance=1e-10))

    return _nearest(play, observed)


def _shared_qre(batch: NormalForm, spreads: np.ndarray, people: np.ndarray) -> np.ndarray:
    def play(logs: np.ndarray) -> np.ndarray:
        epsilon = np.exp(logs)[:, None] * spreads
        return _firsts(qre(batch, np.repeat(epsilon[..., None], 2, -1), tolerance=1e-10))

    return _nearest(play, people)


def _nearest(play: Callable[[np.ndarray], np.ndarray], people: np.ndarray) -> np.ndarray:
    """The play nearest to people's over log epsilon; `play` takes as many of these as it is given."""
    low, high = -7.0, 2.0
    for _ in range(5):
        grid = np.linspace(low, high, _GRID)
        difference = play(grid) - people
        k = int(np.argmin(np.mean(difference**2, tuple(range(1, difference.ndim)))))
        low, high = grid[max(k - 1, 0)], grid[min(k + 1, _GRID - 1)]
    # As many as before, though all the same: one alone would be another program to compile.
    return play(np.full(_GRID, (low + high) / 2))[0]


def _shared_rqe(batch: NormalForm, spreads: np.ndarray, people: np.ndarray) -> np.ndarray:
    """One (tau, epsilon), epsilon >= tau, times each game's payoff range."""
    bounds: np.ndarray = np.array([[-6.0, 2.0], [-6.0, 2.0]])
    best = np.zeros((len(spreads), 2))
    for _ in range(5):
        axes = [np.linspace(low, high, 17) for low, high in bounds]
        logs = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        logs[:, 1] = np.maximum(logs[:, 0], logs[:, 1])
        scaled = np.exp(logs)[:, None, :] * spreads[None, :, None]
        tau, epsilon = (np.repeat(scaled[..., k, None], 2, -1) for k in range(2))
        play = _firsts(rqe(batch, tau, epsilon, tolerance=1e-10))
        k = int(np.argmin(np.mean((play - people) ** 2, (-2, -1))))
        best = play[k]
        reach = 1.2 * np.diff(bounds) / 16
        bounds = logs[k][:, None] + reach * np.array([-1.0, 1.0])
    return best


def _fully_mixed(game: NormalForm) -> np.ndarray:
    equilibria = nash(game)
    if len(equilibria) != 1:
        raise AverseError(f"{game.name} has {len(equilibria)} Nash equilibria, not one")
    return np.array([equilibria[0][0][0], equilibria[0][1][0]])
