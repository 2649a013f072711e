"""The one style of figures: distinct lines, formats by suffix, the same file from the same data."""

import matplotlib
import numpy as np
import pytest

from averse.errors import AverseError
from averse.report import style


def figure():
    made, ((axes,),) = style.panels(title="Title")
    axes.plot(np.arange(5), np.arange(5.0) ** 2, label="a", **style.line_styles(["a"])["a"])
    style.legend_within(axes, "upper left")
    return made


def test_the_same_data_give_the_same_file(tmp_path):
    for suffix in style.SUFFIXES:
        for name in ("one", "two"):
            style.save(figure(), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert matplotlib.rcParams["svg.hashsalt"] is None  # nothing is left behind for others' figures


def test_a_suffix_that_is_no_figures_is_refused_before_anything_is_written(tmp_path):
    for name in ("figure.jpeg", "figure"):
        with pytest.raises(AverseError, match=r"must end in \.png, \.svg or \.pdf") as error:
            style.save(figure(), tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(AverseError) as error:
        style.check_suffix("x" * 5000)
    assert len(str(error.value)) < 200
    assert style.check_suffix("a/B.PNG") == "png"
    assert not list(tmp_path.iterdir())


def test_panels_are_a_grid_whatever_their_number():
    made, axes = style.panels(2, 3, (6, 4), heights=(2, 1), sharex=True)
    assert axes.shape == (2, 3)
    assert made.get_size_inches().tolist() == [6, 4]
    assert style.panels()[1].shape == (1, 1)


def test_colours_and_numbers_in_words():
    assert style.rgb("#0072B2") == (0, 114, 178)
    styles = style.line_styles(map(str, range(32)))
    assert len({(each["color"], str(each["linestyle"])) for each in styles.values()}) == 32
    assert [style.thousands(x) for x in (0.5, 999, 1500, 2e6, -3e9)] == ["0.5", "999", "1.5k", "2M", "-3B"]
    assert [style.percent(x) for x in (0.001, 0.125, 1)] == ["0.1%", "12.5%", "100%"]
