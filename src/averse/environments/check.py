"""Is this an environment? What our own are tested for, as functions for everybody's.

Of every environment: what it says of itself (sizes, bounds, metrics), whether its parameters build it again, shapes and
dtypes, finite numbers, masks that allow something, costs of at least 0, metrics that are all there and all declared,
agents that stay ended and then earn nothing, episodes that are cut at the horizon and not before, returns within their
bounds. Of a compiled one: whether its functions can be compiled, are pure (the same program however often they are
traced), and are the same in a batch as alone. Of a host environment: whether an episode is a function of its seed and
the actions, whatever is played beside it, and whether environments without an episode to play are idle.
"""

from collections.abc import Callable, Iterator

from averse.environments.checks.compiled import episode_faults, purity_faults, shape_faults
from averse.environments.checks.description import description_faults
from averse.environments.checks.host import host_faults
from averse.environments.protocol import Description, Environment, HostEnvironment
from averse.environments.registry import make, verified
from averse.errors import AverseError
from averse.settings import Count, Whole, check_value

EPISODES = 16


def check_environment(environment: Description | str, *, episodes: int = EPISODES, seed: int = 0) -> None:
    """Check an environment, of your own or by name; nothing happens where it is in order.

    Args:
      episodes: how many are played at least, with random actions.
      seed: of everything that is random.

    Raises:
      AverseError: for the first fault that is found, one line that says what should be and what is; for `episodes`
        that are no whole number from 1 on, and a `seed` that is none from 0 on.
    """
    for fault in _faults(environment, episodes, seed):
        raise AverseError(fault)


def find_faults(environment: Description | str, *, episodes: int = EPISODES, seed: int = 0) -> list[str]:
    """All faults of an environment, a line each; none where it is in order. Arguments as for `check_environment`.

    What an environment says of itself, and its arrays' shapes, come first; only where they are in order is it played.
    """
    return list(_faults(environment, episodes, seed))


def _faults(environment: Description | str, episodes: int, seed: int) -> Iterator[str]:
    try:
        check_value("episodes", Count, episodes)
        check_value("seed", Whole, seed)
        built = make(environment) if isinstance(environment, str) else verified(environment)
    except AverseError as error:
        yield str(error)
        return
    label = f"{built.name}: "
    for stage in _stages(built, episodes, seed):
        found = False
        for fault in _told(stage):
            found = True
            yield fault if fault.startswith(label) else label + fault
        if found:
            return


def _stages(environment: Description, episodes: int, seed: int) -> Iterator[dict[str, Callable[[], Iterator[str]]]]:
    """What is looked at, by what it is called; each stage relies on those before it."""
    yield {"what it says of itself": lambda: description_faults(environment)}
    if isinstance(environment, Environment):
        compiled = environment
        yield {"tracing it": lambda: shape_faults(compiled)}
        yield {"tracing it": lambda: purity_faults(compiled)}
        yield {"playing it": lambda: episode_faults(compiled, episodes, seed)}
    elif isinstance(environment, HostEnvironment):
        host = environment
        yield {"playing it": lambda: host_faults(host, episodes, seed)}


def _told(stage: dict[str, Callable[[], Iterator[str]]]) -> Iterator[str]:
    """A stage's faults; an exception is one, too."""
    for what, faults in stage.items():
        try:
            yield from faults()
        except Exception as error:
            text = str(error).strip().partition("\n")[0]
            yield text if isinstance(error, AverseError) else f"{what} raises {type(error).__name__}: {text}"
