"""Training and evaluation do not depend on among how many processes the environments are divided."""

import jax
import numpy as np
import pytest

import averse
from averse import machine
from averse.environments.workers.encoded import EncodedVector
from averse.environments.workers.vector import PlainEncoder, WorkerVector
from averse.errors import AverseError
from averse.evaluation.host_play import learned, play_host
from averse.training.host_rollouts import EncodedRollouts, StepwiseRollouts

B, STEPS = 4, 8
SMALL = {"num_envs": B, "rollout_steps": STEPS, "segment_length": STEPS, "minibatches": 1, "epochs": 1, "hidden": (8,)}
ODD, HIDDEN = "gymnasium:foreign_worlds:Odd-v0", "gymnasium:foreign_worlds:Hidden-v0"


def leaves(tree) -> list[np.ndarray]:
    return [
        np.asarray(leaf) for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
    ]


def same(one, other) -> bool:
    pairs = zip(leaves(one), leaves(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


@pytest.fixture
def cores(monkeypatch):
    """Lets this process have as many cores as one says."""
    return lambda count: monkeypatch.setattr(machine, "cores", lambda: count)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("world", [ODD, "pettingzoo:foreign_worlds:Dying"])
def test_a_run_and_its_evaluation_are_the_same_on_any_number_of_cores(world, cores):
    runs = []
    for count in (1, 2, 3, B):
        cores(count)
        run = averse.train(world, "mappo", steps=3 * B * STEPS, horizon=6, **SMALL)
        with run.environment.vector(B) as vector:
            assert len(set(vector.pool.process_ids)) == count
        played = averse.evaluate(run, episodes=10).episodes
        runs.append((run.learner_states, {name: getattr(played, name) for name in ("agent_returns", "length", "seed")}))
    for other in runs[1:]:
        assert same(runs[0][0], other[0])
        for name, values in runs[0][1].items():
            np.testing.assert_array_equal(values, other[1][name])


@pytest.mark.timeout(240)
def test_dense_and_encoded_vectors_train_and_play_alike():
    """What compiled code states in one call with the policy is what numpy states step by step."""
    config = averse.configure(ODD, "ppo", steps=100, **SMALL)
    world = config.build_environment()
    learner = config.build_learner(world)
    state = learner.init(jax.random.key(0))
    rolled, played = [], []
    for kind in (EncodedRollouts, StepwiseRollouts):
        with world.vector(B) as vector:
            assert isinstance(vector, EncodedVector)
            if kind is StepwiseRollouts:
                vector = WorkerVector(vector.pool, PlainEncoder(vector.pool.layout), world.action_space)
            rollouts = kind(world, learner, vector)
            rollouts.begin(5)
            for update in range(2):
                trajectory, record = rollouts.play(state, jax.random.key(1), update)
                rolled.append(jax.tree.map(np.array, (trajectory._replace(memory=()), record)))
            actor = learned(learner, greedy=False)(state)
            played.append(play_host(vector, actor, np.arange(9), horizon=world.horizon, gamma=0.9))
    for one, other in ((rolled[0], rolled[2]), (rolled[1], rolled[3]), (played[0], played[1])):
        for a, b in zip(leaves(one), leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_a_world_that_shares_something_hidden_wants_a_process_of_its_own(cores):
    """Said in docs/environments.md: without it such a world depends on its neighbours, with it on nothing."""

    def play(count: int, own_process: bool) -> np.ndarray:
        cores(count)
        with averse.make(HIDDEN, own_process=own_process).vector(3) as vector:
            assert len(set(vector.pool.process_ids)) == (3 if own_process else count)
            vector.reset(np.arange(30, dtype=np.uint32).reshape(3, 10))
            return np.stack([vector.step(np.zeros((3, 1), int)).next_observations for _ in range(12)])

    cores(2)
    with pytest.raises(AverseError, match="the same seed and actions give another episode"):
        averse.check_environment(averse.make(HIDDEN, reward_bounds=(0.0, 1.0)))
    averse.check_environment(averse.make(HIDDEN, reward_bounds=(0.0, 1.0), own_process=True))
    alone = play(3, own_process=False)
    assert np.array_equal(alone, play(1, own_process=True))
    assert not np.array_equal(alone, play(1, own_process=False))
