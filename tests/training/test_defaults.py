"""Which settings a method gets where the user gives none."""

import pytest

from averse.environments import make
from averse.errors import AverseError
from averse.training import configure, default_settings


def test_the_junction_has_settings_of_its_own_for_mappo_only():
    twin = make("intersection")
    assert default_settings(twin, "rqe-mappo")["num_envs"] == 256
    assert default_settings(twin, "qmix") == default_settings(make("risky-cartpole"), "rqe-mappo") == {}


def test_a_critic_means_the_same_in_the_twin_and_in_the_simulator():
    """Or a policy that moves across would begin with a new critic."""
    scales = {configure(name, "mappo").learner["value_scale"] for name in ("intersection", "sumo-intersection")}
    assert len(scales) == 1


def test_what_the_user_gives_comes_first():
    assert configure("intersection", "mappo", num_envs=8).learner["num_envs"] == 8
    with pytest.raises(AverseError, match="did you mean mappo"):
        default_settings(make("intersection"), "mapo")
