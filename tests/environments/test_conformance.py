"""Our own environments pass the check that users have, every one of them, as they are and as they can be set."""

from importlib.util import find_spec

import pytest
from tiers import thorough

from averse import environments
from averse.environments import check_environment

SIMULATED = pytest.mark.skipif(find_spec("libsumo") is None, reason="needs the extra sumo")
VARIANTS = [
    thorough("intersection", {"num_agents": 1, "human_rate": 0.0, "departure_spread": 0.0, "horizon": 40}),
    pytest.param(
        "intersection",
        {"observation_noise": 1.0, "dropout": 0.1, "team": True, "num_agents": 2, "horizon": 40},
        marks=pytest.mark.slow,
    ),
    ("risky-cartpole", {"corridor": True, "level": "low", "horizon": 20}),
    thorough("risky-cartpole", {"continuous": True}),
    thorough("car-following", {"crash_rate": 2.0, "horizon": 30}),
    thorough("cliff-walk", {"success": 0.5, "goal_reward": -1.0}),
    thorough("microgrids", {"scenario": 1, "battery_levels": 3, "horizon": 50}),
    pytest.param(
        "sumo-intersection",
        {"team": True, "observation_noise": 1.0, "horizon": 40},
        marks=[SIMULATED, pytest.mark.thorough],
    ),
    ("random_team:RandomTeam", {"agents": 3}),
]
# The compiled junction takes half a minute to compile in all the ways that the check looks at it.
MARKS = {"sumo-intersection": [SIMULATED], "intersection": [pytest.mark.thorough]}
DEFAULTS = [pytest.param(name, {}, marks=MARKS.get(name, ())) for name in environments.names()]


@pytest.mark.parametrize(("name", "parameters"), [*DEFAULTS, *VARIANTS])
def test_an_environment_is_in_order(name, parameters):
    check_environment(environments.make(name, **parameters))


@pytest.mark.parametrize("name", environments.names())
def test_an_environment_is_described_in_one_line_and_can_be_stored(name):
    assert 20 < len(environments.describe(name)) <= 120
    environment = environments.make(name)
    assert environments.specification(environment) == (name, environments.parameters_of(environment))
    assert environments.is_compiled(environment) == (name != "sumo-intersection")
