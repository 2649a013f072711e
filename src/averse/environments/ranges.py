"""Ranges of environments' parameters: what float32 and int32 still hold when it is summed over an episode. No JAX."""

from typing import Annotated

from annotated_types import Ge, Gt, Le

Steps = Annotated[int, Ge(1), Le(1_000_000_000)]
"""A number of steps from 1 to a thousand million; they are counted in int32."""
Reward = Annotated[float, Ge(-1e9), Le(1e9)]
"""Reward units of a step or an event; returns and their squares are finite in float32."""
Cost = Annotated[float, Ge(0), Le(1e9)]
"""Reward units of a step or an event from 0 on."""
Magnitude = Annotated[float, Ge(0), Le(1e6)]
"""A physical quantity from 0 on."""
PositiveMagnitude = Annotated[float, Gt(0), Le(1e6)]
"""A physical quantity above 0."""
