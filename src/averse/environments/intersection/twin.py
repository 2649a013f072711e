"""The environment `intersection`: the task as one compiled program, for training at speed.

Agents' motion and crashes are SUMO's (to the last digit and to a cell of 0.2 m); human drivers follow SUMO's rules as
`humans` has them. A policy trained here runs in `sumo-intersection` unchanged.
"""

from collections.abc import Mapping
from itertools import accumulate
from math import prod
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.actions import guarded
from averse.environments.batch_last import batch_last, kept
from averse.environments.intersection.along_cars import any_of, counted, most
from averse.environments.intersection.crashes import Lanes, crash, crash_table, table_rows
from averse.environments.intersection.departures import (
    EARLY_HUMANS,
    admit,
    callers,
    early_humans,
    gaps_between,
    tempers,
)
from averse.environments.intersection.description import IntersectionEnvironment
from averse.environments.intersection.following import agent_motion, next_speed
from averse.environments.intersection.geometry import Geometry, Pose, geometry, of_movement, poses_at
from averse.environments.intersection.humans import HALTING_SPEED, limits, outlook
from averse.environments.intersection.manoeuvres import accelerations
from averse.environments.intersection.observations import available_actions, global_state, observe
from averse.environments.intersection.rewards import (
    Crashes,
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
    ARMS,
    STEP_SECONDS,
    STEPS_PER_DECISION,
    Scene,
    Status,
)
from averse.environments.protocol import StepResult
from averse.settings import settings

_NEVER = 1e9


class TwinState(NamedTuple):
    """One running episode; C cars: N agents, then H places for humans."""

    scene: Scene
    departure: jax.Array  # int32 [N], the decision at which each agent is due
    departure_speed: jax.Array  # float32 [N], m/s, unless the car ahead forces less
    factor: jax.Array  # float32 [C], desired speed / limit; 1 for agents
    reckless: jax.Array  # bool [C]; False for agents
    entered: jax.Array  # float32 [C], the simulation step in which the car entered the junction; _NEVER before
    waited: jax.Array  # float32 [C], s for which the car has been standing
    arrivals: jax.Array  # float32 [4], s, when the next human comes to each arm
    tally: Tally


class _Decision(NamedTuple):
    """The random numbers of one decision, uniform in [0, 1) but for the noise."""

    dawdling: jax.Array  # [5, H]
    callers: jax.Array  # [5, 4], see `departures.callers`
    noise: jax.Array | None  # [3, N, C], see `observe`


class _Start(NamedTuple):
    """The random numbers of an episode's beginning, uniform in [0, 1)."""

    agents: jax.Array  # [4, N], see `agent_starts`
    early_gaps: jax.Array  # [8, 4], see `early_humans`
    tempers: jax.Array  # [3, H], of the humans already there
    first_gaps: jax.Array  # [4]
    decision: _Decision


class _Motion(NamedTuple):
    """What changes in each simulation step."""

    position: jax.Array  # float32 [C]
    speed: jax.Array  # float32 [C]
    present: jax.Array  # bool [C]
    entered: jax.Array  # float32 [C]
    waited: jax.Array  # float32 [C]
    hits: jax.Array  # bool [C, C], which cars have crashed into which in this decision


