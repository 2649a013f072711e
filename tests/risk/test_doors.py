"""How risk measures come in from outside: by name, by import path, from installed packages; and plain arrays."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outside_measures import Power, Semideviation, Tail

from averse import risk
from averse.errors import AverseError
from averse.risk import (
    CPW,
    Blend,
    Categorical,
    CVaR,
    Entropic,
    Expectation,
    MeanVariance,
    RiskMeasure,
    Samples,
    VaR,
    Wang,
    as_distribution,
    parse,
    register,
    text_of,
)
from averse.risk.registry import REGISTRY

from . import references


@pytest.fixture
def registered(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(REGISTRY, "_registered", dict(REGISTRY._registered))


def test_a_registered_class_is_one_of_them(registered):
    register("semideviation", Semideviation)
    assert "semideviation" in risk.names()
    assert parse("Semideviation:0.3") == parse("semideviation:weight=0.3") == Semideviation(0.3)
    assert parse("semideviation") == Semideviation(0.5)
    assert str(Semideviation(0.3)) == "semideviation:0.3"
    assert text_of(Semideviation(0.3)) == "semideviation:0.3"
    assert text_of(Semideviation(0.3), importable=True) == "outside_measures:Semideviation:0.3"
    with pytest.raises(AverseError, match="did you mean semideviation"):
        parse("semideviatoin:0.3")


def test_several_numbers_come_in_any_order(registered):
    register("tail", Tail)
    expected = Tail(weight=2.0, alpha=0.1)
    for text in ("tail:weight=2,alpha=0.1", "tail: alpha=0.1, weight=2", "tail:2,0.1", "tail:2,alpha=0.1"):
        assert parse(text) == expected
    assert str(expected) == "tail:weight=2,alpha=0.1"
    assert parse(str(expected)) == expected


def test_an_importable_class_needs_no_name():
    assert parse("outside_measures:Semideviation") == Semideviation()
    assert parse("outside_measures:Semideviation:0.25") == Semideviation(0.25)
    assert parse("outside_measures:Tail:alpha=0.2,weight=1") == Tail(1.0, 0.2)
    for measure in (Semideviation(0.25), Tail(1.0, 0.2), Blend(Tail(1.0, 0.2), 0.5)):
        assert parse(str(measure)) == parse(text_of(measure, importable=True)) == measure
    assert str(Tail(1.0, 0.2)) == "outside_measures:Tail:weight=1,alpha=0.2"


def test_an_installed_package_offers_its_own(tmp_path, monkeypatch):
    package = tmp_path / "prudent-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: prudent\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[averse.measures]\nprudent = prudent:Prudent\n")
    (tmp_path / "prudent.py").write_text(
        "from averse.risk import RiskMeasure\n\n\nclass Prudent(RiskMeasure):\n    weight: float = 2.0\n\n"
        "    def value(self, distribution):\n        return distribution.mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(REGISTRY.__dict__, "_offered", raising=False)
    try:
        assert "prudent" in risk.names()
        measure = parse("prudent:3")
        assert str(measure) == text_of(measure, importable=True) == "prudent:3"
        assert measure(jnp.arange(3.0)) == 1
    finally:
        sys.modules.pop("prudent", None)
        REGISTRY.__dict__.pop("_offered", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outside_measures:Tail", "needs a number for weight, alpha, as in outside_measures:Tail:weight=0.5,alpha=0.5"),
        ("outside_measures:Tail:1", "needs a number for alpha"),
        ("outside_measures:Tail:1,alpha=2", r"alpha of outside_measures:Tail must be a number in \(0, 1\], not 2"),
        ("outside_measures:Tail:1,2,3", "takes 2 numbers"),
        ("outside_measures:Tail:1,weight=2", "weight of outside_measures:Tail is given twice"),
        ("outside_measures:Tail:1,beta=2", "called weight, alpha, not 'beta'"),
        ("outside_measures:Gone:1", "cannot be imported"),
        ("nowhere.at.all:Measure", "cannot be imported"),
        ("outside_measures:FAULTS", "derived from averse.risk.RiskMeasure"),
        ("entropc:inf", "did you mean entropic"),
        ("much of cvar:0.1", "the share of a measure must be a number"),
        ("1.5 of cvar:0.1", r"fraction of blend must be a number in \[0, 1\]"),
        ("0.5 of cvr:0.1", "did you mean"),
    ],
)
def test_bad_text_is_one_clear_line(text, message):
    with pytest.raises(AverseError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_bad_registrations():
    with pytest.raises(AverseError, match="built-in"):
        register("cvar", Semideviation)
    with pytest.raises(AverseError, match="derived from"):
        register("mine", Semideviation(0.5))
    with pytest.raises(AverseError, match="a name of risk measures"):
        register("my measure", Semideviation)
    with pytest.raises(AverseError, match="a text such as"):
        parse(0.1)


def test_what_cannot_be_written_down():
    with pytest.raises(AverseError, match="alpha of cvar must be one number"):
        text_of(CVaR(np.array([0.1, 0.2])))
    with pytest.raises(AverseError, match="fraction of blend must be one number"):
        text_of(Blend(CVaR(0.1), np.array([0.1, 0.2])))
    assert str(CVaR(np.array([0.1, 0.2]))) == "cvar:[0.1, 0.2]"


def test_a_blend_is_said_in_words():
    measure = parse("0.4 of var:0.1")
    assert measure == Blend(VaR(0.1), 0.4)
    assert str(measure) == "0.4 of var:0.1"
    assert str(parse("0.5 of 0.5 of mean")) == "0.5 of 0.5 of mean"


def test_a_measure_given_to_parse_is_returned():
    assert parse(CVaR(0.1)) == CVaR(0.1)


def test_plain_numbers_are_equally_weighted_samples():
    returns = np.random.default_rng(0).normal(size=(3, 40))
    for plain in (returns, jnp.asarray(returns), returns.tolist()):
        np.testing.assert_array_equal(CVaR(0.05)(plain), CVaR(0.05)(Samples(jnp.asarray(returns))))
        np.testing.assert_array_equal(
            CVaR(0.05).influence(plain, jnp.zeros(1)), CVaR(0.05).influence(Samples(jnp.asarray(returns)), jnp.zeros(1))
        )
    assert CVaR(0.5)([4, 1, 3, 2]) == 1.5
    assert jax.jit(CVaR(0.5))(jnp.arange(4)) == 0.5
    distribution = Categorical(jnp.arange(2.0), jnp.array([0.5, 0.5]))
    assert as_distribution(distribution) is distribution


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3.0, r"not an array of shape \[\]"),
        (np.zeros((2, 0)), r"not an array of shape \[2, 0\]"),
        (None, "not NoneType"),
        ("cvar", "not str"),
        ([[1.0], [1.0, 2.0]], "not list"),
        ({"return": 1.0}, "not dict"),
        (np.array([1j]), "not ndarray"),
        (np.array([1.0, np.nan]), "1 of the 2 numbers are nan"),
    ],
    ids=str,
)
def test_anything_else_is_refused(given, message):
    with pytest.raises(AverseError, match=message) as caught:
        Entropic(1.0)(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "measure",
    [Expectation(), Entropic(0.7), CVaR(0.3), MeanVariance(0.5), Wang(0.75), CPW(0.71), Blend(CVaR(0.3), 0.4),
     Entropic(np.inf)],
    ids=str,
)  # fmt: skip
def test_the_influence_function_needs_no_closed_form(measure, precision):
    """That of automatic differentiation is the closed form, for points among the values and between them."""
    values, probs = references.random_distributions(0)
    probs = 0.8 * probs + 0.2 / probs.shape[-1]
    z = np.concatenate([values, (values[:, 1:] + values[:, :-1]) / 2], -1)
    if isinstance(measure, Wang | CPW):  # at an atom itself there is a kink
        z = z[:, values.shape[-1] :] + 0.001
        z = np.where((z > values[:, :1]) & (z < values[:, -1:]), z, values.mean(-1, keepdims=True))
    both = jax.jit(
        lambda measure, values, probs, z: (
            measure.influence(Categorical(values, probs), z),
            RiskMeasure.derivative(measure, Categorical(values, probs), z),
        )
    )
    known, found = both(measure, values, probs, z)
    assert found.shape == z.shape
    np.testing.assert_allclose(found, known, rtol=100 * precision, atol=20 * precision)


def test_the_slope_of_a_distortion_needs_no_closed_form(float64):
    class Again(CPW):
        slope = risk.Distortion.slope

    values, probs = references.random_distributions(1)
    distribution, z = Categorical(values, probs), jnp.linspace(-0.5, 0.5, 3)
    np.testing.assert_allclose(Again(0.71).influence(distribution, z), CPW(0.71).influence(distribution, z), rtol=1e-7)


def test_one_number_per_distribution_reaches_measures_from_outside():
    values, probs = references.random_distributions(2, batch=3)
    distribution = Categorical(values, probs)
    for kind in (Semideviation, Power):
        levels = np.array([0.2, 0.5, 0.9])
        apart = [kind(level)(distribution)[row] for row, level in enumerate(levels)]
        np.testing.assert_allclose(kind(levels)(distribution), apart, rtol=1e-5)
