"""Evaluation where nothing ever ends: eta, zeta and J of known policies, their intervals, and what is written."""

import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from random_team import RandomTeam

import averse
from averse import AverseError
from averse.cli import main
from averse.evaluation.basis import Basis, refuse_loss
from averse.evaluation.known_models import exact_mean_variance
from averse.evaluation.long_run import (
    BATCHES,
    CHAINS,
    Batches,
    LongRunEvaluation,
    steps_played,
    summarise_long_run,
)
from averse.evaluation.play import chain_player
from averse.planning import mean_variance

SMALL = {"num_envs": 8, "rollout_steps": 16, "hidden": (8,), "minibatches": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three seeds at two prices of variance, hardly trained: policies of all kinds."""
    out = tmp_path_factory.mktemp("runs") / "team"
    return averse.train("random_team:RandomTeam", "mv-matrpo", steps=256, seeds=3, beta=[0.3, 1.0], out=out, **SMALL)


def tables(run, index):
    """A policy asked state by state: per agent [S, Ai]."""
    learner, state = run.learner, run.state(index)
    eye = np.eye(run.environment.states, dtype=np.float32)
    rows = [learner.action_probabilities(state, np.stack([x, x])[None], np.ones((1, 2, 2), bool))[0] for x in eye]
    probs = np.asarray(rows, np.float64)
    return [probs[:, agent] / probs[:, agent].sum(-1, keepdims=True) for agent in range(2)]


@pytest.mark.slow
def test_figures_agree_with_exact_planning(run):
    """Every policy's eta, zeta and J within three times the half-width of its interval; most within once."""
    evaluation = averse.evaluate(run, steps=4e5, save=False)
    inside = []
    for index, settings in enumerate(run.config.trials):
        exact = mean_variance(run.environment.model(), tables(run, index), settings["beta"])
        batches = evaluation.batches[index]
        assert batches.exact == pytest.approx(exact, abs=1e-6)
        assert (batches.training_seed, batches.beta) == (settings["seed"], settings["beta"])
        found = summarise_long_run([batches])
        for estimate, truth in zip((found.eta, found.zeta, found.objective), exact):
            half = (estimate.high - estimate.low) / 2
            assert 0 < half < 0.02
            assert abs(estimate.value - truth) < 3 * half
            inside.append(estimate.low <= truth <= estimate.high)
        assert found.objective.value == pytest.approx(found.eta.value - found.beta * found.zeta.value, abs=1e-12)
    assert np.mean(inside) > 0.75


@pytest.mark.thorough
def test_intervals_cover_the_truth():
    """Nominal .95 of J, over 60 evaluations of one policy with an autocorrelated reward."""
    environment = RandomTeam(game_seed=4)
    learner = averse.learner("mv-matrpo", environment, **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    exact = exact_mean_variance(environment, learner, state, 1.0).objective
    play = chain_player(environment, learner, greedy=False, batches=BATCHES, length=100)
    covered = 0
    for k in range(60):
        played = play(state, np.arange(20 * k, 20 * k + 20, dtype=np.uint32))
        found = summarise_long_run([Batches(0, {}, 1.0, 100, played.mean[:, 1:], played.square[:, 1:])]).objective
        covered += found.low <= exact <= found.high
    assert 50 <= covered <= 60


def test_several_training_seeds_are_resampled_as_a_whole():
    """Policies that differ: the interval of their mean J is far wider than that of each alone."""
    rng = np.random.default_rng(0)

    def policy(seed, level):
        means = level + 0.01 * rng.normal(size=(20, 4))
        return Batches(seed, {}, 0.5, 10, means, means**2 + 1.0)

    policies = [policy(seed, level) for seed, level in enumerate((0.0, 1.0, 2.0, 3.0))]
    found = summarise_long_run(policies)
    assert found.objective.value == pytest.approx(1.0, abs=0.01)
    assert found.zeta.value == pytest.approx(1.0, abs=1e-3)  # around each policy's own mean, not around all
    assert found.objective.high - found.objective.low > 2.0
    for seed, level in enumerate((0.0, 1.0, 2.0, 3.0)):
        alone = found.by_seed[seed]
        assert alone.value == pytest.approx(level - 0.5, abs=0.01)
        assert alone.high - alone.low < 0.02
    assert found.warning is None
    assert "one training seed" in summarise_long_run(policies[:1]).warning


def test_batches_that_are_too_short_are_reported():
    """An autoregressive reward of memory 100 in batches of 10 steps: neighbours are alike; in batches of 2000 not."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(40, 8000))
    rewards = np.empty_like(noise)
    rewards[:, 0] = noise[:, 0] * 10
    for t in range(1, 8000):
        rewards[:, t] = 0.99 * rewards[:, t - 1] + noise[:, t]

    def batches(length):
        cut = rewards.reshape(40, -1, length)
        return Batches(0, {}, 0.0, length, cut.mean(-1), (cut**2).mean(-1))

    assert "correlated" in summarise_long_run([batches(10)]).warning
    assert "correlated" not in summarise_long_run([batches(2000)]).warning


@pytest.mark.slow
def test_what_is_written_gives_the_figures_again(run, capsys):
    assert main(["evaluate", str(run.path), "--steps", "2e4", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert json.loads((run.path / "evaluation.json").read_text()) == figures
    assert (figures["steps_per_policy"], figures["greedy"], figures["shift"]) == (20_000, False, {})
    assert set(figures["settings"]) == {"beta=0.3", "beta=1"}
    columns = pq.read_table(run.path / "long_run.parquet").to_pydict()
    table = {name: np.array(values) for name, values in columns.items()}
    assert len(table["mean"]) == 6 * CHAINS * (BATCHES - 1)
    for label, beta in (("beta=0.3", 0.3), ("beta=1", 1.0)):
        values = []
        for seed in range(3):
            mine = (table["beta"] == beta) & (table["training_seed"] == seed)
            eta = table["mean"][mine].mean()
            values.append(eta - beta * (table["square"][mine].mean() - eta**2))
        assert figures["settings"][label]["objective"]["value"] == pytest.approx(np.mean(values), abs=1e-9)
        assert figures["settings"][label]["steps"] == table["steps"][table["beta"] == beta].sum() / 3
        assert 0 < figures["settings"][label]["metrics"]["first_state"]["value"] < 1
    assert main(["evaluate", str(run.path), "--steps", "2e4", "--beta", "0"]) == 0
    text = capsys.readouterr().out
    assert "J = eta - beta zeta" in text
    again = averse.evaluate(run, steps=2e4, beta=0.0, save=False)
    for summary in again.summaries.values():
        assert summary.objective.value == summary.eta.value
    before = (run.path / "long_run.parquet").read_bytes()
    assert main(["evaluate", str(run.path), "--steps", "1e4"]) == 2
    assert (
        "holds an evaluation of 20,000 steps per policy (evaluation.json), more than 10,000" in capsys.readouterr().err
    )
    assert (run.path / "long_run.parquet").read_bytes() == before


@pytest.mark.slow
def test_the_same_seeds_give_the_same_figures_and_greedy_others(run):
    first, second = (averse.evaluate(run, steps=1e4, save=False) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert averse.evaluate(run, steps=1e4, greedy=True, save=False).to_dict() != first.to_dict()
    assert averse.evaluate(run, steps=1e4, first_seed=77, save=False).to_dict() != first.to_dict()


@pytest.mark.slow
def test_bad_input_is_one_clear_line(run):
    with pytest.raises(AverseError, match="never ends"):
        averse.evaluate(run, 100)
    with pytest.raises(AverseError, match="steps must be at least 1000"):
        averse.evaluate(run, steps=10)
    with pytest.raises(AverseError, match="beta must be a finite number >= 0"):
        averse.evaluate(run, steps=1e4, beta=-1.0)
    episodic = averse.train("corridor", "ppo", steps=64, num_envs=4, rollout_steps=16)
    with pytest.raises(AverseError, match="corridor has episodes"):
        averse.evaluate(episodic, steps=1e4)


def made_up(steps, updates=(100,)):
    """An evaluation of one policy, of two batches of so many steps."""
    batches = Batches(0, {}, 1.0, steps, [[1.0, 2.0]], [[1.0, 4.0]])
    basis = Basis(2 * steps, "steps", greedy=False, first_seed=0, updates=updates, total_updates=100)
    return LongRunEvaluation("team", "mv-matrpo", (batches,), {"": summarise_long_run([batches])}, basis)


def test_an_unfinished_run_is_called_so():
    unfinished = made_up(500, updates=(30,))
    assert "unfinished run: 30 of 100 updates" in repr(unfinished)
    assert "Warning: the run is unfinished: its policies are those after 30 of 100 updates." in " ".join(
        str(unfinished).split()
    )
    assert unfinished.to_dict()["finished"] is False
    assert "unfinished" not in repr(made_up(500)) + str(made_up(500))


def test_fewer_steps_do_not_take_the_place_of_more(tmp_path):
    figures, table = tmp_path / "evaluation.json", tmp_path / "long_run.parquet"
    old = made_up(500)
    refuse_loss(figures, table, old.basis, trials=1)  # nothing is there
    old.write_parquet(table)  # interrupted before the figures were written
    for content in (None, {"steps": 1000}, old.to_dict()):  # that, an older version's, and today's
        if content is not None:
            figures.write_text(json.dumps(content))
        refuse_loss(figures, table, old.basis, trials=1)
        refuse_loss(figures, table, made_up(501).basis, trials=1)
        with pytest.raises(AverseError, match=r"holds an evaluation of 1,000 steps per policy .* more than 998"):
            refuse_loss(figures, table, made_up(499).basis, trials=1)


def test_steps_fill_whole_batches_that_32_bits_can_count():
    assert [steps_played(steps) for steps in (1000, 1999.0, 1e6)] == [1000, 1000, 1_000_000]
    for steps, words in ((999, "at least 1000"), (1e13, "at most 2.15e"), (1e300, "at most 2.15e")):
        with pytest.raises(AverseError, match=f"steps must be {words}"):
            steps_played(steps)
