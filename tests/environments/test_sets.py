"""What environments say of the sets in their vectors: our own ones say what is so, and what cannot be so is refused."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_trajectory import World

from averse import AverseError, environments
from averse.environments import SetLayout, find_faults, global_state_layout, observation_layout
from averse.environments.batch import reset_batch, step_batch
from averse.environments.cliff_walk import CliffWalk

SIMULATED = pytest.mark.skipif(find_spec("libsumo") is None, reason="needs the extra sumo")


def members(vectors, layout: SetLayout) -> np.ndarray:
    """The members of vectors [..., own + K F], as [..., K, F]."""
    return np.asarray(vectors)[..., layout.own :].reshape(*vectors.shape[:-1], layout.count, layout.size)


@pytest.mark.thorough
@pytest.mark.parametrize("parameters", [{}, {"num_agents": 2, "human_rate": 0.0, "num_neighbours": 3}])
def test_cars_of_the_junction_are_members(parameters):
    env = environments.make("intersection", **parameters)
    of_seen, of_state = observation_layout(env), global_state_layout(env)
    assert of_seen.total == env.observation_size
    assert of_state.total == env.global_state_size
    assert of_seen.count == env.num_neighbours
    assert of_state.count == env.num_agents + min(6, env.num_humans)
    batch, first = jax.jit(lambda key: reset_batch(env, key, 8))(jax.random.key(0))
    advance = jax.jit(lambda batch: step_batch(env, batch, jnp.ones((8, env.num_agents), jnp.int32)))
    later = [first] + [(batch := step, now)[1] for _ in range(12) for step, now in [advance(batch)]]
    seen = members(np.stack([now.observations for now in later]), of_seen)
    assert set(np.unique(seen[..., 0])) == {0, 1}
    assert not seen[seen[..., 0] == 0].any()
    cars = members(np.stack([now.global_state for now in later]), of_state)
    assert set(np.unique(cars[..., :2])) == {0, 1}
    assert not cars[cars[..., 0] == 0][:, 2:].any()  # not on the road: nothing but whether it is still to come


@SIMULATED
def test_the_simulator_says_what_the_twin_says():
    twin, simulated = environments.make("intersection"), environments.make("sumo-intersection")
    assert observation_layout(twin) == observation_layout(simulated)
    assert global_state_layout(twin) == global_state_layout(simulated)
    for env in (twin, simulated):
        assert env.suggested_settings("rqe-mappo")["network"] == "sets"


def test_most_worlds_say_nothing():
    for world in (environments.make("corridor"), World()):  # with our base class and without
        assert observation_layout(world) is global_state_layout(world) is None


@pytest.mark.parametrize("read", [observation_layout, global_state_layout])
@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (SetLayout(1, 2, 3), r"must have own \+ count \* size = \d+ numbers, as \w+_size says, not 1 \+ 2 \* 3 = 7"),
        ((1, 2, 3), r"must be a SetLayout\(own, count, size\), not \(1, 2, 3\)"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(read, layout, words):
    class Wrong(CliffWalk):
        pass

    name = read.__name__
    setattr(Wrong, name, layout)
    with pytest.raises(AverseError, match=f"^cliff-walk: {name} {words}") as caught:
        read(Wrong())
    assert "\n" not in str(caught.value)
    assert str(caught.value) in find_faults(Wrong())


@pytest.mark.parametrize(
    ("numbers", "words"),
    [((-1, 2, 2), "own must be a whole number >= 0"), ((5, 0, 2), "count must be a"), ((1, 2, 2.0), "size must be a")],
)
def test_a_layout_is_made_of_whole_numbers(numbers, words):
    with pytest.raises(AverseError, match=words):
        SetLayout(*numbers)
