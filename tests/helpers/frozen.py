"""What every method does to given parameters in a few updates, in few numbers: did a change of the code change it?

`python tests/helpers/frozen.py` writes `frozen.json` beside this file anew (after a change that is meant to change
learning), and says which cases differ from what stood there, and whether to the last bit. With `--check` nothing is
written; `--rounding rmix` tells what rounding alone makes of a case: how far it ends from itself when every given
parameter is moved by its last bit.

Training begins with parameters that depend on their shapes alone, so that the figures do not depend on how initial
parameters are drawn or named; those are frozen apart, as `initial`.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import averse
from averse.training.compiled import CompiledGroup

FILE = Path(__file__).with_name("frozen.json")
UPDATES = 3

POLICY_GRADIENT = {
    "num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "epochs": 2, "hidden": (12, 16),
}  # fmt: skip
REPLAY = {
    "num_envs": 2, "rollout_steps": 16, "batch_size": 4, "gradient_steps": 3, "buffer_size": 20, "hidden": (12, 16),
}  # fmt: skip
AVERAGE_REWARD = {"num_envs": 8, "rollout_steps": 16, "minibatches": 2, "epochs": 2, "hidden": (12, 16)}


class Case(NamedTuple):
    method: str
    environment: str
    parameters: dict[str, Any] = {}  # noqa: RUF012
    settings: dict[str, Any] = {}  # noqa: RUF012
    trials: tuple[dict[str, float], ...] = ({"seed": 3}, {"seed": 4})


TAUS = ({"seed": 3, "tau": 1.0}, {"seed": 3, "tau": 5.0})
CASES = {
    "ppo": Case("ppo", "risky-cartpole", {}, POLICY_GRADIENT),
    "mappo": Case("mappo", "cliff-walk", {}, POLICY_GRADIENT),
    "reward-shaped": Case("reward-shaped-mappo", "risky-cartpole", {"level": "severe"}, POLICY_GRADIENT),
    "mean-variance": Case("mean-variance-mappo", "car-following", {}, {**POLICY_GRADIENT, "value_scale": 20.0}),
    "c51-cvar": Case("c51-cvar-mappo", "risky-cartpole", {"corridor": True}, POLICY_GRADIENT),
    "rqe": Case("rqe-mappo", "corridor", {}, POLICY_GRADIENT, TAUS),
    "rqe-traffic": Case("rqe-mappo", "intersection", {"horizon": 12}, POLICY_GRADIENT, TAUS),
    "rqe-sets": Case("rqe-mappo", "intersection", {"horizon": 12}, {**POLICY_GRADIENT, "network": "sets"}, TAUS),
    "rqe-separate": Case("rqe-mappo", "cliff-walk", {}, {**POLICY_GRADIENT, "shared": False}, TAUS),
    "risk-value": Case("rqe-mappo", "car-following", {}, {**POLICY_GRADIENT, "advantage": "risk-value"}, TAUS),
    "action-value": Case("rqe-mappo", "cliff-walk", {}, {**POLICY_GRADIENT, "advantage": "action-value"}, TAUS),
    "mappo-drawn": Case("mappo", "cliff-walk", {}, {**POLICY_GRADIENT, "batch_fraction": 0.5}),
    "static-cvar": Case(
        "static-cvar-mappo", "budget:cliff-walk", {"budget": "team"}, {**POLICY_GRADIENT, "remembered_episodes": 16}
    ),
    "static-entropic": Case("static-entropic-mappo", "budget:corridor", {}, POLICY_GRADIENT, TAUS),
    "static-predicted": Case(
        "static-cvar-mappo",
        "budget:cliff-walk",
        {"budget": "team"},
        {**POLICY_GRADIENT, "critic": "categorical", "advantage": "episode-influence"},
    ),
    "srpo": Case("srpo-mappo", "cliff-walk", {}, {**POLICY_GRADIENT, "recurrent": True}, TAUS),
    "continuous": Case("ppo", "risky-cartpole", {"continuous": True}, POLICY_GRADIENT),
    "recurrent": Case("mappo", "car-following", {}, {**POLICY_GRADIENT, "recurrent": True}),
    "recurrent-separate": Case(
        "rqe-mappo", "cliff-walk", {}, {**POLICY_GRADIENT, "recurrent": True, "shared": False}, TAUS
    ),
    "dqn": Case("dqn", "corridor", {}, REPLAY),
    "c51": Case("c51", "risky-cartpole", {}, REPLAY),
    "qr-dqn": Case("qr-dqn", "corridor", {}, {**REPLAY, "measure": "cvar:0.3"}),
    "vdn": Case("vdn", "car-following", {}, REPLAY),
    "vdn-separate": Case("vdn", "cliff-walk", {}, {**REPLAY, "shared": False}),
    "qmix": Case("qmix", "car-following", {}, {**REPLAY, "target_interval": 2}),
    "rmix": Case("rmix", "car-following", {}, REPLAY),
    "rmix-fixed": Case("rmix", "cliff-walk", {}, {**REPLAY, "fixed_alpha": 0.3}),
    "riskq": Case("riskq", "car-following", {}, {**REPLAY, "final_learning_rate": 0.5}),
    "mv-matrpo": Case("mv-matrpo", "microgrids", {"scenario": 1}, AVERAGE_REWARD),
    "matrpo": Case("matrpo", "microgrids", {"microgrids": 2, "wind_levels": 2}, {**AVERAGE_REWARD, "order": "fixed"}),
    "mv-ippo": Case("mv-ippo", "microgrids", {"scenario": 1}, {**AVERAGE_REWARD, "epsilon": 0.01}),
}


def given(leaf: jax.Array) -> jax.Array:
    """Weights (which are drawn, not zero) by numbers that depend on their shape alone; everything else as it is."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.ndim < 3 or not leaf.any():
        return leaf
    numbers = np.cos(1.7 * np.arange(leaf.size) ** 1.1 + leaf.shape[-1])
    return jnp.asarray(numbers.reshape(leaf.shape) / np.sqrt(leaf.shape[-2]), leaf.dtype)


