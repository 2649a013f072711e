"""Payoffs in units of their own, so that no solver depends on the scale or the shift of what it is given.

An equilibrium does not change where a player's payoffs, tau and epsilon are multiplied by the same positive number, or
where a constant is added to the payoffs. Solvers therefore see payoffs without their constant, divided by a power of
two that brings the largest into [1, 2): a division that rounds nothing.
"""

from typing import NamedTuple

import numpy as np

from averse.errors import AverseError
from averse.games.normal_form import NormalForm

_LEAST = 1e-290  # of tau and epsilon in the payoffs' own units: below, 1/tau overflows


class Units(NamedTuple):
    """What turns payoffs into their own units and values back: payoffs = centre + scale x own."""

    centre: np.ndarray
    scale: np.ndarray


class OwnUnits(NamedTuple):
    """A game, or N of them with all batch axes in one, in the payoffs' own units.

    Attributes:
      matrices: one per player [N, A_i, S_i]: own actions x joint actions of the others.
      aversion: 1/tau [N, n].
      epsilon: [N, n].
      units: centre and scale [N, n], in units of reward.
      lead: the batch shape, of N games.
    """

    matrices: tuple[np.ndarray, ...]
    aversion: np.ndarray
    epsilon: np.ndarray
    units: Units
    lead: tuple[int, ...]


def own_units(payoffs: np.ndarray, axes: int | tuple[int, ...]) -> tuple[np.ndarray, Units]:
    """Payoffs from -2 to 2, and their units, which keep `axes` with length 1.

    The constant taken out is the payoff nearest to zero. Payoffs of both signs have none: there is nothing to gain.
    """
    low, high = payoffs.min(axes, keepdims=True), payoffs.max(axes, keepdims=True)
    centre = np.clip(0.0, low, high)
    largest = np.maximum(high - centre, centre - low)
    scale = np.where(largest > 0, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
    return (payoffs - centre) / scale, Units(centre, scale)


def in_own_units(game: NormalForm, tau: np.ndarray, epsilon: np.ndarray) -> OwnUnits:
    """The game with its settings [..., n], all combinations of the batch axes.

    Raises AverseError for batch axes that do not broadcast, and settings too small for the payoffs.
    """
    own = (game.num_games,) if game.batched else ()
    try:
        lead = np.broadcast_shapes(own, tau.shape[:-1], epsilon.shape[:-1])
    except ValueError:
        raise AverseError(
            f"batch shapes of game {own}, tau {tau.shape[:-1]} and epsilon {epsilon.shape[:-1]} do not broadcast"
        ) from None

    def flat(array: np.ndarray, axes: int) -> np.ndarray:
        tail = array.shape[array.ndim - axes :]
        return np.broadcast_to(array, lead + tail).reshape(-1, *tail)

    scaled = [own_units(matrix, (-2, -1)) for matrix in game.matrices()]
    units = Units(*(np.stack([one[k][..., 0, 0] for _, one in scaled], -1) for k in range(2)))
    with np.errstate(over="ignore", under="ignore"):
        tau, epsilon = tau / units.scale, epsilon / units.scale
    for name, setting in (("tau", tau), ("epsilon", epsilon)):
        if setting.min() < _LEAST:
            raise AverseError(f"{name} must be at least {_LEAST:g} of the payoffs' range, not {setting.min():g} of it")
    return OwnUnits(
        matrices=tuple(flat(matrix, 2) for matrix, _ in scaled),
        aversion=flat(1 / tau, 1),
        epsilon=flat(np.minimum(epsilon, 1 / _LEAST), 1),  # play is even long before
        units=Units(*(flat(part, 1) for part in units)),
        lead=lead,
    )
