"""Faults in arrays of time steps: each a line, none where all is well. For both kinds of environments.

Axes: T steps, B environments, A agents, n actions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from averse.environments.checks.description import GAMMAS
from averse.environments.protocol import ActionSpace, Box, Description, TimeStep, num_available

_NONE = (np.nan, np.inf, -np.inf)  # what no vector of a box may hold
SLACK = 1e-4  # rounding of returns, beside their bounds, relative to these


def expected_arrays(environment: Description) -> dict[str, tuple[tuple[int, ...], str, str]]:
    """name -> shape without the batch, dtype, and what the axes are, of all that a step answers but for `info`."""
    agents, actions = environment.num_agents, num_available(environment.action_space)
    seen = (agents, environment.observation_size), "float32", "[num_agents, observation_size]"
    state = (environment.global_state_size,), "float32", "[global_state_size]"
    available = (agents, actions), "bool", "[num_agents, number of actions; 1 where they are continuous]"
    return {
        "observations": seen,
        "global_state": state,
        "available": available,
        "rewards": ((agents,), "float32", "[num_agents]"),
        "costs": ((agents,), "float32", "[num_agents]"),
        "terminated": ((agents,), "bool", "[num_agents]"),
        "truncated": ((), "bool", "[]"),
        "next_observations": seen,
        "next_global_state": state,
        "next_available": available,
    }


def array_fault(what: str, array: Any, shape: tuple[int, ...], dtype: str, axes: str) -> str | None:
    """A line if an array (or its `jax.ShapeDtypeStruct`) has another shape or dtype than it should."""
    if isinstance(array, bool | int | float):  # as good as an array where functions are compiled
        array = np.asarray(array, {bool: "bool", int: "int32"}.get(type(array), "float32"))
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        return f"{what} must be an array, {dtype} {list(shape)} {axes}, not {array!r:.80}"
    if tuple(array.shape) != shape or str(array.dtype) != dtype:
        return f"{what} must be {dtype} {list(shape)} {axes}, not {array.dtype} {list(array.shape)}"
    return None


def info_faults(info: Any, metrics: Mapping[str, str], lead: tuple[int, ...] = ()) -> Iterator[str]:
    """Metrics that are declared and missing, or there and not declared, or no float32 numbers."""
    if not isinstance(info, Mapping):
        yield f"info must map the names of metrics to numbers, not be {info!r}"
        return
    for name in metrics:
        if name not in info:
            yield f"info lacks the metric {name!r}, which metrics declares"
    for name, value in info.items():
        if name not in metrics:
            yield f"info has {name!r}, which metrics does not declare"
        elif fault := array_fault(f"the metric {name!r} in info", value, lead, "float32", "[]"):
            yield fault


def random_actions(xp: Any, space: ActionSpace, available: Any, draws: Any, favourites: Any) -> Any:
    """Actions that are allowed, [B, A] int32 or [B, A, size] float32; numpy's or JAX's, as `xp` is.

    Every other environment follows its favourite wherever it may, so that extremes are met. Vectors go beyond their box
    by a quarter, as a learner's may.

    draws: numbers in [0, 1), [B, A, n or size]; favourites: the same, [B, A].
    """
    loyal = xp.arange(len(available))[:, None] % 2 == 1
    if isinstance(space, Box):
        extreme = xp.where(favourites < 0.5, 0.0, 1.0)[..., None]
        placed = 1.5 * xp.where(loyal[..., None], extreme, draws) - 0.25
        return (space.low + (space.high - space.low) * placed).astype("float32")
    chosen = xp.where(available, draws, -1.0).argmax(-1)
    favourite = (favourites * space.num_actions).astype("int32")
    allowed = xp.take_along_axis(available, favourite[..., None], -1)[..., 0]
    return xp.where(loyal & allowed, favourite, chosen).astype("int32")


def outside_actions(space: ActionSpace, lead: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Joint actions of which the last agent's is none, by what is wrong with it: `lead` int32, [*lead, size] float32.

    lead: (agents,), or (environments, agents).
    """
    if isinstance(space, Box):
        rows = {f"{value:g}": np.full((*lead, space.size), (space.low + space.high) / 2, np.float32) for value in _NONE}
        for name, row in rows.items():
            row[..., -1, -1] = float(name)
        return rows
    rows = {str(value): np.zeros(lead, np.int32) for value in (-1, space.num_actions, np.iinfo(np.int32).min)}
    for name, row in rows.items():
        row[..., -1] = int(name)
    return rows


