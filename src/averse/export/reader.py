"""A policy that averse exported, without averse: needs numpy alone. Copy this file wherever the policy is to act.

    policy = PortablePolicy("policy.npz")
    policy.reset()                                   # where an episode begins, for a policy that remembers
    actions = policy(observations, available)        # [A, O] or [B, A, O]; of a single agent also [O]

`policy.about` tells what it is: agents, sizes, actions, what it was trained in, versions. Axes: B moments side by side,
A agents, O numbers of an observation, n actions, G numbers of the global state, N atoms of a prediction.
"""

import json
import os
from typing import Any, BinaryIO

import numpy as np

FORMAT = 1
TINY = np.float32(1e-38)  # in place of a probability of 0, which has no logarithm


class PortablePolicy:
    """`policy(observations, available=None) -> actions`, as averse's own `Policy`.

    Args:
      path: of the .npz file, or that file opened; nothing in it is unpickled.
      greedy: the likeliest action instead of a draw; always so for methods that act by values.
      random_seed: of the draws.

    `about` is what the policy says of itself: agents, sizes, actions, what it was trained in, versions.

    Raises ValueError, here and when asked, for what cannot be answered: another file, another shape, numbers that are
    not finite, a mask that allows an agent nothing.
    """

    def __init__(self, path: str | os.PathLike | BinaryIO, *, greedy: bool = False, random_seed: int = 0):
        with np.load(path, allow_pickle=False) as file:
            if "about" not in file:
                raise ValueError(f"{path} is no policy that averse exported")
            self.about: dict[str, Any] = json.loads(str(file["about"]))
            self._arrays = {name: file[name] for name in file.files if name != "about"}
        if self.about["format"] != FORMAT:
            raise ValueError(f"{path} has format {self.about['format']}; this reader knows {FORMAT}")
        self._greedy, self._random = greedy, np.random.default_rng(random_seed)
        self._memory: np.ndarray | None = None

    def reset(self) -> None:
        """Forget everything, at the start of an episode."""
        self._memory = None

    def __call__(self, observations: Any, available: Any = None) -> np.ndarray:
        """Actions, int64 [..., A], or float32 [..., A, size] within the box; remembers what was seen."""
        seen, mask, lead = self._checked(observations, available)
        answer, self._memory = self._decide(seen, mask, self._remembered(seen))
        if self._greedy or "scores" in answer:
            actions = answer["actions"]
        elif "mean" in answer:
            draw = answer["mean"] + answer["std"] * self._random.standard_normal(answer["mean"].shape, np.float32)
            actions = np.clip(draw, self.about["action"]["low"], self.about["action"]["high"])
        else:
            cumulated = answer["probabilities"].cumsum(-1)
            draw = self._random.random((*mask.shape[:2], 1)) * cumulated[..., -1:]
            actions = (cumulated > draw).argmax(-1)
        return actions.reshape(lead + actions.shape[2:])

    def distribution(self, observations: Any, available: Any = None) -> dict[str, np.ndarray]:
        """What a call would choose from now, by name, each [..., A, ...]; changes nothing that is remembered.

        `probabilities` of the actions, or `mean` and `std`, or `scores` (-inf where unavailable); and `actions`, the
        likeliest or best.
        """
        seen, mask, lead = self._checked(observations, available)
        answer, _ = self._decide(seen, mask, self._remembered(seen))
        return {name: values.reshape(lead + values.shape[2:]) for name, values in answer.items()}

    def value(self, observations: Any, global_state: Any = None, available: Any = None) -> np.ndarray:
        """The risk measure of the return that the critic predicts, float32 [..., A]; global_state is [G] or [B, G]."""
        if self.about["no_value"]:
            raise ValueError(f"this policy tells no value: {self.about['no_value']}")
        seen, mask, lead = self._checked(observations, available)
        memory, critic = self._remembered(seen), self.about["critic"]
        if critic is None:  # it acts by values
            return self._decide(seen, mask, memory)[0]["scores"].max(-1).reshape(lead)
        inputs = {"observations": seen, "memory": memory}
        if "global_state" in critic["parts"]:
            state = _numbers("global_state", global_state)
            state = state[None] if len(lead) < 2 and state.ndim == 1 else state
            shape = (len(seen), self.about["global_state_size"])
            if state.shape != shape:
                raise ValueError(f"global_state must have the shape {list(shape)}, not {list(np.shape(global_state))}")
            inputs["global_state"] = np.broadcast_to(state[:, None], (*seen.shape[:2], shape[1]))
        outputs = self._network("critic", critic, inputs)
        weights = self._decide(seen, mask, memory)[0]["probabilities"] if critic["per_action"] else None
        return self._measured("critic", critic["reading"], outputs, weights).reshape(lead)

    def _decide(self, seen, mask, memory):
        outputs = self._network("actor", self.about["actor"], {"observations": seen})
        if self.about["memory"]:
            recalled, size = self._layer("actor.recurrence", memory), self.about["memory"]
            gates = 1 / (1 + np.exp(-np.clip(outputs + recalled, -80, 80)[..., : 2 * size]))
            candidate = np.tanh(outputs[..., 2 * size :] + gates[..., :size] * recalled[..., 2 * size :])
            memory = gates[..., size:] * memory + (1 - gates[..., size:]) * candidate
            outputs = self._layer("actor.head", memory)
        if self.about["decision"] == "gaussian":
            low, high = self.about["action"]["low"], self.about["action"]["high"]
            mean, spread = np.split(outputs, 2, -1)
            mean, half = np.float32((high + low) / 2) + np.float32((high - low) / 2) * mean, (high - low) / 2
            answer = {"mean": mean, "std": np.float32(half) * np.exp(np.clip(spread - np.float32(0.7), -5, 0))}
            return {**answer, "actions": np.clip(mean, low, high)}, memory
        if self.about["decision"] == "scores":
            raw = outputs.reshape(*mask.shape, -1)
            scores = np.where(mask, self._measured("scores", self.about["scores"], raw), -np.inf)
            return {"scores": scores, "actions": scores.argmax(-1)}, memory
        probabilities = np.exp(_log_softmax(np.where(mask, outputs, np.float32(-1e9))))
        return {"probabilities": probabilities, "actions": probabilities.argmax(-1)}, memory

    def _layer(self, name, x):
        kernel, bias = self._arrays[f"{name}.kernel"], self._arrays[f"{name}.bias"]
        return (x[..., None, :] @ kernel)[..., 0, :] + bias if kernel.ndim == 3 else x @ kernel + bias

    def _network(self, name, network, inputs):
        parts = []
        for part in network["parts"]:
            if part not in network["sets"]:
                parts.append(inputs[part])
                continue
            own_size, count, size = network["sets"][part]
            own, members = inputs[part][..., :own_size], inputs[part][..., own_size:]
            members = members.reshape(*members.shape[:-1], count, size)
            kernel, bias = self._arrays[f"{name}.{part}.kernel"], self._arrays[f"{name}.{part}.bias"]
            products = np.where((members != 0).any(-1)[..., None], members @ kernel[..., own_size:, :], -np.inf)
            offset = (own[..., None, :] @ kernel[..., :own_size, :])[..., 0, :] + bias
            parts += [own, np.maximum(products.max(-2) + offset, 0)]
        x = np.concatenate(parts, -1)
        for k in range(network["layers"]):
            if k:
                x = np.tanh(x) if network["activation"] == "tanh" else np.maximum(x, 0)
            x = self._layer(f"{name}.{k}", x)
        return x

    def _measured(self, name, reading, raw, weights=None):
        """The measure [...] that raw outputs [..., N] stand for; of [..., n N] with weights [..., n], of a mixture."""
        if reading["kind"] == "mean":
            return np.float32(reading["scale"]) * raw[..., 0]
        if reading["kind"] == "categorical":
            values = self._arrays[f"{name}.support"]
            logs = _log_softmax(raw if weights is None else raw.reshape(*weights.shape, -1))
            logs = logs if weights is None else _log_sum_exp(logs + np.log(np.maximum(weights, TINY))[..., None], -2)
        else:  # the mean and the gaps between ascending quantiles
            gaps = (raw[..., 1:] + np.sqrt(raw[..., 1:] ** 2 + 1)) / 2
            above = np.concatenate([np.zeros_like(raw[..., :1]), gaps.cumsum(-1)], -1) / np.float32(raw.shape[-1])
            values = np.float32(reading["scale"]) * (raw[..., :1] + above - above.mean(-1, keepdims=True))
            logs = np.full(values.shape[-1], -np.log(values.shape[-1]), np.float32)
        probs, number = np.exp(logs), np.float32(reading["number"])
        mean = (probs * values).sum(-1)
        match reading["measure"]:
            case "weights":
                return values @ self._arrays[f"{name}.weights"]
            case "entropic":
                return -number * _log_sum_exp(logs - values / number, -1)
            case "cvar":
                share = np.clip(number - (probs.cumsum(-1) - probs), 0, probs)
                return (share * values).sum(-1) / number
            case "mean-variance":
                return mean - number * (probs * (values - mean[..., None]) ** 2).sum(-1)
        return mean

    def _checked(self, observations, available):
        """Observations [B, A, O], masks [B, A, n], and the leading axes that the answer is to have."""
        agents, size, choices = self.about["agents"], self.about["observation"]["size"], self.about["mask_size"]
        seen = _numbers("observations", observations)
        shaped = seen[None] if seen.ndim == 1 and agents == 1 else seen
        if shaped.ndim not in (2, 3) or shaped.shape[-2:] != (agents, size):
            raise ValueError(f"observations must be [{agents}, {size}] or [batch, {agents}, {size}], not {seen.shape}")
        lead = seen.shape[:-1]
        mask = np.ones((*lead, choices), bool) if available is None else np.asarray(available)
        if mask.dtype != bool or mask.shape != (*lead, choices):
            raise ValueError(f"available must be bool {[*lead, choices]}, not {mask.dtype} {list(mask.shape)}")
        if not mask.any(-1).all():
            raise ValueError("available must allow every agent at least one action")
        batch = shaped if shaped.ndim == 3 else shaped[None]
        return batch, mask.reshape(*batch.shape[:2], choices), lead

    def _remembered(self, seen):
        shape = (*seen.shape[:2], self.about["memory"])
        if self.about["memory"] and self._memory is not None and self._memory.shape != shape:
            raise ValueError(f"remembers {len(self._memory)} moments, not {len(seen)}: reset() where episodes begin")
        return np.zeros(shape, np.float32) if self._memory is None or not shape[-1] else self._memory


def _log_sum_exp(x, axis):
    largest = x.max(axis, keepdims=True)
    return (largest + np.log(np.exp(x - largest).sum(axis, keepdims=True))).squeeze(axis)


def _log_softmax(logits):
    return logits - _log_sum_exp(logits, -1)[..., None]


def _numbers(name, given):
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numbers, not {array.dtype}")
    with np.errstate(over="ignore"):  # what is too large is infinite then, and refused
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; {int((~np.isfinite(array)).sum())} numbers are not")
    return array