@settings
class Intersection(IntersectionEnvironment):
    """N cars of agents cross a junction among human drivers, some of them reckless; SUMO's compiled twin.

    Observations and the global state are stated in `intersection.observations`, rewards, costs and metrics in
    `intersection.rewards`, manoeuvres in `intersection.manoeuvres`. Accelerations are -4.5, -2, 0, 1.3, 2.6 m/s2, held
    for 0.5 s.

    An episode's arrays have the axes that `TwinState` names; a batch of them is worked on with the batch last.
    """

    name: ClassVar[str] = "intersection"
    # Crashes are rare: large batches, long steps that end small, and losses that count in full.
    mappo_settings: ClassVar[Mapping[str, Any]] = {
        "network": "sets",
        "num_envs": 256,
        "rollout_steps": 32,
        "learning_rate": 6e-3,
        "final_learning_rate": 0.02,
        "penalty": 3.0,
        "max_gradient_norm": 5.0,
        "epsilon": 0.001,
        "value_scale": 5.0,
    }

    def reset(self, key: jax.Array) -> tuple[TwinState, jax.Array]:
        """A fresh episode: (state, observations [N, O])."""
        key, decision_key = jax.random.split(key)
        return self.begin(decision_key, jax.random.uniform(key, (self.num_conditions,)))

    @property
    def num_conditions(self) -> int:
        """Whence, whither, when and how fast agents come; which humans are there, and how they drive."""
        return sum(map(prod, self._start_shapes))

    def begin(self, key: jax.Array, conditions: jax.Array) -> tuple[TwinState, jax.Array]:
        """`reset` from random numbers [D] in [0, 1), and a key for what is random in every decision."""
        agents, early_gaps, temper, first_gaps = _cut(conditions, *self._start_shapes)
        numbers = _Start(agents, early_gaps, temper, first_gaps, self._draw(key))
        return batch_last(self._begin)(numbers)

    @property
    def _start_shapes(self) -> tuple[tuple[int, ...], ...]:
        arms = len(ARMS)
        return (START_NUMBERS, self.num_agents), (EARLY_HUMANS, arms), (3, self.num_humans), (arms,)

    @guarded
    def step(self, key: jax.Array, state: TwinState, actions: jax.Array) -> StepResult:
        """One decision of 0.5 s: five simulation steps, then departures."""
        return batch_last(self._decide)(self._draw(key), state, actions)

    def global_state(self, state: TwinState) -> jax.Array:
        """See `observations.global_state`, float32 [G]."""
        return batch_last(lambda scene: global_state(jnp, self, _road(), scene, self._poses(scene)))(state.scene)

    def available_actions(self, state: TwinState) -> jax.Array:
        """All for agents that drive, only the no-op for the others, bool [N, n]."""
        return batch_last(lambda scene: available_actions(jnp, self, scene))(state.scene)

    def _draw(self, key: jax.Array) -> _Decision:
        seen = (self.num_agents, self.num_cars)
        key, normal_key = jax.random.split(key) if self.noisy else (key, key)
        dawdling, arriving, dropout = _uniforms(
            key, (STEPS_PER_DECISION, self.num_humans), (5, len(ARMS)), (1, *seen) if self.noisy else (0,)
        )
        noise = jnp.concatenate([jax.random.normal(normal_key, (2, *seen)), dropout]) if self.noisy else None
        return _Decision(dawdling, arriving, noise)

    # Below, arrays have any batch axes after their own.

    def _begin(self, numbers: _Start) -> tuple[TwinState, jax.Array]:
        n, cars = self.num_agents, self.num_cars
        starts = agent_starts(jnp, self, numbers.agents)
        humans = early_humans(self, gaps_between(self, numbers.early_gaps), tempers(self, numbers.tempers))
        batch = starts.speed.shape[1:]
        nothing = jnp.zeros((n, *batch))
        scene = Scene(
            movement=jnp.concatenate([starts.movement, humans.movement]),
            position=jnp.concatenate([nothing, humans.position]),
            speed=jnp.concatenate([nothing, humans.speed]),
            present=jnp.concatenate([nothing > 0, humans.present]),
            status=jnp.full((n, *batch), Status.WAITING, jnp.int32),
            elapsed=jnp.zeros(batch),
        )
        state = TwinState(
            scene=scene,
            departure=starts.departure,
            departure_speed=starts.speed.astype(jnp.float32),
            factor=jnp.concatenate([nothing + 1, humans.factor]),
            reckless=jnp.concatenate([nothing > 0, humans.reckless]),
            entered=jnp.full((cars, *batch), _NEVER, jnp.float32),
            waited=jnp.zeros((cars, *batch)),
            arrivals=gaps_between(self, numbers.first_gaps),
            tally=new_tally(jnp, self, batch),
        )
        state = self._admit(numbers.decision.callers, state)
        return state, self._observe(numbers.decision, state.scene, self._poses(state.scene))

    def _decide(self, numbers: _Decision, state: TwinState, actions: jax.Array) -> StepResult:
        road, before = _road(), state.scene
        motion = kept(self._drive(numbers.dawdling, state, actions))
        crashed = any_of(motion.hits)
        (end,) = of_movement(jnp, before.movement, road.length)
        arrived = motion.present & (motion.position >= end)
        n = self.num_agents
        status = jnp.where(crashed[:n], Status.CRASHED, jnp.where(arrived[:n], Status.ARRIVED, before.status))
        scene = before._replace(
            position=motion.position,
            speed=motion.speed,
            present=motion.present & ~arrived,
            status=status,
            elapsed=before.elapsed + 1,
        )
        # before cars are admitted: wrecks are still where they crashed, and a human's place is still his
        crashes = Crashes(_impact_speed(motion, self._poses(scene), n), _partners(motion.hits, state.reckless, n))
        moved = state._replace(scene=scene, entered=motion.entered, waited=motion.waited)
        state = kept(self._admit(numbers.callers, moved))
        after = state.scene
        gap = smallest_gaps(jnp, self, road, before, after)
        tally = update_tally(jnp, self, state.tally, before, after, gap, crashes)
        under_way = any_of(status < Status.ARRIVED)
        return StepResult(
            state=state._replace(tally=tally),
            observations=self._observe(numbers, after, self._poses(after)),
            rewards=rewards(jnp, self, road, before, after),
            costs=costs(jnp, self, before, after, gap),
            terminated=terminated(jnp, self, after),
            truncated=(after.elapsed >= self.horizon) & under_way,
            info=metrics(jnp, self, tally, after),
        )

    def _poses(self, scene: Scene) -> Pose:
        return poses_at(jnp, _road(), scene.movement, scene.position)

    def _observe(self, numbers: _Decision, scene: Scene, pose: Pose) -> jax.Array:
        return observe(jnp, self, _road(), scene, pose, numbers.noise)

    def _admit(self, uniforms: jax.Array, state: TwinState) -> TwinState:
        scene, newcomers = admit(
            self, callers(self, uniforms), state.scene, state.departure, state.departure_speed, state.arrivals
        )
        return state._replace(
            scene=scene,
            factor=jnp.where(newcomers.cars, newcomers.factor, state.factor),
            reckless=jnp.where(newcomers.cars, newcomers.reckless, state.reckless),
            entered=jnp.where(newcomers.cars, _NEVER, state.entered),
            waited=jnp.where(newcomers.cars, 0.0, state.waited),
            arrivals=newcomers.arrivals,
        )

    def _drive(self, dawdling: jax.Array, state: TwinState, actions: jax.Array) -> _Motion:
        """Five simulation steps."""
        n, cars, scene = self.num_agents, self.num_cars, state.scene
        road, table = _road(), crash_table()
        if self.control == "manoeuvre":
            actions = kept(accelerations(jnp, road, scene, actions))
        view = outlook(jnp, road, scene.movement, state.factor, state.reckless[n:])
        lanes = view.lanes
        driving = scene.status == Status.DRIVING
        acceleration = jnp.where(driving, jnp.take(jnp.array(ACCELERATIONS, jnp.float32), actions), 0.0)
        mine, theirs = Lanes(*(part[:, None] for part in lanes)), Lanes(*(part[None] for part in lanes))
        rows = table_rows(mine.movement, theirs.movement)
        batch = (1,) * (scene.position.ndim - 1)
        order = jnp.linspace(0.0, 1e-3, cars).reshape(-1, *batch)
        different = ~jnp.eye(cars, dtype=bool).reshape(cars, cars, *batch)
        clock = scene.elapsed * STEPS_PER_DECISION

        def simulate(motion: _Motion, numbers: tuple[jax.Array, jax.Array]) -> tuple[_Motion, None]:
            uniform, step = numbers
            position, speed, present, entered, waited, hits = motion
            _, agents_speed = agent_motion(jnp, position[:n], speed[:n], acceleration)
            driven = agents_speed
            if cars > n:
                desired, safe = limits(jnp, view, position, speed, present, entered, waited)
                driven = jnp.concatenate([driven, next_speed(jnp, speed[n:], desired, safe, uniform)])
            speed = jnp.where(present, driven, speed)
            position = jnp.where(present, position + speed * STEP_SECONDS, position)
            now_in = (entered == _NEVER) & present & (position > lanes.entry)
            entered = jnp.where(now_in, clock + step, entered)
            # no two cars come to stand in the same instant, so that of two who wait one has waited for longer
            waited = jnp.where(speed < HALTING_SPEED, waited + STEP_SECONDS + order, 0.0)
            touch = crash(jnp, table, rows, mine, position[:, None], theirs, position[None])
            hits = hits | (touch & different & present[:, None] & present[None])
            present = present & ~any_of(hits)
            return _Motion(position, speed, present, entered, waited, hits), None

        start = _Motion(
            scene.position,
            scene.speed,
            scene.present,
            state.entered,
            state.waited,
            jnp.zeros((cars, *scene.position.shape), bool),
        )
        steps = jnp.arange(STEPS_PER_DECISION, dtype=jnp.float32)
        return jax.lax.scan(simulate, start, (dawdling, steps))[0]


