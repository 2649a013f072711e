"""Recurrent MAPPO: a task that needs memory, sequences evaluated again exactly as they were acted, and exact resume."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import averse
from averse import AverseError, learners
from averse.environments.protocol import Discrete, StepResult
from averse.evaluation.play import compiled_player
from averse.learners.parts.action_distributions import action_distribution
from averse.learners.parts.networks import MLP, recurrent
from averse.learners.policy_gradient.mappo import segments
from averse.training.compiled import CompiledGroup, _rollout_step, start
from averse.training.host import HostGroup
from averse.training.starts import AsTheyCome
from averse.training.train import resume


class RecallState(NamedTuple):
    cues: jax.Array  # int32 [2], 0 or 1
    time: jax.Array


@dataclass(frozen=True)
class Recall:
    """Each of two agents is shown its cue at time 0 and is paid 1 for repeating it at time `delay`, else -1.

    In between it sees nothing but how late it is, so that without memory nothing beats chance, which returns 0.
    """

    delay: int = 5

    name: ClassVar[str] = "recall"
    num_agents: ClassVar[int] = 2
    action_space: ClassVar[Discrete] = Discrete(2)
    observation_size: ClassVar[int] = 3
    global_state_size: ClassVar[int] = 3
    metrics: ClassVar[dict[str, str]] = {"right": "fraction of the agents that repeated their cue"}

    @property
    def horizon(self):
        return self.delay + 1

    def return_bounds(self, gamma):
        return -1.0, 1.0

    def parameters(self):
        return {"delay": self.delay}

    def reset(self, key):
        state = RecallState(jax.random.randint(key, (2,), 0, 2), jnp.int32(0))
        return state, self._observe(state)

    def step(self, key, state, actions):
        last = state.time == self.delay
        right = actions == state.cues
        state = RecallState(state.cues, state.time + 1)
        return StepResult(
            state, self._observe(state), jnp.where(last, jnp.where(right, 1.0, -1.0), 0.0), jnp.zeros(2),
            jnp.full(2, last), jnp.bool_(False), {"right": right.mean()},
        )  # fmt: skip

    def _observe(self, state):
        shown = jnp.where(state.time == 0, jax.nn.one_hot(state.cues, 2), 0.0)
        return jnp.concatenate([shown, jnp.full((2, 1), state.time / self.delay)], -1)

    def global_state(self, state):
        return jnp.append(state.cues.astype(jnp.float32), state.time / self.delay)

    def available_actions(self, state):
        return jnp.ones((2, 2), bool)


# Episodes of 6 steps in segments of 8: most segments begin in the middle of an episode, and episodes end within them.
SMALL = {"num_envs": 16, "rollout_steps": 32, "segment_length": 8, "hidden": (16, 16)}
SEEDS = 5


def right(method, updates=60, env=None, **settings):
    """How often the trained policies repeat their cues in 200 fresh episodes, by seed."""
    env = env or Recall()
    learner = learners.learner(method, env, total_updates=updates, **{**SMALL, **settings})
    group = CompiledGroup(env, learner, [{"seed": seed} for seed in range(SEEDS)])
    group.start()
    group.advance(updates)
    play = compiled_player(env, learner, greedy=True)
    states = group.learner_states()
    return np.array(
        [play(jax.tree.map(lambda x: x[i], states), np.arange(200)).info["right"].mean() for i in range(SEEDS)]  # noqa: B023
    )


@pytest.mark.thorough
@pytest.mark.optimised
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("mappo", {}),
        pytest.param("ppo", {"shared": False}, marks=pytest.mark.slow),
        pytest.param("rqe-mappo", {}, marks=pytest.mark.slow),
    ],
)
def test_memory_solves_what_nothing_else_can(method, settings):
    assert (right(method, recurrent=True, **settings) > 0.95).all()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_memory_it_is_chance():
    """200 episodes of two agents: the standard error of a guess is 0.025."""
    assert (np.abs(right("mappo") - 0.5) < 0.1).all()


# --- sequences --------------------------------------------------------------------------------------------------------


def rollout(learner, env, steps):
    """A trajectory of the compiled loop, from an early moment on, and the learner's state."""
    starts = AsTheyCome(env)
    state = jax.jit(lambda seed: start(starts, learner, seed, {}))(np.uint32(3))
    step = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: _rollout_step(starts, learner, s, None), state, length=steps)
    )
    state, _ = step(state)  # memories are not blank when the next trajectory begins
    state, (trajectory, _, _) = step(state)
    return trajectory, state.learner


