"""Record an episode for an animation. The simulation runs in a worker process, as always."""

from collections.abc import Callable
from typing import Any

import numpy as np

from averse.environments.intersection.geometry import LANE_WIDTH, geometry, lanes, poses_at
from averse.environments.intersection.recording import Car, Recording
from averse.environments.intersection.task import CAR_LENGTH, CAR_WIDTH, STEP_SECONDS, Status
from averse.environments.protocol import TimeStep
from averse.environments.sumo.environment import SumoIntersection, TrafficEncoder
from averse.environments.workers.process import Assignment
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
    frames: list[list[Car]] = []  # crashed cars appear in one frame only
    pool = environment.pool(1, trace=True)
    try:
        encoder = TrafficEncoder(environment)
        batch = pool.reset([Assignment((seed,))])
        time_step = encoder.begin(batch)
        frames.append(_cars(batch.now["cars"][0].T, batch.now["who"][0]))
        while not time_step.done[0]:
            who = batch.now["who"][0]
            batch = pool.step(np.asarray(policy(time_step)))
            time_step = encoder.advance(batch)
            frames.extend(_cars(rows, who) for rows in batch.outcome["trace"][0])
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
        frames=_with_wrecks(frames),
        title=title or f"{environment.name}, seed {seed}: {arrived} of {len(status)} arrived, {crashed} crashed",
    )


def _cars(rows: np.ndarray, who: np.ndarray) -> list[Car]:
    """One frame from rows [C, 3] (movement or -1, position, speed or -1 for a fresh wreck) and who [2, C]."""
    pose = poses_at(np, geometry(), np.maximum(rows[:, 0], 0).astype(np.int32), rows[:, 1])
    heading = np.arctan2(pose.sin, pose.cos)
    kinds, numbers = who.tolist()
    return [
        Car(
            id=f"{_KINDS[kinds[i]]}{numbers[i]}",
            kind=_KINDS[kinds[i]],
            x=float(pose.x[i]),
            y=float(pose.y[i]),
            heading=float(heading[i]),
            speed=max(float(rows[i, 2]), 0.0),
            length=CAR_LENGTH,
            width=CAR_WIDTH,
            crashed=bool(rows[i, 2] < 0),
        )
        for i in np.flatnonzero(rows[:, 0] >= 0)
    ]


def _with_wrecks(frames: list[list[Car]]) -> list[list[Car]]:
    """The frames with every wreck staying for `CRASH_SECONDS`, past the episode's end if need be."""
    stay = round(CRASH_SECONDS / STEP_SECONDS)
    last = max((index + stay for index, frame in enumerate(frames) if any(car.crashed for car in frame)), default=0)
    shown = [[car for car in frame if not car.crashed] for frame in frames]
    shown += [[] for _ in range(len(frames), last + 1)]
    for index, frame in enumerate(frames):
        for car in frame:
            if car.crashed:
                for later in shown[index : index + stay + 1]:
                    later.append(car)
    return shown
