"""The table of evaluation episodes (`episodes.parquet`), from which every figure can be computed again.

One row per episode. Columns: `training_seed`, `seed` (of the episode), settings such as `tau`, `episode_return` (mean
over agents), `return_0` .. `return_{A-1}` (undiscounted, in units of reward), `length` (steps), `failed` (the simulator
broke off: the row's figures mean nothing), and one column per metric of the environment (NaN where undefined, such as
the crossing time of a car that never crossed). Axes: E episodes, A agents.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from averse.arguments import instance, numbers
from averse.errors import AverseError, shown
from averse.evaluation.arguments import integers, members
from averse.files import as_path, written_whole
from averse.settings import check_value

REQUIRED = ("training_seed", "seed", "episode_return", "return_0", "length", "failed")
_SETTINGS_KEY = b"averse.settings"  # parquet metadata: which columns are settings rather than metrics


@dataclass(frozen=True, repr=False)
class Episodes:
    """Evaluation episodes as columns of equal length E.

    Lists are taken as arrays are.

    Raises AverseError, when built, for columns of other lengths or kinds, for a name that two columns have, for returns
    that are not finite and metrics that are infinite though the episode is not marked failed.
    """

    training_seed: np.ndarray  # int64 [E]; which training run the policy comes from
    seed: np.ndarray  # int64 [E]; of the episode; equal seeds are common random numbers
    agent_returns: np.ndarray  # float64 [E, A]
    length: np.ndarray  # int64 [E]; steps
    failed: np.ndarray  # bool [E]
    metrics: Mapping[str, np.ndarray] = field(default_factory=dict)  # float64 [E] each
    settings: Mapping[str, np.ndarray] = field(default_factory=dict)  # float64 or str [E] each, such as `tau`

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        returns = numbers("agent_returns", self.agent_returns)
        put("agent_returns", returns[:, None] if returns.ndim == 1 else returns)
        for name in ("training_seed", "seed", "length"):
            put(name, integers(f"episode column {name!r}", getattr(self, name)))
        put("failed", _flags("episode column 'failed'", self.failed))
        for name in ("metrics", "settings"):
            instance(name, Mapping, getattr(self, name), "a mapping from names to columns")
        put("metrics", {name: numbers(f"metric {name!r}", column) for name, column in self.metrics.items()})
        put("settings", {name: _setting(name, column) for name, column in self.settings.items()})
        self._check()

    def _check(self) -> None:
        if self.agent_returns.ndim != 2 or self.agent_returns.shape[1] == 0:
            raise AverseError(f"agent_returns must have the axes [episodes, agents], not {self.agent_returns.shape}")
        for name, column in self.columns().items():
            if column.shape != (len(self),):
                raise AverseError(f"episode column {name!r} has shape {column.shape}, expected ({len(self)},)")
        names = [*REQUIRED, *(f"return_{i}" for i in range(self.num_agents))]
        for name in [*self.metrics, *self.settings]:
            if name in names or (name in self.metrics and name in self.settings):
                raise AverseError(f"episode column {name!r} exists twice")
        wrong = [("the return", "finite", ~np.isfinite(self.agent_returns).all(-1))]
        wrong += [(f"metric {name!r}", "finite or NaN", np.isinf(column)) for name, column in self.metrics.items()]
        for what, allowed, rows in wrong:
            if (bad := rows & ~self.failed).any():
                raise AverseError(
                    f"{what} of episode {int(np.flatnonzero(bad)[0])} is not {allowed}, though it is not marked failed "
                    f"({int(bad.sum())} such episodes)"
                )

    def __repr__(self) -> str:
        seeds = len(np.unique(self.training_seed))
        names = ", ".join([*self.settings, *self.metrics])
        return f"Episodes({len(self)} of {self.num_agents} agents, {seeds} training seeds{names and f'; {names}'})"

    def __len__(self) -> int:
        return len(self.agent_returns)

    @property
    def num_agents(self) -> int:
        """A."""
        return self.agent_returns.shape[1]

    @property
    def episode_return(self) -> np.ndarray:
        """Return of each episode, mean over agents, float64 [E]."""
        return self.agent_returns.mean(-1)

    def columns(self) -> dict[str, np.ndarray]:
        """All columns in the order of the file: {name: [E]}."""
        agents = {f"return_{i}": self.agent_returns[:, i] for i in range(self.num_agents)}
        head = {"training_seed": self.training_seed, "seed": self.seed, **self.settings}
        tail = {"length": self.length, "failed": self.failed, **self.metrics}
        return {**head, "episode_return": self.episode_return, **agents, **tail}

    @classmethod
    def from_columns(cls, columns: Mapping[str, ArrayLike], settings: Sequence[str] | None = None) -> "Episodes":
        """The table from named columns [E]; `episode_return` is always computed anew from the agents'.

        `settings` names the columns that describe a row rather than measure it; by default `tau`, `setting` and every
        column of text. All others are metrics.

        Raises AverseError for columns that are missing or contradict each other.
        """
        instance("columns", Mapping, columns, "a mapping from names to columns")
        table = {name: _column(name, column) for name, column in columns.items()}
        missing = [name for name in REQUIRED if name not in table and name != "episode_return"]
        if missing:
            raise AverseError(f"episodes lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        agents = 0
        while f"return_{agents}" in table:
            agents += 1
        if settings is None:
            settings = [name for name, c in table.items() if name in ("tau", "setting") or c.dtype.kind in "OUS"]
        settings = check_value("settings", tuple[str, ...], settings)
        if absent := [name for name in settings if name not in table]:
            raise AverseError(f"settings names columns that are not there: {', '.join(absent)}")
        taken = {*REQUIRED, *settings, *(f"return_{i}" for i in range(agents))}
        returns = [table[f"return_{i}"] for i in range(agents)]
        if len({len(column) for column in returns}) > 1:
            raise AverseError("the columns return_0, return_1, ... differ in length")
        return cls(
            training_seed=table["training_seed"],
            seed=table["seed"],
            agent_returns=np.stack(returns, axis=-1),
            length=table["length"],
            failed=table["failed"],
            metrics={name: column for name, column in table.items() if name not in taken},
            settings={name: table[name] for name in settings},
        )

    def select(self, rows: ArrayLike) -> "Episodes":
        """The episodes of a mask bool [E] or of row numbers: `episodes.select(episodes.settings["tau"] == 4)`.

        Raises AverseError for a mask of another length and for rows that are not there.
        """
        rows = _rows(rows, len(self))
        return Episodes(
            self.training_seed[rows],
            self.seed[rows],
            self.agent_returns[rows],
            self.length[rows],
            self.failed[rows],
            {name: column[rows] for name, column in self.metrics.items()},
            {name: column[rows] for name, column in self.settings.items()},
        )

    def completed(self) -> "Episodes":
        """Without the failed ones."""
        return self.select(~self.failed)

    def by_training_seed(self, values: ArrayLike | None = None) -> list[np.ndarray]:
        """values [E] (default: the returns) of each training seed, in ascending order of the seeds.

        Raises AverseError for values of another length.
        """
        values = self.episode_return if values is None else _column("values", values)
        if values.shape != (len(self),):
            raise AverseError(f"values must have the shape ({len(self)},), one per episode, not {values.shape}")
        return [values[self.training_seed == seed] for seed in np.unique(self.training_seed)]

    def write_parquet(self, path: str | os.PathLike) -> None:
        """Write the file in one step: readers see the old file or the new one, never a part.

        Raises AverseError for what is no path.
        """
        path = as_path("path", path)
        table = pa.table(dict(self.columns()))
        table = table.replace_schema_metadata({_SETTINGS_KEY: json.dumps(list(self.settings)).encode()})
        with written_whole(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def read_parquet(cls, path: str | os.PathLike) -> "Episodes":
        """Read what `write_parquet` wrote, or any parquet file that has the columns.

        Raises AverseError for a file that is missing, cannot be read, or is no table of episodes.
        """
        path = as_path("path", path)
        if not path.is_file():
            raise AverseError(f"no episodes at {path}: the file does not exist")
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise AverseError(f"cannot read episodes from {path}: {str(error).splitlines()[0]}") from None
        marked = (table.schema.metadata or {}).get(_SETTINGS_KEY)
        try:
            columns = {name: table.column(name).to_numpy() for name in table.column_names}
            return cls.from_columns(columns, None if marked is None else json.loads(marked))
        except (AverseError, TypeError, KeyError, ValueError) as error:
            raise AverseError(f"{path} is no table of episodes: {error}") from None


def concatenate(tables: Sequence[Episodes]) -> Episodes:
    """One table of several with the same columns (other training seeds, other settings).

    Raises AverseError for no table, and for tables whose columns differ.
    """
    members("tables", Episodes, "Episodes", tables)
    if not tables:
        raise AverseError("tables is empty: no episodes to concatenate")
    names = [list(table.columns()) for table in tables]
    for other in names[1:]:
        if set(other) != set(names[0]):
            raise AverseError(f"tables of episodes differ in the columns {sorted(set(other) ^ set(names[0]))}")
    columns = {name: np.concatenate([table.columns()[name] for table in tables]) for name in names[0]}
    return Episodes.from_columns(columns, list(tables[0].settings))


def label_of(settings: Mapping[str, float]) -> str:
    """The name of a trial's swept settings, `tau=1`; the empty string where nothing is swept."""
    return ", ".join(f"{name}={value:g}" for name, value in settings.items() if name != "seed")


