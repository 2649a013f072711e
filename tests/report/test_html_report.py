"""`averse report`: figures of the page against those of files, texts that stay texts, and one line for bad input."""

import csv
import importlib.util
import io
import json
import shutil

import numpy as np
import pytest
from pages import Page, named
from scipy.stats import trim_mean
from small_study import LABELS, episodes, figure, study, write_study

import averse
from averse import AverseError
from averse.cli import main
from averse.evaluation import Episodes, read_evaluation
from averse.report.html import learning, write_report
from averse.report.html import page as html_page
from averse.report.html.embedding import script_json
from averse.report.html.runs import by_settings, read_run, seconds_of
from averse.report.html.warnings import run_warnings
from averse.statistics import Estimate

if missing := [name for name in ("plotly", "jinja2") if importlib.util.find_spec(name) is None]:
    pytest.skip(f"the extra `report` is not installed: {', '.join(missing)}", allow_module_level=True)

TINY = {"num_envs": 4, "rollout_steps": 16, "segment_length": 8, "minibatches": 1, "epochs": 1, "hidden": (8,)}
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "a & \"b\" 'c' %{x} <b>d</b> --> {{ 7 * 7 }}",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two taus and two seeds, evaluated."""
    out = tmp_path_factory.mktemp("runs") / "corridor"
    run = averse.train("corridor", "rqe-mappo", steps=192, seeds=2, tau=[1.0, 10.0], out=out, **TINY)
    averse.evaluate(run, 50)
    return out


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run for each test."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The page of the run and of a study that names it."""
    folder = tmp_path_factory.mktemp("page")
    write_study(folder / "study", runs={"rqe-mappo": str(trained), "lost": "nowhere"})
    done = write_report([folder / "study", trained], folder / "page.html")
    text = (folder / "page.html").read_text()
    assert done.size == len(text.encode())
    return Page(text)


