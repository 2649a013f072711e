"""How a run goes on: with its own settings, which nothing that is said may contradict, and perhaps for more steps."""

from typing import Any

import numpy as np

from averse import environments, learners
from averse.errors import AverseError, shown
from averse.learners.parts.measure import NUMBERS, measure_fields, risk_measure
from averse.settings import check_value, field_names
from averse.training.config import TrainingConfig, configure, whole


def extended(config: TrainingConfig, steps: Any = None, **given: Any) -> TrainingConfig:
    """The configuration of a run, with more steps if that is wished.

    Args:
      config: of the run.
      steps: environment steps per trial in all, from the beginning on; those of the run where not given.
      given: whatever else `configure` takes; it must say what the run is trained with already.

    Raises AverseError for fewer steps than the run was to have, and for settings that are not the run's.
    """
    total = config.steps if steps is None else whole("steps", steps)
    if total < config.steps:
        raise AverseError(
            f"steps must be at least the {config.steps} of the run, which more of them extend, not {total}"
        )
    if given:
        settled = config.with_support(config.build_environment())
        _require_same(_flat(settled), _flat(_as_given(settled, dict(given))))
    if total == config.steps:
        return config
    return TrainingConfig(**{**{name: getattr(config, name) for name in field_names(config)}, "steps": total})


def _as_given(config: TrainingConfig, rest: dict[str, Any]) -> TrainingConfig:
    """The configuration of a new run with what is given, and with this run's settings for everything else."""
    own, environment = config.learner_config(), rest.pop("environment", config.environment)
    method = rest.pop("method", config.method)
    if not isinstance(method, str) and type(method) is type(own):
        own, method = method, config.method
    where, parameters = environment, config.environment_parameters
    if not isinstance(environment, str):
        where, parameters = environments.specification(environments.verified(environment))
    _require_same(
        {"environment": config.environment, "method": config.method}, {"environment": where, "method": method}
    )
    numbers = {name: rest.pop(name) for name in _numbers_of(own) & rest.keys() if not _is_sequence(rest[name])}
    own = learners.with_settings(own, **numbers)
    further = check_value("environment_parameters", dict[str, Any] | None, rest.pop("environment_parameters", None))
    kept = {name: values for name, values in config.sweep.items() if name not in numbers}
    return configure(
        where,
        method,
        config.steps,
        rest.pop("seeds", config.seeds),
        environment_parameters={**{k: v for k, v in parameters.items() if k not in rest}, **(further or {})},
        checkpoints=rest.pop("checkpoints", config.checkpoints),
        seeds_as=rest.pop("seeds_as", config.seeds_as),
        fine_tune=rest.pop("fine_tune", config.fine_tune),
        tail_starts=rest.pop("tail_starts", config.tail_starts),
        **{**{name: getattr(own, name) for name in field_names(own)}, **kept, **rest},
    )


def _numbers_of(learner: Any) -> set[str]:
    """The names by which the number of a learner's risk measure can be said."""
    return {*NUMBERS, *measure_fields(risk_measure(learner))} if hasattr(learner, "measure") else set()


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _flat(config: TrainingConfig) -> dict[str, Any]:
    """All settings of a run by name, those of environment, method and sweep among them."""
    own = {name: getattr(config, name) for name in ("seeds", "checkpoints", "seeds_as", "fine_tune", "tail_starts")}
    settings = {**own, **config.environment_parameters, **config.learner, **config.sweep}
    return {name: settings[name] for name in {**config.sweep, **settings}}  # what is swept over first


def _require_same(run: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises AverseError for the first setting that is another than the run's."""
    advice = "it goes on with its own settings; train a new one instead"
    run, given = (
        {name: list(value) if isinstance(value, tuple) else value for name, value in side.items()}
        for side in (run, given)
    )
    for name in {**run, **given}:
        if name not in run:
            raise AverseError(f"the run does not sweep over {name}: {advice}")
        if name not in given:
            raise AverseError(f"the run sweeps over {name}, {shown(run[name])}, in place of one: {advice}")
        if run[name] != given[name]:
            raise AverseError(f"the run has {name} {shown(run[name])}, not {shown(given[name])}: {advice}")
