"""The value-based family: one learner, whose presets are DQN, C51, QR-DQN, VDN, QMIX, RMIX and RiskQ.

One `update`: put the rollout's sequences into the replay buffer, then a few gradient steps, each on a batch of
sequences drawn from it. A gradient step unrolls the agents' network over the sequences, lets the online network choose
the next actions and the target network value them (double Q-learning), makes lambda-return targets, of the agents' own
returns or of the team's as a mixer sees it, and follows the loss of the prediction.

Risk enters in the choice of actions: the greedy action maximises a risk measure of the predicted return, when acting as
in the targets. With a mixer the team's reward is the mean over agents (which is the common one where rewards are
shared), and an agent whose episode is over contributes nothing.

Axes: T time, B environments, E sequences, A agents, O observation, n actions, K raw outputs per action, N atoms.
"""

from typing import Any, NamedTuple, cast

import flashbax
import jax
import jax.numpy as jnp
import optax

from averse.environments.protocol import Description, Discrete
from averse.learners.contract import Learner, Metrics, Trajectory
from averse.learners.parts.networks import MLP, SequenceNetwork, feed_forward, recurrent
from averse.learners.parts.replay import Sequences, continues, sequences_of, time_major, usable
from averse.learners.parts.value_heads import CategoricalHead, Head, MeanHead, QuantileHead, quantile_weights
from averse.learners.policy_gradient.config import measure_fields, risk_measure, with_numbers
from averse.learners.value_based.config import ValueBasedConfig, validate
from averse.learners.value_based.exploration import best_available, epsilon_greedy, linear_schedule
from averse.learners.value_based.mixers import Mixer, monotone_mixer, quantile_mixer, sum_mixer
from averse.learners.value_based.risk_level import (
    RiskLevelPredictor,
    expected_level,
    level_weights,
    risk_level_predictor,
)
from averse.risk import CVaR, RiskMeasure


class ValueBasedState(NamedTuple):
    """Everything that training changes or sweeps over, replay buffer included."""

    params: dict[str, Any]  # "agents", and as the method has them "mixer" and "predictor"
    target: dict[str, Any]
    optimiser: Any
    replay: Any
    measure: RiskMeasure
    learning_rate: jax.Array
    updates: jax.Array  # int32 [], updates done
    gradient_steps: jax.Array  # int32 [], gradient steps done
    key: jax.Array


class Parts(NamedTuple):
    """What a configuration is made of."""

    network: SequenceNetwork
    head: Head
    mixer: Mixer | None
    predictor: RiskLevelPredictor | None


class View(NamedTuple):
    """What a network sees in a sequence of observations."""

    raw: jax.Array  # [T, E, A, n, K]
    scores: jax.Array  # [T, E, A, n], what the greedy choice maximises
    weights: Any  # [T, E, A, N], RMIX: of the quantiles in the utility
    level: Any  # [T, E, A], RMIX: mean CVaR level; both None elsewhere


def make_head(config: ValueBasedConfig, environment: Description) -> Head:
    """The head of a configuration; a support comes from the environment's return bounds where not given."""
    match config.head:
        case "mean":
            return MeanHead(config.value_scale)
        case "categorical":
            low, high = config.support or environment.return_bounds(config.gamma)
            return CategoricalHead(jnp.linspace(low, high, config.num_quantiles))
        case "quantile":
            return QuantileHead(config.value_scale, config.num_quantiles, config.huber)


def make_parts(config: ValueBasedConfig, environment: Description) -> Parts:
    """The networks that a configuration calls for, sized for an environment."""
    num_agents, state_size = environment.num_agents, environment.global_state_size
    head = make_head(config, environment)
    outputs = cast(Discrete, environment.action_space).num_actions * head.outputs
    mixer = None
    match config.mixer:
        case "sum":
            mixer = sum_mixer()
        case "monotone":
            # RMIX's agents each regress their distribution on the whole team's reward: their mean is then the team's.
            slope = 1.0 / num_agents if config.dynamic_risk else 1.0
            mixer = monotone_mixer(num_agents, state_size, config.mixer_embedding, config.hypernet, slope)
        case "quantile":
            mixer = quantile_mixer(num_agents, state_size, config.mixer_embedding)
    predictor = None
    if config.dynamic_risk and config.fixed_alpha is None:
        predictor = risk_level_predictor(config.num_quantiles, config.risk_levels, config.hidden[-1])
    return Parts(make_network(config, environment, outputs), head, mixer, predictor)