class TestFigures:
    def test_the_table_of_a_run_is_that_of_its_evaluation(self, page, trained):
        found = read_evaluation(trained / "evaluation.json")
        rows = {row[0]: row for table in page.tables if table[0][:2] == ["policy", "return"] for row in table[1:]}
        for label, summary in found.summaries.items():
            row = rows[f"corridor {label}"]
            assert row[1:3] == [str(summary.mean), str(summary.cvar_05)]

    def test_the_table_of_a_study(self, page):
        heading, *rows = page.table("policy")
        assert heading == ["policy", "settings", "return", "worst-5% return", "standard deviation", "collision rate",
                           "crossing time"]  # fmt: skip
        assert rows[1] == ["rqe-mappo tau=3", "tau=2.0", "9.0 [8.5, 9.5]", "2.7 [2.2, 3.2]", "3.50 [3.30, 3.70]",
                           "15.0% [12.0%, 18.0%]", "16.0 [15.5, 16.5]"]  # fmt: skip

    def test_verdicts(self, page):
        for claim in study()["claims"]:
            assert claim["claim"] in page.text
            assert claim["words"] in page.text
        assert "-0.050 [-0.080, -0.020]" in page.text
        circles = [attributes for tag, attributes in page.elements if tag == "circle"]
        places = [float(attributes["cx"]) for attributes in circles]
        assert len(places) == 2
        assert places[0] < 100 < places[1]  # 0 is in the middle

    def test_worst_episodes(self, page):
        table = episodes()
        order = np.argsort(table.episode_return, kind="stable")
        _, *rows = next(table for table in page.tables if table[0][1] == "training seed")
        assert [row[2] for row in rows] == [str(table.seed[k]) for k in order[:10]]
        assert [row[0] for row in rows] == [table.settings["setting"][k] for k in order[:10]]
        assert [float(row[3]) for row in rows] == pytest.approx(np.sort(table.episode_return)[:10], rel=1e-3)

    def test_trade_off(self, page):
        spec = named(page.figures(), "return")
        assert [trace["name"] for trace in spec["data"]] == list(LABELS)
        assert [trace["x"] for trace in spec["data"]] == [[10], [9], [8]]
        buttons = {button["label"]: button["args"] for button in spec["layout"]["updatemenus"][0]["buttons"]}
        change, _ = buttons["collision rate"]
        assert change["y"] == [[0.2], [0.15], [0.1]]
        assert [arms["array"] for arms in change["error_y"]] == [[pytest.approx(0.03)]] * 3

    def test_histogram_and_tail(self, page):
        spec = named(page.figures(), "episode return")
        returns = np.sort(episodes().select(np.arange(300)).episode_return)
        tail, whole = spec["data"][:2]
        assert whole["name"] == LABELS[0]
        cut = returns[14]  # the last of the worst 5 % of 300
        assert max(tail["x"]) == pytest.approx(cut, rel=1e-5)
        bins = dict(zip(whole["x"], whole["y"]))
        edges = [x for x in bins if not np.isclose(x, cut, rtol=1e-5)]
        assert sum(bins[x] for x in edges[:-1]) == pytest.approx(1.0, abs=1e-4)

    def test_cvar_at_every_alpha(self, page):
        spec = named(page.figures(), "worst share of episodes")
        curve = next(trace for trace in spec["data"] if trace.get("name") == LABELS[1])
        returns = np.sort(episodes().select(np.arange(300, 600)).episode_return)
        for alpha, value in zip(curve["x"], curve["y"]):
            whole, part = divmod(alpha * returns.size, 1)
            total = returns[: int(whole)].sum() + (part * returns[int(whole)] if part > 1e-9 else 0.0)
            assert value == pytest.approx(total / (alpha * returns.size), rel=1e-3, abs=1e-3)

    def test_calibration(self, page, trained):
        spec = named(page.figures(), "predicted probability (PIT)")
        found = read_evaluation(trained / "evaluation.json").calibrations
        for trace, calibration in zip(spec["data"], found.values()):
            assert trace["y"][:-1] == pytest.approx(calibration.histogram * 20, rel=1e-5)
            assert np.mean(trace["y"][:-1]) == pytest.approx(1.0, rel=1e-5)

    def test_cross_play(self, page):
        spec = named(page.figures(), "with")
        assert spec["data"][0]["z"] == [[10, 8, 6], [9, 7, 5], [8, 6, 4]]
        assert ["mappo", "10.0 [9.5, 10.5]", "8.0 [7.5, 8.5]", "6.0 [5.5, 6.5]"] in page.table("return")

    def test_the_slider(self, page):
        spec = named(page.figures(), "alpha")
        steps = spec["layout"]["sliders"][0]["steps"]
        assert [step["label"] for step in steps] == [f"{k / 10:g}" for k in range(11)]
        for step, point in zip(steps, study()["interpolation"]):
            change, layout, places = step["args"]
            tail = point["metrics"]["worst_5"]["value"]
            mean = point["metrics"]["return"]["value"]
            assert np.ravel(change["x"]) == pytest.approx([point["alpha"], point["alpha"], mean])
            assert np.ravel(change["y"]) == pytest.approx([mean, tail, tail])
            assert [spec["data"][k]["marker"]["size"] for k in places] == [15] * 3
            assert f"alpha = {point['alpha']:g}" in layout["annotations"][0]["text"]

    def test_plotly_knows_every_property(self, page):
        graphs = pytest.importorskip("plotly.graph_objects")
        figures = page.figures()
        assert len(figures) > 20
        for spec in figures:
            graphs.Figure(spec)  # raises ValueError for a property or a value that there is not

    def test_files_to_take_away(self, page, trained):
        files = page.downloads()
        assert json.loads(files["study.json"])["verb"] == "compare"
        rows = list(csv.DictReader(io.StringIO(files["episodes.csv.gz"].decode())))
        table = read_evaluation(trained / "evaluation.json").episodes
        assert sorted(float(row["episode_return"]) for row in rows) == pytest.approx(np.sort(table.episode_return))
        figures = list(csv.DictReader(io.StringIO(files["figures.csv"].decode())))
        assert figures[0] == {"label": "mappo", "metric": "return", "value": "10.0", "low": "9.5", "high": "10.5"}
        told = json.loads(files["evaluations.json.gz"])["corridor"]["evaluation.json"]
        assert told == json.loads((trained / "evaluation.json").read_text())