def leaves_of(states: Any) -> list[np.ndarray]:
    """The floating-point leaves of a learner's states, sorted by shape and content, so that names do not matter."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(states) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    # Numbers that are not learned (a configured measure, say) are frozen by what they do.
    return sorted((leaf for leaf in leaves if leaf.ndim > 1), key=lambda leaf: (leaf.shape, np.abs(leaf).sum()))


def figures(states: Any) -> dict[str, Any]:
    leaves = leaves_of(states)
    return {
        "bits": hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()[:16],
        # shape, sum, sum of absolute values
        "leaves": [[list(leaf.shape), *(_rounded(x) for x in (leaf, np.abs(leaf)))] for leaf in leaves],
    }


def _rounded(leaf: np.ndarray) -> float:
    return float(f"{leaf.astype(np.float64).sum():.9g}")


def distance(old: dict[str, Any], new: dict[str, Any]) -> float:
    """The largest relative difference between two figures; infinite where the shapes differ."""
    if [leaf[0] for leaf in old["leaves"]] != [leaf[0] for leaf in new["leaves"]]:
        return float("inf")
    pairs = [(a[k], b[k], a[2]) for a, b in zip(old["leaves"], new["leaves"]) for k in (1, 2)]
    return max((abs(a - b) / size if size else abs(b) for a, b, size in pairs), default=0.0)


# Whole runs, with their own initial parameters: training and evaluation, in compiled and in host environments.
RUNS = {
    "run-compiled": ("cliff-walk", "rqe-mappo", {**POLICY_GRADIENT, "recurrent": True, "num_envs": 8}),
    "run-host": ("sumo-intersection", "rqe-mappo", {**POLICY_GRADIENT, "num_envs": 2, "network": "dense"}),
    "run-endless": ("microgrids", "mv-matrpo", AVERAGE_REWARD),
}


def measured_run(environment: str, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Figures of a trained run and of its evaluation."""
    steps = UPDATES * settings["num_envs"] * settings["rollout_steps"]
    run = averse.train(environment, method, steps=steps, seeds=[3], **settings)
    if method == "mv-matrpo":
        batches = averse.evaluate(run, steps=5000).batches
        evaluated = [np.stack([batch.mean for batch in batches])]
    else:
        evaluation = averse.evaluate(run, episodes=6)
        evaluated = [evaluation.episodes.agent_returns, *(each.pit[None] for each in evaluation.calibrations.values())]
    return {"trained": figures(run.learner_states), "evaluated": figures(evaluated)}


def measured(case: Case, given: Callable[[jax.Array], jax.Array] = given) -> dict[str, Any]:
    """Figures of the initial parameters and of the trained ones, which begin with `given` ones."""
    environment = averse.make(case.environment, **case.parameters)
    learner = averse.learner(case.method, environment, total_updates=5, **case.settings)
    group = CompiledGroup(environment, learner, list(case.trials))
    group.start()
    initial = figures(group.learner_states())
    snapshot = group.snapshot()
    group.restore(snapshot._replace(learner=jax.tree.map(given, snapshot.learner)))
    group.advance(UPDATES)
    return {"initial": initial, "trained": figures(group.learner_states())}


def moved_by_rounding(seed: int) -> Callable[[jax.Array], jax.Array]:
    """The given parameters, each a unit of its last place larger or smaller."""
    generator = np.random.default_rng(seed)

    def moved(leaf: jax.Array) -> jax.Array:
        plain = given(leaf)
        if plain is leaf:
            return leaf
        towards = generator.choice([-np.inf, np.inf], plain.shape).astype(plain.dtype)
        return jnp.asarray(np.nextafter(np.asarray(plain), towards))

    return moved


def rounding(names: list[str], draws: int = 5) -> None:
    """Print how far each case ends from itself after moves by rounding."""
    for name in names:
        reference = measured(CASES[name])["trained"]
        ends = [measured(CASES[name], moved_by_rounding(seed))["trained"] for seed in range(draws)]
        print(name, *(f"{distance(reference, end):.1e}" for end in ends), flush=True)


def main(names: list[str]) -> None:
    old = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in names or [*CASES, *RUNS]:
        new = measured(CASES[name]) if name in CASES else measured_run(*RUNS[name])
        for part in (part for part in ("initial", "trained", "evaluated") if part in new):
            before = old.get(name, {}).get(part)
            if before is None:
                words = "new"
            elif before["bits"] == new[part]["bits"]:
                words = "the same to the last bit"
            else:
                words = f"differs by {distance(before, new[part]):.1e}"
            print(f"{name:20} {part:8} {words}", flush=True)
        old[name] = new
    if "--check" not in sys.argv:
        lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in old.items()]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    # As in the test: little is computed here, much compiled.
    jax.config.update("jax_disable_most_optimizations", True)
    (rounding if "--rounding" in sys.argv else main)(
        [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    )
