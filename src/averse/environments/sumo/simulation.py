"""One libsumo simulation in this process, playing one episode of the task after another. Imports no JAX."""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from averse.environments.intersection.geometry import NETWORK_FILE, exit_arm, geometry, poses_at
from averse.environments.intersection.starts import START_NUMBERS, agent_starts, departure_limit
from averse.environments.intersection.task import (
    ACCELERATIONS,
    ARMS,
    CAR_LENGTH,
    CAR_WIDTH,
    DECISION_SECONDS,
    HUMAN_ACCELERATION,
    HUMAN_APPROACH_SPEED,
    HUMAN_DECELERATION,
    HUMAN_HISTORY,
    HUMAN_IMPERFECTION,
    HUMAN_MIN_GAP,
    HUMAN_REACTION,
    HUMAN_SPEED_DEVIATION,
    MAX_SPEED,
    NUM_MOVEMENTS,
    SPAWN_GAP,
    SPAWN_POSITION,
    SPAWN_SPEEDS,
    STEP_SECONDS,
    STEPS_PER_DECISION,
    TURNS,
    IntersectionTask,
    Status,
)
from averse.environments.workers.process import WorkerStep
from averse.errors import AverseError
from averse.extras import extra_module

# Each of these is needed for crashes to happen and to be seen; tests/environments/sumo/test_sumo_facts.py shows why.
OPTIONS = (
    f"--step-length={STEP_SECONDS}",
    "--collision.action=remove",
    "--collision.check-junctions=true",
    "--collision.mingap-factor=0",
    "--time-to-teleport=-1",
    "--no-step-log=true",
    "--no-warnings=true",
)

# Bits of SUMO's speed mode: 1 safe following, 2 and 4 bounded acceleration and braking, 8 right of way,
# 32 ignore cars inside the junction that have the right of way.
AGENT_SPEED_MODE = 38  # the agent decides all; 1, 7 and 23 would still brake for cars inside the junction
RECKLESS_SPEED_MODE = 39  # follows safely, ignores the right of way
CAREFUL_SPEED_MODE = 31  # SUMO's default: all checks on

SIMULATOR = "the SUMO simulator"
_ACTIONS = frozenset(range(len(ACCELERATIONS)))

# Traced states tell kinds of cars apart by these numbers; outcomes count crashes by kind in this order.
KINDS = AGENT_KIND, HUMAN_KIND, RECKLESS_KIND = 0, 1, 2


def import_libsumo() -> ModuleType:
    """The module libsumo; AverseError where it is not installed, or not wholly."""
    # libsumo would print a warning about pyarrow's version; this process never loads pyarrow
    os.environ.setdefault("LIBSUMO_AS_TRACI", "quiet")
    return extra_module("libsumo", SIMULATOR)


def start(sumo: ModuleType, options: tuple[str, ...], seed: int) -> None:
    """Start libsumo's one simulation. A second start would silently replace the first, so it is an AverseError."""
    if sumo.isLoaded():
        raise AverseError("this process already runs a SUMO simulation; libsumo holds only one per process")
    sumo.start(["sumo", *options, f"--seed={seed}"])


class _Calls(NamedTuple):
    """What is asked of libsumo in every step: its own functions, without the Python around them.

    Each passes its arguments on and no more, `simulationStep` also looks for listeners, of which there are none. They
    are called a hundred times in a decision, of whose time the Python around them was a tenth.
    """

    step: Callable[[float], None]
    collisions: Callable[[], Any]
    set_speed: Callable[[str | None, float], None]
    distance: Callable[[str], float]
    speed: Callable[[str], float]

    @classmethod
    def of(cls, sumo: ModuleType) -> "_Calls":
        """Those of the module libsumo; the version that they belong to is the one that averse installs."""
        own = sumo.libsumo._libsumo
        return cls(
            own.simulation_step,
            own.simulation_getCollisions,
            own.vehicle_setSpeed,
            own.vehicle_getDistance,
            own.vehicle_getSpeed,
        )


