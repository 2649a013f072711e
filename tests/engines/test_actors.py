"""Simulators in Ray actors: the answers of a pool on one machine to the last bit, whatever is killed."""

import contextlib
import itertools
import logging
import os
import pickle
import shutil
import signal
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from toy_worker_environment import AGENTS, KILL, LAYOUT, NUM_ACTIONS, RAISE, REFUSE, Toy

import averse
from averse.engines import actors, cluster
from averse.engines.actors import ActorCrew
from averse.environments.protocol import Discrete, TimeStep
from averse.environments.workers.encoded import EncodedVector, PlainEncoding
from averse.environments.workers.placement import crews_from
from averse.environments.workers.pool import WorkerPool
from averse.environments.workers.vector import PlainEncoder, WorkerVector
from averse.errors import AverseError, WorkerLostError

pytestmark = pytest.mark.thorough

HELPERS = Path(__file__).parents[1] / "helpers"
B = 6
ROOM = 4  # actors
VECTORS = {
    "dense": lambda pool: WorkerVector(pool, PlainEncoder(LAYOUT), Discrete(NUM_ACTIONS)),
    "encoded": lambda pool: EncodedVector(pool, PlainEncoding(LAYOUT), Discrete(NUM_ACTIONS)),
}


@pytest.fixture(scope="module")
def ray():
    """A Ray on the loopback, with more cores than there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(averse.__file__).parents[1]), str(HELPERS)]))
        for name, value in (cluster._QUIET | cluster._LOOPBACK | cluster._EQUAL).items():
            patch.setenv(name, value)
        found = pytest.importorskip("ray", reason="the extra ray is not installed")
        folder = tempfile.mkdtemp(prefix="averse-", dir="/tmp")
        found.init(
            address="local",
            num_cpus=ROOM,
            include_dashboard=False,
            object_store_memory=100_000_000,
            _temp_dir=folder,
            log_to_driver=False,
            logging_level="critical",
        )
        yield found
        found.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def toys(ray, count: int, kind: str = "dense", processes: int = 3, num_envs: int = B, cores: int = 1, **options):
    """Environments in so many actors; on this machine where that is 0."""
    timeout = options.pop("timeout", 30.0)
    with contextlib.ExitStack() as stack:
        if count:
            stack.enter_context(crews_from(partial(ActorCrew, ray, count, cores)))
        pool = WorkerPool(
            partial(Toy, **options), LAYOUT, num_envs, processes=processes, timeout=timeout, import_main=False
        )
    return VECTORS[kind](pool)


def acts(special: dict[int, int] | None = None, num_envs: int = B) -> np.ndarray:
    """1 for all, and for the first agent of some environments something else."""
    actions = np.ones((num_envs, AGENTS), np.int32)
    for row, action in (special or {}).items():
        actions[row, 0] = action
    return actions


def same(one: TimeStep, other: TimeStep, rows=slice(None)) -> bool:
    pairs = zip((*one[:-1], *one.info.values()), (*other[:-1], *other.info.values()), strict=True)
    return one.info.keys() == other.info.keys() and all(
        np.array_equal(np.asarray(a)[rows], np.asarray(b)[rows], equal_nan=np.asarray(a).dtype.kind == "f")
        for a, b in pairs
    )


def holders(vector) -> list[psutil.Process]:
    """The processes of the actors, in the order of their simulators."""
    return [psutil.Process(share.process_ids[0]).parent().parent() for share in vector.pool._crew._shares]


def started(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


@pytest.mark.parametrize("kind", VECTORS)
def test_answers_do_not_depend_on_the_number_of_actors(ray, kind, caplog):
    """Exceptions, processes that end and idle environments are among them."""

    def play(count: int) -> list[TimeStep]:
        generator = np.random.default_rng(0)
        with toys(ray, count, kind) as vector:
            steps = [vector.reset_endless(3)]
            steps += [vector.step(generator.integers(0, 90, (B, AGENTS), np.int32)) for _ in range(15)]
            steps.append(vector.reset(np.arange(2 * B, dtype=np.uint32).reshape(B, 2)))
            for special in ({}, {1: RAISE}, {4: 7}, {2: KILL}, {}, {0: 3}, {}, {}, {}):
                steps.append(vector.step(acts(special)))
            return [*steps, vector.reset_endless(1), vector.step(acts())]

    alone = play(0)
    assert sum(int(np.nansum(step.info["worker_failed"])) for step in alone[1:]) == 3
    for count in (1, 2, 3, 5):
        found = play(count)
        assert all(same(one, other) for one, other in zip(found, alone, strict=True))


def test_shares_are_blocks_beside_each_other(ray):
    for count, processes, expected in ((2, 3, [1, 2]), (3, 6, [2, 2, 2]), (4, 2, [1, 1]), (2, None, [2, 2])):
        with toys(ray, count, processes=processes, cores=1 if processes else 2) as vector:
            crew = vector.pool._crew
            assert [len(share.workers) for share in crew._shares] == expected
            assert [*itertools.chain(*crew.blocks)] == list(range(B))
            assert len(set(vector.pool.process_ids)) == sum(expected)


def test_nothing_imports_jax_and_nothing_is_left(ray):
    vector = toys(ray, 2)
    assert not vector.reset_endless(0).global_state.any()  # of simulators, the toy tells
    found = [each for holder in holders(vector) for each in started(holder)]
    assert len(found) >= 2 + 3
    for each in found:
        assert "jaxlib" not in Path(f"/proc/{each.pid}/maps").read_text()
    vector.close()
    vector.close()
    assert not psutil.wait_procs(found, timeout=10)[1]
    with pytest.raises(AverseError, match="are closed"):
        vector.step(acts())


@pytest.mark.parametrize("during", [False, True])
def test_an_actor_that_is_killed_costs_what_its_processes_would(ray, during, caplog):
    """Step by step as on one machine, where the same rows' processes are killed; and no simulator is left."""
    seeds = np.array([[3, 6, 9], [1, 6, 9], [0, 6, 9]] * 2, np.uint32)
    slow = {"slow": 0.3} if during else {}
    with toys(ray, 2, **slow) as vector, toys(ray, 0, **slow) as local, caplog.at_level(logging.WARNING):
        for one in (vector, local):
            one.reset(seeds)
            one.step(acts())
        lost = vector.pool._crew._shares[1]
        rows = list(range(lost.rows.start, lost.rows.stop))
        assert rows == [2, 3, 4, 5]
        holder = holders(vector)[1]
        simulators = [psutil.Process(number) for number in set(lost.process_ids)]
        theirs = {local.pool.process_ids[row] for row in rows}

        def kill(*numbers: int) -> threading.Timer:
            timer = threading.Timer(
                0.15 if during else 0.0, lambda: [os.kill(each, signal.SIGKILL) for each in numbers]
            )
            timer.start()
            if not during:
                timer.join()
            return timer

        timers = [kill(holder.pid)]
        failed = vector.step(acts())
        timers.append(kill(*theirs))
        told = local.step(acts())
        for timer in timers:
            timer.join()
        assert failed.info["worker_failed"].tolist() == [0, 0, 1, 1, 1, 1]
        assert same(failed, told)
        assert "its Ray actor was lost (" in caplog.text
        for _ in range(9):
            assert same(vector.step(acts()), local.step(acts()))
        assert not psutil.wait_procs([holder, *simulators], timeout=10)[1]
        assert np.isnan(vector.step(acts()).info["total"]).all()


