"""PettingZoo's worlds as environments, against the same worlds stepped by hand."""

import importlib
from functools import partial

import numpy as np
import pytest

import averse
from averse import AverseError, environments
from averse.environments import Discrete, check_environment, make, to_pettingzoo
from averse.environments.adapters.hosted import HostedVector
from averse.environments.adapters.parallel import ParallelWorker, Terms

DYING = "pettingzoo:foreign_worlds:Dying"
SEEDS = np.array([[3, 11]], np.uint32)


def play(environment, actions):
    """One episode's time steps, the first one the answer to the reset."""
    with environment.vector(1) as vector:
        first = vector.reset(SEEDS[:, :1])
        return [first, *(vector.step(np.array([row], np.int32)) for row in actions)]


@pytest.mark.parametrize("state", ["observations", "own"])
@pytest.mark.parametrize("name", ["simple_speaker_listener_v4", "simple_adversary_v3"])
def test_episodes_are_those_of_pettingzoo_to_the_last_bit(name, state):
    """Observations of 3 and 11 (8 and 10) numbers, 3 and 5 actions, rewards of each agent's own."""
    environment = make(f"pettingzoo:mpe2.{name}", state=state)
    world = importlib.import_module(f"mpe2.{name}").parallel_env()
    agents, size, n = world.possible_agents, environment.observation_size, environment.action_space.num_actions
    assert environment.agents == tuple(agents)
    assert (size, n) == (max(world.observation_space(a).shape[0] for a in agents), 5)
    rng = np.random.default_rng(0)

    def padded(seen):
        return np.stack([np.pad(seen[agent], (0, size - len(seen[agent]))) for agent in agents])

    with environment.vector(1) as vector:
        step = vector.reset(SEEDS)
        for seed in SEEDS[0]:
            seen, _ = world.reset(seed=int(seed))
            while world.agents:
                np.testing.assert_array_equal(step.observations[0], padded(seen))
                whole = padded(seen).reshape(-1) if state == "observations" else np.float32(world.state())
                np.testing.assert_array_equal(step.global_state[0], whole)
                assert step.available[0].sum(-1).tolist() == [world.action_space(agent).n for agent in agents]
                actions = np.array([rng.integers(world.action_space(agent).n) for agent in agents], np.int32)
                step = vector.step(actions[None])
                seen, rewards, ended, cut, _ = world.step(dict(zip(agents, actions.tolist())))
                np.testing.assert_array_equal(step.rewards[0], np.float32([rewards[agent] for agent in agents]))
                np.testing.assert_array_equal(step.next_observations[0], padded(seen))
                assert step.terminated[0].tolist() == [ended[agent] for agent in agents]
                assert step.truncated[0] == any(cut.values())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("pettingzoo:mpe2.simple_adversary_v3", {"state": "own"}), (DYING, {}), (DYING, {"team": True})],
)
def test_they_are_in_order(name, parameters):
    check_environment(
        make(name, horizon=25 if "mpe2" in name else 6, reward_bounds=(-200.0, 200.0), **parameters), episodes=4
    )


def test_agents_die_and_masks_hold():
    environment = make(DYING, horizon=9, report=("time",))
    assert environment.action_space == Discrete(4)
    steps = play(environment, [[1, 3, 2]] * 6)
    first, last = steps[0], steps[-1]
    np.testing.assert_array_equal(
        first.available[0], [[False, True, False, False], [True, False, False, True], [True, True, True, False]]
    )
    np.testing.assert_array_equal(first.observations[0], [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    paid = np.array([step.rewards[0] for step in steps[1:]])
    np.testing.assert_array_equal(paid[:, 0], [2, 2, 0, 0, 0, 0])  # a dies in its second step
    np.testing.assert_array_equal(paid[:, 1], [13, 13, 13, 13, 0, 0])
    np.testing.assert_array_equal(paid[:, 2], [102] * 6)
    np.testing.assert_array_equal(
        [step.terminated[0].tolist() for step in steps[2:5]], [[1, 0, 0], [1, 0, 0], [1, 1, 0]]
    )
    assert not steps[3].next_observations[0, 0].any()
    assert steps[3].next_available[0, 0].all()
    assert [bool(step.done[0]) for step in steps] == [False] * 6 + [True]
    assert (last.terminated[0].tolist(), last.truncated[0]) == ([True, True, False], True)
    costs = 0.5 * np.array([3, 3, 2, 2, 1, 1])
    np.testing.assert_array_equal([step.costs[0].sum() for step in steps[1:]], costs)
    assert (last.info["total_cost"][0], last.info["time"][0]) == (costs.sum(), 6.0)


def test_a_team_earns_the_mean_and_ends_together():
    steps = play(make(DYING, horizon=3, team=True), [[1, 3, 2]] * 3)
    means = np.float32([(2 + 13 + 102) / 3] * 2 + [(13 + 102) / 3])
    np.testing.assert_array_equal([step.rewards[0] for step in steps[1:]], np.tile(means[:, None], 3))
    assert not steps[-1].terminated.any()
    assert steps[-1].truncated[0]


def test_agents_that_take_turns_are_converted():
    environment = make("pettingzoo:foreign_worlds")  # its `env`
    assert (environment.horizon, environment.agents) == (3, ("x", "y"))
    steps = play(environment, [[2, 1], [0, 2], [1, 0]])
    np.testing.assert_array_equal([step.rewards[0] for step in steps[1:]], [[1, -2], [2, 0], [0, -1]])
    np.testing.assert_array_equal(steps[1].observations[0], [[0, 1, 0], [0, 0, 1]])
    assert steps[-1].truncated[0]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("late", r"all agents must be there when an episode begins \(\['a', 'b', 'c'\]\), not \['a', 'b'\]"),
        ("old", r"reset must return \(observation, info\), each by agent, not \{"),
        ("alone", "c is truncated while others go on"),
        ("joins", r"agents must be those that go on, \['b', 'c'\], not \['b', 'c', 'd'\]: none may join"),
        ("returns", r"agents must be those that go on, \['b', 'c'\], not \['b', 'c', 'a'\]"),
        ("leaves", r"agents must be those that go on, \['b', 'c'\], not \['b'\]"),
        ("unseen", r"b plays, and is given no observation \(step 3 of the episode with seed 3\)"),
        ("unpaid", "b plays, and is given no reward"),
    ],
)
def test_what_agents_must_not_do(fault, line):
    with pytest.raises(AverseError, match=f"^{DYING}: {line}") as caught:
        play(make(DYING, horizon=9, env_arg=(f"fault={fault}",)), [[1, 3, 2]] * 4)
    assert "\n" not in str(caught.value)


