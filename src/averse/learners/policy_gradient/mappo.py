"""Multi-agent PPO with any critic, risk measure and advantage: one learner, whose presets are six methods of the field.

One `update`: predict with the critic, make lambda-return targets and advantages, then a few epochs of policy steps,
clipped or penalised (Schulman et al. 2017), and critic regression on minibatches. What makes the policy risk-averse is
the advantage (design of the estimators: `averse.risk.advantages`), not the measure inside a baseline.

Axes: T time, B environments, N sequences of L consecutive steps, A agents, n actions, K outputs of the critic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from averse.environments.protocol import ActionSpace, Description, Discrete
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.action_distributions import (
    ActionDistribution,
    action_distribution,
    head_size,
    probabilities,
)
from averse.learners.parts.entropy import entropy_weight
from averse.learners.parts.measure import measure_fields, risk_measure, with_numbers
from averse.learners.parts.networks import (
    ACTIVATIONS,
    MLP,
    Memory,
    Network,
    Params,
    SequenceNetwork,
    agent_networks,
    critic_inputs,
    critic_parts,
    feed_forward,
    recurrent,
)
from averse.learners.parts.predictions import BOUNDED, Prediction, Transitions, prediction, select
from averse.learners.parts.sampling import advantage_priorities, priority_sample
from averse.learners.parts.updates import (
    adam,
    apart,
    descend,
    linear_schedule,
    normalise,
    policy_loss,
    standard_deviation,
    weighted_mean,
)
from averse.learners.policy_gradient.advantages import Estimates, estimate_advantages
from averse.learners.policy_gradient.config import MAPPOConfig, added_std, layouts_of, support_of, validate
from averse.learners.policy_gradient.portable import portable_policy
from averse.risk import RiskMeasure

BLOCK_ROWS = 1024
"""How many rows of networks that read sets are learned from at once: what becomes of them fits a core's cache."""


class MAPPOState(NamedTuple):
    """Everything that training changes or sweeps over."""

    networks: dict[str, Params]  # "actor" and "critic"
    optimiser: Any
    measure: RiskMeasure  # the target; `risk_fraction` says how much of it is in force
    epsilon: jax.Array
    learning_rate: jax.Array
    updates: jax.Array  # int32 [], updates done
    key: jax.Array


class Prices(NamedTuple):
    """What the policy's loss weighs beside the advantages."""

    epsilon: jax.Array  # of the entropy, in the units of the advantages
    unit: jax.Array  # reward units in one unit of the advantages
    measure: RiskMeasure  # the one in force, in reward units


class Samples(NamedTuple):
    """What the networks learn from, leading axes [T, B], and cut into sequences [N, L]."""

    memory: Memory  # of the actor before each step
    first: jax.Array
    observations: jax.Array
    global_state: jax.Array
    available: jax.Array
    actions: jax.Array
    log_prob: jax.Array
    advantages: jax.Array
    targets: jax.Array
    active: jax.Array  # how much each counts, 0 where an agent's episode was over
    besides: Any = ()  # what an algorithm derived from MAPPO needs besides


def mappo(
    config: MAPPOConfig, environment: Description, total_updates: int, algorithm: "type[MAPPO] | None" = None
) -> Learner:
    """Build the learner for an environment's sizes.

    Args:
      total_updates: what the schedules are stretched over.
      algorithm: a class derived from `MAPPO` that does something else in one of its functions.

    Raises AverseError for settings that do not fit the environment.
    """
    validate(config, environment)
    parts = (algorithm or MAPPO).of(config, environment, total_updates)
    discrete = isinstance(environment.action_space, Discrete)
    return Learner(
        init=parts.init,
        act=parts.act,
        update=parts.update,
        behave=parts.behave,
        # Shaped rewards are not the returns that an evaluation sees.
        predict_returns=parts.predict_returns if parts.prediction.distributional and not config.shaping else None,
        initial_memory=parts.actor.initial_memory,
        sweepable=frozenset({"epsilon", "learning_rate"} | measure_fields(parts.measure)),
        rollout_steps=config.rollout_steps,
        num_envs=config.num_envs,
        gamma=config.gamma,
        action_probabilities=parts.action_probabilities if discrete else None,
        portable=partial(portable_policy, config, environment, parts.prediction),
        weighs_episodes=True,
    )


