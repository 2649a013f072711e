"""Exported graphs as onnxruntime answers with them, asked as `reader.PortablePolicy` is."""

from typing import Any

import numpy as np

from averse.extras import extra_module


class Session:
    """A policy's graph, and its critic's if there is one. Observations are [B, A, O], masks bool [B, A, n].

    Args:
      actor: the graph, as the bytes of its file.
      critic: the same of the critic.

    Raises AverseError if onnxruntime is not installed.
    """

    def __init__(self, actor: bytes, critic: bytes | None = None):
        onnxruntime = extra_module("onnxruntime", "ONNX output")
        self._actor = onnxruntime.InferenceSession(actor, providers=["CPUExecutionProvider"])
        self._critic = None
        if critic is not None:
            self._critic = onnxruntime.InferenceSession(critic, providers=["CPUExecutionProvider"])
        self._memory: np.ndarray | None = None

    def __call__(self, observations: np.ndarray, available: np.ndarray) -> np.ndarray:
        """The likeliest actions [B, A, ...]; remembers what was seen."""
        answer = self._asked(self._actor, observations, available)
        self._memory = answer.get("next_memory")
        return answer["actions"]

    def distribution(self, observations: np.ndarray, available: np.ndarray) -> dict[str, np.ndarray]:
        """What the actor's graph puts out, by name, each [B, A, ...]."""
        return self._asked(self._actor, observations, available)

    def value(
        self, observations: np.ndarray, global_state: np.ndarray | None = None, available: np.ndarray | None = None
    ) -> np.ndarray:
        """What the critic's graph puts out [B, A], from a global state [B, G]; without one, the best score."""
        if self._critic is None:
            return self._asked(self._actor, observations, available)["scores"].max(-1)
        return self._asked(self._critic, observations, available, global_state)["value"]

    def _asked(self, session: Any, observations: Any, available: Any, global_state: Any = None) -> dict[str, Any]:
        """Every output by its name; the memory is zeros at first."""
        given = {"observations": observations, "available": available, "global_state": global_state}
        fed = {}
        for wanted in session.get_inputs():
            if wanted.name == "memory":
                given["memory"] = self._memory
                if self._memory is None:
                    given["memory"] = np.zeros((len(observations), *wanted.shape[1:]), np.float32)
            fed[wanted.name] = given[wanted.name]
        return dict(zip([each.name for each in session.get_outputs()], session.run(None, fed)))
