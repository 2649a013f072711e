"""The objective that was trained, against closed forms, enumeration and the statistics of plain means."""

import itertools
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from queueing import Queueing

import averse
from averse.environments.adapters.hosted import HostedVector
from averse.environments.corridor import RISKY, SAFE
from averse.environments.risky_cartpole import RiskyCartPole
from averse.evaluation import Summary, compiled_player, play_host, scripted
from averse.evaluation.objective import maximised, mean_of_measures, trained_objective
from averse.learners import preset
from averse.learners.fixed import fixed
from averse.risk import CVaR, Entropic, Expectation, MeanVariance, Wang
from averse.statistics import mean, stratified_bootstrap_interval
from averse.training.run import Run

GAMMA, LENGTH = 0.9, 10
WEIGHTS = GAMMA ** np.arange(LENGTH)


def always(action, gamma=GAMMA):
    return fixed(lambda observations: jnp.full(observations.shape[:-1], action, jnp.int32), gamma)


def run_of(action, environment="corridor", method="rqe-mappo", **chosen):
    """A run of a method whose policies have come to do one thing always."""
    config = averse.configure(environment, method, 1, gamma=GAMMA, **chosen)
    trials = len(config.trials)
    run = Run(config, None, jnp.zeros(trials), (config.total_updates,) * trials)
    vars(run)["learner"] = always(action)
    return run


def certainty_equivalent(tau):
    """Of ten risky steps: rewards are independent, so that those of the discounted steps add up."""
    return sum(-tau * np.log(0.9 * np.exp(-1.5 * w / tau) + 0.1 * np.exp(2.0 * w / tau)) for w in WEIGHTS)


# ------------------------------------------------------------------------------------------------------- the corridor


def test_always_risky_is_worth_its_certainty_equivalent_at_each_label_s_own_tau():
    evaluation = averse.evaluate(run_of(RISKY, tau=[3.0, 8.0], seeds=4), 3000)
    assert list(evaluation.objectives) == ["tau=3", "tau=8"]
    for tau, found in zip((3.0, 8.0), evaluation.objectives.values()):
        assert found.measure == f"entropic:{tau:g}"
        assert (found.whose, found.gamma, found.cut, found.discount_left) == ("agent", GAMMA, 0.0, 0.0)
        assert found.value.low < certainty_equivalent(tau) < found.value.high
        assert found.value.value == pytest.approx(certainty_equivalent(tau), abs=0.06)
    assert certainty_equivalent(8.0) - certainty_equivalent(3.0) > 0.2  # so that a mix-up would show
    one, other = (evaluation.to_dict()["settings"][label]["objective"] for label in ("tau=3", "tau=8"))
    assert (one["measure"], other["measure"]) == ("entropic:3", "entropic:8")
    assert one["value"] < other["value"]


def test_always_safe_is_worth_the_discounted_sum_for_certain():
    evaluation = averse.evaluate(run_of(SAFE, seeds=3), 20)
    value = evaluation.objectives[""].value
    np.testing.assert_allclose([value.value, value.low, value.high], WEIGHTS.sum(), rtol=1e-6)
    assert evaluation.summaries[""].mean.value == LENGTH  # which is undiscounted


def test_the_worst_tenth_is_that_of_all_outcomes_enumerated():
    found = averse.evaluate(run_of(RISKY, method="c51-cvar-mappo"), 8_000).objectives[""]
    outcomes = [
        (np.dot(WEIGHTS, np.where(bad, -2.0, 1.5)), np.prod(np.where(bad, 0.1, 0.9)))
        for bad in itertools.product([False, True], repeat=LENGTH)
    ]
    left, worst = 0.1, 0.0
    for value, probability in sorted(outcomes):
        taken = min(left, probability)
        worst, left = worst + taken * value, left - taken
    assert found.measure == "cvar:0.1"
    assert found.value.low < worst / 0.1 < found.value.high
    assert found.value.high - found.value.low < 0.3


def test_neutral_methods_are_trained_for_the_mean():
    evaluation = averse.evaluate(run_of(RISKY, method="mappo"), 5000)
    found = evaluation.objectives[""]
    assert found.measure == "mean"
    assert found.value.low < 1.15 * WEIGHTS.sum() < found.value.high
    assert f"trained for the mean of each agent's return, discount 0.9: {found.value}" in str(evaluation).splitlines()