@dataclass(frozen=True, eq=False)
class MAPPO:
    """What the learner is made of, and what it does with it."""

    behave: ClassVar[Callable[..., Any] | None] = None  # `Learner.behave`
    config: MAPPOConfig
    space: ActionSpace
    actor: SequenceNetwork
    critic: Network
    prediction: Prediction  # of the return, by the critic
    measure: RiskMeasure
    optimiser: optax.GradientTransformation
    support_std: float  # what projection adds to a return far from its end, reward units; 0 without a support
    total_updates: int

    @classmethod
    def of(cls, config: MAPPOConfig, environment: Description, total_updates: int) -> "MAPPO":
        """The parts that a configuration calls for, sized for an environment."""
        space, num_agents, shared = environment.action_space, environment.num_agents, config.shared
        kind = make_prediction(config, environment)
        num_heads = space.num_actions if config.per_action and isinstance(space, Discrete) else 1
        sizes = environment.observation_size, environment.global_state_size
        layouts = layouts_of(config, environment)
        layers = MLP(
            config.hidden,
            head_size(space),
            0.01,
            ACTIVATIONS[config.activation],
            layouts=layouts[:1],
            set_units=config.set_units,
        )
        actor = (recurrent if config.recurrent else feed_forward)(layers, num_agents, sizes[0], shared=shared)
        remembered = [actor.memory_size] if config.recurrent else []
        seen = critic_parts(*sizes, num_agents, centralised=config.centralised)
        layers = layers.clone(
            outputs=kind.outputs * num_heads,
            final_gain=1.0 if kind.outputs == 1 else 0.1,
            layouts=critic_parts(*layouts, num_agents, centralised=config.centralised),
        )
        return cls(
            config=config,
            space=space,
            actor=actor,
            critic=agent_networks(layers, num_agents, *seen, *remembered, shared=shared),
            prediction=kind,
            measure=risk_measure(config),
            optimiser=apart(adam(config.max_gradient_norm), "actor", "critic"),
            support_std=added_std(config, environment),
            total_updates=total_updates,
        )

    def init(self, key: jax.Array, **swept: jax.Array) -> MAPPOState:
        actor_key, critic_key, key = jax.random.split(key, 3)
        networks = {"actor": self.actor.init(actor_key), "critic": self.critic.init(critic_key)}
        numbers: dict[str, Any] = {"epsilon": self.config.epsilon, "learning_rate": self.config.learning_rate}
        numbers |= {name: swept.pop(name) for name in numbers.keys() & swept.keys()}
        measure = with_numbers(self.measure, swept)
        return MAPPOState(
            networks=networks,
            optimiser=self.optimiser.init(networks),
            measure=jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), measure),
            epsilon=jnp.asarray(numbers["epsilon"], jnp.float32),
            learning_rate=jnp.asarray(numbers["learning_rate"], jnp.float32),
            updates=jnp.int32(0),
            key=key,
        )

    def act(self, state: MAPPOState, observations, available, key, memory: Memory = (), greedy: bool = False):
        choice, memory = self.policy(state.networks["actor"], observations, available, memory)
        actions = choice.mode() if greedy else choice.sample(key)
        return actions, {"log_prob": choice.log_prob(actions), "memory": memory}

    def policy(
        self, params: Params, observations: jax.Array, available: jax.Array, memory: Memory
    ) -> tuple[ActionDistribution, Memory]:
        """The policy at any single steps, [..., A], from what is remembered before each; and the memory after it."""
        outputs, memory = self.actor.step(params, memory, observations)
        return action_distribution(self.space, outputs, available), memory

    def probabilities(self, params: Params, observations: jax.Array, available: jax.Array, memory: Memory) -> jax.Array:
        """pi(.|s) of discrete actions, [..., A, n]."""
        return probabilities(self.policy(params, observations, available, memory)[0])

    def action_probabilities(self, state: MAPPOState, observations, available, memory: Memory = ()):
        return self.probabilities(state.networks["actor"], observations, available, memory)

    def raw_predictions(
        self, params: Params, observations: jax.Array, global_state: jax.Array, memory: Memory
    ) -> jax.Array:
        """Critic outputs [..., A, K], or [..., A, n, K] for a critic per action."""
        seen = critic_inputs(observations, global_state, memory, centralised=self.config.centralised)
        raw = self.critic.apply(params, *seen)
        return raw.reshape(*raw.shape[:-1], -1, self.prediction.outputs) if self.config.per_action else raw

    def step_by_step(self, params: Params, *seen: Any) -> jax.Array:
        """`raw_predictions` of a trajectory, leading axes [T, B]."""
        if self.config.network == "dense":
            return self.raw_predictions(params, *seen)
        # What all members of all sets become fits no cache: at the junction all at once take three times as long.
        return jax.lax.map(lambda now: self.raw_predictions(params, *now), seen)

    def predict_returns(self, state: MAPPOState, observations, global_state, available, memory: Memory = ()):
        raw = self.raw_predictions(state.networks["critic"], observations, global_state, memory)
        predicted = self.prediction.decode(raw)
        if self.config.per_action:
            mixture = self.action_probabilities(state, observations, available, memory)
            predicted = self.prediction.mixture(mixture, predicted)
        return self.prediction.distribution(predicted)

    def update(self, state: MAPPOState, trajectory: Trajectory) -> tuple[MAPPOState, Metrics]:
        config = self.config
        risk_fraction, measure = self.measure_in_force(state)
        estimates = self.estimates(state, trajectory, measure)
        active = trajectory.counts
        advantages, std = estimates.advantages, standard_deviation(estimates.advantages, active)
        prices = Prices(state.epsilon, jnp.ones_like(std), measure)
        if config.normalise_advantages:
            advantages = normalise(advantages, active)
            prices = Prices(entropy_weight(state.epsilon, config.epsilon_units, std), std, measure)
        samples = self.samples(trajectory, advantages, estimates.targets)
        key, shuffle_key = jax.random.split(state.key)
        data = jax.tree.map(lambda x: segments(x, config.segment_length), samples)
        networks, optimiser, metrics = descend(
            partial(self.loss, prices),
            self.optimiser,
            state.networks,
            state.optimiser,
            data,
            shuffle_key,
            step_size=state.learning_rate * linear_schedule(self.progress(state), 1.0, config.final_learning_rate),
            epochs=config.epochs,
            minibatches=config.minibatches,
            blocks=blocks_of(config, active.shape[-1]),
            weight=lambda data: data.active.sum(),
            draw=partial(drawn, config, data) if config.batch_fraction < 1.0 else None,
        )
        metrics |= {name: weighted_mean(values, active) for name, values in estimates.metrics.items()}
        metrics["risk_fraction"] = risk_fraction
        metrics["advantage_std"] = std
        return state._replace(networks=networks, optimiser=optimiser, updates=state.updates + 1, key=key), metrics

    def progress(self, state: MAPPOState) -> jax.Array:
        """How much of training is done, [] in [0, 1]."""
        return state.updates / self.total_updates

    def measure_in_force(self, state: MAPPOState) -> tuple[jax.Array, RiskMeasure]:
        """How much of the target is in force [], and the measure that this makes of it."""
        # Risk-averse from the start, a policy that is still bad finds every route dangerous.
        fraction = linear_schedule(self.progress(state), 0.0, 1.0, self.config.risk_warmup)
        return fraction, state.measure.relaxed(fraction)

    def samples(self, trajectory: Trajectory, advantages: jax.Array, targets: jax.Array) -> Samples:
        """What is learned from a trajectory, leading axes [T, B]."""
        return Samples(
            memory=trajectory.memory,
            first=trajectory.first,
            observations=trajectory.observations,
            global_state=trajectory.global_state,
            available=trajectory.available,
            actions=trajectory.actions,
            log_prob=trajectory.extras["log_prob"],
            advantages=advantages,
            targets=targets,
            active=trajectory.counts,
        )

    def estimates(self, state: MAPPOState, trajectory: Trajectory, measure: RiskMeasure) -> Estimates:
        """Advantages under the measure and the critic's targets, [T, B, A]."""
        actor, critic = state.networks["actor"], state.networks["critic"]
        seen = (trajectory.observations, trajectory.global_state, trajectory.memory)
        led_to = (trajectory.next_observations, trajectory.next_global_state, trajectory.extras["memory"])
        mixtures = None
        if self.config.per_action:
            mixtures = (
                self.probabilities(actor, seen[0], trajectory.available, seen[2]),
                self.probabilities(actor, led_to[0], trajectory.next_available, led_to[2]),
            )
        return estimate_advantages(
            self.config.advantage,
            self.prediction,
            measure,
            self.step_by_step(critic, *seen),
            self.step_by_step(critic, *led_to),
            transitions_of(trajectory, self.config.gamma, self.config.shaping),
            self.config.lam,
            exponent_clip=self.config.exponent_clip,
            support_std=self.support_std,
            actions=trajectory.actions,
            mixtures=mixtures,
        )

    def loss(self, prices: Prices, networks: dict[str, Params], data: Samples) -> tuple[jax.Array, Metrics]:
        """The loss of actor and critic on some sequences [N, L]."""
        # From the memory that was acted from at the beginning of each sequence on.
        memory = jax.tree.map(lambda x: x[:, 0], data.memory)
        outputs = self.actor.unroll(networks["actor"], memory, data.observations, data.first, batch_first=True)
        actor_loss, metrics = policy_loss(
            action_distribution(self.space, outputs, data.available),
            data.actions,
            data.log_prob,
            data.advantages,
            clip=self.config.clip,
            penalty=self.config.penalty,
            epsilon=prices.epsilon,
            weights=data.active,
        )
        critic_loss = self.critic_loss(networks["critic"], data, data.active)
        return actor_loss + critic_loss, metrics | {"critic_loss": critic_loss}

    def critic_loss(self, params: Params, data: Samples, weights: jax.Array) -> jax.Array:
        """The critic's weighted share of the loss on some sequences, each sample [N, L, A] with its weight."""
        raw = self.raw_predictions(params, data.observations, data.global_state, data.memory)
        if self.config.per_action:
            raw = select(raw, data.actions)
        errors = self.prediction.loss(self.prediction.decode(raw), data.targets)
        return self.config.critic_weight * weighted_mean(errors, weights)


