"""Returns that are infinite, or weigh nothing: each measure is what it tends to as such a return tends there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.errors import AverseError
from averse.risk import Categorical, CVaR, Distortion, Entropic, EVaR, Quantiles, Samples, WorstCase, parse

INF = np.inf
MEASURES = (
    "mean", "entropic:1", "entropic:inf", "cvar:0.1", "cvar:0.5", "cvar:1", "var:0.05", "mean-variance:0.5",
    "mean-variance:0", "wang:0.75", "wang:-0.75", "cpw:0.71", "cpw:1", "evar:0.1", "evar:0.5", "evar:1", "worst-case",
    "0.5 of cvar:0.1", "0 of entropic:1", "1 of evar:0.5", "0.3 of mean-variance:0.5",
)  # fmt: skip
worth = jax.jit(lambda measure, distribution: measure(distribution))


@pytest.mark.parametrize("text", MEASURES)
def test_a_ruinous_sample_makes_everything_ruinous(text):
    measure = parse(text)
    returns = np.array([[-INF, 1, 2, 3], [3, -INF, 2, 1], [-INF, -INF, -INF, -INF], [1, 2, 3, 2]])  # rows do not mix
    for distribution in (Samples(returns), Quantiles(returns)):
        found = worth(measure, distribution)
        np.testing.assert_array_equal(found[:3], -INF)
        np.testing.assert_allclose(found[3], worth(measure, Samples(np.tile([1.0, 2, 3, 2], (4, 1))))[3], rtol=1e-5)


THREE = np.array([1.0, 2.0, 3.0])
WITH_INF = {  # of 1, 2, 3 and inf, equally likely
    "mean": INF,
    "entropic:1": -np.log(np.exp(-THREE).sum() / 4),
    "entropic:inf": INF,
    "cvar:0.5": 1.5,
    "cvar:0.75": 2.0,
    "cvar:0.8": INF,
    "cvar:1": INF,
    "var:0.75": 3.0,
    "var:0.8": INF,
    "mean-variance:0": INF,
    "mean-variance:0.5": -INF,  # variance grows faster than the mean
    "wang:0.75": INF,
    "cpw:0.71": INF,
    "evar:0.75": 2.0,  # nature may leave inf out, and then has nothing left to distort with
    "evar:0.9": INF,
    "evar:1": INF,
    "worst-case": 1.0,
    "0.5 of cvar:0.5": INF,
    "1 of cvar:0.5": 1.5,
    "0.5 of mean-variance:0.5": -INF,
}


@pytest.mark.parametrize("text", WITH_INF)
def test_a_blissful_sample_counts_where_it_has_weight(text):
    weights = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 1, 1, 0, 0]])
    found = worth(parse(text), Samples([[2, INF, 1, 3, 0], [1, INF, 3, 2, -INF], [-INF, INF, INF, 0, 1]], weights))
    np.testing.assert_allclose(found, [WITH_INF[text], WITH_INF[text], INF], rtol=1e-5)


def test_evar_with_inf_is_that_of_the_rest_at_a_larger_level(float64):
    found = worth(EVaR(0.3), Samples([1.0, 2.0, 3.0, INF]))
    np.testing.assert_allclose(found, worth(EVaR(0.4), Samples(THREE)), rtol=1e-6)
    # As a supremum over tolerances, by brute force.
    taus = np.geomspace(1e-2, 1e2, 20_000)
    entropic = -taus * np.log(np.exp(-THREE / taus[:, None]).sum(-1) / 4)
    np.testing.assert_allclose(found, (entropic + taus * np.log(0.3)).max(), rtol=1e-6)


def test_entropic_and_cvar_tend_to_what_they_are_at_infinity(float64):
    """Finite samples that go there."""
    for measure in (Entropic(2.0), CVaR(0.4), EVaR(0.4), CVaR(0.8)):
        *far, limit = (float(worth(measure, Samples([1.0, 2.0, 3.0, end]))) for end in (1e3, 1e5, INF))
        assert (far[1] == pytest.approx(limit, rel=1e-6)) if np.isfinite(limit) else far[1] > 90 * far[0]


def test_both_ends_at_once(precision):
    returns = [-INF, 1.0, 2.0, 3.0, INF]
    for text in ("entropic:1", "cvar:0.2", "cvar:0.7", "var:0.2", "evar:0.9", "mean-variance:0.5", "worst-case"):
        assert worth(parse(text), Samples(returns)) == -INF, text
    assert worth(parse("var:0.9"), Samples(returns)) == INF
    for text in ("mean", "cvar:0.9", "cvar:1", "entropic:inf", "wang:0.75", "mean-variance:0"):  # -inf + inf
        assert np.isnan(worth(parse(text), Samples(returns))), text


@pytest.mark.parametrize("text", [*MEASURES, "var:1"])
def test_samples_without_weight_do_not_count(text):
    values, weights = np.array([INF, 1.0, -INF, 2.0, INF, 3.0]), np.array([0, 1, 0, 2, 0, 5])
    finite = np.where(np.isinf(values), 2.0, values)
    found = worth(parse(text), Samples(np.stack([values, -values, finite, -finite]), weights))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:2], found[2:], rtol=1e-5, atol=1e-5)


def test_a_certain_quantile_of_many_samples_is_the_best_possible_one():
    """Whatever cumulated probabilities in single precision come to."""
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=200_000), INF)
    weights = np.append(rng.random(200_000), 0.0)
    assert worth(parse("var:1"), Samples(values, weights)) == np.float32(values[:-1].max())


def test_gradients_pass_by_samples_without_weight():
    def total(values, weights):
        return sum(parse(text)(Samples(values, weights)) for text in ("entropic:1", "cvar:0.5", "mean-variance:0.3"))

    weights = jnp.array([0.0, 1.0, 1.0, 0.0])
    slope = jax.jit(jax.grad(total))
    found, expected = slope(np.array([-INF, 1.0, 2.0, INF]), weights), slope(np.array([0.0, 1.0, 2.0, 5.0]), weights)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_distortion_that_never_looks_at_the_best_is_not_moved_by_it():
    class WorseHalf(Distortion):
        def distort(self, level, rest):
            return jnp.minimum(2 * level, 1)

    np.testing.assert_allclose(worth(WorseHalf(), Samples([1.0, 2.0, 3.0, INF])), 1.5, rtol=1e-6)
    assert worth(WorseHalf(), Samples([1.0, -INF, 3.0, INF])) == -INF


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Samples([1.0, 2.0], [0, 0]), "weights must not all be 0$"),
        (lambda: Samples(np.ones((2, 2)), [[1, 1], [0, 0]]), r"weights must not all be 0, as those of weights\[1\]"),
        (lambda: Samples([1.0, 2.0], [2, -1]), r"weights must be finite and not negative, but weights\[1\] is -1"),
        (lambda: Samples([1.0, 2.0], [1, np.nan]), r"weights must be finite and not negative, but weights\[1\] is nan"),
        (lambda: Samples([1.0, 2.0], [1, INF]), r"weights must be finite and not negative, but weights\[1\] is inf"),
        (lambda: Samples([1.0, 2.0], [1, 1, 1]), r"values and weights must have shapes that fit, not \[2\] and \[3\]"),
        (lambda: Samples([1.0, np.nan]), "values must be numbers, but 1 of the 2 are nan"),
        (lambda: Samples([]), r"values must be numbers \[..., N\], at least one"),
        (lambda: Samples(3.0), r"values must be numbers \[..., N\], at least one"),
        (lambda: Samples("abc"), "values must be numbers, neither ragged nor of anything else, not str"),
        (lambda: Samples([1.0, 2.0], ["a", "b"]), "weights must be numbers, neither ragged"),
        (lambda: Quantiles([[1.0], [1.0, 2.0]]), "values must be numbers, neither ragged"),
        (lambda: Quantiles([np.nan]), "values must be numbers, but 1 of the 1 are nan"),
        (lambda: Categorical([0.0, INF], [0.5, 0.5]), r"atoms must be finite; .* make Samples\(values, weights\)"),
        (
            lambda: Categorical([0.0, 1.0], [0.5, -0.5]),
            r"probs must be finite and not negative, but probs\[1\] is -0.5",
        ),
        (lambda: Categorical([0.0, 1.0], [2.0, 3.0]), "probs must sum to one over the last axis, not to 5"),
        (lambda: Categorical([0.0, 1.0], [0.0, 0.0]), "probs must not all be 0"),
        (lambda: Categorical([0.0, 1.0], [[1j, 0.0]]), "probs must be numbers"),
        (lambda: Categorical.from_logits([0.0, 1.0], None), "logits must be numbers"),
    ],
)
def test_what_is_no_distribution_is_refused(build, message):
    with pytest.raises(AverseError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_weights_of_any_numbers_are_normalised():
    for weights in ([1, 3], np.array([1, 3], np.int8), (0.25, 0.75), jnp.array([2.0, 6.0])):
        np.testing.assert_allclose(parse("mean")(Samples([0, 4], weights)), 3.0)
    assert WorstCase()(Samples([0, 4], [False, True])) == 4