def test_an_action_that_an_agent_lacks():
    with pytest.raises(AverseError, match=f"^{DYING}: the action of a must be below 2, not 3"):
        play(make(DYING, horizon=9), [[3, 3, 2]])


@pytest.mark.parametrize(
    ("name", "parameters", "line"),
    [
        (
            "mpe2.simple_spred_v3",
            {},
            r"unknown PettingZoo environment 'mpe2.simple_spred_v3'; did you mean mpe2.simple_spread",
        ),
        ("sisl.pursuit_v3", {}, r"unknown PettingZoo environment .*; did you mean sisl.pursuit_v"),
        ("foreign_worlds:Dyin", {}, "the module foreign_worlds has no function Dyin"),
        ("json", {}, "the module json has no function parallel_env or env"),
        ("foreign_worlds:PARTS.get", {}, "has no function PARTS.get"),
        ("json:loads", {"env_arg": ('s="[1]"',)}, "pettingzoo:json:loads builds no environment of PettingZoo's"),
        ("foreign_worlds:Dying", {}, "does not say after how many steps an episode ends; give --horizon"),
        (
            "foreign_worlds",
            {"env_arg": ("parallel=false",)},
            "foreign_worlds: its agents take turns, and only worlds",
        ),
        (
            "foreign_worlds:Turns",
            {"state": "own"},
            r"has no state of its own \(state_space\); use --state observations",
        ),
        ("mpe2.simple_v3", {"env_arg": ("max_cycle=3",)}, "mpe2.simple_v3 cannot be built: TypeError: .*max_cycle"),
    ],
)
def test_what_cannot_be_built(name, parameters, line):
    with pytest.raises(AverseError, match=line) as caught:
        make(f"pettingzoo:{name}", **parameters)
    assert "\n" not in str(caught.value)


def test_our_own_world_comes_back_the_same():
    """Out through `to_pettingzoo`, in as a worker reads it; without the process, which would compile it once more."""
    ours = make("cliff-walk", horizon=6)
    worker = ParallelWorker(partial(to_pettingzoo, ours), Terms("cliff-walk", 6, False, False, ()))
    vector = HostedVector(ours, 1)
    for seed in range(5):
        step, state = vector.reset(np.array([[seed]], np.uint32)), worker.reset(seed, True)
        np.testing.assert_array_equal(state["observations"], step.observations[0])
        rng, over, ended = np.random.default_rng(seed), False, np.zeros(2, bool)
        while not over:
            actions = rng.integers(0, 4, 2).astype(np.int32)
            step, (state, outcome, over) = vector.step(actions[None]), worker.step(actions)
            ended = step.terminated[0]
            seen = np.where(ended[:, None], 0, step.next_observations[0])
            np.testing.assert_array_equal(state["observations"], seen)
            np.testing.assert_array_equal(outcome["rewards"], step.rewards[0])
            np.testing.assert_array_equal(outcome["costs"], step.costs[0])
            np.testing.assert_array_equal(outcome["terminated"], ended)
            assert (outcome["truncated"], over) == (step.truncated[0], step.done[0])


def test_a_run_is_trained_and_evaluated(tmp_path):
    small = {"num_envs": 2, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (8,)}
    bounds = {"reward_bounds": (0.0, 110.0), "horizon": 6}
    run = averse.train(DYING, "mappo", steps=64, out=tmp_path / "run", progress=False, **bounds, **small)
    again = averse.load(tmp_path / "run")
    assert environments.specification(again.environment).name == DYING
    episodes = averse.evaluate(again, 4, num_envs=2, progress=False).episodes
    assert (episodes.length == 6).all()
    assert ((episodes.agent_returns >= [2, 40, 600]) & (episodes.agent_returns <= [6, 56, 624])).all()
    assert run.config == again.config
