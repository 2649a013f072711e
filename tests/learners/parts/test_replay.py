"""The replay buffer and its sequences against plain Python."""

from functools import partial

import jax
import numpy as np
import pytest

from averse.learners.contract import Trajectory
from averse.learners.parts.replay import Sequences, continues, ring, sequences_of, size_in_bytes, time_major, usable

T, B, A, O, G, N = 6, 4, 2, 3, 5, 3  # noqa: E741


def trajectory(seed: int, steps: int = T, envs: int = B) -> Trajectory:
    """Numbers that tell where they belong, and ends at random."""
    rng = np.random.default_rng(seed)
    agents = (steps, envs, A)
    over = np.repeat(rng.random((steps, envs, 1)) < 0.2, A, axis=-1)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return Trajectory(
        observations=draw(*agents, O),
        global_state=draw(steps, envs, G),
        available=rng.random((*agents, N)) < 0.8,
        actions=rng.integers(N, size=agents).astype(np.int32),
        extras={},
        rewards=draw(*agents),
        costs=draw(*agents),
        terminated=over,
        truncated=(rng.random((steps, envs)) < 0.2) & ~over.all(-1),
        active=np.ones(agents, bool),
        first=np.concatenate([np.ones((1, envs), bool), np.zeros((steps - 1, envs), bool)]),
        next_observations=draw(*agents, O),
        next_global_state=draw(steps, envs, G),
        next_available=rng.random((*agents, N)) < 0.8,
        memory=draw(*agents, 7),
    )


@partial(jax.jit, static_argnames="with_state")
def stored_sequences(data: Trajectory, with_state: bool) -> Sequences:
    return sequences_of(data, with_state=with_state)


@jax.jit
def marks(data: Trajectory) -> tuple[jax.Array, jax.Array]:
    """What is usable, and what goes on."""
    batch = time_major(sequences_of(data, with_state=False))
    return usable(batch), continues(batch)


def test_a_column_of_a_rollout_is_a_sequence():
    data = trajectory(0)
    stored = jax.device_get(stored_sequences(data, True))
    for b in range(B):
        for t in range(T):
            np.testing.assert_array_equal(stored.observations[b, t], data.observations[t, b])
            np.testing.assert_array_equal(stored.available[b, t], data.available[t, b])
            np.testing.assert_array_equal(stored.global_state[b, t], data.global_state[t, b])
            np.testing.assert_array_equal(stored.actions[b, t], data.actions[t, b])
            np.testing.assert_array_equal(stored.rewards[b, t], data.rewards[t, b])
            assert stored.truncated[b, t] == data.truncated[t, b]
        np.testing.assert_array_equal(stored.observations[b, T], data.next_observations[T - 1, b])
        np.testing.assert_array_equal(stored.available[b, T], data.next_available[T - 1, b])
        np.testing.assert_array_equal(stored.global_state[b, T], data.next_global_state[T - 1, b])
        np.testing.assert_array_equal(stored.memory[b], data.memory[0, b])
    there_and_back = jax.jit(lambda batch: time_major(time_major(batch)))(stored)
    for one, other in zip(jax.tree.leaves(there_and_back), jax.tree.leaves(stored), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_usable_and_what_goes_on():
    for seed in range(20):
        data = trajectory(seed)
        use, on = map(np.asarray, marks(data))
        for b in range(B):
            for t in range(T):
                cut = data.truncated[t, b] and not data.terminated[t, b].all()
                known = t == T - 1 or not cut
                assert use[t, b] == known
                next_known = t == T - 1 or use[t + 1, b]
                for a in range(A):
                    ended = data.terminated[t, b, a] or data.truncated[t, b]
                    assert on[t, b, a] == (not ended and next_known)


@pytest.mark.parametrize("capacity", [12, 10])
def test_the_ring_against_a_plain_list(capacity):
    """After any number of additions it holds the last `capacity` sequences, and draws each equally often."""
    buffer = ring(max_length=capacity, min_length=B, sample_batch_size=10)
    batches = [jax.device_get(stored_sequences(trajectory(seed), True)) for seed in range(9)]
    state = jax.jit(buffer.init)(jax.tree.map(lambda x: x[0], batches[0]))
    add, sample = jax.jit(buffer.add), jax.jit(jax.vmap(buffer.sample, in_axes=(None, 0)))
    reference: list[Sequences] = []
    for number, batch in enumerate(batches):
        state = add(state, batch)
        reference += [jax.tree.map(lambda x: np.asarray(x[b]), batch) for b in range(B)]  # noqa: B023
        reference = reference[-capacity:]
        drawn = sample(state, jax.random.split(jax.random.key(number), 100)).experience
        drawn = jax.tree.map(lambda x: np.asarray(x).reshape(1000, *x.shape[2:]), drawn)
        counts = np.zeros(len(reference), int)
        for i, entry in enumerate(reference):
            same = (np.asarray(drawn.rewards) == entry.rewards).all((-1, -2))
            counts[i] = same.sum()
            for field, expected in zip(jax.tree.leaves(drawn), jax.tree.leaves(entry), strict=True):
                assert (np.asarray(field)[same] == expected).all()
        assert counts.sum() == 1000  # nothing else is ever drawn, neither blanks nor what was overwritten
        expected_count = 1000 / len(reference)
        assert (np.abs(counts - expected_count) < 6 * np.sqrt(expected_count)).all()


def test_vmapped_rings_are_independent():
    buffer = ring(max_length=16, min_length=B, sample_batch_size=16)
    batches = [jax.device_get(stored_sequences(trajectory(seed), False)) for seed in range(2)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *batches)

    def filled_and_sampled(batch, key):
        state = buffer.add(buffer.init(jax.tree.map(lambda x: x[0], batch)), batch)
        return buffer.sample(state, key).experience

    drawn = jax.jit(jax.vmap(filled_and_sampled))(stacked, jax.random.split(jax.random.key(0), 2))
    for i in range(2):
        assert set(np.asarray(drawn.rewards)[i, :, 0, 0]) == set(batches[i].rewards[:, 0, 0])


def test_bytes():
    blank = stored_sequences(trajectory(0), True)
    per_sequence = 4 * (7 * A * O + 7 * G + T * A + A * 7) + 7 * A * N + T * A * 3 + T * 2
    assert size_in_bytes(blank) == B * per_sequence
