"""Gap acceptance: whether a driver who went now would have the junction for itself. For any batch at once.

A gap is the time between two cars in the zone where their paths cross or join, as traffic engineering has it (the
critical gap of the Highway Capacity Manual is the least one that drivers accept).

Axes: N agents, K other cars, a batch last (`...`).
"""

from math import inf
from typing import Any, NamedTuple

from averse.environments.intersection.along_cars import any_of, least
from averse.environments.intersection.manoeuvres import STOP_BEFORE
from averse.environments.intersection.pairs import SLOWEST, Pairs, Side, seconds_at_present, soonest

NO_CAR = inf  # s, the gap to nobody: larger than any that is asked for


class Gaps(NamedTuple):
    """What an agent that looks for a gap finds, each [N, ...]; a gap below 0 is two cars in a zone at once."""

    to_agents: Any  # s, the smallest gap to agents that go first, if it went now
    to_humans: Any  # s, the same to humans under way, whoever should go first
    taken: Any  # bool, whether somebody else is in a zone ahead, or can no longer stop and will be in it first


def gaps_if_going(xp: Any, pairs: Pairs, me: Side, them: Side, by_agent: Any, there: Any, ties: Any = False) -> Gaps:
    """The gaps to other cars, pairs [N, K, ...].

    Those count that are on the junction or can no longer stop before it, agents that are nearer to their line, and
    humans who move. A gap is reckoned with care: both may accelerate to the limit before they get to the zone, and the
    other may keep no more than its speed until it has left. On the junction an agent goes by `taken` instead.

    Args:
      by_agent: bool [N, K, ...], whether the other car is an agent's.
      there: bool [N, K, ...], which pairs there are.
      ties: bool [N, K, ...], which other cars go first where both are as near to their lines.
    """
    crossing = pairs.conflict & ~pairs.same_arm & there
    i_come, i_leave = (soonest(xp, to, me.speed) for to in (pairs.to_zone, pairs.to_zone_end))
    they_come = soonest(xp, pairs.their_to_zone, them.speed)
    they_leave = seconds_at_present(xp, pairs.their_to_zone_end, them.speed)
    gap = xp.maximum(i_come - they_leave, they_come - i_leave)
    moving = them.speed > SLOWEST
    nearer = (pairs.their_to_line < pairs.to_line) | ((pairs.their_to_line == pairs.to_line) & ties)

    def smallest(of: Any, counts: Any) -> Any:
        return least(xp, xp.where(crossing & of & (pairs.they_committed | counts), gap, NO_CAR), 1)

    first = (pairs.their_to_zone < 0) | (pairs.they_committed & moving & (they_come < i_come))
    taken = crossing & first & (i_come < they_leave) & (pairs.to_zone > STOP_BEFORE)
    return Gaps(smallest(by_agent, nearer), smallest(~by_agent, moving), any_of(taken, 1))
