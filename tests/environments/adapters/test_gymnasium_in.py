"""Gymnasium's worlds as environments, against the same worlds stepped by hand."""

import json
import subprocess
import sys
from functools import partial

import gymnasium
import numpy as np
import pytest
from foreign_worlds import KILL
from gymnasium.spaces.utils import flatten

import averse
from averse import AverseError, environments, learners
from averse.cli import main
from averse.environments import Box, Discrete, check_environment, make
from averse.environments.adapters.parallel import ParallelWorker
from averse.training.config import TrainingConfig

ODD = "gymnasium:foreign_worlds:Odd-v0"
SEEDS = np.array([[3, 11], [5, 2**32 - 1]], np.uint32)
WORLDS = {
    "CartPole-v1": {},
    "Pendulum-v1": {"horizon": 12},
    "FrozenLake-v1": {"env_arg": ("map_name=8x8", "is_slippery=true")},
    "FrozenLake-v1 by a map": {"env_arg": ('desc=["SFFF","FHFH","FFFH","HFFG"]',)},
    "Taxi-v4": {},
    "MountainCarContinuous-v0": {"horizon": 12},
    "foreign_worlds:Odd-v0": {},
}


def draws(space, rng, available):
    """Actions [A] or [A, size] that are allowed; beyond a box, too."""
    if isinstance(space, Box):
        return rng.uniform(1.5 * space.low, 1.5 * space.high, (1, space.size)).astype(np.float32)
    return np.array([rng.choice(np.flatnonzero(row)) for row in available], np.int32)


