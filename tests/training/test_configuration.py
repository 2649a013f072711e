"""From what a user gives to a checked configuration: settings, parameters, sweeps, objects instead of names."""

import numpy as np
import pytest

import averse
from averse.environments.corridor import Corridor
from averse.errors import AverseError
from averse.learners import MAPPOConfig
from averse.risk import CVaR, Entropic
from averse.training import configure
from averse.training.config import TrainingConfig


def test_a_critic_means_the_same_in_the_twin_and_in_the_simulator():
    """Or a policy that moves across would begin with a new critic."""
    scales = {configure(name, "mappo").learner["value_scale"] for name in ("intersection", "sumo-intersection")}
    assert len(scales) == 1


def test_settings_that_suit_the_environment_come_after_the_users():
    assert configure("intersection", "rqe-mappo").learner["num_envs"] == 256
    assert configure("intersection", "rqe-mappo", num_envs=8).learner["num_envs"] == 8
    assert configure("intersection", "qmix").learner["num_envs"] == averse.learners.preset("qmix").num_envs


def test_parameters_of_the_environment_may_stand_among_the_settings():
    config = configure("risky-cartpole", "ppo", level="low", horizon=30, hidden=[8, 8])
    assert config.environment_parameters["level"] == "low"
    assert config.environment_parameters["horizon"] == 30
    assert config.learner["hidden"] == (8, 8)


@pytest.mark.parametrize("values", [[1.0, 3.0], (1.0, 3.0), np.array([1.0, 3.0]), np.array([1, 3])])
def test_any_sequence_for_a_number_is_a_sweep(values):
    config = configure("corridor", "rqe-mappo", tau=values, seeds=2)
    assert config.sweep == {"tau": (1.0, 3.0)}
    assert config.learner["measure"] == "entropic:1"
    assert config.trials[2] == {"seed": 0, "tau": 3.0}


def test_a_sequence_for_a_sequence_is_a_setting():
    config = configure("corridor", "rqe-mappo", hidden=[32, 32], support=[-20.0, 20.0], learning_rate=[1e-3, 1e-4])
    assert config.learner["hidden"] == (32, 32)
    assert config.learner["support"] == (-20.0, 20.0)
    assert config.sweep == {"learning_rate": (1e-3, 1e-4)}


def test_the_measure_is_said_once():
    assert configure("corridor", "rqe-mappo", tau=3).learner["measure"] == "entropic:3"
    assert configure("corridor", "c51-cvar-mappo", measure=CVaR(0.2)).learner["measure"] == "cvar:0.2"
    assert "tau" not in configure("corridor", "rqe-mappo", tau=3).learner
    with pytest.raises(AverseError, match="contradict"):
        configure("corridor", "rqe-mappo", measure="entropic:2", tau=3)


def test_objects_stand_for_names():
    by_object = configure(Corridor(length=5), MAPPOConfig(clip=0.1))
    assert (by_object.environment, by_object.method) == ("corridor", "mappo")
    assert by_object.environment_parameters["length"] == 5
    assert by_object.learner["clip"] == 0.1
    assert by_object.build_environment() == Corridor(length=5)


def test_what_cannot_be_built_again_cannot_be_stored(tmp_path):
    class Hidden(Corridor):
        """Nobody can import it from here."""

    small = {"num_envs": 4, "rollout_steps": 16, "minibatches": 1, "epochs": 1, "hidden": (4,)}
    run = averse.train(Hidden(), "ppo", steps=64, **small)
    assert isinstance(run.environment, Hidden)
    with pytest.raises(AverseError, match="register"):
        averse.train(Hidden(), "ppo", steps=64, out=tmp_path / "run", **small)
    assert not (tmp_path / "run").exists()