# ------------------------------------------------------------------------------------------------------ the time limit


OWN = [GAMMA**2, -0.1 * (1 - GAMMA**6) / (1 - GAMMA)]


def test_returns_cut_short_stay_and_are_counted():
    evaluation = averse.evaluate(run_of(0, Queueing(waiting_cost=0.1), measure="entropic:2"), 8)
    found = evaluation.objectives[""]
    assert found.value.value == pytest.approx(np.mean(OWN), rel=1e-6)
    assert found.cut == 0.5
    assert found.discount_left == pytest.approx(GAMMA**6)
    assert "the time limit cut 50% of the returns, with 0.53 of the discount left" in str(evaluation)
    assert json.loads(json.dumps(evaluation.to_dict()))["objective"]["cut"] == 0.5


def test_a_team_s_return_is_cut_where_any_agent_s_is():
    found = averse.evaluate(run_of(0, Queueing(waiting_cost=0.1), method="vdn"), 8).objectives[""]
    assert (found.whose, found.measure, found.cut) == ("team", "mean", 1.0)
    assert found.value.value == pytest.approx(np.mean(OWN), rel=1e-6)


def test_failed_episodes_count_in_nothing():
    run, seeds = run_of(0, Queueing(waiting_cost=0.1)), np.arange(8)
    played = compiled_player(Queueing(waiting_cost=0.1), always(0), greedy=True)((), seeds)
    broken = played._replace(failed=seeds < 3, discounted=np.where(seeds[:, None] < 3, 1e9, played.discounted))
    assert trained_objective(run, {0: broken}) == trained_objective(run, {0: played._replace(failed=seeds < 0)})
    assert trained_objective(run, {0: played._replace(failed=seeds < 9)}) is None


# ---------------------------------------------------------------------------------------------- compiled and host alike


def test_host_environments_tell_the_same():
    run, seeds = run_of(0, Queueing(waiting_cost=0.1)), np.arange(7)
    compiled = compiled_player(Queueing(waiting_cost=0.1), always(0), greedy=True)((), seeds)
    still = scripted(lambda step: np.zeros(step.rewards.shape, np.int32))
    host = play_host(HostedVector(Queueing(waiting_cost=0.1), 3), still, seeds, horizon=6, gamma=GAMMA)
    np.testing.assert_allclose(host.discounted, compiled.discounted, rtol=1e-6)
    one, other = trained_objective(run, {0: compiled}), trained_objective(run, {0: host})
    assert one.value.value == pytest.approx(other.value.value, rel=1e-6)
    assert (one.cut, one.discount_left, one.measure) == (other.cut, other.discount_left, other.measure)


def test_discounted_returns_begin_with_the_episode_whenever_it_is_probed():
    """Rewards as an observer saw them; each environment plays several episodes, of unequal lengths."""
    world, seeds, moments = RiskyCartPole(horizon=60), np.array([5, 3, 9, 4, 8]), []
    forward = scripted(lambda step: np.ones(step.rewards.shape, np.int32))
    host = play_host(HostedVector(world, 2), forward, seeds, horizon=60, gamma=GAMMA, observer=moments.append)
    expected = dict.fromkeys(seeds.tolist(), 0.0)
    for moment in moments[1:]:
        for b, seed in enumerate(moment.seeds.tolist()):
            expected[seed] += GAMMA ** (int(moment.times[b]) - 1) * float(moment.step.rewards[b, 0])
    assert len(set(host.length.tolist())) > 1
    # The first seed fills up the last round, which the observer sees too.
    np.testing.assert_allclose(host.discounted[1:, 0], [expected[seed] for seed in seeds[1:].tolist()], rtol=1e-5)
    compiled = compiled_player(world, always(1), greedy=True)((), np.arange(12))
    early = compiled.probe.time == 0
    assert 0 < early.sum() < 12
    np.testing.assert_allclose(compiled.discounted[early], compiled.probe.discounted_return[early], rtol=1e-6)
    assert not np.allclose(compiled.discounted[~early], compiled.probe.discounted_return[~early])


# --------------------------------------------------------------------------------------------------- what is maximised


