"""When a risk-averse quantal response equilibrium is guaranteed to be computable."""

from averse.errors import AverseError


def tractability_margin(tau: float, epsilon: float, players: int) -> float:
    """How far players with equal settings are inside (>= 0) or outside (< 0) the tractable region.

    For two players the margin is eps1 eps2 - tau1 tau2 (Mazumdar, Panaganti, Shi 2025, with tau the risk tolerance in
    reward units, so that *more* risk aversion makes a game easier). For more players, the sufficient condition
    eps_i >= sum over the others of tau_j gives epsilon - (players - 1) tau.

    The theorem is about matrix games with the regularisers named there; for a learning run the margin is a number to
    know, not a guarantee.

    Raises AverseError for fewer than two players.
    """
    if players < 2:
        raise AverseError(f"a game needs at least two players, not {players}")
    return epsilon**2 - tau**2 if players == 2 else epsilon - (players - 1) * tau
