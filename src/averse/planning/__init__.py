"""Exact solvers for known models: entropic, robust and CVaR dynamic programming, and mean-variance team games."""

from averse.planning.cvar import CVaRPlan, cvar_value_iteration
from averse.planning.entropic import EntropicPlan, EntropicValue, entropic_evaluation, entropic_value_iteration
from averse.planning.gradient import PolicyGradient, policy_gradient
from averse.planning.improvement import ImprovementBound, improvement_bound
from averse.planning.mdp import FiniteMDP, deterministic
from averse.planning.returns import ReturnDistribution, evaluate_policy, return_distribution
from averse.planning.robust import RobustPlan, kl_penalised_value_iteration, robust_value_iteration
from averse.planning.team_games import (
    CertifiedOptimum,
    Classification,
    Deviation,
    FactoredTeamGame,
    GradientAscent,
    MeanVariancePlan,
    MeanVarianceValue,
    PoissonSolution,
    TeamGame,
    best_joint_policy,
    best_response,
    classify,
    derivative,
    difference,
    mean_variance,
    mv_ipga,
    mv_mapi,
    poisson,
    random_policies,
)

__all__ = [
    "CVaRPlan",
    "CertifiedOptimum",
    "Classification",
    "Deviation",
    "EntropicPlan",
    "EntropicValue",
    "FactoredTeamGame",
    "FiniteMDP",
    "GradientAscent",
    "ImprovementBound",
    "MeanVariancePlan",
    "MeanVarianceValue",
    "PoissonSolution",
    "PolicyGradient",
    "ReturnDistribution",
    "RobustPlan",
    "TeamGame",
    "best_joint_policy",
    "best_response",
    "classify",
    "cvar_value_iteration",
    "derivative",
    "deterministic",
    "difference",
    "entropic_evaluation",
    "entropic_value_iteration",
    "evaluate_policy",
    "improvement_bound",
    "kl_penalised_value_iteration",
    "mean_variance",
    "mv_ipga",
    "mv_mapi",
    "poisson",
    "policy_gradient",
    "random_policies",
    "return_distribution",
    "robust_value_iteration",
]
