"""What risk is: return distributions, risk measures, distributional Bellman operators, advantages.

Pure functions of arrays: they jit, vmap and differentiate, work in float32 and float64, and know nothing of networks.
"""

from averse.risk import advantages, bellman
from averse.risk.advantages import (
    action_value,
    entropic,
    entropic_weights,
    episode_influence_advantage,
    exponential_errors,
    gae,
    influence_advantage,
    mean_variance_advantage,
    second_moment_targets,
)
from averse.risk.base import Blend, RiskMeasure, text_of
from averse.risk.bellman import (
    categorical_lambda_returns,
    clamped_mass,
    cross_entropy,
    cross_entropy_to_shifted,
    lambda_returns,
    project,
    quantile_huber_loss,
    quantile_lambda_returns,
    shift_and_project,
)
from averse.risk.check import check_measure
from averse.risk.distributions import (
    Categorical,
    Distribution,
    Quantiles,
    Returns,
    Samples,
    as_distribution,
    uniform_support,
)
from averse.risk.measures import (
    CPW,
    CVaR,
    Distortion,
    Entropic,
    EVaR,
    Expectation,
    MeanVariance,
    VaR,
    Wang,
    WorstCase,
)
from averse.risk.parsing import describe, parse, register
from averse.risk.pytrees import pytree
from averse.risk.registry import names
from averse.risk.supports import projection_std, projection_variance

__all__ = [
    "CPW",
    "Blend",
    "CVaR",
    "Categorical",
    "Distortion",
    "Distribution",
    "EVaR",
    "Entropic",
    "Expectation",
    "MeanVariance",
    "Quantiles",
    "Returns",
    "RiskMeasure",
    "Samples",
    "VaR",
    "Wang",
    "WorstCase",
    "action_value",
    "advantages",
    "as_distribution",
    "bellman",
    "categorical_lambda_returns",
    "check_measure",
    "clamped_mass",
    "cross_entropy",
    "cross_entropy_to_shifted",
    "describe",
    "entropic",
    "entropic_weights",
    "episode_influence_advantage",
    "exponential_errors",
    "gae",
    "influence_advantage",
    "lambda_returns",
    "mean_variance_advantage",
    "names",
    "parse",
    "project",
    "projection_std",
    "projection_variance",
    "pytree",
    "quantile_huber_loss",
    "quantile_lambda_returns",
    "register",
    "second_moment_targets",
    "shift_and_project",
    "text_of",
    "uniform_support",
]
