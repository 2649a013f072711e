"""Trials that are dealt out, trained in parts and joined: to the last bit what one process makes of them."""

import shutil

import pytest
from same_runs import assert_same

import averse
from averse.cli import main
from averse.errors import AverseError
from averse.training import configure, run_training
from averse.training import parts as parts_module
from averse.training.compiled import CompiledGroup
from averse.training.parts import deal_out, join, train_part

UPDATE = 64 * 10
SETTINGS = {"seeds": 2, "tau": [1.0, 3.0], "checkpoints": 2}


def configured(updates: int = 4, **settings):
    return configure("corridor", "trifling:AVERSE", updates * UPDATE, **{**SETTINGS, **settings})


def begun(path, config):
    path.mkdir()
    (path / "config.json").write_text(config.to_json())
    return path


def train_all(dealt, **options):
    told = []
    for part in reversed(dealt):  # in any order
        train_part(part, lambda done, figures, part=part: told.append((part.trials, done, len(figures))), **options)
    return told


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """As one process trains it."""
    return run_training(configured(), tmp_path_factory.mktemp("whole") / "run").path


def test_parts_make_the_same_run(tmp_path, whole):
    path, config = begun(tmp_path / "run", configured()), configured()
    dealt = deal_out(path, config, 3)
    assert [part.trials for part in dealt] == [(0, 1), (2,), (3,)]
    assert deal_out(path, config, 2) == dealt  # those that are there, whatever would be dealt now
    told = train_all(dealt, threads=1)
    assert told[:3] == [((3,), 0, 0), ((3,), 1, 1), ((3,), 2, 1)]
    assert told[-1] == ((0, 1), 4, 2)
    join(path, config, dealt)
    assert_same(path, whole)


@pytest.mark.thorough
def test_a_part_that_was_killed_goes_on_and_a_join_that_was_killed_is_repeated(tmp_path, whole, monkeypatch):
    path, config = begun(tmp_path / "run", configured()), configured()
    dealt = deal_out(path, config, 2)
    advance, calls = CompiledGroup.advance, []

    def killed(group, count):
        calls.append(count)
        if len(calls) == 4:
            raise ConnectionResetError
        return advance(group, count)

    with monkeypatch.context() as patch:
        patch.setattr(CompiledGroup, "advance", killed)
        with pytest.raises(ConnectionResetError):
            train_part(dealt[0], lambda done, figures: None)
    told = train_all(dealt)
    assert ((0, 1), 2, 0) in told  # the last checkpoint
    with pytest.raises(AverseError, match="is being trained in parts, which --engine ray finishes"):
        averse.resume(path)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts_module, "forget_replaced", interrupted)
        with pytest.raises(KeyboardInterrupt):
            join(path, config, dealt)
    join(path, config, deal_out(path, config, 1))
    assert_same(path, whole)


@pytest.mark.thorough
def test_a_run_that_one_process_began_is_dealt_out_as_it_stands(tmp_path, whole):
    """Here a shorter one that is extended, which in this method is the same as one that long."""
    half = run_training(configured(2, checkpoints=1), tmp_path / "half").path
    path, config = tmp_path / "run", configured()
    shutil.copytree(half, path)
    (path / "config.json").write_text(config.to_json())
    dealt = deal_out(path, config, 4)
    assert ((2,), 2, 0) in train_all(dealt)
    join(path, config, dealt)
    assert_same(path, whole)
    assert main(["train", "--resume", str(path), "--quiet"]) == 0  # there is nothing left to do


def test_a_part_never_holds_trials_of_two_groups(tmp_path):
    config = configured(seeds_as="loop")
    dealt = deal_out(begun(tmp_path / "run", config), config, 2)
    assert [(part.group, part.trials) for part in dealt] == [(number, (number,)) for number in range(4)]


def test_what_is_not_finished_or_of_another_run_is_not_joined(tmp_path):
    path, config = begun(tmp_path / "run", configured()), configured()
    dealt = deal_out(path, config, 2)
    train_part(dealt[0], lambda done, figures: None)
    with pytest.raises(AverseError, match=r"cannot be joined: a part of trials \[0, 1, 2, 3\] is not finished"):
        join(path, config, dealt)
    for name in ("4-5", "x", "0-3"):
        (path / "parts" / name).mkdir()
        with pytest.raises(AverseError, match="does not hold the trials of this run"):
            deal_out(path, config, 2)
        (path / "parts" / name).rmdir()
    assert deal_out(path, config, 2) == dealt
