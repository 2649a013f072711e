"""Who enters the compiled intersection, and when: the same rules by which the simulator's episodes are filled.

Human drivers come to each arm as a Poisson stream and wait outside until the road ahead of their place is free.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

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

_EARLY = 8  # humans per arm who may have come before the start: the history's length holds no more of them
_FAR = 1e4


class Humans(NamedTuple):
    """Human drivers and their cars, [H]."""

    movement: jax.Array  # int32
    position: jax.Array  # float32, m
    speed: jax.Array  # float32, m/s
    present: jax.Array  # bool
    factor: jax.Array  # float32, desired speed / limit
    reckless: jax.Array  # bool


class HumanArrivals(NamedTuple):
    """When the next human comes to each arm; who waits outside has come in the past."""

    time: jax.Array  # float32 [4], s


class Newcomers(NamedTuple):
    """Who has entered the road in a decision."""

    cars: jax.Array  # bool [C]
    factor: jax.Array  # float32 [C]
    reckless: jax.Array  # bool [H]
    arrivals: HumanArrivals


def _temper(task: IntersectionTask, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Turn (int32), desired speed / limit and recklessness of `count` human drivers."""
    turn_key, factor_key, reckless_key = jax.random.split(key, 3)
    turn = jax.random.randint(turn_key, (count,), 0, len(TURNS))
    factor = jnp.clip(1.0 + HUMAN_SPEED_DEVIATION * jax.random.normal(factor_key, (count,)), 0.7, 1.3)
    return turn, factor, jax.random.uniform(reckless_key, (count,)) < task.reckless_fraction


def _gaps(task: IntersectionTask, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Times (s) between two arrivals at one arm."""
    if not task.num_humans:
        return jnp.full(shape, jnp.inf)
    return jax.random.exponential(key, shape) * (len(ARMS) / task.human_rate)


def first_arrivals(task: IntersectionTask, key: jax.Array) -> HumanArrivals:
    """The first arrivals after the start."""
    return HumanArrivals(_gaps(task, key, (len(ARMS),)))


def early_humans(task: IntersectionTask, key: jax.Array) -> Humans:
    """Humans who came in the last seconds before the start, as far as they have driven by then."""
    places = task.num_humans
    gap_key, temper_key = jax.random.split(key)
    count = len(ARMS) * _EARLY
    since = jnp.cumsum(_gaps(task, gap_key, (len(ARMS), _EARLY)), -1)[:, ::-1]  # s, the earliest first
    position = SPAWN_POSITION + since * HUMAN_APPROACH_SPEED
    last = geometry().entry[0] - 15.0  # whoever would be nearer to the junction has crossed it
    here = (since < HUMAN_HISTORY) & (position <= last)
    room = CAR_LENGTH + HUMAN_APPROACH_SPEED * HUMAN_REACTION

    def keep(nearest: jax.Array, car: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        where, candidate = car
        stays = candidate & (where + room <= nearest)
        return jnp.where(stays, where, nearest), stays

    _, kept = jax.lax.scan(keep, jnp.full(len(ARMS), jnp.inf), (position.T, here.T))
    kept = kept.T.ravel()
    # those who are kept take the first places
    chosen = jnp.argsort(~kept, stable=True)[:places]
    chosen = jnp.concatenate([chosen, jnp.zeros(max(0, places - count), chosen.dtype)])
    present = kept[chosen] & (jnp.arange(places) < count)
    turn, factor, reckless = _temper(task, temper_key, places)
    return Humans(
        movement=(chosen // _EARLY * len(TURNS) + turn).astype(jnp.int32),
        position=jnp.where(present, position.ravel()[chosen], 0.0),
        speed=jnp.where(present, HUMAN_APPROACH_SPEED, 0.0),
        present=present,
        factor=factor,
        reckless=reckless,
    )


def admit(
    task: IntersectionTask,
    key: jax.Array,
    scene: Scene,
    departure: jax.Array,
    departure_speed: jax.Array,
    arrivals: HumanArrivals,
) -> tuple[Scene, Newcomers]:
    """Let the cars depart that are due and whose place is free, one per arm; agents go before humans."""
    n, arms = task.num_agents, jnp.arange(len(ARMS))
    on_arm = (scene.movement // len(TURNS))[:, None] == arms  # [C, 4]
    # the road ahead of each arm's place
    where = jnp.where(on_arm & scene.present[:, None], scene.position[:, None], _FAR)
    ahead = where.min(0)
    leader_speed = scene.speed[where.argmin(0)]
    gap = ahead - CAR_LENGTH - SPAWN_POSITION
    free = gap >= SPAWN_GAP
    limit = departure_limit(jnp, gap, leader_speed)  # [4], m/s

    due = (scene.status == Status.WAITING) & (departure <= scene.elapsed)
    mine = on_arm[:n] & due[:, None]  # [N, 4]
    first = mine & (jnp.cumsum(mine, 0) == 1)
    departs = (first & free).any(-1)
    speed = jnp.minimum(departure_speed, (on_arm[:n] * limit).sum(-1))
    no_agent = ~mine.any(0)

    temper_key, speed_key, gap_key = jax.random.split(key, 3)
    turn, factor, reckless = _temper(task, temper_key, len(ARMS))
    human_due = (arrivals.time <= scene.elapsed * DECISION_SECONDS) & no_agent & free
    places = ~scene.present[n:]
    # the k-th human who may depart takes the k-th free place
    taken = places[:, None] & human_due & (jnp.cumsum(places)[:, None] == jnp.cumsum(human_due))  # [H, 4]
    human_speed = jax.random.uniform(speed_key, (len(ARMS),), minval=SPAWN_SPEEDS[0], maxval=SPAWN_SPEEDS[1])
    human_speed = jnp.minimum(human_speed, limit)
    came = taken.any(0)
    enters = jnp.concatenate([departs, taken.any(-1)])

    def of_arm(values: jax.Array) -> jax.Array:
        return (taken * values).sum(-1)

    movement = of_arm(arms * len(TURNS) + turn).astype(jnp.int32)
    scene = scene._replace(
        movement=jnp.where(enters, jnp.concatenate([scene.movement[:n], movement]), scene.movement),
        position=jnp.where(enters, SPAWN_POSITION, scene.position),
        speed=jnp.where(enters, jnp.concatenate([speed, of_arm(human_speed)]), scene.speed),
        present=scene.present | enters,
        status=jnp.where(departs, Status.DRIVING, scene.status),
    )
    newcomers = Newcomers(
        cars=enters,
        factor=jnp.concatenate([jnp.ones(n), of_arm(factor)]),
        reckless=(taken & reckless).any(-1),
        arrivals=HumanArrivals(arrivals.time + jnp.where(came, _gaps(task, gap_key, (len(ARMS),)), 0.0)),
    )
    return scene, newcomers
