"""Games in normal form: one array of payoffs per player, axes in player order, as Gambit and nashpy have them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from averse.arguments import instance, items
from averse.errors import AverseError
from averse.games.checks import numbers
from averse.settings import Count, Seed, check_value


@dataclass(frozen=True, eq=False)
class NormalForm:
    """A game between n >= 2 players, or a batch of games of one shape.

    Args:
      payoffs: one array per player, each [A_1, ..., A_n]: `payoffs[i][a_1, ..., a_n]` is what player i gets, in units
        of reward, when the players choose a_1, ..., a_n. Larger is better. With `batched`, each has one more, leading
        axis.
      name: for tables and figures.
      players, actions: labels; "player 1", ... and "1", "2", ... where not given.
      batched: whether the payoffs have a leading batch axis [B, A_1, ..., A_n].

    Raises:
      AverseError: fewer than two players, payoffs of unequal or wrong shape, NaN or infinite payoffs, wrong labels, or
        anything else that is not as described.
    """

    payoffs: Sequence[ArrayLike]
    name: str = ""
    players: Sequence[str] = ()
    actions: Sequence[Sequence[str]] = ()
    batched: bool = False

    def __post_init__(self):
        check_value("batched", bool, self.batched)
        check_value("name", str, self.name)
        arrays = _checked(self.payoffs, self.batched)
        object.__setattr__(self, "payoffs", arrays)
        n, sizes = len(arrays), arrays[0].shape[int(self.batched) :]
        players = check_value("players", tuple[str, ...], self.players) or tuple(f"player {i + 1}" for i in range(n))
        actions = tuple(
            check_value(f"actions of player {i + 1}", tuple[str, ...], names)
            for i, names in enumerate(items("actions", "a sequence of labels for each player", self.actions))
        ) or tuple(tuple(str(a + 1) for a in range(size)) for size in sizes)
        if len(players) != n:
            raise AverseError(f"a game of {n} players needs {n} player names, not {len(players)}")
        if tuple(len(names) for names in actions) != sizes:
            raise AverseError(f"action names must number {list(sizes)}, not {[len(names) for names in actions]}")
        object.__setattr__(self, "players", players)
        object.__setattr__(self, "actions", actions)

    @property
    def num_players(self) -> int:
        """n."""
        return len(self.arrays())

    @property
    def num_actions(self) -> tuple[int, ...]:
        """How many actions each player has."""
        return self.arrays()[0].shape[int(self.batched) :]

    @property
    def num_games(self) -> int:
        """How many games a batch holds; 1 where there is no batch axis."""
        return self.arrays()[0].shape[0] if self.batched else 1

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The payoffs as float64 arrays [A_1, ..., A_n], one per player."""
        return self.payoffs  # type: ignore[return-value]

    def matrices(self) -> tuple[np.ndarray, ...]:
        """Each player's payoffs as own actions x joint actions of the others (in player order): [..., A_i, S_i]."""
        lead = int(self.batched)
        return tuple(
            np.moveaxis(array, lead + i, lead).reshape(*array.shape[:lead], array.shape[lead + i], -1)
            for i, array in enumerate(self.arrays())
        )

    def __getitem__(self, index: int) -> "NormalForm":
        """One game of a batch. Raises AverseError where there is no batch, or no such game in it."""
        if not self.batched:
            raise AverseError("only a batch of games can be indexed")
        if not -self.num_games <= check_value("index", int, index) < self.num_games:
            raise AverseError(f"index must be a game from 0 to {self.num_games - 1}, not {index}")
        return NormalForm([array[index] for array in self.arrays()], self.name, self.players, self.actions)

    def __iter__(self) -> Iterator["NormalForm"]:
        """The games of a batch."""
        return (self[index] for index in range(self.num_games))

    @classmethod
    def stack(cls, games: Sequence["NormalForm"]) -> "NormalForm":
        """A batch of games; raises AverseError unless they have the same numbers of players and actions."""
        games = [
            instance(f"games[{k}]", NormalForm, one)
            for k, one in enumerate(items("games", "a sequence of games", games))
        ]
        shapes = {game.num_actions for game in games}
        if len(shapes) != 1 or any(game.batched for game in games):
            raise AverseError(f"only single games of one shape can be stacked, not {sorted(shapes)}")
        stacked = [np.stack(arrays) for arrays in zip(*(game.arrays() for game in games))]
        return cls(stacked, batched=True, players=games[0].players, actions=games[0].actions)

    @classmethod
    def zero_sum(
        cls,
        payoffs: ArrayLike,
        name: str = "",
        players: Sequence[str] = (),
        actions: Sequence[Sequence[str]] = (),
    ) -> "NormalForm":
        """The two-player game in which the column player loses what the row player wins: payoffs [A_1, A_2]."""
        array = numbers("payoffs", payoffs)
        return cls([array, -array], name, players, actions)

    @classmethod
    def symmetric(
        cls,
        payoffs: ArrayLike,
        name: str = "",
        players: Sequence[str] = (),
        actions: Sequence[Sequence[str]] = (),
    ) -> "NormalForm":
        """The two-player game in which both have the same payoffs [own action, action of the other].

        Raises AverseError unless they are square, and as building a game does.
        """
        array = numbers("payoffs", payoffs)
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise AverseError(f"payoffs of a symmetric game must be square, not of shape {array.shape}")
        return cls([array, array.T], name, players, actions)

    @classmethod
    def random(cls, key: int, num_actions: Sequence[int], games: int | None = None) -> "NormalForm":
        """A game, or a batch of `games`, with payoffs uniform in [0, 1) that depend on the key alone.

        Raises AverseError for numbers that are none, fewer than two players, or more payoffs than memory holds.
        """
        num_actions = check_value("num_actions", tuple[Count, ...], num_actions)
        if len(num_actions) < 2:
            raise AverseError(f"num_actions must be those of at least two players, not {list(num_actions)}")
        check_value("games", Count | None, games)
        generator = np.random.default_rng(check_value("key", Seed, key))
        lead = () if games is None else (games,)
        try:
            payoffs = [generator.random((*lead, *num_actions)) for _ in num_actions]
        except (MemoryError, OverflowError, ValueError):
            cells = math.prod((*lead, *num_actions)) * len(num_actions)
            size = f"about 1e{len(str(cells)) - 1} payoffs"
            raise AverseError(f"num_actions and games ask for {size}, more than memory holds") from None
        return cls(payoffs, batched=games is not None)