@pytest.mark.parametrize(
    ("method", "chosen", "swept", "expected"),
    [
        ("ppo", {}, {}, (Expectation(), "agent")),
        ("rqe-mappo", {"tau": 2.0}, {}, (Entropic(2.0), "agent")),
        ("rqe-mappo", {}, {"tau": 5.0, "epsilon": 0.1}, (Entropic(5.0), "agent")),
        ("mean-variance-mappo", {}, {}, (MeanVariance(0.05), "agent")),
        ("c51-cvar-mappo", {}, {"alpha": 0.3}, (CVaR(0.3), "agent")),
        # An advantage that does not know the measure trains for the mean.
        ("mappo", {"critic": "categorical", "measure": "cvar:0.1"}, {}, (Expectation(), "agent")),
        ("qr-dqn", {"measure": "cvar:0.2"}, {}, (CVaR(0.2), "agent")),
        ("qmix", {}, {}, (Expectation(), "team")),
        ("riskq", {}, {}, (Wang(0.75), "team")),
        ("static-cvar-mappo", {}, {"alpha": 0.2}, (CVaR(0.2), "agent")),
        ("static-entropic-mappo", {"gamma": 0.99}, {}, None),
        ("srpo-mappo", {}, {}, None),
        ("rmix", {}, {}, None),
        ("reward-shaped-mappo", {}, {}, None),
        ("mv-matrpo", {}, {}, None),
        ("mv-ippo", {}, {}, None),
    ],
)
def test_what_each_method_maximises(method, chosen, swept, expected):
    assert maximised(preset(method, **chosen), swept) == expected


def test_a_budget_says_whose_return_counts():
    static = preset("static-entropic-mappo", tau=2.0)
    assert maximised(static, {}, {"budget": "team"}) == (Entropic(2.0), "team")
    assert maximised(static, {}, {"budget": "own"}) == (Entropic(2.0), "agent")


def test_nothing_is_said_of_what_is_not_known():
    assert maximised(SimpleNamespace(measure="cvar:0.1"), {}) is None
    evaluation = averse.evaluate(run_of(RISKY, method="reward-shaped-mappo"), 5)
    assert evaluation.objectives == {}
    assert evaluation.to_dict()["objective"] is None
    assert "trained for" not in str(evaluation)


def test_a_summary_is_read_with_an_objective_beside_it_and_without():
    evaluation = averse.evaluate(run_of(RISKY), 5)
    entry = evaluation.to_dict()
    assert Summary.from_dict(entry) == evaluation.summaries[""]
    del entry["objective"]
    assert Summary.from_dict(entry) == evaluation.summaries[""]


# --------------------------------------------------------------------------------------------------------- the interval


@pytest.mark.parametrize("seeds", [1, 3, 25])
def test_the_mean_has_the_interval_of_every_other_mean(seeds):
    returns = [np.random.default_rng(s).normal(s, 1.0, (40, 2)) for s in range(seeds)]
    expected = stratified_bootstrap_interval([each.mean(-1) for each in returns], mean)
    found = mean_of_measures(Expectation(), returns)
    np.testing.assert_allclose(
        [found.value, found.low, found.high], [expected.value, expected.low, expected.high], rtol=1e-9
    )


def test_neither_policies_nor_agents_are_pooled():
    """Sure of 0 and of 10, by policy and by agent: each is worth what it gets, and none bears the others' risk."""
    sure = [np.tile([float(a), float(b)], (5, 1)) for a, b in ((0, 10), (10, 20), (20, 30))]
    found = mean_of_measures(Entropic(1.0), sure)
    assert found.value == pytest.approx(15.0)
    assert (found.low, found.high) == pytest.approx((15 - 4.3027 * 10 / 3**0.5, 15 + 4.3027 * 10 / 3**0.5), rel=1e-4)


def test_one_policy_s_measure_is_resampled_over_its_episodes():
    returns = np.random.default_rng(0).normal(size=300)
    expected = stratified_bootstrap_interval(
        [returns], lambda values: -2.0 * np.log(np.mean(np.exp(-values / 2.0))), resamples=2000
    )
    found = mean_of_measures(Entropic(2.0), [returns[:, None]])
    np.testing.assert_allclose(
        [found.value, found.low, found.high], [expected.value, expected.low, expected.high], rtol=1e-9
    )
