"""Which returns the critic is compared with: those that are whole, and how many are not."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from queueing import Queueing

from averse.environments.adapters.hosted import HostedVector
from averse.evaluation import (
    Episodes,
    Evaluation,
    calibrate_categorical,
    compiled_player,
    play_host,
    scripted,
    summarise,
)
from averse.evaluation.critic import calibrated, usable
from averse.learners.fixed import fixed
from averse.risk import Categorical

ATOMS = np.array([0.0, 1.0, 2.0])
SEEDS = np.arange(8)


LEARNER = fixed(lambda observations: jnp.zeros(observations.shape[:-1], jnp.int32), gamma=0.99)


def played(host=False):
    world = Queueing()
    if not host:
        return compiled_player(world, LEARNER, greedy=True)((), SEEDS)
    still = scripted(lambda step: np.zeros(step.rewards.shape, np.int32))
    return play_host(HostedVector(world, 3), still, SEEDS, horizon=world.horizon, gamma=0.99)


def run_with(predict):
    return SimpleNamespace(learner=LEARNER._replace(predict_returns=predict), state=lambda index: ())


def predict(state, observations, global_state, available, memory=()):
    """Sure of a return of 1."""
    return Categorical(jnp.asarray(ATOMS), jnp.broadcast_to(jnp.array([0.0, 1.0, 0.0]), (*observations.shape[:2], 3)))


@pytest.mark.parametrize("host", [False, True])
def test_agents_who_had_ended_are_kept_where_the_time_limit_cuts_the_others(host):
    each = played(host)
    assert each.truncated.all()
    np.testing.assert_array_equal(each.terminated, np.tile([True, False], (8, 1)))
    asked, known = usable(each)
    assert asked[:, 0].all()  # probed within the first quarter, before the arrival
    np.testing.assert_array_equal(known, np.tile([True, False], (8, 1)))


def test_the_fraction_left_out_is_told_and_the_kept_returns_are_whole():
    found, left_out = calibrated(run_with(predict), {0: played()})
    assert left_out == pytest.approx(0.5)
    assert found.states == 8
    assert found.bias == pytest.approx(0.02, abs=0.02)  # 1 is paid after one to three steps, at gamma .99


def test_where_all_is_cut_there_is_no_calibration_and_that_is_said():
    each = played()
    never = each._replace(terminated=np.zeros((8, 2), bool))
    assert calibrated(run_with(predict), {0: never}) == (None, 1.0)
    assert calibrated(run_with(None), {0: each}) == (None, None)


def test_returns_of_which_next_to_no_discount_was_left_are_whole():
    each = played()
    spent = each._replace(probe=each.probe._replace(weight_left=np.full(8, 0.01)))
    assert usable(spent)[1].all()


def test_failed_episodes_and_agents_who_were_gone_before_are_not_asked_for():
    each = played()
    failed = each._replace(failed=SEEDS < 2)
    asked, known = usable(failed)
    assert not asked[:2].any()
    assert not known[:2].any()
    gone = each._replace(probe=each.probe._replace(active=np.tile([False, True], (8, 1))))
    asked, known = usable(gone)
    np.testing.assert_array_equal(asked, np.tile([False, True], (8, 1)))
    assert not known.any()


def evaluation(calibrations, left_out):
    episodes = Episodes(np.zeros(8), SEEDS, np.arange(8.0), np.ones(8), np.zeros(8, bool))
    summaries = {label: summarise(episodes) for label in left_out or [""]}
    return Evaluation("queue", "mappo", episodes, summaries, calibrations, left_out)


def test_text_and_json_tell_what_was_left_out():
    found = calibrate_categorical(ATOMS, np.tile([0.0, 1.0, 0.0], (20, 1)), np.ones(20))
    cut = evaluation({"": found}, {"": 0.125})
    assert "left out: 12.5% of the returns, which the time limit cut short" in str(cut)
    assert json.loads(json.dumps(cut.to_dict()))["calibration_left_out"] == 0.125
    whole = evaluation({"": found}, {"": 0.0})
    assert "left out" not in str(whole)
    assert whole.to_dict()["calibration_left_out"] == 0.0
    none = evaluation({}, {"tau=1": 1.0})
    assert "critic calibration (tau=1): none; the time limit cut short every return" in str(none)
    assert none.to_dict()["settings"]["tau=1"]["calibration_left_out"] == 1.0
    silent = evaluation({}, {})
    assert "calibration" not in str(silent)
    assert silent.to_dict()["calibration_left_out"] is None
