"""Checkpoints of a group of runs: atomic, the last few kept, nothing pickled (orbax)."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from averse.errors import AverseError


class Checkpoints:
    """The checkpoints in one folder, numbered by the updates done."""

    def __init__(self, folder: Path):
        self.folder = folder
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(self, update: int, snapshot: Any) -> None:
        self._manager.save(update, args=ocp.args.StandardSave(snapshot))

    def latest(self) -> int | None:
        """Updates done at the newest complete checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def restore(self, update: int, abstract: Any) -> Any:
        """The snapshot saved after `update`, in the shape of `abstract` (a tree of ShapeDtypeStructs).

        Raises AverseError if it cannot be read or is of another shape.
        """
        try:
            return self._manager.restore(update, args=ocp.args.StandardRestore(abstract))
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
            raise AverseError(
                f"the checkpoint {self.folder}/{update} is damaged or of another version: {reason}"
            ) from error

    def close(self) -> None:
        self._manager.close()


def any_nan(tree: Any) -> bool:
    """Whether any number in a tree is NaN. (Infinity may be a setting: tau of a risk-neutral run.)"""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return any(bool(jnp.isnan(x).any()) for x in leaves)
