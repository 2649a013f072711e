"""The door for environments: names, modules, packages; what builds them again; what they may leave out."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from random_team import RandomTeam

from averse import AverseError, environments
from averse.environments import CompiledEnvironment, Discrete, StepResult, TimeStep, registry
from averse.environments.corridor import Corridor
from averse.environments.intersection.twin import Intersection
from averse.plugins import Registry
from averse.settings import settings


class Still(CompiledEnvironment):
    """Nothing moves, and nothing is paid."""

    num_agents, observation_size, horizon, action_space = 1, 1, 3, Discrete(2)
    reward_bounds = (0.0, 0.0)

    def reset(self, key):
        return jnp.int32(0), self.observe(0)

    def step(self, key, state, actions):
        return self.result(state + 1, 0.0, truncated=state + 1 >= self.horizon)

    def observe(self, state):
        return jnp.zeros((1, 1))


@settings
class Sized(Still):
    """Nothing moves, in a given size."""

    hidden: tuple[int, ...] = (1, 2)
    size: int = 1


@pytest.fixture
def fresh(monkeypatch):
    """A registry of this test's own."""
    own = Registry("environment", "averse.environments", registry._REGISTRY._builtin)
    monkeypatch.setattr(registry, "_REGISTRY", own)
    return own


def test_names_and_parameters_that_do_not_exist_suggest_the_nearest():
    with pytest.raises(AverseError, match=r"did you mean risky-cartpole\?"):
        environments.make("risky-cartpol")
    with pytest.raises(AverseError, match=r"did you mean level\?"):
        environments.make("risky-cartpole", levl="low")
    with pytest.raises(AverseError, match=r"unknown level 'sever'; did you mean severe\?"):
        environments.make("risky-cartpole", level="sever")
    with pytest.raises(AverseError, match=r"wind_probability must be .* in \[0, 1\]"):
        environments.make("risky-cartpole", wind_probability=1.5)
    with pytest.raises(AverseError, match=r"length must be a whole number in \[1, 10000\], not 0"):
        environments.make("corridor", length=0)
    with pytest.raises(AverseError, match="cannot be imported"):
        environments.make("random_team:Nobody")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gymnasum:CartPole-v1", "unknown library in front of a world 'gymnasum'; did you mean gymnasium?"),
        ("petingzoo:mpe2", "unknown library in front of a world 'petingzoo'; did you mean pettingzoo?"),
        (
            "foreign_worlds:Odd",
            "foreign_worlds:Odd is an environment of another library, gymnasium; "
            "name it gymnasium:foreign_worlds:ID, with the ID it registers",
        ),
        (
            "foreign_worlds:Dying",
            "foreign_worlds:Dying is an environment of another library, pettingzoo; "
            "name it pettingzoo:foreign_worlds:Dying",
        ),
        (
            "foreign_worlds:Turns",
            "foreign_worlds:Turns is an environment of another library, pettingzoo; "
            "name it pettingzoo:foreign_worlds:Turns",
        ),
    ],
)
def test_worlds_of_others_that_come_by_the_wrong_door(name, line):
    with pytest.raises(AverseError) as caught:
        environments.parameters_class(name)
    assert str(caught.value) == line


def _misnamed(size: "Siez" = 3):  # noqa: F821
    return Still()


def test_types_that_cannot_be_read_are_told_in_a_line(fresh):
    environments.register("misnamed", _misnamed)
    with pytest.raises(AverseError, match=r"misnamed: the types of its parameters cannot be read: name 'Siez' is not"):
        environments.parameters_class("misnamed")


def test_a_registered_class_and_a_registered_function(fresh):
    environments.register("sized", Sized)
    assert "sized" in environments.names()
    assert environments.make("sized", size=3) == Sized(size=3)
    assert environments.describe("sized") == "Nothing moves, in a given size."
    with pytest.raises(AverseError, match=r"unknown parameter of sized 'siz'; did you mean size\?"):
        environments.make("sized", siz=3)

    def short(length: int = 3, *, bad: float):
        """A short corridor."""
        return Corridor(length, bad_probability=bad)

    environments.register("short", short)
    assert environments.make("short", bad=0.2) == Corridor(3, bad_probability=0.2)
    assert environments.describe("short") == "A short corridor."
    with pytest.raises(AverseError, match=r"short: .*missing 1 required keyword-only argument: 'bad'"):
        environments.make("short")
    assert list(environments.parameters_class("short").__annotations__) == ["length", "bad"]
    assert environments.parameters_class("short")(bad=0.5).length == 3
    assert environments.parameters_class("corridor") is Corridor


def test_what_cannot_be_registered(fresh):
    with pytest.raises(AverseError, match="corridor is a built-in environment"):
        environments.register("corridor", Sized)
    with pytest.raises(AverseError, match="must be a class or a function, not 3"):
        environments.register("three", 3)
    with pytest.raises(AverseError, match="has letters"):
        environments.register("a b", Sized)
    environments.register("nothing", dict)
    with pytest.raises(AverseError, match=r"the parameters of .* cannot be found out|dict is no environment"):
        environments.make("nothing")


def test_an_installed_package_offers_one(fresh, monkeypatch):
    point = EntryPoint("team", "random_team:RandomTeam", "averse.environments")
    monkeypatch.setattr("averse.plugins.entry_points", lambda group: [point])
    assert environments.names()[-1] == "team"
    assert environments.make("team", agents=3) == RandomTeam(agents=3)
    assert environments.specification(RandomTeam(agents=3)).name == "team"
    lost = EntryPoint("lost", "no_such_module:World", "averse.environments")
    monkeypatch.setattr("averse.plugins.entry_points", lambda group: [lost])
    del fresh.__dict__["_offered"]
    assert "cannot be imported" in environments.describe("lost")


