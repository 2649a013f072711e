"""Mean-variance team stochastic games: one reward for all, product policies, known model (Hu, Xia, arXiv 2503.22779).

In the long run the team earns eta per step, with variance zeta = E[(r - eta)^2] of the reward *per step in steady
state* (not of the return: that is `averse.risk.MeanVariance`). It maximises J = eta - beta zeta. With the
pseudo-reward f = r - beta (r - eta)^2, whose mean is J, the Poisson equation V = f - J + P V gives action values
Q = f - J + P V and advantages A = Q - V; agent i sees Q_i(s, a_i), the mean of Q over the others' actions. Then, mu
being the steady state:

* difference: J' - J = E_{mu', pi'}[A] + beta (eta' - eta)^2, so that no improvement of A can do harm;
* derivative: dJ/dpi_i(a|s) = mu(s) Q_i(s, a), along directions that keep pi_i(.|s) a distribution;
* J = max over lambda of E[r - beta (r - lambda)^2], so that the best J is the best of many average-reward problems.

Steady state must be unique: a policy under which there are several recurrent classes (a *multichain* policy, such as
batteries that nobody ever charges) has as many long-run figures as classes. `mean_variance` then asks for `initial` and
answers for the steady state reached from there on average; everything that needs the Poisson equation refuses.

Files: `game` and `factored` hold the forms of a game, `chains` the linear algebra of its Markov chains, `evaluation`
what a policy is worth, `policy_iteration` MV-MAPI and its variants, `recurrence` what happens where a step ends in
several recurrent classes, `optimum` best responses and the certified best joint policy, `classification` the checker of
local optima and Nash equilibria, `gradient_ascent` MV-IPGA, `sampling` random policies.

Axes: S states, A1, ..., AN the actions of N agents. A policy is a list of arrays [S, Ai].
"""

from averse.planning.team_games.classification import Classification, Deviation, classify
from averse.planning.team_games.evaluation import (
    MeanVarianceValue,
    PoissonSolution,
    derivative,
    difference,
    mean_variance,
    poisson,
)
from averse.planning.team_games.factored import FactoredTeamGame
from averse.planning.team_games.game import TeamGame
from averse.planning.team_games.gradient_ascent import GradientAscent, mv_ipga
from averse.planning.team_games.optimum import CertifiedOptimum, best_joint_policy, best_response
from averse.planning.team_games.policy_iteration import MeanVariancePlan, mv_mapi
from averse.planning.team_games.sampling import random_policies

__all__ = [
    "CertifiedOptimum",
    "Classification",
    "Deviation",
    "FactoredTeamGame",
    "GradientAscent",
    "MeanVariancePlan",
    "MeanVarianceValue",
    "PoissonSolution",
    "TeamGame",
    "best_joint_policy",
    "best_response",
    "classify",
    "derivative",
    "difference",
    "mean_variance",
    "mv_ipga",
    "mv_mapi",
    "poisson",
    "random_policies",
]
