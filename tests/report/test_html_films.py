"""Films in `averse report`: the very episodes of the table, or none."""

import base64
import importlib.util
import io
import json

import pytest
from pages import Page
from PIL import Image

import averse
from averse.evaluation import Episodes
from averse.report.html import page, write_report

for module in ("libsumo", "plotly", "jinja2"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)

TINY = {"num_envs": 1, "rollout_steps": 4, "segment_length": 4, "minibatches": 1, "epochs": 1, "hidden": (4,)}


@pytest.fixture(scope="module")
def corridor(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "corridor"
    trained = averse.train("corridor", "ppo", steps=4, out=out, length=3, bad_probability=0.5, **TINY)
    averse.evaluate(trained, 3, num_envs=1)
    return out


@pytest.fixture(scope="module")
def junction(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "junction"
    trained = averse.train("sumo-intersection", "mappo", steps=4, out=out, network="dense", horizon=12, **TINY)
    averse.evaluate(trained, 3, num_envs=1)
    return out


def films(path) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in Page(path.read_text()).elements if tag == "img"]


@pytest.mark.thorough
def test_the_worst_episodes(junction, tmp_path):
    done = write_report(junction, tmp_path / "page.html", films=2)
    table = Episodes.read_parquet(junction / "episodes.parquet")
    worst = table.episode_return.argsort()[:2]
    shown = films(tmp_path / "page.html")
    assert done.films == len(shown) == 2
    for film, row in zip(shown, worst):
        assert f"return {table.episode_return[row]:.5g}; training seed 0, episode seed {table.seed[row]}" in film["alt"]
        image = Image.open(io.BytesIO(base64.b64decode(film["src"].partition(",")[2])))
        assert image.format == "GIF"
        assert image.n_frames > 5


@pytest.mark.thorough
def test_worlds_that_are_drawn_by_their_states(tmp_path):
    """Any world with a drawing, with a budget or without; where there is none the page says so."""
    world = {"length": 3, "bad_probability": 0.5}
    for name in ("corridor", "budget:corridor"):
        trained = averse.train(name, "ppo", steps=4, out=tmp_path / name, **world, **TINY)
        averse.evaluate(trained, 3, num_envs=1)
    done = write_report([tmp_path / "corridor", tmp_path / "budget:corridor"], tmp_path / "page.html", films=1)
    assert done.films == len(films(tmp_path / "page.html")) == 2
    trained = averse.train("luck:Luck", "ppo", steps=4, out=tmp_path / "luck", **TINY)
    averse.evaluate(trained, 3, num_envs=1)
    done = write_report(tmp_path / "luck", tmp_path / "luck.html", films=1)
    assert done.films == 0
    assert "luck cannot be drawn" in done.without_films


def test_no_room(corridor, tmp_path, monkeypatch):
    write_report(corridor, tmp_path / "none.html", films=0)
    monkeypatch.setattr(page, "LARGEST", (tmp_path / "none.html").stat().st_size + 100)
    done = write_report(corridor, tmp_path / "page.html", films=2)
    assert done.films == 0
    assert done.without_films.startswith("no room")


def test_an_episode_that_goes_otherwise(corridor, tmp_path):
    """A table that is not of these policies: the films would not be of its episodes."""
    figures, table = corridor / "evaluation.json", corridor / "episodes.parquet"
    kept = table.read_bytes()
    try:
        columns = Episodes.read_parquet(table).columns()
        Episodes.from_columns({**columns, "return_0": columns["return_0"] - 1}).write_parquet(table)
        done = write_report(corridor, tmp_path / "page.html", films=1)
    finally:
        table.write_bytes(kept)
    assert json.loads(figures.read_text())["environment"] == "corridor"
    assert done.films == 0
    assert "took another course when it was played again" in done.without_films
