"""Experiments with libsumo, each a function to be run in a process of its own. Imports no JAX and no pytest."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from averse.environments.intersection.geometry import NETWORK_FILE, geometry, points_at
from averse.environments.intersection.starts import START_NUMBERS, agent_starts
from averse.environments.intersection.task import (
    ACCELERATIONS,
    ARMS,
    CAR_LENGTH,
    HUMAN_ACCELERATION,
    HUMAN_DECELERATION,
    HUMAN_MIN_GAP,
    HUMAN_REACTION,
    MAX_SPEED,
    IntersectionTask,
)
from averse.environments.sumo.simulation import OPTIONS, Simulation, import_libsumo, start
from averse.errors import AverseError

NET = f"--net-file={NETWORK_FILE}"


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a fresh process, so that its simulation meets no other."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["averse.environments.workers.process", "averse.environments.sumo.preload"])
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(function, *arguments).result(timeout=60)


def _started(options: tuple[str, ...] = OPTIONS, net: str = NET, seed: int = 0) -> Any:
    sumo = import_libsumo()
    start(sumo, (net, *options), seed)
    sumo.vehicletype.copy("DEFAULT_VEHTYPE", "agent")
    sumo.vehicletype.setImperfection("agent", 0.0)
    sumo.vehicletype.setSpeedDeviation("agent", 0.0)
    sumo.vehicletype.setMaxSpeed("agent", 13.89)
    for arm, other in zip(ARMS, ARMS[2:] + ARMS[:2]):
        sumo.route.add(f"from_{arm}", [f"{arm}_in", f"{other}_out"])
    return sumo


def _add(sumo: Any, name: str, arm: str, position: float, speed: float, mode: int = 38) -> None:
    sumo.vehicle.add(name, f"from_{arm}", "agent", departSpeed=repr(float(speed)))
    sumo.vehicle.moveTo(name, f"{arm}_in_0", position)
    sumo.vehicle.setSpeedMode(name, mode)
    sumo.vehicle.setSpeed(name, speed)


def second_start() -> tuple[list[str], list[str], str]:
    """Cars before and after a second raw start, and what our guard says to a third."""
    sumo = _started()
    _add(sumo, "a", "north", 10.0, 8.0)
    before = list(sumo.vehicle.getIDList())
    sumo.start(["sumo", NET, *OPTIONS])
    after = list(sumo.vehicle.getIDList())
    try:
        start(sumo, (NET, *OPTIONS), 0)
    except AverseError as error:
        return before, after, str(error)
    return before, after, ""


def crossing(
    options: tuple[str, ...] = OPTIONS, mode: int = 38, net: str = NET, stride: float = 0.0, behind: float = 0.0
) -> dict[str, Any]:
    """Two cars cross from north and east at 10 m/s, the second `behind` m later.

    `mode`: the speed mode of the second. `stride`: step with simulationStep(t + stride) instead of single steps.
    """
    sumo = _started(options, net)
    _add(sumo, "a", "north", 100.0, 10.0)
    _add(sumo, "b", "east", 100.0 - behind, 10.0, mode)
    collisions, arrived, slowest = [], [], 10.0
    while sumo.simulation.getTime() < 10.0 and not collisions:
        sumo.simulationStep(sumo.simulation.getTime() + stride if stride else 0.0)
        collisions = [(c.collider, c.victim) for c in sumo.simulation.getCollisions()]
        arrived = list(sumo.simulation.getArrivedIDList())
        if "b" in sumo.vehicle.getIDList():
            slowest = min(slowest, sumo.vehicle.getSpeed("b"))
    return {
        "collisions": collisions,
        "arrived": arrived,
        "left": list(sumo.vehicle.getIDList()),
        "slowest": slowest,
    }


def unregulated_network(folder: Path) -> str:
    """The option that loads a network whose junction knows no conflicts."""
    text = NETWORK_FILE.read_text().replace('type="right_before_left"', 'type="unregulated"')
    lines = [
        line if "<request" not in line else line.split("response=")[0] + 'response="000000000000" foes="000000000000"/>'
        for line in text.splitlines()
    ]
    path = folder / "unregulated.net.xml"
    path.write_text("\n".join(lines))
    return f"--net-file={path}"


def queueing(options: tuple[str, ...]) -> int:
    """Collisions reported while a car stands 1 m behind another one."""
    sumo = _started(options)
    _add(sumo, "a", "north", 50.0, 0.0)
    _add(sumo, "b", "north", 44.0, 0.0)
    reported = 0
    for _ in range(5):
        sumo.simulationStep()
        reported += len(sumo.simulation.getCollisions())
    return reported


def departures(move: bool) -> int:
    """How many of 16 cars, four on each arm, are on the road one second after they were added."""
    sumo = _started()
    for index in range(16):
        arm = ARMS[index % 4]
        sumo.vehicle.add(str(index), f"from_{arm}", "agent", departSpeed="0")
        if move:
            sumo.vehicle.moveTo(str(index), f"{arm}_in_0", 10.0 + 20.0 * (index // 4))
            sumo.vehicle.setSpeed(str(index), 0.0)
    for _ in range(10):
        sumo.simulationStep()
    return len(sumo.vehicle.getIDList())


def arrival_position(move: bool) -> float:
    """Where on its last lane a car with arrivalPos 40 is last seen, m."""
    sumo = _started()
    sumo.vehicle.add("a", "from_north", "agent", departPos="10", departSpeed="10", arrivalPos="40")
    if move:
        sumo.vehicle.moveTo("a", "north_in_0", 10.0)
    sumo.simulationStep()
    last = 0.0
    while "a" in sumo.vehicle.getIDList():
        last = sumo.vehicle.getLanePosition("a")
        sumo.simulationStep()
    return last


def _episode(simulation: Simulation, seed: int, exact: bool) -> list[Any]:
    """The raw states of an episode with random actions."""
    generator = np.random.default_rng(seed)
    seen = [np.array(simulation.reset(seed, exact)["cars"])]
    done = False
    while not done:
        step = simulation.step(generator.integers(1, 5, simulation._task.num_agents))
        seen.append(np.array(step.state["cars"]))
        done = step.done
    return seen


def repeated_episode(human_rate: float, exact: bool) -> bool:
    """Whether an episode comes out bit for bit the same after others have been played in between."""
    simulation = Simulation(IntersectionTask(human_rate=human_rate))
    first = _episode(simulation, 7, True)
    for seed in (1, 2):
        _episode(simulation, seed, exact)
    again = _episode(simulation, 7, exact)
    return len(first) == len(again) and all(np.array_equal(a, b) for a, b in zip(first, again))


def speed_mode_after_load_state(folder: Path) -> int:
    """The speed mode of a car that had 38 when the state was saved."""
    sumo = _started()
    _add(sumo, "a", "north", 50.0, 8.0)
    sumo.simulationStep()
    sumo.simulation.saveState(str(folder / "state.xml"))
    sumo.simulation.loadState(str(folder / "state.xml"))
    return int(sumo.vehicle.getSpeedMode("a"))


def driving_errors(episodes: int) -> tuple[float, float, float]:
    """Largest differences between SUMO and v' = clip(v + a dt), s' = s + v' dt (m/s, m) and between SUMO's front
    bumper and the shipped geometry's (m), over episodes of four agents with random actions."""
    task = IntersectionTask(human_rate=0.0)
    simulation, road = Simulation(task), geometry("float64")
    generator = np.random.default_rng(0)
    change = np.array([-4.5, -2.0, 0.0, 1.3, 2.6]) * 0.1
    worst_speed = worst_position = worst_pose = 0.0
    for seed in range(episodes):
        state, done = simulation.reset(seed, True), False
        while not done:
            before = np.array(state["cars"])
            actions = generator.integers(5, size=4)
            step = simulation.step(actions)
            state, done = step.state, step.done
            speed, position = before[2].copy(), before[1].copy()
            for _ in range(5):
                speed = np.clip(speed + change[actions], 0.0, 13.89)
                position += speed * 0.1
            movement, now, after_speed = np.array(state["cars"])
            stayed = (before[0] >= 0) & (movement >= 0)
            if stayed.any():
                worst_speed = max(worst_speed, np.abs(after_speed - speed)[stayed].max())
                worst_position = max(worst_position, np.abs(now - position)[stayed].max())
            for name, car in simulation._cars_by_id.items():
                there = np.array(simulation._sumo.vehicle.getPosition(name))
                here = np.array(points_at(np, road, np.int64(movement[car]), np.float64(now[car])))
                worst_pose = max(worst_pose, np.abs(there - here).max())
    return worst_speed, worst_position, worst_pose