def test_it_reads_what_it_writes():
    config = configure("corridor", "rqe-mappo", tau=[3.0, float("inf")], hidden=(8,), seeds=[4, 2])
    assert TrainingConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps must be a whole number >= 1, not 0"),
        ({"steps": float("nan")}, "steps must be a whole number >= 1, not nan"),
        ({"steps": "many"}, "steps must be a whole number >= 1, not 'many'"),
        ({"seeds": 0}, "seeds must be a whole number >= 1, not 0"),
        ({"seeds": [1, 1]}, "different"),
        ({"seeds": [-1]}, "seeds must be a sequence, each of it a whole number >= 0"),
        ({"tau": [1.0, 0.0]}, "tau must be"),
        ({"tau": [1.0, 1.0]}, "different numbers"),
        ({"tau": []}, "a sweep over tau needs one or more numbers"),
        ({"tau": ["a"]}, "a sweep over tau needs one or more numbers"),
        ({"tau": [1, 10**400]}, "a sweep over tau needs numbers below 1e308"),
        ({"gamma": [0.9, 0.99]}, "cannot sweep 'gamma' of rqe-mappo; allowed: epsilon, learning_rate, tau"),
        ({"critic": ["scalar", "dual"]}, "a sweep over critic needs one or more numbers"),
        ({"checkpoints": 0}, "checkpoints must be a whole number >= 1, not 0"),
        ({"seeds_as": "vmpa"}, "did you mean vmap"),
        ({"lenth": 3}, "unknown setting of rqe-mappo or parameter of corridor 'lenth'; did you mean length"),
        ({"length": 0}, "length must be a whole number in [1, 10000], not 0"),
        ({"length": 5, "environment_parameters": {"length": 5}}, "given twice"),
        ({"alpha": 0.1}, "alpha does not belong to the measure"),
        ({"measure": 3}, "a risk measure is a text such as cvar:0.1"),
        ({"steps": True}, "steps must be a whole number >= 1, not True"),
        ({"num_envs": True}, "num_envs must be a whole number >= 1, not True"),
        ({"length": 1.5}, "length must be a whole number in [1, 10000], not 1.5"),
        ({"seeds": [True, False]}, "seeds must be a sequence, each of it a whole number >= 0"),
        ({"max_gradient_norm": 0}, "max_gradient_norm must be a finite number > 0, not 0"),
        ({"critic_weight": -1}, "critic_weight must be a finite number >= 0, not -1"),
        ({"bad_reward": float("nan")}, "bad_reward must be a number in"),
        ({"clip": float("inf")}, "clip must be a finite number > 0, not inf"),
        ({"hidden": [8, 0]}, "hidden must be a sequence, each of it a whole number >= 1"),
    ],
)
def test_bad_configurations_are_one_line(arguments, words):
    with pytest.raises(AverseError, match=words.replace("[", r"\[")) as caught:
        configure("corridor", "rqe-mappo", **{"steps": 64, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "method", "words"),
    [
        ("corridr", "ppo", "did you mean corridor"),
        ("corridor", "mapo", "did you mean mappo"),
        (Corridor, "ppo", "Corridor is a class, not an environment"),
        (3, "ppo", "is no environment"),
        ("corridor", 3, "no method has settings of the class int"),
        ("nowhere:Nothing", "ppo", "cannot be imported"),
    ],
)
def test_what_is_no_environment_or_method(environment, method, words):
    with pytest.raises(AverseError, match=words):
        configure(environment, method)


