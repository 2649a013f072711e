"""Arguments of other kinds are refused by name, in one line; lists do where arrays do."""

import numpy as np
import pytest

import averse
from averse.environments.adapters.hosted import HostedVector
from averse.environments.risky_cartpole import RiskyCartPole
from averse.errors import AverseError
from averse.evaluation import (
    Batches,
    Episodes,
    Summary,
    calibrate_categorical,
    calibrate_quantiles,
    chain_player,
    concatenate,
    learned,
    play_host,
    play_scripted,
    scripted,
    summarise,
    summarise_long_run,
    summary_table,
)
from averse.evaluation.known_models import exact_mean_variance, exact_scores
from averse.evaluation.recording import record
from averse.learners.fixed import fixed
from averse.statistics import Estimate

nan, inf = float("nan"), float("inf")
WORLD = RiskyCartPole(horizon=20)
LEARNER = fixed(lambda observations: observations[..., 0])
STILL = scripted(lambda step: np.zeros(step.rewards.shape, np.int32))
COLUMNS = {"training_seed": [0, 0, 1, 1], "seed": [1, 2, 1, 2], "length": [3, 4, 5, 6], "failed": [False] * 4}
ARGUMENTS = {**COLUMNS, "agent_returns": [1.0, 2.0, 3.0, 4.0]}
PLAIN = Episodes(**ARGUMENTS, metrics={"gap": [1.0, nan, 2.0, 3.0]})
BATCHES = Batches(0, {}, 1.0, 10, [[1.0, 2.0]], [[1.0, 4.0]])


def changed(**columns):
    return lambda: Episodes(**{**ARGUMENTS, **columns})


def play(seeds=(1, 2), actor=STILL, vector=None, **arguments):
    vector = HostedVector(WORLD, 2) if vector is None else vector
    return play_host(vector, actor, seeds, **{"horizon": 20, "gamma": 0.9, **arguments})


def batches(**fields):
    good = {"training_seed": 0, "settings": {}, "beta": 1.0, "steps": 10, "mean": [[1.0]], "square": [[1.0]]}
    return lambda: Batches(**{**good, **fields})


