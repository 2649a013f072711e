"""How much memory a training needs at the least, told before anything is computed."""

import jax

from averse import machine
from averse.environments.protocol import Description, num_available
from averse.errors import AverseError
from averse.learners.contract import Learner
from averse.learners.parts.replay import size_in_bytes
from averse.training.describe import counted
from averse.training.trainee import Trainee


def require_memory(trainee: Trainee, environment: Description) -> None:
    """Raises AverseError, with the size, if what some trials hold at once is more than the memory of this machine."""
    learner, count = trainee.learner, len(trainee.trials)
    state, rollout = size_in_bytes(trainee.abstract()), trainee.at_once * rollout_size(environment, learner)
    there = machine.memory()
    if state + rollout > there:
        held = f"{counted(count, 'trial')} {'holds' if count == 1 else 'hold'}"
        raise AverseError(
            f"training would take at least {machine.in_words(state + rollout)} of memory, and this machine has "
            f"{machine.in_words(there)}: {held} {machine.in_words(state)} of states, and "
            f"{machine.in_words(rollout)} of trajectories (num_envs {learner.num_envs} x rollout_steps "
            f"{learner.rollout_steps}, {trainee.at_once} at once)"
        )


def rollout_size(environment: Description, learner: Learner) -> int:
    """Bytes of the trajectory of one update, without what `act` returns beside the actions."""
    agents, space = environment.num_agents, environment.action_space
    seen = 4 * (agents * environment.observation_size + environment.global_state_size) + agents * num_available(space)
    remembered = size_in_bytes(jax.eval_shape(lambda: learner.initial_memory(1)))
    acted = agents * (4 * 3 + 2) + 2  # actions, rewards and costs; terminated and active; truncated and first
    return learner.rollout_steps * learner.num_envs * (2 * seen + remembered + acted)
