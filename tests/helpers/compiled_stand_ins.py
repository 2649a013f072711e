"""Small worlds with the interfaces of gymnax (from 1.0 on) and JaxMARL, for the doors to them where neither is there.

`stand_in(monkeypatch)` puts modules of these names in the place of the libraries.
"""

import dataclasses
import functools
import sys
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Numbers:
    """Their Discrete."""

    def __init__(self, n):
        self.n, self.shape, self.dtype = n, (), np.int32


class Several:
    """Their MultiDiscrete."""

    def __init__(self, sizes):
        self.num_categories = jnp.array(sizes)


class Box:
    """Their Box."""

    def __init__(self, low, high, shape, dtype=np.float32):
        self.low, self.high, self.shape, self.dtype = low, high, shape, dtype


@dataclasses.dataclass(frozen=True)
class Params:
    """A params object of gymnax's."""

    max_steps_in_episode: int = 6
    stride: float = 1.0
    g: float = 10.0

    def replace(self, **changes):
        return dataclasses.replace(self, **changes)


class Walk(NamedTuple):
    place: jax.Array
    time: int  # a bare number, as theirs


class Walker:
    """gymnax: one agent walks on a line, and is over at `goal`; where `boxed`, by a force."""

    default_params = Params()

    def __init__(self, goal=3, boxed=False):
        self.goal, self.boxed = goal, boxed

    def observation_space(self, params):
        return Box(-9.0, 9.0, (2, 1))

    def action_space(self, params):
        return Box(jnp.array([0.0, -2.0]), jnp.array([4.0, 2.0]), (2,)) if self.boxed else Numbers(2)

    def reset_env(self, key, params):
        state = Walk(jnp.zeros(()), 0)
        return self.seen(state), state

    def step_env(self, key, state, action, params):
        forward = action.sum() if self.boxed else params.stride * (2.0 * action.astype(float) - 1.0)
        state = Walk(state.place + forward, state.time + 1)
        return self.seen(state), state, forward, state.place >= self.goal, {"place": state.place, "odd": {}}

    def seen(self, state):
        return jnp.array([[state.place], [state.time]], jnp.float32)

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode


class Late(Walker):
    """As gymnax before 1.0: nobody says what is only late."""

    is_truncated = property()


class Pair(NamedTuple):
    place: jax.Array  # int32 [2]
    step: jax.Array


class Walkers:
    """JaxMARL: `long` chooses among 3 and sees 3 numbers; `short` among 2, and sees its place as one of 4.

    Whoever is at `goal` is done; all are at `max_steps`, counted before the step as JaxMARL's MPE does. The world pays
    2 to `long` and 4 to `short` whether they are done or not.
    """

    def __init__(self, goal=3, max_steps=4):
        self.agents, self.goal, self.max_steps = ["long", "short"], goal, max_steps

    def observation_space(self, agent):
        return Box(0.0, 1.0, (7,)) if agent == "long" else Several([4, 2])  # 7: some of theirs state another shape

    def action_space(self, agent):
        return Numbers(3 if agent == "long" else 2)

    def reset(self, key):
        state = Pair(jnp.zeros(2, int), jnp.array(0))
        return self.get_obs(state), state

    def get_obs(self, state):
        long, short = state.place
        odd = jnp.stack([jnp.minimum(short, 3), state.step % 2])
        return {"short": odd, "long": jnp.array([long, short, state.step]), "world_state": state.place}

    def step_env(self, key, state, actions):
        moved = jnp.stack([jnp.asarray(actions[agent]) for agent in self.agents])
        after = Pair(state.place + moved, state.step + 1)
        over = after.place >= self.goal
        late = state.step >= self.max_steps
        dones = {agent: over[i] | late for i, agent in enumerate(self.agents)}
        dones["__all__"] = over.all() | late
        paid = {"short": jnp.float32(4.0), "long": 2}
        return self.get_obs(after), after, paid, dones, {"left": {"long": late, "short": jnp.array(1.0)}}

    def get_avail_actions(self, state):
        return {"long": jnp.array([1.0, 1.0, 0.0]), "short": jnp.where(state.place[1] < self.goal, 1, jnp.zeros(2))}

    def get_world_state(self, state):
        return state.place


class Plain(Walkers):
    """Without masks, a state of its own or a time limit that is known: its base class only raises."""

    def __init__(self, length=3):
        super().__init__()
        vars(self)["length"] = length
        del self.max_steps

    def step_env(self, key, state, actions):
        self_limited = Walkers(max_steps=self.length - 1)
        return self_limited.step_env(key, state, actions)

    def get_avail_actions(self, state):
        raise NotImplementedError

    get_world_state = property()


class Wrapped:
    """A world within another, as JaxMARL's HeuristicEnemySMAX: the limit is the inner one's."""

    def __init__(self, **arguments):
        self._env = Walkers(**arguments)

    def __getattr__(self, name):
        return getattr(self._env, name)


class Blind(Walkers):
    """Tells one agent nothing."""

    def get_obs(self, state):
        return {"long": super().get_obs(state)["long"]}


class Broken(Walkers):
    """Has a fault that shows when it is compiled."""

    def get_world_state(self, state):
        raise KeyError("nowhere")


class Unpaid(Walkers):
    """Has a fault that shows when a step of it is compiled."""

    def step_env(self, key, state, actions):
        seen, after, paid, dones, info = super().step_env(key, state, actions)
        return seen, after, {"long": paid["long"]}, dones, info


class Changing(Walkers):
    """Counts in whole numbers, and after a step in others."""

    def step_env(self, key, state, actions):
        seen, after, *rest = super().step_env(key, state, actions)
        return seen, after._replace(place=after.place.astype(float)), *rest


class Mixed(Walkers):
    def action_space(self, agent):
        return Numbers(2) if agent == "long" else Box(0.0, 1.0, (2,))


class Unbounded(Walkers):
    def action_space(self, agent):
        return Box(-3.4e38, 3.4e38, (2,))


@functools.cache
def same_walkers():
    """One world for all who ask."""
    return Walkers()


class Counted(Walkers):
    """Agents by number, as in some of JaxMARL's worlds whose answers are arrays."""

    def __init__(self):
        super().__init__()
        self.agents = [0, 1]


SINGLE = {"Walker-v0": Walker, "Late-v0": Late}
MANY = {
    cls.__name__: cls for cls in (Walkers, Plain, Wrapped, Blind, Broken, Unpaid, Changing, Mixed, Unbounded, Counted)
}


def stand_in(monkeypatch, single=(), many=()):
    """Let `gymnax` and `jaxmarl` be modules of these worlds, which the ids in `single` and `many` name, too."""
    one, several = SINGLE | dict.fromkeys(single, Walker), MANY | dict.fromkeys(many, Walkers)
    gymnax, jaxmarl = types.ModuleType("gymnax"), types.ModuleType("jaxmarl")
    gymnax.registered_envs = list(one)
    gymnax.make = lambda id, **arguments: (one[id](**arguments), Params())
    jaxmarl.registered_envs = list(several)
    jaxmarl.make = lambda id, **arguments: several[id](**arguments)
    for module in (gymnax, jaxmarl):
        monkeypatch.setitem(sys.modules, module.__name__, module)
