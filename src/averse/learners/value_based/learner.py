"""The value-based family: one learner, whose presets are DQN, C51, QR-DQN, VDN, QMIX and RiskQ.

One `update`: put the rollout's sequences into the replay buffer, then a few gradient steps, each on a batch of
sequences drawn from it. A gradient step unrolls the agents' network over the sequences, lets the online network choose
the next actions and the target network value them (double Q-learning), makes lambda-return targets, of the agents' own
returns or of the team's as a mixer sees it, and follows the loss of the prediction.

Risk enters in the choice of actions: the greedy action maximises a risk measure of the predicted return, when acting as
in the targets. With a mixer the team's reward is the mean over agents (which is the common one where rewards are
shared), and an agent whose episode is over contributes nothing.

Axes: T time, B environments, E sequences, A agents, O observation, n actions, K raw outputs per action, N numbers of a
prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from averse.environments.protocol import Description, Discrete, reward_steps
from averse.learners.contract import Learner, Metrics, Portable, Trajectory
from averse.learners.parts.measure import measure_fields, risk_measure, with_numbers
from averse.learners.parts.networks import MLP, Memory, Params, SequenceNetwork, feed_forward, recurrent
from averse.learners.parts.portable import portable_actor, portable_reading
from averse.learners.parts.predictions import (
    BOUNDED,
    Prediction,
    Transitions,
    prediction,
    select,
    support_metrics,
    support_std,
)
from averse.learners.parts.replay import Sequences, blank_sequence, continues, ring, sequences_of, time_major, usable
from averse.learners.parts.updates import clipped, gradient_step, linear_schedule, weighted_mean
from averse.learners.value_based.config import ValueBasedConfig, head_bounds, validate
from averse.learners.value_based.exploration import best_available, epsilon_greedy
from averse.learners.value_based.mixers import Mixer, monotone_mixer, quantile_mixer, sum_mixer
from averse.risk import RiskMeasure


class ValueBasedState(NamedTuple):
    """Everything that training changes or sweeps over, replay buffer included."""

    params: Params  # by name: "agents", and as the method has them "mixer" and "predictor"
    target: Params
    optimiser: Any
    replay: Any
    measure: RiskMeasure
    learning_rate: jax.Array
    updates: jax.Array  # int32 [], updates done
    gradient_steps: jax.Array  # int32 [], gradient steps done
    key: jax.Array


class View(NamedTuple):
    """What a network sees in a sequence of observations."""

    raw: jax.Array  # [T, E, A, n, K]
    scores: jax.Array  # [T, E, A, n], what the greedy choice maximises
    risk: Any = ()  # what else a method makes of it


class Comparison(NamedTuple):
    """What was predicted, and what it is compared with; sequences of T steps have T + 1 views."""

    now: View  # of the online network
    then: View  # of the target network, without gradient
    predicted: jax.Array  # [T, E, A, N], the return of the actions taken
    following: jax.Array  # [T, E, A, N], that of the next greedy choice, by the target network


class Errors(NamedTuple):
    """How far predictions are off their targets, leading axes [T, E] of a team or [T, E, A] of each agent."""

    losses: jax.Array
    weight: jax.Array  # float32, 0 where a step is not to be learned from
    value: jax.Array  # [..., N], the prediction
    targets: jax.Array  # [..., N]
    metrics: Mapping[str, jax.Array] = {}  # what else there is to tell of each


def value_based(config: ValueBasedConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes; `total_updates` is what the schedules are stretched over.

    Raises AverseError for actions that are not discrete.
    """
    return ValueBased.of(config, environment, total_updates).learner()