CASES = {
    # tables of episodes
    "NaN return": (changed(agent_returns=[1.0, nan, 2.0, 3.0]), "return of episode 1 is not finite"),
    "infinite return": (changed(agent_returns=[1.0, 2.0, -inf, 3.0]), "return of episode 2 is not finite"),
    "infinite metric": (
        changed(metrics={"gap": [0.0, inf, 1.0, 2.0]}),
        "metric 'gap' of episode 1 is not finite or NaN",
    ),
    "returns of text": (changed(agent_returns=["1", "2", "3", "4"]), "agent_returns must be numbers"),
    "returns that are ragged": (changed(agent_returns=[[1.0], [1.0, 2.0]]), "agent_returns must be numbers"),
    "no returns": (changed(agent_returns=None), "agent_returns must be numbers"),
    "flags of text": (changed(failed=["False"] * 4), "'failed' must be numbers"),
    "NaN flags": (changed(failed=[0.0, nan, 0.0, 1.0]), "'failed' must hold true and false"),
    "seeds in halves": (changed(seed=[0.5, 1, 2, 3]), "'seed' must hold integers"),
    "NaN seeds": (changed(training_seed=[nan, 1, 2, 3]), "'training_seed' must hold integers"),
    "huge lengths": (changed(length=[1e300, 1, 2, 3]), "'length' must hold integers"),
    "metrics in a list": (changed(metrics=[1, 2]), "metrics must be a mapping"),
    "metrics of text": (changed(metrics={"gap": list("abcd")}), "metric 'gap' must be numbers"),
    "settings in a list": (changed(settings=["tau"]), "settings must be a mapping"),
    "no columns": (lambda: Episodes.from_columns([1, 2]), "columns must be a mapping"),
    "unknown settings": (lambda: Episodes.from_columns(PLAIN.columns(), ["tua"]), "settings names columns .* tua"),
    "settings in a text": (lambda: Episodes.from_columns(PLAIN.columns(), "gap"), "settings must be"),
    "rows beyond": (lambda: PLAIN.select([0, 4]), "rows must be a mask or row numbers below 4"),
    "rows of text": (lambda: PLAIN.select(["a"]), "rows must be numbers"),
    "a short mask": (lambda: PLAIN.select([True, False]), "rows is a mask of shape"),
    "values of other length": (lambda: PLAIN.by_training_seed([1.0]), r"values must have the shape \(4,\)"),
    "a path that is none": (lambda: Episodes.read_parquet(5), "path must be a path"),
    "a path to write to": (lambda: PLAIN.write_parquet(None), "path must be a path"),
    "one table": (lambda: concatenate(PLAIN), "tables must be a list of Episodes"),
    "tables of what": (lambda: concatenate([PLAIN, 5]), r"tables\[1\] must be one of Episodes"),
    "no tables": (lambda: concatenate([]), "tables is empty"),
    # summaries
    "no episodes": (lambda: summarise([1.0, 2.0]), "episodes must be a table"),
    "empty episodes": (lambda: summarise(PLAIN.select([])), "no completed episode"),
    "metrics by list": (lambda: summarise(PLAIN, ["gap"]), "metrics must be a mapping"),
    "metrics without words": (lambda: summarise(PLAIN, {"gap": 1}), "metrics must be a mapping from names to texts"),
    "confidence in percent": (lambda: summarise(PLAIN, confidence=95), "confidence must be"),
    "no resamples": (lambda: summarise(PLAIN, resamples=0), "resamples must be"),
    "a seed of text": (lambda: summarise(PLAIN, seed="0"), "seed must be"),
    "perhaps learnt": (lambda: summarise(PLAIN, learnt=None), "learnt must be true or false"),
    "a list of summaries": (lambda: summary_table([summarise(PLAIN)]), "summaries must be a mapping"),
    "summaries of what": (lambda: summary_table({"a": 1}), "summaries must be a mapping from names to summaries"),
    "metrics in a text": (lambda: summary_table({"a": summarise(PLAIN)}, "gap"), "metrics must be"),
    "a number as title": (lambda: summary_table({"a": summarise(PLAIN)}, title=5), "title must be a text"),
    "a summary from a list": (lambda: Summary.from_dict([1]), "not a summary"),
    "a summary of text": (lambda: Summary.from_dict({**summarise(PLAIN).to_dict(), "mean": "x"}), "not a summary"),
    "an estimate of text": (lambda: Estimate("1.5"), "value must be a number"),
    "an estimate from a list": (lambda: Estimate.from_dict([1.0]), "fields must be a mapping"),
    "an end of text": (lambda: Estimate.from_dict({"value": 1.0, "low": "x"}), "low must be a number"),
    # the critic
    "atoms of text": (lambda: calibrate_categorical("01", [[0.5, 0.5]], [1.0]), "atoms must be numbers"),
    "infinite atoms": (lambda: calibrate_categorical([0.0, inf], [[0.5, 0.5]], [1.0]), "atoms must be"),
    "NaN probabilities": (lambda: calibrate_categorical([0, 1], [[nan, 1.0]], [1.0]), "probs must be non-negative"),
    "NaN realised": (lambda: calibrate_quantiles([[0.0, 1.0]], [nan]), "realised must be finite"),
    "realised twice": (lambda: calibrate_quantiles([[0.0, 1.0]], [[1.0]]), "realised must have one axis"),
    "NaN quantiles": (lambda: calibrate_quantiles([[nan, 1.0]], [1.0]), "quantiles must be finite"),
    "no bins": (lambda: calibrate_quantiles([[0.0, 1.0]], [1.0], bins=0), "bins must be"),
    "a level of 1": (lambda: calibrate_quantiles([[0.0, 1.0]], [1.0], levels=[0.5, 1.0]), "levels must be"),
    "a treatment": (lambda: calibrate_quantiles([[0.0, 1.0]], [1.0], "midpiont"), "treatment .* did you mean midpoint"),
    "a negative seed": (lambda: calibrate_quantiles([[0.0, 1.0]], [1.0], seed=-1), "seed must be"),
    # playing
    "no vector": (lambda: play(vector=WORLD), "vector must be a started batch"),
    "an actor of text": (lambda: play(actor="still"), "actor must be an Actor"),
    "no seeds": (lambda: play(seeds=[]), "seeds must be one or more"),
    "a negative episode seed": (lambda: play(seeds=[-1]), r"seeds must be in \[0, 4294967295\], not -1"),
    "a horizon of 0": (lambda: play(horizon=0), "horizon must be"),
    "a gamma above 1": (lambda: play(gamma=1.5), "gamma must be"),
    "no observer": (lambda: play(observer=3), "observer must be a function"),
    "no progress": (lambda: play(on_progress=None), "on_progress must be a function"),
    "no script": (lambda: scripted("still"), "script must be a function"),
    "no learner": (lambda: learned("mappo", greedy=True), "learner must be a learner"),
    "greedy or not": (lambda: learned(LEARNER, greedy=0), "greedy must be true or false"),
    "no world": (lambda: play_scripted("corridor", lambda x: x), "environment must be compiled"),
    "no policy": (lambda: play_scripted(WORLD, 5), "policy must be a function"),
    "no episodes to play": (lambda: play_scripted(WORLD, lambda x: x, 0), "episodes must be"),
    "no batches": (lambda: chain_player(WORLD, LEARNER, True, batches=0, length=5), "batches must be"),
    "half a step": (lambda: chain_player(WORLD, LEARNER, True, batches=1, length=2.5), "length must be"),
    "no simulator": (lambda: record(WORLD, STILL, 1), "environment must be a SumoIntersection"),
    # long runs and known models
    "policies in a tuple of what": (lambda: summarise_long_run([5]), r"policies\[0\] must be one of Batches"),
    "no policies": (lambda: summarise_long_run([]), "policies is empty"),
    "one policy twice": (
        lambda: summarise_long_run([BATCHES, BATCHES]),
        "policies must be of different training seeds",
    ),
    "NaN batches": (batches(mean=[[nan]]), "mean and square of a policy's batches must be finite"),
    "batches of one axis": (batches(mean=[1.0], square=[1.0]), r"must have the same shape \[chains, batches\]"),
    "squares of other shape": (batches(square=[[1.0, 2.0]]), "must have the same shape"),
    "a negative price": (batches(beta=-1.0), "beta must be"),
    "no steps": (batches(steps=0), "steps must be"),
    "nobody who plays": (lambda: averse.evaluate("runs/x", 4, player=[]), "player must be a function"),
    "scores of what": (lambda: exact_scores(5), "run must be a run or the path"),
    "a tau of 0": (lambda: exact_scores("runs/x", 0.0), "tau must be above 0"),
    "a tau of text": (lambda: exact_scores("runs/x", "inf"), "tau must be numbers"),
    "a price of text": (lambda: exact_mean_variance(WORLD, LEARNER, (), "1"), "beta must be"),
}


