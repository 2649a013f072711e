"""A support that is too narrow is told of: as a metric of each update and as a warning at the end."""

import json
import logging

import pytest

import averse

SMALL = {"num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (16,)}


def clamped(path) -> float:
    return json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["clamped_mass"]


@pytest.mark.thorough
def test_a_narrow_support_is_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="averse"):
        averse.train("corridor", "rqe-mappo", steps=640, out=tmp_path / "wide", **SMALL)
        assert not caplog.records
        averse.train("corridor", "rqe-mappo", steps=640, out=tmp_path / "narrow", support=(0.0, 2.0), **SMALL)
    assert "support is too narrow" in caplog.text
    assert clamped(tmp_path / "wide") < 0.1 < clamped(tmp_path / "narrow")


def test_atoms_too_far_apart_for_a_tolerance_are_warned_of(tmp_path, caplog):
    """The same atoms are near enough for tau 1, and too far apart for .1: they add a standard deviation of over .1."""
    with caplog.at_level(logging.WARNING, logger="averse"):
        averse.train("corridor", "rqe-mappo", steps=640, out=tmp_path / "far", tau=0.1, risk_warmup=0.0, **SMALL)
    assert "atoms are too far apart for this tau" in caplog.text
    row = json.loads((tmp_path / "far" / "metrics.jsonl").read_text().splitlines()[-1])
    # A spacing of .67, widened at most over the ten steps of an episode.
    assert 0.1 < row["support_std"] < 0.67 * (10 / 6) ** 0.5
    assert row["support_premium"] > 0.5 * row["support_std"]
    assert 0.0 < row["exponential_error"] < 150.0  # exp of the bounded exponents
