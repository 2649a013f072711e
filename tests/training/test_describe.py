"""The run summary says of a game only what is proved of its settings."""

import numpy as np
import pytest

from averse.games import NormalForm, all_equilibria, tractability
from averse.training import configure, describe


def summary(environment, **settings):
    (line,) = [
        line for line in describe(configure(environment, "rqe-mappo", 1e4, **settings)).splitlines() if "margin" in line
    ]
    return line.strip()


def test_a_margin_above_zero_proves_nothing_for_kl_with_entropy():
    tau, epsilon = (1.1179, 2.0642), (3.7068, 0.7293)
    game = NormalForm([[[3.09, 9.81], [9.08, -10.68]], [[-8.67, 7.3], [0.13, -2.0]]])
    found = all_equilibria(game, tau, epsilon, "kl", "entropy")
    np.testing.assert_allclose([one.strategies[0][0] for one in found], [0.824, 0.984, 0.996], atol=5e-4)
    stand = tractability(tau, epsilon, "kl", "entropy")
    assert stand.margin == pytest.approx(0.396, abs=1e-3)
    assert not stand.unique
    assert "inside" not in stand.words


@pytest.mark.parametrize(
    ("environment", "agents", "tau", "epsilon", "margin"),
    [
        ("car-following", 2, 0.5, 5.0, "24.75"),
        ("cliff-walk", 2, 2.0, 0.01, "-3.9999"),
        ("intersection", 4, 0.5, 2.0, "0.5"),
        ("intersection", 4, 3.0, 0.01, "-8.99"),
        ("microgrids", 3, 0.1, 1.0, "0.8"),
    ],
)
def test_the_summary_says_what_is_known(environment, agents, tau, epsilon, margin):
    line = summary(environment, tau=tau, epsilon=epsilon)
    assert "inside" not in line
    assert line.startswith("as a matrix game: several equilibria may exist (no theorem for kl with entropy)")
    assert line.endswith(f"= {margin}")
    assert ("eps1 eps2 - tau1 tau2" if agents == 2 else "eps - (agents - 1) tau") in line
    stand = tractability(tau, epsilon, "kl", "entropy", agents)
    assert (stand.unique, f"{stand.margin:g}") == (False, margin)


def test_a_sweep_over_both_settings_has_a_margin_each():
    assert summary("car-following", tau=[0.5, 2.0], epsilon=5.0).endswith("= 24.75, 21")
    assert summary("car-following", tau=1.0, epsilon=[0.5, 2.0]).endswith("= -0.75, 3")


def test_neutral_agents():
    text = describe(configure("cliff-walk", "mappo", 1e4))
    assert "several equilibria may exist" in text
    assert text.endswith("= -inf")


def test_one_of_a_thing_and_several():
    def first(environment, **settings):
        return describe(configure(environment, "mappo", num_envs=8, rollout_steps=32, **settings)).splitlines()[:2]

    head, sizes = first("corridor", steps=256)
    assert "; 1 agent, " in head
    assert sizes == "  1 trial x 1 update x 256 steps"
    head, sizes = first("cliff-walk", steps=256_000, seeds=2)
    assert " agents, " in head
    assert sizes == "  2 trials x 1,000 updates x 256 steps"
