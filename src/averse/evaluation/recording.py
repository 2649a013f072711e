"""Recording an episode to be drawn (`averse.report.film`): the same traversal as evaluation, observed.

What is recorded is what the world's drawing needs: the states of a compiled environment, the pictures that another
library's world makes of itself, or the cars of a simulated junction.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from averse.arguments import instance
from averse.compilation import jit, single_precision
from averse.environments.budget import is_budgeted
from averse.environments.intersection.recording import Recording
from averse.environments.intersection.task import STEPS_PER_DECISION
from averse.environments.protocol import Description, Environment
from averse.environments.recorded import RecordedEpisode, states_of
from averse.environments.sumo.environment import SumoIntersection
from averse.environments.sumo.recording import Film
from averse.errors import AverseError
from averse.evaluation.arguments import episode_seeds
from averse.evaluation.host_play import Actor, Moment, learned, play_host
from averse.evaluation.play import act_once, set_out
from averse.learners.contract import Learner
from averse.settings import Count, check_value

Recorder = Callable[..., RecordedEpisode]
"""`recorder(state, seed, title="", steps=None) -> RecordedEpisode`: the learner's state of one trial, the seed of the
episode in [0, 2^32), what the recording is called, and how many steps to record at most."""


def recorder(environment: Description, learner: Learner, greedy: bool = False) -> Recorder:
    """What records episodes of a learner's policies, step for step as they are evaluated; compiled once for all states.

    Args:
      greedy: the most likely actions instead of draws; always so where exploration is mere noise.

    Raises AverseError for other kinds of arguments and for a host environment that is no simulated junction and has no
    `rendered()`; when it records, for a seed out of range and if a simulator broke off.
    """
    instance("learner", Learner, learner, "a learner (run.learner, averse.learner(...))")
    greedy = check_value("greedy", bool, greedy) or learner.explores_by_noise
    if is_budgeted(environment) and not isinstance(environment, Environment):
        raise AverseError(f"{environment.name} cannot be recorded: a budget is seen in compiled environments only")
    if isinstance(environment, Environment):
        begin = jit(partial(set_out, environment, learner))
        play: Callable[..., RecordedEpisode] = partial(
            _compiled, environment, begin, jit(partial(act_once, environment, learner, greedy))
        )
    else:
        if not isinstance(environment, SumoIntersection) and not hasattr(environment, "rendered"):
            raise AverseError(
                f"{environment.name} cannot be recorded: a host environment needs rendered(), which starts one that "
                "shows itself (docs/extending.md)"
            )
        bind = learned(learner, greedy)

        def play(state: Any, *rest: Any) -> RecordedEpisode:
            return _hosted(environment, bind(state), *rest)

    @single_precision
    def recorded(state: Any, seed: int, title: str = "", steps: int | None = None) -> RecordedEpisode:
        (checked,) = episode_seeds("seed", [seed]).tolist()
        check_value("title", str, title)
        limit = check_value("steps", Count | None, steps) or environment.horizon
        return play(state, checked, title, limit)

    return recorded


def _compiled(
    environment: Environment, begin: Any, advance: Any, policy: Any, seed: int, title: str, limit: int
) -> RecordedEpisode:
    walk = begin(np.uint32(seed))
    states, over = [jax.device_get(walk.state)], False
    actions: list[np.ndarray] = []
    rewards: list[np.ndarray] = []
    infos: list[Mapping[str, np.ndarray]] = []
    while not over and len(rewards) < limit:
        walk, *answer = advance(policy, walk)
        result, chosen = jax.device_get(answer)
        states.append(result.state)
        actions.append(chosen)
        rewards.append(result.rewards)
        infos.append(result.info)
        over = bool(result.terminated.all() or result.truncated)
    world: Any = environment
    if is_budgeted(environment):  # it looks like the world without
        states, world = [state.inner for state in states], world.inner
    return RecordedEpisode(
        environment=world,
        seed=seed,
        title=title,
        states=states_of(states),
        actions=np.stack(actions),
        rewards=np.stack(rewards),
        info={name: np.array([info[name] for info in infos]) for name in environment.metrics},
        over=over,
    )


class _Notes:
    """An observer of one environment that keeps what happened, and what a vector shows of itself."""

    def __init__(self, limit: int, show: Any = None):
        self.actions: list[np.ndarray] = []
        self.rewards: list[np.ndarray] = []
        self.infos: list[dict[str, float]] = []
        self.shown: list[np.ndarray] = []
        self.over = False
        self._limit, self._show = limit, show

    def __call__(self, moment: Moment) -> None:
        """See `averse.evaluation.host_play.Observer`."""
        if len(self.rewards) >= self._limit:
            return
        if self._show is not None:
            self.shown.append(self._show())
        if moment.actions is not None:
            self.actions.append(np.array(moment.actions[0]))
            self.rewards.append(np.array(moment.step.rewards[0]))
            self.infos.append({name: float(values[0]) for name, values in moment.step.info.items()})
            self.over = bool(np.asarray(moment.step.done)[0])


def _hosted(environment: Any, actor: Actor, seed: int, title: str, limit: int) -> RecordedEpisode:
    """It is played to its end, as simulators do; only its beginning is kept where it is longer than the limit."""
    if isinstance(environment, SumoIntersection):
        notes = _Notes(limit)
        states: Any = record(environment, actor, seed, title or None, notes)
        if not notes.over:
            states = replace(states, frames=states.frames[: len(notes.rewards) * STEPS_PER_DECISION + 1])
    else:
        with environment.rendered() as vector:
            notes = _Notes(limit, vector.render)
            play_host(vector, actor, [seed], horizon=environment.horizon, gamma=1.0, observer=notes)
        states = np.stack(notes.shown)
    return RecordedEpisode(
        environment=environment,
        seed=seed,
        title=title,
        states=states,
        actions=np.stack(notes.actions),
        rewards=np.stack(notes.rewards),
        info={name: np.array([info[name] for info in notes.infos]) for name in environment.metrics},
        over=notes.over,
    )


def record(
    environment: SumoIntersection,
    actor: Actor,
    seed: int,
    title: str | None = None,
    observer: Any = lambda moment: None,
) -> Recording:
    """The episode of an actor at the simulated junction on a seed, step for step as it would be evaluated.

    Args:
      actor: `learned(run.learner, greedy=False)(run.state(0))` or `scripted(driver)` (`averse.evaluation.host_play`).
      title: what the recording is called; the default says how the episode went.
      observer: is shown every moment too.

    Raises AverseError for other kinds of arguments, and if the simulator broke off.
    """
    instance("environment", SumoIntersection, environment, "a SumoIntersection")
    check_value("title", str | None, title)
    with environment.vector(1, trace=True) as vector:
        film = Film(environment.name, vector)

        def watch(moment: Moment) -> None:
            film(moment)
            observer(moment)

        play_host(vector, actor, [seed], horizon=environment.horizon, gamma=1.0, observer=watch)
        return film.recording(title)