@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_sequences_are_evaluated_as_they_were_acted(shared):
    """Log-probabilities of whole segments, from the memory before each, are those recorded step by step."""
    env, length = Recall(), 8
    settings = {**SMALL, "hidden": (16, 12), "segment_length": length, "shared": shared, "recurrent": True}
    learner = learners.learner("mappo", env, **settings)
    trajectory, state = rollout(learner, env, learner.rollout_steps)
    first = np.asarray(trajectory.first)
    assert first.reshape(-1, length, SMALL["num_envs"])[:, 1:].any()  # episodes end in the middle of segments
    assert not first[0].all()
    assert np.asarray(trajectory.memory)[0].any()

    network = recurrent(MLP((16, 12), 2, 0.01), 2, env.observation_size, shared=shared)

    @jax.jit
    def ratio(params, trajectory, first):
        data = jax.tree.map(lambda x: segments(x, length), trajectory._replace(extras={}, first=first))
        log_prob = segments(trajectory.extras["log_prob"], length)
        outputs = network.unroll(params, data.memory[:, 0], data.observations, data.first, batch_first=True)
        return jnp.exp(action_distribution(env.action_space, outputs, data.available).log_prob(data.actions) - log_prob)

    actor = state.networks["actor"]
    np.testing.assert_allclose(ratio(actor, trajectory, first), 1.0, atol=1e-5)
    # Were memories not blanked where an episode begins, it would show.
    assert np.abs(ratio(actor, trajectory, np.zeros_like(first)) - 1.0).max() > 1e-4

    # Memory goes on from step to step, blank at each beginning.
    before, after = np.asarray(trajectory.memory), np.asarray(trajectory.extras["memory"])
    np.testing.assert_array_equal(before[1:], np.where(first[1:, :, None, None], 0.0, after[:-1]))
    assert (before[first] == 0).all()


@pytest.mark.slow
def test_the_first_step_of_an_update_starts_at_ratio_one():
    env = Recall()
    settings = {**SMALL, "recurrent": True, "epochs": 1, "minibatches": 1}
    learner = learners.learner("mappo", env, **settings)
    trajectory, state = rollout(learner, env, learner.rollout_steps)
    _, metrics = jax.jit(learner.update)(state, trajectory)
    assert abs(metrics["approximate_kl"]) < 1e-9
    assert metrics["clip_fraction"] == 0
    # A wrong memory at the beginning of the segments would show.
    _, wrong = jax.jit(learner.update)(state, trajectory._replace(memory=trajectory.memory + 1.0))
    assert wrong["approximate_kl"] > 1e-7


# --- whole runs -------------------------------------------------------------------------------------------------------

RUN = {"num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 2, "hidden": (8, 8), "recurrent": True}


def leaves_equal(one, other):
    return all(
        np.array_equal(*(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in pair))
        for pair in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "method", "group"),
    [("car-following", "rqe-mappo", CompiledGroup), ("sumo-intersection", "mappo", HostGroup)],
)
def test_resume_is_bit_exact(tmp_path, monkeypatch, environment, method, group):
    """Interrupted between checkpoints in the middle of episodes; the memory is part of what is kept.

    In SUMO, where episodes begin afresh at every checkpoint of either run, it is blank there.
    """
    arguments = {"steps": 64 * 12, "seeds": 2 if group is CompiledGroup else 1, "checkpoints": 6, **RUN}
    whole = averse.train(environment, method, out=tmp_path / "whole", **arguments)
    advance, calls = group.advance, []

    def interrupted(self, count):
        calls.append(count)
        if sum(calls) > 7:
            raise KeyboardInterrupt
        return advance(self, count)

    monkeypatch.setattr(group, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        averse.train(environment, method, out=tmp_path / "killed", **arguments)
    monkeypatch.setattr(group, "advance", advance)
    finished = resume(tmp_path / "killed")
    assert leaves_equal(finished.learner_states, whole.learner_states)


@pytest.mark.slow
def test_a_recurrent_run_is_evaluated_and_calibrated(tmp_path):
    run = averse.train("car-following", "rqe-mappo", steps=64, out=tmp_path / "run", **RUN)
    evaluation = averse.evaluate(run, episodes=10)
    assert evaluation.to_dict()["calibration"] is None  # nobody arrives yet, and time cuts every return short
    predicted = run.learner.predict_returns(
        run.state(0), np.zeros((7, 2, 5)), np.zeros((7, 4)), np.ones((7, 2, 21), bool), memory=np.zeros((7, 2, 8))
    )
    assert predicted.probs.shape == (7, 2, 51)
    # In one's own code: the same observation is answered by what was seen before; reset() forgets.
    policy = averse.load(tmp_path / "run").policy(greedy=True)
    observations = np.zeros((2, 5), np.float32)
    policy(observations)
    remembered = np.asarray(policy._memory)
    policy(observations)
    assert not np.array_equal(remembered, np.asarray(policy._memory))
    policy.reset()
    policy(observations)
    np.testing.assert_array_equal(remembered, np.asarray(policy._memory))


def test_memory_needs_a_layer():
    with pytest.raises(AverseError, match="at least one hidden layer"):
        learners.learner("mappo", Recall(), recurrent=True, hidden=())