@dataclass(frozen=True, eq=False)
class ValueBased:
    """What the learner is made of, and what it does with it."""

    config: ValueBasedConfig
    environment: Description
    num_actions: int
    network: SequenceNetwork
    prediction: Prediction  # of each action's return
    total: Prediction  # what a temporal difference is taken of, where not the same
    mixer: Mixer | None
    measure: RiskMeasure
    optimiser: optax.GradientTransformation
    buffer: Any
    total_updates: int

    @classmethod
    def of(cls, config: ValueBasedConfig, environment: Description, total_updates: int) -> "ValueBased":
        """The parts that a configuration calls for, sized for an environment."""
        validate(environment)
        kind = prediction(
            "scalar" if config.head == "mean" else config.head,
            head_bounds(config, environment) if config.head in BOUNDED else None,
            num_atoms=config.num_atoms,
            value_scale=config.value_scale,
            huber=config.huber,
        )
        num_actions = cast(Discrete, environment.action_space).num_actions
        adam, rmsprop = optax.scale_by_adam(eps=1e-5), optax.scale_by_rms(decay=0.99, eps=1e-5, eps_in_sqrt=False)
        return cls(
            config=config,
            environment=environment,
            num_actions=num_actions,
            network=make_network(config, environment, num_actions * kind.outputs),
            prediction=kind,
            total=kind,
            mixer=make_mixer(config, environment),
            measure=risk_measure(config),
            optimiser=clipped(config.max_gradient_norm, adam if config.optimiser == "adam" else rmsprop),
            buffer=ring(max_length=config.buffer_size, min_length=config.num_envs, sample_batch_size=config.batch_size),
            total_updates=total_updates,
        )

    def learner(self) -> Learner:
        """The functions by which training knows it."""
        config = self.config
        predicts = self.mixer is None and self.prediction.distributional
        return Learner(
            init=self.init,
            act=self.act,
            update=self.update,
            predict_returns=self.predict_returns if predicts else None,
            initial_memory=self.network.initial_memory,
            sweepable=self.sweepable,
            rollout_steps=config.rollout_steps,
            num_envs=config.num_envs,
            gamma=config.gamma,
            explores_by_noise=True,
            portable=self.portable,
        )

    @property
    def sweepable(self) -> frozenset[str]:
        return frozenset({"learning_rate"} | measure_fields(self.measure))

    @property
    def looks_at_state(self) -> bool:
        """Whether a mixer needs the global state."""
        return self.config.mixer in ("monotone", "quantile")

    def init(self, key: jax.Array, **swept: jax.Array) -> ValueBasedState:
        *keys, key = jax.random.split(key, 4)
        params = self.init_networks(*keys)
        learning_rate = swept.pop("learning_rate", self.config.learning_rate)
        measure = with_numbers(self.measure, swept)
        blank = blank_sequence(
            self.environment,
            self.config.rollout_steps,
            jax.tree.map(lambda x: x[0], self.network.initial_memory(1)),
            with_state=self.looks_at_state,
        )
        return ValueBasedState(
            params=params,
            target=jax.tree.map(jnp.copy, params),
            optimiser=self.optimiser.init(params),
            replay=self.buffer.init(blank),
            measure=jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), measure),
            learning_rate=jnp.asarray(learning_rate, jnp.float32),
            updates=jnp.int32(0),
            gradient_steps=jnp.int32(0),
            key=key,
        )

    def init_networks(self, agents_key: jax.Array, mixer_key: jax.Array, own_key: jax.Array) -> Params:
        """Initial parameters by network; `own_key` is for what else a method has."""
        agents = {"agents": self.network.init(agents_key)}
        return agents if self.mixer is None else agents | {"mixer": self.mixer.init(mixer_key)}

    def act(self, state: ValueBasedState, observations, available, key, memory: Memory = (), greedy: bool = False):
        view, memory = self.look_once(state.params, state.measure, observations, memory)
        scores = view.scores[0]
        if greedy:
            actions = best_available(scores, available)
        else:
            actions = epsilon_greedy(key, scores, available, self.exploration(state.updates))
        return actions, {"memory": memory}

    def exploration(self, updates: jax.Array) -> jax.Array:
        """The probability of a random action."""
        config = self.config
        return linear_schedule(
            updates / self.total_updates, config.exploration_start, config.exploration_end, config.exploration_fraction
        )

    def predict_returns(self, state: ValueBasedState, observations, global_state, available, memory: Memory = ()):
        view, _ = self.look_once(state.params, state.measure, observations, memory)
        raw = select(view.raw[0], best_available(view.scores[0], available))
        return self.prediction.distribution(self.prediction.decode(raw))

    def portable(self, state: ValueBasedState) -> Portable:
        """What the policy computes. Raises AverseError for a measure that has no such form."""
        actor = portable_actor(
            state.params["agents"], self.environment.num_agents, shared=self.config.shared, activation="relu"
        )
        scores = portable_reading("scores", self.prediction, self.acting_measure(state))
        told = self.mixer is None and self.prediction.distributional
        no_value = "" if told else "it predicts no distribution of each agent's own return"
        own = {"decision": "scores", "scores": scores.description, "no_value": no_value}
        return Portable({**actor.description, **own}, {**actor.arrays, **scores.arrays})

    def acting_measure(self, state: ValueBasedState) -> RiskMeasure:
        """The measure by which actions are chosen. Raises AverseError where it changes from step to step."""
        return state.measure

    def look_once(
        self, params: Params, measure: RiskMeasure, observations: jax.Array, memory: Memory
    ) -> tuple[View, Memory]:
        """The view of a single step [E, A, O], as a sequence of one, and the memory after it."""
        outputs, after = self.network.step(params["agents"], memory, observations)
        nowhere = jnp.zeros((1, observations.shape[0]), bool)
        return self.view(params, measure, outputs[None], memory, nowhere), after

    def look(
        self, params: Params, measure: RiskMeasure, observations: jax.Array, memory: Memory, first: jax.Array
    ) -> View:
        """The view of observations [T, E, A, O], with the memory before them; episodes begin where `first` [T, E]."""
        outputs = self.network.unroll(params["agents"], memory, observations, first)
        return self.view(params, measure, outputs, memory, first)

    def view(self, params: Params, measure: RiskMeasure, outputs: jax.Array, memory: Memory, first: jax.Array) -> View:
        """What the network's outputs [T, E, A, n K] mean."""
        raw = self.per_action(outputs)
        return View(raw, self.prediction.scores(raw, measure))

    def per_action(self, outputs: jax.Array) -> jax.Array:
        """[..., n K] to [..., n, K]."""
        return outputs.reshape(*outputs.shape[:-1], self.num_actions, self.prediction.outputs)

    def update(self, state: ValueBasedState, trajectory: Trajectory) -> tuple[ValueBasedState, Metrics]:
        config = self.config
        replay = self.buffer.add(state.replay, sequences_of(trajectory, self.looks_at_state))
        fall = linear_schedule(state.updates / self.total_updates, 1.0, config.final_learning_rate)
        step_size = state.learning_rate * fall

        def step(networks, key: jax.Array):
            params, target, optimiser_state, steps = networks
            batch = time_major(self.buffer.sample(replay, key).experience)
            gradient, metrics = jax.grad(self.loss, has_aux=True)(params, target, state.measure, batch)
            params, optimiser_state = gradient_step(self.optimiser, gradient, params, optimiser_state, step_size)
            steps += 1
            target = optax.incremental_update(params, target, self.target_rate(steps))
            return (params, target, optimiser_state, steps), {**metrics, "gradient_norm": optax.tree.norm(gradient)}

        key, sample_key = jax.random.split(state.key)
        networks = (state.params, state.target, state.optimiser, state.gradient_steps)
        networks, metrics = jax.lax.scan(step, networks, jax.random.split(sample_key, config.gradient_steps))
        params, target, optimiser_state, steps = networks
        filled = jnp.where(replay.is_full, config.buffer_size, replay.current_index)
        metrics = {name: values.mean() for name, values in metrics.items()}
        metrics |= {"exploration": self.exploration(state.updates), "buffer_fill": filled / config.buffer_size}
        state = state._replace(
            params=params,
            target=target,
            optimiser=optimiser_state,
            replay=replay,
            updates=state.updates + 1,
            gradient_steps=steps,
            key=key,
        )
        return state, metrics

    def target_rate(self, steps: jax.Array) -> float | jax.Array:
        """How far the target network moves towards the online one after so many gradient steps."""
        if not self.config.target_interval:
            return self.config.target_rate
        return (steps % self.config.target_interval == 0).astype(jnp.float32)

    def loss(self, params: Params, target: Params, measure: RiskMeasure, batch: Sequences) -> tuple[jax.Array, Metrics]:
        """The temporal-difference loss of a batch of sequences, of each agent or of the team."""
        seen = self.compare(params, target, measure, batch)
        if self.mixer is None:
            errors = self.own_errors(measure, batch, seen.predicted, seen.following)
        else:
            errors = self.team_errors(params, target, batch, seen.predicted, seen.following)
        total = weighted_mean(errors.losses, errors.weight)
        return total, {"loss": total, **self.figures(errors)}

    def compare(self, params: Params, target: Params, measure: RiskMeasure, batch: Sequences) -> Comparison:
        """Both networks' views of the batch, and their predictions for the actions taken and to be taken."""
        first = jnp.concatenate([batch.first, jnp.zeros_like(batch.first[:1])])
        now = self.look(params, measure, batch.observations, batch.memory, first)
        then = jax.lax.stop_gradient(self.look(target, measure, batch.observations, batch.memory, first))
        chooser = now if self.config.double else then
        next_actions = best_available(chooser.scores[1:], batch.available[1:])
        predicted = self.prediction.decode(select(now.raw[:-1], batch.actions))
        following = self.prediction.decode(select(then.raw[1:], next_actions))
        return Comparison(now, then, predicted, following)

    def own_errors(self, measure: RiskMeasure, batch: Sequences, predicted: jax.Array, following: jax.Array) -> Errors:
        """Each agent's prediction against its own targets."""
        transitions = Transitions(
            batch.rewards,
            self.config.gamma * (1.0 - batch.terminated.astype(jnp.float32)),
            continues(batch).astype(jnp.float32),
        )
        targets = jax.lax.stop_gradient(self.prediction.targets(predicted, following, transitions, self.config.lam))
        weight = (batch.active & usable(batch)[..., None]).astype(jnp.float32)
        metrics = support_metrics(self.prediction, measure, following, transitions, self.support_std)
        metrics = jax.lax.stop_gradient(metrics)
        return Errors(self.prediction.loss(predicted, targets), weight, predicted, targets, metrics)

    @property
    def support_std(self) -> float:
        """What a categorical head's atoms add to a return far from its end, in reward units; 0 for other heads."""
        config = self.config
        if config.head != "categorical":
            return 0.0
        bounds = head_bounds(config, self.environment)
        return support_std(bounds, config.num_atoms, config.gamma, reward_steps(self.environment, config.gamma))

    def team_errors(
        self,
        params: Params,
        target: Params,
        batch: Sequences,
        values: jax.Array,
        following: jax.Array,
    ) -> Errors:
        """The mixed values [T, E, A, N] of the agents' actions against the team's targets."""
        states = batch.global_state if self.looks_at_state else (jnp.zeros(0),) * 2
        total = self.mixed(params["mixer"], jnp.where(batch.active[..., None], values, 0.0), states[:-1])
        after = self.mixed(target["mixer"], jnp.where(batch.terminated[..., None], 0.0, following), states[1:])
        over = batch.terminated.all(-1)
        transitions = Transitions(
            batch.rewards.mean(-1),
            self.config.gamma * (1.0 - over.astype(jnp.float32)),
            (continues(batch).any(-1) & ~over).astype(jnp.float32),
        )
        targets = jax.lax.stop_gradient(self.total.targets(total, after, transitions, self.config.lam))
        return Errors(self.total.loss(total, targets), usable(batch).astype(jnp.float32), total, targets)

    def mixed(self, params: Params, values: jax.Array, states: Any) -> jax.Array:
        """The team's value, mixed in units of `value_scale`.

        A monotone mixer's ELU units saturate at values far below zero, where the agents learn nothing any more.
        """
        assert self.mixer is not None
        return self.config.value_scale * self.mixer.apply(params, values / self.config.value_scale, states)

    def figures(self, errors: Errors) -> Metrics:
        """The mean error and the mean value, in reward units, and means of what else there is to tell."""
        means = self.total.mean(errors.value)
        target_means = self.total.target_distribution(errors.targets).mean()
        return {
            "td_error": weighted_mean(jnp.abs(means - target_means), errors.weight),
            "q_value": weighted_mean(means, errors.weight),
            **{name: weighted_mean(values, errors.weight) for name, values in errors.metrics.items()},
        }


def make_network(config: ValueBasedConfig, environment: Description, outputs: int) -> SequenceNetwork:
    """The agents' network: ReLU layers, the last of them a GRU where agents remember."""
    sizes = environment.num_agents, environment.observation_size
    if not config.recurrent:
        return feed_forward(MLP(config.hidden, outputs, 0.1, jax.nn.relu), *sizes, shared=config.shared)
    # A GRU sees an encoding of its own size, not the bare observation.
    hidden = config.hidden if len(config.hidden) > 1 else config.hidden * 2
    return recurrent(MLP(hidden, outputs, 0.1, jax.nn.relu), *sizes, shared=config.shared, recurrent_gain=1.0)


def make_mixer(config: ValueBasedConfig, environment: Description, slope: float = 1.0) -> Mixer | None:
    """The mixer of a configuration; for `slope` see `monotone_mixer`."""
    sizes = environment.num_agents, environment.global_state_size
    match config.mixer:
        case "none":
            return None
        case "sum":
            return sum_mixer()
        case "monotone":
            return monotone_mixer(*sizes, config.mixer_embedding, config.hypernet, slope)
        case "quantile":
            return quantile_mixer(*sizes, config.mixer_embedding)
