"""Worker processes: episodes, automatic reset, idleness, failures, and an end without traces."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from toy_worker_environment import AGENTS, HANG, KILL, LAYOUT, NUM_ACTIONS, RAISE, REFUSE, Toy

from averse.environments.protocol import Discrete
from averse.environments.workers.pool import WorkerPool
from averse.environments.workers.vector import PlainEncoder, WorkerVector
from averse.errors import AverseError


def toys(num_envs: int, timeout: float = 30.0, **options) -> WorkerVector:
    pool = WorkerPool(partial(Toy, **options), LAYOUT, num_envs, processes=num_envs, timeout=timeout, import_main=False)
    return WorkerVector(pool, PlainEncoder(LAYOUT), Discrete(NUM_ACTIONS))


def acts(num_envs: int, value: int = 1) -> np.ndarray:
    return np.full((num_envs, AGENTS), value, np.int32)


def alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process_id}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def gone(process_ids: list[int], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(alive(process_id) for process_id in process_ids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_an_episode_ends_and_the_next_one_begins_in_the_same_step():
    with toys(1) as vector:
        first = vector.reset(np.array([[3, 6]], np.uint32))  # 3: two steps, cut; 6: two steps, terminated
        assert first.observations[0, 0].tolist() == [3, 0, 0]
        assert not first.terminated.any()
        assert not first.truncated.any()
        assert not first.rewards.any()
        one = vector.step(acts(1))
        assert one.observations[0, 0].tolist() == one.next_observations[0, 0].tolist() == [3, 1, 0]
        assert one.terminated.tolist() == [[True, False]]
        assert not one.done[0]
        two = vector.step(acts(1, 2))
        assert two.next_observations[0, 0].tolist() == [3, 2, 0]
        assert two.observations[0, 0].tolist() == [6, 0, 0]
        assert two.truncated.tolist() == [True]
        assert two.rewards.tolist() == [[2.0, 2.0]]
        assert two.info["total"].tolist() == [6.0]
        three = vector.step(acts(1))
        assert three.terminated.tolist() == [[True, False]]
        assert three.info["total"].tolist() == [2.0]
        assert first.global_state[0, 0] == 0.0  # the worker has not imported JAX


def test_time_steps_are_not_overwritten_by_later_steps():
    with toys(1) as vector:
        first = vector.reset(np.array([[4]], np.uint32))
        one = vector.step(acts(1))
        vector.step(acts(1))
        assert first.observations[0, 0, 1] == 0
        assert one.observations[0, 0, 1] == 1


def test_idle_after_the_seeds_are_played():
    with toys(2) as vector:
        vector.reset(np.array([[0], [2]], np.uint32))  # two and four steps
        for _ in range(2):
            step = vector.step(acts(2))
        assert step.done.tolist() == [True, False]
        assert step.available[0].all()
        for _ in range(2):
            step = vector.step(acts(2))
            assert not step.rewards[0].any()
            assert not step.terminated[0].any()
            assert not step.truncated[0]
            assert all(np.isnan(values[0]) for values in step.info.values())
            assert step.rewards[1].all()
        assert step.done.tolist() == [False, True]
        assert not vector.step(acts(2)).done.any()
        again = vector.reset(np.array([[0], [2]], np.uint32))
        assert again.observations[:, 0, 0].tolist() == [0, 2]


def test_endless_episodes_depend_on_seed_and_index_only():
    def play(num_envs: int, seed: int) -> np.ndarray:
        with toys(num_envs) as vector:
            seen = [vector.reset_endless(seed).observations]
            seen += [vector.step(acts(num_envs)).observations for _ in range(12)]
            return np.stack(seen, 1)

    two, three = play(2, 5), play(3, 5)
    assert np.array_equal(two, three[:2])
    assert not np.array_equal(two[0], two[1])
    assert not np.array_equal(two, play(2, 6))
    assert two[..., 2].max() > 1  # later resets are not exact


@pytest.mark.parametrize(("action", "said"), [(KILL, "exit code -9"), (RAISE, "ZeroDivisionError"), (HANG, "answer")])
def test_a_failed_worker_is_replaced_and_its_episode_cut(action, said, caplog):
    with toys(2, timeout=1.0 if action == HANG else 30.0) as vector, caplog.at_level(logging.WARNING):
        vector.reset(np.array([[2, 6], [2, 6]], np.uint32))
        vector.step(acts(2))
        old = vector.pool.process_ids
        actions = acts(2)
        actions[0, 0] = action
        failed = vector.step(actions)
        assert said in caplog.text
        assert failed.truncated.tolist() == [True, False]
        assert failed.info["worker_failed"].tolist() == [1.0, 0.0]
        assert failed.rewards[0].tolist() == [0.0, 0.0]
        assert failed.rewards[1].all()
        assert failed.next_observations[0, 0].tolist() == [2, 1, 0]  # nothing was seen of what came after
        assert failed.observations[0, 0].tolist() == [6, 0, 0]
        new = vector.pool.process_ids
        assert new[0] != old[0]
        assert new[1] == old[1]
        assert gone(old[:1])
        vector.step(acts(2))
        last = vector.step(acts(2))
        assert last.done.tolist() == [True, True]
        assert last.info["worker_failed"].tolist() == [0.0, 0.0]
        assert not vector.step(acts(2)).done[0]  # idle


def test_failing_again_and_again_is_an_error():
    with toys(1) as vector:
        vector.reset_endless(0)
        vector.step(acts(1, KILL))
        vector.step(acts(1, KILL))
        with pytest.raises(AverseError, match="3 times in a row"):
            vector.step(acts(1, KILL))


def test_what_the_environment_refuses_is_told_as_it_is():
    with pytest.raises(AverseError, match=r"^the toy refuses to start$"):
        toys(2, refuse=True)
    with toys(1) as vector:
        vector.reset_endless(0)
        with pytest.raises(AverseError, match=r"^the toy refuses this action$"):
            vector.step(acts(1, REFUSE))
        assert vector.reset(np.array([[3]], np.uint32)).observations[0, 0].tolist() == [3, 0, 0]


def test_bad_seeds_and_numbers_are_errors():
    with toys(1) as vector:
        for seeds in (np.zeros(1, np.uint32), np.zeros((2, 1), np.uint32), np.zeros((1, 1)), np.array([[-1]])):
            with pytest.raises(AverseError, match="seeds"):
                vector.reset(seeds)
        with pytest.raises(AverseError, match="seed"):
            vector.reset_endless(-1)
    with pytest.raises(AverseError, match="closed"):
        vector.reset_endless(0)
    with pytest.raises(AverseError, match="num_envs"):
        toys(0)


def test_closing_ends_the_workers():
    vector = toys(3)
    process_ids = vector.pool.process_ids
    assert all(alive(process_id) for process_id in process_ids)
    vector.close()
    vector.close()
    assert gone(process_ids)


class Interrupted:
    """In the place of a semaphore: Ctrl-C comes just after it was released."""

    def __init__(self, semaphore):
        self.semaphore = semaphore

    def release(self):
        self.semaphore.release()
        raise KeyboardInterrupt


@pytest.mark.parametrize("order", ["step", "reset_endless"])
def test_whom_an_interrupt_left_untold_is_not_waited_for(order, monkeypatch, caplog):
    with toys(3) as vector, caplog.at_level(logging.WARNING):
        vector.reset_endless(0)
        with monkeypatch.context() as patch:
            first = vector.pool._crew._workers[0]
            patch.setattr(first, "go", Interrupted(first.go))
            with pytest.raises(KeyboardInterrupt):
                getattr(vector, order)(acts(3) if order == "step" else 0)
        monkeypatch.setattr(vector.pool._crew, "timeout", 5.0)
        assert vector.reset(np.array([[3], [6], [4]], np.uint32)).observations[:, 0, 0].tolist() == [3, 6, 4]
        assert vector.step(acts(3)).next_observations[:, 0, 1].tolist() == [1, 1, 1]
        assert not caplog.records  # nobody was taken for hung


def test_an_interrupted_step_does_not_spoil_the_next_reset(monkeypatch):
    with toys(2, slow=0.05) as vector:
        vector.reset_endless(0)

        take, taken = vector.pool._crew._take, []

        def interrupt(index):  # as soon as one of the two has answered
            if take(index):
                taken.append(index)
                raise KeyboardInterrupt
            return False

        with monkeypatch.context() as patch:
            patch.setattr(vector.pool._crew, "_take", interrupt)
            with pytest.raises(KeyboardInterrupt):
                vector.step(acts(2))
        assert len(taken) == 1
        with pytest.raises(AverseError, match="interrupted; reset"):
            vector.step(acts(2))
        first = vector.reset(np.array([[3], [6]], np.uint32))
        assert first.observations[:, 0, 0].tolist() == [3, 6]
        assert vector.step(acts(2)).next_observations[:, 0, 1].tolist() == [1, 1]


SCRIPT = """
    # no guard against being imported again by workers: none is needed
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    sys.path.insert(0, {folder!r})
    from toy_worker_environment import LAYOUT, Toy
    from averse.environments.protocol import Discrete
    from averse.environments.workers.pool import WorkerPool
    from averse.environments.workers.vector import PlainEncoder, WorkerVector
    import numpy as np
    vector = WorkerVector(WorkerPool(Toy, LAYOUT, 2, processes=2, import_main=False), PlainEncoder(LAYOUT), Discrete(2))
    print(*vector.pool.process_ids, flush=True)
    vector.reset_endless(0)
    {ending}
"""


def run_script(ending: str, kill: int | None = None) -> tuple[list[int], str, int]:
    """The worker ids that a script prints, what it says on stderr, and its exit code."""
    source = textwrap.dedent(SCRIPT).format(folder=str(Path(__file__).parents[2] / "helpers"), ending=ending)
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ids = [int(number) for number in process.stdout.readline().split()]
        if kill is not None:
            time.sleep(0.2)
            process.send_signal(kill)
        errors = process.communicate(timeout=60)[1]
    return ids, errors, process.returncode


def test_a_script_that_forgets_to_close_leaves_nothing_behind():
    ids, errors, code = run_script("")
    assert code == 0
    assert errors == ""
    assert gone(ids)


def test_control_c_leaves_nothing_behind():
    ids, errors, _ = run_script("time.sleep(60)", signal.SIGINT)
    assert "KeyboardInterrupt" in errors
    assert "leaked" not in errors
    assert gone(ids)


def test_workers_end_when_their_parent_is_killed():
    ids, _, _ = run_script("time.sleep(60)", signal.SIGKILL)
    assert gone(ids)
