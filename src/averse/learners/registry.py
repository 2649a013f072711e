"""Methods by name: built-in ones, registered ones, those of installed packages, and `module:Attribute`."""

import dataclasses
from collections.abc import Callable
from typing import Any

from averse.compilation import single_precision
from averse.environments.protocol import Description
from averse.errors import AverseError, unknown_name
from averse.learners.contract import Learner, Method
from averse.learners.parts.measure import NUMBERS, measure_fields, risk_measure, with_measure_numbers
from averse.learners.presets import METHODS
from averse.plugins import Registry
from averse.settings import Count, check_value, field_names

_SIZES = ("num_agents", "action_space", "observation_size", "global_state_size")  # what all learners ask for
COUNTABLE = 2**31 - 1  # what compiled programs count to, in an int32

_METHODS = Registry("method", "averse.methods", METHODS)


def register(name: str, preset: Any, build: Callable[[Any, Description, int], Learner], description: str = "") -> None:
    """Give a method a name: `averse.learners.register("mine", MyConfig(), build_mine, "What it is.")`.

    The same name again replaces it. An installed package offers a `Method` as an entry point of the group
    `averse.methods` instead.

    Args:
      preset: its settings, an instance of a dataclass with the fields `num_envs` and `rollout_steps`.
      build: (config, environment, total_updates) -> Learner; see `Method`.
      description: one sentence for `averse list`.

    Raises AverseError for what is no such thing, and for the name of a built-in method.
    """
    _METHODS.register(name, _checked(name, Method(preset, build, description)))


def names() -> list[str]:
    """The methods that have a name."""
    return _METHODS.names()


def method(name: str) -> Method:
    """The method of that name, or what `module:Attribute` names.

    Raises AverseError for a name that nobody knows, with the nearest one, and for what is no `Method`.
    """
    return _checked(name, _METHODS.find(name))


def preset(name: str, **overrides: Any) -> Any:
    """The settings of a method, some of them replaced; see `with_settings`, which also says what it raises."""
    return _replaced(method(name).preset, overrides, name)


def with_settings(config: Any, **overrides: Any) -> Any:
    """The settings `config` with some of them replaced.

    A configuration with a risk measure takes its number by name too: `tau=3.0` makes `entropic:1` into `entropic:3`.

    Raises AverseError for an unknown setting, with the nearest one, and for values that are not allowed or contradict
    each other.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise AverseError(f"config must be a method's settings, such as MAPPOConfig(), not {config!r:.60}")
    return _replaced(config, overrides, type(config).__name__)


def _replaced(config: Any, overrides: dict[str, Any], whose: str) -> Any:
    known = field_names(config)
    numbers: set[str] = set()
    if "measure" in known:
        numbers = set(NUMBERS) | measure_fields(risk_measure(config))
        overrides = with_measure_numbers(overrides, config.measure, known)
    for name in overrides:
        if name not in known:
            raise unknown_name(f"setting of {whose}", name, {*known, *numbers})
    return dataclasses.replace(config, **overrides)


def named_configuration(config: Any) -> tuple[str, Any]:
    """The method of a configuration, and that configuration: the method whose preset is of the same class.

    Among several that one from which the configuration differs in the fewest settings.

    Raises AverseError where there is none, with a line that says how to register it.
    """
    nearest: dict[str, int] = {}
    for name in names():
        try:
            own = method(name).preset
        except AverseError:  # of an installed package that is broken, which is not what was asked for
            continue
        if type(own) is type(config):
            nearest[name] = sum(getattr(own, field) != getattr(config, field) for field in field_names(config))
    if not nearest:
        what = config if isinstance(config, type) else type(config)
        raise AverseError(
            f"no method has settings of the class {what.__name__}; register one with "
            f"averse.learners.register(name, {what.__name__}(...), build)"
        )
    return min(nearest, key=nearest.__getitem__), config


@single_precision
def build(name: str, config: Any, environment: Description, total_updates: int) -> Learner:
    """The learner of a method with complete settings, for an environment's sizes.

    Args:
      total_updates: how many updates the schedules (risk, learning rate) are stretched over.

    Raises AverseError for settings of another method, numbers that JAX cannot count to, and settings that do not fit
    the environment.
    """
    found = method(name)
    if type(config) is not type(found.preset):
        raise AverseError(
            f"the settings of {name} are of the class {type(found.preset).__name__}, not {type(config).__name__}"
        )
    for field in field_names(config):
        value = getattr(config, field)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and abs(number) > COUNTABLE:
                raise AverseError(f"{field} must be at most {COUNTABLE}, not {number}")
    if check_value("total_updates", Count, total_updates) > COUNTABLE:
        raise AverseError(f"total_updates must be at most {COUNTABLE}, not {total_updates}")
    if lacks := [name for name in _SIZES if not hasattr(environment, name)]:
        raise AverseError(f"{type(environment).__name__} is no environment: it lacks {', '.join(lacks)}")
    return found.build(config, environment, int(total_updates))


def learner(method: Any, environment: Description, total_updates: int = 100, **overrides: Any) -> Learner:
    """Build a learner: `learner("rqe-mappo", env, tau=3.0)`, or `learner(MAPPOConfig(), env)`.

    Args:
      method: a name, or settings of a method.
      environment: whose sizes the learner is to have.
      total_updates: how many updates the schedules (risk, learning rate) are stretched over.
      overrides: settings in place of the method's.

    Raises AverseError for unknown names and for settings that contradict each other.
    """
    if isinstance(method, str):
        return build(method, preset(method, **overrides), environment, total_updates)
    name, config = named_configuration(method)
    return build(name, with_settings(config, **overrides), environment, total_updates)


def _checked(name: str, found: Any) -> Method:
    """`found`, if it is a method."""
    if not isinstance(found, Method):
        raise AverseError(f"{name!s:.80} is no averse.learners.Method but {found!r:.60}")
    if not dataclasses.is_dataclass(found.preset) or isinstance(found.preset, type):
        raise AverseError(f"the preset of {name!s:.80} must be an instance of a dataclass, not {found.preset!r:.60}")
    if not callable(found.build):
        raise AverseError(f"build of {name!s:.80} must be a function (config, environment, total_updates) -> Learner")
    for needed in ("num_envs", "rollout_steps"):
        if needed not in field_names(found.preset):
            raise AverseError(f"the settings of {name!s:.80} need the field {needed}, the size of a batch")
    return found
