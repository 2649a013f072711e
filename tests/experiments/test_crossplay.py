"""`averse crossplay`: own play as evaluated, each policy where it belongs, and what is written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import averse
from averse.cli import main
from averse.environments.cliff_walk import CliffWalk
from averse.evaluation import Episodes
from averse.experiments import crossplay
from averse.experiments.crossplay import cells_of, meetings, play_all
from averse.experiments.pairing import Contender, contenders
from averse.learners.fixed import fixed
from averse.training.run import load

SMALL = {"num_envs": 4, "rollout_steps": 8, "segment_length": 8, "minibatches": 1, "hidden": (8,)}
EPISODES = 40
UP, LEFT, RIGHT = 0, 2, 3  # moves
LABELS = ("x epsilon=0.01", "x epsilon=0.5")


@pytest.fixture(scope="module")
def study(corridor_runs, tmp_path_factory):
    """Two settings at the cliff, two seeds each."""
    path = tmp_path_factory.mktemp("together")
    averse.train("cliff-walk", "ppo", 32, seeds=2, horizon=6, epsilon=[0.01, 0.5], out=path / "x", **SMALL)
    shutil.copytree(corridor_runs / "b", path / "alone")
    given = ["--episodes", str(EPISODES - 1), "--out", str(path / "study"), "--json"]  # made a multiple of the seats
    assert main(["crossplay", str(path / "x"), *given]) == 0
    return path


@pytest.fixture(scope="module")
def table(study) -> Episodes:
    return Episodes.read_parquet(study / "study" / "episodes.parquet")


def of(table: Episodes, ego: str, partner: str) -> Episodes:
    return table.select((table.settings["ego"] == ego) & (table.settings["partner"] == partner))


@pytest.mark.thorough
def test_own_play_is_the_run_as_evaluated(study, table):
    """In each episode the ego's return is that of the agent in whose seat it is."""
    alone = averse.evaluate(study / "x", EPISODES, save=False).episodes
    alone = alone.select(alone.settings["epsilon"] == 0.5)
    own = of(table, LABELS[1], LABELS[1])
    own = own.select(own.training_seed == own.settings["partner_seed"])
    assert len(own) == 2 * EPISODES
    for row in range(len(own)):
        seat = int(own.settings["seat"][row])
        assert seat == own.seed[row] % 2
        (there,) = np.flatnonzero((alone.seed == own.seed[row]) & (alone.training_seed == own.training_seed[row]))
        assert own.agent_returns[row, 0] == alone.agent_returns[there, seat]
        assert own.metrics["partners_return"][row] == alone.agent_returns[there, 1 - seat]


def test_each_policy_acts_where_it_belongs():
    """Of two agents for whom every move succeeds one walks off the cliff, the other climbs away from it."""
    world = CliffWalk(horizon=3, success=1.0, success_near=1.0)

    def player(label: str, *moves: int) -> Contender:
        learner = fixed(lambda seen: jnp.broadcast_to(jnp.array(moves, jnp.int32), seen.shape[:2]))
        run = SimpleNamespace(environment=world, learner=learner, trials=[{"seed": 0}], state=lambda trial: ())
        return Contender(label, Path(label), run, (0,))

    players = [player("falls", RIGHT, LEFT), player("climbs", UP, UP)]
    tables = play_all(players, meetings(players), 6, False, 1, lambda episodes: None)
    for meeting, episodes in tables:
        ego, partner = players[meeting.ego].label, players[meeting.partner].label
        assert (episodes.episode_return == (-2.0 if ego == "falls" else 0.0)).all(), (ego, partner)
        assert (episodes.metrics["partners_return"] == (-2.0 if partner == "falls" else 0.0)).all(), (ego, partner)
        assert sorted(episodes.settings["seat"].tolist()) == [0.0] * 3 + [1.0] * 3
    matrix = cells_of(players, tables).matrix
    assert [[cell["return"].value for cell in row] for row in matrix] == [[-2.0, -2.0], [0.0, 0.0]]


def test_what_is_written(study, table):
    told = json.loads((study / "study" / "study.json").read_text())
    assert (told["format"], told["verb"], told["episodes"], told["seeds"]) == (1, "crossplay", EPISODES, [0, 1])
    assert told["crossplay"]["labels"] == list(LABELS)
    for i, ego in enumerate(LABELS):
        for j, partner in enumerate(LABELS):
            rows = of(table, ego, partner)
            if ego == partner:
                rows = rows.select(rows.training_seed == rows.settings["partner_seed"])
            value = told["crossplay"]["metrics"]["return"][i][j]["value"]
            assert value == pytest.approx(rows.episode_return.mean())
        crossed = of(table, ego, ego)
        crossed = crossed.select(crossed.training_seed != crossed.settings["partner_seed"])
        value = told["crossplay"]["across_seeds"][ego]["return"]["value"]
        assert value == pytest.approx(crossed.episode_return.mean())
    assert {"table.md", "table.json", "crossplay.png"} <= {file.name for file in (study / "study").iterdir()}
    assert "among its other seeds" in (study / "study" / "table.md").read_text()


def test_who_meets_whom(study):
    """A contender of two seeds and one of a single seed."""
    two, one = contenders(study / "x", load(study / "x"))
    found = [tuple(meeting) for meeting in meetings([two, replace(one, trials=one.trials[:1])])]
    a, b = two.trials, one.trials[0]
    own = [(0, a[0], 0, a[0], 0), (0, a[1], 0, a[1], 1), (1, b, 1, b, 0)]
    between = [(0, a[0], 1, b, 0), (0, a[1], 1, b, 1), (1, b, 0, a[0], 0)]
    seeds = [(0, a[0], 0, a[1], 0), (0, a[1], 0, a[0], 1)]
    assert sorted(found) == sorted([*own, *between, *seeds])


def test_ctrl_c_leaves_nothing(study, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(crossplay, "play_all", stopped)
    assert main(["crossplay", str(study / "x"), "--out", str(study / "new")]) == 130
    assert not [file for file in study.iterdir() if "new" in file.name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["alone"], "corridor has a single agent"),
        (["x", "alone"], "cannot act in cliff-walk: num_agents is 2, not 1"),
        ([], "run directory or more"),
        (["x", "x/"], "x is given twice"),
        (["x", "--out", "x"], "x exists already"),
        (["x", "missing"], "no run at missing"),
        (["x", "--shift", "success=2"], "success must be"),
        (["x", "--episodes", "0"], "episodes must be"),
    ],
)
def test_bad_input_is_one_line(study, arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(study)
    monkeypatch.setattr(crossplay, "play_all", lambda *_: pytest.fail("it began"))
    before = sorted(study.rglob("*"))
    assert main(["crossplay", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    assert sorted(study.rglob("*")) == before
