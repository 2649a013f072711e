"""The worst episodes of a report: which they were, and films of them where their world can be filmed."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from averse import environments
from averse.environments.protocol import is_average_reward
from averse.environments.sumo.environment import SumoIntersection, require_simulator
from averse.errors import AverseError
from averse.evaluation import Evaluation
from averse.evaluation.recording import Recorder, recorder
from averse.evaluation.worst import Place
from averse.report.animation import film_of_rows, write_film
from averse.report.film import drawing_of
from averse.report.html.blocks import Film
from averse.report.html.embedding import address
from averse.report.html.runs import TrainedRun
from averse.report.html.words import significant
from averse.tables import Table
from averse.training.run import Run, load

WORST = 10  # episodes that are told
SPEED = 2.0  # how many times as fast as the world films run


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
        self._recorders: dict[tuple[Path, str, str], tuple[Run, Recorder]] = {}

    def check(self, run: TrainedRun, evaluation: Evaluation) -> None:
        """Raises AverseError, with the reason in one line, where no episode of an evaluation can be filmed."""
        if evaluation.basis is None:
            raise AverseError(f"the evaluation of {run.name} does not tell how it was played; evaluate it again")
        if environments.factory(evaluation.environment) is SumoIntersection:
            require_simulator()
        world, _ = self._recorder(run, evaluation)
        if is_average_reward(world.environment):
            raise AverseError(f"no films of {evaluation.environment}, whose episodes never end")
        drawing_of(world.environment)

    def film(self, run: TrainedRun, evaluation: Evaluation, place: Place) -> Film:
        """An episode as a GIF. Raises AverseError, with the reason in one line, where there can be none."""
        world, record = self._recorder(run, evaluation)
        settings: dict[str, Any] = {name: float(place.table.settings[name][place.row]) for name in run.config.sweep}
        trained, seed = int(place.table.training_seed[place.row]), int(place.table.seed[place.row])
        episode = record(world.state(world.trial(seed=trained, **settings)), seed, place.policy)
        again = episode.earned(len(episode))
        if len(episode) != place.table.length[place.row] or abs(again - place.value) > 1e-4 * max(1.0, abs(again)):
            raise AverseError(
                f"episode {seed} of {place.policy} took another course when it was played again (return {again:.5g}, "
                f"not {place.value:.5g}), as with another version of the simulator"
            )
        film, fps = film_of_rows([[episode]], SPEED)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "film.gif"
            write_film(film, file, fps)
            content = file.read_bytes()
        words = f"{place.policy}: return {place.value:.5g}; training seed {trained}, episode seed {seed}"
        return Film(f"{words}; at {SPEED:g} times the speed", address(content, "image/gif"))

    def _recorder(self, run: TrainedRun, evaluation: Evaluation) -> tuple[Run, Recorder]:
        """The run in the world where an evaluation was played, and what records its episodes; made once.

        Raises AverseError where nothing can be recorded there.
        """
        assert evaluation.basis is not None, "not checked"
        key = run.path, evaluation.environment, f"{evaluation.basis.greedy} {dict(evaluation.basis.shift)}"
        if key not in self._recorders:
            if run.path not in self._loaded:
                self._loaded[run.path] = load(run.path)
            trained = self._loaded[run.path]
            elsewhere = None if evaluation.environment == run.config.environment else evaluation.environment
            shift = dict(evaluation.basis.shift)
            moved = trained.moved_to(elsewhere, shift) if elsewhere or shift else trained
            self._recorders[key] = moved, recorder(moved.environment, moved.learner, evaluation.basis.greedy)
        return self._recorders[key]
