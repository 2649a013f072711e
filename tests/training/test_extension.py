"""How a run goes on: with more steps, as if it had had them from the beginning, and with no other settings."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import averse
from averse.cli import main
from averse.environments.corridor import Corridor
from averse.errors import AverseError
from averse.training import configure
from averse.training.extension import extended
from averse.training.loop import Rhythm

UPDATE = 2 * 8  # environment steps
SMALL = {
    "num_envs": 2, "rollout_steps": 8, "batch_size": 2, "gradient_steps": 1, "buffer_size": 8, "hidden": (4,),
    "exploration_start": 0.3, "exploration_end": 0.3,
}  # fmt: skip
SWEPT = configure("corridor", "rqe-mappo", 1e4, seeds=[4, 2], tau=[1.0, 5.0], length=6, hidden=(8, 8))
OWN = SWEPT.learner_config()


def leaves(run) -> list[np.ndarray]:
    keys = jax.dtypes.prng_key
    found = jax.tree.leaves(run.learner_states)
    return [np.asarray(jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, keys) else x) for x in found]


def metrics(path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Four updates, on the command line and in Python extended to six and eight."""
    path = tmp_path_factory.mktemp("runs") / "short"
    averse.train("corridor", "dqn", steps=4 * UPDATE, out=path, **SMALL)
    return path


def test_more_steps_end_as_if_they_had_been_there_from_the_beginning(short):
    """Bit for bit: nothing of this learner is scheduled."""
    whole = averse.train("corridor", "dqn", steps=8 * UPDATE, **SMALL)
    assert main(["train", "--resume", str(short), "--steps", str(6 * UPDATE), "--quiet"]) == 0
    assert averse.load(short).updates == (6,)
    longer = averse.resume(short, 8 * UPDATE, gradient_steps=1, environment="corridor")
    assert longer.finished
    assert longer.config.steps == averse.load(short).config.steps == 8 * UPDATE
    assert [row["update"] for row in metrics(short)] == list(range(1, 9))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(longer), leaves(whole), strict=True))


def test_schedules_are_stretched_over_the_new_steps(tmp_path):
    settings = {**SMALL, "exploration_start": 1.0, "exploration_end": 0.0, "exploration_fraction": 1.0}
    averse.train("corridor", "dqn", steps=2 * UPDATE, out=tmp_path, **settings)
    averse.resume(tmp_path, 8 * UPDATE)
    assert [row["exploration"] for row in metrics(tmp_path)] == pytest.approx(
        [1, 1 / 2] + [1 - update / 8 for update in range(2, 8)]
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"tau": [1, 5], "seeds": (4, 2)},
        {"tau": np.array([1.0, 5.0]), "method": "rqe-mappo", "length": 6},
        {"environment": Corridor(length=6), "hidden": [8, 8], "checkpoints": 10, "seeds_as": "vmap"},
        {"environment_parameters": {"length": 6}, "fine_tune": None, "measure": "entropic:1"},
        {"method": OWN, "epsilon": 0.01},
    ],
)
def test_what_says_the_same_is_no_contradiction(given):
    assert extended(SWEPT, **given) == SWEPT
    assert extended(SWEPT, 2e4, **given).steps == 20_000


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 9_999}, "steps must be at least the 10000 of the run, which more of them extend, not 9999"),
        ({"steps": float("nan")}, "steps must be a whole number >= 1, not nan"),
        ({"steps": True}, "steps must be a whole number >= 1, not True"),
        ({"clip": 0.1}, "the run has clip 0.2, not 0.1"),
        ({"tau": 3.0}, "the run sweeps over tau, [1.0, 5.0], in place of one"),
        ({"tau": [1.0, 3.0]}, "the run has tau [1.0, 5.0], not [1.0, 3.0]"),
        ({"epsilon": [0.1, 0.2]}, "the run has epsilon 0.01, not [0.1, 0.2]"),
        ({"weight": [0.1, 0.2]}, "weight does not belong to the measure"),
        ({"measure": "cvar:0.1"}, "advantage 'entropic' needs an entropic measure, not 'cvar:0.1'"),
        ({"seeds": 2}, "the run has seeds [4, 2], not [0, 1]"),
        ({"hidden": (8,)}, "the run has hidden [8, 8], not [8]"),
        ({"length": 7}, "the run has length 6, not 7"),
        ({"environment_parameters": {"length": 7}}, "the run has length 6, not 7"),
        ({"environment": Corridor(length=7)}, "the run has length 6, not 7"),
        ({"environment": "car-following"}, "the run has environment 'corridor', not 'car-following'"),
        ({"method": "mappo"}, "the run has method 'rqe-mappo', not 'mappo'"),
        ({"method": replace(OWN, clip=0.1)}, "the run has clip 0.2, not 0.1"),
        ({"checkpoints": 3}, "the run has checkpoints 10, not 3"),
        ({"seeds_as": "loop"}, "the run has seeds_as 'vmap', not 'loop'"),
        ({"fine_tune": "elsewhere"}, "the run has fine_tune None, not"),
        ({"clp": 0.1}, "did you mean clip"),
        ({"clip": -1}, "clip must be a finite number > 0"),
    ],
)
def test_any_other_contradiction_is_refused(given, words):
    with pytest.raises(AverseError) as caught:
        extended(SWEPT, **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "16"], "steps must be at least the"),
        (["--learning-rate", "0.01"], "the run has learning_rate 0.0005, not 0.01"),
        (["--seeds", "3"], "the run has seeds [0], not [0, 1, 2]"),
        (["--seed", "7"], "the run has seeds [0], not [7]"),
        (["--sweep", "learning-rate=0.1,0.2"], "the run has learning_rate 0.0005, not [0.1, 0.2]"),
        (["--env", "car-following"], "the run has environment 'corridor', not 'car-following'"),
        (["--method", "qr-dqn"], "the run has method 'dqn', not 'qr-dqn'"),
        (["--no-double"], "the run has double True, not False"),
        (["--length", "3"], "the run has length 10, not 3"),
        (["--out", "elsewhere"], "--out goes with a new run"),
        (["--overwrite"], "--overwrite goes with a new run"),
        (["--clip", "0.1"], "--clip"),  # no setting of this run's method
    ],
)
def test_on_the_command_line_too_and_nothing_is_changed(short, arguments, words, capsys):
    before = {path: path.read_bytes() for path in short.glob("*.json*")}
    assert main(["train", "--resume", str(short), *arguments, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in short.glob("*.json*")} == before


def test_a_default_that_is_said_is_said(short, capsys):
    """Also where it is what a new run would have: --method names another one than this run's."""
    assert main(["train", "--resume", str(short), "--method", "rqe-mappo"]) == 2
    assert "the run has method 'dqn', not 'rqe-mappo'" in capsys.readouterr().err
    assert main(["train", "--resume", str(short), "--method", "dqn", "--seeds", "1", "--quiet"]) == 0


@pytest.mark.parametrize(("steps", "longer"), [(101, 250), (150, 1000), (99, 5000), (7, 3003)])
def test_checkpoints_go_on_at_equal_distances(steps, longer):
    """Though the chunks of updates between two looks are longer now, and need not end at round numbers."""
    config = configure("corridor", "dqn", longer * UPDATE, checkpoints=10, **SMALL)
    rhythm, done, saved = Rhythm.of(config, None), steps, [steps]
    while done < longer:
        before, done = done, min(done + rhythm.chunk, longer)
        saved += [done] if rhythm.due(before, done, 0.0) else []
    assert np.diff(saved).max() <= longer / 10 + rhythm.chunk
    assert saved[-1] == longer
    assert len(saved) <= 14