def unseen_crossings(step_length: float, tries: int) -> float:
    """The fraction of crossing crashes that SUMO misses at a step length; steps of 0.01 s tell the truth."""
    options = tuple(o for o in OPTIONS if "step-length" not in o)
    generator = np.random.default_rng(0)
    offsets = generator.uniform(-8.0, 8.0, tries)
    speeds = generator.uniform(8.0, 13.0, (tries, 2))

    def crashes(length: float) -> list[bool]:
        sumo = import_libsumo()
        found = []
        for offset, (one, other) in zip(offsets, speeds):
            sumo = _started((*options, f"--step-length={length}"))
            _add(sumo, "a", "north", 110.0, one)
            _add(sumo, "b", "east", 110.0 + offset, other)
            crashed = False
            while sumo.simulation.getTime() < 6.0 and not crashed:
                sumo.simulationStep()
                crashed = len(sumo.simulation.getCollisions()) > 0
            found.append(crashed)
            sumo.close()
        return found

    truth, seen = crashes(0.01), crashes(step_length)
    return sum(t and not s for t, s in zip(truth, seen)) / sum(truth)


def recorded_episodes(num_agents: int, count: int) -> list[dict[str, Any]]:
    """Assignment without humans, agents driving at random: per decision the cars, statuses, actions and the trace."""
    simulation = Simulation(IntersectionTask(num_agents=num_agents, human_rate=0.0), trace=True)
    choices = (np.arange(5), np.array([1, 2, 3, 4]), np.array([2, 3, 4, 4]))  # from hesitant to fast
    episodes = []
    for seed in range(count):
        generator = np.random.default_rng(seed)
        state = simulation.reset(seed, exact=True)
        starts = agent_starts(np, simulation._task, np.random.default_rng(seed).random((START_NUMBERS, num_agents)))
        episode: dict[str, Any] = {"starts": starts._asdict(), "cars": [], "status": [], "actions": [], "trace": []}
        choice, done = choices[generator.integers(len(choices))], False
        while True:
            episode["cars"].append(tuple(list(part) for part in state["cars"]))
            episode["status"].append(list(state["status"]))
            if done:
                break
            actions = generator.choice(choice, num_agents).astype(np.int32)
            step = simulation.step(actions)
            state, done = step.state, step.done
            episode["actions"].append(actions)
            episode["trace"].append(np.array(step.outcome["trace"]))
        episodes.append(episode)
    simulation.close()
    return episodes


