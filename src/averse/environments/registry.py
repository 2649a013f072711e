"""Environments by name, and what builds an environment again. Modules are imported only when they are asked for.

A name is a built-in one, one that `register` gave, one that an installed package offers under the entry-point group
`averse.environments`, or `module:Attribute` of anything that can be imported and that builds an environment.
`gymnasium:ID`, `pettingzoo:MODULE`, `gymnax:ID` and `jaxmarl:ID` are worlds of other libraries
(`environments.adapters`), `budget:NAME` any world with the return so far in what is seen (`environments.budget`).
"""

import dataclasses
import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, get_type_hints

from averse.environments.protocol import Description, Environment, HostEnvironment
from averse.errors import AverseError, unknown_name
from averse.plugins import Registry, imported

_REGISTRY = Registry(
    "environment",
    "averse.environments",
    {
        "car-following": "averse.environments.car_following:CarFollowing",
        "cliff-walk": "averse.environments.cliff_walk:CliffWalk",
        "corridor": "averse.environments.corridor:Corridor",
        "intersection": "averse.environments.intersection.twin:Intersection",
        "microgrids": "averse.environments.microgrids.environment:Microgrids",
        "risky-cartpole": "averse.environments.risky_cartpole:RiskyCartPole",
        "sumo-intersection": "averse.environments.sumo.environment:SumoIntersection",
    },
)
# Doors to other libraries' worlds: in front of the colon, and what gives the class of what is behind it.
_DOORS = {
    "gymnasium": "averse.environments.adapters.doors:gymnasium_class",
    "pettingzoo": "averse.environments.adapters.doors:pettingzoo_class",
    "gymnax": "averse.environments.adapters.gymnax_world:gymnax_class",
    "jaxmarl": "averse.environments.adapters.jaxmarl_world:jaxmarl_class",
    "budget": "averse.environments.budget:budget_class",
}
_FOREIGN = ("gymnasium.core", "pettingzoo.utils.env")  # where their classes of environments are defined
_DESCRIBED = ("name", "num_agents", "action_space", "observation_size", "global_state_size", "horizon", "metrics")
_COMPILED = ("reset", "step", "global_state", "available_actions")


class Specification(NamedTuple):
    """What builds an environment again: `make(name, **parameters)`."""

    name: str
    parameters: dict[str, Any]  # numbers, texts, truths, None, and tuples and dictionaries of these


def register(name: str, factory: Callable[..., Description]) -> None:
    """Give a name to an environment of your own, for `make`, `averse.train` and the like in this process.

    Args:
      name: letters, digits, '.', '_' and '-'; the same name again replaces it.
      factory: builds an environment from keyword parameters: a class or a function. An environment that is built by a
        function, and whose class is not enough to build it again, has that function's name as its `name`.

    Raises AverseError for a text that cannot be a name, the name of a built-in, and what cannot be called.
    """
    if not callable(factory):
        raise AverseError(f"the factory of {name!s:.80} must be a class or a function, not {factory!r:.80}")
    _REGISTRY.register(name, factory)


def names() -> list[str]:
    """The names that `make` knows: built-in, registered, and of installed packages."""
    return _REGISTRY.names()


def factory(name: str) -> Callable[..., Description]:
    """The class or function that builds a named environment.

    `gymnasium:ID`, `pettingzoo:MODULE`, `gymnax:ID` and `jaxmarl:ID` name worlds of these libraries.

    Raises AverseError for an unknown name, with the nearest one, and for what cannot be imported or called.
    """
    if is_foreign(name):
        door, _, id = name.partition(":")
        return imported(_DOORS[door])(id)
    try:
        found = _REGISTRY.find(name)
    except AverseError as error:
        raise _misspelt_door(name) or error from None
    if not callable(found):
        raise AverseError(f"{name} is no class or function that builds an environment, but {found!r:.80}")
    _refuse_foreign_class(name, found)
    return found


