"""An exported policy as an ONNX graph, written down operator by operator from the arrays that `reader` computes with.

What is refused elsewhere with a message cannot be in a graph: of an agent whose observation is not finite, or whose
mask allows nothing, every number is NaN, its action -1, and what it remembers stays as it was.

Axes: B moments side by side, A agents, O numbers of an observation, n actions, H memory, N atoms or quantiles.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from averse.extras import extra_module

OPSET = 18  # of 2022, which every runtime in use reads
IR_VERSION = 8  # that came with it
FLOAT, INT64, BOOL = 1, 7, 9  # onnx.TensorProto's numbers of its types


class _Graph:
    """Nodes in the making; an edge is known by its name."""

    def __init__(self, about: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.onnx: Any = extra_module("onnx", "ONNX output")
        self.about, self.arrays = about, arrays
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.known: dict[Any, str] = {}  # constants without a name of their own

    def constant(self, value: Any, name: str = "") -> str:
        """The edge of a constant."""
        array = np.asarray(value)
        if not name:
            name = self.known.setdefault(
                (str(array.dtype), array.shape, array.tobytes()), f"constant.{len(self.known)}"
            )
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def __call__(self, operator: str, *inputs: Any, named: str = "", **attributes: Any) -> str:
        """The edge that an operator puts out; inputs are edges or constants."""
        edges = [edge if isinstance(edge, str) else self.constant(edge) for edge in inputs]
        name = named or f"{operator}.{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, edges, [name], **attributes))
        return name

    def slice(self, x: str, start: int, end: int) -> str:
        """Part of the last axis."""
        return self("Slice", x, *(np.array([k], np.int64) for k in (start, end, -1)))

    def shaped(self, x: str, *sizes: int) -> str:
        """[B, A, ...] as [B, A, *sizes]."""
        return self("Reshape", x, np.array([0, 0, *sizes], np.int64))

    def summed(self, x: str, axis: int = -1, keepdims: bool = False, by: str = "ReduceSum") -> str:
        """One axis added up, or what else `by` does to it."""
        return self(by, x, np.array([axis], np.int64), keepdims=int(keepdims))

    def dense(self, x: str, kernel: np.ndarray, bias: np.ndarray, name: str) -> str:
        """A layer of inputs [B, A, I]."""
        if kernel.ndim == 2:
            product = self("MatMul", x, self.constant(kernel, f"{name}.kernel"))
        else:
            rows = self("MatMul", self("Unsqueeze", x, np.array([-2])), self.constant(kernel, f"{name}.kernel"))
            product = self("Squeeze", rows, np.array([-2]))
        return self("Add", product, self.constant(bias, f"{name}.bias"))

    def layer(self, name: str, x: str) -> str:
        """A layer by its name."""
        return self.dense(x, self.arrays[f"{name}.kernel"], self.arrays[f"{name}.bias"], name)

    def network(self, name: str, network: dict[str, Any], inputs: dict[str, str]) -> str:
        """The outputs of a network [B, A, ...] of its inputs, each [B, A, ...]."""
        parts: list[str] = []
        for part in network["parts"]:
            layout = network["sets"].get(part)
            parts += [inputs[part]] if layout is None else self.pooled(f"{name}.{part}", inputs[part], *layout)
        x = self("Concat", *parts, axis=-1) if len(parts) > 1 else parts[0]
        for k in range(network["layers"]):
            x = self(network["activation"].capitalize(), x) if k else x
            x = self.layer(f"{name}.{k}", x)
        return x

    def pooled(self, name: str, vectors: str, own_size: int, count: int, size: int) -> list[str]:
        """A vector's own numbers, and its members pooled."""
        kernel, bias = self.arrays[f"{name}.kernel"], self.arrays[f"{name}.bias"]
        own = self.slice(vectors, 0, own_size)
        members = self.shaped(self.slice(vectors, own_size, own_size + count * size), count, size)
        products = self("MatMul", members, self.constant(kernel[..., own_size:, :], f"{name}.members"))
        there = self("Greater", self.summed(self("Abs", members), keepdims=True, by="ReduceMax"), np.float32(0))
        greatest = self.summed(self("Where", there, products, np.float32(-np.inf)), -2, by="ReduceMax")
        offset = self.dense(own, kernel[..., :own_size, :], bias, f"{name}.own")
        return [own, self("Relu", self("Add", greatest, offset))]

    def measured(self, name: str, reading: dict[str, Any], raw: str, size: int, weights: str = "") -> str:
        """The measure [...] that raw outputs [..., N] stand for; of [..., n, N] with weights [..., n], of a mixture."""
        if reading["kind"] == "mean":
            return self("Squeeze", self("Mul", raw, np.float32(reading["scale"])), np.array([-1]))
        if reading["kind"] == "categorical":
            values, logs = self.constant(self.arrays[f"{name}.support"], f"{name}.support"), self("LogSoftmax", raw)
            if weights:
                shares = self("Unsqueeze", self("Log", self("Max", weights, np.float32(1e-38))), np.array([-1]))
                logs = self.log_sum_exp(self("Add", logs, shares), -2)
        else:
            values = self.quantiles(raw, size, reading["scale"])
            logs = self.constant(np.full(size, -np.log(size), np.float32))
        number, probs = np.float32(reading["number"]), self("Exp", logs)
        match reading["measure"]:
            case "weights":
                return self.summed(self("Mul", values, self.arrays[f"{name}.weights"]))
            case "entropic":
                exponents = self("Sub", logs, self("Div", values, number))
                return self("Mul", self.log_sum_exp(exponents, -1), -number)
            case "cvar":
                before = self("CumSum", probs, np.array(-1), exclusive=1)
                share = self("Max", self("Min", self("Sub", number, before), probs), np.float32(0))
                return self("Div", self.summed(self("Mul", share, values)), number)
        mean = self.summed(self("Mul", probs, values), keepdims=True)
        if reading["measure"] == "mean-variance":
            deviation = self("Sub", values, mean)
            variance = self.summed(self("Mul", probs, self("Mul", deviation, deviation)), keepdims=True)
            mean = self("Sub", mean, self("Mul", variance, number))
        return self("Squeeze", mean, np.array([-1]))

    def quantiles(self, raw: str, size: int, scale: float) -> str:
        """Ascending quantiles [..., N], of which raw outputs are the mean and what makes gaps."""
        mean, rest = self.slice(raw, 0, 1), self.slice(raw, 1, size)
        root = self("Sqrt", self("Add", self("Mul", rest, rest), np.float32(1)))
        gaps = self("Mul", self("Add", rest, root), np.float32(0.5 / size))
        padded = self("Concat", self("Mul", mean, np.float32(0)), gaps, axis=-1)
        above = self("CumSum", padded, np.array(-1))
        centred = self("Sub", above, self.summed(above, keepdims=True, by="ReduceMean"))
        return self("Mul", self("Add", mean, centred), np.float32(scale))

    def log_sum_exp(self, x: str, axis: int) -> str:
        """log sum exp over an axis, which it loses."""
        largest = self.summed(x, axis, keepdims=True, by="ReduceMax")
        total = self.summed(self("Exp", self("Sub", x, largest)), axis, keepdims=True)
        return self("Squeeze", self("Add", largest, self("Log", total)), np.array([axis]))

    def answered(self, *inputs: str) -> str:
        """Whether an agent [B, A, 1] is answered: what it sees is finite, and `available` allows it something."""
        answers = []
        for name in inputs:
            if name == "available":
                allowed = self.summed(self("Cast", name, to=FLOAT), keepdims=True, by="ReduceMax")
                answers.append(self("Greater", allowed, np.float32(0.5)))
            else:
                strange = self("Cast", self("Or", self("IsNaN", name), self("IsInf", name)), to=FLOAT)
                answers.append(self("Less", self.summed(strange, keepdims=True, by="ReduceMax"), np.float32(0.5)))
        return functools.reduce(lambda a, b: self("And", a, b), answers)

    def decision(self, outputs: str) -> dict[str, str]:
        """What an actor's outputs [B, A, ...] stand for, by name, and the likeliest or best `actions`."""
        space = self.about["action"]
        if self.about["decision"] == "gaussian":
            low, high, size = space["low"], space["high"], space["size"]
            half = np.float32(0.5 * (high - low))
            middle = self("Mul", self.slice(outputs, 0, size), half)
            mean = self("Add", middle, np.float32(0.5 * (high + low)))
            spread = self("Sub", self.slice(outputs, size, 2 * size), np.float32(0.7))
            std = self("Mul", self("Exp", self("Clip", spread, np.float32(-5), np.float32(0))), half)
            return {"mean": mean, "std": std, "actions": self("Clip", mean, np.float32(low), np.float32(high))}
        if self.about["decision"] == "scores":
            size = self.about["scores"]["outputs"]
            raw = self.shaped(outputs, space["number"], size)
            told = self.measured("scores", self.about["scores"], raw, size)
            answer = {"scores": self("Where", "available", told, np.float32(-np.inf))}
        else:
            answer = {"probabilities": self("Softmax", self("Where", "available", outputs, np.float32(-1e9)))}
        (scores,) = answer.values()
        return {**answer, "actions": self("ArgMax", scores, axis=-1, keepdims=0)}

    def actor(self) -> tuple[dict[str, str], str]:
        """What is decided, by name, and the memory after it."""
        outputs = self.network("actor", self.about["actor"], {"observations": "observations"})
        if not (size := self.about["memory"]):
            return self.decision(outputs), ""
        recalled = self.layer("actor.recurrence", "memory")
        gates = self("Sigmoid", self("Add", self.slice(outputs, 0, 2 * size), self.slice(recalled, 0, 2 * size)))
        reset, update = self.slice(gates, 0, size), self.slice(gates, size, 2 * size)
        both = [self.slice(x, 2 * size, 3 * size) for x in (outputs, recalled)]
        candidate = self("Tanh", self("Add", both[0], self("Mul", reset, both[1])))
        memory = self("Add", candidate, self("Mul", update, self("Sub", "memory", candidate)))
        return self.decision(self.layer("actor.head", memory)), memory

    def model(self, name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> bytes:
        """What the file holds, checked by ONNX itself; inputs and outputs are by name: type and sizes."""
        tensors = [
            [
                self.onnx.helper.make_tensor_value_info(key, kind, ["batch", *sizes])
                for key, (kind, *sizes) in of.items()
            ]
            for of in (inputs, outputs)
        ]
        used = {edge for node in self.nodes for edge in node.input}
        constants = [tensor for key, tensor in self.constants.items() if key in used]
        graph = self.onnx.helper.make_graph(self.nodes, name, *tensors, constants)
        opset = [self.onnx.helper.make_opsetid("", OPSET)]
        model = self.onnx.helper.make_model(
            graph,
            opset_imports=opset,
            ir_version=IR_VERSION,
            producer_name="averse",
            producer_version=self.about["averse"],
        )
        self.onnx.helper.set_model_props(model, {"about": json.dumps(self.about)})
        self.onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def actor_model(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The graph of the actor, as the bytes of its file.

    Inputs are `observations` float32 [batch, A, O], `available` bool [batch, A, n] and, of a policy that remembers,
    `memory` float32 [batch, A, H], zeros where episodes begin. Outputs are `probabilities` float32 [batch, A, n], or
    `scores` of the actions (-inf where unavailable), or `mean` and `std` [batch, A, size]; the likeliest or best
    `actions` int64 [batch, A], or float32 [batch, A, size] within the box; and `next_memory`.
    """
    graph = _Graph(about, arrays)
    decided, memory = graph.actor()
    answered = graph.answered("observations", "available")
    agents = about["agents"]
    outputs: dict[str, Any] = {}
    for name, edge in decided.items():
        continuous = about["decision"] == "gaussian"
        if name == "actions" and not continuous:
            alone = graph("Squeeze", answered, np.array([-1]))
            graph("Where", alone, edge, np.array(-1, np.int64), named=name)
            outputs[name] = (INT64, agents)
        else:
            graph("Where", answered, edge, np.float32(np.nan), named=name)
            outputs[name] = (FLOAT, agents, about["action"]["size" if continuous else "number"])
    if memory:
        graph("Where", answered, memory, "memory", named="next_memory")
        outputs["next_memory"] = (FLOAT, agents, about["memory"])
    return graph.model("policy", _inputs(about, ["observations", "available", "memory"]), outputs)


def critic_model(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The graph of the critic, as the bytes of its file.

    Its output is `value` float32 [batch, A], the risk measure of the return that it predicts.
    Its inputs are those of its parts, of `observations`, `global_state` float32 [batch, G] and `memory` (the one before
    these observations), and of the actor's where it predicts the return of each action.
    """
    graph, critic = _Graph(about, arrays), about["critic"]
    inputs = {part: part for part in critic["parts"]}
    needed = [*inputs, "observations", "available", "memory"] if critic["per_action"] else [*inputs]
    if "global_state" in inputs:
        of_all = graph("Unsqueeze", "global_state", np.array([1]))
        inputs["global_state"] = graph("Tile", of_all, np.array([1, about["agents"], 1]))
    raw, size, weights = graph.network("critic", critic, inputs), critic["reading"]["outputs"], ""
    if critic["per_action"]:
        weights = graph.actor()[0]["probabilities"]
        raw = graph.shaped(raw, about["action"]["number"], size)
    told = graph.measured("critic", critic["reading"], raw, size, weights)
    seen = {**{name: name for name in needed if name != "memory" or about["memory"]}, **inputs}
    answered = graph("Squeeze", graph.answered(*seen.values()), np.array([-1]))
    graph("Where", answered, told, np.float32(np.nan), named="value")
    return graph.model("value", _inputs(about, needed), {"value": (FLOAT, about["agents"])})


def _inputs(about: dict[str, Any], needed: Sequence[str]) -> dict[str, Any]:
    """Type and sizes of inputs by name; a memory only where there is one."""
    agents = about["agents"]
    known = {
        "observations": (FLOAT, agents, about["observation"]["size"]),
        "available": (BOOL, agents, about["mask_size"]),
        "global_state": (FLOAT, about["global_state_size"]),
        **({"memory": (FLOAT, agents, about["memory"])} if about["memory"] else {}),
    }
    return {name: kind for name, kind in known.items() if name in needed}