def checked_game(game: object, advice: str = "give one game of the batch: game[i]") -> NormalForm:
    """A single game. Raises AverseError for anything else; for a batch, with this advice."""
    single = instance("game", NormalForm, game)
    if single.batched:
        raise AverseError(advice)
    return single


def _checked(payoffs: Sequence[ArrayLike], batched: bool) -> tuple[np.ndarray, ...]:
    arrays = []
    for i, given in enumerate(items("payoffs", "a sequence of arrays, one per player", payoffs)):
        array = numbers(f"payoffs of player {i + 1}", given)
        array.setflags(write=False)
        arrays.append(array)
    n = len(arrays)
    if n < 2:
        raise AverseError(f"a game needs one payoff array per player and at least two players, not {n}")
    for i, array in enumerate(arrays):
        if array.ndim != n + batched:
            expected = f"{n} axes, one per player" + (", after the batch axis" if batched else "")
            raise AverseError(f"payoffs of player {i + 1} of {n} must have {expected}, not shape {array.shape}")
        if array.shape != arrays[0].shape:
            raise AverseError(
                f"payoffs of player {i + 1} have shape {array.shape}, those of player 1 have {arrays[0].shape}"
            )
    if 0 in arrays[0].shape:
        what = "a batch needs at least one game, and every player" if batched else "every player needs"
        raise AverseError(f"payoffs: {what} at least one action, not shape {arrays[0].shape}")
    return tuple(arrays)