def _misspelt_door(name: Any) -> AverseError | None:
    """What `gymnasum:CartPole-v1` should be told; None for what is like no door."""
    door, colon, _ = str(name).partition(":")
    near = difflib.get_close_matches(door, _DOORS, n=1, cutoff=0.8) if colon else []
    return unknown_name("library in front of a world", door, near) if near else None


def _refuse_foreign_class(name: str, found: Callable[..., Any]) -> None:
    """Raises AverseError for a class of Gymnasium's or PettingZoo's, which has a door of its own."""
    bases = found.__mro__ if isinstance(found, type) else ()
    library = next((base.__module__.partition(".")[0] for base in bases if base.__module__ in _FOREIGN), None)
    if library is not None:
        module = name.partition(":")[0]
        use = f"pettingzoo:{name}" if library == "pettingzoo" else f"gymnasium:{module}:ID, with the ID it registers"
        raise AverseError(f"{name} is an environment of another library, {library}; name it {use}")


def is_foreign(name: Any) -> bool:
    """Whether a name is of another library's world: `gymnasium:ID`, `pettingzoo:MODULE`, `gymnax:ID`, `jaxmarl:ID`."""
    return isinstance(name, str) and ":" in name and name.partition(":")[0] in _DOORS


def make(name: str, /, **parameters: Any) -> Description:
    """Build an environment: `make("risky-cartpole", level="severe")`.

    Raises AverseError for an unknown name or parameter (with the nearest one), for values out of range, and if what is
    built is no environment.
    """
    build = factory(name)
    known = _parameters(build)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for given in parameters:
        if given not in known and not open_ended:
            raise unknown_name(f"parameter of {name}", given, known)
    try:
        built = build(**{key: _tuples(value) for key, value in parameters.items()})
    except TypeError as error:
        raise AverseError(f"{name}: {error}") from error
    return verified(built)


def verified(environment: Any) -> Description:
    """The environment itself.

    Raises AverseError if it is no environment: the line says what it lacks.
    """
    if isinstance(environment, type):
        raise AverseError(f"{environment.__name__} is a class, not an environment; build one: {environment.__name__}()")
    if isinstance(environment, Environment | HostEnvironment):
        return environment
    lacks = [name for name in (*_DESCRIBED, "return_bounds") if not hasattr(environment, name)]
    compiled = [name for name in _COMPILED if not hasattr(environment, name)]
    if len(compiled) == len(_COMPILED):
        lacks.append("vector (a host environment) or reset and step (a compiled one)")
    elif not hasattr(environment, "vector"):
        lacks += compiled
    raise AverseError(
        f"{type(environment).__name__} is no environment: it lacks {', '.join(lacks)}; "
        "averse.environments.base says what may be left out"
    )


def is_compiled(environment: Description) -> bool:
    """Whether an environment is a pair of pure functions (compiled) or lives in worker processes (host)."""
    return isinstance(environment, Environment)


def describe(name: str) -> str:
    """What an environment is, in one line: the first one of its docstring; of one that cannot be imported, why."""
    try:
        found = factory(name)
    except AverseError as error:
        return str(error)
    text = inspect.getdoc(found) or ""
    generated = text.startswith(f"{getattr(found, '__name__', '')}(")  # by `dataclass`, for want of a docstring
    return "" if generated else text.partition("\n")[0]


def parameters_class(name: str) -> type:
    """A dataclass whose fields are the parameters of a named environment, for command lines and the like.

    That of the environment itself where it is a dataclass; else one made from the signature of its factory.

    Raises AverseError for an unknown name, with the nearest one.
    """
    build = factory(name)
    if isinstance(build, type) and dataclasses.is_dataclass(build):
        return build
    try:
        hints = get_type_hints(build, include_extras=True)
    except NameError as error:
        raise AverseError(f"{name}: the types of its parameters cannot be read: {error}") from error
    rows: list[Any] = []
    for key, parameter in _parameters(build).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.default is parameter.empty:
            rows.append((key, hints.get(key, str)))
        else:
            rows.append((key, hints.get(key, type(parameter.default)), dataclasses.field(default=parameter.default)))
    made = dataclasses.make_dataclass("Parameters", rows, frozen=True, kw_only=True)
    made.__doc__ = describe(name)
    return made


