"""What a study compares: arms, each a method with settings of its own, as text, from a file, or made by a verb."""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from averse import learners
from averse.commands import assignments, literal
from averse.errors import AverseError, shown, unknown_name

LONGEST_LABEL = 60  # characters of a name that somebody gives an arm
LONGEST_FOLDER = 120  # characters of a run directory's name
_SETTINGS = re.compile(r":(?=[A-Za-z_][\w-]*=)")  # the colon before a method's settings
_NEXT = re.compile(r",(?=[A-Za-z_][\w-]*=)")  # the comma before the next of them


@dataclass(frozen=True)
class Arm:
    """What is compared: the policies of one method with some settings, one for each training seed."""

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    swept: Mapping[str, float] = field(default_factory=dict)
    """Numbers in which it differs from arms of the same method and settings: one run trains all of these as a sweep."""

    @property
    def all_settings(self) -> dict[str, Any]:
        """The settings and what is swept."""
        return {**self.settings, **self.swept}


def read_arm(text: str) -> Arm:
    """The arm of a text: `mappo`, `rqe-mappo:tau=3`, `c51-cvar-mappo:measure=cvar:0.05,lam=0.9`, `module:Attribute`.

    A name of its own may stand in front: `careful=rqe-mappo:tau=1,lam=0.98`.

    Raises AverseError for an unknown method, with the nearest one, and for settings and names that are none.
    """
    name, sign, behind = text.partition("=")
    named = bool(sign) and ":" not in name  # else the sign is of a setting
    if named and not 0 < len(name.strip()) <= LONGEST_LABEL:
        raise AverseError(f"a name of its own for a method has 1 to {LONGEST_LABEL} characters, not {shown(name)}")
    method, *given = _SETTINGS.split(behind if named else text, maxsplit=1)
    learners.method(method)
    settings = read_values(f"a method such as {method}", given[0]) if given else {}
    return Arm(name.strip() if named else text, method, settings)


def read_values(flag: str, text: str) -> dict[str, Any]:
    """{name: value} of NAME=VALUE,NAME=VALUE; a value may have commas. Raises AverseError for what is none."""
    return assignments(flag, "NAME=VALUE,NAME=VALUE,...", _NEXT.split(text), literal)


def read_arms(texts: Sequence[str], tables: Mapping[str, Mapping[str, Any]] | None = None) -> list[Arm]:
    """Arms of texts; their settings go before those of a table of the same label, these before those of the method.

    Raises AverseError for no text, for one that is there twice, for what `read_arm` refuses, and for a table of what is
    no method.
    """
    if not texts:
        raise AverseError("--methods needs a method, such as mappo")
    arms, tables = [read_arm(text) for text in texts], tables or {}
    labels = [arm.label for arm in arms]
    if twice := [label for label in dict.fromkeys(labels) if labels.count(label) > 1]:
        raise AverseError(f"--methods has {shown(twice[0])} twice; give it once, or with other settings")
    known = {*learners.names(), *(arm.method for arm in arms)}
    for name in tables:
        if name not in labels and _SETTINGS.split(name, maxsplit=1)[0] not in known:
            raise unknown_name("method of a table of settings", name, [*labels, *known])
    return [
        Arm(arm.label, arm.method, {**tables.get(arm.method, {}), **tables.get(arm.label, {}), **arm.settings})
        for arm in arms
    ]


def read_tables(path: Path | None) -> dict[str, dict[str, Any]]:
    """The settings of a TOML file, a table per method (or per label such as "rqe-mappo:tau=3"); none without a file.

    Raises AverseError for a file that cannot be read or is no TOML, and for what stands outside a table.
    """
    if path is None:
        return {}
    try:
        with Path(path).open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise AverseError(f"--settings {path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AverseError(f"--settings {path} is no TOML: {error}") from None
    for name, table in content.items():
        if not isinstance(table, dict):
            raise AverseError(
                f"--settings {path} must have a table per method, such as [mappo]; {name} = {shown(table)} is in none"
            )
    return {
        name: {key.replace("-", "_"): _tuples(value) for key, value in table.items()} for name, table in content.items()
    }


def folder_of(label: str) -> str:
    """The name of an arm's run directory: its label, in letters that a file system takes."""
    name = quote(label.replace(":", "."), safe="=,+ ").replace(" ", "_").strip(".") or "_"
    if len(name) > LONGEST_FOLDER:
        name = f"{name[:LONGEST_FOLDER]}...{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name


def _tuples(value: Any) -> Any:
    if value == "None":  # TOML has no word for it
        return None
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
