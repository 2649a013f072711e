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
from averse.training.trainee import Trainee

logger = logging.getLogger(__name__)

NETWORKS = ("actor", "critic")


def take_over(fresh: Any, trials: list[int], source: Run, config: TrainingConfig) -> Any:
    """Learner states whose `networks` of the names in NETWORKS are those of `source`.

    Args:
      fresh: learner states of some trials, leading axis [R].
      trials: which trials of the new training these are, [R].
      source: the k-th trial of the new training begins with its k-th policy; a single one serves all.
      config: of the new training.

    A critic of another kind, size, support or scale is not taken over: its numbers mean something else. Raises
    AverseError if the actors differ, or there are neither one nor enough policies.
    """
    available = len(source.trials)
    if available > 1 and max(trials) >= available:
        raise AverseError(
            f"{source.path} has {available} policies, too few for {max(trials) + 1} trials; or use one of one"
        )
    chosen = jnp.array([trial if available > 1 else 0 for trial in trials])
    for name in NETWORKS:
        old, new = (getattr(each, "networks", {}).get(name) for each in (source.learner_states, fresh))
        if old is None or new is None:
            raise AverseError(
                f"cannot begin with the networks of {source.config.method}: only actor-critic methods can"
            )
        same = _shapes(old) == _shapes(new) and _activation(config) == _activation(source.config)
        if same and (name == "actor" or _meaning(config) == _meaning(source.config)):
            fresh = fresh._replace(networks={**fresh.networks, name: jax.tree.map(lambda x: x[chosen], old)})
        elif name == "actor":
            raise AverseError(
                f"the actor of {source.path} is another network; "
                "give the same environment parameters, --hidden and --activation"
            )
        else:
            logger.warning("the critic of %s predicts something else; a new one begins", source.path)
    return fresh


def _shapes(networks: Any) -> Any:
    leaves, structure = jax.tree.flatten(networks)
    return structure, [leaf.shape[1:] for leaf in leaves]


def _activation(config: TrainingConfig) -> Any:
    """What the layers apply, which their shapes do not tell; runs from before there was a choice have tanh."""
    return config.learner.get("activation", "tanh")


def _meaning(config: TrainingConfig) -> list[Any]:
    """What a critic's outputs stand for."""
    settings = config.with_support(config.build_environment()).learner
    names = ["critic", "shaping", "gamma", "value_scale"]
    return [settings.get(name) for name in names + ["support"] * (settings.get("critic") == "categorical")]


def begin_with(trainee: Trainee, trials: list[int], path: Path, config: TrainingConfig) -> None:
    """Give trials that have just started the networks of the run in `path`."""
    snapshot = trainee.snapshot()
    trainee.restore(snapshot._replace(learner=take_over(snapshot.learner, trials, load(path), config)))
