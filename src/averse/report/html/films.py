"""The worst episodes of a report: which they were, and films of them where their world can be filmed."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from averse import environments
from averse.environments.sumo.environment import SumoIntersection, require_simulator
from averse.environments.sumo.recording import Film as Camera
from averse.errors import AverseError
from averse.evaluation import Episodes, Evaluation
from averse.evaluation.host_play import learned, play_host
from averse.report.animation import animate
from averse.report.html.blocks import Film
from averse.report.html.embedding import address
from averse.report.html.runs import TrainedRun
from averse.report.html.words import significant
from averse.tables import Table
from averse.training.run import Run, load

WORST = 10  # episodes that are told
EVERY = 2  # frames of which one is shown: films run so many times as fast as the world


@dataclass(frozen=True)
class Place:
    """Where an episode stands: whose it is, and in which row of its table."""

    policy: str
    table: Episodes
    row: int

    @property
    def value(self) -> float:
        """Its return."""
        return float(self.table.episode_return[self.row])


def worst_episodes(tables: Mapping[str, Episodes], count: int = WORST) -> list[Place]:
    """The episodes with the least return among all policies, the worst first; equal ones in the order of the tables."""
    places = [
        Place(name, table, int(row))
        for name, table in tables.items()
        for row in np.argsort(table.episode_return, kind="stable")[:count]
    ]
    return sorted(places, key=lambda place: place.value)[:count]


def worst_table(places: Sequence[Place]) -> Table:
    """The worst episodes with what plays them again: training seed and seed; and their figures."""
    metrics = list(dict.fromkeys(name for place in places for name in place.table.metrics))
    rows = []
    for place in places:
        table, row = place.table, place.row
        known = [table.metrics[name][row] if name in table.metrics else np.nan for name in metrics]
        rows.append([
            place.policy, str(table.training_seed[row]), str(table.seed[row]), significant(place.value),
            str(table.length[row]), *("0" if value == 0 else significant(value, 3) for value in known),
        ])  # fmt: skip
    headings = ["policy", "training seed", "episode seed", "return", "length, steps"]
    return Table([*headings, *(name.replace("_", " ") for name in metrics)], rows)


class Theatre:
    """Plays episodes of evaluated runs again and films them.

    Each film is that of the very episode: its return and length are those of the table, or there is none. Evaluations
    are to be `check`ed before they are filmed.
    """

    def __init__(self) -> None:
        self._loaded: dict[Path, Run] = {}

    def check(self, run: TrainedRun, evaluation: Evaluation) -> None:
        """Raises AverseError, with the reason in one line, where no episode of an evaluation can be filmed."""
        if environments.factory(evaluation.environment) is not SumoIntersection:
            raise AverseError(f"no films of {evaluation.environment}: only sumo-intersection can be filmed so far")
        if evaluation.basis is None:
            raise AverseError(f"the evaluation of {run.name} does not tell how it was played; evaluate it again")
        require_simulator()

    def film(self, run: TrainedRun, evaluation: Evaluation, place: Place) -> Film:
        """An episode as a GIF. Raises AverseError, with the reason in one line, where there can be none."""
        world, actor = self._actor(run, evaluation, place)
        seed = int(place.table.seed[place.row])
        with world.vector(1, trace=True) as vector:
            camera = Camera(world, vector)
            played = play_host(vector, actor, [seed], horizon=world.horizon, gamma=1.0, observer=camera)
            recording = camera.recording(place.policy)
        again = float(np.asarray(played.returns, np.float64).mean())
        if int(played.length[0]) != place.table.length[place.row] or abs(again - place.value) > 1e-4:
            raise AverseError(
                f"episode {seed} of {place.policy} took another course when it was played again (return {again:.5g}, "
                f"not {place.value:.5g}), as with another version of the simulator"
            )
        shown = [*recording.frames[::EVERY], *([] if len(recording.frames) % EVERY else recording.frames[-1:])]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "film.gif"
            animate([replace(recording, frames=shown)], file, fps=10)
            content = file.read_bytes()
        trained = int(place.table.training_seed[place.row])
        words = (
            f"{place.policy}: return {place.value:.5g}; training seed {trained}, episode seed {seed}; at {EVERY} times"
        )
        return Film(f"{words} the speed", address(content, "image/gif"))

    def _actor(self, run: TrainedRun, evaluation: Evaluation, place: Place):
        """The world in which an episode was played, and who acted."""
        assert evaluation.basis is not None, "not checked"
        if run.path not in self._loaded:
            self._loaded[run.path] = load(run.path)
        trained = self._loaded[run.path]
        elsewhere = None if evaluation.environment == run.config.environment else evaluation.environment
        shift = dict(evaluation.basis.shift)
        moved = trained.moved_to(elsewhere, shift) if elsewhere or shift else trained
        assert isinstance(moved.environment, SumoIntersection), "not checked"
        settings: dict[str, Any] = {name: float(place.table.settings[name][place.row]) for name in run.config.sweep}
        index = moved.trial(seed=int(place.table.training_seed[place.row]), **settings)
        return moved.environment, learned(moved.learner, evaluation.basis.greedy)(moved.state(index))
