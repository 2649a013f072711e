"""Record an episode for an animation, while it is played like any other."""

from typing import Any

import numpy as np

from averse.environments.intersection.geometry import LANE_WIDTH, geometry, lanes, poses_at
from averse.environments.intersection.recording import Car, Recording
from averse.environments.intersection.task import CAR_LENGTH, CAR_WIDTH, STEP_SECONDS, Status
from averse.environments.workers.encoded import EncodedVector
from averse.environments.workers.pool import Batch
from averse.errors import AverseError

CRASH_SECONDS = 2.0  # how long a crashed car stays visible
_KINDS = ("agent", "human", "reckless")


class Film:
    """An observer of one simulation (`averse.evaluation.host_play`) that keeps every car's pose after every 0.1 s.

    Args:
      name: of the environment.
      vector: the simulation that is played, alone and tracing: `environment.vector(1, trace=True)`.
    """

    def __init__(self, name: str, vector: EncodedVector):
        self._name, self._vector, self._seed = name, vector, 0
        self._frames: list[list[Car]] = []  # crashed cars appear in one frame only
        self._who: np.ndarray

    def __call__(self, moment: Any) -> None:
        """See `averse.evaluation.host_play.Observer`."""
        if moment.actions is None:
            self.begin(int(moment.seeds[0]))
        else:
            self.step()

    def begin(self, seed: int) -> None:
        """The simulation has been reset to this seed."""
        now = self._batch.now
        self._seed, self._who = seed, now["who"][0]
        self._frames.append(_cars(now["cars"][0].T, self._who))

    def step(self) -> None:
        """The simulation has made a decision's steps."""
        batch = self._batch
        self._frames.extend(_cars(rows, self._who) for rows in batch.outcome["trace"][0])
        self._who = batch.now["who"][0]

    def __len__(self) -> int:
        """How many moments there are so far."""
        return len(self._frames)

    @property
    def _batch(self) -> Batch:
        assert self._vector.batch is not None, "nothing has been played yet"
        return self._vector.batch

    def recording(self, title: str | None = None) -> Recording:
        """The one episode that was played.

        Args:
          title: what the recording is called; the default says how the episode went.

        Raises AverseError if the simulator broke off.
        """
        if self._batch.failed[0]:
            raise AverseError("the simulator process died during the recording; try again")
        status = self._batch.after["status"][0]
        arrived, crashed = (int((status == which).sum()) for which in (Status.ARRIVED, Status.CRASHED))
        return Recording(
            step_seconds=STEP_SECONDS,
            lanes=[shape for _, shape in lanes().values()],
            lane_width=LANE_WIDTH,
            frames=with_wrecks(self._frames),
            title=title or f"{self._name}, seed {self._seed}: {arrived} of {len(status)} arrived, {crashed} crashed",
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


def with_wrecks(frames: list[list[Car]]) -> list[list[Car]]:
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
