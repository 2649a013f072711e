"""Vectors that hold sets: what an environment may say of its observations and of its global state.

Several cars in a vector, one after another, are a set: which of them comes first means nothing. A network that knows
this (`--network sets`) learns one encoding for all of them, instead of one for every place.
"""

from averse.environments.protocol import Description
from averse.errors import AverseError, shown
from averse.settings import Count, Whole, settings


@settings
class SetLayout:
    """How a vector holds a set: `own` numbers, then `count` members of `size` numbers each.

    A member is there where any of its numbers is not 0; places without a member are all zeros. A number that is 1 for
    whoever is there (as "seen" is) keeps a member whose other numbers happen to be 0 from being overlooked.

    Raises AverseError for `own` that is no whole number from 0 on, and for others that are none from 1 on.
    """

    own: Whole
    count: Count
    size: Count

    @property
    def total(self) -> int:
        """The length of the vector."""
        return self.own + self.count * self.size


def observation_layout(environment: Description) -> SetLayout | None:
    """How each agent's observation holds a set: the attribute `observation_layout`, if an environment has one.

    Raises AverseError where that is no layout of `observation_size` numbers.
    """
    return _layout(environment, "observation")


def global_state_layout(environment: Description) -> SetLayout | None:
    """How the global state holds a set: the attribute `global_state_layout`, if an environment has one.

    Raises AverseError where that is no layout of `global_state_size` numbers.
    """
    return _layout(environment, "global_state")


def _layout(environment: Description, vector: str) -> SetLayout | None:
    name, size = f"{vector}_layout", getattr(environment, f"{vector}_size", None)
    if size is None:
        raise AverseError(f"environment must be an environment with a {vector}_size, not {shown(environment)}")
    layout = getattr(environment, name, None)
    if layout is None:
        return None
    if not isinstance(layout, SetLayout):
        raise AverseError(f"{environment.name}: {name} must be a SetLayout(own, count, size), not {shown(layout)}")
    if layout.total != size:
        raise AverseError(
            f"{environment.name}: {name} must have own + count * size = {size} numbers, as {vector}_size says, "
            f"not {layout.own} + {layout.count} * {layout.size} = {layout.total}"
        )
    return layout
