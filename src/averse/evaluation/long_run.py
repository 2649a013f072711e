"""Figures of policies in environments that never end: mean eta and variance zeta of the reward per step, and J.

A policy plays C independent chains. Each is cut into batches of equal length, of which the first is thrown away, as the
chain's start is not in steady state (burn-in). Batches much longer than the chain's memory are nearly independent, and
their spread gives honest intervals where that of single steps would not (the method of batch means: Law 2015, section
9.5.3; Asmussen, Glynn 2007, section IV.5). J = eta - beta zeta is not a mean of rewards, but to first order it is one
of pseudo-rewards r - beta (r - eta)^2 at the eta found, whose derivative by eta vanishes there: their batch means are
what the intervals of J rest on, and likewise (r - eta)^2 for zeta.

Axes: C chains, K batches kept of each, X = C K.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from averse.arguments import instance, numbers
from averse.environments.protocol import Environment
from averse.errors import AverseError
from averse.evaluation.arguments import members
from averse.evaluation.basis import Basis
from averse.evaluation.episodes import label_of
from averse.evaluation.known_models import exact_mean_variance, solvable_game
from averse.evaluation.play import FIRST_SEED, chain_player
from averse.files import as_path, written_whole
from averse.planning import MeanVarianceValue
from averse.progress import progress_bar
from averse.settings import Count, NonNegative, Whole, check_value
from averse.statistics import Estimate, mean, stratified_bootstrap_interval
from averse.tables import Table
from averse.training.run import Run

CHAINS = 250
BATCHES = 5  # of each chain, the first of which is burn-in
STEPS = 1_000_000  # per policy, by default
LONGEST = 2**31 - 1  # steps of a batch, which are counted in 32 bits
CORRELATED = 0.2  # correlation of neighbouring batches from which a warning is given


@dataclass(frozen=True, repr=False)
class Batches:
    """The batches of one policy: what every figure can be computed from again. Lists are taken as arrays are.

    Raises AverseError, when built, for means and squares of other shapes or that are not finite, and for other kinds of
    values.
    """

    training_seed: int  # of the policy
    settings: Mapping[str, float]  # what was swept
    beta: float  # price of variance, in 1/reward
    steps: int  # of a batch
    mean: np.ndarray  # float64 [C, K], of the team's reward in each batch
    square: np.ndarray  # float64 [C, K], mean of the squared reward
    metrics: Mapping[str, np.ndarray] = field(default_factory=dict)  # float64 [C], the environment's, at a chain's end
    exact: MeanVarianceValue | None = None  # by planning, where the model is known and small

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        for name, kind in (("training_seed", Whole), ("beta", NonNegative), ("steps", Count)):
            put(name, check_value(name, kind, getattr(self, name)))
        for name in ("settings", "metrics"):
            instance(name, Mapping, getattr(self, name), "a mapping from names to values")
        for name in ("mean", "square"):
            put(name, numbers(name, getattr(self, name)))
        if self.mean.ndim != 2 or self.mean.size == 0 or self.square.shape != self.mean.shape:
            raise AverseError(
                f"mean and square must have the same shape [chains, batches], not {self.mean.shape} and "
                f"{self.square.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.square).all()):
            raise AverseError("mean and square of a policy's batches must be finite")
        put("metrics", {name: numbers(f"metric {name!r}", values) for name, values in self.metrics.items()})

    def __repr__(self) -> str:
        chains, kept = self.mean.shape
        what = f"{chains} chains of {kept} batches of {self.steps} steps"
        return f"Batches(training_seed={self.training_seed}, beta={self.beta:g}, {what}, eta={self.eta:.4g})"

    @property
    def eta(self) -> float:
        """The mean reward per step."""
        return float(self.mean.mean())

    def at_price(self, beta: float) -> "Batches":
        """The same batches judged at another price of variance."""
        exact = self.exact and self.exact._replace(objective=self.exact.eta - beta * self.exact.zeta)
        return dataclasses.replace(self, beta=beta, exact=exact)

    def squared_deviation(self) -> np.ndarray:
        """Batch means of (r - eta)^2, [C, K]; their mean is zeta."""
        return self.square - 2.0 * self.eta * self.mean + self.eta**2

    def pseudo_reward(self) -> np.ndarray:
        """Batch means of r - beta (r - eta)^2, [C, K]; their mean is J."""
        return self.mean - self.beta * self.squared_deviation()

    def columns(self) -> dict[str, np.ndarray]:
        """One row per batch, {name: [X]}: what `LongRunEvaluation.write_parquet` writes."""
        chain, batch = np.indices(self.mean.shape)
        swept = {name: value for name, value in self.settings.items() if name != "beta"}
        same = {"training_seed": self.training_seed, **swept, "beta": self.beta}
        return {
            **{name: np.full(chain.size, value) for name, value in same.items()},
            "chain": chain.ravel(),
            "batch": batch.ravel(),
            "steps": np.full(chain.size, self.steps),
            "mean": self.mean.ravel(),
            "square": self.square.ravel(),
        }

    def correlation(self) -> float:
        """Of the pseudo-rewards of neighbouring batches; near 0 where batches are long enough."""
        values = self.pseudo_reward() - self.pseudo_reward().mean()
        spread = (values**2).mean()
        return float((values[:, 1:] * values[:, :-1]).mean() / spread) if values.shape[1] > 1 and spread > 0 else 0.0


@dataclass(frozen=True)
class LongRunSummary:
    """The figures of the policies of all training seeds of one setting, with two-level intervals (seeds, batches)."""

    beta: float  # price of variance, in 1/reward
    eta: Estimate  # mean reward per step
    zeta: Estimate  # its variance per step, in squared units of reward
    objective: Estimate  # J = eta - beta zeta
    by_seed: Mapping[int, Estimate]  # J of each training seed's policy; intervals by its batches alone
    exact: Mapping[int, MeanVarianceValue]  # of each training seed's policy by planning; empty where not known
    metrics: Mapping[str, Estimate]  # by name
    steps: int  # per policy, burn-in not counted
    batches: int  # per policy
    correlation: float  # of neighbouring batches, the largest among the policies

    @property
    def warning(self) -> str | None:
        """What the intervals do not cover, in words; None where nothing is wrong."""
        warnings = []
        if self.correlation > CORRELATED:
            warnings.append(
                f"neighbouring batches are correlated ({self.correlation:.2f}), so that intervals are too narrow: "
                "play more steps"
            )
        if len(self.by_seed) == 1:
            warnings.append("one training seed: intervals cover the evaluation of this policy, not training it again")
        return "; ".join(warnings) or None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "beta": self.beta,
            "eta": self.eta.to_dict(),
            "zeta": self.zeta.to_dict(),
            "objective": self.objective.to_dict(),
            "by_seed": [{"training_seed": seed, **value.to_dict()} for seed, value in self.by_seed.items()],
            "exact": [{"training_seed": seed, **value._asdict()} for seed, value in self.exact.items()],
            "metrics": {name: value.to_dict() for name, value in self.metrics.items()},
            "steps": self.steps,
            "batches": self.batches,
            "correlation": self.correlation,
            "training_seeds": len(self.by_seed),
            "confidence": 0.95,
            "warning": self.warning,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "LongRunSummary":
        """The inverse of `to_dict`. Raises AverseError for what is no such dictionary."""
        try:
            return cls(
                beta=check_value("beta", NonNegative, fields["beta"]),
                by_seed={int(row["training_seed"]): Estimate.from_dict(row) for row in fields["by_seed"]},
                exact={
                    int(row["training_seed"]): MeanVarianceValue(row["eta"], row["zeta"], row["objective"])
                    for row in fields["exact"]
                },
                metrics={name: Estimate.from_dict(value) for name, value in fields["metrics"].items()},
                correlation=check_value("correlation", float, fields["correlation"]),
                eta=Estimate.from_dict(fields["eta"]),
                zeta=Estimate.from_dict(fields["zeta"]),
                objective=Estimate.from_dict(fields["objective"]),
                steps=check_value("steps", Count, fields["steps"]),
                batches=check_value("batches", Count, fields["batches"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AverseError(f"not a summary of a long run: {error}") from None


@dataclass(frozen=True, repr=False)
class LongRunEvaluation:
    """Figures of one run in an environment that never ends: one summary per swept setting."""

    environment: str  # where they were played
    method: str  # that of the run
    batches: tuple[Batches, ...]  # one per policy
    summaries: Mapping[str, LongRunSummary]  # "beta=1" and so on; one entry "" where nothing is swept
    basis: Basis | None = None  # how far the policies were trained, and how they were played; `basis.finished`

    def __repr__(self) -> str:
        values = ", ".join(f"{label and f'{label}: '}{found.objective}" for label, found in self.summaries.items())
        cut = "" if self.basis is None or self.basis.finished else f", unfinished run: {self.basis.progress}"
        shift = f", {self.basis.world}" if self.basis is not None and self.basis.world else ""
        return f"LongRunEvaluation(env={self.environment}{shift}, method={self.method}, J={values}{cut})"

    def write_parquet(self, path: str | os.PathLike) -> None:
        """One row per batch: training_seed, swept settings, beta, chain, batch, steps, mean, square.

        Raises AverseError for what is no path.
        """
        path = as_path("path", path)
        columns: dict[str, list[np.ndarray]] = {}
        for batches in self.batches:
            for name, values in batches.columns().items():
                columns.setdefault(name, []).append(values)
        table = pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
        with written_whole(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. The summary's keys stand at the top where nothing is swept, else under `settings`."""
        basis = {} if self.basis is None else self.basis.to_dict()
        head = {"environment": self.environment, "method": self.method, **basis}
        entries = {label: summary.to_dict() for label, summary in self.summaries.items()}
        return {**head, **entries[""]} if set(entries) == {""} else {**head, "settings": entries}

    def __str__(self) -> str:
        known = any(summary.exact for summary in self.summaries.values())
        headings = ["policy", "beta", "mean eta", "variance zeta", "J", *(["exact J"] if known else [])]
        rows = [
            [
                label or self.method,
                f"{summary.beta:g}",
                *map(str, (summary.eta, summary.zeta, summary.objective)),
                *([_mean_exact(summary)] if known else []),
                ", ".join(f"{value.value:.4f}" for value in summary.by_seed.values()),
            ]
            for label, summary in self.summaries.items()
        ]
        title = "" if self.basis is None else self.basis.world
        return str(Table([*headings, "J by training seed"], rows, title, self._caption()))

    def _caption(self) -> str:
        first = next(iter(self.summaries.values()))
        warnings = [
            f" Warning{f' ({label})' if label else ''}: {summary.warning}."
            for label, summary in self.summaries.items()
            if summary.warning
        ]
        unfinished = "" if self.basis is None or self.basis.finished else f" {self.basis.warning}"
        return (
            f"J = eta - beta zeta; 95% intervals in brackets (training seeds, then batches of steps); {first.steps:,} "
            f"steps of each of {len(first.by_seed)} policies per row, in {first.batches:,} batches after burn-in."
            f"{''.join(warnings)}{unfinished}"
        )


