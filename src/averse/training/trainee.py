"""What the training loop drives: some trials that are trained together, in a compiled or a host environment."""

from typing import Any, NamedTuple, Protocol

from averse.environments.protocol import TimeStep
from averse.learners.contract import Learner, Trajectory


class EpisodeRecord(NamedTuple):
    """Episodes that ended, [T, B]; NaN where none did."""

    returns: Any  # float32, mean over agents
    lengths: Any  # steps
    info: dict[str, Any]  # metric -> its value at the episode's end
    weights: Any = None  # float32, importance weights; None where all episodes count alike


class Seen(Protocol):
    """What was seen before a step."""

    @property
    def observations(self) -> Any:
        """[B, A, O]."""
        ...

    @property
    def global_state(self) -> Any:
        """[B, G]."""
        ...

    @property
    def available(self) -> Any:
        """[B, A, n]."""
        ...


def transition(
    before: Seen, actions: Any, extras: Any, memory: Any, active: Any, first: Any, after: TimeStep
) -> Trajectory:
    """One step of a trajectory, without the time axis; `memory`, `active` and `first` are those before it."""
    return Trajectory(
        observations=before.observations,
        global_state=before.global_state,
        available=before.available,
        actions=actions,
        extras=extras,
        rewards=after.rewards,
        costs=after.costs,
        terminated=after.terminated,
        truncated=after.truncated,
        active=active,
        first=first,
        next_observations=after.next_observations,
        next_global_state=after.next_global_state,
        next_available=after.next_available,
        memory=memory,
    )


class Trainee(Protocol):
    """Trials that advance together. `snapshot()` and `abstract()` are trees with an attribute `learner`."""

    learner: Learner
    trials: list[dict[str, float]]  # seed and swept numbers of each
    at_once: int  # how many of them are computed at the same time, each with its trajectory

    def start(self) -> None:
        """Begin at update 0."""
        ...

    def advance(self, num_updates: int) -> tuple[list[dict[str, float]], list[EpisodeRecord]]:
        """Do some updates; per trial, the means of the learner's metrics and the episodes that ended."""
        ...

    def snapshot(self) -> Any:
        """What a checkpoint must hold for training to go on bit for bit; leading axis of `learner`: trials."""
        ...

    def abstract(self) -> Any:
        """Shapes and dtypes of a snapshot, without computing anything."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        ...

    def learner_states(self) -> Any:
        """The learner's states, leading axis: trials."""
        ...
