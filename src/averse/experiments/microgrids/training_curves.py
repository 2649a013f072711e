"""Learning to manage microgrids: training curves of MV-MATRPO and its baselines at each price of variance.

Every method is trained on the same budget and seeds, in run directories of its own that resume where they were left.
Curves show J of the policies on the way: exactly where the model is small, else from the rewards they met; the table
has J of the final policies in a fresh long run (`averse.evaluation.long_run`) and, where the model is small, exactly.
`matrpo`, which knows no price of variance, is `mv-matrpo` at the price 0, trained in the same sweep and judged at all.

Axes: S training seeds, P points of a curve.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from averse import environments, learners
from averse.environments.known_model import KnownModel
from averse.environments.microgrids.environment import Microgrids
from averse.environments.protocol import Environment
from averse.errors import AverseError
from averse.evaluation.evaluator import evaluate
from averse.evaluation.known_models import exact_mean_variance, policy_tables, solvable_game
from averse.evaluation.long_run import Batches, LongRunEvaluation, LongRunSummary, summarise_long_run
from averse.files import writable_folder, write_text
from averse.learners.contract import Learner
from averse.planning import ImprovementBound, TeamGame, best_joint_policy, improvement_bound, mean_variance, mv_mapi
from averse.report.plots import plot_learning_curves
from averse.tables import Table
from averse.training import configure, resume, run_training
from averse.training.compiled import CompiledGroup
from averse.training.config import TrainingConfig
from averse.training.directory import check_place
from averse.training.run import Run, read_config

TRAINED = ("mv-matrpo", "mv-ippo")
NEUTRAL = "matrpo"
HORIZON = 10_000  # hours after which a training episode is cut: so rarely that the steady state is not disturbed
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Budget:
    """How much a study may spend."""

    steps: float  # environment steps of each training run
    seeds: int
    evaluation_steps: float  # per policy
    bound_updates: int = 0  # how many updates are held against the theory's lower bound; needs a small model
    num_envs: int = 256  # with 32 hours each, the batch of an update


# Multiples of an update, and of 100 updates where there are more: so many points has a curve.
FULL = {1: Budget(200 * 8192, 5, 1e6, 20), 2: Budget(300 * 8192, 5, 1e6)}
QUICK = {1: Budget(20 * 2048, 2, 2e4, 2, 64), 2: Budget(20 * 2048, 2, 2e4, 0, 64)}


@dataclass(frozen=True)
class Learned:
    """What one method came to at one price of variance."""

    steps: Floats  # [P]
    objective: Floats  # [S, P], J while training
    final: LongRunSummary


def training_curves(
    scenario: int,
    out: Path,
    compared: Mapping[float, Mapping[str, float]],
    *,
    budget: Budget,
    settings: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> dict[float, dict[str, Learned]]:
    """Train, evaluate, and draw one figure of curves per price of variance.

    Writes to `out`: a run directory per method, training-curves-BETA.png, training-curves.json and .md. What is
    finished there already is not trained again.

    Args:
      scenario: 1 or 2.
      compared: the prices of variance to train for, each with what to compare with (`references`): name -> J.
      settings: of the learners, in place of their defaults.

    Raises AverseError if `out` holds runs of other settings.
    """
    console = console or Console()
    writable_folder(out)
    betas = list(compared)
    evaluated: dict[str, tuple[Run, tuple[Batches, ...]]] = {}
    for method, config in configurations(scenario, betas, out, budget, settings).items():
        run = trained(config, out / method, console)
        evaluation = evaluate(run, steps=budget.evaluation_steps, progress=True)
        assert isinstance(evaluation, LongRunEvaluation)
        evaluated[method] = run, evaluation.batches
    found: dict[float, dict[str, Learned]] = {}
    for beta in betas:
        found[beta] = {method: learned(*evaluated[method], beta, beta) for method in TRAINED}
        if beta != 0.0:
            found[beta][NEUTRAL] = learned(*evaluated["mv-matrpo"], 0.0, beta)
    for beta in betas:
        title = f"Microgrids, scenario {scenario}: J = mean - {beta:g} variance while learning"
        draw(found[beta], compared[beta], out / f"training-curves-{beta:g}.png", title)
    write_text(out / "training-curves.json", json.dumps(_figures(found, compared, budget), indent=2) + "\n")
    shown = tables(found, compared)
    write_text(out / "training-curves.md", "\n".join(table.markdown() for table in shown))
    console.print(f"scenario {scenario}", *shown, sep="\n")
    if budget.bound_updates:
        bounds = bounds_of_updates(scenario, betas, budget, settings)
        content = {f"{beta:g}": [step._asdict() for step in steps] for beta, steps in bounds.items()}
        write_text(out / "improvement-bounds.json", json.dumps(content, indent=2) + "\n")
        for beta, steps in bounds.items():
            console.print(
                f"beta {beta:g}: over {len(steps)} updates of mv-matrpo the theory's lower bound lay between "
                f"{min(step.bound for step in steps):.3g} and {max(step.bound for step in steps):.3g}, the true change "
                f"of J between {min(step.change for step in steps):+.2g} and {max(step.change for step in steps):+.2g}",
                highlight=False,
            )
    return found


def references(scenario: int, betas: Sequence[float]) -> dict[float, dict[str, float]]:
    """What learned policies are compared with, exactly: price of variance -> name -> J.

    No management: batteries rest, no wind is thrown away. Each alone: every microgrid maximises its own J and sees only
    itself (as it is then independent of the others, means and variances add up). Where the model is small enough, the
    certified optimum.
    """
    environment = environments.make("microgrids", scenario=scenario)
    assert isinstance(environment, Microgrids)
    models = environment.local_models()
    games = {model: TeamGame(model.transition, model.reward, [model.available]) for model in set(models)}
    whole = solvable_game(environment)
    found: dict[float, dict[str, float]] = {}
    for beta in betas:
        idle, alone = 0.0, 0.0
        own = {model: _optimum(game, beta) for model, game in games.items()}
        for model in models:
            resting = [np.tile(np.eye(model.num_actions)[model.idle], (model.num_states, 1))]
            start = np.full(model.num_states, 1 / model.num_states)
            idle += mean_variance(games[model], resting, beta, initial=start).objective
            alone += own[model]
        optimum = {} if whole is None else {"certified optimum": _optimum(whole, beta)}
        found[beta] = {**optimum, "each alone": alone, "no management": idle}
    return found


def _optimum(game: Any, beta: float) -> float:
    """The certified best J, found faster from where policy iteration ends."""
    return best_joint_policy(game, beta, initial=mv_mapi(game, beta).policy).objective


def configurations(
    scenario: int,
    betas: Sequence[float],
    out: Path,
    budget: Budget,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, TrainingConfig]:
    """What is trained, by method; the runs go to `out / method`.

    Raises AverseError if `out` holds runs of other settings, or something else in their place.
    """
    configs = {}
    for method in TRAINED:
        prices = sorted({0.0, *betas}) if method == "mv-matrpo" else list(betas)
        config = configure(
            "microgrids", method, budget.steps, budget.seeds,
            environment_parameters={"scenario": scenario, "horizon": HORIZON}, beta=prices,
            **_settings(budget, settings),
        )  # fmt: skip
        path = out / method
        if (path / "config.json").exists() and read_config(path).to_json() != config.to_json():
            raise AverseError(f"{path} holds a run of other settings; choose another --out or remove it")
        if not (path / "config.json").exists():
            check_place(path, config, resuming=False, overwrite=False)
        configs[method] = config
    return configs


def _settings(budget: Budget, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"num_envs": budget.num_envs, **(settings or {})}


def trained(config: TrainingConfig, path: Path, console: Console) -> Run:
    """The run of a configuration: trained now, or finished where it was left, or loaded as it is."""
    console.print(f"{config.method}: {len(config.trials)} trials of {config.steps:,.0f} hours", highlight=False)
    environment = config.build_environment()
    game = solvable_game(environment)

    def measure(learner: Learner, state: Any) -> dict[str, float]:
        exact = exact_mean_variance(environment, learner, state, 0.0, game)
        return {} if exact is None else {"exact_eta": exact.eta, "exact_zeta": exact.zeta}

    measured = None if game is None else measure
    if not (path / "config.json").exists():
        return run_training(config, path, progress=True, monitor=measured)
    return resume(path, progress=True, monitor=measured)


def learned(run: Run, policies: Sequence[Batches], trained_for: float, beta: float) -> Learned:
    """What the runs of a sweep that were trained for one price of variance came to, judged at the price `beta`."""
    assert run.path is not None
    indices = [i for i, settings in enumerate(run.config.trials) if settings["beta"] == trained_for]
    final = summarise_long_run([policies[i].at_price(beta) for i in indices])
    return Learned(*curve(run.path, indices, beta), final)


def curve(path: Path, indices: Sequence[int], beta: float) -> tuple[Floats, Floats]:
    """Steps [P] and J [S, P] of some runs of a run directory, from its log of metrics.

    J is exact where the log has exact figures, else from the moments of the rewards met since the point before.
    """
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    by_run = [[row for row in rows if row["trial"] == index] for index in indices]

    def column(name: str) -> Floats:
        return np.array([[row[name] for row in mine] for mine in by_run])

    steps = np.array([row["steps"] for row in by_run[0]], float)
    if "exact_eta" in by_run[0][0]:
        return steps, column("exact_eta") - beta * column("exact_zeta")
    mean = column("batch_mean")
    return steps, mean - beta * (column("batch_square") - mean**2)


def draw(found: Mapping[str, Learned], references: Mapping[str, float], path: Path, title: str) -> None:
    """The curves of all methods with the references as lines; what lies far below these and the ends is cut off."""
    curves = {method: (result.steps, result.objective) for method, result in found.items()}
    ends = [float(np.median(objective[:, -1])) for _, objective in curves.values()]
    low, high = min(*references.values(), *ends), max(references.values())
    top = max(high, *(float(objective.max()) for _, objective in curves.values()))
    span = max(top - low, 1e-3)
    plot_learning_curves(
        curves,
        path,
        title,
        ylabel="J, MW",
        xlabel="hours",
        lines=references,
        ylim=(low - 1.5 * span, top + 0.15 * span),
    )


def bounds_of_updates(
    scenario: int, betas: Sequence[float], budget: Budget, settings: Mapping[str, Any] | None = None, seed: int = 0
) -> dict[float, list[ImprovementBound]]:
    """The theory's lower bound beside the true change of J, for each of the first updates of MV-MATRPO, by beta.

    Raises AverseError where the model is too large to be solved.
    """
    environment = environments.make("microgrids", scenario=scenario, horizon=HORIZON)
    game = solvable_game(environment)
    if game is None:
        raise AverseError(f"microgrids: scenario {scenario} is too large for exact bounds")
    assert isinstance(environment, Environment)
    assert isinstance(environment, KnownModel)
    learner = learners.learner("mv-matrpo", environment, **_settings(budget, settings))
    group = CompiledGroup(environment, learner, [{"seed": seed, "beta": beta} for beta in betas])
    group.start()
    policies: list[list[Any]] = [[] for _ in betas]
    for update in range(budget.bound_updates + 1):
        if update:
            group.advance(1)
        states = group.learner_states()
        for i, history in enumerate(policies):
            history.append(policy_tables(environment, learner, jax.tree.map(lambda x: x[i], states), game))  # noqa: B023
    return {
        beta: [improvement_bound(game, old, new, beta) for old, new in itertools.pairwise(history)]
        for beta, history in zip(betas, policies)
    }


def tables(found: Mapping[float, Mapping[str, Learned]], compared: Mapping[float, Mapping[str, float]]) -> list[Table]:
    """Final policies and references, a table per price of variance; intervals over training seeds and batches."""
    return [_table(beta, results, compared[beta]) for beta, results in found.items()]


def _table(beta: float, results: Mapping[str, Learned], compared: Mapping[str, float]) -> Table:
    known = any(result.final.exact for result in results.values())
    rows = []
    for method, result in results.items():
        final = result.final
        exact = [value.objective for value in final.exact.values()]
        by_seed = exact or [value.value for value in final.by_seed.values()]
        figures = [*map(str, (final.eta, final.zeta, final.objective)), f"{np.mean(exact):.4f}" if exact else "-"]
        rows.append([method, *figures, ", ".join(f"{value:.4f}" for value in by_seed)])
    rows += [[name, "", "", f"{value:.5f}", f"{value:.5f}", ""] for name, value in compared.items()]
    headings = [f"beta {beta:g}", "mean", "variance", "J", "J, exact", "J by training seed"]
    shown = [column for column, heading in enumerate(headings) if known or heading != "J, exact"]
    return Table([headings[k] for k in shown], [[row[k] for k in shown] for row in rows])


def _figures(
    found: Mapping[float, Mapping[str, Learned]], compared: Mapping[float, Mapping[str, float]], budget: Budget
) -> dict[str, Any]:
    """Everything the figures show, JSON-ready."""
    return {
        "budget": vars(budget),
        "betas": {
            f"{beta:g}": {
                "references": dict(compared[beta]),
                "methods": {
                    method: {
                        "steps": result.steps.tolist(),
                        "objective": result.objective.tolist(),
                        "final": result.final.to_dict(),
                    }
                    for method, result in results.items()
                },
            }
            for beta, results in found.items()
        },
    }