class _Human(NamedTuple):
    """A human driver who will come."""

    time: float  # s from the episode's start; negative: on the road since then
    movement: int
    speed: float  # m/s, on arrival
    speed_factor: float  # desired speed / limit
    reckless: bool


def draw_humans(task: IntersectionTask, generator: np.random.Generator) -> list[_Human]:
    """All human drivers of one episode in order of arrival: a Poisson stream, begun before it."""
    seconds = HUMAN_HISTORY + task.horizon * DECISION_SECONDS
    count = int(generator.poisson(task.human_rate * seconds))
    times = np.sort(generator.uniform(-HUMAN_HISTORY, seconds - HUMAN_HISTORY, count))
    factors = np.clip(generator.normal(1.0, HUMAN_SPEED_DEVIATION, count), 0.7, 1.3)
    movements = generator.integers(NUM_MOVEMENTS, size=count)
    speeds = generator.uniform(*SPAWN_SPEEDS, count)
    reckless = generator.random(count) < task.reckless_fraction
    columns = (times.tolist(), movements.tolist(), speeds.tolist(), factors.tolist(), reckless.tolist())
    return [_Human(*row) for row in zip(*columns, strict=True)]


def crash_partners(pairs: list[list[int]], kinds: list[int]) -> list[int]:
    """How many agents crashed with a car of each of `KINDS`; `pairs` of cars that crashed, `kinds` of all cars."""
    if not pairs:
        return [0] * len(KINDS)
    both_ways = [(car, other) for one, two in pairs for car, other in ((one, two), (two, one))]
    met = {(car, kinds[other]) for car, other in both_ways if kinds[car] == AGENT_KIND}
    return [sum(kind == partner for _, partner in met) for kind in KINDS]


