"""Laws of the risk measures, by random distributions, in both precisions where it matters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, ndtri

from averse import risk
from averse.errors import AverseError
from averse.risk import (
    CPW,
    Blend,
    Categorical,
    CVaR,
    Entropic,
    EVaR,
    Expectation,
    MeanVariance,
    Quantiles,
    Samples,
    VaR,
    Wang,
    WorstCase,
    parse,
)

from . import references

MEASURES = [
    Expectation(),
    Entropic(0.3),
    Entropic(float("inf")),
    CVaR(0.1),
    CVaR(0.7),
    CVaR(1.0),
    VaR(0.25),
    MeanVariance(0.5),
    Wang(0.75),
    CPW(0.71),
    EVaR(0.05),
    WorstCase(),
    Blend(VaR(0.1), 0.4),
]
SMOOTH = [measure for measure in MEASURES if not isinstance(measure, VaR | WorstCase | Blend)]
COHERENT_ENOUGH = [measure for measure in MEASURES if not isinstance(measure, MeanVariance)]
seeds = st.integers(0, 10_000)
taus = st.floats(-2, 3).map(lambda exponent: 10**exponent)
modest = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@jax.jit
def evaluate(measure, values, probs):
    return measure(Categorical(values, probs))


@jax.jit
def evaluate_distribution(measure, distribution):
    return measure(distribution)


@jax.jit
def sweep(measure, values, probs):
    return jax.vmap(lambda measure: measure(Categorical(values, probs)))(measure)


@jax.jit
def influence(measure, values, probs, z):
    return measure.influence(Categorical(values, probs), z)


def evaluate_joint(measure, arguments):
    return measure(Categorical.from_logits(arguments[:7], arguments[7:]))


evaluate_joints = jax.jit(jax.vmap(evaluate_joint, (None, 0)))
gradient_of_joint = jax.jit(jax.grad(evaluate_joint, argnums=1))


def close(actual, desired, tolerance, scale=1.0):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(desired), rtol=tolerance, atol=tolerance * scale)


def each(measures):
    return pytest.mark.parametrize("measure", measures, ids=str)


@each(MEASURES)
@modest
@given(seed=seeds, shift=st.floats(-50, 50))
def test_adding_a_constant_adds_it(measure, precision, seed, shift):
    values, probs = references.random_distributions(seed)
    close(evaluate(measure, values + shift, probs), evaluate(measure, values, probs) + shift, precision, 60)


@each(COHERENT_ENOUGH)
@modest
@given(seed=seeds)
def test_a_better_distribution_is_not_valued_less(measure, seed):
    values, probs = references.random_distributions(seed)
    better = values + np.random.default_rng(seed + 1).exponential(0.3, values.shape).cumsum(-1)
    assert np.all(evaluate(measure, better, probs) >= evaluate(measure, values, probs) - 1e-5)


@each(MEASURES)
def test_a_constant_is_worth_itself(measure, precision):
    assert float(evaluate(measure, np.full((8, 9), -1.0), np.full((8, 9), 1 / 9))[0]) == pytest.approx(
        -1, rel=precision
    )


@each([m for m in MEASURES if not isinstance(m, CPW)])
@modest
@given(seed=seeds)
def test_between_the_worst_case_and_the_mean(measure, seed):
    values, probs = references.random_distributions(seed)
    value, mean = evaluate(measure, values, probs), np.sum(values * probs, -1)
    if not isinstance(measure, VaR | Blend):
        assert np.all(value <= mean + 1e-5)
    if not isinstance(measure, MeanVariance):
        assert np.all(value >= evaluate(WorstCase(), values, probs) - 1e-5)


@pytest.mark.parametrize("kind", [Entropic, CVaR, EVaR, Wang, MeanVariance])
@modest
@given(seed=seeds)
def test_monotone_in_its_parameter(kind, precision, seed):
    values, probs = references.random_distributions(seed)
    grid = np.geomspace(1e-3, 1 if kind in (CVaR, EVaR) else 1e3 if kind is Entropic else 3, 25)
    curve = sweep(kind(grid), values, probs)
    sign = -1 if kind in (Wang, MeanVariance) else 1
    assert np.all(np.diff(sign * np.asarray(curve), axis=0) >= -precision * 10)


@modest
@given(seed=seeds, log_ratio=st.floats(-6, 6))
def test_entropic_agrees_with_the_reference_from_mild_to_extreme(precision, seed, log_ratio):
    values, probs = references.random_distributions(seed, scale=10.0, offset=3.0)
    tau = 10.0**-log_ratio * np.ptp(values)
    expected = references.entropic(values, probs, tau)
    close(evaluate(Entropic(tau), values, probs), expected, precision, np.ptp(values))


def test_entropic_keeps_its_digits_at_large_tau(precision):
    """mean - rho = var / (2 tau) must not drown in rounding; a plain log-sum-exp returns noise of size eps * tau."""
    values, probs = references.random_distributions(0)
    values = values - np.sum(values * probs, -1, keepdims=True)
    for tau in (1e3, 1e6):
        found = evaluate(Entropic(tau), values, probs)
        assert np.abs(found - references.entropic(values, probs, tau)).max() < 10 * precision / 100


@modest
@given(seed=seeds)
def test_neutral_ends_are_the_mean(precision, seed):
    values, probs = references.random_distributions(seed)
    mean = evaluate(Expectation(), values, probs)
    for measure in (Entropic(np.inf), CVaR(1.0), EVaR(1.0)):
        assert np.array_equal(evaluate(measure, values, probs), mean)
    for measure in (Entropic(1e7), Wang(0.0), CPW(1.0), MeanVariance(0.0)):
        close(evaluate(measure, values, probs), mean, max(precision, 1e-6))


@modest
@given(seed=seeds)
def test_averse_ends_are_the_worst_case(seed):
    values, probs = references.random_distributions(seed)
    worst = np.where(probs > 0, values, np.inf).min(-1)
    for measure in (WorstCase(), Entropic(1e-5), EVaR(1e-30)):
        close(evaluate(measure, values, probs), worst, 1e-3)
    probs = 0.9 * probs + 0.1 / probs.shape[-1]
    for measure in (CVaR(1e-3), VaR(1e-3), EVaR(1e-3)):
        close(evaluate(measure, values, probs), values.min(-1), 1e-5)


@modest
@given(seed=seeds, tau=taus, gamma=st.floats(0.05, 1))
def test_entropic_scales_with_its_tolerance(precision, seed, tau, gamma):
    values, probs = references.random_distributions(seed)
    close(
        evaluate(Entropic(tau), gamma * values, probs),
        gamma * evaluate(Entropic(tau / gamma), values, probs),
        precision,
    )


@modest
@given(seed=seeds, tau=taus)
def test_entropic_has_the_tower_property(precision, seed, tau):
    values, probs = references.random_distributions(seed)
    mixing = np.random.default_rng(seed).dirichlet(np.ones(len(values)))
    at_once = evaluate(Entropic(tau), np.ravel(values), np.ravel(mixing[:, None] * probs))
    nested = evaluate(Entropic(tau), evaluate(Entropic(tau), values, probs), mixing)
    close(nested, at_once, precision, 3)


@modest
@given(seed=seeds, tau=st.floats(-1, 2).map(lambda exponent: 10**exponent))
def test_entropic_is_the_least_penalised_expectation(float64, seed, tau):
    values, probs = references.random_distributions(seed)
    probs = 0.9 * probs + 0.1 / probs.shape[-1]
    rho = np.asarray(evaluate(Entropic(tau), values, probs))

    def penalised(q):
        return np.sum(q * values, -1) + tau * np.sum(q * np.log(q / probs), -1)

    tilted = probs * np.exp(-(values - rho[:, None]) / tau)
    close(penalised(tilted), rho, 1e-9)
    for other in np.random.default_rng(seed).dirichlet(np.ones(values.shape[-1]), (20, len(values))):
        assert np.all(penalised(0.9 * tilted + 0.1 * other) >= rho - 1e-12)


@modest
@given(seed=seeds, alpha=st.floats(0.01, 0.99))
def test_evar_is_the_supremum_and_the_constrained_minimum(float64, seed, alpha):
    values, probs = references.random_distributions(seed)
    found = np.asarray(evaluate(EVaR(alpha), values, probs))
    grid = np.geomspace(1e-5, 1e4, 2000)
    tau = grid[:, None, None]
    entropic = -tau[..., 0] * logsumexp(-values / tau, b=probs, axis=-1)
    best = np.max(entropic + tau[..., 0] * np.log(alpha), 0)
    close(found, best, 1e-4)
    assert np.all(found >= best - 1e-9)
    assert np.all(found <= evaluate(CVaR(alpha), values, probs) + 1e-9)


def test_no_overflow_at_extreme_ratios():
    """range / tau from 1e-6 to 1e6 in float32, probabilities down to exp(-500)."""
    atoms = jnp.linspace(-1e3, 1e3, 51)
    logits = jnp.linspace(0, 500, 51)
    graded = jax.jit(lambda tau: jax.value_and_grad(lambda x: Entropic(tau)(Categorical.from_logits(atoms, x)))(logits))
    for tau in np.geomspace(2e3 / 1e6, 2e3 * 1e6, 13):
        value, slope = graded(tau)
        probs = np.exp(np.linspace(-500, 0, 51))
        expected = references.entropic(np.linspace(-1e3, 1e3, 51), probs / probs.sum(), tau)
        assert float(value) == pytest.approx(float(expected), rel=1e-5, abs=1e-3)
        assert np.all(np.isfinite(slope))


def test_improbable_ruin_is_not_forgotten():
    """exp(-200) is 0 in float32, yet it decides here; adding 1e-8 inside the log would cap the value near -0.9."""
    distribution = Categorical.from_logits(jnp.array([-300.0, 0.0]), jnp.array([-200.0, 0.0]))
    assert float(evaluate_distribution(Entropic(1.0), distribution)) == pytest.approx(-100, rel=1e-4)


@each(SMOOTH)
@modest
@given(seed=seeds)
def test_influence_has_mean_zero(measure, precision, seed):
    values, probs = references.random_distributions(seed)
    found = influence(measure, values, probs, values)
    scale = 1 + np.abs(probs * np.asarray(found)).max()
    close(np.sum(probs * found, -1), 0, precision, 10 * scale)


@each(SMOOTH)
@modest
@given(seed=seeds)
def test_influence_is_the_derivative_along_mixtures(measure, float64, seed):
    """Towards new points within the range, from the right; where the measure has no kink."""
    values, probs = references.random_distributions(seed, batch=4)
    probs = 0.8 * probs + 0.2 / probs.shape[-1]
    z = values[:, :1] + np.ptp(values, -1)[:, None] * np.random.default_rng(seed).uniform(0.05, 0.95, (4, 3))
    step = 1e-6
    for point in range(3):
        at = np.concatenate([values, z[:, point : point + 1]], -1)
        order = np.argsort(at, -1)

        def mixed(e, at=at, order=order):
            masses = np.concatenate([(1 - e) * probs, np.full((4, 1), e)], -1)
            return evaluate(measure, np.take_along_axis(at, order, -1), np.take_along_axis(masses, order, -1))

        slope = (mixed(step) - mixed(0.0)) / step
        close(influence(measure, values, probs, z)[:, point], slope, 3e-4)


@pytest.mark.parametrize("measure", [VaR(0.1), WorstCase()], ids=str)
def test_measures_without_influence_name_those_with(measure):
    with pytest.raises(AverseError, match=r"cvar.*entropic"):
        measure.influence(Quantiles(jnp.arange(3.0)), jnp.zeros(1))


@each(MEASURES)
@modest
@given(seed=seeds)
def test_gradient_is_finite_and_equals_finite_differences(measure, float64, seed):
    rng = np.random.default_rng(seed)
    values, logits = np.sort(rng.normal(size=7)), rng.normal(size=7)

    arguments = np.concatenate([values, logits])
    gradient = np.asarray(gradient_of_joint(measure, arguments))
    moves = 1e-6 * np.eye(14)
    differences = evaluate_joints(measure, np.concatenate([arguments + moves, arguments - moves]))
    close(gradient, (differences[:14] - differences[14:]) / 2e-6, 1e-5)


@each(MEASURES)
def test_gradients_are_finite_where_probabilities_vanish(measure):
    """With respect to values, probabilities and parameter; impossible atoms, ties, one certain atom, in float32."""
    values = jnp.array([[-1.0, -1.0, 0.0, 2.0], [-1.0, 0.0, 0.0, 5.0]])
    probs = jnp.array([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]])

    def total(measure, values, probs):
        return jnp.sum(measure(Categorical(values, probs)))

    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(measure, values, probs)
    for leaf in jax.tree.leaves(gradients):
        assert np.all(np.isfinite(leaf))


def test_infinite_tau_may_be_traced():
    values, probs = map(jnp.asarray, references.random_distributions(1))
    levels = jnp.array([0.5, jnp.inf])

    def value(tau):
        return Entropic(tau)(Categorical(values, probs))

    mean = np.sum(np.asarray(values) * np.asarray(probs), -1)
    swept = jax.jit(jax.vmap(value))(levels)
    close(swept[1], mean, 1e-6)
    slopes = jax.jit(jax.vmap(jax.grad(lambda tau: jnp.sum(value(tau)))))(levels)
    assert slopes[0] > 0
    assert slopes[1] == 0
    z = jax.jit(lambda tau: Entropic(tau).influence(Categorical(values, probs), values))(jnp.inf)
    close(z, np.asarray(values) - mean[:, None], 1e-6)


def test_one_tau_per_batch_entry():
    values, probs = references.random_distributions(2, batch=3)
    for kind in (Entropic, CVaR, VaR, EVaR, Wang, MeanVariance, CPW):
        levels = np.array([0.3, 0.5, np.inf if kind is Entropic else 0.9])
        together = evaluate(kind(levels), values, probs)
        apart = [evaluate(kind(level), values, probs)[row] for row, level in enumerate(levels)]
        close(together, np.stack(apart), 1e-5)
        if kind is not VaR:
            together = influence(kind(levels), values, probs, values)
            apart = [influence(kind(level), values, probs, values)[row] for row, level in enumerate(levels)]
            close(together, np.stack(apart), 1e-5)


@modest
@given(seed=seeds, alpha=st.floats(0.001, 1))
def test_cvar_counts_the_last_atom_in_part(precision, seed, alpha):
    values, probs = references.random_distributions(seed)
    expected = references.cvar(values, probs, alpha)
    close(evaluate(CVaR(alpha), values, probs), expected, precision, 10 / alpha)
    samples = np.random.default_rng(seed).permutation(values[0])
    found = evaluate_distribution(CVaR(alpha), Samples(samples))
    assert float(found) == pytest.approx(float(references.cvar(samples, np.full(9, 1 / 9), alpha)), abs=1e-5 / alpha)


def test_cvar_of_probability_not_of_atoms():
    """The lowest tenth of *atoms* of a wide support would say -10."""
    distribution = Categorical(np.linspace(-10, 10, 51), np.where(np.arange(51) < 25, 0, 1 / 26))
    assert float(evaluate_distribution(CVaR(0.1), distribution)) == pytest.approx(
        float(references.cvar(np.linspace(-10, 10, 51)[25:], np.full(26, 1 / 26), 0.1)), abs=1e-5
    )


def test_var_at_a_boundary_is_the_lower_quantile():
    distribution = Quantiles(np.arange(10.0)[::-1])
    for k in range(1, 11):
        assert float(evaluate_distribution(VaR(k / 10), distribution)) == k - 1
        assert float(evaluate_distribution(VaR(k / 10 - 0.01), distribution)) == k - 1


def test_wang_of_a_normal_return_is_mean_less_eta_deviations():
    quantiles = 3 + 2 * ndtri((np.arange(4000) + 0.5) / 4000)
    for eta in (-0.5, 0.75, 1.5):
        assert float(evaluate_distribution(Wang(eta), Quantiles(quantiles))) == pytest.approx(3 - 2 * eta, abs=0.02)


def test_representations_agree():
    values, probs = references.random_distributions(5, batch=2)
    shuffled = np.random.default_rng(0).permutation(9)
    with np.errstate(divide="ignore"):
        logits = np.log(probs)

    @jax.jit
    def represented(measure, values, probs, logits):
        samples = Samples(values[:, shuffled], 7 * probs[:, shuffled])
        alike = [Categorical(values, probs), samples, Categorical.from_logits(values, logits)]
        equal = [Categorical(values, jnp.full((2, 9), 1 / 9, values.dtype)), Quantiles(values[:, shuffled])]
        return [[measure(distribution) for distribution in each] for each in (alike, equal)]

    for measure in MEASURES:
        (expected, samples, from_logits), equal = represented(measure, values, probs, logits)
        close(samples, expected, 1e-5)
        close(from_logits, expected, 1e-4)
        close(*equal, 1e-5)


def test_certainty_equivalents_of_the_sanity_problem():
    """Section 4.3 of the design: +1.5 with probability 0.9, -2 with 0.1, against a safe +1."""
    risky = Categorical(jnp.array([-2.0, 1.5]), jnp.array([0.1, 0.9]))
    found = jax.jit(jax.vmap(lambda tau: Entropic(tau)(risky)))(np.array([1.0, 3.0, 5.0, 8.0]))
    close(found, [0.062, 0.901, 1.017, 1.073], 6e-4)


@each(MEASURES)
def test_relaxing_leads_from_the_mean_to_the_measure(measure):
    values, probs = references.random_distributions(3)
    distribution = Categorical(values, probs)
    fractions = np.linspace(0, 1, 11, dtype=np.float32)
    curve = np.asarray(jax.jit(jax.vmap(lambda f: measure.relaxed(f)(distribution)))(fractions))
    close(curve[0], np.sum(values * probs, -1), 2e-6)
    close(curve[-1], evaluate(measure, values, probs), 2e-6)
    steps = np.diff(curve, axis=0)
    if not isinstance(measure, CPW | VaR | Blend):
        assert np.all(steps <= 1e-6)
    slope = jax.jit(jax.grad(lambda f: jnp.sum(measure.relaxed(f)(distribution))))(0.0)
    assert np.isfinite(slope)


@pytest.mark.parametrize(
    "text",
    ["mean", "entropic:1", "entropic:inf", "cvar:0.1", "var:0.05", "mean-variance:0.5", "wang:0.75", "wang:-0.75",
     "cpw:0.71", "evar:0.1", "worst-case"],
)  # fmt: skip
def test_text_round_trip(text):
    assert str(parse(text)) == text


def test_parse_is_lenient_about_style():
    assert parse(" Entropic:tau=2 ") == Entropic(2.0)
    assert parse("worst_case") == WorstCase()
    assert parse("expectation") == Expectation()
    assert str(Entropic(jnp.float32(0.1))) == "entropic:0.1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entropc:1", "did you mean entropic"),
        ("cvar", "cvar:0.1"),
        ("cvar:lots", "'lots'"),
        ("cvar:0", r"\(0, 1\]"),
        ("cvar:1.5", r"\(0, 1\]"),
        ("var:nan", r"\(0, 1\]"),
        ("entropic:0", "tau"),
        ("entropic:-1", "tau"),
        ("entropic:nan", "tau"),
        ("mean-variance:-0.1", ">= 0"),
        ("cpw:0.1", "0.28"),
        ("wang:inf", "finite"),
        ("mean:1", "no parameter"),
        ("wang:tau=1", "called eta"),
        ("", "unknown"),
    ],
)
def test_bad_text_is_one_clear_line(text, message):
    with pytest.raises(AverseError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_construction_checks_concrete_parameters_only():
    for bad in (0.0, -1.0, float("nan"), np.array([1.0, -1.0]), jnp.array(-1.0), "one"):
        with pytest.raises(AverseError):
            Entropic(bad)
    jax.jit(lambda tau: Entropic(tau)(Quantiles(jnp.arange(3.0))))(-1.0)


def test_measures_are_pytrees_of_their_parameters():
    assert jax.tree.leaves(Entropic(2.0)) == [2.0]
    assert jax.tree.leaves(WorstCase()) == []
    swept = jax.jit(jax.vmap(functools.partial(jax.tree_util.Partial, lambda d, m: m(d))(Quantiles(np.arange(4)))))(
        CVaR(np.array([0.25, 1.0]))
    )
    close(swept, [0.0, 1.5], 1e-6)
    assert set(risk.names()) == {m.kind for m in MEASURES if not isinstance(m, Blend)}