def make_prediction(config: MAPPOConfig, environment: Description) -> Prediction:
    """What the critic predicts; its support comes from the environment's return bounds where not given."""
    bounds = support_of(config, environment) if config.critic in BOUNDED else None  # not every environment has some
    return prediction(config.critic, bounds, num_atoms=config.num_atoms, value_scale=config.value_scale)


def drawn(config: MAPPOConfig, data: Samples, key: jax.Array) -> tuple[jax.Array, Samples]:
    """The segments that a pass learns from, in random order, and the data with their weights in place of `active`."""
    draw_key, shuffle_key = jax.random.split(key)
    rows, weights = priority_sample(draw_key, advantage_priorities(data.advantages, data.active), config.pass_segments)
    # They come with the greatest first, which is no order for minibatches.
    return jax.random.permutation(shuffle_key, rows), data._replace(active=data.active * weights[:, None, None])


def blocks_of(config: MAPPOConfig, num_agents: int) -> int:
    """Into how many blocks a minibatch is cut: as few as leave at most `BLOCK_ROWS` rows, of one agent each, in one."""
    segments = config.pass_segments // config.minibatches
    fitting = max(1, BLOCK_ROWS // (config.segment_length * num_agents))
    if config.network == "dense":
        return 1
    return next(blocks for blocks in range(1, segments + 1) if segments % blocks == 0 and segments // blocks <= fitting)


def transitions_of(trajectory: Trajectory, gamma: float, shaping: float) -> Transitions:
    """Rewards after shaping, the discount of each next state, and whether the trajectory goes on there, [T, B, A]."""
    breaks = trajectory.terminated | trajectory.truncated[..., None]
    return Transitions(
        rewards=trajectory.rewards - shaping * trajectory.costs,
        discounts=gamma * (1.0 - trajectory.terminated.astype(jnp.float32)),
        continues=1.0 - breaks.astype(jnp.float32),
    )


def segments(x: jax.Array, length: int) -> jax.Array:
    """[T, B, ...] to [T/length * B, length, ...]: consecutive steps of one environment in a row."""
    time, batch, *rest = x.shape
    return x.reshape(time // length, length, batch, *rest).swapaxes(1, 2).reshape(-1, length, *rest)
