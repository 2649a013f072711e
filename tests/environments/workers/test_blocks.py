"""Several environments in one worker process: the same episodes as alone, and failures that stay where they are.

The toy's episodes have 2 + seed % 3 steps. Its first observation is (seed, step, episodes since an exact reset).
"""

import logging
import os
import signal
import time
from functools import partial

import numpy as np
import pytest
from toy_worker_environment import AGENTS, HANG, KILL, LAYOUT, NUM_ACTIONS, RAISE, REFUSE, Toy

from averse.environments.protocol import Discrete, TimeStep
from averse.environments.workers.crew import Crew
from averse.environments.workers.encoded import EncodedVector, PlainEncoding
from averse.environments.workers.placement import crews_from, start_vector
from averse.environments.workers.pool import MAX_FAILURES, WorkerPool
from averse.environments.workers.vector import PlainEncoder, WorkerVector
from averse.errors import AverseError

B = 6  # in two processes: environments 0, 1, 2 and 3, 4, 5
VECTORS = {
    "dense": lambda pool: WorkerVector(pool, PlainEncoder(LAYOUT), Discrete(NUM_ACTIONS)),
    "encoded": lambda pool: EncodedVector(pool, PlainEncoding(LAYOUT), Discrete(NUM_ACTIONS)),
}


def toys(processes: int | None, kind: str = "dense", num_envs: int = B, timeout: float = 30.0, **options):
    toy = partial(Toy, **options)
    pool = WorkerPool(toy, LAYOUT, num_envs, processes=processes, timeout=timeout, import_main=False)
    return VECTORS[kind](pool)


def acts(special: dict[int, int] | None = None, num_envs: int = B) -> np.ndarray:
    """1 for all, and for the first agent of some environments something else."""
    actions = np.ones((num_envs, AGENTS), np.int32)
    for row, action in (special or {}).items():
        actions[row, 0] = action
    return actions


def rows_of(step: TimeStep, rows) -> list[np.ndarray]:
    """All that a step says of some environments."""
    return [np.asarray(array)[rows] for array in (*step[:-1], *(step.info[name] for name in sorted(step.info)))]