def parameters_of(environment: Any) -> dict[str, Any]:
    """What `environment.parameters()` says, or the fields of a dataclass that has no such method.

    Raises AverseError for an object of another class, unless its class takes no parameters.
    """
    if hasattr(environment, "parameters"):
        return dict(environment.parameters())
    if dataclasses.is_dataclass(environment):
        return {field.name: getattr(environment, field.name) for field in dataclasses.fields(environment) if field.init}
    if _parameters(type(environment)):
        raise AverseError(f"{type(environment).__name__} must be a dataclass or have a function parameters()")
    return {}


def specification(environment: Description) -> Specification:
    """What builds this environment again, wherever it is read: tried, not believed.

    Raises AverseError, whose line says what to do about it, if it is no environment, if a name is not to be had (the
    class is defined within a function, or in a script that is being run, and not registered), if a parameter is no
    JSON, and if what is built again is another environment.
    """
    cls = type(verified(environment))
    candidates = [_REGISTRY.name_of(cls)]
    if environment.name in names() and not isinstance(factory(environment.name), type):
        candidates.append(environment.name)  # what a function built
    if is_foreign(environment.name) and factory(environment.name) is cls:
        candidates.append(environment.name)
    if not any(candidates):
        script = cls.__module__ == "__main__" and "<" not in cls.__qualname__
        where = "in the script that is being run" if script else "where nothing can import it from"
        raise AverseError(
            f"{cls.__qualname__} is defined {where}, so that it could not be built again: move it to the top level of "
            f"a module, or first call averse.environments.register(NAME, {cls.__name__}), also where runs are read"
        )
    parameters = parameters_of(environment)
    faults = []
    for name in filter(None, candidates):
        fault = rebuild_fault(environment, partial(make, name))
        if fault is None:
            return Specification(name, parameters)
        faults.append(fault)
    raise AverseError(faults[0])


def rebuild_fault(environment: Description, build: Callable[..., Any]) -> str | None:
    """Why `build`, given the environment's parameters, does not build it again; None where it does."""
    label = environment.name
    try:
        parameters = parameters_of(environment)
        given = {key: _plain(f"{label}: the parameter {key}", value) for key, value in parameters.items()}
        again = build(**json.loads(json.dumps(given)))
    except AverseError as error:
        return str(error)
    except TypeError as error:
        return f"{label}: its own parameters do not build it again: {error}"
    if type(again) is not type(environment):
        return f"{label}: its parameters build a {type(again).__qualname__}, not a {type(environment).__qualname__}"
    others = {key: _plain(key, value) for key, value in parameters_of(again).items()}
    for key in {**given, **others}:
        if json.dumps(given.get(key)) != json.dumps(others.get(key)):
            return f"{label}: built again with {key}={parameters.get(key)!r}, it says {key}={others.get(key)!r}"
    return None


def _parameters(build: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters that may be given by keyword."""
    try:
        parameters = inspect.signature(build).parameters
    except (ValueError, TypeError) as error:
        raise AverseError(f"the parameters of {build!r:.80} cannot be found out: {error}") from error
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind not in kinds}


def _plain(what: str, value: Any) -> Any:
    """The value as JSON has it. Raises AverseError for what JSON has not."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(what, item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(what, item) for key, item in value.items()}
    raise AverseError(
        f"{what} must be a number, a text, a truth, or a sequence of these, to be stored; not {value!r:.80}"
    )


def _tuples(value: Any) -> Any:
    """Tuples in place of lists, as JSON has no tuples and an environment must be hashable."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