def make_network(config: ValueBasedConfig, environment: Description, outputs: int) -> SequenceNetwork:
    """The agents' network: ReLU layers, the last of them a GRU where agents remember."""
    sizes = environment.num_agents, environment.observation_size
    if not config.recurrent:
        return feed_forward(MLP(config.hidden, outputs, 0.1, jax.nn.relu), *sizes, shared=config.shared)
    # A GRU sees an encoding of its own size, not the bare observation.
    hidden = config.hidden if len(config.hidden) > 1 else config.hidden * 2
    return recurrent(MLP(hidden, outputs, 0.1, jax.nn.relu), *sizes, shared=config.shared, recurrent_gain=1.0)


def value_based(config: ValueBasedConfig, environment: Description, total_updates: int) -> Learner:
    """Build the learner for an environment's sizes; `total_updates` is what the schedules are stretched over.

    Raises AverseError for settings out of range or that contradict each other.
    """
    validate(config, environment)
    fixed = config.fixed_alpha if config.dynamic_risk else None
    target_measure = risk_measure(config) if fixed is None else CVaR(fixed)
    parts = make_parts(config, environment)
    network, head, mixer, predictor = parts
    num_agents = environment.num_agents
    num_actions = cast(Discrete, environment.action_space).num_actions
    # What a temporal difference is taken of: RMIX's team value is a number, though its agents predict distributions.
    total_head = MeanHead(config.value_scale) if config.dynamic_risk else head
    looks_at_state = config.mixer in ("monotone", "quantile")
    buffer: Any = flashbax.make_item_buffer(
        max_length=config.buffer_size,
        min_length=config.num_envs,
        sample_batch_size=config.batch_size,
        add_batches=True,
    )
    optimiser = optax.chain(
        optax.clip_by_global_norm(config.max_gradient_norm),
        optax.scale_by_adam(eps=1e-5)
        if config.optimiser == "adam"
        else optax.scale_by_rms(decay=0.99, eps=1e-5, eps_in_sqrt=False),
    )

    def blank_sequence() -> Sequences:
        """One sequence of zeros, by which the buffer knows its shapes."""
        steps, agents = config.rollout_steps, num_agents
        return Sequences(
            observations=jnp.zeros((steps + 1, agents, environment.observation_size)),
            global_state=jnp.zeros((steps + 1, environment.global_state_size)) if looks_at_state else (),
            available=jnp.zeros((steps + 1, agents, num_actions), bool),
            actions=jnp.zeros((steps, agents), jnp.uint8 if num_actions < 256 else jnp.int32),
            rewards=jnp.zeros((steps, agents)),
            terminated=jnp.zeros((steps, agents), bool),
            truncated=jnp.zeros(steps, bool),
            active=jnp.zeros((steps, agents), bool),
            first=jnp.zeros(steps, bool),
            memory=jax.tree.map(lambda x: x[0], network.initial_memory(1)),
        )

    def init(key: jax.Array, **swept: jax.Array) -> ValueBasedState:
        agents_key, mixer_key, predictor_key, key = jax.random.split(key, 4)
        params = {"agents": network.init(agents_key)}
        if mixer is not None:
            params["mixer"] = mixer.init(mixer_key)
        if predictor is not None:
            params["predictor"] = predictor.init(predictor_key)
        learning_rate = swept.pop("learning_rate", config.learning_rate)
        measure = with_numbers(target_measure, swept)
        return ValueBasedState(
            params=params,
            target=jax.tree.map(jnp.copy, params),
            optimiser=optimiser.init(params),
            replay=buffer.init(blank_sequence()),
            measure=jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), measure),
            learning_rate=jnp.asarray(learning_rate, jnp.float32),
            updates=jnp.int32(0),
            gradient_steps=jnp.int32(0),
            key=key,
        )

    def look(params: dict, measure: RiskMeasure, observations: jax.Array, memory: Any, first: jax.Array) -> View:
        """observations [T, E, A, O], memory before them, where episodes begin [T, E]."""
        return view_of(params, measure, network.unroll(params["agents"], memory, observations, first), memory, first)

    def look_once(params: dict, measure: RiskMeasure, observations: jax.Array, memory: Any) -> tuple[View, Any]:
        """A single step [E, A, O] as a sequence of one, and the memory after it."""
        outputs, after = network.step(params["agents"], memory, observations)
        nowhere = jnp.zeros((1, observations.shape[0]), bool)
        return view_of(params, measure, outputs[None], memory, nowhere), after

    def view_of(params: dict, measure: RiskMeasure, outputs: jax.Array, memory: Any, first: jax.Array) -> View:
        raw = outputs.reshape(*outputs.shape[:-1], num_actions, head.outputs)
        if not config.dynamic_risk:
            return View(raw, head.scores(raw, measure), None, None)
        quantile_head = cast(QuantileHead, head)
        if predictor is None:
            weights = quantile_weights(measure, config.num_quantiles)
            weights = jnp.broadcast_to(weights, (*raw.shape[:-2], config.num_quantiles))
            level = jnp.full(raw.shape[:-2], cast(CVaR, measure).alpha)
        else:
            current = quantile_head.average(raw)
            # What was predicted one step ago is a function of the memory of one step ago.
            before = network.recall(params["agents"], jnp.where(first[0][:, None, None], 0.0, memory))
            blank = network.recall(params["agents"], jnp.zeros_like(memory))
            before, blank = (
                quantile_head.average(x.reshape(*x.shape[:-1], num_actions, head.outputs)) for x in (before, blank)
            )
            past = jnp.concatenate([before[None], current[:-1]])
            past = jnp.where(first[..., None, None], blank, past)
            probabilities = predictor.probabilities(params["predictor"], current, past)
            weights = probabilities @ level_weights(config.risk_levels, config.num_quantiles)
            level = expected_level(probabilities)
        return View(raw, quantile_head.weighted(raw, weights[..., None, :]), weights, level)

    def exploration(updates: jax.Array) -> jax.Array:
        return linear_schedule(
            updates / total_updates, config.exploration_start, config.exploration_end, config.exploration_fraction
        )

    def act(state: ValueBasedState, observations, available, key, memory=(), greedy: bool = False):
        view, memory = look_once(state.params, state.measure, observations, memory)
        scores = view.scores[0]
        if greedy:
            actions = best_available(scores, available)
        else:
            actions = epsilon_greedy(key, scores, available, exploration(state.updates))
        return actions, {"memory": memory}

    def predict_returns(state: ValueBasedState, observations, global_state, available, memory=()):
        view, _ = look_once(state.params, state.measure, observations, memory)
        return head.distribution(head.chosen(view.raw[0], best_available(view.scores[0], available)))

    def mixed(params: Any, values: jax.Array, states: Any) -> jax.Array:
        """The team's value, mixed in units of `value_scale`.

        A monotone mixer's ELU units saturate at values far below zero, where the agents learn nothing any more.
        """
        assert mixer is not None
        return config.value_scale * mixer.apply(params, values / config.value_scale, states)

    def team_loss(params, target, batch: Sequences, now: View, then: View, predicted, following):
        """The mixed prediction against the team's targets: (loss [T, E], weight, prediction, target)."""
        quantiles = predicted
        if config.dynamic_risk:
            predicted = (predicted * now.weights[:-1]).sum(-1, keepdims=True)
            following = (following * then.weights[1:]).sum(-1, keepdims=True)
        states = batch.global_state if looks_at_state else (jnp.zeros(0),) * 2
        total = mixed(params["mixer"], jnp.where(batch.active[..., None], predicted, 0.0), states[:-1])
        total_after = mixed(target["mixer"], jnp.where(batch.terminated[..., None], 0.0, following), states[1:])
        over = batch.terminated.all(-1)
        targets = total_head.targets(
            total_after,
            batch.rewards.mean(-1),
            config.gamma * (1.0 - over),
            (continues(batch).any(-1) & ~over).astype(jnp.float32),
            config.lam,
        )
        targets = jax.lax.stop_gradient(targets)
        losses, weight = total_head.loss(total, targets), usable(batch).astype(jnp.float32)
        if predictor is not None:
            lag = jax.lax.stop_gradient(_mean((total - targets)[..., 0], weight))
            losses += level_correction(params["mixer"], quantiles, now.weights[:-1], batch, states[:-1], lag)
        return losses, weight, total, targets

    def level_correction(mixer_params, quantiles, weights, batch: Sequences, states, lag: jax.Array) -> jax.Array:
        """RMIX: [T, E] zeros, whose gradient takes the batch's mean error `lag` out of what the level learns from.

        While values as a whole still fall (or rise) towards what they will be, the level would run to its end after
        them, where every utility is lower (or higher): it is to tell steps apart. At the end of learning lag is 0.
        """
        mixer_params, quantiles = jax.lax.stop_gradient((mixer_params, quantiles))
        utilities = jnp.where(batch.active[..., None], (quantiles * weights).sum(-1, keepdims=True), 0.0)
        by_level = mixed(mixer_params, utilities, states)[..., 0]
        return -lag / config.value_scale**2 * (by_level - jax.lax.stop_gradient(by_level))

    def own_loss(batch: Sequences, predicted, following):
        """Each agent's prediction against its own targets: (loss [T, E, A], weight, prediction, target)."""
        targets = head.targets(
            following,
            batch.rewards,
            config.gamma * (1.0 - batch.terminated),
            continues(batch).astype(jnp.float32),
            config.lam,
        )
        targets = jax.lax.stop_gradient(targets)
        weight = (batch.active & usable(batch)[..., None]).astype(jnp.float32)
        return head.loss(predicted, targets), weight, predicted, targets

    def distribution_loss(batch: Sequences, predicted, following, then: View):
        """RMIX: quantile regression of each agent's return on the lambda-return of the team's reward and its utilities.

        A mean over quantiles, so that `quantile_weight` weighs it against the one error of the team's value; and as far
        ahead as that one. Summed, and one step ahead, it holds the agents to what they predicted a moment ago, and
        little is learned from the team.
        """
        utility = (following * then.weights[1:]).sum(-1, keepdims=True)
        targets = total_head.targets(
            utility,
            jnp.broadcast_to(batch.rewards.mean(-1, keepdims=True), batch.rewards.shape),
            config.gamma * (1.0 - batch.terminated),
            continues(batch).astype(jnp.float32),
            config.lam,
        )
        losses = head.loss(predicted, jax.lax.stop_gradient(targets)) / config.num_quantiles
        return _mean(losses, (batch.active & usable(batch)[..., None]).astype(jnp.float32))

    def loss(params, target, measure: RiskMeasure, batch: Sequences):
        first = jnp.concatenate([batch.first, jnp.zeros_like(batch.first[:1])])
        now = look(params, measure, batch.observations, batch.memory, first)
        then = jax.lax.stop_gradient(look(target, measure, batch.observations, batch.memory, first))
        chooser = now if config.double else then
        next_actions = best_available(chooser.scores[1:], batch.available[1:])
        predicted = head.chosen(now.raw[:-1], batch.actions)
        following = head.chosen(then.raw[1:], next_actions)
        if mixer is None:
            losses, weight, value, targets = own_loss(batch, predicted, following)
        else:
            losses, weight, value, targets = team_loss(params, target, batch, now, then, predicted, following)
        total = _mean(losses, weight)
        means = total_head.mean(value)
        target_means = targets @ head.support if isinstance(head, CategoricalHead) else total_head.mean(targets)
        metrics = {
            "td_error": _mean(jnp.abs(means - target_means), weight),
            "q_value": _mean(means, weight),
        }
        if config.dynamic_risk:
            total += config.quantile_weight * distribution_loss(batch, predicted, following, then)
            metrics["risk_level"] = _mean(now.level[:-1], batch.active)
        return total, {"loss": total, **metrics}

    def update(state: ValueBasedState, trajectory: Trajectory) -> tuple[ValueBasedState, Metrics]:
        replay = buffer.add(state.replay, sequences_of(trajectory, looks_at_state))
        progress = state.updates / total_updates
        step_size = state.learning_rate * (1.0 - (1.0 - config.final_learning_rate) * progress)

        def gradient_step(networks, key: jax.Array):
            params, target, optimiser_state, steps = networks
            batch = time_major(buffer.sample(replay, key).experience)
            gradient, metrics = jax.grad(loss, has_aux=True)(params, target, state.measure, batch)
            changes, optimiser_state = optimiser.update(gradient, optimiser_state)
            params = jax.tree.map(lambda p, c: p - step_size * c, params, changes)
            steps += 1
            if config.target_interval:
                rate = (steps % config.target_interval == 0).astype(jnp.float32)
            else:
                rate = config.target_rate
            target = jax.tree.map(lambda t, p: t + rate * (p - t), target, params)
            return (params, target, optimiser_state, steps), {**metrics, "gradient_norm": optax.tree.norm(gradient)}

        key, sample_key = jax.random.split(state.key)
        networks = (state.params, state.target, state.optimiser, state.gradient_steps)
        networks, metrics = jax.lax.scan(gradient_step, networks, jax.random.split(sample_key, config.gradient_steps))
        params, target, optimiser_state, steps = networks
        filled = jnp.where(replay.is_full, config.buffer_size, replay.current_index)
        metrics = {name: values.mean() for name, values in metrics.items()}
        metrics |= {"exploration": exploration(state.updates), "buffer_fill": filled / config.buffer_size}
        state = ValueBasedState(
            params, target, optimiser_state, replay, state.measure, state.learning_rate, state.updates + 1, steps, key
        )
        return state, metrics

    predicts = mixer is None and config.head != "mean"
    return Learner(
        init=init,
        act=act,
        update=update,
        predict_returns=predict_returns if predicts else None,
        initial_memory=network.initial_memory,
        sweepable=frozenset({"learning_rate"} | (set() if config.dynamic_risk else measure_fields(target_measure))),
        rollout_steps=config.rollout_steps,
        num_envs=config.num_envs,
        gamma=config.gamma,
        explores_by_noise=True,
    )


def _mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted mean; 0 where nothing has weight."""
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)