def test_an_actor_that_is_lost_again_and_again_ends_the_run(ray, caplog):
    with toys(ray, 1) as vector:
        vector.reset_endless(0)
        for _ in range(2):
            holders(vector)[0].kill()
            vector.step(acts())
        holders(vector)[0].kill()
        with pytest.raises(AverseError, match="failed 3 times in a row: its Ray actor was lost"):
            vector.step(acts())


def test_an_actor_that_stops_is_taken_for_hung(ray, caplog, monkeypatch):
    monkeypatch.setattr(actors, "_SLACK", 0.5)
    with toys(ray, 2, timeout=1.0) as vector, toys(ray, 2) as sound:
        for one in (vector, sound):
            one.reset_endless(0)
        holder = holders(vector)[0]
        holder.suspend()
        failed, well = vector.step(acts()), sound.step(acts())
        assert "its Ray actor did not answer for 3.5 s" in caplog.text
        assert failed.info["worker_failed"].tolist() == [1, 1, 0, 0, 0, 0]
        assert same(failed, well, slice(2, 6))
        assert not psutil.wait_procs([holder], timeout=10)[1]
        assert not vector.step(acts()).info["worker_failed"].any()


def test_where_there_is_no_room_another_actor_takes_the_simulators(ray, caplog, monkeypatch):
    """More actors than the cluster has cores: those that have a place hold all, with the same answers."""
    monkeypatch.setattr(actors, "PATIENCE", 12.0)
    with toys(ray, ROOM + 1, processes=B) as vector, toys(ray, 0, processes=B) as local:
        assert "Ray has had no room for actor" in caplog.text
        assert len({share.actor for share in vector.pool._crew._shares}) == ROOM
        assert same(vector.reset_endless(2), local.reset_endless(2))
        for special in ({}, {5: RAISE}, {}, {}):
            assert same(vector.step(acts(special)), local.step(acts(special)))
        with pytest.raises(WorkerLostError, match="Ray has had no room for an actor of 1 cores for 12 s"):
            toys(ray, 1)
    with toys(ray, 1) as vector:  # nothing of the others is left in its place
        vector.reset_endless(0)