def evaluate_long_run(
    run: Run,
    steps: float = STEPS,
    *,
    beta: float | None = None,
    first_seed: int = FIRST_SEED,
    greedy: bool = False,
    progress: bool = False,
    basis: Basis | None = None,
) -> LongRunEvaluation:
    """Play about `steps` steps (burn-in not counted) with each policy of a run; `averse.evaluate` calls it.

    The policies of the k-th training seed play chains of the same seeds whatever the method and the swept settings:
    common random numbers.

    Args:
      steps: per policy.
      beta: price of variance, in 1/reward; that of the run where not given (0 where its method has none).
      first_seed: of the chains.
      greedy: the most likely action instead of a draw from the policy.
      progress: show a bar on standard error.
      basis: what the evaluation says that it rests on.

    Raises AverseError for too few steps and for host environments.
    """
    environment = run.environment
    if not isinstance(environment, Environment):
        raise AverseError(f"{environment.name}: long runs of host environments are not implemented")
    length = steps_played(steps) // (CHAINS * (BATCHES - 1))
    play = chain_player(environment, run.learner, greedy, batches=BATCHES, length=length)
    game = solvable_game(environment)
    found = []
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task("evaluate", total=len(run.config.trials))
        for index, settings in enumerate(run.config.trials):
            start = first_seed + run.config.seeds.index(int(settings["seed"])) * CHAINS
            played = play(run.state(index), np.arange(start, start + CHAINS, dtype=np.uint32))
            swept = {name: value for name, value in settings.items() if name != "seed"}
            price = beta if beta is not None else swept.get("beta", run.config.learner.get("beta", 0.0))
            # Draws from the policy are what planning evaluates; its most likely actions may fall apart into classes.
            exact = None if greedy else exact_mean_variance(environment, run.learner, run.state(index), price, game)
            batches = Batches(
                training_seed=int(settings["seed"]),
                settings=swept,
                beta=float(price),
                steps=length,
                mean=played.mean[:, 1:],
                square=played.square[:, 1:],
                metrics=played.info,
                exact=exact,
            )
            found.append(batches)
            bar.advance(task)
    by_label: dict[str, list[Batches]] = {}
    for batches in found:
        by_label.setdefault(label_of(batches.settings), []).append(batches)
    summaries = {label: summarise_long_run(group) for label, group in by_label.items()}
    return LongRunEvaluation(run.config.environment, run.config.method, tuple(found), summaries, basis)


