"""Record an episode for an animation. The simulation runs in a worker process, as always."""

from collections.abc import Callable
from typing import Any

import numpy as np

from averse.environments.host import Batch
from averse.environments.intersection.geometry import LANE_WIDTH, geometry, lanes, poses_at
from averse.environments.intersection.recording import Car, Recording
from averse.environments.intersection.task import CAR_LENGTH, CAR_WIDTH, STEP_SECONDS, Status
from averse.environments.protocol import TimeStep
from averse.environments.sumo.environment import SumoIntersection, TrafficEncoder
from averse.environments.worker import Episodes
from averse.errors import AverseError

CRASH_SECONDS = 2.0  # how long a crashed car stays visible
_KINDS = ("agent", "human", "reckless")


def record_episode(
    environment: SumoIntersection, policy: Callable[[TimeStep], Any], seed: int, title: str | None = None
) -> Recording:
    """Play one episode, a function of the seed and the policy, and keep every car's pose after every 0.1 s.

    policy: from a `TimeStep` of one environment (B = 1) to actions int32 [1, A].
    title: what the recording is called; the default says how the episode went.
    """
    rows: list[np.ndarray] = []  # each [C, 5]: movement or -1, position, speed or -1 for a fresh wreck, kind, number
    pool = environment.pool(1, trace=True)
    try:
        encoder = TrafficEncoder(environment)
        batch = pool.reset([Episodes((seed,))])
        time_step = encoder.begin(batch)
        rows.append(_first_rows(batch, environment.num_agents))
        while not time_step.done[0]:
            batch = pool.step(np.asarray(policy(time_step)))
            time_step = encoder.advance(batch)
            rows.extend(batch.outcome["trace"][0])
    finally:
        pool.close()
    if batch.failed[0]:
        raise AverseError("the simulator process died during the recording; try again")
    status = batch.after["status"][0]
    arrived, crashed = (int((status == which).sum()) for which in (Status.ARRIVED, Status.CRASHED))
    return Recording(
        step_seconds=STEP_SECONDS,
        lanes=[shape for _, shape in lanes().values()],
        lane_width=LANE_WIDTH,
        frames=_frames(rows),
        title=title or f"{environment.name}, seed {seed}: {arrived} of {len(status)} arrived, {crashed} crashed",
    )


def _first_rows(batch: Batch, num_agents: int) -> np.ndarray:
    """The cars at the start. Which humans are reckless and what they are called is known only from the first step on."""
    movement, position, speed = batch.now["cars"][0]
    number = np.arange(len(movement))
    movement = np.where(number < num_agents, movement, -1)
    return np.stack([movement, position, speed, np.zeros(len(movement)), number], -1)


def _frames(rows: list[np.ndarray]) -> list[list[Car]]:
    wrecks: list[tuple[int, Car]] = []  # (last frame to show it in, the wreck)
    frames = []
    for index, cars in enumerate(rows):
        wrecks = [(last, car) for last, car in wrecks if index <= last]
        frame = []
        for car in _cars(cars[cars[:, 0] >= 0]):
            if car.crashed:
                wrecks.append((index + round(CRASH_SECONDS / STEP_SECONDS), car))
            else:
                frame.append(car)
        frames.append(frame + [car for _, car in wrecks])
    return frames + [[car for last, car in wrecks if len(frames) + i <= last] for i in range(_remaining(wrecks, rows))]


def _remaining(wrecks: list[tuple[int, Car]], rows: list[np.ndarray]) -> int:
    """Frames to add after the episode's end, so that a last crash is seen as long as any other."""
    return max((last - len(rows) + 1 for last, _ in wrecks), default=0)


def _cars(rows: np.ndarray) -> list[Car]:
    pose = poses_at(np, geometry(), rows[:, 0].astype(np.int32), rows[:, 1])
    heading = np.arctan2(pose.sin, pose.cos)
    return [
        Car(
            id=f"{_KINDS[int(kind)]}{int(number)}",
            kind=_KINDS[int(kind)],
            x=float(pose.x[i]),
            y=float(pose.y[i]),
            heading=float(heading[i]),
            speed=max(float(speed), 0.0),
            length=CAR_LENGTH,
            width=CAR_WIDTH,
            crashed=bool(speed < 0),
        )
        for i, (_, _, speed, kind, number) in enumerate(rows)
    ]