def same(one: TimeStep, other: TimeStep, rows=slice(None)) -> bool:
    pairs = zip(rows_of(one, rows), rows_of(other, rows), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


def test_blocks_are_rows_beside_each_other_and_no_process_is_empty():
    for processes, expected in ((1, [6]), (2, [3, 3]), (4, [1, 2, 1, 2]), (6, [1] * 6), (64, [1] * 6)):
        with toys(processes) as vector:
            ids = vector.pool.process_ids
            assert len(ids) == B
            assert [len(block) for block in vector.pool._crew.blocks] == expected
            assert [ids.index(number) for number in ids] == np.repeat(np.cumsum([0, *expected[:-1]]), expected).tolist()
            assert all(len({ids[row] for row in block}) == 1 for block in vector.pool._crew.blocks)


@pytest.mark.parametrize("kind", VECTORS)
def test_answers_do_not_depend_on_the_number_of_processes(kind):
    def play(processes: int) -> list[TimeStep]:
        generator = np.random.default_rng(0)
        with toys(processes, kind) as vector:
            steps = [vector.reset_endless(3)]
            steps += [vector.step(generator.integers(0, 90, (B, AGENTS), np.int32)) for _ in range(15)]
            steps.append(vector.reset(np.arange(2 * B, dtype=np.uint32).reshape(B, 2)))
            # an exception in the middle of a block on the way, and idle steps at the end
            for time_ in range(9):
                steps.append(vector.step(acts({1: RAISE} if time_ == 1 else {4: 7})))
        return steps

    alone = play(B)
    assert any(step.info["worker_failed"][1] == 1 for step in alone[1:])
    assert np.isnan(alone[-1].info["total"]).all()
    for processes in (1, 2, 3):
        for one, other in zip(play(processes), alone, strict=True):
            assert same(one, other)


def test_dense_and_encoded_vectors_say_the_same(caplog):
    with toys(2, "dense") as dense, toys(2, "encoded") as encoded:
        both = dense, encoded
        for one, other in [[vector.reset_endless(1) for vector in both]]:
            assert same(one, other)
        for special in ({}, {}, {1: RAISE, 5: 3}, {}, {4: KILL}, {}, {}):
            one, other = (vector.step(acts(special)) for vector in both)
            assert same(one, other)
            assert [array.dtype for array in rows_of(one, 0)] == [array.dtype for array in rows_of(other, 0)]


@pytest.mark.parametrize("action", [KILL, HANG])
@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("kind", VECTORS)
def test_a_process_that_ends_costs_the_episodes_of_its_block(kind, row, action, caplog):
    seeds = np.array([[3, 6, 9], [1, 6, 9], [0, 6, 9]] * 2, np.uint32)  # 2, 3 and 2 steps: two end in the second one
    with (
        toys(2, kind, timeout=1.0 if action == HANG else 30.0) as vector,
        toys(2, kind) as sound,
        caplog.at_level(logging.WARNING),
    ):
        for one in (vector, sound):
            one.reset(seeds)
            before = one.step(acts())
        old = vector.pool.process_ids
        failed, well = vector.step(acts({row: action})), sound.step(acts())
        assert f"environment {row}: its worker process" in caplog.text
        assert "the episodes of environments 0, 1, 2 given up" in caplog.text
        assert failed.info["worker_failed"].tolist() == [1.0] * 3 + [0.0] * 3
        assert failed.truncated.tolist()[:3] == [True] * 3
        assert not np.any(failed.rewards[:3])
        # nothing was seen of what came after, also of those that had been stepped when it happened
        assert np.array_equal(failed.next_observations[:3], before.observations[:3])
        assert failed.observations[:3, 0].tolist() == [[6, 0, 0]] * 3
        assert same(failed, well, slice(3, 6))
        new = vector.pool.process_ids
        assert len(set(new[:3])) == 1
        assert new[0] != old[0]
        assert new[3:] == old[3:]
        ends = np.asarray(failed.done).astype(int)
        for _ in range(8):
            ends += np.asarray(vector.step(acts()).done)
        assert ends.tolist() == [3] * B  # as many as there are seeds, whatever had begun in the lost process


@pytest.mark.parametrize("kind", VECTORS)
def test_an_exception_costs_one_episode_and_no_process(kind, caplog):
    seeds = np.array([[3, 6]] * B, np.uint32)
    with toys(2, kind) as vector, toys(2, kind) as sound, caplog.at_level(logging.WARNING):
        for one in (vector, sound):
            one.reset(seeds)
            before = one.step(acts())
        ids = vector.pool.process_ids
        failed, well = vector.step(acts({1: RAISE, 5: RAISE})), sound.step(acts())
        assert caplog.text.count("ZeroDivisionError: the toy is broken") == 2
        assert failed.info["worker_failed"].tolist() == [0, 1, 0, 0, 0, 1]
        assert np.array_equal(failed.next_observations[[1, 5]], before.observations[[1, 5]])
        assert failed.observations[1, 0].tolist() == [6, 0, 0]
        assert same(failed, well, [0, 2, 3, 4])
        assert vector.pool.process_ids == ids
        for _ in range(2):
            last, well = vector.step(acts()), sound.step(acts())
            assert same(last, well, [0, 2, 3, 4])
        assert last.done.all()
        assert not vector.step(acts()).done.any()


def test_only_who_is_to_blame_comes_nearer_to_the_limit(caplog):
    """In every third step the second environment ends the process; the others never finish an episode."""
    with toys(1, num_envs=3) as vector:
        vector.reset_endless(0)
        for _ in range(MAX_FAILURES - 1):
            vector.step(acts({1: KILL}, 3))
        for row in (0, 2):  # they have lost as many episodes, and may fail as often as ever
            vector.step(acts({row: RAISE}, 3))
        assert vector.pool._failures == [1, MAX_FAILURES - 1, 1]
        with pytest.raises(AverseError, match=r"environment 1 failed 3 times in a row: it raised"):
            vector.step(acts({1: RAISE}, 3))


def test_a_process_that_is_killed_between_steps_is_everybodys_failure(caplog):
    with toys(2) as vector, caplog.at_level(logging.WARNING):
        vector.reset_endless(0)
        for count in range(1, MAX_FAILURES + 1):
            os.kill(vector.pool.process_ids[4], signal.SIGKILL)
            if count < MAX_FAILURES:
                assert vector.step(acts()).info["worker_failed"].tolist() == [0.0] * 3 + [1.0] * 3
        assert "environment 3, 4, 5: its worker process ended with exit code -9" in caplog.text
        with pytest.raises(AverseError, match="environment 3 failed 3 times in a row"):
            vector.step(acts())


def test_a_stopped_process_is_taken_for_hung(caplog):
    with toys(2, timeout=1.0) as vector, caplog.at_level(logging.WARNING):
        vector.reset_endless(0)
        os.kill(vector.pool.process_ids[0], signal.SIGSTOP)
        assert vector.step(acts()).info["worker_failed"].tolist() == [1.0] * 3 + [0.0] * 3
        assert "did not answer for 1 s" in caplog.text
        assert vector.step(acts()).info["worker_failed"].tolist() == [0.0] * B


def test_slow_environments_in_turn_are_not_taken_for_hung(caplog):
    """The timeout is one environment's, not a whole block's."""
    with toys(1, timeout=0.9, slow=0.4, num_envs=4) as vector, caplog.at_level(logging.WARNING):
        vector.reset(np.zeros((4, 1), np.uint32))
        began = time.monotonic()
        assert not vector.step(acts(num_envs=4)).info["worker_failed"].any()
        assert time.monotonic() - began > 1.5
        assert not caplog.records


@pytest.mark.parametrize(("seed", "said"), [(90, "the toy knows no such episode"), (95, "exit code -9")])
def test_a_reset_that_fails_is_tried_again_and_then_refused(seed, said, caplog):
    with toys(2) as vector, caplog.at_level(logging.WARNING):
        seeds = np.array([[3, 3]] * B, np.uint32)
        seeds[4] = 0, seed  # begins in the middle of a step
        vector.reset(seeds)
        vector.step(acts())
        with pytest.raises(AverseError, match=f"environment 4 failed 3 times in a row: (?s:.*){said}"):
            vector.step(acts())
        with pytest.raises(AverseError, match="reset these environments"):
            vector.step(acts())
        assert vector.reset(np.array([[3, 3]] * B)).observations[:, 0, 0].tolist() == [3] * B
        for _ in range(2):
            step = vector.step(acts())
        assert step.done.all()
        assert not step.info["worker_failed"].any()


def test_a_refusal_in_a_block_is_told_and_leaves_nothing_behind(caplog):
    with toys(2) as vector, caplog.at_level(logging.WARNING):
        vector.reset_endless(0)
        with pytest.raises(AverseError, match=r"^the toy refuses this action$"):
            vector.step(acts({1: REFUSE, 2: RAISE, 3: REFUSE, 5: RAISE}))
        assert vector.reset(np.array([[3]] * B)).observations[:, 0, 0].tolist() == [3] * B
        for _ in range(2):
            step = vector.step(acts())
        assert step.done.all()
        assert not caplog.records
    with pytest.raises(AverseError, match=r"^the toy refuses to start$"):
        toys(2, refuse=True)


def test_numbers_of_processes_that_are_none():
    with pytest.raises(AverseError, match="processes"):
        toys(0)


def test_pools_begin_where_they_are_told_and_whoever_has_none_is_refused():
    started = []

    def here(simulators, processes):
        started.append((simulators.num_envs, processes))
        return Crew(simulators, simulators.blocks(processes or 2), cores=2)

    class Ours:
        name = "ours"
        vector = staticmethod(lambda num_envs: toys(None, num_envs=num_envs))

    class Theirs:
        name = "theirs"
        closed = False

        def vector(self, num_envs):
            return self

        def close(self):
            self.closed = True

    theirs = Theirs()
    with crews_from(here):
        with start_vector(Ours(), B) as vector:
            assert len(set(vector.pool.process_ids)) == 2
        with pytest.raises(AverseError, match="theirs starts its simulators by itself and not by a WorkerPool"):
            start_vector(theirs, B)
    assert theirs.closed
    assert start_vector(theirs, B) is theirs
    with start_vector(Ours(), B) as vector:
        vector.reset_endless(0)
    assert started == [(B, None)]
