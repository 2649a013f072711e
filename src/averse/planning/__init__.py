"""Exact solvers for known models: entropic, robust and CVaR dynamic programming, and mean-variance team games."""

from averse.planning.cvar import CVaRPlan, cvar_value_iteration
from averse.planning.entropic import EntropicPlan, EntropicValue, entropic_evaluation, entropic_value_iteration
from averse.planning.gradient import PolicyGradient, policy_gradient
from averse.planning.mdp import FiniteMDP, deterministic
from averse.planning.returns import ReturnDistribution, evaluate_policy, return_distribution
from averse.planning.robust import RobustPlan, kl_penalised_value_iteration, robust_value_iteration
from averse.planning.team_games import (
    MeanVariancePlan,
    MeanVarianceValue,
    PoissonSolution,
    TeamGame,
    derivative,
    difference,
    mean_variance,
    mv_mapi,
    poisson,
)

__all__ = [
    "CVaRPlan",
    "EntropicPlan",
    "EntropicValue",
    "FiniteMDP",
    "MeanVariancePlan",
    "MeanVarianceValue",
    "PoissonSolution",
    "PolicyGradient",
    "ReturnDistribution",
    "RobustPlan",
    "TeamGame",
    "cvar_value_iteration",
    "derivative",
    "deterministic",
    "difference",
    "entropic_evaluation",
    "entropic_value_iteration",
    "evaluate_policy",
    "kl_penalised_value_iteration",
    "mean_variance",
    "mv_mapi",
    "poisson",
    "policy_gradient",
    "return_distribution",
    "robust_value_iteration",
]
