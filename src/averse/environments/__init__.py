"""Where agents act: the protocol, the built-in worlds, adapters to other people's."""

__all__ = ["environment_class", "is_compiled", "make", "names"]


def __getattr__(name: str):
    # Lazy, so that a simulator's worker process can import its own modules without importing JAX.
    if name in __all__:
        from averse.environments import registry

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