WRONG = (None, 3.5, -1, True, "x", b"x", [], {}, object(), float("nan"), np.zeros((2, 2)), [None], lambda: 0)


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("environment", ()),
        ("method", ()),
        ("steps", ()),
        ("seeds", ()),
        ("environment_parameters", (None, {})),
        ("checkpoints", ()),
        ("seeds_as", ()),
        ("fine_tune", (None, "x", b"x")),
        ("overwrite", (True,)),
        ("progress", (True,)),
        ("track", ([],)),
        ("checkpoint_minutes", (None, 3.5)),
        ("gamma", ()),
        ("tau", (None, 3.5)),
        ("length", ()),
        ("hidden", ([],)),
        ("measure", (None,)),
        ("support", (None,)),
        ("centralised", (True,)),
    ],
)
def test_an_argument_of_a_wrong_type_is_named(argument, allowed, monkeypatch):
    """Whatever it is, it is refused before any work, in one line that names the argument."""
    monkeypatch.setattr("averse.training.loop.advance_group", lambda *_: pytest.fail("trained"))
    for value in WRONG:
        if any(value is each or (type(value) is type(each) and value == each) for each in allowed):
            continue
        given = {"environment": "corridor", "method": "rqe-mappo", "steps": 64, argument: value}
        with pytest.raises(AverseError) as caught:
            averse.train(**given)
        assert argument in str(caught.value), value
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [value for value in WRONG if not isinstance(value, str | bytes)])
def test_a_path_that_is_none_is_named(value):
    for function in (averse.load, averse.resume):
        with pytest.raises(AverseError, match="path must be a path, not"):
            function(value)
    if value is not None:
        with pytest.raises(AverseError, match="out must be a path, not"):
            averse.train("corridor", "ppo", steps=64, out=value)


@pytest.mark.parametrize("path", ["", "a\0b", b"a\0b"])
def test_a_path_that_no_file_can_have(path):
    with pytest.raises(AverseError, match="path must be a path, not"):
        averse.load(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 1e300}, "updates, and at most 2147483647 can be counted"),
        ({"seeds": 100_001}, "seeds must be at most 100,000"),
        ({"seeds": [2**32]}, "below 2^32"),
        ({"tau": np.linspace(1, 2, 100), "seeds": 10_000}, "make 1,000,000 trials; a run has at most 100,000"),
        ({"learning_rate": 1e-300}, r"(of a size between 1e-30 and 1e+30), not 1e-300"),
        ({"epsilon": [0.1, 1e300]}, "epsilon must be a finite number >= 0 (of a size"),
        ({"bad_reward": -1e300}, "bad_reward must be a number in"),
    ],
)
def test_what_is_too_much_or_too_little(given, words):
    with pytest.raises(AverseError) as caught:
        configure("corridor", "rqe-mappo", **{"steps": 64, **given})
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["length", "good_reward", "bad_probability"])
def test_parameters_of_an_object_are_set_where_it_is_built(name):
    for method in ("rqe-mappo", MAPPOConfig()):
        with pytest.raises(
            AverseError, match=rf"{name} is a parameter of the environment: .* Corridor\({name}="
        ) as told:
            configure(Corridor(), method, 64, **{name: 1})
        assert "segment_length" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"measure": "entropic:7", "tau": [1, 2]}, "'entropic:7' and a sweep over tau (1, 2) contradict"),
        ({"measure": Entropic(7.0), "tau": [1.0]}, "'entropic:7' and a sweep over tau (1) contradict"),
        ({"measure": "cvar:0.3", "alpha": [0.1, 0.2], "advantage": "influence"}, "a sweep over alpha (0.1, 0.2)"),
    ],
)
def test_a_sweep_drops_no_number_of_a_measure(given, words):
    with pytest.raises(AverseError) as caught:
        configure("corridor", "rqe-mappo", 64, **given)
    assert words in str(caught.value)


def test_a_number_that_is_swept_over_is_no_contradiction():
    config = configure("corridor", "rqe-mappo", 64, measure="entropic:7", tau=[1, 7])
    assert config.sweep == {"tau": (1.0, 7.0)}


@pytest.mark.parametrize("value", [3, [1], "length", {1, 2}])
def test_environment_parameters_are_a_dictionary(value):
    for environment in ("corridor", Corridor()):
        with pytest.raises(AverseError, match="environment_parameters must be a dict or nothing, not"):
            averse.train(environment, "ppo", 64, environment_parameters=value)
