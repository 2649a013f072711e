"""`intersection` and `sumo-intersection`: cars on the road, drawn by `averse.report.drawing.Painter`.

The simulator tells where every car is after each 0.1 s. The compiled twin has a state after each decision of 0.5 s;
between two of them cars are placed on their paths by straight lines from one to the next.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from averse.environments.intersection.geometry import LANE_WIDTH, geometry, lanes, poses_at
from averse.environments.intersection.recording import Car, Recording
from averse.environments.intersection.task import (
    CAR_LENGTH,
    CAR_WIDTH,
    DECISION_SECONDS,
    STEP_SECONDS,
    STEPS_PER_DECISION,
    Status,
)
from averse.environments.sumo.recording import with_wrecks
from averse.evaluation.recording import RecordedEpisode
from averse.report.drawing import Painter

SURELY = 2.0  # m before its way's end that a human is taken to have crashed, where its place tells no more


class JunctionDrawing:
    """Films of episodes at the junction, in real time, and pictures of moments."""

    seconds = DECISION_SECONDS
    """Between the pictures of two moments."""

    def frame(self, episode: RecordedEpisode, index: int) -> Image.Image:
        """What is there after `index` decisions."""
        return self.moment(recording_of(episode), index * STEPS_PER_DECISION)

    def moment(self, recording: Recording, index: int) -> Image.Image:
        """What is there after `index` steps of 0.1 s."""
        return Painter([recording]).frame(index)

    def film(self, episodes: Sequence[RecordedEpisode]) -> tuple[Painter, float]:
        """A film of episodes side by side, and how long a frame is shown, s."""
        return Painter([recording_of(episode) for episode in episodes]), STEP_SECONDS


DRAWING = JunctionDrawing()


def recording_of(episode: RecordedEpisode) -> Recording:
    """The cars of an episode at the junction, simulated or of the compiled twin."""
    if isinstance(episode.states, Recording):
        return replace(episode.states, title=f"{episode.states.title}{_told(episode)}")
    return Recording(
        step_seconds=STEP_SECONDS,
        lanes=[shape for _, shape in lanes().values()],
        lane_width=LANE_WIDTH,
        frames=with_wrecks(_frames(episode.states)),
        title=f"{episode.title}{_told(episode)}",
    )


def _told(episode: RecordedEpisode) -> str:
    """The return of an episode, as its title ends."""
    return f", return {episode.earned(len(episode)):.2f}"


def _frames(states: Any) -> list[list[Car]]:
    """The cars at each 0.1 s of a twin's states, leaves [T + 1, ...]; crashed ones appear in one frame only."""
    names = _names(states)
    frames = [_cars(states, 0, 0.0, names)]
    for k in range(len(states.scene.elapsed) - 1):
        frames += [_cars(states, k, part / STEPS_PER_DECISION, names) for part in range(1, STEPS_PER_DECISION)]
        frames.append(_wrecks(states, k, names) + _cars(states, k + 1, 0.0, names))
    return frames


def _names(states: Any) -> np.ndarray:
    """Who is in each place for cars at each decision, int [T + 1, C]: a place that is taken anew has a new number."""
    scene = states.scene
    before, after = scene.position[:-1], scene.position[1:]
    fresh = scene.present[1:] & (~scene.present[:-1] | (after < before) | (scene.movement[1:] != scene.movement[:-1]))
    return np.concatenate([np.zeros((1, fresh.shape[1]), int), np.cumsum(fresh, 0)])


def _cars(states: Any, k: int, part: float, names: np.ndarray) -> list[Car]:
    """Those on the road a part of a decision after the k-th state: each on its way to where it is in the next."""
    scene, (n, _) = states.scene, _sizes(states)
    position, speed = scene.position[k].astype(float), scene.speed[k].astype(float)
    if part:
        stays = names[k] == names[k + 1]
        ahead = position + speed * DECISION_SECONDS
        target = np.where(stays, scene.position[k + 1], ahead)
        faster = np.where(stays & scene.present[k + 1], scene.speed[k + 1], speed)
        position, speed = position + part * (target - position), speed + part * (faster - speed)
    shown = np.flatnonzero(scene.present[k])
    return [_car(states, k, i, position[i], speed[i], names, n, False) for i in shown.tolist()]


def _wrecks(states: Any, k: int, names: np.ndarray) -> list[Car]:
    """The cars that crashed in the k-th decision: agents as the state says, humans who vanished before their way's end.

    The place of a human who crashed may be taken anew within the decision; its wreck is then where it was driving to.
    """
    scene, (n, cars) = states.scene, _sizes(states)
    crashed = np.zeros(cars, bool)
    crashed[:n] = (scene.status[k + 1] == Status.CRASHED) & (scene.status[k] != Status.CRASHED)
    gone = scene.present[k] & (~scene.present[k + 1] | (names[k] != names[k + 1]))
    stays = names[k] == names[k + 1]
    last = np.where(stays, scene.position[k + 1], scene.position[k] + scene.speed[k] * DECISION_SECONDS)
    end = np.asarray(geometry().length)[scene.movement[k]]
    crashed[n:] = (gone & (last < np.where(stays, end, end - SURELY)))[n:]
    return [_car(states, k, i, float(last[i]), 0.0, names, n, True) for i in np.flatnonzero(crashed).tolist()]


def _car(states: Any, k: int, i: int, position: float, speed: float, names: np.ndarray, n: int, crashed: bool) -> Car:
    movement = states.scene.movement[k][i : i + 1].astype(np.int32)
    pose = poses_at(np, geometry(), movement, np.array([position], np.float32))
    kind = "agent" if i < n else "reckless" if states.reckless[k][i] else "human"
    return Car(
        id=f"{kind}{i}.{names[k][i]}",
        kind=kind,
        x=float(pose.x[0]),
        y=float(pose.y[0]),
        heading=float(np.arctan2(pose.sin[0], pose.cos[0])),
        speed=max(0.0, float(speed)),
        length=CAR_LENGTH,
        width=CAR_WIDTH,
        crashed=crashed,
    )


def _sizes(states: Any) -> tuple[int, int]:
    """Agents and cars, N and C."""
    return states.scene.status.shape[1], states.scene.position.shape[1]
