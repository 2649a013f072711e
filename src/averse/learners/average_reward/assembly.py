"""How the learners of this family are put together: from the parts that do the work to the functions of a `Learner`."""

from typing import Any, Protocol

from averse.environments.protocol import ActionSpace, Discrete
from averse.learners.average_reward.config import AverageRewardConfig
from averse.learners.contract import Learner, Metrics, Portable, Trajectory
from averse.learners.parts.portable import decision_of, portable_actor


class Parts(Protocol):
    """What a learner of this family is made of; its functions are those of `Learner`, without memory."""

    @property
    def config(self) -> AverageRewardConfig:
        """The settings that the parts were built from."""
        ...

    @property
    def space(self) -> ActionSpace:
        """What the agents choose from."""
        ...

    def init(self, key: Any, **swept: Any) -> Any: ...

    def act(self, state: Any, observations: Any, available: Any, key: Any, memory: Any = (), greedy: bool = False): ...

    def update(self, state: Any, trajectory: Trajectory) -> tuple[Any, Metrics]: ...

    def action_probabilities(self, state: Any, observations: Any, available: Any, memory: Any = ()) -> Any: ...

    def actors_of(self, state: Any) -> Any:
        """The actors' parameters, with a leading axis A."""
        ...

    @property
    def num_agents(self) -> int:
        """A."""
        ...


def learner_of(parts: Parts, *sweepable: str) -> Learner:
    """The learner that these parts are.

    Args:
      sweepable: the settings that their `init` takes as numbers.
    """

    def portable(state: Any) -> Portable:
        actor = portable_actor(parts.actors_of(state), parts.num_agents, shared=False)
        own = {"decision": decision_of(parts.space), "no_value": "its critic knows values up to a constant only"}
        return Portable({**actor.description, **own}, actor.arrays)

    return Learner(
        init=parts.init,
        act=parts.act,
        update=parts.update,
        predict_returns=None,  # their critics know values up to a constant only
        initial_memory=lambda num_envs: (),
        sweepable=frozenset(sweepable),
        rollout_steps=parts.config.rollout_steps,
        num_envs=parts.config.num_envs,
        gamma=1.0,
        action_probabilities=parts.action_probabilities if isinstance(parts.space, Discrete) else None,
        portable=portable,
    )
