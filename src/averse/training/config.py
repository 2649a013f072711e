"""What a training run is: everything needed to run it again, as JSON."""

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from averse import environments, learners
from averse.environments.protocol import Description
from averse.errors import AverseError
from averse.learners.contract import Learner

FORMAT = 1  # of the run directory; raised when an older averse could not read a newer one


@dataclass(frozen=True)
class TrainingConfig:
    """A training run: one environment, one method, some seeds, and at most a sweep over the learner's numbers."""

    environment: str
    environment_parameters: dict[str, Any]
    method: str
    learner: dict[str, Any]  # the complete configuration of the learner
    steps: int  # environment steps per run, rounded up to whole updates
    seeds: tuple[int, ...]
    sweep: dict[str, tuple[float, ...]] = field(default_factory=dict)  # setting -> values; every value with every seed
    checkpoints: int = 10  # how many checkpoints a run writes
    seeds_as: Literal["vmap", "loop"] = "vmap"  # compiled environments: all runs in one program, or one after another
    fine_tune: str | None = None  # run directory whose networks this training begins with

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise AverseError(f"steps must be at least 1, not {self.steps}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise AverseError(f"seeds must be one or more different numbers, not {list(self.seeds)}")
        if self.checkpoints < 1:
            raise AverseError(f"checkpoints must be at least 1, not {self.checkpoints}")
        if self.seeds_as not in ("vmap", "loop"):
            raise AverseError(f"seeds_as must be vmap or loop, not {self.seeds_as!r}")

    def build_environment(self) -> Description:
        return environments.make(self.environment, **self.environment_parameters)

    def learner_config(self) -> Any:
        settings = {name: tuple(v) if isinstance(v, list) else v for name, v in self.learner.items()}
        return learners.preset(self.method, **settings)

    def build_learner(self, environment: Description) -> Learner:
        learner = learners.build(self.method, self.learner_config(), environment, self.total_updates)
        for name, values in self.sweep.items():
            if name not in learner.sweepable:
                raise AverseError(
                    f"cannot sweep {name!r} of {self.method}; allowed: {', '.join(sorted(learner.sweepable))}"
                )
            if not values:
                raise AverseError(f"a sweep over {name} needs at least one value")
            for value in values:  # each value passes the checks of a single run
                learners.build(
                    self.method, learners.with_settings(self.learner_config(), **{name: value}), environment, 1
                )
        return learner

    @property
    def total_updates(self) -> int:
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

    def to_json(self) -> str:
        from averse.version import __version__

        content = {"format": FORMAT, "averse": __version__, **dataclasses.asdict(self)}
        return json.dumps(_finite(content), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TrainingConfig":
        """Raises AverseError if the text is not a configuration of this format."""
        try:
            content = _infinite(json.loads(text))
            version = content.pop("format")
            content.pop("averse")
            if version != FORMAT:
                raise AverseError(f"its format is {version!r}, this averse reads {FORMAT}")
            content["seeds"] = tuple(content["seeds"])
            content["sweep"] = {name: tuple(values) for name, values in content["sweep"].items()}
            return cls(**content)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise AverseError(f"its config.json is damaged ({error})") from error


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
