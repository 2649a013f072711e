"""Calibration of synthetic critics whose faults are known."""

import json
from functools import cache

import numpy as np
import pytest
from scipy import stats

from averse.errors import AverseError
from averse.evaluation.calibration import (
    calibrate_categorical,
    calibrate_quantiles,
    categorical_pit,
    quantile_pit,
    uniform_distances,
)

M = 4000
ATOMS = np.linspace(-10, 10, 51)


def project(values: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Average C51 projection of sample values [..., K] to atoms: [..., N], by the triangular kernel."""
    gap = atoms[1] - atoms[0]
    kernel = 1 - np.abs(np.clip(values, atoms[0], atoms[-1])[..., None] - atoms) / gap
    return np.clip(kernel, 0, None).mean(-2)


def normal_critic(shift=0.0, scale=1.0):
    """States with returns N(mu, sigma), varying by state, under a critic that believes N(mu + shift, scale sigma)."""
    generator = np.random.default_rng(0)
    mu, sigma = generator.uniform(-3, 3, M), generator.uniform(0.5, 2, M)
    realised = generator.normal(mu, sigma)
    levels = (np.arange(100) + 0.5) / 100
    believed = (mu + shift)[:, None] + scale * sigma[:, None] * stats.norm.ppf(levels)
    return realised, believed


@cache
def both(shift=0.0, scale=1.0, treatment="randomised"):
    realised, believed = normal_critic(shift, scale)
    levels = (2 * np.arange(50) + 1) / 100
    quantiles = np.quantile(believed, levels, axis=-1).T
    return (
        calibrate_categorical(ATOMS, project(believed, ATOMS), realised, treatment),
        calibrate_quantiles(quantiles, realised, treatment),
    )


@pytest.mark.parametrize("treatment", ["randomised", "midpoint"])
def test_a_right_critic_is_calibrated(treatment):
    for result in both(treatment=treatment):
        assert result.kolmogorov_smirnov < 1.63 / np.sqrt(M) + 0.005 * (treatment == "midpoint")
        assert result.histogram == pytest.approx(0.05, abs=0.015)
        for row in result.quantiles:
            assert row.fraction_below == pytest.approx(row.level, abs=0.025)
            assert row.predicted == pytest.approx(row.realised, abs=0.5)
        for nominal, actual in result.coverage.items():
            assert actual == pytest.approx(nominal, abs=0.025)
        assert abs(result.bias) < 0.1


def test_an_optimistic_critic():
    for result in both(shift=1.0):
        assert result.bias == pytest.approx(1.0, abs=0.1)
        assert result.kolmogorov_smirnov > 0.2
        assert result.histogram[0] > 2 * result.histogram[-1]
        assert result.quantiles[4].fraction_below > 0.7  # far more than half fall below the predicted median


def test_too_wide_and_too_narrow_critics():
    for wide, narrow in zip(both(scale=2.0), both(scale=0.5)):
        assert wide.histogram[9:11].sum() > 2 * (wide.histogram[0] + wide.histogram[-1])
        assert narrow.histogram[9:11].sum() < 0.5 * (narrow.histogram[0] + narrow.histogram[-1])
        assert wide.coverage[0.8] == pytest.approx(np.diff(stats.norm.cdf([-2.563, 2.563]))[0], abs=0.03)
        assert narrow.coverage[0.8] == pytest.approx(np.diff(stats.norm.cdf([-0.641, 0.641]))[0], abs=0.03)


def test_randomised_pit_is_exact_for_point_masses_and_coarse_atoms():
    """Three atoms, returns that lie on and between them: uniform all the same."""
    atoms = np.array([-1.0, 0.0, 2.0])
    generator = np.random.default_rng(0)
    values = np.array([-1.0, 0.5, 2.0, 1.7])
    realised = generator.choice(values, p=[0.1, 0.4, 0.3, 0.2], size=20_000)
    probs = np.array([0.1, 0.4 * 0.75 + 0.2 * 0.15, 0.4 * 0.25 + 0.3 + 0.2 * 0.85])
    pit = categorical_pit(atoms, np.tile(probs, (20_000, 1)), realised)
    assert stats.kstest(pit, "uniform").pvalue > 0.01
    certain = categorical_pit(ATOMS, np.tile(np.eye(51)[25], (5000, 1)), np.zeros(5000))
    assert stats.kstest(certain, "uniform").pvalue > 0.01
    two_points = np.repeat([[-1.0] * 4 + [2.0] * 6], 20_000, axis=0)
    pit = quantile_pit(two_points, generator.choice([-1.0, 2.0], p=[0.4, 0.6], size=20_000))
    assert stats.kstest(pit, "uniform").pvalue > 0.01
    tied = quantile_pit(np.zeros((5000, 10)), np.zeros(5000))
    assert stats.kstest(tied, "uniform").pvalue > 0.01


def test_midpoint_pit_by_hand():
    probs = np.array([[0.2, 0.5, 0.3]])
    pit = lambda y: categorical_pit([0, 1, 2], probs, [y], "midpoint")[0]  # noqa: E731
    assert [pit(y) for y in (-9, 0, 0.5, 1, 2, 9)] == pytest.approx([0, 0.1, 0.2, 0.45, 0.85, 1])
    ranked = lambda y: quantile_pit([[0.0, 1.0]], [y], "midpoint")[0]  # noqa: E731
    assert [ranked(y) for y in (-5, 0, 0.5, 1, 5)] == pytest.approx([0.125, 0.25, 0.5, 0.75, 0.875])


def test_clamped_fraction():
    realised = np.array([-10.1, -10.0, 0.0, 10.0, 11.0])
    assert calibrate_categorical(ATOMS, np.full((5, 51), 1 / 51), realised).clamped_fraction == pytest.approx(0.4)


def test_distances_are_scipys():
    pit = np.random.default_rng(0).beta(2, 3, size=300)
    distance, squared = uniform_distances(pit)
    assert distance == pytest.approx(stats.kstest(pit, "uniform").statistic)
    assert squared == pytest.approx(stats.cramervonmises(pit, "uniform").statistic / 300)


def test_json():
    result = both()[0]
    fields = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert fields["states"] == M
    assert sum(fields["histogram"]) == pytest.approx(1)
    assert set(fields["quantiles"][0]) == {"level", "predicted", "realised", "fraction_below"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0, 1], [[0.5, 0.5]], []), "states"),
        (([0, 0], [[0.5, 0.5]], [1]), "ascending"),
        (([0, 1], [[0.5, 0.6]], [1]), "sum to 1"),
        (([0, 1], [[0.5, 0.5]], [np.nan]), "finite"),
        (([0, 1], [[0.5, 0.5]], [1], "middle"), "treatment"),
    ],
)
def test_refuses_bad_input_in_one_line(arguments, words):
    with pytest.raises(AverseError, match=words) as error:
        calibrate_categorical(*arguments)
    assert "\n" not in str(error.value)