class TestLearning:
    def test_curves(self, page, trained):
        rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
        spec = next(f for f in page.figures() if f["layout"].get("yaxis", {}).get("title", {}).get("text") == "return"
                    and f["layout"]["xaxis"]["title"]["text"] == "environment steps")  # fmt: skip
        thick = {trace["name"]: trace for trace in spec["data"] if "name" in trace}
        values = {
            step: [row.get("return") for row in rows if row["steps"] == step and row["tau"] == 1.0]
            for step in (64, 128, 192)
        }
        found = thick["rqe-mappo tau=1 (2 seeds)"]
        assert found["x"] == [64, 128, 192]
        for step, value in zip(found["x"], found["y"]):
            known = [each for each in values[step] if each is not None]
            assert value == (pytest.approx(np.mean(known), rel=1e-5) if known else None)
        steps, seconds = (button["args"][0]["x"] for button in spec["layout"]["updatemenus"][0]["buttons"])
        assert steps == [trace["x"] for trace in spec["data"]]
        assert len(seconds) == len(steps)
        for trace, line in zip(spec["data"], seconds):
            if "name" in trace:
                assert np.diff(line).min() > 0

    def test_the_interquartile_mean(self):
        values = np.random.default_rng(0).normal(size=(8, 5))
        curves = {"a": learning.Curves(tuple(range(8)), np.arange(5.0), np.full((8, 5), np.nan), {"return": values})}
        chart = learning.learning_curves(curves, "return")
        assert chart.data[-1]["y"] == pytest.approx(trim_mean(values, 0.25), rel=1e-5)
        assert [trace["y"] for trace in chart.data[:8]] == [pytest.approx(row, rel=1e-5) for row in values]
        assert "updatemenus" not in chart.layout  # no seconds are known

    def test_thinning(self):
        count = 100_000
        values = np.sin(np.arange(count) / 1000)[None]
        curves = {"a": learning.Curves((0,), np.arange(count) * 10.0, values * np.nan, {"return": values})}
        chart = learning.learning_curves(curves, "return")
        x = chart.data[-1]["x"]
        assert len(x) == learning.POINTS
        assert (x[0], x[-1]) == (0, 999_990)
        assert "Thinned" in chart.caption
        assert learning.thinned(3, 400).tolist() == [0, 1, 2]

    def test_episodes_by_settings(self):
        table = episodes(("b", "a"), count=2, seeds=2)
        tau = np.array([1.0, 2.0, np.nan, 1.0, 2.0, 2.0, 1.0, np.nan])
        columns = {**table.columns(), "tau": tau}
        found = by_settings(Episodes.from_columns(columns))
        told = [(own["setting"], own["tau"], rows.seed.tolist()) for own, rows in found]
        first, last = table.seed[:4], table.seed[4:]
        expected = [
            ("b", 1.0, [first[0], first[3]]), ("b", 2.0, [first[1]]), ("b", None, [first[2]]),
            ("a", 2.0, [last[0], last[1]]), ("a", 1.0, [last[2]]), ("a", None, [last[3]]),
        ]  # fmt: skip
        assert [(a, None if np.isnan(b) else b, c) for a, b, c in told] == expected

    def test_seconds_of_trials_together_and_one_after_another(self):
        """100 steps each: two trials together at 50 steps/s take 4 s, one by itself takes 2 s."""

        def row(trial, update, speed):
            return {"trial": trial, "update": update, "steps": 100.0 * update, "seed": trial, "steps_per_second": speed}

        together = [row(0, 1, 50.0), row(1, 1, 50.0), row(0, 2, 100.0), row(1, 2, 100.0)]
        assert seconds_of(together) == [4.0, 4.0, 6.0, 6.0]
        alone = [row(0, 1, 50.0), row(0, 2, 100.0), row(1, 1, 25.0), row(1, 2, 50.0)]
        assert seconds_of(alone) == [2.0, 3.0, 4.0, 6.0]
        untold = [{"trial": 0, "update": 1, "steps": 100.0, "seed": 0}]
        assert np.isnan(seconds_of(untold)).all()