def _column(name: str, column: Any) -> np.ndarray:
    """A column of whatever kind. Raises AverseError for lists of unequal lengths."""
    try:
        return np.asarray(column)
    except ValueError:
        raise AverseError(f"column {name!r} must be one value per episode, not {shown(column)}") from None


def _flags(name: str, column: Any) -> np.ndarray:
    """True and False, or 1 and 0; no texts, of which "False" would be true."""
    values = numbers(name, column)
    if not np.isin(values, (0.0, 1.0)).all():
        raise AverseError(f"{name} must hold true and false, not {shown(column)}")
    return values.astype(bool)


def _rows(rows: Any, count: int) -> np.ndarray:
    """A mask bool [E] or row numbers, checked."""
    array = _column("rows", rows)
    if array.dtype.kind == "b":
        if array.shape != (count,):
            raise AverseError(f"rows is a mask of shape {array.shape} for {count} episodes")
        return array
    array = integers("rows", array)
    if array.ndim != 1 or (array.size and (array.min() < -count or array.max() >= count)):
        raise AverseError(f"rows must be a mask or row numbers below {count}, not {shown(rows)}")
    return array


def _setting(name: str, column: Any) -> np.ndarray:
    values = _column(name, column)
    return values.astype(str).astype(object) if values.dtype.kind in "OUS" else numbers(f"setting {name!r}", values)
