"""The table of episodes: round trips, checks, and figures against direct computation."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from averse.errors import AverseError
from averse.evaluation import Episodes, Summary, concatenate, summarise
from averse.statistics import cvar, proportion_interval


def make_episodes(seeds=4, episodes=300, agents=2, failed=0, offset=0.0, tau=4.0) -> Episodes:
    generator = np.random.default_rng(0)
    n = seeds * episodes
    collision = (generator.random(n) < 0.1).astype(float)
    crossing = np.where(collision > 0, np.nan, generator.normal(12, 1, n))
    is_failed = np.arange(n) < failed
    returns = offset + generator.normal(size=(n, agents)) - 5 * collision[:, None]
    returns[is_failed] = np.nan
    return Episodes(
        training_seed=np.repeat(np.arange(seeds), episodes),
        seed=np.tile(np.arange(episodes), seeds),
        agent_returns=returns,
        length=generator.integers(20, 60, n),
        failed=is_failed,
        metrics={"collision": collision, "crossing_time": crossing},
        settings={"tau": np.full(n, tau), "method": np.full(n, "rqe-mappo")},
    )


def equal(a: Episodes, b: Episodes) -> bool:
    x, y = a.columns(), b.columns()
    return list(x) == list(y) and all(
        np.array_equal(x[k], y[k], equal_nan=x[k].dtype.kind == "f") and x[k].dtype == y[k].dtype for k in x
    )


class TestTable:
    def test_columns(self):
        episodes = make_episodes()
        assert list(episodes.columns()) == [
            *["training_seed", "seed", "tau", "method", "episode_return", "return_0", "return_1"],
            *["length", "failed", "collision", "crossing_time"],
        ]
        np.testing.assert_allclose(episodes.episode_return, episodes.agent_returns.mean(1))
        assert len(episodes) == 1200
        assert [len(x) for x in episodes.by_training_seed()] == [300] * 4

    def test_parquet_round_trip_leaves_one_file(self, tmp_path):
        episodes = make_episodes(failed=3)
        path = tmp_path / "run" / "episodes.parquet"
        episodes.write_parquet(path)
        episodes.write_parquet(path)
        assert equal(Episodes.read_parquet(path), episodes)
        assert [p.name for p in path.parent.iterdir()] == ["episodes.parquet"]

    def test_an_interrupted_write_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "episodes.parquet"
        make_episodes().write_parquet(path)
        before = path.read_bytes()

        def broken(table, where, **_):
            Path(where).write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(pq, "write_table", broken)
        with pytest.raises(OSError, match="disk full"):
            make_episodes(seeds=1).write_parquet(path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["episodes.parquet"]

    def test_files_of_others_are_understood(self, tmp_path):
        columns = {"training_seed": [0, 0], "seed": [1, 2], "setting": ["a", "b"], "return_0": [1.0, 2.0]}
        columns |= {"episode_return": [1.0, 2.0], "length": [3, 4], "failed": [False, True], "near_miss": [0.5, 0.7]}
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        episodes = Episodes.read_parquet(tmp_path / "x.parquet")
        assert list(episodes.settings) == ["setting"]
        assert list(episodes.metrics) == ["near_miss"]

    def test_missing_corrupt_and_foreign_files(self, tmp_path):
        with pytest.raises(AverseError, match="does not exist"):
            Episodes.read_parquet(tmp_path / "none.parquet")
        (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is not parquet")
        pq.write_table(pa.table({"x": [1.0]}), tmp_path / "foreign.parquet")
        whole = tmp_path / "whole.parquet"
        make_episodes().write_parquet(whole)
        (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-100])
        for name, words in (("bad", "cannot read"), ("cut", "cannot read"), ("foreign", "lack the columns")):
            with pytest.raises(AverseError, match=words) as error:
                Episodes.read_parquet(tmp_path / f"{name}.parquet")
            assert "\n" not in str(error.value)

    def test_refuses_inconsistent_columns(self):
        good = make_episodes(seeds=1, episodes=5)
        arguments = {
            name: getattr(good, name) for name in ("training_seed", "seed", "agent_returns", "length", "failed")
        }
        with pytest.raises(AverseError, match="'length' has shape"):
            Episodes(**{**arguments, "length": [1, 2]})
        with pytest.raises(AverseError, match="return of episode 0 is not finite"):
            Episodes(**{**arguments, "agent_returns": np.full((5, 2), np.nan)})
        with pytest.raises(AverseError, match="twice"):
            Episodes(**arguments, metrics={"length": np.zeros(5)})
        with pytest.raises(AverseError, match="integers"):
            Episodes(**{**arguments, "seed": np.full(5, 0.5)})

    def test_select_and_concatenate(self):
        both = concatenate([make_episodes(tau=4.0), make_episodes(tau=8.0)])
        assert equal(both.select(both.settings["tau"] == 8.0), make_episodes(tau=8.0))
        with pytest.raises(AverseError, match="return_1"):
            concatenate([make_episodes(), make_episodes(agents=1)])


class TestSummary:
    def test_values_are_those_of_the_completed_episodes(self):
        episodes = make_episodes(failed=7)
        summary = summarise(episodes, {"collision": "at least one (0 or 1)", "crossing_time": "mean, s"})
        done = episodes.completed()
        returns = done.episode_return
        assert summary.mean.value == pytest.approx(returns.mean())
        assert summary.std.value == pytest.approx(returns.std())
        assert summary.cvar_05.value == pytest.approx(cvar(returns, 0.05))
        assert summary.length.value == pytest.approx(done.length.mean())
        assert summary.collision_rate.value == pytest.approx(done.metrics["collision"].mean())
        crossing = summary.metrics["crossing_time"]
        assert crossing.mean.value == pytest.approx(np.nanmean(done.metrics["crossing_time"]))
        assert crossing.defined == np.isfinite(done.metrics["crossing_time"]).sum()
        assert crossing.unit == "mean, s"
        assert (summary.episodes, summary.failed_episodes, summary.training_seeds) == (1193, 7, 4)
        assert summary.warning is None
        for estimate in (summary.mean, summary.std, summary.cvar_05, summary.length, crossing.mean):
            assert estimate.low < estimate.value < estimate.high

    def test_collisions_are_counted_once_per_episode(self):
        episodes = make_episodes()
        several = Episodes.from_columns({**episodes.columns(), "collision": 3 * episodes.metrics["collision"]})
        assert summarise(several).collision_rate == summarise(episodes).collision_rate

    def test_no_collision_is_not_certainty(self):
        episodes = make_episodes()
        none = Episodes.from_columns({**episodes.columns(), "collision": np.zeros(1200)})
        assert summarise(none).collision_rate == proportion_interval(0, 1200)

    def test_json(self):
        summary = summarise(make_episodes(failed=2))
        fields = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
        expected = {"mean", "std", "cvar_05", "collision_rate", "length", "cvar_curve", "metrics"}
        assert set(fields) == expected | {"episodes", "failed_episodes", "training_seeds", "confidence"}
        assert set(fields["mean"]) == {"value", "low", "high"}
        assert [point["alpha"] for point in fields["cvar_curve"]] == [0.01, 0.05, 0.1, 0.25, 0.5, 1.0]
        assert fields["cvar_curve"][1]["value"] == fields["cvar_05"]["value"]
        assert Summary.from_dict(fields) == summary

    def test_without_collision_metric_and_with_a_metric_never_defined(self):
        columns = make_episodes().columns()
        del columns["collision"]
        columns["impact_speed"] = np.full(1200, np.nan)
        summary = summarise(Episodes.from_columns(columns))
        assert summary.collision_rate is None
        assert summary.metrics["impact_speed"].defined == 0
        fields = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
        assert fields["metrics"]["impact_speed"] == {"value": None, "low": None, "high": None, "defined": 0, "unit": ""}

    def test_warns_of_few_episodes_and_of_one_seed(self):
        assert "only 300 episodes" in summarise(make_episodes(seeds=1)).warning
        assert "one training seed" in summarise(make_episodes(seeds=1, episodes=1000)).warning

    def test_interval_accounts_for_the_training_seeds(self):
        episodes = make_episodes()
        shifted = Episodes.from_columns(
            {
                **episodes.columns(),
                **{f"return_{i}": episodes.agent_returns[:, i] + episodes.training_seed for i in (0, 1)},
            }
        )
        width = lambda e: e.high - e.low  # noqa: E731
        assert width(summarise(shifted).mean) > 5 * width(summarise(episodes).mean)

    def test_refuses_what_cannot_be_summarised(self):
        with pytest.raises(AverseError, match="all failed"):
            summarise(make_episodes(seeds=1, episodes=10, failed=10))
        with pytest.raises(AverseError, match="lack the metric impact_speed"):
            summarise(make_episodes(), {"impact_speed": "m/s"})