def _uniforms(key: jax.Array, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Random numbers in [0, 1) of several shapes, drawn at once."""
    return _cut(jax.random.uniform(key, (sum(map(prod, shapes)),)), *shapes)


def _cut(numbers: jax.Array, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """A row of numbers as arrays of several shapes."""
    parts = jnp.split(numbers, list(accumulate(map(prod, shapes)))[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _road() -> Geometry:
    return Geometry(*map(jnp.asarray, geometry()))


def _impact_speed(motion: _Motion, pose: Pose, n: int) -> jax.Array:
    """The largest relative speed (m/s) of the agents' crashes in this decision, 0 without."""
    vx, vy = motion.speed * pose.cos, motion.speed * pose.sin
    squared = (vx[:n, None] - vx[None]) ** 2 + (vy[:n, None] - vy[None]) ** 2
    return jnp.sqrt(most(jnp, most(jnp, jnp.where(motion.hits[:n], squared, 0.0))))


def _partners(hits: jax.Array, reckless: jax.Array, n: int) -> jax.Array:
    """How many agents crashed with an agent, a lawful human, a reckless human, float32 [3, ...]; see `Crashes`."""
    agents, humans = hits[:n, :n], hits[n:, :n]  # [partner, agent, ...]
    ignoring = reckless[n:, None]
    # without humans `any_of` has no array to take the shape of
    met = [
        jnp.broadcast_to(any_of(pairs), agents.shape[1:]) for pairs in (agents, humans & ~ignoring, humans & ignoring)
    ]
    return jnp.stack([counted(jnp, which)[-1] for which in met]).astype(jnp.float32)
