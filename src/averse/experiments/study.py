"""What a study leaves beside its tables: study.json, with a verdict on each claim, its rows, and where its runs are."""

import dataclasses
import json
import math
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import tyro

from averse.errors import AverseError
from averse.files import write_text
from averse.settings import as_text, hints_of
from averse.statistics import Estimate
from averse.version import __version__

FORMAT = 1
FILE = "study.json"
GOING_ON = "the study is not finished: the same command goes on with it"

Verdict = Literal["holds", "fails", "undecided"]
ORDER: tuple[Verdict, ...] = ("fails", "undecided", "holds")
"""How far a claim is from holding, the furthest first."""


@dataclass(frozen=True)
class Claim:
    """An expectation, and what the figures say of it."""

    claim: str  # a sentence
    verdict: Verdict
    effect: Estimate  # NaN where nothing was measured
    words: str  # a sentence with the figures and the seeds, and why where it is undecided

    def __str__(self) -> str:
        return f"{self.verdict}: {self.claim} ({self.words})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        effect = self.effect.to_dict()
        figures = {"effect": effect["value"], "low": effect["low"], "high": effect["high"]}
        return {"claim": self.claim, "verdict": self.verdict, **figures, "words": self.words}


def judged(
    claim: str, effect: Estimate, seeds: int, *, above: bool = True, words: Callable[[Estimate], str] = str
) -> Claim:
    """A claim and the verdict on it.

    It holds if the interval excludes that there is no effect, and fails if the interval excludes an effect of the
    claimed sign. Else it is undecided; so it is with one training seed, whose interval says nothing of training anew.

    Args:
      claim: a sentence.
      effect: with its interval.
      seeds: training seeds.
      above: whether the effect is claimed to be above 0, or below.
      words: tells the effect and its interval.
    """
    verdict, why = verdict_of(effect, seeds, above=above)
    told = f"{words(effect)}, {seeds} training seed{'s' * (seeds != 1)}"
    return Claim(claim, verdict, effect, f"{told}; {why}" if why else told)


def verdict_of(effect: Estimate, seeds: int, *, above: bool = True) -> tuple[Verdict, str]:
    """The verdict of `judged`, and, where no interval could decide, why."""
    if math.isnan(effect.value):
        return "undecided", "it could not be measured"
    if seeds < 2:
        return "undecided", "one training seed says nothing of what another training would give"
    if not effect.has_interval:
        return "undecided", "it has no interval"
    if effect.low == effect.high:
        return "undecided", "the seeds do not differ at all, so that nothing tells how far off the figure is"
    low, high = (effect.low, effect.high) if above else (-effect.high, -effect.low)
    if low > 0:
        return "holds", ""
    return ("fails" if high <= 0 else "undecided"), ""


def all_hold(claim: str, parts: Sequence[Claim]) -> Claim:
    """The claim that several others hold together: it fails if one of them does. Its effect is that of the first that
    is furthest from holding."""
    least = min(parts, key=lambda part: ORDER.index(part.verdict))
    words = "; ".join(f"{part.verdict}: {part.claim}, {part.words}" for part in parts)
    return Claim(claim, least.verdict, least.effect, words)


def check_folder(out: Path, verb: str, environment: str) -> None:
    """Make sure that a folder is free for a study, or holds one to go on with; nothing is touched.

    Raises AverseError if it holds something else: no study, one of another verb, or one in another environment.
    """
    out, known = Path(out), None
    try:
        if out.exists() and not out.is_dir():
            raise AverseError(f"{out} is a file, and a study needs a folder; choose another --out")
        there = out.is_dir() and any(out.iterdir())
        if (out / FILE).is_file():
            known = json.loads((out / FILE).read_text())
    except AverseError:
        raise
    except (OSError, ValueError) as error:
        raise AverseError(f"{out / FILE} cannot be read ({error}); choose another --out or remove it") from None
    if known is not None and not isinstance(known, dict):
        raise AverseError(f"{out / FILE} is no study; choose another --out or remove it")
    if known is None and there:
        raise AverseError(f"{out} exists already and is no study; choose another --out")
    if known is not None:
        for name, value in (("verb", verb), ("environment", environment)):
            if known.get(name) != value:
                held = f"{out} holds a study with {name} {known.get(name)!r:.60}"
                raise AverseError(f"{held}, not {value!r:.60}; choose another --out")


def write_study(out: Path, **fields: Any) -> None:
    """Write study.json in one step: `write_study(out, verb="compare", claims=[...], rows=[...], ...)`.

    `format` and `versions` are put in. Estimates and claims become what JSON can hold; numbers that are not finite
    become null.
    """
    versions = {"averse": __version__, "jax": jax.__version__, "python": platform.python_version()}
    content = {"format": FORMAT, **fields, "versions": versions}
    write_text(Path(out) / FILE, as_json(content))


def as_json(content: Any) -> str:
    """Text of JSON, in which estimates are their value and interval, and what is not finite is null."""
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def command_line(verb: str, arguments: Any) -> str:
    """The command that gives such arguments: flags of what is not the default, as a shell reads them."""
    behind, flags = _words(arguments)
    return shlex.join(["averse", verb, *behind, *flags])


def _words(arguments: Any) -> tuple[list[str], list[str]]:
    """What stands without a flag, and the flags with their values; settings of settings are flags too."""
    words: list[str] = []
    behind: list[str] = []
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if value is None or value == field.default:
            continue
        if dataclasses.is_dataclass(value):
            words += _words(value)[1]
            continue
        notes = get_args(hints_of(type(arguments))[field.name])
        if any("Positional" in repr(note) for note in notes) or tyro.conf.Positional in notes:
            behind += list(map(as_text, value)) if isinstance(value, tuple) else [as_text(value)]
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, *(map(as_text, value) if isinstance(value, tuple) else [as_text(value)])]
    return behind, words