def steps_played(steps: float) -> int:
    """How many of so many steps fill whole batches. Raises AverseError for too few and for too many."""
    each = CHAINS * (BATCHES - 1)
    if steps < each:
        raise AverseError(f"steps must be at least {each}, not {steps:g}")
    if steps > each * LONGEST:
        raise AverseError(f"steps must be at most {each * LONGEST:.3g}, not {steps:g}")
    return int(steps / each) * each


def summarise_long_run(policies: Sequence[Batches]) -> LongRunSummary:
    """The figures of the policies of all training seeds of one setting, one `Batches` each; intervals at 95 %.

    The intervals are those of `averse.statistics.stratified_bootstrap_interval`: Student's below 8 training seeds.

    Raises AverseError for no policy, for two of one training seed, and for policies with other metrics.
    """
    members("policies", Batches, "Batches", policies)
    if not policies:
        raise AverseError("policies is empty: no batches to summarise")
    if len({batches.training_seed for batches in policies}) < len(policies):
        raise AverseError("policies must be of different training seeds: one setting at a time")
    for batches in policies:
        if set(batches.metrics) != set(policies[0].metrics):
            differing = sorted(set(batches.metrics) ^ set(policies[0].metrics))
            raise AverseError(f"policies must have the same metrics; they differ in {', '.join(differing)}")

    def interval(values: Callable[[Batches], np.ndarray]) -> Estimate:
        return stratified_bootstrap_interval([values(batches).ravel() for batches in policies], mean)

    return LongRunSummary(
        beta=policies[0].beta,
        eta=interval(lambda batches: batches.mean),
        zeta=interval(Batches.squared_deviation),
        objective=interval(Batches.pseudo_reward),
        by_seed={
            batches.training_seed: stratified_bootstrap_interval([batches.pseudo_reward().ravel()], mean)
            for batches in policies
        },
        exact={batches.training_seed: batches.exact for batches in policies if batches.exact is not None},
        metrics={name: interval(partial(_metric, name)) for name in policies[0].metrics},
        steps=policies[0].steps * policies[0].mean.size,
        batches=policies[0].mean.size,
        correlation=max(batches.correlation() for batches in policies),
    )


def _mean_exact(summary: LongRunSummary) -> str:
    """The mean over training seeds of J by planning, for the table."""
    values = [value.objective for value in summary.exact.values()]
    return f"{np.mean(values):.5f}" if values else "-"


def _metric(name: str, batches: Batches) -> np.ndarray:
    return batches.metrics[name]
