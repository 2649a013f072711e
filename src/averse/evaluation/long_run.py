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
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from averse.environments.protocol import Environment
from averse.errors import AverseError
from averse.evaluation.known_models import exact_mean_variance, solvable_game
from averse.evaluation.play import chain_player
from averse.files import write_text, written_whole
from averse.planning import MeanVarianceValue
from averse.progress import progress_bar
from averse.statistics import Estimate, mean, stratified_bootstrap_interval
from averse.tables import Table
from averse.training.run import Run

CHAINS = 250
BATCHES = 5  # of each chain, the first of which is burn-in
STEPS = 1_000_000  # per policy, by default
CORRELATED = 0.2  # correlation of neighbouring batches from which a warning is given


@dataclass(frozen=True)
class Batches:
    """The batches of one policy: what every figure can be computed from again."""

    training_seed: int
    settings: Mapping[str, float]  # what was swept
    beta: float
    steps: int  # of a batch
    mean: np.ndarray  # float64 [C, K], of the team's reward in each batch
    square: np.ndarray  # float64 [C, K], mean of the squared reward
    metrics: Mapping[str, np.ndarray] = field(default_factory=dict)  # float64 [C], the environment's, at a chain's end
    exact: MeanVarianceValue | None = None  # by planning, where the model is known and small

    @property
    def eta(self) -> float:
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

    def correlation(self) -> float:
        """Of the pseudo-rewards of neighbouring batches; near 0 where batches are long enough."""
        values = self.pseudo_reward() - self.pseudo_reward().mean()
        spread = (values**2).mean()
        return float((values[:, 1:] * values[:, :-1]).mean() / spread) if values.shape[1] > 1 and spread > 0 else 0.0


@dataclass(frozen=True)
class LongRunSummary:
    """The figures of the policies of all training seeds of one setting, with two-level intervals (seeds, batches)."""

    beta: float
    eta: Estimate
    zeta: Estimate
    objective: Estimate
    by_seed: Mapping[int, Estimate]  # J of each training seed's policy; intervals by its batches alone
    exact: Mapping[int, MeanVarianceValue]  # of each training seed's policy by planning; empty where not known
    metrics: Mapping[str, Estimate]
    steps: int  # per policy, burn-in not counted
    batches: int  # per policy
    correlation: float  # of neighbouring batches, the largest among the policies

    @property
    def warning(self) -> str | None:
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


@dataclass(frozen=True)
class LongRunEvaluation:
    """Figures of one run in an environment that never ends: one summary per swept setting."""

    environment: str
    method: str
    batches: tuple[Batches, ...]  # one per policy
    summaries: Mapping[str, LongRunSummary]  # "beta=1" and so on; one entry "" where nothing is swept

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. The summary's keys stand at the top where nothing is swept, else under `settings`."""
        head = {"environment": self.environment, "method": self.method}
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
        return str(Table([*headings, "J by training seed"], rows, caption=self._caption()))

    def _caption(self) -> str:
        first = next(iter(self.summaries.values()))
        warnings = [
            f" Warning{f' ({label})' if label else ''}: {summary.warning}."
            for label, summary in self.summaries.items()
            if summary.warning
        ]
        return (
            f"J = eta - beta zeta; 95% intervals in brackets (training seeds, then batches of steps); {first.steps:,} "
            f"steps of each of {len(first.by_seed)} policies per row, in {first.batches:,} batches after burn-in."
            f"{''.join(warnings)}"
        )


def evaluate_long_run(
    run: Run,
    label_of: Callable[[Mapping[str, float]], str],
    steps: float = STEPS,
    *,
    beta: float | None = None,
    first_seed: int,
    greedy: bool = False,
    progress: bool = False,
    save: bool = True,
) -> LongRunEvaluation:
    """Play about `steps` steps (burn-in not counted) with each policy of a run.

    The policies of the k-th training seed play chains of the same seeds whatever the method and the swept settings:
    common random numbers. With `save` (and a run directory) long_run.parquet and evaluation.json are written there.

    Args:
      label_of: the name of a summary from the swept settings.
      beta: price of variance, in 1/reward; that of the run where not given (0 where its method has none).
      greedy: the most likely action instead of a draw from the policy.

    Raises AverseError for bad input and for host environments.
    """
    environment = run.environment
    if not isinstance(environment, Environment):
        raise AverseError(f"{environment.name}: long runs of host environments are not implemented")
    length = int(steps / (CHAINS * (BATCHES - 1)))
    if length < 1:
        raise AverseError(f"steps must be at least {CHAINS * (BATCHES - 1)}, not {steps:g}")
    if beta is not None and not 0.0 <= beta < float("inf"):
        raise AverseError(f"beta must be finite and not negative, not {beta:g}")
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
            kept = played.mean[:, 1:], played.square[:, 1:]
            # Draws from the policy are what planning evaluates; its most likely actions may fall apart into classes.
            exact = None if greedy else exact_mean_variance(environment, run.learner, run.state(index), price, game)
            found.append(Batches(int(settings["seed"]), swept, float(price), length, *kept, played.info, exact))
            bar.advance(task)
    by_label: dict[str, list[Batches]] = {}
    for batches in found:
        by_label.setdefault(label_of(batches.settings), []).append(batches)
    summaries = {label: summarise_long_run(group) for label, group in by_label.items()}
    evaluation = LongRunEvaluation(run.config.environment, run.config.method, tuple(found), summaries)
    if save and run.path is not None:
        write_batches(found, run.path / "long_run.parquet")
        write_text(run.path / "evaluation.json", json.dumps(evaluation.to_dict(), indent=2) + "\n")
    return evaluation


def summarise_long_run(policies: list[Batches]) -> LongRunSummary:
    """The figures of the policies of all training seeds of one setting."""

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


def write_batches(policies: list[Batches], path: Path) -> None:
    """One row per batch: training_seed, swept settings, beta, chain, batch, steps, mean, square."""
    columns: dict[str, list[np.ndarray]] = {}
    for batches in policies:
        chain, batch = np.indices(batches.mean.shape)
        rows = {
            "training_seed": np.full(chain.size, batches.training_seed),
            **{name: np.full(chain.size, value) for name, value in batches.settings.items() if name != "beta"},
            "beta": np.full(chain.size, batches.beta),
            "chain": chain.ravel(),
            "batch": batch.ravel(),
            "steps": np.full(chain.size, batches.steps),
            "mean": batches.mean.ravel(),
            "square": batches.square.ravel(),
        }
        for name, values in rows.items():
            columns.setdefault(name, []).append(values)
    table = pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
    with written_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