@pytest.mark.parametrize("case", CASES)
def test_arguments_are_refused_by_name_in_one_line(case):
    call, words = CASES[case]
    with pytest.raises(AverseError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_lists_do_where_arrays_do():
    arrays = Episodes(
        **{name: np.asarray(column) for name, column in ARGUMENTS.items()},
        metrics={"gap": np.array([1.0, nan, 2.0, 3.0])},
    )
    assert summarise(arrays) == summarise(PLAIN)
    assert PLAIN.select([1, 2]).seed.tolist() == PLAIN.select([False, True, True, False]).seed.tolist() == [2, 1]
    assert [x.tolist() for x in PLAIN.by_training_seed([1, 2, 3, 4])] == [[1, 2], [3, 4]]
    assert BATCHES.eta == 1.5
    found = calibrate_categorical([0, 1], [[0, 1], [1, 0]], [1, 0], levels=(0.5,))
    assert found.to_dict() == calibrate_categorical(
        np.arange(2.0), np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1.0, 0.0]), levels=[0.5]
    ).to_dict()  # fmt: skip


def test_flags_may_be_ones_and_zeros():
    assert Episodes(**{**ARGUMENTS, "failed": [0, 1, 0.0, True]}).failed.tolist() == [False, True, False, True]


def test_failed_episodes_may_hold_anything():
    table = Episodes(
        **{**ARGUMENTS, "failed": [0, 1, 0, 0], "agent_returns": [1.0, nan, 3.0, 4.0]}, metrics={"gap": [0, inf, 0, 0]}
    )
    assert summarise(table).mean.value == pytest.approx(8 / 3)
