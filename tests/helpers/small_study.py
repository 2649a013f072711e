"""Study directories as the verbs of experiments write them, with figures that are made up and known."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from averse.evaluation import Episodes

LABELS = ("mappo", "rqe-mappo tau=3", "rqe-mappo tau=0.3")


def figure(value: float, half: float = 0.5) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def figures(level: float) -> dict[str, dict[str, float]]:
    return {
        "return": figure(10 - level),
        "worst_5": figure(2 + 0.7 * level),
        "std": figure(4 - 0.5 * level, 0.2),
        "collision_rate": figure(0.2 - 0.05 * level, 0.03),
        "crossing_time": figure(15 + level),
    }


def study(labels: tuple[str, ...] = LABELS, **changes: Any) -> dict[str, Any]:
    """The content of a study.json: every field that a verb may write."""
    alphas = [k / 10 for k in range(11)]
    return {
        "format": 1,
        "verb": "compare",
        "title": "Does risk-aversion pay at the junction?",
        "environment": "intersection",
        "command": "averse compare --env intersection --seeds 3 --out runs/compare",
        "versions": {"averse": "0.1.0", "jax": "0.9.2", "python": "3.11.7"},
        "seeds": [0, 1, 2],
        "episodes": 400,
        "quick": True,
        "unfinished": "",
        "claims": [
            {
                "claim": "Risk-averse drivers collide less",
                "verdict": "holds",
                "effect": -0.05,
                "low": -0.08,
                "high": -0.02,
                "words": "Collisions fall from 20 % to 15 % [12 %, 18 %], 3 seeds.",
            },
            {
                "claim": "One tau keeps its margin in all shifts",
                "verdict": "fails",
                "effect": 0.31,
                "low": 0.02,
                "high": 0.6,
                "words": "With twice the traffic the margin is gone.",
            },
            {
                "claim": "Both components are needed",
                "verdict": "undecided",
                "effect": None,
                "low": None,
                "high": None,
                "words": "One seed decides nothing.",
            },
        ],
        "runs": {},
        "rows": [
            {"label": label, "settings": {"tau": 3.0 - k, "gamma": 0.99}, "metrics": figures(k)}
            for k, label in enumerate(labels)
        ],
        "differences": [
            {
                "label": label,
                "to": labels[0],
                "metrics": {name: figure(-0.5 * k) for name in ("return", "worst_5")},
                "probability_of_improvement": figure(0.6 + 0.1 * k, 0.1),
            }
            for k, label in enumerate(labels[1:])
        ],
        "interpolation": [{"alpha": a, "metrics": figures(2 * a * a)} for a in alphas],
        "chord": [{"alpha": 0.0, "metrics": figures(0)}, {"alpha": 1.0, "metrics": figures(2)}],
        "reference": [{"label": "tau=1", "settings": {}, "metrics": figures(1)}],
        "crossplay": {
            "labels": list(labels),
            "metrics": {
                "return": [[figure(10 - i - 2 * j) for j in range(len(labels))] for i in range(len(labels))],
                "collision_rate": [
                    [figure(0.1 + 0.05 * j, 0.02) for j in range(len(labels))] for _ in range(len(labels))
                ],
            },
        },
        **changes,
    }


def episodes(labels: tuple[str, ...] = LABELS, count: int = 100, seeds: int = 3) -> Episodes:
    """Returns that are known: those of the k-th label are a normal sample less k, the same for every call."""
    total = count * seeds * len(labels)
    generator = np.random.default_rng(0)
    level = np.repeat(np.arange(len(labels)), count * seeds)
    return Episodes(
        training_seed=np.tile(np.repeat(np.arange(seeds), count), len(labels)),
        seed=np.tile(np.arange(1_000_000, 1_000_000 + count * seeds), len(labels)),
        agent_returns=generator.normal(10.0, 3.0, total) - level,
        length=generator.integers(50, 200, total),
        failed=np.zeros(total, bool),
        metrics={"collision": (generator.random(total) < 0.2 - 0.05 * level).astype(float)},
        settings={"setting": np.array(labels, dtype=object)[level]},
    )


def write_study(folder: Path, labels: tuple[str, ...] = LABELS, **changes: Any) -> Path:
    """A study directory with a table of episodes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(study(labels, **changes)))
    episodes(labels).write_parquet(folder / "episodes.parquet")
    return folder