def test_an_interrupted_step_does_not_spoil_the_next_reset(ray, caplog):
    with toys(ray, 2, slow=0.5) as vector, toys(ray, 0) as local:
        vector.reset_endless(0)
        timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            vector.step(acts())
        timer.join()
        with pytest.raises(AverseError, match="the last step was interrupted"):
            vector.step(acts())
        assert same(vector.reset_endless(4), local.reset_endless(4))
        assert same(vector.step(acts()), local.step(acts()))


def test_what_environments_refuse_is_told_in_a_line_and_leaves_nothing(ray, monkeypatch):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(AverseError, match="the toy refuses to start"):
        toys(ray, 2, refuse=True)
    with toys(ray, 2) as vector:
        vector.reset_endless(0)
        with pytest.raises(AverseError, match="the toy refuses this action"):
            vector.step(acts({3: REFUSE}))
        vector.reset_endless(0)
        assert not vector.step(acts()).info["worker_failed"].any()
    monkeypatch.setattr(actors.worker, "versions", lambda packages=(): {"averse": "0.0.9"})
    with pytest.raises(AverseError, match=r"the Ray node of actor 0 has \w+ .* and this process .*: results would"):
        toys(ray, 1)
    deadline = time.monotonic() + 10
    while left := [each for each in set(psutil.Process().children(recursive=True)) - before if _is_simulator(each)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _is_simulator(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "SimulatorActor" in " ".join(process.cmdline()) or "multiprocessing" in " ".join(process.cmdline())
    return False


class OfAScript:
    """Stands for a class of the script that runs."""


def test_environments_of_a_script_are_refused(ray, monkeypatch):
    assert b"__main__" not in pickle.dumps(Toy)
    monkeypatch.setattr(OfAScript, "__module__", "__main__")
    monkeypatch.setattr("__main__.OfAScript", OfAScript, raising=False)
    with (
        crews_from(partial(ActorCrew, ray, 1, 1)),
        pytest.raises(AverseError, match="are defined in the script that is being run"),
    ):
        WorkerPool(OfAScript, LAYOUT, 1, processes=1)


def test_sumo_drives_the_same_in_actors(ray, caplog):
    """Training and evaluation; then an actor is killed, and its simulators go on with the next episodes."""
    pytest.importorskip("libsumo")
    world = averse.environments.make("sumo-intersection")

    def play(count: int) -> list[TimeStep]:
        generator = np.random.default_rng(0)
        with contextlib.ExitStack() as stack:
            if count:
                stack.enter_context(crews_from(partial(ActorCrew, ray, count, 1)))
            vector = stack.enter_context(world.vector(4))
            steps = [vector.reset_endless(0)]
            for time_ in range(60):
                if time_ == 30:
                    steps.append(vector.reset(np.arange(8, dtype=np.uint32).reshape(4, 2)))
                likely = generator.random(steps[-1].available.shape) * steps[-1].available
                steps.append(vector.step(likely.argmax(-1).astype(np.int32)))
            if count:
                holders(vector)[0].kill()
                failed = vector.step(likely.argmax(-1).astype(np.int32)).info["worker_failed"]
                assert (failed == 1).sum() == 4 // count
            return steps

    alone = play(0)
    for count in (1, 2):
        assert all(same(one, other) for one, other in zip(play(count), alone, strict=True))
