"""Figures: files of the right kind, figures' own computations, no trace in global state. Looks are judged by eye."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from averse.errors import AverseError
from averse.evaluation import Episodes, summarise
from averse.evaluation.calibration import calibrate_quantiles
from averse.report import plots
from averse.report.style import line_styles
from averse.statistics import cvar

GENERATOR = np.random.default_rng(0)


def make_returns(seeds=3, episodes=400, crash=0.05) -> list[np.ndarray]:
    return [GENERATOR.normal(size=episodes) - 8 * (GENERATOR.random(episodes) < crash) for _ in range(seeds)]


def make_episodes(parts: list[np.ndarray]) -> Episodes:
    n = sum(map(len, parts))
    seeds = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Episodes(seeds, np.arange(n), np.concatenate(parts), np.ones(n), np.zeros(n, bool))


RETURNS = {"neutral": make_returns(), "averse": make_episodes(make_returns(crash=0.01)), "flat": np.arange(50.0)}
STEPS = np.linspace(0, 2e6, 30)
CURVES = {"neutral": (STEPS, GENERATOR.normal(size=(5, 30))), "one seed": (STEPS, np.sin(STEPS))}
SUMMARIES = {name: summarise(make_episodes(make_returns()), resamples=50) for name in ("neutral", "averse")}
REALISED = GENERATOR.normal(size=500)
CALIBRATION = {"critic": calibrate_quantiles(np.tile(np.linspace(-2, 2, 20), (500, 1)), REALISED)}
FIGURES = [
    (plots.plot_returns, RETURNS),
    (plots.plot_cvar_curves, RETURNS),
    (plots.plot_learning_curves, CURVES),
    (plots.plot_tradeoff, SUMMARIES),
    (plots.plot_calibration, CALIBRATION),
]


def test_a_tradeoff_of_any_two_figures_with_its_sweep_joined(drawn, tmp_path):
    plots.plot_tradeoff(SUMMARIES, tmp_path / "x.png", connect=[["averse", "neutral"], []], x="std", y="mean")
    (axes,) = drawn[0].axes
    assert axes.get_ylabel() == "mean return"
    expected = [[SUMMARIES[name].std.value, SUMMARIES[name].mean.value] for name in ("averse", "neutral")]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), expected)
    with pytest.raises(AverseError, match="collision_rate"):
        plots.plot_tradeoff(SUMMARIES, tmp_path / "x.png", y="colision_rate")


@pytest.mark.parametrize(("plot", "data"), FIGURES)
def test_writes_png_and_svg_whole(plot, data, tmp_path):
    plot(data, tmp_path / "new" / "figure.png", title="Title")
    plot(data, tmp_path / "figure.svg")
    with Image.open(tmp_path / "new" / "figure.png") as image:
        assert image.size[0] > 1000
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20
    svg = (tmp_path / "figure.svg").read_text()
    assert svg.startswith("<?xml")
    assert "<svg" in svg
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.svg", "new"]


@pytest.mark.parametrize(("plot", "data"), FIGURES)
def test_bad_input_is_one_line(plot, data, tmp_path):
    with pytest.raises(AverseError, match="to plot"):
        plot({}, tmp_path / "figure.png")
    with pytest.raises(AverseError, match="must end in"):
        plot(data, tmp_path / "figure.jpeg")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that would have been saved."""
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize("values", [np.full(30, 2.0), np.array([1.0, 2.0] * 20), np.array([5.0, 6.0])])
def test_returns_without_spread(values, drawn):
    """Nothing is lost at the edges: each histogram holds every episode, and the tail is marked within the axes."""
    plots.plot_returns({"a": values, "b": values}, "x.png")
    top, bottom = drawn[0].axes
    stairs = [patch.get_data() for patch in top.patches if hasattr(patch, "get_data")]
    assert [data.values.sum() for data in stairs] == pytest.approx([1, 1])
    low, high = top.get_xlim()
    assert low <= values.min() <= values.max() <= high
    assert low < high
    assert [mark.get_xdata()[0] for mark in marks(top)] == pytest.approx([values.min()] * 2)
    assert bottom.lines[0].get_ydata()[-1] == 1
    plots.plot_cvar_curves({"a": values}, "x.png")
    alphas, curve = drawn[1].axes[0].lines[0].get_data()
    np.testing.assert_allclose(curve, [cvar(values, alpha) for alpha in alphas])
    assert curve[-1] == pytest.approx(values.mean())


def marks(axes):
    """The triangles at the means of the tails."""
    return [line for line in axes.lines if line.get_marker() == "^" and len(line.get_xdata())]


def test_more_policies_than_colours(tmp_path):
    plots.plot_returns({f"policy {i}": make_returns(1, 100) for i in range(10)}, tmp_path / "figure.png")
    styles = line_styles(map(str, range(20)))
    assert len({(style["color"], str(style["linestyle"])) for style in styles.values()}) == 20


def test_the_figure_shows_what_was_computed(tmp_path, drawn):
    """The triangles stand at the CVaR, the histogram has the mass of all episodes, the curve the values of cvar."""
    values = np.concatenate(make_returns())
    plots.plot_returns({"a": values}, tmp_path / "figure.png")
    top, bottom = drawn[0].axes
    assert [mark.get_xdata()[0] for mark in marks(top)] == [pytest.approx(cvar(values, 0.05))]
    (stairs,) = [patch for patch in top.patches if hasattr(patch, "get_data")]
    assert stairs.get_data().values.sum() == pytest.approx(1)
    x, y = bottom.lines[0].get_data()
    assert np.interp(0.05, y, x) == pytest.approx(np.quantile(values, 0.05), abs=0.1)
    plots.plot_cvar_curves({"a": values}, tmp_path / "figure.png")
    alphas, curve = drawn[1].axes[0].lines[0].get_data()
    np.testing.assert_allclose(curve, [cvar(values, alpha) for alpha in alphas])


def test_interquartile_band():
    values = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, np.nan], [100.0, np.nan]])
    middle, low, high = plots.interquartile_band(values)
    assert middle == pytest.approx([2.5, 1.0])
    assert low[0] < 2.5 < high[0]
    assert np.isnan([low[1], high[1]]).all()


def test_learning_curves_check_shapes(tmp_path):
    with pytest.raises(AverseError, match="30 points"):
        plots.plot_learning_curves({"a": (STEPS, np.zeros((3, 29)))}, tmp_path / "figure.png")


def test_pyplot_is_not_imported():
    code = "import sys, averse.report.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
