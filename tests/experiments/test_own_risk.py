"""`averse risk`: figures of a file's column against formulas written by hand, and one line for every bad file."""

import json
import re

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import bootstrap

import averse
from averse.cli import main
from averse.experiments.own_risk import measures_of, read_column

RETURNS = np.random.default_rng(0).gumbel(100.0, 30.0, 400)


def worst(values, alpha):
    """The mean of the worst `alpha`, sample by sample; the last one counts in part."""
    left, total = alpha * len(values), 0.0
    for value in np.sort(values):
        share = min(1.0, left)
        total, left = total + share * value, left - share
    return total / (alpha * len(values))


def written(tmp_path, text):
    path = tmp_path / "numbers.csv"
    path.write_text(text)
    return path


def table(tmp_path, delimiter=","):
    rows = "\n".join(delimiter.join((str(k), repr(float(x)), "a b")) for k, x in enumerate(RETURNS))
    return written(tmp_path, delimiter.join(("day", "return", "note")) + "\n" + rows + "\n")


def test_measures_of_arrays_in_one_line():
    """As the page says: of any array of samples, to single precision."""
    assert float(averse.risk.CVaR(0.0525)(RETURNS)) == pytest.approx(worst(RETURNS, 0.0525), rel=1e-6)
    entropic = -30 * (logsumexp(-RETURNS / 30) - np.log(len(RETURNS)))
    assert float(averse.risk.Entropic(30.0)(RETURNS)) == pytest.approx(entropic, rel=1e-6)
    assert float(averse.risk.CVaR(0.1)(list(RETURNS))) == float(averse.risk.CVaR(0.1)(RETURNS))
    two = np.stack([RETURNS, RETURNS[::-1] - 5])
    assert np.asarray(averse.risk.CVaR(0.1)(two)).shape == (2,)  # the last axis is that of samples


@pytest.mark.parametrize(
    ("values", "words"),
    [([], "of shape [0]"), ([1.0, np.nan], "1 of the 2 numbers are nan"), (["a"], "not list"), (3.0, "of shape []")],
)
def test_what_are_no_samples(values, words):
    with pytest.raises(averse.AverseError, match=re.escape(words)):
        averse.risk.CVaR(0.05)(values)


def test_figures_and_intervals(tmp_path, capsys):
    """Intervals against scipy's bootstrap, whose draws are others: within a tenth of their width."""
    path = table(tmp_path)
    assert main(["risk", str(path), "--column", "return", "--measure", "cvar:0.0525,entropic:30", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["column"], told["rows"]) == ("return", 400)
    formulas = {
        "mean": np.mean,
        "cvar:0.0525": lambda x: worst(x, 0.0525),
        "entropic:30": lambda x: -30 * (logsumexp(-x / 30) - np.log(len(x))),
    }
    assert told["measures"].keys() == formulas.keys()
    for name, formula in formulas.items():
        found = told["measures"][name]
        assert found["value"] == pytest.approx(formula(RETURNS), rel=1e-9)
        interval = bootstrap(
            (RETURNS,), formula, method="percentile", n_resamples=2000, vectorized=False, rng=1
        ).confidence_interval
        width = interval.high - interval.low
        assert found["low"] == pytest.approx(interval.low, abs=0.1 * width)
        assert found["high"] == pytest.approx(interval.high, abs=0.1 * width)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(tmp_path, delimiter):
    name, values = read_column(table(tmp_path, delimiter), "return")
    np.testing.assert_array_equal(values, RETURNS)
    assert name == "return"


def test_a_picture_and_a_table(tmp_path, capsys):
    path, picture = table(tmp_path), tmp_path / "deep" / "risk.png"
    assert main(["risk", str(path), "--column", "return", "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert "cvar:0.05" in told
    assert "return: 400 rows" in told


def test_measures_with_commas_in_them():
    assert list(measures_of(("cvar:0.05,entropic:tau=3", "mean,wang:0.75"))) == [
        "cvar:0.05", "entropic:3", "mean", "wang:0.75",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("", (), "is empty: its first row must name its columns"),
        ("return\n", (), "has no rows below the names of its columns"),
        ("day,return\n1,2\n", (), "choose one of the columns"),
        ("day,return\n1,2\n", ("--column", "retrun"), "unknown column of {path} 'retrun'; did you mean return?"),
        ("return\n1\nabc\n", (), "line 3 of {path}: return must be a number, not 'abc'"),
        ("return\n1\nnan\n", (), "line 3 of {path}: return must be finite, not nan"),
        ("return\n1\n-inf\n", (), "return must be finite, not -inf"),
        ("a,return\n1,2\n3,\n", ("--column", "return"), "line 3 of {path}: return is missing"),
        ("a,return\n1,2\n3\n", ("--column", "return"), "line 3 of {path} has 1 cells, and its first row names 2"),
        ("a,a\n1,2\n", ("--column", "a"), "has 2 columns of the name 'a'"),
        ("return\n1\n", ("--measure", "cvar:0"), "alpha of cvar must be a number in (0, 1]"),
        ("return\n1\n", ("--measure", "cvr:0.1"), "did you mean cvar"),
        ("return\n1\n", ("--measure",), "--measure needs a risk measure such as cvar:0.05"),
        ("return\n1\n", ("--out", "risk.bmp"), "must end in .png, .svg or .pdf"),
        ('return\n"1\n', (), "cannot be read as CSV"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path, capsys, text, flags, words):
    path = written(tmp_path, text)
    assert main(["risk", str(path), *flags]) == 2
    told = capsys.readouterr().err
    assert words.format(path=path) in told
    assert len(told.splitlines()) == 1


def test_files_that_are_none(tmp_path, capsys):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    for path, words in (
        (tmp_path, "Is a directory"),
        (tmp_path / "no.csv", "No such file"),
        (tmp_path / "binary.csv", "utf-8"),
    ):
        assert main(["risk", str(path)]) == 2
        assert f"{path} cannot be read as CSV" in (told := capsys.readouterr().err)
        assert words in told
