"""Worlds that are stepped from Python in haste: training and play as in one program, and who is played so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse import environments, learners
from averse.compilation import hasty_compilation
from averse.environments import stepwise
from averse.environments.batch import reset_batch, reset_shapes, step_batch
from averse.environments.corridor import Corridor
from averse.evaluation import play
from averse.training import configure
from averse.training.compiled import CompiledGroup
from averse.training.run import trainee_of
from averse.training.stepwise import StepwiseGroup

SMALL = {
    "mappo": {"num_envs": 10, "rollout_steps": 12, "segment_length": 12, "minibatches": 1, "epochs": 1, "hidden": (8,)},
    "vdn": {"num_envs": 10, "rollout_steps": 12, "hidden": (8,), "gradient_steps": 1, "batch_size": 4},
}


class Keyed(Corridor):
    """A corridor that keeps its randomness in its state, as a key of JAX, and cannot be hashed."""

    __hash__ = None

    def reset(self, key):
        key, own = jax.random.split(key)
        state, observations = super().reset(key)
        return (state, own), observations

    def step(self, key, state, actions):
        state, own = state
        result = super().step(jax.random.fold_in(own, 1), state, actions)
        return result._replace(state=(result.state, jax.random.fold_in(own, 2)))

    def global_state(self, state):
        return super().global_state(state[0])

    def available_actions(self, state):
        return super().available_actions(state[0])


def plain(tree):
    """Numpy's arrays of a tree; keys as numbers."""
    return jax.tree.map(
        lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x), tree
    )


def assert_close(tree, other, tolerance=2e-4):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(plain(tree)), jax.tree.leaves(plain(other)), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.astype(float), b.astype(float), atol=tolerance, rtol=tolerance)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Neither batches nor what ends of them are whole blocks, and no programs are left from other blocks."""
    stepwise._shared.cache_clear()
    monkeypatch.setattr(stepwise, "BLOCK", 4)
    yield
    stepwise._shared.cache_clear()


@pytest.mark.parametrize("world", [Corridor(), Keyed()], ids=["corridor", "keyed"])
def test_batches_are_those_of_one_program(world):
    """With the same keys, over the ends of episodes."""
    own = stepwise.stepwise(world)
    whole, first = jax.jit(reset_batch, static_argnums=(0, 2))(Corridor(), jax.random.key(3), 10), None
    if isinstance(world, Keyed):
        whole = jax.jit(lambda key: reset_batch(world, key, 10))(jax.random.key(3))
    batch, first = own.reset_batch(jax.random.key(3), 10)
    assert_close((batch, first), whole)
    step = jax.jit(lambda batch, actions: step_batch(world, batch, actions))
    reference, ended = whole[0], 0
    for time in range(2 * world.horizon):
        actions = np.full((10, world.num_agents), time % 2, np.int32)
        batch, answer = own.step_batch(batch, actions)
        reference, expected = step(reference, actions)
        assert_close((batch, answer), (reference, expected))
        ended += int(answer.done.sum())
    assert ended > 10


@pytest.mark.parametrize("method", ["mappo", pytest.param("vdn", marks=pytest.mark.thorough)])
def test_training_is_that_of_one_program(method):
    """Figures, episodes, and the state that a checkpoint holds; also where it goes on from one."""
    world, trials = Corridor(), [{"seed": 3, "learning_rate": 1e-3}, {"seed": 4, "learning_rate": 2e-3}]
    with hasty_compilation():
        learner = learners.learner(method, world, **SMALL[method])
        whole, brief = CompiledGroup(world, learner, trials), StepwiseGroup(world, learner, trials)
        for group in (whole, brief):
            group.start()
        assert_close(brief.snapshot(), whole.snapshot())
        for (metrics, records), (expected, seen) in zip(*([g.advance(2) for _ in range(2)] for g in (brief, whole))):
            for own, other in zip(metrics, expected, strict=True):
                assert own == pytest.approx(other, rel=1e-3, abs=1e-4)
            assert_close(records, seen)
        snapshot = brief.snapshot()
        assert_close(snapshot, whole.snapshot())
        assert [(x.shape, x.dtype) for x in jax.tree.leaves(brief.abstract())] == [
            (x.shape, x.dtype) for x in jax.tree.leaves(snapshot)
        ]
        (metrics, _), after = brief.advance(1), plain(brief.snapshot())
        brief.restore(snapshot)
        assert brief.advance(1)[0] == metrics
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(plain(brief.snapshot())), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", SMALL)
def test_episodes_are_those_of_one_program(method, monkeypatch):
    """Each of its own length, with the moment at which the critic is asked."""
    world, seeds = environments.make("cliff-walk", horizon=9), np.arange(30)
    learner = learners.learner(method, world, **SMALL[method])
    state = learner.init(jax.random.key(0))
    played = {}
    with hasty_compilation():
        for most in (0, 9):
            monkeypatch.setattr(play, "MOST_STEPS", most)
            played[most] = play.compiled_player(world, learner, greedy=False)(state, seeds)
    assert len(np.unique(played[9].length)) > 1
    assert_close(played[9], played[0])


def test_programs_are_shared_by_worlds_that_are_equal():
    one, same, other = (environments.make("cliff-walk", horizon=horizon) for horizon in (9, 9, 8))
    assert stepwise.stepwise(one) is stepwise.stepwise(same)
    assert stepwise.stepwise(one) is not stepwise.stepwise(other)
    assert stepwise.stepwise(Keyed()).environment == Keyed()


@pytest.mark.parametrize("name", ["corridor", "cliff-walk", "budget:corridor"])
def test_shapes_are_those_of_a_batch(name):
    world = environments.make(name)
    batch, step = jax.eval_shape(lambda key: reset_batch(world, key, 3), jax.random.key(0))
    assert reset_shapes(world, 3) == (batch.states, step)


@pytest.mark.parametrize(("steps", "hasty", "kind"), [(6e4, True, StepwiseGroup), (7e4, True, CompiledGroup),
                                                      (6e4, False, CompiledGroup)])  # fmt: skip
def test_short_runs_are_stepped_from_python_in_haste(steps, hasty, kind):
    """A step of all 12 environments at a time: 5,000 of them."""
    config = configure("corridor", "ppo", steps, num_envs=12, rollout_steps=10, segment_length=10, minibatches=1)
    world = config.build_environment()
    with hasty_compilation(hasty):
        assert type(trainee_of(config, world, config.build_learner(world), [0])) is kind
