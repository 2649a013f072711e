"""Our worlds as other libraries know them: `to_gymnasium` for one agent, `to_pettingzoo` for several at once."""

from typing import Any

from averse.environments.protocol import Description
from averse.extras import extra_module


def to_gymnasium(environment: Description | str, *, render_mode: str | None = None, **parameters: Any) -> Any:
    """A world of one agent as a `gymnasium.Env`, compiled ones and simulators alike.

    An episode is a function of the seed that `reset` is given and of the actions; of a simulator it is the one that
    `evaluate` plays on this seed. `info` has the step's `cost`, what metrics have a value and, where actions are
    discrete, `action_mask`. `close()` ends a simulator's process.

    Args:
      environment: one, or the name of one.
      render_mode: "rgb_array" for `render()` to give a picture uint8 [H, W, 3] of what is there, where the world has a
        `drawing`; None for none.
      parameters: of a named one: `to_gymnasium("risky-cartpole", level="low")`.

    Raises AverseError for what is no environment, for several agents, for a render mode that it has not, and where
    Gymnasium is missing.
    """
    extra_module("gymnasium", "to_gymnasium")
    from averse.environments.adapters.gymnasium_env import AverseEnv

    return AverseEnv(environment, render_mode, **parameters)


def to_pettingzoo(environment: Description | str, *, render_mode: str | None = None, **parameters: Any) -> Any:
    """A world as a `pettingzoo.ParallelEnv`: agents agent_0, agent_1, ... act at once.

    Episodes follow from seeds as `to_gymnasium` says. An agent leaves when it is terminated; where the time limit cuts
    an episode, all that are left are truncated. Each `info` has the agent's `cost`, what
    metrics have a value and, where actions are discrete, `action_mask`; `state()` is what a centralised critic sees.
    `close()` ends a simulator's process.

    Args:
      environment: one, or the name of one.
      render_mode: as for `to_gymnasium`.
      parameters: of a named one: `to_pettingzoo("cliff-walk", success=0.5)`.

    Raises AverseError for what is no environment, for a render mode that it has not, and where PettingZoo is missing.
    """
    extra_module("pettingzoo", "to_pettingzoo")
    from averse.environments.adapters.pettingzoo_env import AverseParallelEnv

    return AverseParallelEnv(environment, render_mode, **parameters)
