"""Frozen dataclasses that jax can look into."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

from averse.errors import AverseError

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def pytree(cls: type[T]) -> type[T]:
    """Makes `cls` a frozen dataclass and a pytree whose leaves are all its fields.

    Unlike `jax.tree_util.register_dataclass`, rebuilding an instance from its leaves bypasses the constructor: jax
    puts placeholders, batched arrays and `None` into leaves, which a constructor that validates would refuse.

    Raises AverseError for what is no class, or can be no frozen dataclass, and for a class that is a pytree already.
    """
    if not isinstance(cls, type):
        raise AverseError(f"cls must be a class of your own, not {cls!r:.60}")
    try:
        cls = dataclasses.dataclass(frozen=True)(cls)
    except (TypeError, ValueError) as error:  # one of Python's own, or fields that no dataclass has
        raise AverseError(f"{cls.__name__} can be no frozen dataclass: {error}") from error
    names = tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]

    def flatten_with_keys(instance):
        return tuple((jax.tree_util.GetAttrKey(name), getattr(instance, name)) for name in names), None

    def flatten(instance):
        return tuple(getattr(instance, name) for name in names), None

    def unflatten(_, leaves):
        instance: Any = object.__new__(cls)
        for name, leaf in zip(names, leaves, strict=True):
            object.__setattr__(instance, name, leaf)
        return instance

    try:
        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    except ValueError as error:
        raise AverseError(f"{cls.__name__} is a pytree already") from error
    return cls
