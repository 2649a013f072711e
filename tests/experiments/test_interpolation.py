"""`averse interpolate`: both ends as evaluated, whole episodes exactly linear, and what is written."""

import json
import shutil

import numpy as np
import pytest

import averse
from averse.cli import main
from averse.evaluation import Episodes, summarise
from averse.experiments import interpolation
from averse.experiments.interpolation import claims_of
from averse.experiments.mixing import aligned, difference_from_chord, mixed_estimates
from averse.statistics import Estimate, cvar, proportion_interval

EPISODES = 60
A = ("--of-a", "epsilon=0.5")


@pytest.fixture(scope="module")
def study(corridor_runs, tmp_path_factory):
    """One setting of A and B, of two methods with two seeds each, mixed step by step; all settings of A beside them."""
    path = tmp_path_factory.mktemp("between")
    for name in "ab":
        shutil.copytree(corridor_runs / name, path / name)
    given = ["--alphas", "0.25", "0.5", "--episodes", str(EPISODES), "--reference", str(path / "a"), *A]
    assert main(["interpolate", str(path / "a"), str(path / "b"), "--out", str(path / "study"), *given, "--json"]) == 0
    return path


def returns_at(study, alpha) -> Episodes:
    table = Episodes.read_parquet(study / "study" / "episodes.parquet")
    return table.select(table.settings["alpha"] == alpha)


class TestStudy:
    def test_the_ends_are_the_runs_as_evaluated(self, study):
        alone = averse.evaluate(study / "a", EPISODES, save=False).episodes
        alone, mixed = alone.select(alone.settings["epsilon"] == 0.5), returns_at(study, 1.0)
        np.testing.assert_array_equal(mixed.seed, alone.seed)
        np.testing.assert_array_equal(mixed.agent_returns, alone.agent_returns)
        assert (returns_at(study, 0.0).agent_returns != alone.agent_returns).any()

    def test_what_is_written(self, study):
        told = json.loads((study / "study" / "study.json").read_text())
        assert (told["format"], told["verb"], told["environment"], told["episodes"]) == (
            1,
            "interpolate",
            "corridor",
            60,
        )
        assert [point["alpha"] for point in told["interpolation"]] == [0.0, 0.25, 0.5, 1.0]
        assert [row["label"] for row in told["reference"]] == ["a epsilon=0.01", "a epsilon=0.5"]
        assert told["runs"]["b"] == "../b"
        assert len(told["claims"]) == 2
        for point in told["interpolation"]:
            summary = summarise(returns_at(study, point["alpha"]))
            assert point["metrics"]["worst_5"] == summary.cvar_05.to_dict()
        ends = [told["interpolation"][k]["metrics"]["return"]["value"] for k in (0, -1)]
        assert told["chord"][1]["metrics"]["return"]["value"] == pytest.approx(0.75 * ends[0] + 0.25 * ends[1])
        middle = told["interpolation"][2]
        assert middle["above_chord"]["return"]["value"] == pytest.approx(
            middle["metrics"]["return"]["value"] - 0.5 * sum(ends)
        )
        files = {file.name for file in (study / "study").iterdir()}
        assert files >= {"table.md", "table.json", "interpolation.png", "front.png", "episodes-reference-2.parquet"}
        assert not [file for file in study.iterdir() if file.name.startswith(".")]

    def test_whole_episodes(self, study, capsys):
        out = study / "line"
        given = [*A, "--per-episode", "--alphas", "0.3", "--episodes", str(EPISODES), "--out", str(out), "--json"]
        assert main(["interpolate", str(study / "a"), str(study / "b"), *given]) == 0
        points = json.loads(capsys.readouterr().out)["interpolation"]
        low, middle, high = (point["metrics"]["return"]["value"] for point in points)
        assert middle == pytest.approx(0.3 * high + 0.7 * low, abs=1e-12)

    def test_ctrl_c_leaves_nothing(self, study, monkeypatch):
        def stopped(*_, **__):
            raise KeyboardInterrupt

        given = ["interpolate", str(study / "a"), str(study / "b"), *A, "--alphas", "0", "--episodes", "4"]
        monkeypatch.setattr(interpolation, "write_study", stopped)
        assert main([*given, "--out", str(study / "again")]) == 130
        assert not [file for file in study.iterdir() if "again" in file.name]


def tables(seed: int, rows: int = 300) -> list[Episodes]:
    """Three policies on the same episodes of four training seeds."""
    generator = np.random.default_rng(seed)
    made = []
    for shift in (0.0, -1.0, 3.0):
        returns = shift + generator.standard_exponential((rows, 2))
        collisions = generator.integers(0, 3, rows)
        made.append(
            Episodes(
                np.arange(rows) % 4,
                np.arange(rows),
                returns,
                np.full(rows, 5),
                np.zeros(rows),
                {"collision": collisions},
            )
        )
    return made


class TestWholeEpisodes:
    @pytest.mark.parametrize("alpha", [0.0, 0.1, 1 / 3, 0.77, 1.0])
    def test_the_mean_is_linear_and_the_tail_that_of_the_mixture(self, alpha):
        one, other, _ = aligned(*tables(1))
        found = mixed_estimates(one, other, alpha)
        expected = alpha * one.episode_return.mean() + (1 - alpha) * other.episode_return.mean()
        assert found["return"].value == pytest.approx(expected, abs=1e-12)
        if alpha == 1 / 3:  # each episode of the one once, of the other twice
            pooled = np.concatenate([one.episode_return, *[other.episode_return] * 2])
            assert found["worst_5"].value == pytest.approx(cvar(pooled, 0.05), abs=1e-12)
            assert found["std"].value == pytest.approx(pooled.std(), abs=1e-12)
            rates = [(t.metrics["collision"] > 0).mean() for t in (one, other, other)]
            assert found["collision_rate"].value == pytest.approx(np.mean(rates), abs=1e-12)
            assert found["collision_rate"].low < np.mean(rates) < found["collision_rate"].high
        assert found["return"].low < expected < found["return"].high

    def test_the_ends_are_the_summaries(self):
        one, other, _ = aligned(*tables(2))
        for alpha, table in ((1.0, one), (0.0, other)):
            summary, found = summarise(table), mixed_estimates(one, other, alpha)
            for name, estimate in (("return", summary.mean), ("worst_5", summary.cvar_05), ("std", summary.std)):
                ours = found[name]
                assert (ours.value, ours.low, ours.high) == pytest.approx(
                    (estimate.value, estimate.low, estimate.high), abs=1e-9
                )


