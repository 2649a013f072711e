"""Methods by name: registered ones, `module:Attribute`, configurations, and what is wrong with bad ones."""

import dataclasses
import sys
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from random_trajectory import World

import averse
from averse import AverseError, learners
from averse.learners import MAPPOConfig, Method, RMIXConfig, ValueBasedConfig, fixed
from averse.learners.registry import _METHODS
from averse.risk import Entropic
from averse.settings import Count, Fraction, settings

SMALL = {"num_envs": 4, "rollout_steps": 8, "segment_length": 4, "minibatches": 2, "hidden": (16,)}


@settings
class IdleConfig:
    """Settings of a method that does nothing."""

    action: int = 0
    alpha: Fraction = 0.5
    measure: str = "entropic:1"
    num_envs: Count = 2
    rollout_steps: Count = 3


def build_idle(config, environment, total_updates):
    return fixed(lambda observations: np.full(observations.shape[:2], config.action), gamma=config.alpha)


IDLE = Method(IdleConfig(), build_idle, "Always the same action.")
NOT_A_METHOD = 3


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(_METHODS, "_registered", {})


@pytest.fixture
def module(monkeypatch):
    """This file as a module that can be imported."""
    monkeypatch.setitem(sys.modules, "own_methods", sys.modules[__name__])


def test_every_method_has_a_preset_and_a_sentence():
    assert len(learners.names()) == 19
    for name in learners.names():
        found = learners.method(name)
        assert found.description.endswith(".")
        assert "\n" not in found.description
        assert learners.preset(name) == found.preset


@pytest.mark.usefixtures("registered")
def test_a_registered_method_is_one_like_others():
    learners.register("idle", IdleConfig(), build_idle, "Always the same action.")
    assert learners.names()[-1] == "idle"
    assert learners.method("idle") == IDLE
    learner = learners.learner("idle", World(), action=2, tau=5.0)
    actions, _ = learner.act((), np.zeros((4, 3, 5)), None, jax.random.key(0))
    assert (actions == 2).all()
    assert learners.preset("idle", tau=5.0).measure == "entropic:5"
    # What a configuration calls its own is not the measure's number.
    assert learners.preset("idle", alpha=0.25, tau=5.0).alpha == 0.25
    assert learners.named_configuration(IdleConfig(action=3)) == ("idle", IdleConfig(action=3))
    learners.register("idle", IdleConfig(action=1), build_idle)
    assert learners.preset("idle").action == 1


@pytest.mark.usefixtures("module")
def test_a_method_of_a_module():
    assert learners.method("own_methods:IDLE") is IDLE
    learner = learners.learner("own_methods:IDLE", World(), action=1)
    assert (learner.act((), np.zeros((4, 3, 5)), None, jax.random.key(0))[0] == 1).all()


def test_a_configuration_finds_its_method():
    for name in learners.names():
        config = learners.preset(name)
        assert learners.named_configuration(config) == (name, config)
    tolerant = MAPPOConfig(critic="categorical", measure="entropic:7", advantage="entropic", gamma=0.9)
    assert learners.named_configuration(tolerant) == ("rqe-mappo", tolerant)
    assert learners.named_configuration(RMIXConfig(fixed_alpha=0.2))[0] == "rmix"
    assert learners.named_configuration(ValueBasedConfig(mixer="sum"))[0] == "vdn"


def test_a_learner_from_a_configuration_is_that_of_the_name():
    config = learners.preset("rqe-mappo", tau=3.0, **SMALL)
    states = [
        learners.learner(given, World(), 10, gamma=0.9).init(jax.random.key(0))
        for given in (config, dataclasses.replace(config, gamma=0.5))
    ]
    named = learners.learner("rqe-mappo", World(), 10, measure=Entropic(3.0), **SMALL).init(jax.random.key(0))
    for state in states:
        for one, other in zip(jax.tree.leaves(state.networks), jax.tree.leaves(named.networks), strict=True):
            np.testing.assert_array_equal(one, other)
        assert float(state.measure.tau) == float(named.measure.tau) == 3.0


@dataclass
class Bare:
    """Settings without the size of a batch."""

    num_envs: int = 1


@pytest.mark.usefixtures("registered", "module")
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: learners.register("ppo", IdleConfig(), build_idle), "ppo is a built-in method"),
        (lambda: learners.register("my method", IdleConfig(), build_idle), "a name of methods has letters"),
        (lambda: learners.register("idle", IdleConfig, build_idle), "must be an instance of a dataclass"),
        (lambda: learners.register("idle", {"num_envs": 1}, build_idle), "must be an instance of a dataclass"),
        (lambda: learners.register("idle", IdleConfig(), "build"), "build of idle must be a function"),
        (lambda: learners.register("idle", Bare(), build_idle), "need the field rollout_steps"),
        (lambda: learners.method("own_methods:NOT_A_METHOD"), "own_methods:NOT_A_METHOD is no averse.learners.Method"),
        (lambda: learners.method("own_methods:MISSING"), "cannot be imported"),
        (lambda: learners.method("nowhere_at_all:IDLE"), "cannot be imported"),
        (lambda: learners.method("rqe-mapo"), "did you mean rqe-mappo"),
        (lambda: learners.named_configuration(Bare()), r"register\(name, Bare\(...\), build\)"),
        (lambda: learners.named_configuration(MAPPOConfig), "no method has settings of the class MAPPOConfig"),
        (lambda: learners.build("qmix", RMIXConfig(), World(), 1), "are of the class ValueBasedConfig, not RMIXConfig"),
        (lambda: learners.learner("ppo", World(), 0), "total_updates must be a whole number >= 1, not 0"),
        (lambda: learners.preset("rqe-mappo", taw=1.0), "unknown setting of rqe-mappo 'taw'; did you mean tau"),
        (lambda: learners.preset("matrpo", tau=1.0), "unknown setting of matrpo 'tau'"),
        (lambda: learners.with_settings(MAPPOConfig(), gama=1.0), "unknown setting of MAPPOConfig 'gama'"),
        (lambda: learners.preset("ppo", hidden=(64, 0)), "hidden must be a sequence, each of it a whole number >= 1"),
        (lambda: learners.preset("ppo", critic="scalr"), "unknown critic 'scalr'; did you mean scalar"),
        (lambda: learners.preset("ppo", recurrent=1), "recurrent must be true or false, not 1"),
    ],
)
def test_bad_input_gets_one_clear_line(act, words):
    with pytest.raises(AverseError, match=words) as caught:
        act()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [None, 3, [], {}, b"ppo", object()])
def test_a_name_that_is_no_text(name):
    with pytest.raises(AverseError, match="a name of methods must be a text, not"):
        averse.learners.preset(name)
    with pytest.raises(AverseError, match="a name of environments must be a text, not"):
        averse.make(name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ppo", "corridor"), "str is no environment"),
        (("ppo", None), "NoneType is no environment"),
        ((3, averse.make("corridor")), "no method has settings of the class int"),
        (("ppo", averse.make("corridor"), 0), "total_updates must be a whole number >= 1, not 0"),
        (("ppo", averse.make("corridor"), "many"), "total_updates must be a whole number >= 1, not 'many'"),
        (("ppo", averse.make("corridor"), True), "total_updates must be a whole number >= 1, not True"),
        (("ppo", averse.make("corridor"), 2**31), "total_updates must be at most 2147483647"),
    ],
)
def test_a_learner_of_wrong_arguments(arguments, words):
    with pytest.raises(AverseError, match=words):
        averse.learner(*arguments)
