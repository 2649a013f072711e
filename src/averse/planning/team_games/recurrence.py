"""One recurrent class out of several: what an improvement does that makes a policy multichain.

An improvement of a policy with one recurrent class may have several, such as those of batteries that nobody charges any
more. Whatever the improvement promised holds in every one of them, so that the best class may be kept and all other
states sent there (Haviv, Puterman 1991, for average rewards). That is taken back if it gains nothing, since sending
states somewhere undoes their own improvement, and one could go round for ever. Then only the state with the most to
gain changes: either the recurrent class stays the only one, or there is one more, which is strictly better.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from averse.errors import AverseError
from averse.planning.checks import Floats
from averse.planning.team_games.chains import Chain, Classes, recurrent_classes
from averse.planning.team_games.game import Game, Tables, tie

Backup = Callable[[Tables, Floats], tuple[Floats, Tables]]
"""From a policy and values [S]: the largest mean of the next state's value that those who choose can reach in each
state [S], and the policy that reaches it."""
Worth = Callable[[Tables, Chain, NDArray[np.bool_]], float]
"""From a policy, its chain and one of its recurrent classes, bool [S]: the long-run value there."""


class UnreachableError(AverseError):
    """No recurrent class can be reached from everywhere."""


class Single(NamedTuple):
    """A policy whose chain has one recurrent class."""

    policy: Tables
    chain: Chain
    classes: Classes


def advanced(
    game: Game,
    old: Tables,
    better: Tables,
    advantage: Floats,
    present: float,
    settled: bool,
    worth: Worth,
    backup: Backup,
) -> Single | None:
    """The improvement of a policy, or as much of it as leaves one recurrent class; None if nothing can be gained.

    Args:
      old: a policy with one recurrent class.
      better: its improvement in every state.
      advantage: by how much each state improves [S].
      present: the long-run value of the old policy.
      settled: whether those who choose draw lots no more; the first step away from lots is always taken.
      worth: see `Worth`; backup: see `Backup`.
    """
    found, value = _kept(game, better, worth, backup)
    if value is None or value > present + tie(present) or not settled:
        return found
    state = int(advantage.argmax())
    tables = [table.copy() for table in old]
    for table, new in zip(tables, better):
        table[state] = new[state]
    found, value = _kept(game, tables, worth, backup)
    return found if value is None or value > present + tie(present) else None


def single_class(game: Game, policy: Tables, worth: Worth, backup: Backup) -> Single:
    """A policy with its best recurrent class kept, of those that can be reached from everywhere.

    Raises:
      AverseError: if there is none.
    """
    return _kept(game, policy, worth, backup)[0]


def certain(policy: Sequence[Floats]) -> bool:
    """Whether a policy never draws lots."""
    return all(bool((table.max(-1) == 1).all()) for table in policy)


def _kept(game: Game, policy: Tables, worth: Worth, backup: Backup) -> tuple[Single, float | None]:
    """The policy with one class, and what that is worth if there were several."""
    chain = game.chain(policy)
    classes = recurrent_classes(chain)
    if classes.number == 1:
        return Single(policy, chain, classes), None
    members = [classes.label == k for k in range(classes.number)]
    values = [worth(policy, chain, states) for states in members]
    for k in sorted(range(classes.number), key=values.__getitem__, reverse=True):
        found = _sent_to(members[k], policy, backup)
        if found is not None:
            chain = game.chain(found)
            return Single(found, chain, recurrent_classes(chain)), values[k]
    raise UnreachableError(
        f"no one of the {classes.number} recurrent classes can be reached from all states: the best long-run value of "
        "this game depends on the start; give the game a little noise"
    )


def _sent_to(reached: Any, policy: Tables, backup: Backup) -> Tables | None:
    """The policy that stays as it is in some states, bool [S], and elsewhere heads for them; None if it cannot."""
    tables = [table.copy() for table in policy]
    while not reached.all():
        chance, nearer = backup(tables, reached.astype(float))
        new = ~reached & (chance > 0)
        if not new.any():
            return None
        for table, better in zip(tables, nearer):
            table[new] = better[new]
        reached = reached | new
    return tables