def num_draws(space: ActionSpace) -> int:
    """The last length of `draws`."""
    return space.size if isinstance(space, Box) else space.num_actions


def step_faults(environment: Description, steps: TimeStep, played: np.ndarray | None = None) -> Iterator[str]:
    """Follow the episodes in time steps [T, B, ...], numpy, that begin at an episode's start.

    played: bool [T, B], where an environment had an episode to play; everywhere where not given.
    """
    done = np.asarray(steps.done)
    played = np.ones_like(done) if played is None else played
    rows = _rows(done)
    yield from _number_faults(steps, rows)
    before = np.zeros_like(steps.terminated)  # who had ended before the step, in the same episode
    before[1:] = steps.terminated[:-1] & ~done[:-1, :, None]
    before &= played[..., None]
    if (at := before & ~steps.terminated).any():
        yield f"an agent that has terminated is alive again {_when(at, rows)}"
    if (at := before & (steps.rewards != 0)).any():
        yield f"an agent that has terminated still earns a reward {_when(at, rows)}"
    if (at := steps.truncated & steps.terminated.all(-1)).any():
        yield f"an episode is both truncated and terminated by all agents {_when(at, rows)}"
    yield from _length_faults(environment, steps, rows, played)
    yield from _return_faults(environment, steps, done)


def _rows(done: np.ndarray) -> np.ndarray:
    """Which step of its episode each is, 1, 2, ... [T, B]."""
    rows, running = np.zeros(done.shape, int), np.zeros(done.shape[1], int)
    for t, over in enumerate(done):
        running += 1
        rows[t] = running
        running[over] = 0
    return rows


def _when(at: np.ndarray, rows: np.ndarray) -> str:
    """The first place, of [T, B, ...], in words."""
    t, b = np.argwhere(at.reshape(*at.shape[:2], -1).any(-1))[0]
    return f"(step {rows[t, b]} of an episode)"


def _number_faults(steps: TimeStep, rows: np.ndarray) -> Iterator[str]:
    for name in ("observations", "global_state", "rewards", "costs", "next_observations", "next_global_state"):
        if (at := ~np.isfinite(getattr(steps, name))).any():
            yield f"{name.removeprefix('next_')} must be finite, and are not {_when(at, rows)}"
            return  # the others follow from it
    for name, value in steps.info.items():
        if (at := np.isinf(value)).any():
            yield f"the metric {name!r} is infinite {_when(at, rows)}; NaN stands for what has no value"
    for name in ("available", "next_available"):
        if (at := ~getattr(steps, name).any(-1)).any():
            yield f"available_actions allows an agent nothing {_when(at, rows)}"
            break
    if (at := steps.costs < 0).any():
        yield f"costs must be at least 0, not {steps.costs.min():g} {_when(at, rows)}"


def _length_faults(environment: Description, steps: TimeStep, rows: np.ndarray, played: np.ndarray) -> Iterator[str]:
    horizon = environment.horizon
    if (played & (rows > horizon)).any():
        yield f"an episode is not truncated at its horizon, but goes on after {horizon} steps"
    if getattr(environment, "ends_at_horizon", False) and steps.truncated.any():
        yield "an episode is cut, though ends_at_horizon says that it ends: terminate it, and leave truncated False"
    failed = np.nan_to_num(steps.info.get("worker_failed", np.zeros(rows.shape))) > 0
    if (at := steps.truncated & (rows < horizon) & ~failed).any():
        yield f"an episode is truncated before its horizon of {horizon} steps {_when(at, rows)}"


def _return_faults(environment: Description, steps: TimeStep, done: np.ndarray) -> Iterator[str]:
    """Returns from every step on to the end of its episode; episodes that do not end are left out."""
    ends = np.flip(np.maximum.accumulate(np.flip(done, 0), 0), 0)
    for gamma in GAMMAS:
        low, high = environment.return_bounds(gamma)
        slack = SLACK * max(1.0, abs(low), abs(high))
        lowest, highest, following = np.inf, -np.inf, np.zeros(steps.rewards.shape[1:])
        for rewards, over, counts in zip(steps.rewards[::-1], done[::-1], ends[::-1]):
            following = rewards.astype(np.float64) + gamma * np.where(over[:, None], 0.0, following)
            if counts.any():
                lowest, highest = min(lowest, following[counts].min()), max(highest, following[counts].max())
        for value in (lowest, highest):
            if np.isfinite(value) and not low - slack <= value <= high + slack:
                yield f"an agent's return is {value:.6g}, beyond return_bounds({gamma:g}) = ({low:.6g}, {high:.6g})"
                break
