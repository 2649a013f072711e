"""What an evaluation rests on: how far its policies were trained, how long and how they were played.

It is written beside the figures, so that a lesser evaluation does not take the place of a better one unasked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from averse.errors import AverseError, shown
from averse.settings import Count, Whole, as_text, assigned, check_value
from averse.training.config import TrainingConfig
from averse.training.run import Run

ADVICE = "--overwrite (overwrite=True) replaces it, --no-save (save=False) only looks"
LONGEST_SHIFT = 150  # characters that a shift takes in the name of a file; file systems take 255 in all


@dataclass(frozen=True)
class Basis:
    """How far the policies were trained, and how they were played."""

    amount: int  # episodes (steps, where an environment never ends) of each policy
    unit: Literal["episodes", "steps"]  # of the amount
    greedy: bool  # the most likely actions instead of draws
    first_seed: int  # of the episodes
    updates: tuple[int, ...]  # how far each trial of the run had come
    total_updates: int  # that each trial was to do
    shift: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the world that have another value than in training; empty where it is that of training."""

    @classmethod
    def of(cls, run: Run, amount: int, unit: Literal["episodes", "steps"], **played: Any) -> "Basis":
        """The basis of an evaluation of a run."""
        return cls(amount, unit, updates=run.updates, total_updates=run.config.total_updates, **played)

    @property
    def finished(self) -> bool:
        """Whether every policy had done all of its training."""
        return min(self.updates) >= self.total_updates

    @property
    def progress(self) -> str:
        """How far the policies were trained, in words: "30 of 100 updates"."""
        low, high = min(self.updates), max(self.updates)
        return f"{low if low == high else f'{low} to {high}'} of {self.total_updates} updates"

    @property
    def warning(self) -> str:
        """What a table says of policies that are not trained to their end; nothing of finished ones."""
        if self.finished:
            return ""
        return f"Warning: the run is unfinished: its policies are those after {self.progress}."

    @property
    def world(self) -> str:
        """How the world differs from that of training, as the title of a table; empty where it does not."""
        return f"shifted world: {assigned(self.shift)}" if self.shift else ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            f"{self.unit}_per_policy": self.amount,
            "greedy": self.greedy,
            "first_seed": self.first_seed,
            "finished": self.finished,
            "updates": list(self.updates),
            "total_updates": self.total_updates,
            "shift": dict(self.shift),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Basis | None":
        """The inverse of `to_dict`; None where an older averse has not told it.

        Raises AverseError for what is no such dictionary.
        """
        unit: Literal["episodes", "steps"] = "steps" if "steps_per_policy" in fields else "episodes"
        if f"{unit}_per_policy" not in fields:
            return None
        try:
            return cls(
                check_value("amount", Count, fields[f"{unit}_per_policy"]),
                unit,
                greedy=check_value("greedy", bool, fields["greedy"]),
                first_seed=check_value("first_seed", Whole, fields["first_seed"]),
                updates=check_value("updates", tuple[Whole, ...], fields["updates"]) or (0,),
                total_updates=check_value("total_updates", Whole, fields["total_updates"]),
                shift=check_value("shift", dict[str, Any], fields["shift"]),
            )
        except (KeyError, AverseError) as error:
            raise AverseError(f"not the basis of an evaluation: {error}") from None


def moved(
    trained: TrainingConfig, environment: str | None = None, shift: Mapping[str, Any] | None = None
) -> tuple[TrainingConfig, dict[str, Any]]:
    """The configuration of a run where its policies are to play, and what of the shift differs there from training.

    Args:
      trained: the run's configuration; it is the outcome where nothing changes.
      environment: where its policies play; the environment of training where not given.
      shift: parameters with another value.

    Raises AverseError for a world that the policies cannot act in, as `Run.moved_to`.
    """
    elsewhere, shift = (environment if environment != trained.environment else None), shift or {}
    if elsewhere is None and not shift:
        return trained, {}
    there = trained.moved_to(elsewhere, {name: check_value(name, Any, value) for name, value in shift.items()})
    played = {name: there.environment_parameters[name] for name in shift}  # 1 is 1.0 where it is a float
    return there, shift_of(trained, there.environment, played)


