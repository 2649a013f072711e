"""Where runs go, and whether they fit: told before any work, and a start that fails leaves nothing in the way."""

import json

import pytest
from filelock import FileLock

import averse
from averse.cli import main
from averse.errors import AverseError, DivergenceError
from averse.experiments import demo, drivers
from averse.experiments.microgrids import command as microgrids
from averse.training import configure, run_training
from averse.training.compiled import CompiledGroup
from averse.training.config import TrainingConfig
from averse.training.host import HostGroup

SMALL = {"num_envs": 2, "rollout_steps": 8, "segment_length": 8, "minibatches": 1, "epochs": 1, "hidden": (4,)}
CONFIG = configure("corridor", "ppo", 16, **SMALL)
RUN = '{"format": 2, "averse": "0.0"}'  # enough of a config.json to be one


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    for group in (CompiledGroup, HostGroup):
        monkeypatch.setattr(group, "advance", lambda *_: pytest.fail("trained"))


def impossible(tmp_path):
    (tmp_path / "file").touch()
    return [tmp_path / "file", tmp_path / "file" / "sub", tmp_path / ("x" * 300), tmp_path / "new" / ("x" * 300) / "y"]


def test_an_impossible_place_for_a_run(tmp_path, capsys):
    flags = ["--env", "corridor", "--method", "ppo", "--steps", "16", "--quiet"]
    for path in impossible(tmp_path):
        with pytest.raises(AverseError, match=r"exists already|cannot be a folder for results"):
            run_training(CONFIG, path)
        assert main(["train", *flags, "--out", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "new"] == ["file"]


@pytest.mark.parametrize(
    "work",
    [
        lambda out: demo.run(demo.DemoArguments(out=out)),
        lambda out: drivers.run(drivers.DriversArguments(env="intersection", episodes=1, out=out)),
        lambda out: microgrids.run(microgrids.MicrogridsArguments(studies=("architecture",), out=out)),
        lambda out: microgrids.run(microgrids.MicrogridsArguments(studies=("training-1",), out=out)),
    ],
    ids=["demo", "drivers", "microgrids", "microgrids-training"],
)
def test_an_impossible_place_for_an_experiment(tmp_path, monkeypatch, work):
    monkeypatch.setattr(demo, "require_simulator", lambda: None)
    monkeypatch.setattr(drivers, "drive", lambda *_: pytest.fail("driven"))
    monkeypatch.setattr(microgrids, "draw_architecture", lambda *_: pytest.fail("drawn"))
    for path in impossible(tmp_path):
        with pytest.raises(AverseError, match="cannot be a folder for results") as caught:
            work(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_microgrids_read_what_is_there_before_any_study(tmp_path, monkeypatch):
    monkeypatch.setattr(microgrids, "draw_architecture", lambda *_: pytest.fail("drawn"))

    def refused(words: str) -> None:
        with pytest.raises(AverseError, match=words) as caught:
            microgrids.run(microgrids.MicrogridsArguments(studies=("architecture", "week", "training-2"), out=tmp_path))
        assert "\n" not in str(caught.value)

    week, trained = tmp_path / "week.json", tmp_path / "training-2"
    for content in (b"{", b"\xff\xfe", b"null", b"[]", b'{"settings": 3}'):
        week.write_bytes(content)
        refused("week.json (cannot be read|holds results of other settings)")
    week.unlink()
    week.mkdir()
    refused("week.json cannot be read")
    week.rmdir()
    trained.touch()
    refused("training-2 cannot be a folder for results")
    trained.unlink()
    (trained / "mv-matrpo").mkdir(parents=True)
    (trained / "mv-matrpo" / "thesis.tex").touch()
    refused("mv-matrpo exists already")


@pytest.mark.parametrize("episodes", [100_000_000_000, 2**32])
def test_more_episodes_than_there_is_memory_or_seeds_for(tmp_path, monkeypatch, episodes):
    monkeypatch.setattr(demo, "require_simulator", lambda: None)
    with pytest.raises(AverseError, match=r"episodes must fit in memory: .* [TG]B"):
        demo.run(demo.DemoArguments(out=tmp_path / "out", episodes=episodes))
    with pytest.raises(AverseError, match=r"episodes must fit in memory: .* [TG]B"):
        drivers.run(drivers.DriversArguments(env="intersection", episodes=episodes, out=tmp_path / "out"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("steps", [1.5, 1e-3, 1e12 + 0.5])
def test_steps_of_the_demo_are_whole(tmp_path, monkeypatch, steps):
    monkeypatch.setattr(demo, "require_simulator", lambda: None)
    with pytest.raises(AverseError, match="steps must be a whole number >= 1"):
        demo.run(demo.DemoArguments(out=tmp_path / "out", steps=steps))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ppo", {"num_envs": 100_000_000}),
        ("ppo", {"hidden": (1_000_000, 1_000_000)}),
        ("ppo", {"rollout_steps": 2**31 - 8, "segment_length": 8}),
        ("dqn", {"buffer_size": 2**31 - 1}),
    ],
)
def test_what_cannot_fit_in_memory_is_refused_with_its_size(tmp_path, method, settings):
    small = SMALL if method == "ppo" else {"num_envs": 2, "hidden": (4,)}
    with pytest.raises(AverseError, match=r"at least [\d.]+ [GT]B of memory, and this machine has") as caught:
        averse.train("corridor", method, steps=16, out=tmp_path / "run", **{**small, **settings})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_memory_that_a_training_needs_is_estimated_by_its_arrays(monkeypatch):
    """4 bytes for each number that is certain to be there; what else there is makes less than as much again."""
    monkeypatch.setattr("averse.machine.memory", lambda: 0)
    monkeypatch.setattr("averse.training.compiled.os.cpu_count", lambda: 2)
    with pytest.raises(AverseError, match=r"trajectories \(num_envs 1000 x rollout_steps 8, 1 at once\)") as caught:
        averse.train("corridor", "ppo", steps=16, **{**SMALL, "num_envs": 1000})
    size = float(str(caught.value).partition("at least ")[2].partition(" MB")[0])
    assert "1 trial holds" in str(caught.value)
    seen = 1000 * 8 * 2 * (10 + 10) * 4 / 1e6
    assert seen < size < 2 * seen
    with pytest.raises(AverseError, match=r"5 trials hold .*, 2 at once\)"):  # on a CPU, one on each of two cores
        averse.train("corridor", "ppo", steps=16, seeds=5, **SMALL)


def test_overwrite_takes_runs_only_and_only_those_that_nobody_holds(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "keep").write_text("me")
    for content in ('{"name": "a web page", "version": 2}', "[]", "{", "\x00", ""):
        (path / "config.json").write_text(content)
        with pytest.raises(AverseError, match="is no run that --overwrite could replace"):
            run_training(CONFIG, path, overwrite=True)
    (path / "config.json").write_text(RUN)
    with FileLock(path / "lock"), pytest.raises(AverseError, match="is being trained in by another process"):
        run_training(CONFIG, path, overwrite=True)
    with pytest.raises(AverseError, match="exists already"):
        run_training(CONFIG, path)
    with pytest.raises(AverseError, match="overwrite must be true or false, not 'no'"):
        run_training(CONFIG, path, overwrite="no")
    assert (path / "keep").read_text() == "me"


def test_a_run_is_not_thrown_away_before_its_networks_are_taken(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(CONFIG.to_json())
    config = configure("corridor", "ppo", 16, fine_tune=path, **SMALL)
    with pytest.raises(AverseError, match="cannot both be thrown away by --overwrite and be what --fine-tune begins"):
        run_training(config, path, overwrite=True)
    assert TrainingConfig.from_json((path / "config.json").read_text()) == CONFIG


def test_a_missing_simulator_throws_no_run_away(tmp_path, monkeypatch):
    monkeypatch.setattr("averse.extras.find_spec", lambda name: None)
    config = configure("sumo-intersection", "ppo", 16, **{**SMALL, "num_envs": 1})
    path = tmp_path / "runs" / "run"
    with pytest.raises(AverseError, match="pip install"):
        run_training(config, path)
    assert not list(tmp_path.iterdir())
    path.mkdir(parents=True)
    (path / "config.json").write_text(RUN)
    with pytest.raises(AverseError, match="pip install"):
        run_training(config, path, overwrite=True)
    assert (path / "config.json").read_text() == RUN


@pytest.mark.parametrize("error", [AverseError("bad"), ValueError("worse"), MemoryError(), OSError(5, "broken")])
def test_a_start_that_fails_leaves_nothing_in_the_way(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(CompiledGroup, "advance", fail)
    with pytest.raises(type(error)):
        run_training(CONFIG, tmp_path / "runs" / "run")
    assert not list(tmp_path.iterdir())


def contents(path) -> dict[str, str]:
    return {str(each.relative_to(path)): each.read_text() for each in path.rglob("*") if each.is_file()}


@pytest.fixture
def old_run(tmp_path):
    """A run with checkpoints and results, as far as files tell."""
    path = tmp_path / "run"
    for name in ("config.json", "metrics.jsonl", "checkpoints/group-0/7/state", "evaluation.json"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(RUN if name == "config.json" else name)
    return path


@pytest.mark.parametrize("error", [DivergenceError("nan"), AverseError("bad"), OSError(5, "broken"), MemoryError()])
def test_a_run_is_back_in_its_place_if_the_one_that_was_to_replace_it_fails(old_run, monkeypatch, error):
    def fail(*_):
        assert not (old_run / "evaluation.json").exists()  # nobody takes it for one of the new run
        raise error

    before = contents(old_run)
    monkeypatch.setattr(CompiledGroup, "advance", fail)
    for _ in range(2):
        with pytest.raises(type(error)):
            run_training(CONFIG, old_run, overwrite=True)
        assert {name: text for name, text in contents(old_run).items() if name != "lock"} == before


def test_the_new_run_diverges_before_its_first_checkpoint(old_run, monkeypatch):
    before = contents(old_run)
    monkeypatch.undo()
    with pytest.raises(DivergenceError, match="nothing was saved"):
        averse.train("corridor", "ppo", 8000, out=old_run, overwrite=True, checkpoints=1, learning_rate=1e30, **SMALL)
    assert {name: text for name, text in contents(old_run).items() if name != "lock"} == before


def test_a_run_is_thrown_away_at_the_first_checkpoint_of_the_next(old_run, monkeypatch):
    monkeypatch.undo()
    advance, seen = CompiledGroup.advance, []

    def watched(group, count):
        seen.append((old_run / ".replaced").exists())
        return advance(group, count)

    monkeypatch.setattr(CompiledGroup, "advance", watched)
    averse.train("corridor", "ppo", 16 * 4, out=old_run, overwrite=True, checkpoints=2, **SMALL)
    assert seen == [True, True, False, False]
    assert not (old_run / "evaluation.json").exists()
    assert averse.load(old_run).updates == (4,)


def test_a_run_waits_while_those_that_are_to_replace_it_are_killed(old_run, monkeypatch):
    """Not an error but an end: what was set aside stays so, through further tries, until one has a checkpoint."""

    def killed(*_):
        raise KeyboardInterrupt

    before = contents(old_run)
    monkeypatch.setattr(CompiledGroup, "advance", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_training(CONFIG, old_run, overwrite=True)
        assert contents(old_run / ".replaced") == before
        assert TrainingConfig.from_json((old_run / "config.json").read_text()) == CONFIG
    (old_run / "config.json").unlink()  # killed before it was written
    with pytest.raises(KeyboardInterrupt):
        run_training(CONFIG, old_run, overwrite=True)
    assert contents(old_run / ".replaced") == before
    monkeypatch.undo()
    averse.resume(old_run)
    assert not (old_run / ".replaced").exists()


def test_a_start_that_is_interrupted_can_be_resumed_or_begun_again(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    path = tmp_path / "run"
    monkeypatch.setattr("averse.training.loop.require_memory", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_training(CONFIG, path)
    assert not path.exists()
    monkeypatch.undo()
    monkeypatch.setattr(CompiledGroup, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_training(CONFIG, path)
    assert json.loads((path / "config.json").read_text())["method"] == "ppo"
    with pytest.raises(KeyboardInterrupt):  # it begins
        averse.resume(path)


def test_a_bad_source_to_fine_tune_leaves_nothing(tmp_path):
    for source in (tmp_path / "nowhere", tmp_path, tmp_path / ("x" * 300)):
        config = configure("corridor", "ppo", 16, fine_tune=source, **SMALL)
        with pytest.raises(AverseError, match=r"no run at|is not a run directory"):
            run_training(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_source_to_fine_tune_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("run", "./run", tmp_path / "run"):
        assert configure("corridor", "ppo", 16, fine_tune=given, **SMALL).fine_tune == str(tmp_path / "run")
