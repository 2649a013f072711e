"""The certified optimum without tables of policies, against the general solver and the exact model."""

import math

import numpy as np
import pytest
from tiers import first_rows_quick

from averse import AverseError
from averse.environments.microgrids.environment import Microgrids
from averse.experiments.microgrids.large_optimum import LargeModel, certified_optimum
from averse.planning import best_joint_policy, mean_variance

CASES = [
    (Microgrids(scenario=1), 0.3),
    (Microgrids(scenario=1), 1.0),
    (Microgrids(scenario=1, microgrids=3, battery_levels=3), 2.0),
    (Microgrids(scenario=2, microgrids=1), 0.3),
    (Microgrids(scenario=2, microgrids=2, wind_levels=2, load_levels=3, battery_levels=4), 1.0),
    (Microgrids(scenario=2, wind_levels=2, load_levels=2, battery_levels=2), 5.0),
]


@pytest.mark.parametrize(("environment", "beta"), first_rows_quick(CASES, len(CASES) - 1))
@pytest.mark.thorough
def test_it_is_that_of_the_general_solver(environment, beta):
    """Two algorithms that share nothing but the scan: this one sees no table of joint actions."""
    told = []
    found = certified_optimum(environment.local_models(), beta, gap=1e-6, tell=told.append)
    expected = best_joint_policy(environment.model(), beta)
    assert found.objective == pytest.approx(expected.objective, abs=2e-6)
    assert found.objective - 1e-7 <= expected.upper_bound
    assert expected.objective - 1e-7 <= found.upper_bound <= found.objective + 1e-6
    assert found.objective == pytest.approx(found.eta - beta * found.zeta)
    assert sorted(told) == list(found.scanned)
    for bounds in found.scanned:
        assert bounds.lower <= bounds.upper <= bounds.lower + 1e-6
        assert bounds.lower <= expected.upper_bound


def test_one_step_of_dynamic_programming_is_that_of_the_exact_model():
    """T V against the factored game's best joint action, on random values, for each state."""
    environment = Microgrids(scenario=2, microgrids=2, wind_levels=3, load_levels=2, battery_levels=3)
    models, game = environment.local_models(), environment.model()
    model = LargeModel(models)
    # From joint states (w1, l1, b1, w2, l2, b2) to all winds and loads, then all batteries.
    shape = [size for local in models for size in local.shape]
    outside, inside = [0, 1, 3, 4], [2, 5]
    rng = np.random.default_rng(0)
    for beta, centre in ((0.0, 0.0), (0.3, -1.5), (5.0, 0.4)):
        values = rng.normal(size=game.num_states)
        expected, _ = game.best_joint(game.uniform_policy(), beta, centre, values)
        sorted_values, sorted_expected = (
            x.reshape(shape).transpose(outside + inside).reshape(model.shape) for x in (values, expected)
        )
        found, policy = model.improved(model.mean_next(sorted_values), beta, centre)
        np.testing.assert_allclose(found, sorted_expected, atol=1e-12)
        reward = policy.power - beta * np.square(policy.power - centre)
        rows = np.arange(model.shape[0])[:, None]
        np.testing.assert_allclose(reward + model.mean_next(sorted_values)[rows, policy.target], found, atol=1e-12)


def test_nothing_sells_more_on_average_than_doing_nothing():
    for environment, _ in CASES:
        highest = LargeModel(environment.local_models()).highest
        assert highest == pytest.approx(best_joint_policy(environment.model(), 0.0).eta, abs=1e-9)


def test_the_steady_state_of_a_policy():
    environment = Microgrids(scenario=2, microgrids=2, wind_levels=2, load_levels=2, battery_levels=2)
    model = LargeModel(environment.local_models())
    _, policy = model.improved(np.zeros(model.shape), 1.0, -1.0)
    start = np.full(model.shape, 1 / math.prod(model.shape))
    eta, zeta, share = model.long_run(policy, start, 1e-13)
    assert share.sum() == pytest.approx(1)
    game, sizes = environment.model(), environment.local_models()[0].shape
    # The same policy as tables: each battery to its target, what is thrown away dealt out to whoever has wind.
    tables = [np.zeros((game.num_states, n)) for n in game.num_actions]
    for state in range(game.num_states):
        (w1, l1, b1), (w2, l2, b2) = (np.unravel_index(s, sizes) for s in divmod(state, math.prod(sizes)))
        x, b = np.ravel_multi_index((w1, l1, w2, l2), (2, 2, 2, 2)), 2 * b1 + b2
        target = np.unravel_index(policy.target[x, b], (2, 2))
        models, chosen = environment.local_models(), []
        best = None
        for first, second in np.ndindex(*game.num_actions):
            own = [np.ravel_multi_index(level, sizes) for level in ((w1, l1, b1), (w2, l2, b2))]
            legal = all(m.available[s, a] for m, s, a in zip(models, own, (first, second)))
            if not legal or any(m.next_battery[s, a] != t for m, s, a, t in zip(models, own, (first, second), target)):
                continue
            apart = abs(sum(m.reward[s, a] for m, s, a in zip(models, own, (first, second))) - policy.power[x, b])
            if best is None or apart < best:
                best, chosen = apart, [first, second]
        assert best == pytest.approx(0, abs=1e-9)
        for table, action in zip(tables, chosen):
            table[state, action] = 1
    value = mean_variance(game, tables, 1.0, initial=np.full(game.num_states, 1 / game.num_states))
    assert (eta, zeta) == pytest.approx(value[:2], abs=1e-9)


@pytest.mark.parametrize("bad", [{"beta": 0.0}, {"beta": 1.0, "gap": 0.0}])
def test_bad_input_is_one_clear_line(bad):
    with pytest.raises(AverseError, match="beta must be positive and gap at least"):
        certified_optimum(Microgrids(scenario=1).local_models(), **bad)