def test_what_builds_an_environment_again(fresh):
    specification = environments.specification(Intersection(num_agents=2, team=True))
    assert specification.name == "intersection"
    again = environments.make(specification.name, **json.loads(json.dumps(specification.parameters)))
    assert again == Intersection(num_agents=2, team=True)
    assert environments.specification(RandomTeam(actions=3)).name == "random_team:RandomTeam"
    environments.register("mine", RandomTeam)
    assert environments.specification(RandomTeam(actions=3)).name == "mine"
    environments.register("sized", Sized)
    stored = environments.specification(Sized(hidden=(4, 5)))
    assert environments.make("sized", **json.loads(json.dumps(stored.parameters))) == Sized(hidden=(4, 5))


def test_an_environment_that_only_a_function_builds_is_found_by_its_name(fresh):
    class Drawn(Still):
        name: ClassVar[str] = "drawn"

        def __init__(self, picture):
            self.picture = picture

        def parameters(self):
            return {"size": len(self.picture)}

    environments.register("drawn", lambda size=1: Drawn("x" * size))
    assert environments.specification(Drawn("xxx")) == ("drawn", {"size": 3})
    environments.register("drawn", lambda size=1: Drawn("x" * (size + 1)))
    with pytest.raises(AverseError, match=r"drawn: built again with size=3, it says size=4"):
        environments.specification(Drawn("xxx"))


def test_what_cannot_be_built_again(fresh):
    @dataclass(frozen=True)
    class Local(Still):
        size: int = 1

    with pytest.raises(AverseError, match=r"Local is defined where nothing can import it.*register") as caught:
        environments.specification(Local())
    assert "\n" not in str(caught.value)
    environments.register("local", Local)
    assert environments.specification(Local(size=2)) == ("local", {"size": 2})
    with pytest.raises(AverseError, match="the parameter size must be a number, a text"):
        environments.specification(Local(size=np.float32(2)))
    environments.register("bare", Bare)
    with pytest.raises(AverseError, match="Bare must be a dataclass or have a function parameters"):
        environments.specification(Bare())


class Bare:
    """An environment without our base classes, whose parameters nobody knows."""

    name, num_agents, observation_size, global_state_size, horizon = "bare", 1, 1, 1, 3
    action_space, metrics = Discrete(2), {}

    def __init__(self, size=1):
        self.size = size

    return_bounds = reset = step = global_state = available_actions = lambda self, *arguments: None


def test_a_class_of_the_running_script_is_told_to_register():
    script = (
        "from averse import environments\n"
        "from averse.environments.corridor import Corridor\n"
        "from averse.settings import settings\n"
        "@settings\n"
        "class Mine(Corridor):\n"
        "    '''Mine.'''\n"
        "try:\n    environments.specification(Mine())\n"
        "except environments.registry.AverseError as error:\n    print(error)\n"
        "environments.register('mine', Mine)\n"
        "print(environments.specification(Mine(length=4)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    refused, found = done.stdout.splitlines()
    assert refused.startswith("Mine is defined in the script that is being run")
    assert "averse.environments.register(NAME, Mine)" in refused
    assert "name='mine'" in found


def test_what_may_be_left_out():
    world = Still()
    assert world.name == "still"
    assert not world.metrics
    assert world.global_state_size == 1
    assert world.global_state(0).shape == (1,)
    assert world.available_actions(0).tolist() == [[True, True]]
    assert world.return_bounds(0.5) == (0.0, 0.0)
    assert world.parameters() == {}
    assert Sized().parameters() == {"hidden": (1, 2), "size": 1}
    assert not environments.is_average_reward(world)
    assert environments.suggested_settings(world, "mappo") == {}
    result = world.result(0, 1, terminated=True, truncated=True)
    assert isinstance(result, StepResult)
    assert result.terminated.all()
    assert not result.truncated


def test_an_environment_suggests_settings_and_so_does_its_kind():
    twin, simulator = environments.make("intersection"), environments.make("sumo-intersection")
    for method in ("ppo", "mappo", "reward-shaped-mappo", "mean-variance-mappo", "c51-cvar-mappo", "rqe-mappo"):
        assert environments.suggested_settings(twin, method)["num_envs"] == 256
        suggested = environments.suggested_settings(simulator, method)
        assert (suggested["num_envs"], suggested["rollout_steps"]) == (environments.HOST_ENVS, 32)
        assert suggested["value_scale"] == environments.suggested_settings(twin, method)["value_scale"]
    assert environments.suggested_settings(twin, "qmix") == {}
    assert environments.suggested_settings(simulator, "qmix") == {"num_envs": 16, "rollout_steps": 64}


@pytest.mark.parametrize("xp", [np, jnp])
def test_the_first_time_step_says_that_nothing_has_happened(xp):
    seen = xp.ones((2, 3, 4), "float32"), xp.ones((2, 5), "float32"), xp.ones((2, 3, 6), bool)
    step = TimeStep.first(*seen, ["hits"])
    assert isinstance(step.rewards, np.ndarray) == (xp is np)
    for array, dtype in ((step.rewards, "float32"), (step.costs, "float32"), (step.terminated, "bool")):
        assert (array.shape, str(array.dtype), bool(array.any())) == ((2, 3), dtype, False)
    assert (step.truncated.shape, str(step.truncated.dtype), bool(step.done.any())) == ((2,), "bool", False)
    assert step.info["hits"].tolist() == [0, 0]
    assert step.next_observations is step.observations


def test_the_package_is_light_and_lists_what_it_has():
    code = (
        "import sys, averse.environments as e; import averse.environments.workers.process\n"
        "assert 'jax' not in sys.modules; assert {'make', 'register', 'check_environment'} <= set(dir(e))\n"
        "assert all(getattr(e, name) is not None for name in e.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
