"""The picture of a distribution and its measures: what is in it, and what it refuses."""

import re

import numpy as np
import pytest

from averse.errors import AverseError
from averse.report.risk import plot_risk
from averse.statistics import Estimate

VALUES = np.random.default_rng(0).normal(size=500)
MEASURES = {"mean": Estimate(0.0, -0.1, 0.1), "cvar:0.05": Estimate(-2.0, -2.3, -1.7), "worst-case": Estimate(-3.0)}


def test_every_measure_and_the_tail_are_named(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters as letters
        plot_risk(VALUES, MEASURES, tmp_path / "risk.svg", tail=0.1, title="Losses", xlabel="gain")
    text = (tmp_path / "risk.svg").read_text()
    for words in ("Losses", "gain", "worst 10%", "mean: 0.00 [-0.10, 0.10]", "cvar:0.05: -2.00 [-2.30, -1.70]"):
        assert words in text
    assert "worst-case: -3.0" in text


def test_nothing_is_cut_off_and_equal_values_are_drawn(tmp_path):
    plot_risk(np.full(20, 3.0), MEASURES, tmp_path / "risk.png")
    assert (tmp_path / "risk.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_data_give_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot_risk(VALUES, MEASURES, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"values": [1.0, np.nan]}, "values must be finite, but value 1 of 2 is nan"),
        ({"values": []}, "values is empty"),
        ({"measures": {}}, "measures is empty"),
        ({"measures": {"mean": 0.5}}, "measures"),
        ({"tail": 0.0}, "tail must be a number in (0, 1]"),
        ({"title": 3}, "title must be a text"),
        ({"path": "risk.bmp"}, "must end in .png, .svg or .pdf"),
    ],
)
def test_what_is_refused(tmp_path, changed, words):
    given = {"values": VALUES, "measures": MEASURES, "path": tmp_path / "risk.png"} | changed
    with pytest.raises(AverseError, match=re.escape(words)):
        plot_risk(**given)
    assert list(tmp_path.iterdir()) == []
