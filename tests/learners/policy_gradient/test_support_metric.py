"""A support that is too narrow is told of: as a metric of each update and as a warning at the end."""

import json
import logging

import averse

SMALL = {"num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (16,)}


def clamped(path) -> float:
    return json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["clamped_mass"]


def test_a_narrow_support_is_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="averse"):
        averse.train("corridor", "rqe-mappo", steps=640, out=tmp_path / "wide", **SMALL)
        assert not caplog.records
        averse.train("corridor", "rqe-mappo", steps=640, out=tmp_path / "narrow", support=(0.0, 2.0), **SMALL)
    assert "support is too narrow" in caplog.text
    assert clamped(tmp_path / "wide") < 0.1 < clamped(tmp_path / "narrow")
