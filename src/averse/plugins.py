"""Things by name: built-in ones, registered ones, those of installed packages, and what `module:Attribute` names."""

import difflib
import importlib
import re
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from averse.errors import AverseError, unknown_name

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*", re.IGNORECASE)
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Registry:
    """Names of one kind and what they stand for.

    A name is looked up among those registered by `register`, the built-in ones, and the entry points of installed
    packages, in this order; a text of the form `module:Attribute` is imported.

    Args:
      kind: what the names stand for, in error messages: "environment".
      group: the entry-point group in which installed packages offer more of them: "averse.environments".
      builtin: name -> `module:Attribute`, imported when first asked for, or the thing itself.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, Any]):
        self.kind, self.group = kind, group
        self._builtin = dict(builtin)
        self._registered: dict[str, Any] = {}

    def register(self, name: str, thing: Any) -> None:
        """Give a name to something; the same name again replaces it.

        Raises AverseError for a text that cannot be a name, and for the name of a built-in.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise AverseError(f"a name of {self.kind}s has letters, digits, '.', '_' and '-' only, not {name!r:.80}")
        if name in self._builtin:
            raise AverseError(f"{name} is a built-in {self.kind}; choose another name")
        self._registered[name] = thing

    def names(self) -> list[str]:
        """All names, the built-in ones first, in their order."""
        return list(dict.fromkeys([*self._builtin, *self._registered, *self._offered]))

    def find(self, name: str) -> Any:
        """What a name stands for.

        Raises AverseError for a name that nobody knows, with the nearest one, for what is no text, and for what cannot
        be imported.
        """
        if not isinstance(name, str):
            raise AverseError(f"a name of {self.kind}s must be a text, not {name!r:.80}")
        if name in self._registered:
            return self._registered[name]
        if name in self._builtin:
            thing = self._builtin[name]
            return imported(thing, self.kind) if isinstance(thing, str) else thing
        if name in self._offered:
            return imported(self._offered[name].value, self.kind)
        if is_path(name):
            return imported(name, self.kind)
        raise unknown_name(self.kind, name, self.names())

    def name_of(self, thing: Any, lasting: bool = False) -> str | None:
        """A name by which `find` gives this very thing; None where there is none, as for a class in a function.

        Args:
          lasting: leave out what `register` named, which another process need not know.
        """
        for known, registered in self._registered.items():
            if registered is thing and not lasting:
                return known
        path = path_of(thing)
        for known in (*self._builtin, *self._offered):
            value = self._builtin[known] if known in self._builtin else self._offered[known].value
            if value is thing or value == path:
                return known
        return path

    @cached_property
    def _offered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def is_path(text: str) -> bool:
    """Whether a text has the form `module:Attribute`."""
    return bool(_PATH.fullmatch(text))


def imported(path: str, kind: str = "name") -> Any:
    """What `module:Attribute` names. Raises AverseError if there is no such module or attribute."""
    module, _, attributes = path.partition(":")
    try:
        thing: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            thing = getattr(thing, attribute)
    except ImportError as error:
        raise AverseError(f"the {kind} {path} cannot be imported: {error}") from error
    except AttributeError as error:
        near = difflib.get_close_matches(str(error.name), dir(error.obj), n=2, cutoff=0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise AverseError(f"the {kind} {path} cannot be imported: {error}{hint}") from error
    return thing


def path_of(thing: Any) -> str | None:
    """`module:Attribute` of a class or function, if importing that gives the very same thing; else None.

    None for what was defined within a function or in a script that is being run.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if module in (None, "__main__") or "<" in name:
        return None
    path = f"{module}:{name}"
    try:
        return path if imported(path) is thing else None
    except AverseError:
        return None
