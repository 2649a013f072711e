"""Who enters the compiled intersection, and when: the same rules by which the simulator's episodes are filled.

Human drivers come to each arm as a Poisson stream and wait outside until the road ahead of their place is free.

Axes: cars or arms first, a batch last (`...`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.intersection.along_cars import any_of, counted, least, most, one_of
from averse.environments.intersection.geometry import geometry
from averse.environments.intersection.starts import departure_limit
from averse.environments.intersection.task import (
    ARMS,
    CAR_LENGTH,
    DECISION_SECONDS,
    HUMAN_APPROACH_SPEED,
    HUMAN_HISTORY,
    HUMAN_REACTION,
    HUMAN_SPEED_DEVIATION,
    SPAWN_GAP,
    SPAWN_POSITION,
    SPAWN_SPEEDS,
    TURNS,
    IntersectionTask,
    Scene,
    Status,
)

EARLY_HUMANS = 8  # humans per arm who may have come before the start: the history's length holds no more of them
_FAR = 1e4


class Humans(NamedTuple):
    """Human drivers and their cars, [H, ...]."""

    movement: jax.Array  # int32
    position: jax.Array  # float32, m
    speed: jax.Array  # float32, m/s
    present: jax.Array  # bool
    factor: jax.Array  # float32, desired speed / limit
    reckless: jax.Array  # bool


class Tempers(NamedTuple):
    """How some human drivers drive, each [K, ...]."""

    turn: jax.Array  # int32
    factor: jax.Array  # float32, desired speed / limit
    reckless: jax.Array  # bool


class Callers(NamedTuple):
    """Who may come to each arm in one decision, each [4, ...]."""

    temper: Tempers
    speed: jax.Array  # float32, m/s, unless the car ahead forces less
    gap: jax.Array  # float32, s until the arm's next one


class Newcomers(NamedTuple):
    """Who has entered the road in a decision."""

    cars: jax.Array  # bool [C, ...]
    factor: jax.Array  # float32 [C, ...]
    reckless: jax.Array  # bool [C, ...]
    arrivals: jax.Array  # float32 [4, ...], s, when the next human comes to each arm; who waits outside has come before


# ---- of random numbers


def tempers(task: IntersectionTask, uniforms: jax.Array) -> Tempers:
    """Those of K human drivers, from random numbers [3, K] in [0, 1)."""
    normal = jnp.sqrt(2.0) * jax.lax.erf_inv(2 * jnp.maximum(uniforms[1], 1e-7) - 1)
    return Tempers(
        turn=(uniforms[0] * len(TURNS)).astype(jnp.int32),
        factor=jnp.clip(1.0 + HUMAN_SPEED_DEVIATION * normal, 0.7, 1.3),
        reckless=uniforms[2] < task.reckless_fraction,
    )


def gaps_between(task: IntersectionTask, uniforms: jax.Array) -> jax.Array:
    """Times (s) between two arrivals at one arm, or until the first, from random numbers in [0, 1)."""
    if not task.num_humans:
        return jnp.full(uniforms.shape, jnp.inf)
    return -jnp.log1p(-uniforms) * (len(ARMS) / task.human_rate)


def callers(task: IntersectionTask, uniforms: jax.Array) -> Callers:
    """Those of one decision, from random numbers [5, 4] in [0, 1)."""
    low, high = SPAWN_SPEEDS
    return Callers(tempers(task, uniforms[:3]), low + (high - low) * uniforms[3], gaps_between(task, uniforms[4]))


# ---- what follows from them


def early_humans(task: IntersectionTask, gaps: jax.Array, temper: Tempers) -> Humans:
    """Humans who came in the last seconds before the start, as far as they have driven by then.

    gaps: float32 [8, 4, ...], s before the start of the last arrival at each arm, then between it and the one before,
    and so on; temper: of H drivers.
    """
    position = SPAWN_POSITION + jnp.cumsum(gaps, 0) * HUMAN_APPROACH_SPEED
    since = (position - SPAWN_POSITION) / HUMAN_APPROACH_SPEED
    last = geometry().entry[0] - 15.0  # whoever would be nearer to the junction has crossed it
    here = (since < HUMAN_HISTORY) & (position <= last)
    room = CAR_LENGTH + HUMAN_APPROACH_SPEED * HUMAN_REACTION
    nearest = jnp.full(position.shape[1:], jnp.inf)
    kept: list[jax.Array] = []
    for where, candidate in zip(position[::-1], here[::-1]):  # the earliest, who has come furthest, first
        kept.append(candidate & (where + room <= nearest))
        nearest = jnp.where(kept[-1], where, nearest)
    # the k-th who is kept takes the k-th place
    keeps = jnp.stack(kept, 1).reshape(len(ARMS) * EARLY_HUMANS, *position.shape[2:])
    positions = jnp.moveaxis(position[::-1], 0, 1).reshape(keeps.shape)
    arms = jnp.repeat(jnp.arange(len(ARMS), dtype=jnp.int32), EARLY_HUMANS).reshape(-1, *(1,) * (keeps.ndim - 1))
    places = jnp.arange(task.num_humans).reshape(-1, *(1,) * keeps.ndim)
    taken = keeps[None] & (counted(jnp, keeps)[None] - 1 == places)  # [H, 32, ...]
    present = any_of(taken, 1)
    return Humans(
        movement=one_of(jnp, taken, arms[None], 1) * len(TURNS) + temper.turn,
        position=one_of(jnp, taken, positions[None], 1),
        speed=jnp.where(present, HUMAN_APPROACH_SPEED, 0.0),
        present=present,
        factor=temper.factor,
        reckless=temper.reckless,
    )


def admit(
    task: IntersectionTask,
    who: Callers,
    scene: Scene,
    departure: jax.Array,
    departure_speed: jax.Array,
    arrivals: jax.Array,
) -> tuple[Scene, Newcomers]:
    """Let the cars depart that are due and whose place is free, one per arm; agents go before humans.

    who: may come; departure, departure_speed: [N, ...] of the agents; arrivals: float32 [4, ...], see `Newcomers`.
    """
    n = task.num_agents
    batch = (1,) * (scene.movement.ndim - 1)
    arms = jnp.arange(len(ARMS), dtype=jnp.int32).reshape(-1, *batch)
    on_arm = (scene.movement // len(TURNS))[:, None] == arms[None]  # [C, 4, ...]
    # the road ahead of each arm's place
    where = jnp.where(on_arm & scene.present[:, None], scene.position[:, None], _FAR)
    ahead = least(jnp, where)
    leader_speed = most(jnp, jnp.where(where == ahead[None], scene.speed[:, None], 0.0))
    gap = ahead - CAR_LENGTH - SPAWN_POSITION
    free = gap >= SPAWN_GAP
    limit = departure_limit(jnp, gap, leader_speed)  # [4, ...], m/s

    due = (scene.status == Status.WAITING) & (departure.astype(jnp.float32) <= scene.elapsed[None])
    mine = on_arm[:n] & due[:, None]  # [N, 4, ...]
    departs = any_of(mine & (counted(jnp, mine) == 1) & free[None], 1)
    speed = jnp.minimum(departure_speed, one_of(jnp, on_arm[:n], limit[None], 1))

    human_due = (arrivals <= scene.elapsed[None] * DECISION_SECONDS) & ~any_of(mine) & free
    places = ~scene.present[n:]
    # the k-th human who may depart takes the k-th free place
    taken = (
        places[:, None] & human_due[None] & (counted(jnp, places)[:, None] == counted(jnp, human_due)[None])
    )  # [H, 4, ...]
    came = any_of(taken)
    enters = jnp.concatenate([departs, any_of(taken, 1)])

    def of_arm(values: jax.Array) -> jax.Array:
        return one_of(jnp, taken, values[None], 1)

    temper = who.temper
    movement = of_arm(arms * len(TURNS) + temper.turn)
    scene = scene._replace(
        movement=jnp.where(enters, jnp.concatenate([scene.movement[:n], movement]), scene.movement),
        position=jnp.where(enters, SPAWN_POSITION, scene.position),
        speed=jnp.where(enters, jnp.concatenate([speed, of_arm(jnp.minimum(who.speed, limit))]), scene.speed),
        present=scene.present | enters,
        status=jnp.where(departs, Status.DRIVING, scene.status),
    )
    newcomers = Newcomers(
        cars=enters,
        factor=jnp.concatenate([jnp.ones_like(speed), of_arm(temper.factor)]),
        reckless=jnp.concatenate([jnp.zeros_like(departs), any_of(taken & temper.reckless[None], 1)]),
        arrivals=arrivals + jnp.where(came, who.gap, 0.0),
    )
    return scene, newcomers
