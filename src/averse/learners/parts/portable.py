"""What a policy computes, as plain arrays and a description that JSON can hold: what leaves for machines without JAX.

A learner that says `portable(state)` can be exported (`averse export`). The arrays and the description are the same
for every format; `averse.export.reader` computes with them in numpy, `averse.export.graph` makes an ONNX graph of them.

A layer NAME is the arrays `NAME.kernel` [I, U], or [A, I, U] where each agent has its own, and `NAME.bias` [U] or
[A, U]. A network NAME is the layers `NAME.0`, `NAME.1` and so on; what agents are told apart by is in the first one's
bias already. Axes: A agents, I inputs, U outputs, N atoms or quantiles.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from averse.environments.protocol import ActionSpace, Box
from averse.environments.sets import SetLayout
from averse.errors import AverseError
from averse.learners.contract import Portable
from averse.learners.parts.predictions import Categorical, Prediction, Quantile, Scalar, quantile_weights
from averse.risk import CVaR, Entropic, Expectation, MeanVariance, RiskMeasure


def portable_network(
    name: str,
    params: Mapping[str, Any],
    parts: Sequence[str],
    num_agents: int,
    *,
    shared: bool,
    activation: str = "tanh",
    layouts: Sequence[SetLayout | None] = (),
) -> Portable:
    """A network of agents (`networks.agent_networks` of an `MLP`).

    Args:
      name: of the network: "actor".
      params: its parameters.
      parts: what it sees, in this order: "observations", "global_state", "memory".
      num_agents: A.
      activation: between the layers, "tanh" or "relu".
      layouts: of the parts, in their order: how they hold sets, None where they hold none.
    """
    layers = _numpy(params["params"])
    count = sum(key.startswith("Dense_") for key in layers)
    arrays: dict[str, np.ndarray] = {}
    for k in range(count):
        layer = layers[f"Dense_{k}"]
        identified = k == 0 and shared and num_agents > 1
        arrays |= layer_arrays(f"{name}.{k}", layer, num_agents if identified else 0)
    sets = {part: layout for part, layout in zip(parts, layouts) if layout is not None}
    for k, part in enumerate(parts):
        if part in sets:
            arrays |= layer_arrays(f"{name}.{part}", layers[f"Set_{k}"])
    description = {
        "parts": list(parts),
        "layers": count,
        "activation": activation,
        "sets": {part: [layout.own, layout.count, layout.size] for part, layout in sets.items()},
    }
    return Portable(description, arrays)


def portable_actor(
    params: Mapping[str, Any],
    num_agents: int,
    *,
    shared: bool,
    activation: str = "tanh",
    layout: SetLayout | None = None,
) -> Portable:
    """An actor, with memory (`networks.recurrent`) or without; the description of `Portable` but for its `decision`.

    Args:
      params: its parameters.
      num_agents: A.
      activation: between the layers, "tanh" or "relu".
      layout: how observations hold a set, None where they hold none or are read as one row.
    """
    recurrent = "recurrence" in params
    network = portable_network(
        "actor",
        params["encoder"] if recurrent else params,
        ["observations"],
        num_agents,
        shared=shared,
        activation=activation,
        layouts=[layout],
    )
    description: dict[str, Any] = {"actor": network.description, "memory": 0, "critic": None, "no_value": ""}
    if not recurrent:
        return Portable(description, network.arrays)
    arrays = dict(network.arrays)
    for part in ("recurrence", "head"):
        arrays |= layer_arrays(f"actor.{part}", _numpy(params[part]["params"])["Dense_0"])
    description["memory"] = int(arrays["actor.recurrence.kernel"].shape[-2])
    return Portable(description, arrays)


def layer_arrays(name: str, layer: Mapping[str, np.ndarray], identities: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a layer: its kernel [I, U] or [A, I, U] and its bias [U] or [A, U].

    Args:
      identities: how many rows at the end of the kernel are multiplied with an agent's one-hot identity. They become
        part of that agent's bias.
    """
    kernel, bias = layer["kernel"], layer["bias"]
    if identities:
        kernel, bias = kernel[:-identities], bias + kernel[-identities:]
    return {f"{name}.kernel": kernel, f"{name}.bias": bias}


def decision_of(space: ActionSpace) -> str:
    """What the outputs of an actor stand for that was made with `action_distributions.head_size`."""
    return "gaussian" if isinstance(space, Box) else "probabilities"


def portable_reading(name: str, prediction: Prediction, measure: RiskMeasure) -> Portable:
    """How a measure of the return is read off raw outputs.

    Args:
      name: of the network whose outputs they are.
      prediction: what the outputs stand for.
      measure: mean, entropic, cvar or mean-variance; of quantiles also any that is linear in them.

    Raises AverseError for another measure, and for a prediction of moments.
    """
    quantiles = isinstance(prediction, Quantile)
    reading: dict[str, Any] = {"scale": float(getattr(prediction, "value_scale", 1.0)), "outputs": prediction.outputs}
    arrays: dict[str, np.ndarray] = {}
    if isinstance(prediction, Scalar):
        return Portable({**reading, "kind": "mean"}, arrays)
    if isinstance(prediction, Categorical):
        reading["kind"] = "categorical"
        arrays[f"{name}.support"] = np.asarray(prediction.support, np.float32)
    elif quantiles:
        reading["kind"] = "quantile"
    else:
        raise AverseError(f"a prediction of the kind {type(prediction).__name__} cannot be exported")
    numbers: dict[type, tuple[str, str]] = {
        Expectation: ("mean", ""),
        Entropic: ("entropic", "tau"),
        CVaR: ("cvar", "alpha"),
        MeanVariance: ("mean-variance", "weight"),
    }
    if type(measure) in numbers:
        kind, field = numbers[type(measure)]
        reading |= {"measure": kind, "number": float(getattr(measure, field)) if field else 0.0}
        if not np.isfinite(reading["number"]):  # JSON has no infinity
            reading |= {"measure": "mean", "number": 0.0}
    elif quantiles and measure.linear_in_quantiles:
        reading |= {"measure": "weights", "number": 0.0}
        arrays[f"{name}.weights"] = np.asarray(quantile_weights(measure, prediction.outputs), np.float32)
    else:
        raise AverseError(
            f"the measure {measure} of a {reading['kind']} prediction cannot be exported; mean, entropic, cvar and "
            "mean-variance can"
        )
    return Portable(reading, arrays)


def _numpy(params: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
