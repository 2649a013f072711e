"""Checkpoints of a group of runs: atomic, the last few kept, nothing pickled (orbax)."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from averse.errors import AverseError, WritingError


class Checkpoints:
    """The checkpoints in one folder, numbered by the updates done. Raises AverseError where there can be no folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options)
        except OSError as error:
            raise AverseError(f"{folder} cannot be a folder for checkpoints: {error.strerror or error}") from error

    def save(self, update: int, snapshot: Any) -> None:
        """Write a checkpoint, whole or not at all; of the older ones only the newest is kept.

        Raises WritingError if it cannot be written, as on a full disk; then the older ones are kept.
        """
        try:
            self._manager.save(update, args=ocp.args.StandardSave(snapshot))
        except Exception as error:  # of a full disk orbax says one thing or another, by which of its parts met it
            kept = self.kept()
            raise WritingError(
                f"the checkpoint {self.folder}/{update} could not be written: {_reason(error)}; {kept}"
            ) from error

    def latest(self) -> int | None:
        """Updates done at the newest complete checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Updates done at each complete checkpoint, in ascending order."""
        return sorted(self._manager.all_steps())

    def kept(self) -> str:
        """What is there when training ends early, in words."""
        latest = self.latest()
        return f"the checkpoint after update {latest} is kept" if latest else "nothing was saved"

    def restore(self, update: int, abstract: Any) -> Any:
        """The snapshot saved after `update`, in the shape of `abstract` (a tree of ShapeDtypeStructs).

        It is put on the device that JAX computes on here, wherever it was saved. Raises AverseError if it cannot be
        read or is of another shape.
        """
        here = jax.sharding.SingleDeviceSharding(next(iter(jnp.zeros(()).devices())))
        placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), abstract)
        try:
            return self._manager.restore(update, args=ocp.args.StandardRestore(placed))
        except Exception as error:
            raise AverseError(
                f"the checkpoint {self.folder}/{update} is damaged or of another version: {_reason(error)}"
            ) from error

    def close(self) -> None:
        self._manager.close()


def _reason(error: Exception) -> str:
    """The first line of what a library says, without the places in its own source."""
    text = re.sub(r"\s*\[[\w]+='.*", "", str(error).strip() or type(error).__name__)
    return text.splitlines()[0][:160]


def any_nan(tree: Any) -> bool:
    """Whether any number in a tree is NaN. (Infinity may be a setting: tau of a risk-neutral run.)"""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    if jax.default_backend() == "cpu":  # where numpy sees the same memory, and nothing need be compiled
        return any(np.isnan(np.asarray(x)).any() for x in leaves)
    return bool(_any_nan(leaves))


@jax.jit
def _any_nan(leaves: list[jax.Array]) -> jax.Array:
    """One program: leaf by leaf it would be two for each shape."""
    return jnp.stack([jnp.bool_(False), *(jnp.isnan(x).any() for x in leaves)]).any()
