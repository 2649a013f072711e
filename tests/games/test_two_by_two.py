"""All equilibria of 2x2 games, where the theory says there is one, and where there are more."""

import numpy as np
import pytest

from averse.errors import AverseError
from averse.games import NormalForm, all_equilibria, bifurcation, rqe, tractability

CHICKEN = NormalForm.symmetric([[0.6, 0.6], [1.0, 0.0]])


def coordination(scale, second=0.93):
    return NormalForm.symmetric(scale * np.diag([1.0, second]))


def test_chicken_has_three_equilibria_below_the_bifurcation_and_one_above():
    counts = [len(all_equilibria(CHICKEN, 1 / aversion, 0.2, regulariser="entropy")) for aversion in (0.5, 0.82, 0.84)]
    assert counts == [3, 3, 1]
    (only,) = all_equilibria(CHICKEN, 1.0, 0.2, regulariser="entropy")
    for x in only.strategies:
        assert x[0] == pytest.approx(0.608230, abs=1e-6)
    found = bifurcation(CHICKEN, 0.2, averse=1.5, neutral=0.5, regulariser="entropy", precision=1e-4)
    assert found == pytest.approx(0.8288, abs=1e-3)


def test_kl_with_entropy_has_several_equilibria_inside_the_region_of_the_other_pairs():
    tau = 4 / np.sqrt(5.76)  # 16 eps1 eps2 / (tau1 tau2) = 5.76
    several = all_equilibria(coordination(20), tau, 1.0, regulariser="entropy")
    assert len(several) > 1
    assert all(equilibrium.residual < 1e-9 for equilibrium in several)
    assert not tractability(tau, 1.0, "kl", "entropy").unique
    assert len(all_equilibria(coordination(20), tau, 1.0, regulariser="log-barrier")) == 1


@pytest.mark.parametrize(("penalty", "regulariser"), [("kl", "log-barrier"), ("reverse-kl", "entropy")])
def test_uniqueness_on_both_sides_of_the_condition(penalty, regulariser):
    def most(ratio, scales, games):
        """The largest number of equilibria at 16 eps1 eps2 = ratio tau1 tau2."""
        counts = []
        for scale in scales:
            for game in games(scale):
                for skew in (1.0, 10.0):
                    tau = 4 / np.sqrt(ratio) * np.array([skew, 1 / skew])
                    assert tractability(tau, 1.0, penalty, regulariser).unique == (ratio > 1)
                    counts.append(len(all_equilibria(game, tau, 1.0, penalty, regulariser)))
        return max(counts)

    def several(scale):
        generator = np.random.default_rng(int(scale))
        random = NormalForm([scale * generator.standard_normal((2, 2)) for _ in range(2)])
        return [coordination(scale), coordination(scale, 1.0), random]

    assert most(1.05, (3, 30, 300, 1000), several) == 1
    assert most(0.2, (3, 10), several) >= 3


def test_bad_games():
    with pytest.raises(AverseError, match="two actions each"):
        all_equilibria(NormalForm.random(0, (2, 3)), 1.0, 1.0)
    with pytest.raises(AverseError, match="no change"):
        bifurcation(CHICKEN, 0.2, averse=1.5, neutral=1.2, regulariser="entropy")


def test_the_direct_solver_says_when_uniqueness_is_not_guaranteed():
    tau, epsilon = 1 / 0.5, 0.2
    found = rqe(CHICKEN, tau, epsilon, "kl", "entropy")
    assert found.converged
    assert "no theorem covers" in str(tractability(tau, epsilon, "kl", "entropy"))