def shift_of(trained: TrainingConfig, environment: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Of some parameters of a world those that policies meet with another value than without a shift.

    Args:
      trained: the run's configuration.
      environment: where its policies play.
      parameters: of that environment, as they are there.
    """
    before = trained.parameters_in(environment)
    return {name: value for name, value in parameters.items() if name not in before or value != before[name]}


def suffix(trained: TrainingConfig, environment: str, shift: Mapping[str, Any]) -> str:
    """What the names of an evaluation's files say of where it was played: "-sumo-intersection-human_rate=0.4".

    Empty where the world is that of training. Letters that no file's name may have are written as in a URL.

    Args:
      trained: the run's configuration.
      environment: where its policies play.
      shift: parameters that have another value there (`shift_of`).

    Raises AverseError for a value of a parameter that no file could hold.
    """
    where = "" if environment == trained.environment else f"-{quote(environment, safe='')}"
    parts = []
    for name in sorted(shift):
        try:
            json.dumps(shift[name])
            parts.append(f"{name}={quote(as_text(shift[name]), safe='')}")
        except (TypeError, ValueError, RecursionError):
            kinds = "a number, a text, a truth, or a sequence of these"
            raise AverseError(f"{name} must be {kinds}, to be told in a file; not {shown(shift[name])}") from None
    words = ",".join(parts)
    if len(words) > LONGEST_SHIFT:
        words = f"{words[:LONGEST_SHIFT]}...{hashlib.sha256(words.encode()).hexdigest()[:12]}"
    return f"{where}-{words}" if words else where


def refuse_loss(figures: Path, table: Path, basis: Basis, trials: int) -> None:
    """Make sure that a new evaluation loses nothing.

    It may take the place of one that was played in the same way, with as many or fewer episodes. (Another price of
    variance plays the same: the table of batches has what every price needs.)

    Args:
      figures: where evaluation.json is, or is to be.
      table: where the table of episodes (of a long run's batches) is.
      basis: of the new evaluation.
      trials: how many policies the run has.

    Raises AverseError for an evaluation of more episodes or steps, for one that was played otherwise, and where what is
    there cannot be read.
    """
    old = _stored(figures, table, basis.unit, trials)
    if old is None:
        return
    amount = old.get(f"{basis.unit}_per_policy")
    if isinstance(amount, int) and amount > basis.amount:
        raise AverseError(
            f"{figures.parent} holds an evaluation of {amount:,} {basis.unit} per policy ({figures.name}), more than "
            f"{basis.amount:,}: {ADVICE}"
        )
    new = basis.to_dict()
    for name in ("greedy", "first_seed"):
        if name in old and name in new and old[name] != new[name]:
            raise AverseError(
                f"{figures.parent} holds an evaluation with {name} {_word(old[name])} "
                f"({figures.name}), not {_word(new[name])}: {ADVICE}"
            )


def _stored(figures: Path, table: Path, unit: str, trials: int) -> Mapping[str, Any] | None:
    """What is known of the evaluation in a directory; None where there is none."""
    if not figures.is_file() and not table.is_file():
        return None
    try:
        known = json.loads(figures.read_text()) if figures.is_file() else {}
        if f"{unit}_per_policy" not in known and table.is_file():  # of an older version, or interrupted
            rows = pq.read_table(table, columns=["steps"] if unit == "steps" else ["length"])
            amount = rows.num_rows if unit == "episodes" else sum(rows.column("steps").to_pylist())
            known = {**known, f"{unit}_per_policy": amount // trials}
        return dict(known)
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException):
        raise AverseError(f"the evaluation in {figures.parent} ({figures.name}) cannot be read: {ADVICE}") from None


def _word(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
