"""The environment `intersection`: the task as one compiled program, for training at speed.

Agents' motion and crashes are SUMO's (to the last digit and to a cell of 0.2 m); human drivers follow SUMO's rules as
`humans` has them. A policy trained here runs in `sumo-intersection` unchanged.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.intersection.crashes import Lanes, crash, crash_table, table_rows
from averse.environments.intersection.departures import (
    HumanArrivals,
    admit,
    early_humans,
    first_arrivals,
)
from averse.environments.intersection.description import IntersectionEnvironment
from averse.environments.intersection.following import agent_motion, next_speed
from averse.environments.intersection.geometry import Geometry, Pose, geometry, poses_at
from averse.environments.intersection.humans import HALTING_SPEED, limits, outlook
from averse.environments.intersection.observations import available_actions, global_state, observe
from averse.environments.intersection.rewards import (
    Tally,
    costs,
    metrics,
    new_tally,
    rewards,
    smallest_gaps,
    terminated,
    update_tally,
)
from averse.environments.intersection.starts import START_NUMBERS, agent_starts
from averse.environments.intersection.task import (
    ACCELERATIONS,
    STEP_SECONDS,
    STEPS_PER_DECISION,
    Scene,
    Status,
)
from averse.environments.protocol import StepResult

_NEVER = 1e9


class TwinState(NamedTuple):
    """One running episode; C cars: N agents, then H places for humans."""

    scene: Scene
    departure: jax.Array  # int32 [N], the decision at which each agent is due
    departure_speed: jax.Array  # float32 [N], m/s, unless the car ahead forces less
    factor: jax.Array  # float32 [C], desired speed / limit; 1 for agents
    reckless: jax.Array  # bool [H]
    entered: jax.Array  # float32 [C], the simulation step in which the car entered the junction; _NEVER before
    waited: jax.Array  # float32 [C], s for which the car has been standing
    arrivals: HumanArrivals
    tally: Tally


class _Motion(NamedTuple):
    """What changes in each simulation step."""

    position: jax.Array  # float32 [C]
    speed: jax.Array  # float32 [C]
    present: jax.Array  # bool [C]
    entered: jax.Array  # float32 [C]
    waited: jax.Array  # float32 [C]
    hits: jax.Array  # bool [D, C], whether the car has crashed in this decision with the one d places further on


@dataclass(frozen=True)
class Intersection(IntersectionEnvironment):
    """N cars of agents cross a junction among human drivers, some of them reckless; SUMO's compiled twin.

    Observations and the global state are stated in `intersection.observations`, rewards, costs and metrics in
    `intersection.rewards`. Actions are the accelerations -4.5, -2, 0, 1.3, 2.6 m/s2, held for 0.5 s.
    """

    name: ClassVar[str] = "intersection"

    def reset(self, key: jax.Array) -> tuple[TwinState, jax.Array]:
        """A fresh episode: (state, observations [N, O])."""
        agents_key, humans_key, early_key, admit_key, noise_key = jax.random.split(key, 5)
        n, cars = self.num_agents, self.num_cars
        starts = agent_starts(jnp, self, jax.random.uniform(agents_key, (START_NUMBERS, n)))
        humans = early_humans(self, early_key)
        scene = Scene(
            movement=jnp.concatenate([starts.movement, humans.movement]),
            position=jnp.concatenate([jnp.zeros(n), humans.position]),
            speed=jnp.concatenate([jnp.zeros(n), humans.speed]),
            present=jnp.concatenate([jnp.zeros(n, bool), humans.present]),
            status=jnp.full(n, Status.WAITING, jnp.int32),
            elapsed=jnp.float32(0),
        )
        state = TwinState(
            scene=scene,
            departure=starts.departure,
            departure_speed=starts.speed.astype(jnp.float32),
            factor=jnp.concatenate([jnp.ones(n), humans.factor]),
            reckless=humans.reckless,
            entered=jnp.full(cars, _NEVER),
            waited=jnp.zeros(cars),
            arrivals=first_arrivals(self, humans_key),
            tally=new_tally(jnp, self, ()),
        )
        state = self._admit(admit_key, state)
        return state, self._observe(noise_key, state.scene, self._poses(state.scene))

    def step(self, key: jax.Array, state: TwinState, actions: jax.Array) -> StepResult:
        """One decision of 0.5 s: five simulation steps, then departures."""
        drive_key, admit_key, noise_key = jax.random.split(key, 3)
        road, before = _road(), state.scene
        motion = self._drive(drive_key, state, actions)
        crashed = _of_either(motion.hits)
        arrived = motion.present & (motion.position >= jnp.take(road.length, before.movement))
        n = self.num_agents
        status = jnp.where(crashed[:n], Status.CRASHED, jnp.where(arrived[:n], Status.ARRIVED, before.status))
        scene = before._replace(
            position=motion.position,
            speed=motion.speed,
            present=motion.present & ~arrived,
            status=status,
            elapsed=before.elapsed + 1,
        )
        wreck_pose = self._poses(scene)  # wrecks are still where they crashed
        state = self._admit(admit_key, state._replace(scene=scene, entered=motion.entered, waited=motion.waited))
        after = state.scene
        pose = self._poses(after)
        gap = smallest_gaps(jnp, self, road, before, after)
        hit = _impact_speed(motion, wreck_pose, n)
        tally = update_tally(jnp, self, state.tally, before, after, gap, hit)
        over = status >= Status.ARRIVED
        return StepResult(
            state=state._replace(tally=tally),
            observations=self._observe(noise_key, after, pose),
            rewards=rewards(jnp, self, road, before, after),
            costs=costs(jnp, self, before, after, gap),
            terminated=terminated(jnp, self, after),
            truncated=(after.elapsed >= self.horizon) & ~over.all(),
            info=metrics(jnp, self, tally, after),
        )

    def global_state(self, state: TwinState) -> jax.Array:
        """See `observations.global_state`, float32 [G]."""
        return global_state(jnp, self, _road(), state.scene, self._poses(state.scene))

    def available_actions(self, state: TwinState) -> jax.Array:
        """All for agents that drive, only keeping the speed for the others, bool [N, 5]."""
        return available_actions(jnp, state.scene)

    def _poses(self, scene: Scene) -> Pose:
        return poses_at(jnp, _road(), scene.movement, scene.position)

    def _observe(self, key: jax.Array, scene: Scene, pose: Pose) -> jax.Array:
        noise = None
        if self.noisy:
            shape = (self.num_agents, self.num_cars)
            normal_key, uniform_key = jax.random.split(key)
            normal = jax.random.normal(normal_key, (*shape, 2))
            noise = jnp.concatenate([normal, jax.random.uniform(uniform_key, (*shape, 1))], -1)
        return observe(jnp, self, _road(), scene, pose, noise)

    def _admit(self, key: jax.Array, state: TwinState) -> TwinState:
        scene, newcomers = admit(self, key, state.scene, state.departure, state.departure_speed, state.arrivals)
        n = self.num_agents
        return state._replace(
            scene=scene,
            factor=jnp.where(newcomers.cars, newcomers.factor, state.factor),
            reckless=jnp.where(newcomers.cars[n:], newcomers.reckless, state.reckless),
            entered=jnp.where(newcomers.cars, _NEVER, state.entered),
            waited=jnp.where(newcomers.cars, 0.0, state.waited),
            arrivals=newcomers.arrivals,
        )

    def _drive(self, key: jax.Array, state: TwinState, actions: jax.Array) -> _Motion:
        """Five simulation steps."""
        n, cars, scene = self.num_agents, self.num_cars, state.scene
        road, table = _road(), crash_table()
        view = outlook(jnp, road, scene.movement, state.factor, state.reckless)
        lanes = view.lanes
        driving = scene.status == Status.DRIVING
        acceleration = jnp.where(driving, jnp.take(jnp.array(ACCELERATIONS, jnp.float32), actions), 0.0)
        other = Lanes(*map(_further_on, lanes))
        rows = table_rows(lanes.movement, other.movement)
        dawdling = jax.random.uniform(key, (STEPS_PER_DECISION, self.num_humans))
        order = jnp.linspace(0.0, 1e-3, cars)
        clock = scene.elapsed * STEPS_PER_DECISION

        def simulate(motion: _Motion, numbers: tuple[jax.Array, jax.Array]) -> tuple[_Motion, None]:
            uniform, step = numbers
            position, speed, present, entered, waited, hits = motion
            agents_position, agents_speed = agent_motion(jnp, position[:n], speed[:n], acceleration)
            desired, safe = limits(jnp, view, position, speed, present, entered, waited)
            humans_speed = next_speed(jnp, speed[n:], desired, safe, uniform)
            speed = jnp.where(present, jnp.concatenate([agents_speed, humans_speed]), speed)
            moved = jnp.concatenate([agents_position, position[n:] + humans_speed * STEP_SECONDS])
            position = jnp.where(present, moved, position)
            now_in = (entered == _NEVER) & present & (position > lanes.entry)
            entered = jnp.where(now_in, clock + step, entered)
            # no two cars come to stand in the same instant, so that of two who wait one has waited for longer
            waited = jnp.where(speed < HALTING_SPEED, waited + STEP_SECONDS + order, 0.0)
            touch = crash(jnp, table, rows, lanes, position, other, _further_on(position))
            touch = touch & present & _further_on(present)
            present = present & ~_of_either(touch)
            return _Motion(position, speed, present, entered, waited, hits | touch), None

        start = _Motion(
            scene.position, scene.speed, scene.present, state.entered, state.waited, jnp.zeros((cars // 2, cars), bool)
        )
        steps = jnp.arange(STEPS_PER_DECISION, dtype=jnp.float32)
        return jax.lax.scan(simulate, start, (dawdling, steps))[0]


def _road() -> Geometry:
    return Geometry(*map(jnp.asarray, geometry()))


# Each pair of cars is looked at once: a car and the one d places further on, for d = 1 .. C // 2.


def _further_on(part: jax.Array) -> jax.Array:
    """[C] -> [D, C], the values of the cars d places further on."""
    cars = part.shape[0]
    round_twice = jnp.concatenate([part, part])
    return jnp.stack([round_twice[d : d + cars] for d in range(1, cars // 2 + 1)] or [part])[: cars // 2]


def _of_either(pairs: jax.Array) -> jax.Array:
    """Which cars are of a pair of which `pairs` holds: bool [D, C] -> [C]."""
    either = jnp.zeros(pairs.shape[1], bool)
    for d, row in enumerate(pairs, 1):
        either = either | row | jnp.roll(row, d)
    return either


def _impact_speed(motion: _Motion, pose: Pose, n: int) -> jax.Array:
    """The largest relative speed (m/s) of the agents' crashes in this decision, 0 without."""
    vx, vy = motion.speed * pose.cos, motion.speed * pose.sin
    agent = jnp.arange(vx.shape[0]) < n
    relative = jnp.hypot(vx - _further_on(vx), vy - _further_on(vy))
    return jnp.where(motion.hits & (agent | _further_on(agent)), relative, 0.0).max(initial=0.0)
