"""Bad models are refused in one clear line."""

import numpy as np
import pytest

from averse.errors import AverseError
from averse.planning import (
    FiniteMDP,
    cvar_value_iteration,
    entropic_evaluation,
    entropic_value_iteration,
    evaluate_policy,
    kl_penalised_value_iteration,
    policy_gradient,
    return_distribution,
    robust_value_iteration,
)

from .oracles import random_mdp

GOOD = np.full((2, 3, 2), 0.5)
REWARD = np.zeros((2, 3))
UNIFORM = np.full((3, 2), 0.5)
HALF_FINITE = np.where(np.eye(2, 3) > 0, np.nan, 0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FiniteMDP(GOOD[0], REWARD), r"transition must have the shape \[S, A, S\]"),
        (lambda: FiniteMDP(GOOD, REWARD.T), r"reward must have the shape \[2, 3\] or \[2, 3, 2\], not \[3, 2\]"),
        (lambda: FiniteMDP(GOOD * 0.9, REWARD), r"transition\[0, 0\] sums to 0.9"),
        (lambda: FiniteMDP(GOOD + np.array([1, -1]), REWARD), r"transition\[0, 0, 1\] is -0.5"),
        (lambda: FiniteMDP(GOOD, HALF_FINITE), r"reward must be finite, but entry \(0, 0\) is nan"),
        (lambda: FiniteMDP(GOOD, [["a"]]), "reward must be numbers, neither ragged nor of anything else, not .*'a'"),
        (lambda: FiniteMDP(GOOD, REWARD, gamma=1.1), r"gamma must be a number in \[0, 1\], not 1.1"),
        (lambda: FiniteMDP(GOOD, REWARD, gamma=float("nan")), r"gamma must be a number in \[0, 1\], not nan"),
        (lambda: FiniteMDP(GOOD, REWARD, horizon=0), "horizon must be a whole number >= 1 or nothing, not 0"),
        (lambda: FiniteMDP(GOOD, REWARD, horizon=2.5), "horizon must be a whole number >= 1 or nothing, not 2.5"),
        (lambda: FiniteMDP(GOOD, REWARD, initial=2), "a state from 0 to 1"),
        (lambda: FiniteMDP(GOOD, REWARD, initial=[0.5, 0.6]), "initial sums to 1.1"),
        (lambda: FiniteMDP(GOOD, REWARD, initial=[1, 0, 0]), r"initial must have the shape \[2\]"),
        (lambda: entropic_value_iteration(random_mdp(0), 0), "tau must be a number > 0, not 0"),
        (lambda: entropic_value_iteration(random_mdp(0), float("nan")), "tau must be a number > 0, not nan"),
        (lambda: entropic_value_iteration(random_mdp(0), 1, "nestd"), "unknown kind 'nestd'; did you mean nested"),
        (lambda: entropic_evaluation(random_mdp(0), np.ones((3, 2)), 1), r"policy\[0, 0\] sums to 2"),
        (lambda: entropic_evaluation(random_mdp(0), UNIFORM[:2], 1), r"policy must have the shape \[3, 2\]"),
        (lambda: policy_gradient(random_mdp(0, horizon=None), UNIFORM, 1), "policy gradient needs a finite horizon"),
        (lambda: policy_gradient(random_mdp(0), np.zeros(3), 1), r"logits must have the shape \[3, 2\] or \[3, 3, 2\]"),
        (lambda: robust_value_iteration(random_mdp(0), -1), "radius must not be negative"),
        (lambda: robust_value_iteration(random_mdp(0), [1, 2]), r"radius must be a number or have the shape \[3, 2\]"),
        (lambda: robust_value_iteration(random_mdp(0), 1, "l2"), "unknown ball 'l2'; did you mean l1"),
        (lambda: robust_value_iteration(random_mdp(0, horizon=None, gamma=1), 1), "needs gamma below 1"),
        (lambda: robust_value_iteration(random_mdp(0, horizon=None), 1, max_iterations=2), "no convergence in 2"),
        (lambda: kl_penalised_value_iteration(random_mdp(0, horizon=None), 1), "static kind .* finite horizon"),
        (lambda: cvar_value_iteration(random_mdp(0), 0), r"alpha must be a number in \(0, 1\], not 0"),
        (lambda: cvar_value_iteration(random_mdp(0, horizon=None), 0.5), "optimal CVaR needs a finite horizon"),
        (lambda: cvar_value_iteration(random_mdp(0, horizon=8), 0.5), "pairs of state and accumulated reward"),
        (lambda: return_distribution(random_mdp(0, horizon=9), UNIFORM, 1000), "more than the 1000 allowed"),
        (lambda: evaluate_policy(random_mdp(0), UNIFORM, "cvr:0.1"), "unknown risk measure 'cvr'; did you mean cvar"),
    ],
)
def test_bad_input_is_one_clear_line(build, message):
    with pytest.raises(AverseError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_models_are_kept_as_given_and_safe_from_later_changes():
    transition = GOOD.copy()
    mdp = FiniteMDP(transition, REWARD, initial=1)
    transition[:] = 7
    np.testing.assert_array_equal(mdp.transition, GOOD)
    np.testing.assert_array_equal(mdp.initial, [0, 1])
    with pytest.raises(ValueError, match="read-only"):
        mdp.transition[0, 0, 0] = 1
    assert FiniteMDP(GOOD, REWARD).initial.tolist() == [1, 0]
    assert FiniteMDP(GOOD + np.array([4e-9, -3e-9]), REWARD).transition.sum(-1).max() == pytest.approx(1, abs=1e-15)
