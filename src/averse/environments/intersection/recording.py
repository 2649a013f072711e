"""One recorded episode, ready to be drawn: plain data without simulator or learner."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Car(NamedTuple):
    """One car in one frame."""

    id: str
    kind: str  # "agent", "human" or "reckless"
    x: float  # m, front bumper
    y: float  # m, front bumper
    heading: float  # radians, 0 = +x, counter-clockwise
    speed: float  # m/s
    length: float  # m
    width: float  # m
    crashed: bool


@dataclass(frozen=True)
class Recording:
    """An episode as a list of frames."""

    step_seconds: float
    """Time between two frames (s)."""
    lanes: list[np.ndarray]
    """Centre lines of all lanes, each float64 [P, 2] in m: incoming, outgoing and through the junction."""
    lane_width: float
    """Width of a lane (m)."""
    frames: list[list[Car]]
    """The cars on the road at each time; crashed ones stay where they crashed for two seconds."""
    title: str
    """What is shown, in one line."""
