"""What a training run is: everything needed to run it again, as JSON."""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from averse import environments, learners
from averse.compilation import single_precision
from averse.environments.protocol import Description
from averse.errors import AverseError, unknown_name
from averse.files import as_path
from averse.learners.contract import Learner
from averse.learners.parts.measure import NUMBERS, measure_fields
from averse.learners.registry import COUNTABLE
from averse.learners.support import with_support
from averse.risk import RiskMeasure, parse
from averse.settings import Count, Part, Seed, assigned, check_value, field_names, hints_of, is_sequence, settings
from averse.training.starts import num_conditions
from averse.version import __version__

MAX_TRIALS = 100_000
FORMAT = 2  # of the run directory; raised when another averse could not read it


@settings
class TrainingConfig:
    """A training run: one environment, one method, some seeds, and at most a sweep over the method's numbers.

    Every combination of a seed and swept values is one *trial*.

    Raises AverseError for seeds and swept values that are none, or not different.
    """

    environment: str
    """A name of `averse.environments`, or `module:Attribute`."""
    environment_parameters: dict[str, Any]
    """What builds the environment again."""
    method: str
    """A name of `averse.learners`, or `module:Attribute`."""
    learner: dict[str, Any]
    """The complete configuration of the learner."""
    steps: Count
    """Environment steps per trial, rounded up to whole updates."""
    seeds: tuple[Seed, ...]
    """Training seeds, all different."""
    sweep: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Setting -> values; every value with every seed."""
    checkpoints: Count = 10
    """How many checkpoints a trial writes."""
    seeds_as: Literal["vmap", "loop"] = "vmap"
    """Compiled environments: all trials advance together, by one program, or one after another."""
    fine_tune: str | None = None
    """Run directory whose networks this training begins with."""
    tail_starts: Part = 0.0
    """Share of the training episodes that begin more often as the worst ones did (`training.starts`)."""
    environment_object: Any = field(default=None, compare=False, repr=False)
    """The environment itself where nothing can build it again; such a run cannot be stored."""

    def __post_init__(self) -> None:
        for name in ("environment_parameters", "learner"):  # JSON knows lists only
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise AverseError(f"seeds must be one or more different whole numbers >= 0, not {list(self.seeds)}")
        for name, values in self.sweep.items():
            if not values or len(set(values)) < len(values):
                raise AverseError(f"a sweep over {name} needs one or more different numbers, not {list(values)}")
        count = math.prod(map(len, self.sweep.values()), start=len(self.seeds))
        if count > MAX_TRIALS:
            raise AverseError(f"seeds and sweeps make {count:,} trials; a run has at most {MAX_TRIALS:,}")

    @single_precision
    def build_environment(self) -> Description:
        """The environment, built anew (or the very object that the configuration was made with)."""
        if self.environment_object is not None:
            return self.environment_object
        return environments.make(self.environment, **self.environment_parameters)

    def parameters_in(self, environment: str) -> dict[str, Any]:
        """The parameters with which policies of this run play in the environment of that name.

        Those that it shares with the environment that they were trained in, and defaults of its own; where it is that
        very environment, those of training. Raises AverseError for an unknown name.
        """
        fields = [each for each in dataclasses.fields(environments.parameters_class(environment)) if each.init]
        own = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
        if environment == self.environment:
            return own | self.environment_parameters
        known = {field.name for field in fields}
        return own | {name: value for name, value in self.environment_parameters.items() if name in known}

    def moved_to(self, environment: str | None = None, parameters: Mapping[str, Any] | None = None) -> "TrainingConfig":
        """The same policies in another environment, or with other parameters of it, as `Run.moved_to` has it.

        Raises AverseError for what that refuses.
        """
        if environment is None and self.environment_object is not None:
            self.require_storable()
            raise AverseError(
                f"{self.environment} had no name when it was trained in: train again, now that it has one"
            )
        here, name, parameters = self.build_environment(), environment or self.environment, dict(parameters or {})
        moved = dataclasses.replace(  # the critic keeps the atoms that it was trained with
            self.with_support(here),
            environment=name,
            environment_parameters={**self.parameters_in(name), **parameters},
            environment_object=None,
        )
        there = moved.build_environment()
        for what in ("num_agents", "action_space", "observation_size", "global_state_size"):
            old, new = getattr(here, what), getattr(there, what)
            if old != new:
                shift = f" with {assigned(parameters)}" if parameters else ""
                raise AverseError(
                    f"a policy of {self.environment} cannot act in {name}{shift}: {what} is {new}, not {old}"
                )
        given = moved.environment_parameters
        return dataclasses.replace(moved, environment_parameters={**given, **_complete(name, given, there)})

    def learner_config(self) -> Any:
        """The learner's configuration as an object."""
        return learners.preset(self.method, **self.learner)

    def with_support(self, environment: Description) -> "TrainingConfig":
        """The configuration that names the support of a critic that depends on one, as `configure` makes it.

        Files of older versions may leave it open.
        """
        own = self.learner_config()
        settled = with_support(own, environment)
        return self if settled is own else dataclasses.replace(self, learner=_fields(settled))

    def build_learner(self, environment: Description) -> Learner:
        """The learner, built anew. Raises AverseError for settings, sweeps and steps that it does not take."""
        config = self.learner_config()
        if self.total_updates > COUNTABLE:
            raise AverseError(
                f"steps {self.steps:.3g} are {self.total_updates:.3g} updates, and at most {COUNTABLE} can be counted"
            )
        learner = learners.build(self.method, config, environment, self.total_updates)
        self._check_tail_starts(environment, learner)
        for name, values in self.sweep.items():
            if name not in learner.sweepable:
                allowed = ", ".join(sorted(learner.sweepable)) or "nothing"
                raise AverseError(f"cannot sweep {name!r} of {self.method}; allowed: {allowed}")
            for value in values:  # each value passes the checks of a single trial
                learners.build(self.method, learners.with_settings(config, **{name: value}), environment, 1)
        return learner

    def _check_tail_starts(self, environment: Description, learner: Learner) -> None:
        if self.tail_starts == 0.0:
            return
        if not num_conditions(environment):
            raise AverseError(
                "tail_starts needs a compiled environment that says what its episodes begin with, such as intersection "
                f"or risky-cartpole; {self.environment} does not"
            )
        if not learner.weighs_episodes:
            raise AverseError(
                f"tail_starts needs a method that weighs episodes by their importance, as mappo and its presets do; "
                f"{self.method} does not"
            )

    @property
    def total_updates(self) -> int:
        """Updates per trial."""
        config = self.learner_config()
        return math.ceil(self.steps / (config.num_envs * config.rollout_steps))

    @property
    def trials(self) -> list[dict[str, float]]:
        """Every combination of swept values and seed: `{"seed": 0, "tau": 1.0}` and so on."""
        names = list(self.sweep)
        return [
            {"seed": seed, **dict(zip(names, values))}
            for values in itertools.product(*self.sweep.values())
            for seed in self.seeds
        ]

    def require_storable(self) -> None:
        """Raises AverseError, with a line on what to do, if the environment could not be built again from a file."""
        if self.environment_object is not None:
            environments.specification(self.environment_object)

    def to_json(self) -> str:
        """What `config.json` holds."""
        content = {name: getattr(self, name) for name in field_names(self) if name != "environment_object"}
        return json.dumps(_finite({"format": FORMAT, "averse": __version__, **content}), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TrainingConfig":
        """Raises AverseError if the text is not a configuration of this format."""
        try:
            content = _infinite(json.loads(text))
            version, written_by = content.pop("format"), content.pop("averse")
            if version != FORMAT:
                raise AverseError(
                    f"it has format {version!r} (averse {written_by}) and this averse reads {FORMAT}: train it again"
                )
            content["sweep"] = {name: tuple(values) for name, values in content["sweep"].items()}
            return cls(**content)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AverseError(f"its config.json is damaged ({error})") from error


def configure(
    environment: str | Description,
    method: Any,
    steps: float = 2e5,
    seeds: int | Sequence[int] = 1,
    *,
    environment_parameters: dict[str, Any] | None = None,
    checkpoints: int = 10,
    seeds_as: Literal["vmap", "loop"] = "vmap",
    fine_tune: str | Path | None = None,
    tail_starts: float = 0.0,
    **settings: Any,
) -> TrainingConfig:
    """A checked configuration of a training run.

    Args:
      environment: a name, `module:Attribute`, or an environment.
      method: a name, `module:Attribute`, or a method's configuration.
      steps: environment steps per trial.
      seeds: how many training seeds (0, 1, ...) or which.
      environment_parameters: of a named environment; those that are no settings of the method can as well be given
        among the `settings`.
      checkpoints: how many a trial writes.
      seeds_as: whether the trials of a compiled environment advance together, by one program, or one after another.
      fine_tune: run directory whose networks to begin with.
      tail_starts: share of the episodes that begin more often as the worst ones did.
      settings: the method's settings. A sequence for a setting that is one number is a sweep: `tau=[0.3, 1, 10]`.

    Raises AverseError for anything unknown, out of range or contradictory.
    """
    named = isinstance(method, str)
    name, preset = (method, learners.preset(method)) if named else learners.named_configuration(method)
    parameters = dict(check_value("environment_parameters", dict[str, Any] | None, environment_parameters) or {})
    if isinstance(environment, str):
        settings, parameters = _sorted_out(settings, parameters, preset, name, environment)
    elif parameters:
        raise AverseError("environment_parameters are for an environment that is given by its name")
    if isinstance(environment, str):
        built = environments.make(environment, **parameters)
    else:
        built = environments.verified(environment)
        _refuse_parameters(settings, preset, built)
    swept = {key: _numbers(key, value) for key, value in settings.items() if _is_sweep(preset, key, value)}
    fixed = {key: value for key, value in settings.items() if key not in swept}
    _refuse_dropped_number(settings.get("measure"), swept)
    suggested = environments.suggested_settings(built, name) if named else {}
    config = learners.with_settings(preset, **{**suggested, **fixed})
    for key, values in swept.items():
        # The configuration's own measure is that of the first trial, not one that nobody is trained with.
        config = learners.with_settings(config, **{key: values[0]}) if key not in field_names(config) else config
    where, parameters, unstorable = _specified(environment, parameters, built)
    result = TrainingConfig(
        environment=where,
        environment_parameters=parameters,
        method=name,
        learner=_fields(with_support(config, built)),  # the environment's bounds may change, a run's atoms must not
        steps=whole("steps", steps),
        seeds=_seeds(seeds),
        sweep=swept,
        checkpoints=checkpoints,
        seeds_as=seeds_as,
        fine_tune=None if fine_tune is None else str(as_path("fine_tune", fine_tune).resolve()),  # from any folder
        tail_starts=tail_starts,
        environment_object=unstorable,
    )
    result.build_learner(built)
    return result


def whole(name: str, value: Any) -> int:
    """A whole number from 1 on, also where it is written as a float: 1e6. Raises AverseError for anything else."""
    number = float(value) if isinstance(value, float | np.floating) else value
    return check_value(name, Count, int(number) if isinstance(number, float) and number.is_integer() else number)


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if not isinstance(seeds, int | np.integer):
        return check_value("seeds", tuple[Seed, ...], seeds)
    count = check_value("seeds", Count, seeds)
    if count > MAX_TRIALS:
        raise AverseError(f"seeds must be at most {MAX_TRIALS:,} (or a sequence of seeds), not {count}")
    return tuple(range(count))


def _specified(environment: Any, given: dict[str, Any], built: Description) -> tuple[str, dict[str, Any], Any]:
    """The name and parameters of an environment, and itself where these could not build it again."""
    if isinstance(environment, str):
        return environment, _complete(environment, given, built), None
    try:
        return *environments.specification(environment), None
    except AverseError:  # told when the run is to be stored
        return type(environment).__name__, {}, environment


def _complete(environment: str, given: dict[str, Any], built: Description) -> dict[str, Any]:
    """All parameters of a named environment, as defaults may change; of what a function built those it was given."""
    return environments.parameters_of(built) if environments.factory(environment) is type(built) else given


def _sorted_out(
    settings: dict[str, Any], parameters: dict[str, Any], preset: Any, method: str, environment: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The method's settings, and the environment's parameters among what was given."""
    of_method = field_names(preset)
    if "measure" in of_method:
        of_method += [*NUMBERS, *measure_fields(parse(settings.get("measure", preset.measure)))]
    of_environment = field_names(environments.parameters_class(environment))
    moved = {name: value for name, value in settings.items() if name not in of_method and name in of_environment}
    kept = {name: value for name, value in settings.items() if name not in moved}
    for name in kept:
        if name not in of_method:
            raise unknown_name(f"setting of {method} or parameter of {environment}", name, of_method + of_environment)
    for name in moved:
        if name in parameters:
            raise AverseError(f"{name} is given twice, by itself and among environment_parameters")
    return kept, {**parameters, **moved}


def _refuse_parameters(settings: dict[str, Any], preset: Any, environment: Description) -> None:
    """Raises AverseError for what is no setting of the method but was set when the environment was built."""
    parameters = (
        environments.parameters_of(environment)
        if hasattr(environment, "parameters")
        else getattr(environment, "__dict__", ())
    )
    for name in settings.keys() - {*field_names(preset), *NUMBERS}:
        if name in parameters:
            built = type(environment).__name__
            raise AverseError(
                f"{name} is a parameter of the environment: set it where that is built, {built}({name}=...)"
            )


def _refuse_dropped_number(measure: Any, swept: dict[str, tuple[float, ...]]) -> None:
    """Raises AverseError where a measure is given with a number that the sweep over it leaves out."""
    if not isinstance(measure, RiskMeasure) and not (isinstance(measure, str) and ":" in measure):
        return
    own = parse(measure) if isinstance(measure, str) else measure
    for name in measure_fields(own) & swept.keys():
        if getattr(own, name) not in swept[name]:
            values = ", ".join(f"{value:g}" for value in swept[name])
            raise AverseError(
                f"the measure {str(own)!r} and a sweep over {name} ({values}) contradict each other; give one"
            )


def _is_sweep(preset: Any, name: str, value: Any) -> bool:
    hint = hints_of(type(preset)).get(name)
    return isinstance(value, list | tuple | np.ndarray) and not (hint is not None and is_sequence(hint))


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    """The values of a sweep."""
    plain = np.asarray(values).tolist() if isinstance(values, np.ndarray) else list(values)
    if not plain or any(isinstance(x, bool) or not isinstance(x, int | float | np.number) for x in plain):
        raise AverseError(f"a sweep over {name} needs one or more numbers, not {plain!r:.80}")
    try:
        return tuple(float(x) for x in plain)
    except OverflowError:
        raise AverseError(f"a sweep over {name} needs numbers below 1e308, not {plain!r:.80}") from None


def _fields(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in field_names(config)}


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _finite(value: Any) -> Any:
    """JSON has no infinity: write it as a string."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _infinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _infinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_infinite(item) for item in value]
    return float(value) if value in ("inf", "-inf") else value