def own_action(space, action):
    """The same action in Gymnasium's words."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(action[0]) + int(space.start)
    return np.clip(action[0], space.low.ravel(), space.high.ravel()).reshape(space.shape).astype(space.dtype)


@pytest.mark.parametrize("id", WORLDS)
def test_episodes_are_those_of_gymnasium_to_the_last_bit(id):
    environment = make(f"gymnasium:{id.partition(' ')[0]}", **WORLDS[id])
    arguments = environments.adapters.foreign.arguments_of(environment.env_arg)
    own = gymnasium.make(id.partition(" ")[0], max_episode_steps=environment.horizon, **arguments)
    flat = gymnasium.wrappers.FlattenObservation(own)
    rng = np.random.default_rng(0)
    with environment.vector(2) as vector:
        step = vector.reset(SEEDS)
        seen, info = flat.reset(seed=int(SEEDS[0, 0]))
        episode = 0
        for _ in range(40):
            np.testing.assert_array_equal(step.observations[0, 0], np.asarray(seen, np.float32))
            np.testing.assert_array_equal(step.global_state[0], np.asarray(seen, np.float32))
            if "action_mask" in info:
                np.testing.assert_array_equal(step.available[0, 0], info["action_mask"].astype(bool))
            actions = np.stack([draws(environment.action_space, rng, row) for row in step.available])
            step = vector.step(actions)
            seen, reward, terminated, truncated, info = flat.step(own_action(own.action_space, actions[0]))
            assert step.rewards[0, 0] == np.float32(reward)
            assert (step.terminated[0, 0], step.truncated[0]) == (terminated, truncated and not terminated)
            np.testing.assert_array_equal(step.next_observations[0, 0], np.asarray(seen, np.float32))
            if terminated or truncated:
                episode += 1
                if episode == 2:
                    break
                seen, info = flat.reset(seed=int(SEEDS[0, episode]))
    assert id in ("Taxi-v4", "FrozenLake-v1 by a map") or episode or environment.horizon > 40


@pytest.mark.parametrize(
    ("id", "parameters"),
    [
        ("CartPole-v1", {"reward_bounds": (0.0, 1.0)}),
        ("foreign_worlds:Stretched-v0", {"horizon": 7, "reward_bounds": (-10.0, 31.0)}),
    ],
)
def test_they_are_in_order(id, parameters):
    check_environment(make(f"gymnasium:{id}", **parameters), episodes=6)


def play(environment, actions):
    with environment.vector(1) as vector:
        first = vector.reset(np.array([[4]], np.uint32))
        return [first, *(vector.step(np.array([row])) for row in actions)]


def test_parts_of_an_observation_stand_one_after_another():
    environment = make(ODD)
    step = play(environment, [])[0]
    world = gymnasium.make("Odd-v0")
    seen, _ = world.reset(seed=4)
    assert environment.observation_size == 3 + 4 + 2
    # a Dict's parts are sorted by name: the pair, then the place
    by_hand = [*seen["pair"][0].ravel(), *seen["pair"][1], 1, 0, 0]
    np.testing.assert_array_equal(step.observations[0, 0], np.float32(by_hand))
    np.testing.assert_array_equal(step.observations[0, 0], flatten(world.observation_space, seen).astype(np.float32))


def test_costs_and_metrics():
    environment = make(ODD, report=("time", "jax", "nowhere"))
    steps = play(environment, [[0]] * 5)
    assert [float(step.costs[0, 0]) for step in steps[1:]] == [0.25, 0.5, 0.75, 1.0, 1.25]
    last = {name: float(value[0]) for name, value in steps[-1].info.items()}
    assert np.isnan(last.pop("nowhere"))
    # "jax": whether the worker process has imported it
    assert last == {"total_cost": 3.75, "time": 5.0, "jax": 0.0, "worker_failed": 0.0}
    assert set(environment.metrics) == {*last, "nowhere"}


@pytest.mark.parametrize(
    ("ends", "horizon", "outcome"),
    [
        (True, 20, (5, True, False)),
        (False, 20, (5, False, True)),
        (True, 3, (3, False, True)),
        (True, 5, (5, True, False)),  # both at once: it has ended
    ],
)
def test_ends_and_cuts_are_kept_apart(ends, horizon, outcome):
    environment = make(ODD, env_arg=(f"ends={str(ends).lower()}",), horizon=horizon)
    length, terminated, truncated = outcome
    steps = play(environment, [[0]] * length)
    assert not any(step.done.any() for step in steps[:-1])
    assert (steps[-1].terminated[0, 0], steps[-1].truncated[0]) == (terminated, truncated)


def test_bounds_of_their_own_are_stretched_and_equal_ones_kept():
    environment = make("gymnasium:foreign_worlds:Stretched-v0", horizon=9)
    assert environment.action_space == Box(2, -1.0, 1.0)
    actions = [[[-1.0, -1.0]], [[1.0, 1.0]], [[0.0, 0.5]], [[5.0, -5.0]]]
    paid = [float(step.rewards[0, 0]) for step in play(environment, np.float32(actions))[1:]]
    assert paid == [-10.0, 31.0, 0.5 + 20.0, 1.0 - 10.0]
    equal = make("gymnasium:foreign_worlds:Stretched-v0", horizon=9, env_arg=("low=[-2,-2]", "high=[3,3]"))
    assert equal.action_space == Box(2, -2.0, 3.0)
    assert float(play(equal, np.float32([[[0.25, 7.0]]]))[-1].rewards[0, 0]) == 3.25


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("no number", r"the reward must be finite in single precision, not nan \(step 2 of the episode with seed 4\)"),
        ("infinite", r"the reward must be finite in single precision, not 1e\+39"),
        ("text", "the reward must be a number, not 'high'"),
        ("list", r"the reward must be a number, not \[1.0\]"),
        ("none", "the reward must be a number, not None"),
        ("observation", r"the observation must be finite, but holds nan \(step 2 "),
        ("shape", r"the observation must be of its space Dict\(.*, not \{'place': 3"),
        ("negative", "the cost must be at least 0, not -1"),
        ("cost", "the cost must be a number, not 'dear'"),
        ("mask", "the action has a mask that must be 3 truths, one of them true, not array"),
        ("info", "info must be a dictionary, not None"),
        ("four", r"step must return \(observation, reward, terminated, truncated, info\), not a tuple of 4"),
        ("truth", "terminated must be true or false, not 'no'"),
    ],
)
def test_what_a_world_must_not_answer(fault, line):
    with pytest.raises(AverseError, match=rf"^gymnasium:foreign_worlds:Odd-v0: {line}") as caught:
        play(make(ODD, env_arg=(f"fault={fault}",)), [[0]] * 2)
    assert "\n" not in str(caught.value)


SPACES = r"must be of a space Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple of these, not "
ACTIONS = r"must be of a space Discrete or Box \(floats with finite bounds\), not "


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("seen=text", f"the observation {SPACES}Text"),
        ("seen=sequence", f"the observation {SPACES}Sequence"),
        ("acted=many", f"the action {ACTIONS}MultiDiscrete"),
        ("acted=unbounded", f"the action {ACTIONS}Box"),
        ("acted=whole", f"the action {ACTIONS}Box"),
    ],
)
def test_unsupported_spaces(arguments, line):
    with pytest.raises(AverseError, match=f"^gymnasium:foreign_worlds:Spaced-v0: {line}"):
        make("gymnasium:foreign_worlds:Spaced-v0", env_arg=(arguments,))


@pytest.mark.parametrize(
    ("name", "parameters", "line"),
    [
        ("gymnasium:CartPol-v1", {}, r"unknown Gymnasium id 'CartPol-v1'; did you mean CartPole-v1 or CartPole-v0\?"),
        ("gymnasium:CartPole", {}, "unknown Gymnasium id 'CartPole'; did you mean CartPole-v1"),
        ("gymnasium:nowhere:X-v0", {}, "gymnasium:nowhere:X-v0: the module nowhere cannot be imported: No module"),
        ("gymnasium:CartPole-v1", {"env_arg": ("gravty=5",)}, "CartPole-v1 cannot be built: TypeError: .*gravty"),
        ("gymnasium:CartPole-v1", {"env_arg": ("gravity",)}, "--env-arg takes NAME=VALUE .*, not 'gravity'"),
        ("gymnasium:CartPole-v1", {"env_arg": ("x=[1",)}, "--env-arg takes NAME=VALUE .*, not 'x=.1'"),
        ("gymnasium:CartPole-v1", {"env_args": ()}, r"unknown parameter .* 'env_args'; did you mean env_arg\?"),
        ("gymnasium:CartPole-v1", {"reward_bounds": (1.0, 0.0)}, "reward_bounds must be the lowest"),
        ("gymnasium:CartPole-v1", {"report": ("a", "a")}, "report must name different numbers of info"),
        ("gymnasium:CartPole-v1", {"report": ("length",)}, "report must name different numbers of info, none of"),
        ("gymnasium:CartPole-v1", {"report": ("rewards",)}, "report must name different numbers of info, none of"),
        ("gymnasium:foreign_worlds:Stretched-v0", {}, "Stretched-v0 does not say after how many steps .* --horizon"),
    ],
)
def test_what_cannot_be_built(name, parameters, line):
    with pytest.raises(AverseError, match=line):
        make(name, **parameters)


def test_a_class_that_no_process_can_import():
    with pytest.raises(AverseError, match=r"^gymnasium:foreign_worlds:Local-v0 cannot be started in worker processes"):
        make("gymnasium:foreign_worlds:Local-v0").vector(1)


def test_critics_with_a_support_must_be_told_of_rewards():
    environment = make("gymnasium:CartPole-v1")
    with pytest.raises(
        AverseError, match=r"^gymnasium:CartPole-v1 does not say how large rewards are.* --reward-bounds"
    ):
        averse.configure("gymnasium:CartPole-v1", "rqe-mappo")
    settled = averse.configure("gymnasium:CartPole-v1", "rqe-mappo", support=(0.0, 100.0))
    assert settled.learner["support"] == (0.0, 100.0)
    told = make("gymnasium:CartPole-v1", reward_bounds=(0.0, 1.0))
    assert told.return_bounds(0.99) == pytest.approx((0.0, 100.0))
    kinds = {name for name in learners.names() if _builds(name, environment)}
    with_bounds = {name for name in learners.names() if _builds(name, told)}
    assert {"ppo", "mappo", "dqn"} <= kinds
    assert {"rqe-mappo", "c51", "riskq", "c51-cvar-mappo"} <= with_bounds - kinds | {"riskq"}


def _builds(method, environment):
    try:
        learners.learner(method, environment)
    except AverseError:
        return False
    return True


def test_a_worker_that_dies_is_replaced_and_said_so():
    with make(ODD, env_arg=("fault=deadly",), own_process=True).vector(2) as vector:
        vector.reset(SEEDS)
        before = vector.step(np.array([[0], [0]]))
        died = vector.step(np.array([[KILL], [0]]))
        assert died.info["worker_failed"].tolist() == [1.0, 0.0]
        assert (died.truncated.tolist(), died.terminated.any()) == ([True, False], False)
        assert died.rewards[:, 0].tolist() == [0.0, np.float32(2.1)]
        np.testing.assert_array_equal(died.next_observations[0], before.observations[0])
        after = vector.step(np.array([[0], [0]]))
        assert after.rewards[:, 0].tolist() == [np.float32(1.1), np.float32(3.1)]


def test_a_fault_late_in_training_loses_nothing_that_was_saved(tmp_path):
    settings = {"num_envs": 2, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (8,)}
    with pytest.raises(AverseError, match=r"not nan \(step 2 of .*\); the checkpoint after update \d+ is kept$"):
        averse.train(
            ODD,
            "ppo",
            steps=32 * 32,
            checkpoints=32,
            out=tmp_path / "run",
            environment_parameters={"env_arg": ("fault=no number", "spared=20")},
            **settings,
        )
    assert averse.evaluate(tmp_path / "run", episodes=3).episodes.seed.size == 3


def test_a_run_is_trained_resumed_and_evaluated_as_by_hand(tmp_path, capsys):
    name, out = "gymnasium:CartPole-v1", str(tmp_path / "run")
    flags = ["--num-envs", "2", "--rollout-steps", "16", "--minibatches", "1", "--epochs", "1", "--hidden", "8"]
    world = ["--env", name, "--env-arg", "sutton_barto_reward=true", "--horizon", "30", "--method", "ppo"]
    assert main(["train", *world, "--steps", "64", "--out", out, "--quiet", *flags]) == 0
    config = TrainingConfig.from_json((tmp_path / "run" / "config.json").read_text())
    kept = {
        "env_arg": ("sutton_barto_reward=true",),
        "horizon": 30,
        "reward_bounds": None,
        "report": (),
        "own_process": False,
    }
    assert (config.environment, config.environment_parameters) == (name, kept)
    assert environments.specification(config.build_environment()) == (name, kept)
    assert main(["train", "--resume", out, "--steps", "96", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["evaluate", out, "--episodes", "6", "--greedy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["environment"] == name
    played = averse.evaluation.Episodes.read_parquet(tmp_path / "run" / "episodes.parquet")
    policy = averse.load(out).policy(greedy=True)
    own = gymnasium.make("CartPole-v1", max_episode_steps=30, sutton_barto_reward=True)
    for row, seed in enumerate(played.seed):
        seen, _ = own.reset(seed=int(seed))
        total, length, over = 0.0, 0, False
        while not over:
            seen, reward, terminated, truncated, _ = own.step(int(policy(seen[None])[0]))
            total, length, over = total + reward, length + 1, terminated or truncated
        assert (played.agent_returns[row, 0], played.length[row]) == (total, length)
    assert main(["evaluate", out, "--episodes", "6", "--shift", "env_arg=sutton_barto_reward=false,"]) == 0
    assert sorted(path.name for path in (tmp_path / "run").glob("episodes-*"))


def test_flags_of_worlds_that_cannot_be_built_without_them(tmp_path, capsys):
    endless = ["train", "--env", "gymnasium:foreign_worlds:Stretched-v0", "--method", "ppo", "--quiet"]
    (tmp_path / "taken").write_text("")
    assert main([*endless, "--out", str(tmp_path / "taken")]) == 2
    assert "give --horizon STEPS" in capsys.readouterr().err
    assert main([*endless, "--horizon", "5", "--out", str(tmp_path / "taken")]) == 2
    assert "taken exists already" in capsys.readouterr().err  # all else was in order
    assert main([*endless, "--horizon", "5", "--env-arg", "low=[0", "--out", str(tmp_path / "taken")]) == 2
    assert "--env-arg takes NAME=VALUE" in capsys.readouterr().err


def test_gymnasium_is_not_imported_by_averse():
    code = (
        "import sys, averse, averse.environments as e; e.names(); e.make('corridor'); "
        "print({'gymnasium', 'pettingzoo'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_discrete_spaces_keep_their_size():
    assert make(ODD).action_space == Discrete(3)


@pytest.mark.parametrize(
    "world", ["CartPole-v1", "Pendulum-v1", "foreign_worlds:Stretched-v0", "foreign_worlds:Odd-v0"]
)
def test_the_short_cut_for_plain_answers_is_no_other_way(world):
    """Whatever a world answers comes out as where it is looked at closely, its faults too."""
    horizon = 7
    environment = make(f"gymnasium:{world}", horizon=horizon)
    shape, dtype = environment._interface.layout(environment._terms).actions
    told = 0
    for answer in (None, (np.zeros(2), 0.0, False), "nan", "bool", "mask"):
        workers = []
        for is_short in (True, False):
            start = partial(environment._start({}), horizon=horizon)
            workers.append(ParallelWorker(start, environment._terms))
            workers[-1]._is_plain &= is_short
        generator = np.random.default_rng(0)
        for seed in range(3):
            states = [worker.reset(seed, True) for worker in workers]
            done = False
            while not done:
                steps, faults = [], []
                actions = generator.integers(0, 2, shape).astype(dtype)
                for worker in workers:
                    inner, own = worker._env.env, worker._env.env.step
                    if answer is not None and worker._time == 3:
                        inner.step = partial(odd_answer, own, answer)
                    try:
                        steps.append(worker.step(actions))
                    except AverseError as error:
                        faults.append(str(error))
                    inner.step = own
                assert not faults or (len(faults) == 2 and faults[0] == faults[1])
                if faults:
                    told += 1
                    break
                one, other = steps
                done = one.done
                assert one.done is other.done
                for values, others in ((one.state, other.state), (one.outcome, other.outcome), states):
                    assert values.keys() == others.keys()
                    for name, value in values.items():
                        np.testing.assert_array_equal(value, others[name], strict=isinstance(value, np.ndarray))
                        assert np.shape(value) == np.shape(others[name])
    assert told


def odd_answer(step, answer, action):
    """What a world answers, but for one thing."""
    if not isinstance(answer, str):
        return answer
    seen, reward, terminated, truncated, info = step(action)
    if answer == "nan":
        return seen, np.nan, terminated, truncated, info
    if answer == "bool":
        return seen, np.float64(reward), np.bool_(terminated), truncated, info
    return seen, reward, terminated, truncated, {**info, "action_mask": np.array([0, 1, 0], np.int8), "cost": 2}