class TestWarnings:
    def test_of_the_page(self, page):
        for words in ("a quick study", "the run lost is missing", "tails are unreliable below 1,000"):
            assert words in page.text

    def test_not_evaluated(self, run):
        for file in run.glob("e*.*"):
            file.unlink()
        assert [f"not evaluated: no figure of its policies is known; averse evaluate {run} makes them"] == [
            words for words in run_warnings(read_run(run)) if "evaluated" in words
        ]

    def test_unfinished(self, run):
        lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
        (run / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["update"] < 3))
        assert any(words.startswith("unfinished run: 4 of 4 trials begun") for words in run_warnings(read_run(run)))

    def test_a_support_that_is_too_narrow(self, run):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        rows = [{**json.loads(line), "clamped_mass": 0.25} for line in lines]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert any("support is too narrow: 25.0 %" in words for words in run_warnings(read_run(run)))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"failed_episodes": 3}, "failed episodes, left out: 3"),
            ({"warning": "one training seed: x; y"}, "one training seed: x"),
            ({"calibration_left_out": 1.0, "calibration": None}, "uncalibrated critic: none; the time limit cut short"),
            ({"objective": {"value": 1.0, "measure": "expectation", "whose": "agent", "gamma": 0.9, "cut": 0.5,
                            "discount_left": 0.1}}, "the time limit cut 50% of the returns"),
        ],
    )  # fmt: skip
    def test_of_an_evaluation(self, run, change, words):
        content = json.loads((run / "evaluation.json").read_text())
        content["settings"]["tau=1"] |= change
        (run / "evaluation.json").write_text(json.dumps(content))
        assert any(words in each for each in run_warnings(read_run(run)))

    def test_an_unfinished_one(self, run):
        content = json.loads((run / "evaluation.json").read_text())
        (run / "evaluation.json").write_text(json.dumps({**content, "updates": [1, 3, 3, 3]}))
        assert any("policies are those after 1 to 3 of 3 updates" in each for each in run_warnings(read_run(run)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a study whose texts would be elements, scripts or templates."""
    folder = tmp_path_factory.mktemp("hostile")
    claim = {"claim": HOSTILE[0], "verdict": "holds", "effect": 1, "low": None, "high": None, "words": HOSTILE[1]}
    write_study(folder / "<b onload=alert(3)>", HOSTILE, title=HOSTILE[0], command=HOSTILE[1], claims=[claim])
    write_report(folder / "<b onload=alert(3)>", folder / "page.html")
    return (folder / "page.html").read_text()


class TestTexts:
    def test_they_appear_as_they_are(self, hostile):
        page = Page(hostile)
        for text in HOSTILE:
            assert page.text.count(text) >= 2, text
            assert [text] == [row[0] for row in page.table("policy") if row[0] == text]
        assert "49" not in page.table("policy")[3][0]

    def test_no_element_comes_of_them(self, hostile):
        page = Page(hostile)
        assert [tag for tag, _ in page.elements if tag in ("img", "b")] == ["b"] * hostile.count("<figcaption><b>")
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        kinds = [attributes.get("type") for attributes, _ in page.scripts]
        assert kinds.count(None) == 1  # the page's own
        assert kinds.count("application/gzip") == 1  # plotly
        assert set(kinds) == {None, "application/gzip", "application/json"}

    def test_no_markup_for_plotly(self, hostile):
        for spec in Page(hostile).figures():
            for trace in spec["data"]:
                assert "<" not in trace.get("name", "")

    def test_half_a_character(self, tmp_path):
        place = write_study(tmp_path / "study", title="half \ud800", command="\ud800", claims=[])
        write_report(place, tmp_path / "page.html")
        assert "half ?" in Page((tmp_path / "page.html").read_text(encoding="utf-8")).text

    def test_json_in_a_script(self):
        text = script_json({"a": "</script><!-- \u2028 &"})
        assert not set("<>&\u2028") & set(text)
        assert json.loads(text) == {"a": "</script><!-- \u2028 &"}
        with pytest.raises(ValueError, match="JSON"):
            script_json(float("nan"))


class TestPage:
    def test_it_needs_nothing_else(self, page):
        links = [a.get(name) or "" for _, a in page.elements for name in ("src", "href", "srcset", "data", "action")]
        assert {link.partition(":")[0] for link in links if link} <= {"data", "#chapter-1", "#chapter-2"}
        policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'")

    def test_the_same_again(self, trained, tmp_path):
        for name in ("a.html", "b.html"):
            assert main(["report", str(trained), "--out", str(tmp_path / name), "--quiet"]) == 0
        assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()

    def test_many_episodes(self, tmp_path):
        place = write_study(tmp_path / "study", claims=[])
        episodes(count=8_000).write_parquet(place / "episodes.parquet")
        done = write_report(place, tmp_path / "page.html")
        assert done.size < 6e6
        page = Page((tmp_path / "page.html").read_text())
        rows = list(csv.reader(io.StringIO(page.downloads()["quantiles.csv.gz"].decode())))
        assert len(rows) == 1 + 3 * 1_001
        returns = episodes(count=8_000).select(np.arange(24_000)).episode_return
        assert float(rows[501][2]) == pytest.approx(np.median(returns), rel=1e-5)
        assert "Without bands" in page.text

    def test_what_is_played_otherwise_is_not_compared(self, run, trained, tmp_path):
        content = json.loads((run / "evaluation.json").read_text())
        (run / "evaluation.json").write_text(json.dumps({**content, "greedy": True}))
        write_report([trained, run], tmp_path / "page.html")
        tables = [t for t in Page((tmp_path / "page.html").read_text()).tables if t[0][:2] == ["policy", "return"]]
        assert [[row[0] for row in table[1:]] for table in tables] == [
            ["corridor tau=1", "corridor tau=10"],
            ["run tau=1", "run tau=10"],
        ]

    def test_runs_of_other_worlds_are_other_chapters(self, run, trained, tmp_path):
        content = json.loads((run / "config.json").read_text())
        content["environment_parameters"]["length"] += 1
        (run / "config.json").write_text(json.dumps(content))
        write_report([trained, run], tmp_path / "page.html")
        text = Page((tmp_path / "page.html").read_text()).text
        length = content["environment_parameters"]["length"]
        assert f"corridor, length={length}" in text
        assert f"corridor, length={length - 1}" in text

    def test_a_run_of_several_labels_is_told_once(self, trained, tmp_path):
        write_study(tmp_path / "study", runs={"tau=1": str(trained), "tau=10": str(trained)})
        done = write_report(tmp_path / "study", tmp_path / "page.html")
        page = Page((tmp_path / "page.html").read_text())
        assert [row[0] for row in page.table("run")[1:]] == ["corridor"]
        told = json.loads(page.downloads()["evaluations.json.gz"])
        assert set(told) == {"corridor"}
        assert done.warnings == 1 + len(run_warnings(read_run(trained)))

    def test_other_worlds_and_their_episodes_stand_apart(self, tmp_path):
        other = [{"label": LABELS[0], "metrics": {"return": figure(-7)}}]
        place = write_study(
            tmp_path / "study", worlds=[{"name": "twice the wind", "shift": {"wind": 2}, "rows": other}]
        )
        episodes(LABELS[:1]).write_parquet(place / "episodes-shift-1.parquet")
        write_report(place, tmp_path / "page.html")
        page = Page((tmp_path / "page.html").read_text())
        assert "twice the wind" in page.text
        assert [LABELS[0], "-7.0 [-7.5, -6.5]"] in [row for table in page.tables for row in table]
        drawn = [
            f for f in page.figures() if f["layout"].get("xaxis", {}).get("title", {}).get("text") == "episode return"
        ]
        assert [[t["name"] for t in f["data"] if "name" in t] for f in drawn] == [list(LABELS), list(LABELS[:1])]

    def test_files_that_would_be_too_large(self, trained, tmp_path, monkeypatch):
        whole = write_report(trained, tmp_path / "whole.html", films=0)
        monkeypatch.setattr(html_page, "LARGEST", whole.size - 1)
        done = write_report(trained, tmp_path / "page.html", films=0)
        assert done.size < whole.size
        before, after = (Page((tmp_path / name).read_text()) for name in ("whole.html", "page.html"))
        lost = before.downloads().keys() - after.downloads().keys()
        assert len(lost) == 1
        assert f"{lost.pop()} (" in after.text
        assert "is left out: the page would be too large" in after.text

    def test_many_warnings_are_folded(self, tmp_path):
        place = write_study(tmp_path / "study", runs={f"run {k}": f"nowhere-{k}" for k in range(12)})
        assert write_report(place, tmp_path / "page.html").warnings == 13
        page = Page((tmp_path / "page.html").read_text())
        assert "3 more" in page.text
        assert all(f"the run run {k} is missing" in page.text for k in range(12))

    def test_an_empty_study(self, tmp_path):
        place = tmp_path / "study"
        place.mkdir()
        (place / "study.json").write_text(json.dumps({"format": 1, "unfinished": "Nothing was trained."}))
        assert write_report(place, tmp_path / "page.html").warnings == 1
        assert "Nothing was trained" in Page((tmp_path / "page.html").read_text()).text

    def test_a_run_that_has_only_begun(self, run, tmp_path):
        for file in [*run.glob("e*.*"), run / "metrics.jsonl"]:
            file.unlink()
        assert write_report(run, tmp_path / "page.html").warnings == 2


BROKEN = {
    "format": ({"format": 2}, "has format 2; this averse reads 1"),
    "verdict": ({"claims": [{"claim": "x", "verdict": "perhaps"}]}, "verdict"),
    "claim": ({"claims": [{"verdict": "holds"}]}, "claim is missing"),
    "rows": ({"rows": {"label": "x"}}, "rows"),
    "figure": ({"rows": [{"label": "x", "metrics": {"return": 3}}]}, "fields must be a mapping"),
    "text": ({"rows": [{"label": "x", "metrics": {"return": {"value": "high"}}}]}, "value"),
    "matrix": ({"crossplay": {"labels": ["a", "b"], "metrics": {"return": [[figure(1)]]}}}, "2 rows of 2 figures"),
    "alpha": ({"interpolation": [{"metrics": {}}]}, "alpha is missing"),
    "runs": ({"runs": ["a"]}, "runs"),
    "endless": ({"interpolation": [{"alpha": float("inf"), "metrics": {}}]}, "alpha of interpolation"),
}


class TestBadInput:
    def refused(self, capsys, *arguments: object) -> str:
        assert main(["report", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("averse: ")
        assert len(err.splitlines()) == 1
        return err

    def test_places(self, run, tmp_path, capsys):
        out = tmp_path / "page.html"
        assert "there is no such folder" in self.refused(capsys, tmp_path / "nowhere", "--out", out)
        assert "such inside: run" in self.refused(capsys, tmp_path, "--out", out)
        assert "is given twice" in self.refused(capsys, run, run, "--out", out)
        assert "must end in .html" in self.refused(capsys, run, "--out", tmp_path / "page.pdf")
        assert "is no folder; make it first" in self.refused(capsys, run, "--out", tmp_path / "x" / "page.html")
        assert "cannot be a folder for results" in self.refused(capsys, run, "--out", "/proc/page.html")
        assert "films must be" in self.refused(capsys, run, "--out", out, "--films", "-1")
        out.write_text("mine")
        assert "--overwrite" in self.refused(capsys, run, "--out", out)
        assert out.read_text() == "mine"
        assert main(["report", str(run), "--out", str(out), "--overwrite"]) == 0
        assert "wrote" in capsys.readouterr().out
        assert out.read_text().startswith("<!DOCTYPE html>")

    @pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "evaluation.json", "episodes.parquet"])
    def test_damaged_files_of_a_run(self, name, run, tmp_path, capsys):
        (run / name).write_text("[1, 2\n{}\n")
        assert name in self.refused(capsys, run, "--out", tmp_path / "page.html")
        assert not (tmp_path / "page.html").exists()

    @pytest.mark.parametrize(
        ("change", "words"),
        [({"episodes": "many"}, "episodes"), ({"confidence": "x"}, "confidence"), ({"mean": None}, "mapping"),
         ({"calibration": {"histogram": 3}}, "calibration"), ({"objective": {"value": 1}}, "objective"),
         ({"metrics": {"x": {"value": 1}}}, "defined")],
    )  # fmt: skip
    def test_damaged_figures(self, change, words, run, tmp_path, capsys):
        content = json.loads((run / "evaluation.json").read_text())
        content["settings"]["tau=1"] |= change
        (run / "evaluation.json").write_text(json.dumps(content))
        line = self.refused(capsys, run, "--out", tmp_path / "page.html")
        assert "evaluation.json is no evaluation" in line
        assert words in line

    @pytest.mark.parametrize(("change", "words"), BROKEN.values(), ids=BROKEN)
    def test_damaged_studies(self, change, words, tmp_path, capsys):
        place = write_study(tmp_path / "study", **change)
        line = self.refused(capsys, place, "--out", tmp_path / "page.html")
        assert words in line
        assert "study.json" in line

    @pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00", "nan"])
    def test_broken_json(self, text, tmp_path, capsys):
        place = tmp_path / "study"
        place.mkdir()
        (place / "study.json").write_text(text)
        assert "study.json" in self.refused(capsys, place, "--out", tmp_path / "page.html")

    def test_no_path(self):
        with pytest.raises(AverseError, match="at least one"):
            write_report([], "page.html")


def test_evaluations_come_back_as_they_were(trained):
    found = read_evaluation(trained / "evaluation.json")
    assert found.to_dict() == json.loads((trained / "evaluation.json").read_text())
    assert len(found.episodes) == 200
    assert isinstance(found.summaries["tau=1"].mean, Estimate)