def follower(seed: int) -> np.ndarray:
    """A perfect human driver behind an agent who drives at random: positions and speeds of both, float64 [steps, 4]."""
    generator = np.random.default_rng(seed)
    sumo = _started(seed=seed)
    types = sumo.vehicletype
    types.copy("DEFAULT_VEHTYPE", "human")
    for set_value, value in (
        (types.setLength, CAR_LENGTH),
        (types.setAccel, HUMAN_ACCELERATION),
        (types.setDecel, HUMAN_DECELERATION),
        (types.setTau, HUMAN_REACTION),
        (types.setMinGap, HUMAN_MIN_GAP),
        (types.setImperfection, 0.0),
        (types.setSpeedFactor, 1.0),
        (types.setSpeedDeviation, 0.0),
    ):
        set_value("human", value)
    types.setDecel("agent", HUMAN_DECELERATION)
    _add(sumo, "leader", "north", 45.0, 10.0)
    sumo.vehicle.add("follower", "from_north", "human", departSpeed="9.0")
    sumo.vehicle.moveTo("follower", "north_in_0", 15.0)
    sumo.simulationStep()
    rows, speed, acceleration = [], 10.0, 0.0
    for step in range(80):
        place = [sumo.vehicle.getLanePosition(name) for name in ("leader", "follower")]
        rows.append([*place, *(sumo.vehicle.getSpeed(name) for name in ("leader", "follower"))])
        if place[0] > 120.0:
            break  # beyond, the junction matters too
        if step % 5 == 0:
            acceleration = generator.choice(ACCELERATIONS)
        speed = min(max(speed + acceleration * 0.1, 0.0), MAX_SPEED)
        sumo.vehicle.setSpeed("leader", speed)
        sumo.simulationStep()
    sumo.close()
    return np.array(rows)