def test_no_collision_seen_is_not_none():
    one, other, _ = aligned(*tables(5))
    for table in (one, other):
        table.metrics["collision"][:] = 0.0
    found = mixed_estimates(one, other, 0.5)["collision_rate"]
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(proportion_interval(0, 300).high)


def test_the_difference_from_the_chord_is_paired():
    """Of a third policy: its figures less the chord's; of one that is on the chord in each episode: zero, surely."""
    one, other, third = aligned(*tables(3))
    found = difference_from_chord(third, one, other, 0.25)
    expected = cvar(third.episode_return, 0.05) - 0.25 * cvar(one.episode_return, 0.05)
    expected -= 0.75 * cvar(other.episode_return, 0.05)
    assert found["worst_5"].value == pytest.approx(expected)
    assert found["return"].low > 0
    between = Episodes(
        one.training_seed, one.seed, 0.25 * one.agent_returns + 0.75 * other.agent_returns, one.length, one.failed,
        one.metrics,
    )  # fmt: skip
    zero = difference_from_chord(between, one, other, 0.25)["return"]
    assert (zero.value, zero.low, zero.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_rates_of_few_seeds_stay_rates():
    """Two seeds of which one always fails: Student's interval of the rate is [-5.9, 6.9], of a difference as wide."""
    always = np.repeat([0.0, 1.0], 50)
    one, other = (
        Episodes(
            always.astype(int), np.arange(100), np.zeros(100), np.ones(100, int), np.zeros(100, bool), {"failure": f}
        )
        for f in (always, 0 * always)
    )
    for words, rate, difference in (
        ("1 if the pole fell", (0.0, 1.0), (-1.0, 1.0)),
        ("fraction of the steps", (0.0, 1.0), (-1.0, 1.0)),
        ("cars that arrived (0-2)", (-5.85, 6.85), (-5.85, 6.85)),
    ):
        found = mixed_estimates(one, other, 1.0, {"failure": words})["failure"]
        assert (found.value, found.low, found.high) == pytest.approx((0.5, *rate), abs=0.01)
        found = difference_from_chord(one, other, other, 0.5, {"failure": words})["failure"]
        assert (found.value, found.low, found.high) == pytest.approx((0.5, *difference), abs=0.01)


def test_rows_that_are_not_the_same_episodes():
    one, other, _ = tables(4)
    with pytest.raises(averse.AverseError, match="of the same episodes"):
        aligned(one, other.select(np.arange(200)))


@pytest.mark.parametrize(
    ("low", "high", "seeds", "words"),
    [(0.1, 0.3, 5, "holds"), (-0.3, -0.1, 5, "fails"), (-0.1, 0.3, 5, "undecided"), (0.1, 0.3, 1, "undecided")],
)
def test_claims_are_of_the_alpha_in_the_middle(low, high, seeds, words):
    above = {"return": Estimate((low + high) / 2, low, high), "worst_5": Estimate(0.0, -1.0, 1.0)}
    other = dict.fromkeys(above, Estimate(9.0, 8.0, 10.0))
    points = [interpolation.Point(alpha, {}, above if alpha == 0.4 else other) for alpha in (0.2, 0.4, 0.8)]
    found = claims_of(points, seeds)
    assert [claim.verdict for claim in found] == [words, "undecided"]
    assert "At alpha 0.4 the mean return" in found[0].claim


def test_no_claims_of_the_ends_alone():
    assert claims_of([interpolation.Point(0.0, {}, {}), interpolation.Point(1.0, {}, {})], 5) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["b", "a"], "a has policies for epsilon=0.01; epsilon=0.5; say by --of-b which is meant"),
        (["a", "b", "--of-a", "tau=3"], "--of-a: a swept over epsilon, not over 'tau'"),
        (["b", "a", "--of-a", "tau=3"], "b swept over nothing, not over 'tau'"),
        (["a", "b", "--of-a", "epsilon=0.3"], "say by --of-a which is meant"),
        (["a", "b", "--alphas", "1.5"], "alphas must be"),
        (["a", "b", "--alphas", "nan"], "alphas must be"),
        (["a", "b", *A, "--out", "a"], "a exists already"),
        (["a", "b", *A, "--out", "a/config.json/x"], "cannot be a folder for results"),
        (["a", "b", "--shift", "length=7"], "observation_size is 7, not 5"),
        (["a", "b", *A, "--reference", "nothing"], "no run at nothing"),
        (["a", "nothing"], "no run at nothing"),
        (["a", "b", *A, "--episodes", "999999999999"], "must fit in memory|episode seeds end"),
    ],
)
def test_bad_input_is_one_line(study, arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(study)
    monkeypatch.setattr(interpolation, "play_all", lambda *_: pytest.fail("it began"))
    before = sorted(study.rglob("*"))
    assert main(["interpolate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert any(part in error for part in words.split("|"))
    assert sorted(study.rglob("*")) == before
