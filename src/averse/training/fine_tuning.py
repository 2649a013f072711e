"""Beginning with the networks of an earlier run: fine-tuning in the simulator, or risk-aversion after neutrality.

Only networks are taken over. Optimisers, schedules and the risk measure begin anew, as their settings say.
"""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from averse.errors import AverseError
from averse.training.config import TrainingConfig
from averse.training.run import Run, load

logger = logging.getLogger(__name__)

NETWORKS = ("actor", "critic")


def take_over(fresh: Any, states: Any, runs: list[int], source: Run, config: TrainingConfig) -> Any:
    """Learner states whose `networks` of the names in NETWORKS are those of `source`.

    Args:
      fresh: learner states of some runs, leading axis [R].
      states: those of `source`, leading axis: its runs. The k-th run of the new training begins with the k-th of them;
        a single one serves all.
      runs: which runs of the new training these are, [R].
      config: of the new training.

    A critic of another kind, size, support or scale is not taken over: its numbers mean something else. Raises
    AverseError if the actors differ, or there are neither one nor enough policies.
    """
    available = len(source.config.trials)
    if available > 1 and max(runs) >= available:
        raise AverseError(
            f"{source.path} has {available} policies, too few for {max(runs) + 1} runs; or use one of one"
        )
    chosen = jnp.array([run if available > 1 else 0 for run in runs])
    for name in NETWORKS:
        old, new = (getattr(each, "networks", {}).get(name) for each in (states, fresh))
        if old is None or new is None:
            raise AverseError(
                f"cannot begin with the networks of {source.config.method}: only actor-critic methods can"
            )
        same = _shapes(old) == _shapes(new)
        if same and (name == "actor" or _meaning(config) == _meaning(source.config)):
            fresh = fresh._replace(networks={**fresh.networks, name: jax.tree.map(lambda x: x[chosen], old)})
        elif name == "actor":
            raise AverseError(
                f"the actor of {source.path} is another network; give the same environment parameters and --hidden"
            )
        else:
            logger.warning("the critic of %s predicts something else; a new one begins", source.path)
    return fresh


def _shapes(networks: Any) -> Any:
    leaves, structure = jax.tree.flatten(networks)
    return structure, [leaf.shape[1:] for leaf in leaves]


def _meaning(config: TrainingConfig) -> list[Any]:
    """What a critic's outputs stand for."""
    settings = config.learner
    meaning = [settings.get(name) for name in ("critic", "shaping", "gamma", "value_scale")]
    if settings.get("critic") == "categorical":
        support = settings["support"] or config.build_environment().return_bounds(settings["gamma"])
        meaning += [float(end) for end in support]
    return meaning


def begin_with(trainee: Any, runs: list[int], path: Path, config: TrainingConfig) -> None:
    """Give a `CompiledGroup` or `HostGroup` that has just started the networks of the run in `path`."""
    source = load(path)
    snapshot = trainee.snapshot()
    learner = take_over(trainee.learner_states(), source.learner_states, runs, source, config)
    trainee.restore(
        {**snapshot, "learner": learner} if isinstance(snapshot, dict) else snapshot._replace(learner=learner)
    )