class Simulation:
    """The task in SUMO, as a `WorkerEnvironment`.

    State fields: `cars` float64 [3, C] (movement, or -1 for an absent car; position in m; speed in m/s), `status`
    int64 [N], `elapsed` decisions, and `noise` float32 [N, C, 3] where the task is noisy.
    Outcome: `impact_speed`, the largest relative speed of an agent's crash in this decision (m/s, 0 without);
    `partners` float32 [3], how many agents crashed with a car of each of `KINDS`; with `trace`, also `trace` float64
    [5, C, 3]: movement (or -1), position and speed of each car after each simulation step; a car that crashed in it has
    speed -1. A traced state also has `who` int64 [2, C]: cars' kinds and numbers.
    """

    def __init__(self, task: IntersectionTask, sumo_drivers: bool = False, trace: bool = False):
        self._task, self._sumo_drivers, self._trace = task, sumo_drivers, trace
        self._sumo = import_libsumo()
        self._calls = _Calls.of(self._sumo)
        self._options = (f"--net-file={NETWORK_FILE}", *OPTIONS)
        start(self._sumo, self._options, 0)
        self._define()
        self._lengths = geometry().length.tolist()
        self._number = 0
        self._ids: list[str | None] = [None] * task.num_cars
        self._clear()

    def close(self) -> None:
        """End the simulation, so that this process may start another."""
        self._sumo.close()

    # ---- beginning an episode

    def _define(self) -> None:
        """Tell SUMO of the routes and the two types of cars; a load forgets them."""
        for movement in range(NUM_MOVEMENTS):
            edges = [f"{ARMS[movement // len(TURNS)]}_in", f"{ARMS[exit_arm(movement)]}_out"]
            self._sumo.route.add(f"route{movement}", edges)
        types = self._sumo.vehicletype
        for name in ("agent", "human"):
            types.copy("DEFAULT_VEHTYPE", name)
            types.setLength(name, CAR_LENGTH)
            types.setWidth(name, CAR_WIDTH)
            types.setAccel(name, HUMAN_ACCELERATION)
            types.setDecel(name, HUMAN_DECELERATION)
            types.setTau(name, HUMAN_REACTION)
            types.setMinGap(name, HUMAN_MIN_GAP)
            types.setSpeedFactor(name, 1.0)
            types.setSpeedDeviation(name, 0.0)
        types.setMaxSpeed("agent", MAX_SPEED)
        # agents obey exactly; the drivers of the baseline are as imperfect as humans
        types.setImperfection("agent", HUMAN_IMPERFECTION if self._sumo_drivers else 0.0)
        types.setImperfection("human", HUMAN_IMPERFECTION)

    def _clear(self) -> None:
        cars = self._task.num_cars
        self._ids = [None] * cars
        self._cars_by_id: dict[str, int] = {}
        self._movement = [-1] * cars
        self._position = [0.0] * cars
        self._speed = [0.0] * cars
        self._told = [-1.0] * self._task.num_agents  # the speed that an agent's car was last told to keep, m/s
        self._kind = [AGENT_KIND] * cars
        self._label = list(range(cars))
        self._origin = [0.0] * cars  # position at departure, to which SUMO's odometer adds
        self._wrecks: list[tuple[int, tuple[float, ...]]] = []  # trace rows of cars that crashed in this step

    def reset(self, seed: int, exact: bool) -> dict[str, Any]:
        """A fresh episode. Exact: SUMO is loaded anew with the seed (5 ms); else its cars are replaced (0.3 ms)."""
        if exact:
            self._sumo.load([*self._options, f"--seed={seed % 2**31}"])
            self._define()
            self._number = 0  # ids decide the order in which SUMO handles cars
        else:
            for name in self._cars_by_id:
                self._sumo.vehicle.remove(name)
        self._clear()
        task = self._task
        self._generator = np.random.default_rng(seed)
        starts = agent_starts(np, task, self._generator.random((START_NUMBERS, task.num_agents)))
        self._agent_movement = starts.movement.tolist()
        self._departures = starts.departure.tolist()
        self._agent_speed = starts.speed.tolist()
        self._status = [Status.WAITING] * task.num_agents
        self._elapsed = 0
        self._humans = draw_humans(task, self._generator) if task.num_humans else []
        self._place_early_humans()
        self._admit()
        return self._state()

    def _place_early_humans(self) -> None:
        """Put humans who arrived before the episode's start on the road, as far as they have come."""
        nearest = [float("inf")] * len(ARMS)
        last = float(geometry().entry[0]) - 15.0  # whoever would be nearer to the junction has crossed it
        early = [human for human in self._humans if human.time < 0]
        self._humans = self._humans[len(early) :]
        for human in early:
            arm = human.movement // len(TURNS)
            position = SPAWN_POSITION - human.time * HUMAN_APPROACH_SPEED
            slot = self._free_slot()
            too_close = position + CAR_LENGTH + HUMAN_APPROACH_SPEED * HUMAN_REACTION > nearest[arm]
            if slot is None or position > last or too_close:
                continue
            nearest[arm] = position
            self._add_human(slot, human, position, HUMAN_APPROACH_SPEED)

    # ---- cars that depart

    def _free_slot(self) -> int | None:
        for slot in range(self._task.num_agents, self._task.num_cars):
            if self._ids[slot] is None:
                return slot
        return None

    def _admit(self) -> None:
        """Let the cars depart that are due and whose place is free; the others try again at the next decision."""
        elapsed, status = self._elapsed, self._status
        due = [k for k, s in enumerate(status) if s == Status.WAITING and self._departures[k] <= elapsed]
        seconds = elapsed * DECISION_SECONDS
        if not due and (not self._humans or self._humans[0].time > seconds):
            return
        blocked: set[int] = set()  # one departure per arm and decision, in order
        for agent in due:
            movement = self._agent_movement[agent]
            speed = self._entry_speed(movement, self._agent_speed[agent], blocked)
            if speed is not None:
                status[agent] = Status.DRIVING
                self._add(agent, AGENT_KIND, movement, SPAWN_POSITION, speed)
                if not self._sumo_drivers:
                    self._sumo.vehicle.setSpeedMode(self._ids[agent], AGENT_SPEED_MODE)
        delayed: list[_Human] = []
        for index, human in enumerate(self._humans):
            if human.time > seconds:
                self._humans = delayed + self._humans[index:]
                break
            slot = self._free_slot()
            speed = None if slot is None else self._entry_speed(human.movement, human.speed, blocked)
            if slot is None or speed is None:
                delayed.append(human)
            else:
                self._add_human(slot, human, SPAWN_POSITION, speed)
        else:
            self._humans = delayed

    def _entry_speed(self, movement: int, wanted: float, blocked: set[int]) -> float | None:
        """The speed (m/s) with which a car may depart now; None where its place is not free."""
        arm = movement // len(TURNS)
        if arm in blocked:
            return None
        blocked.add(arm)
        ahead, leader_speed = float("inf"), 0.0
        for m, position, speed in zip(self._movement, self._position, self._speed, strict=True):
            if m >= 0 and m // len(TURNS) == arm and position < ahead:
                ahead, leader_speed = position, speed
        gap = ahead - CAR_LENGTH - SPAWN_POSITION
        if gap < SPAWN_GAP:
            return None
        return wanted if gap > 200.0 else min(wanted, float(departure_limit(np, gap, leader_speed)))

    def _add_human(self, slot: int, human: _Human, position: float, speed: float) -> None:
        kind = RECKLESS_KIND if human.reckless else HUMAN_KIND
        self._add(slot, kind, human.movement, position, speed)
        name = self._ids[slot]
        self._sumo.vehicle.setSpeedFactor(name, human.speed_factor)
        if human.reckless:
            self._sumo.vehicle.setSpeedMode(name, RECKLESS_SPEED_MODE)

    def _add(self, car: int, kind: int, movement: int, position: float, speed: float) -> None:
        type_ = "agent" if kind == AGENT_KIND else "human"
        name = f"{type_}{self._number}"
        self._number += 1
        vehicle = self._sumo.vehicle
        vehicle.add(name, f"route{movement}", type_, departSpeed=repr(speed))
        # moved at once: cars that SUMO is left to insert may wait for ever
        vehicle.moveTo(name, f"{ARMS[movement // len(TURNS)]}_in_0", position)
        self._ids[car] = name
        self._cars_by_id[name] = car
        self._movement[car], self._position[car], self._speed[car] = movement, position, speed
        self._origin[car], self._kind[car] = position, kind
        if kind == AGENT_KIND:
            self._told[car] = -1.0
        else:
            self._label[car] = self._number

    # ---- driving

    def step(self, actions: np.ndarray) -> WorkerStep:
        """One decision: five simulation steps, then departures.

        Raises AverseError for an action that is none.
        """
        simulation_step, collisions, set_speed, distance, speed_of = self._calls
        speeds, ids, told, origin = self._speed, self._ids, self._told, self._origin
        choice = actions.tolist()
        if not _ACTIONS.issuperset(choice):
            raise AverseError(f"actions must be whole numbers from 0 to {len(ACCELERATIONS) - 1}, not {choice}")
        driving = [
            (k, ids[k], ACCELERATIONS[choice[k]] * STEP_SECONDS)
            for k, status in enumerate(self._status)
            if status == Status.DRIVING and not self._sumo_drivers
        ]
        impact, trace = 0.0, []
        pairs: list[list[int]] = []
        # single steps: one longer simulationStep(t) would lose the collisions inside it
        for step in range(STEPS_PER_DECISION):
            for k, name, change in driving:
                speed = speeds[k] + change
                speeds[k] = speed = 0.0 if speed < 0.0 else MAX_SPEED if speed > MAX_SPEED else speed
                if speed != told[k]:  # what SUMO was told holds until it is told otherwise
                    told[k] = speed
                    set_speed(name, speed)
            simulation_step(0.0)
            crashed = collisions()
            if crashed:
                fastest, hit = self._crash(crashed, step)
                impact, pairs = max(impact, fastest), pairs + hit
                driving = [row for row in driving if ids[row[0]] is not None]
            if self._trace:
                trace.append(self._trace_rows())
        gone = []
        for name, car in self._cars_by_id.items():
            self._position[car] = position = origin[car] + distance(name)
            speeds[car] = speed_of(name)
            # SUMO forgets a car's arrivalPos when it is moved, so arrivals are seen here, at the end of a decision
            if position >= self._lengths[self._movement[car]]:
                gone.append(name)
        for name in gone:
            self._sumo.vehicle.remove(name)
            self._arrive(name)
        outcome: dict[str, Any] = {"impact_speed": impact, "partners": crash_partners(pairs, self._kind)}
        if self._trace:
            outcome["trace"] = trace
        self._elapsed += 1
        self._admit()  # last, as newcomers take the places of cars that have left
        over = min(self._status) >= Status.ARRIVED
        return WorkerStep(self._state(), outcome, over or self._elapsed >= self._task.horizon)

    def _crash(self, collisions: Any, step: int) -> tuple[float, list[list[int]]]:
        """Take crashed cars off the road; the largest relative speed (m/s) of agents' crashes, and all pairs."""
        impact, pairs = 0.0, []
        gone = {}
        for collision in collisions:
            gone[collision.collider], gone[collision.victim] = collision.colliderSpeed, collision.victimSpeed
            cars = [self._cars_by_id[collision.collider], self._cars_by_id[collision.victim]]
            pairs.append(cars)
            if min(cars) < self._task.num_agents:
                impact = max(impact, self._impact(cars, (collision.colliderSpeed, collision.victimSpeed), step))
        for name, speed in gone.items():
            car = self._cars_by_id[name]
            if self._trace:
                self._wrecks.append((car, (self._movement[car], self._wreck_position(car, speed, step), -1.0)))
            self._leave(name)
            if car < self._task.num_agents:
                self._status[car] = Status.CRASHED
        return impact, pairs

    def _wreck_position(self, car: int, speed: float, step: int) -> float:
        # SUMO has removed the car and forgotten it: it is where its speed must have taken it in this decision
        return self._position[car] + (step + 1) * STEP_SECONDS * speed

    def _impact(self, cars: list[int], speeds: tuple[float, float], step: int) -> float:
        position = [self._wreck_position(car, speed, step) for car, speed in zip(cars, speeds, strict=True)]
        movement = np.array([self._movement[car] for car in cars])
        pose = poses_at(np, geometry(), movement, np.array(position, np.float32))
        return float(np.hypot(*(part[0] * speeds[0] - part[1] * speeds[1] for part in (pose.cos, pose.sin))))

    def _arrive(self, name: str) -> None:
        car = self._leave(name)
        if car < self._task.num_agents:
            self._status[car] = Status.ARRIVED

    def _leave(self, name: str) -> int:
        car = self._cars_by_id.pop(name)
        self._ids[car] = None
        self._movement[car] = -1
        return car

    # ---- what is told of it

    def _state(self) -> dict[str, Any]:
        task = self._task
        state: dict[str, Any] = {
            "cars": (self._movement, self._position, self._speed),
            "status": self._status,
            "elapsed": self._elapsed,
        }
        if self._trace:
            state["who"] = (self._kind, self._label)
        if task.noisy:
            shape = (task.num_agents, task.num_cars)
            normal = self._generator.standard_normal((*shape, 2), np.float32)
            uniform = self._generator.random((*shape, 1), np.float32)
            state["noise"] = np.concatenate([normal, uniform], -1)
        return state

    def _trace_rows(self) -> list[tuple[float, ...]]:
        """One row per car, after one simulation step: movement or -1, position, speed."""
        rows: list[tuple[float, ...]] = [(-1.0, 0.0, 0.0)] * self._task.num_cars
        for name, car in self._cars_by_id.items():
            position = self._origin[car] + self._sumo.vehicle.getDistance(name)
            rows[car] = (self._movement[car], position, self._sumo.vehicle.getSpeed(name))
        for car, row in self._wrecks:
            rows[car] = row
        self._wrecks = []
        return rows
