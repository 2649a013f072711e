"""What simulations of the junction answer, stated as the task has it, by pure functions of JAX.

Axes: cars first, B simulations last, as in `environments.intersection`; what goes in and out has B first.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from averse.environments.batch_last import kept
from averse.environments.intersection.geometry import geometry, poses_at
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
from averse.environments.intersection.task import METRICS, NO_OP, STEPS_PER_DECISION, IntersectionTask, Scene, Status
from averse.environments.protocol import TimeStep
from averse.environments.sumo.simulation import KINDS
from averse.environments.workers.encoded import decoded
from averse.environments.workers.process import Layout

FAILED = "worker_failed"


def layout(task: IntersectionTask, trace: bool = False) -> Layout:
    """The arrays of one `Simulation`."""
    n, cars = task.num_agents, task.num_cars
    state: dict[str, tuple[tuple[int, ...], str]] = {
        "cars": ((3, cars), "float32"),
        "status": ((n,), "int32"),
        "elapsed": ((), "int32"),
    }
    if task.noisy:
        state["noise"] = ((n, cars, 3), "float32")
    outcome: dict[str, tuple[tuple[int, ...], str]] = {
        "impact_speed": ((), "float32"),
        "partners": ((len(KINDS),), "float32"),
    }
    if trace:
        state["who"] = ((2, cars), "int64")
        outcome["trace"] = ((STEPS_PER_DECISION, cars, 3), "float64")
    return Layout(((n,), "int32"), state, outcome)


class Past(NamedTuple):
    """What was before: of B simulations, which are the last axis."""

    scene: Scene
    tally: Tally


class View(NamedTuple):
    """What is seen of B scenes."""

    observations: Any  # float32 [B, N, O]
    global_state: Any  # float32 [B, G]
    available: Any  # bool [B, N, n]


@dataclass(frozen=True)
class TrafficEncoding:
    """States the task for a batch of simulations: an `Encoding` for `EncodedVector`.

    Args:
      trace: whether the simulations also tell where every car was after every 0.1 s.
    """

    task: IntersectionTask
    trace: bool = False

    def blank(self, num_envs: int) -> Past:
        """See `Encoding`."""
        n, cars = self.task.num_agents, self.task.num_cars
        scene = Scene(
            movement=jnp.zeros((cars, num_envs), jnp.int32),
            position=jnp.zeros((cars, num_envs), jnp.float32),
            speed=jnp.zeros((cars, num_envs), jnp.float32),
            present=jnp.zeros((cars, num_envs), bool),
            status=jnp.zeros((n, num_envs), jnp.int32),
            elapsed=jnp.zeros(num_envs, jnp.float32),
        )
        return Past(scene, new_tally(jnp, self.task, (num_envs,)))

    def commands(self, past: Past, actions: jax.Array) -> jax.Array:
        """See `Encoding`: the accelerations that carry out the agents' manoeuvres."""
        if self.task.control == "acceleration":
            return actions
        chosen = accelerations(jnp, geometry(), past.scene, actions.T)
        return jnp.where(past.scene.status == Status.DRIVING, chosen, NO_OP).T

    def advance(self, past: Past, rows: jax.Array) -> tuple[Past, TimeStep]:
        """See `Encoding`."""
        task, before = self.task, past.scene
        told = decoded(rows, layout(task, self.trace))
        flags = {name: value != 0 for name, value in told["flags"].items()}
        ended, failed, idle, idle_now = (flags[name] for name in ("ended", "failed", "was_idle", "idle"))
        after = scene_of(told["after"])
        gap = smallest_gaps(jnp, task, geometry(), before, after)
        crashes = Crashes(told["outcome"]["impact_speed"], told["outcome"]["partners"].T)
        tally = update_tally(jnp, task, past.tally, before, after, gap, crashes)
        figures = {**metrics(jnp, task, tally, after), FAILED: failed.astype(jnp.float32)}
        paid = rewards(jnp, task, geometry(), before, after).T
        led_to, begun = self._views(told, ended & ~idle_now)
        now = jax.tree.map(partial(_where, ended), begun, led_to)
        fresh = Past(scene_of(told["now"]), new_tally(jnp, task, ended.shape))
        step = TimeStep(
            observations=_where(idle_now, 0, now.observations),
            global_state=_where(idle_now, 0, now.global_state),
            available=_where(idle_now, True, now.available),
            rewards=_where(idle | failed, 0, paid),  # no time has passed in an episode that was given up
            costs=_where(idle, 0, costs(jnp, task, before, after, gap).T),
            terminated=_where(idle, False, terminated(jnp, task, after).T),
            truncated=ended & ~(after.status >= Status.ARRIVED).all(0) & ~idle,
            next_observations=_where(idle, 0, led_to.observations),
            next_global_state=_where(idle, 0, led_to.global_state),
            next_available=_where(idle, True, led_to.available),
            info={name: jnp.where(idle, jnp.nan, figures[name]) for name in (*METRICS, FAILED)},
        )
        return jax.tree.map(partial(_where_last, ended), fresh, Past(after, tally)), step

    def _views(self, told: dict[str, Any], ended: jax.Array) -> tuple[View, View]:
        """What is seen of the states `after`, and of `now` where an episode has ended: elsewhere nothing."""
        states = jax.tree.map(lambda after, now: jnp.stack([after, now]), told["after"], told["now"])
        blank = jax.eval_shape(self._look, told["after"])
        views = jax.tree.map(lambda part: jnp.zeros((2, *part.shape), part.dtype), blank)

        def look(index: jax.Array, views: View) -> View:
            view = self._look(jax.tree.map(lambda part: part[index], states))
            return jax.tree.map(lambda all_, one: all_.at[index].set(one), views, view)

        # Most steps end no episode: what is not needed is not worked out, and what is has been compiled once.
        views = jax.lax.fori_loop(0, 1 + ended.any().astype(jnp.int32), look, views)
        return View(*(part[0] for part in views)), View(*(part[1] for part in views))

    def _look(self, state: dict[str, jax.Array]) -> View:
        task, road, scene = self.task, geometry(), scene_of(state)
        pose = poses_at(jnp, road, scene.movement, scene.position)
        noise = jnp.moveaxis(state["noise"], (0, -1), (-1, 0)) if task.noisy else None
        seen = View(
            observe(jnp, task, road, scene, pose, noise),
            global_state(jnp, task, road, scene, pose),
            available_actions(jnp, task, scene),
        )
        return View(*(jnp.moveaxis(part, -1, 0) for part in kept(seen)))


def scene_of(state: Any) -> Scene:
    """The scene [..., B] in raw states of simulations, whose first axis is B; arrays of numpy or of JAX alike."""
    movement, position, speed = (state["cars"][:, part].T for part in range(3))
    present = movement >= 0
    return Scene(
        movement=(movement * present.astype(movement.dtype)).astype("int32"),
        position=position,
        speed=speed,
        present=present,
        status=state["status"].T,
        elapsed=state["elapsed"].astype("float32"),
    )


def _where(which: jax.Array, new: Any, old: jax.Array) -> jax.Array:
    """`new` where a simulation is one of those, bool [B], else `old`; [B, ...]."""
    return jnp.where(which.reshape(-1, *[1] * (old.ndim - 1)), new, old)


def _where_last(which: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """The same for arrays [..., B]."""
    return jnp.where(which.reshape(*[1] * (old.ndim - 1), -1), new, old)
