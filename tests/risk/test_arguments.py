"""Whatever is handed to a measure, to `parse` and to distributions: the right number, or one line that names it."""

import inspect
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse import risk
from averse.errors import AverseError
from averse.risk import Blend, CVaR, Entropic, Expectation, MeanVariance, Samples

RETURNS = [3, -1, 4, 1, -5, 9, 2, 6, 5, 3]


@pytest.mark.parametrize(
    "returns",
    [
        RETURNS,
        tuple(RETURNS),
        range(10),
        np.array(RETURNS, np.int8),
        np.abs(RETURNS).astype(np.uint8),
        np.array(RETURNS, np.float16),
        np.array(RETURNS, np.float64),
        np.array(RETURNS, bool),
        np.array(RETURNS)[::-1],
        jnp.array(RETURNS),
        jnp.array(RETURNS, jnp.bfloat16),
        np.ma.masked_array(RETURNS),
        [np.float32(1.5), 2, True],
        [float("-inf"), 1.0],
    ],
    ids=lambda returns: f"{type(returns).__name__} {getattr(returns, 'dtype', '')}",
)
def test_plain_numbers_stand_for_samples(returns):
    numbers = np.asarray(returns, np.float64)
    worst = np.sort(numbers)[: max(1, len(numbers) // 5)]
    for found in (CVaR(0.2)(returns), Samples(numbers, np.ones(len(numbers)))):
        value = found if isinstance(found, jax.Array) else CVaR(0.2)(found)
        expected = numbers.min() if len(numbers) < 5 else worst.mean()
        assert jnp.issubdtype(value.dtype, jnp.floating)
        np.testing.assert_allclose(np.float64(value), expected, rtol=1e-2)


def test_batches_of_plain_numbers():
    batch = np.arange(24).reshape(2, 3, 4)
    found = CVaR(0.5)(batch)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, batch[..., :2].mean(-1))
    np.testing.assert_allclose(CVaR(0.5)(batch.tolist()), found)
    np.testing.assert_allclose(jax.jit(CVaR(0.5))(batch), found)
    np.testing.assert_allclose(CVaR(np.array([0.25, 1.0]))(np.array([[0, 1, 2, 3]] * 2)), [0.0, 1.5])


NO_RETURNS = (
    "x", "1.5", b"1", None, {1.0, 2.0}, {"a": 1}, [[1.0], [1.0, 2.0]], ["a", "b"], [1j, 2.0], object(), 3.0, [],
    np.zeros((2, 0)), [None, 1.0], [np.nan, 1.0], np.array(["1"]), CVaR, len,
)  # fmt: skip


@pytest.mark.parametrize("returns", NO_RETURNS)
def test_what_is_no_distribution_is_one_line(returns):
    for measure in (CVaR(0.05), Entropic(1.0), risk.parse("0.5 of evar:0.1")):
        for call in (measure, lambda returns, m=measure: m.influence(returns, [0.0])):
            with pytest.raises(AverseError, match="distribution must be a Distribution, or an array") as caught:
                call(returns)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("z", ["x", None, [1j], [[1.0], [1.0, 2.0]], {"a": 1}])
def test_influence_of_what_is_no_number(z):
    with pytest.raises(AverseError, match="z must be numbers, neither ragged nor of anything else, not"):
        CVaR(0.3).influence([1.0, 2.0, 3.0], z)


@pytest.mark.parametrize(
    "bad", ["x", "0.1", None, True, [], [0.1, "a"], 1j, np.nan, [[0.1], [0.1, 0.2]], {}, np.array(["0.1"])]
)
@pytest.mark.parametrize(
    ("build", "name"), [(CVaR, "alpha"), (Entropic, "tau"), (MeanVariance, "weight"), (risk.Wang, "eta")]
)
def test_numbers_of_measures(build, name, bad):
    with pytest.raises(AverseError, match=f"^{name} of .* must be .*, not ") as caught:
        build(bad)
    assert "\n" not in str(caught.value)


def test_numbers_of_any_kind_are_numbers():
    for alpha in (0.25, np.float32(0.25), jnp.float32(0.25), np.array(0.25)):
        assert float(CVaR(alpha)([0, 1, 2, 3])) == 0.0
    assert float(Entropic(1)([2, 2])) == float(Entropic(np.int32(1))([2, 2])) == 2.0
    for other in (Fraction(1, 4), Decimal("0.25")):  # neither is jax's; refused rather than a failure later on
        with pytest.raises(AverseError, match="alpha of cvar must be a number in"):
            CVaR(other)


NO_MEASURES = (
    None, 3, 0.1, True, b"cvar:0.1", ["cvar:0.1"], CVaR, {}, "", ":", " of ", "cvar:0.1:2", "cvar:", "cvar:x", "0.1",
    "x of cvar:0.1", "2 of cvar:0.1", "nan of mean", "0.5 of", "cvar:0.1,0.2", "mean:1", "cvar:alpha=", "cvar:=",
    "entropic:1e999x", "cvar\n:0.1x",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_MEASURES)
def test_what_names_no_measure(text):
    with pytest.raises(AverseError) as caught:
        risk.parse(text)
    assert "\n" not in str(caught.value)
    for call in (risk.check_measure, risk.text_of):
        with pytest.raises(AverseError):
            call(text)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Blend(3, 0.5), "measure of blend must be an averse.risk.RiskMeasure, not 3"),
        (lambda: Blend("cvar:0.1", 0.5), "measure of blend must be an averse.risk.RiskMeasure, not 'cvar:0.1'"),
        (lambda: Blend(CVaR(0.1), 1.5), r"fraction of blend must be a number in \[0, 1\], not 1.5"),
        (lambda: Blend(CVaR(0.1), "x"), r"fraction of blend must be a number in \[0, 1\], not 'x'"),
        (lambda: risk.text_of("cvar:0.1"), "measure must be an averse.risk.RiskMeasure, not 'cvar:0.1'"),
        (lambda: risk.uniform_support("a", 1.0, 5), "low of a support must be a finite number, not 'a'"),
        (lambda: risk.uniform_support(0.0, np.inf, 5), "high of a support must be a finite number, not inf"),
        (lambda: risk.uniform_support(0.0, 1.0, 2.5), "num_atoms of a support must be a whole number >= 2, not 2.5"),
        (lambda: risk.uniform_support(1.0, 1.0, 5), "a support needs low < high, not 1 and 1"),
        (lambda: risk.register("mine", 3), "mine is no risk measure"),
        (lambda: risk.register(3, CVaR), "must be|3"),
        (lambda: risk.describe(None), "unknown risk measure|must be"),
    ],
)
def test_messages(call, message):
    with pytest.raises(AverseError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_distribution_is_taken_as_it_is():
    distribution = Samples(RETURNS)
    assert risk.as_distribution(distribution) is distribution
    assert Expectation()(distribution) == Expectation()(RETURNS)


SHORT, LONG = np.ones(3, np.float32), np.ones((4, 2), np.float32)


@pytest.mark.parametrize("bad", ["x", None, object(), [1j], [[1.0], [1.0, 2.0]], {}, np.array(["1"])])
def test_functions_of_arrays_name_what_is_no_number(bad):
    for function, name in (
        (risk.gae, "rewards"),
        (risk.lambda_returns, "rewards"),
        (risk.second_moment_targets, "lam"),
    ):
        arguments = dict.fromkeys(inspect.signature(function).parameters, SHORT)
        with pytest.raises(AverseError, match=f"^{name} must be numbers, neither ragged nor of anything else, not "):
            function(**{**arguments, name: bad})


@pytest.mark.parametrize("function", [risk.gae, risk.lambda_returns, risk.cross_entropy, risk.project])
def test_functions_of_arrays_tell_shapes_that_do_not_fit(function):
    names = list(inspect.signature(function).parameters)
    arguments = {**dict.fromkeys(names, SHORT), names[1]: LONG}
    for call in (function, jax.jit(function)):
        with pytest.raises(
            AverseError, match=rf"{function.__name__} cannot compute with .*{names[1]} \[4, 2\]"
        ) as told:
            call(**arguments)
        assert "\n" not in str(told.value)


def test_functions_of_distributions_name_what_is_none():
    samples = Samples(RETURNS)
    with pytest.raises(AverseError, match=r"^target must be an averse.risk.Distribution, not"):
        risk.influence_advantage(CVaR(0.1), samples, SHORT)
    with pytest.raises(AverseError, match=r"^measure must be an averse.risk.RiskMeasure, not 'cvar:0.1'"):
        risk.influence_advantage("cvar:0.1", samples, samples)
    with pytest.raises(AverseError, match=r"^gamma must be one number, not an array of shape \[3\]"):
        risk.projection_std(0.1, SHORT)


def test_lists_are_arrays_to_functions_of_arrays():
    lists = [[1.0, 2.0], [0.5, 0.5], [0.9, 0.9], [1, 1]]
    np.testing.assert_array_equal(
        risk.lambda_returns(*lists, 0.5), risk.lambda_returns(*(jnp.array(x, float) for x in lists), 0.5)
    )
