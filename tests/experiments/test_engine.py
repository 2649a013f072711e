"""Studies from plan to outcome, with a method that compiles at once: what is written, reused, refused and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from averse.cli import main
from averse.compilation import hasty_compilation, jit, jit_beside, jit_once
from averse.errors import AverseError
from averse.evaluation import Episodes
from averse.experiments import engine, tuning
from averse.experiments.ablate import AblateArguments
from averse.experiments.ablate import arms_of as ablation_arms
from averse.experiments.arguments import StudyArguments, plan_of
from averse.experiments.arms import Arm, folder_of, read_arm, read_arms, read_tables
from averse.experiments.compare import CompareArguments
from averse.experiments.curves import learning_curve
from averse.experiments.engine import jobs_of
from averse.experiments.study import command_line
from averse.experiments.tradeoff import TradeoffArguments
from averse.experiments.tradeoff import arms_of as tradeoff_arms
from averse.training import load

HELPERS = Path(__file__).parents[1] / "helpers"
SMALL = ["--env", "corridor", "--seeds", "5", "--steps", "12800", "--episodes", "100"]
TRADEOFF = ["tradeoff", "--method", "trifling:AVERSE", "--neutral", "trifling:NEUTRAL", *SMALL]
TRADEOFF += ["--taus", "5", "0.5", "--scale", "2", "--failure", "risky", "--shift", "bad_probability=0.3"]
TABLES = ("table.md", "table.json")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished trade-off."""
    out = tmp_path_factory.mktemp("study") / "tradeoff"
    assert main([*TRADEOFF, "--out", str(out)]) == 0
    return out


def content(out: Path) -> dict:
    return json.loads((out / "study.json").read_text())


class TestOutcome:
    def test_study_json_is_as_specified(self, study):
        said = content(study)
        assert (said["format"], said["verb"], said["environment"]) == (1, "tradeoff", "corridor")
        assert (said["seeds"], said["episodes"], said["quick"], said["unfinished"]) == ([0, 1, 2, 3, 4], 100, False, "")
        assert said["command"].startswith("averse tradeoff --env corridor --seeds 5 --steps 12800.0")
        assert {"averse", "jax", "python"} <= said["versions"].keys()
        assert [row["label"] for row in said["rows"]] == ["trifling:NEUTRAL", "tau=1", "tau=10"]
        for row in said["rows"]:
            assert {"return", "iqm", "std", "worst_5", "risky_rate", "length"} <= row["metrics"].keys()
            assert all(figure.keys() == {"value", "low", "high"} for figure in row["metrics"].values())
        assert said["rows"][1]["settings"] == {"method": "trifling:AVERSE", "tau": 1.0}
        assert {claim["verdict"] for claim in said["claims"]} <= {"holds", "fails", "undecided"}
        assert all((study / path / "config.json").is_file() for path in said["runs"].values())
        assert [world["shift"] for world in said["worlds"]] == [{"bad_probability": 0.3}]

    def test_the_figures_are_those_of_the_episodes(self, study):
        episodes = Episodes.read_parquet(study / "episodes.parquet")
        shifted = Episodes.read_parquet(study / "episodes-shift-1.parquet")
        assert len(episodes) == len(shifted) == 3 * 5 * 100
        for table, rows in ((episodes, content(study)["rows"]), (shifted, content(study)["worlds"][0]["rows"])):
            for row in rows:
                own = table.select(table.settings["policy"] == row["label"])
                assert sorted(set(own.training_seed)) == [0, 1, 2, 3, 4]
                assert row["metrics"]["return"]["value"] == pytest.approx(own.episode_return.mean(), abs=1e-12)
                rate = np.mean(own.metrics["risky"] > 0)
                assert row["metrics"]["risky_rate"]["value"] == pytest.approx(rate, abs=1e-12)

    def test_all_policies_play_the_same_episodes(self, study):
        episodes = Episodes.read_parquet(study / "episodes.parquet")
        seeds = {
            label: sorted(episodes.seed[episodes.settings["policy"] == label])
            for label in set(episodes.settings["policy"])
        }
        assert len({tuple(each) for each in seeds.values()}) == 1
        assert len(set(seeds["tau=1"])) == 5 * 100

    def test_the_known_answer(self, study):
        """Safe is optimal up to tau 3, risky from 5 on: the trade-off that is there is found, with its sign."""
        claims = {claim["claim"]: claim for claim in content(study)["claims"]}
        for words in (
            "the worst-5 % return rises as tau falls",
            "the mean return falls as tau falls",
            "tau traces a curve of safety against return",
            "one tau keeps a better worst-5 % return than trifling:NEUTRAL in every world",
        ):
            assert claims[words]["verdict"] == "holds", claims[words]
        rate = claims["the risky rate falls with risk-aversion"]  # no episode of tau 1, every one of tau 10
        assert rate["verdict"] == "undecided"
        assert rate["effect"] == pytest.approx(1 / np.log(10), abs=1e-12)
        assert "the seeds do not differ at all" in rate["words"]
        assert "tau=1 has its smallest margin" in claims[words]["words"]

    def test_pictures_and_markdown(self, study):
        for name in ("returns", "tradeoff", "failures", "learning-steps", "learning-seconds"):
            assert (study / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        text = (study / "table.md").read_text()
        assert "| tau=1 |" in text
        assert "- **holds**: one tau keeps" in text

    def test_taus_are_one_run(self, study):
        assert sorted(each.name for each in (study / "runs").iterdir()) == ["trifling.AVERSE", "trifling.NEUTRAL"]
        assert load(study / "runs" / "trifling.AVERSE").config.sweep == {"tau": (1.0, 10.0)}

    def test_learning_curves_are_those_of_the_metrics(self, study):
        arguments = StudyArguments(env="corridor", seeds=5, steps=12800, episodes=100, out=study)
        taus = [Arm(f"tau={tau:g}", "trifling:AVERSE", {}, {"tau": tau}) for tau in (1.0, 10.0)]
        (job,) = jobs_of(plan_of("tradeoff", arguments, taus))
        curve = learning_curve(job, taus[1])
        rows = [json.loads(line) for line in (job.path / "metrics.jsonl").read_text().splitlines()]
        mine = [row for row in rows if row["tau"] == 10.0 and row["seed"] == 2]
        assert curve.steps.tolist() == [row["steps"] for row in mine]
        assert curve.returns[2].tolist() == [row["return"] for row in mine]
        assert curve.seconds[-1] == pytest.approx(sum(640 / row["steps_per_second"] for row in mine))


class TestAgain:
    def test_nothing_is_trained_or_played_again(self, study, monkeypatch, tmp_path):
        out = tmp_path / "again"
        shutil.copytree(study, out)
        before = {path: path.read_bytes() for path in out.rglob("*.parquet")}
        for name in TABLES:
            (out / name).unlink()

        def never(*_, **__):
            raise AssertionError("done again")

        monkeypatch.setattr(engine, "run_training", never)
        monkeypatch.setattr(engine, "evaluate", never)
        assert main([*TRADEOFF, "--out", str(out)]) == 0
        for name in TABLES:
            assert (out / name).read_bytes() == (study / name).read_bytes()
        assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == before

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (["--steps", "6400"], "runs/trifling.NEUTRAL holds a run with steps 12800, not 6400; choose another --out"),
            (["--seeds", "2"], "runs/trifling.NEUTRAL holds a run with seeds [0, 1, 2, 3, 4], not [0, 1]"),
            (["--parameters", "length=5"], "runs/trifling.NEUTRAL holds a run with length 10, not 5"),
            (["--taus", "0.5", "6"], "holds a run with sweep {'tau': [1.0, 10.0]}, not {'tau': [1.0, 12.0]}"),
            (
                ["--episodes", "30"],
                "holds an evaluation of 100 episodes per policy (evaluation.json), more than 30: give",
            ),
            (["--env", "risky-cartpole", "--failure", "edge"], "holds a study with environment 'corridor', not 'risky"),
            (["--shift", "bad_probability=0.1"], "the shift bad_probability=0.1 changes nothing"),
        ],
    )
    def test_another_configuration_is_refused(self, study, flags, words, capsys):
        before = sorted((path, path.stat().st_mtime_ns) for path in study.rglob("*"))
        given = [text for text in TRADEOFF if text]
        for flag in [text for text in flags if text.startswith("--")]:
            if flag in given:  # take away what is said otherwise
                place = given.index(flag)
                end = next((i for i in range(place + 1, len(given)) if given[i].startswith("--")), len(given))
                del given[place:end]
        assert main([*given, *flags, "--out", str(study)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
        assert sorted((path, path.stat().st_mtime_ns) for path in study.rglob("*")) == before

    @pytest.mark.parametrize("verb", ["compare", "ablate"])
    def test_another_verb_is_refused(self, study, verb, capsys):
        assert main([verb, "--env", "corridor", "--quick", "--out", str(study)]) == 2
        assert f"holds a study with verb 'tradeoff', not '{verb}'" in capsys.readouterr().err

    @pytest.mark.thorough
    def test_a_study_that_was_killed_ends_with_the_same_tables(self, study, tmp_path):
        """The process is killed while the second run trains; what is left goes on in this process."""
        out = tmp_path / "killed"
        command = [sys.executable, "-c", KILLABLE, *TRADEOFF, "--out", str(out)]
        environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": _python_path()}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            log = out / "runs" / "trifling.AVERSE" / "metrics.jsonl"
            while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 30):
                time.sleep(0.05)
            assert process.poll() is None, process.stdout.read().decode()
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert content(out)["unfinished"]
        assert not (out / "table.md").exists()
        kept = (out / "runs" / "trifling.NEUTRAL" / "episodes.parquet").stat().st_mtime_ns
        assert main([*TRADEOFF, "--out", str(out)]) == 0
        for name in TABLES:
            assert (out / name).read_bytes() == (study / name).read_bytes()
        assert (out / "runs" / "trifling.NEUTRAL" / "episodes.parquet").stat().st_mtime_ns == kept
        mine, theirs = (
            {name: value for name, value in content(each).items() if name != "command"} for each in (out, study)
        )
        assert mine == theirs

    def test_a_start_that_was_killed_at_once_does_not_stand_in_the_way(self, tmp_path):
        path = tmp_path / "run"
        path.mkdir()
        (path / ".config.abc.json").write_text("{")
        (path / "lock").touch()
        engine._tidy(path)
        assert [each.name for each in path.iterdir()] == ["lock"]
        (path / "thesis.txt").touch()
        engine._tidy(path)
        assert (path / "thesis.txt").exists()


# As `averse`, but slow where the run of several taus trains, so that there is time to be killed there.
KILLABLE = """
import sys, time
from averse.cli import main
from averse.training.metrics import MetricsLog
write = MetricsLog.write
def slowly(log, trial, settings, update, *more):
    write(log, trial, settings, update, *more)
    time.sleep(0.05 if "tau" in settings and update > 5 else 0)
MetricsLog.write = slowly
sys.exit(main(sys.argv[1:]))
"""


def _python_path() -> str:
    return os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])


class TestCompare:
    def test_one_seed_is_undecided_and_said_why(self, tmp_path, capsys):
        out = tmp_path / "one"
        flags = ["--env", "corridor", "--steps", "640", "--seeds", "1", "--episodes", "20", "--json", "--out", str(out)]
        assert main(["compare", "--methods", "plain=trifling:NEUTRAL", "trifling:AVERSE:tau=1", *flags]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said == content(out)
        assert [row["label"] for row in said["rows"]] == ["plain", "trifling:AVERSE:tau=1"]
        (claim,) = said["claims"]
        assert claim["verdict"] == "undecided"
        assert "one training seed says nothing of what another training would give" in claim["words"]
        assert said["rows"][0]["metrics"]["iqm"] == {**said["rows"][0]["metrics"]["iqm"], "low": None, "high": None}

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (["--methods", "mapo"], "unknown method 'mapo'; did you mean mappo"),
            (["--methods", "mappo", "mappo"], "--methods has 'mappo' twice"),
            (["--methods", "mappo:lamb=1"], "lamb"),
            (["--methods", "mappo:lam"], "cannot be imported: No module named"),
            (["--methods", "mappo:lam=2", "ppo"], "leave out or change mappo:lam=2: lam must be a number in [0, 1]"),
            (["--methods", "rqe-mappo:tau=1,3", "ppo"], "tau must be one number, not (1, 3): give each as a method"),
            (["--methods", "mappo:length=3", "ppo"], "length is a parameter of corridor, which all methods share"),
            (["--parameters", "lenght=3"], "unknown parameter of corridor 'lenght'; did you mean length?"),
            (["--parameters", "length"], "--parameters takes PARAMETER=VALUE"),
            (["--env", "corridr"], "unknown environment 'corridr'; did you mean corridor"),
            (["--train-env", "cliff-walk"], "a policy of cliff-walk cannot act in corridor: num_agents is 1, not 2"),
            (["--env", "microgrids", "--methods", "mv-matrpo"], "microgrids never ends; studies are of episodes"),
            (["--failure", "riski"], "unknown metric of corridor 'riski'; did you mean risky?"),
            (["--shift", "lenght=3"], "unknown parameter of corridor 'lenght'"),
            (["--shift", "length=3"], "a policy of corridor cannot act in corridor with length=3: observation"),
            (["--shift"], "--shift needs a world"),
            (["--settings", "nowhere.toml"], "--settings nowhere.toml cannot be read: No such file or directory"),
            (["--settings", "bad.toml"], "--settings bad.toml is no TOML: "),
            (["--settings", "flat.toml"], "must have a table per method, such as [mappo]; lam = 0.9 is in none"),
            (["--settings", "other.toml"], "unknown method of a table of settings 'mapo'; did you mean mappo"),
            (["--out", "file"], "file is a file, and a study needs a folder"),
            (["--out", "full"], "full exists already and is no study; choose another --out"),
            (["--episodes", "1000000000000"], "episodes must fit in memory"),
            (["--seeds", "0"], "seeds must be a whole number >= 1"),
            (["--tune", "2", "--seeds", "101"], "seeds must be at most that many"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, flags, words, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(tuning, "extra_module", lambda *_: __import__("types").SimpleNamespace(logging=_Quiet))
        (tmp_path / "bad.toml").write_text("[mappo\n")
        (tmp_path / "flat.toml").write_text("lam = 0.9\n")
        (tmp_path / "other.toml").write_text("[mapo]\nlam = 0.9\n")
        (tmp_path / "file").touch()
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.txt").touch()
        before = sorted(tmp_path.rglob("*"))
        given = flags if "--env" in flags else ["--env", "corridor", *flags]
        assert main(["compare", *([] if "--methods" in flags else ["--methods", "mappo"]), *given]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before

    def test_all_that_cannot_run_are_named_at_once(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main(["compare", "--env", "risky-cartpole", "--parameters", "continuous=true"]) == 2
        error = capsys.readouterr().err
        assert error == (
            "averse: cannot be trained in risky-cartpole, so leave out or change rmix, riskq: value-based methods need "
            "discrete actions\n"
        )
        assert not any(tmp_path.iterdir())


class _Quiet:
    WARNING = 0

    @staticmethod
    def set_verbosity(_):
        pass


class TestArms:
    @pytest.mark.parametrize(
        ("text", "arm"),
        [
            ("mappo", Arm("mappo", "mappo")),
            (
                "rqe-mappo:tau=3,hidden=8,8",
                Arm("rqe-mappo:tau=3,hidden=8,8", "rqe-mappo", {"tau": 3, "hidden": (8, 8)}),
            ),
            ("bold=rqe-mappo:lam=0.9", Arm("bold", "rqe-mappo", {"lam": 0.9})),
            ("trifling:AVERSE", Arm("trifling:AVERSE", "trifling:AVERSE")),
            ("it=trifling:AVERSE:tau=1", Arm("it", "trifling:AVERSE", {"tau": 1})),
            (
                "c51-cvar-mappo:measure=cvar:0.05",
                Arm("c51-cvar-mappo:measure=cvar:0.05", "c51-cvar-mappo", {"measure": "cvar:0.05"}),
            ),
        ],
    )
    def test_texts(self, text, arm):
        assert read_arm(text) == arm

    def test_settings_of_a_file(self, tmp_path):
        file = tmp_path / "settings.toml"
        file.write_text('[mappo]\nlam = 0.9\nhidden = [8]\n["mappo:gamma=0.5"]\nlam = 0.8\n[rqe-mappo]\ntau = inf\n')
        plain, own = read_arms(["mappo", "mappo:gamma=0.5"], read_tables(file))
        assert plain.settings == {"lam": 0.9, "hidden": (8,)}
        assert own.settings == {"lam": 0.8, "hidden": (8,), "gamma": 0.5}

    def test_folders(self):
        assert folder_of("rqe-mappo:tau=3") == "rqe-mappo.tau=3"
        assert folder_of("../x/y") == "%2Fx%2Fy"
        assert folder_of("..") == "_"
        assert len(folder_of("x" * 500)) < 150
        assert folder_of("x" * 500) != folder_of("x" * 501)

    def test_the_command_is_told_as_it_was_given(self):
        arguments = CompareArguments(env="corridor", methods=("a b", "mappo"), quick=True, seeds=3, out=Path("x y"))
        assert command_line("compare", arguments) == (
            "averse compare --env corridor --seeds 3 --out 'x y' --quick --methods 'a b' mappo"
        )


class TestQuickLook:
    """How much is done where nothing is said of it, and what stays as it was given."""

    @staticmethod
    def configs(**given):
        arguments = CompareArguments(**{"env": "corridor", "methods": ("mappo", "riskq"), "quick": True, **given})
        return [job.config for job in jobs_of(plan_of("compare", arguments, read_arms(arguments.methods)))]

    def test_a_replay_buffer_holds_what_is_collected(self):
        neutral, replayed = self.configs()
        assert (neutral.steps, neutral.checkpoints, replayed.checkpoints) == (20_000, 4, 4)
        assert "buffer_size" not in neutral.learner
        assert replayed.total_updates == 13
        assert (replayed.learner["buffer_size"], replayed.learner["gradient_steps"]) == (13 * 32, 2)

    def test_what_is_given_stays(self):
        methods = ("riskq:buffer_size=900,gradient_steps=9,checkpoints=7", "riskq:batch_size=500", "riskq:num_envs=300")
        given, batch, wide = self.configs(methods=methods)
        assert (given.learner["buffer_size"], given.learner["gradient_steps"], given.checkpoints) == (900, 9, 7)
        assert batch.learner["buffer_size"] == 500
        assert wide.learner["buffer_size"] == 600

    def test_a_long_quick_look_has_the_usual_buffer(self):
        assert self.configs(steps=1e6)[1].learner["buffer_size"] == 5000

    def test_without_quick_all_is_as_ever(self):
        neutral, replayed = self.configs(quick=False)
        assert (neutral.checkpoints, replayed.learner["buffer_size"]) == (10, 5000)
        assert replayed.learner["gradient_steps"] == 8

    @pytest.mark.parametrize(
        ("given", "steps"),
        [
            ({"env": "corridor"}, 2e4),
            ({"env": "sumo-intersection"}, 5e3),
            ({"env": "sumo-intersection", "steps": 7e3}, 7e3),
            ({"env": "sumo-intersection", "train_env": "intersection"}, 2e4),
            ({"env": "sumo-intersection", "quick": False}, 2e5),
        ],
    )
    def test_worlds_outside_jax_are_trained_in_for_fewer_steps(self, given, steps):
        assert StudyArguments(**{"quick": True, **given}).amount.steps == steps


class TestTaus:
    @pytest.mark.parametrize(
        ("arguments", "tables", "words"),
        [
            ({"taus": (1.0,)}, {}, "--taus must be two or more different numbers"),
            ({"taus": (1.0, 1.0)}, {}, "--taus must be two or more different numbers"),
            ({"taus": (1.0, 1.0 + 1e-12)}, {}, "--taus must differ in their first six digits"),
            ({"neutral": "rqe-mappo"}, {}, "--neutral must be another method than rqe-mappo"),
            ({}, {"rqe-mappo": {"tau": 3.0}}, "the settings of rqe-mappo must leave tau open"),
        ],
    )
    def test_what_is_refused(self, arguments, tables, words):
        with pytest.raises(AverseError, match=words):
            tradeoff_arms(TradeoffArguments(**arguments), tables)

    def test_a_scale_is_a_factor(self):
        arms = tradeoff_arms(TradeoffArguments(scale=10.0), {"rqe-mappo": {"lam": 0.9}})
        assert [arm.label for arm in arms] == ["mappo", "tau=3", "tau=5", "tau=10", "tau=20", "tau=100"]
        assert [arm.all_settings for arm in arms[1:3]] == [{"lam": 0.9, "tau": 3.0}, {"lam": 0.9, "tau": 5.0}]


class TestAblation:
    def test_the_variants(self):
        plan = plan_of("ablate", AblateArguments(env="corridor"), ablation_arms(AblateArguments(tau=3.0), {}))
        configs = {job.name: job.config.learner for job in jobs_of(plan)}
        told = {
            label: (each["measure"], each["epsilon"], each["advantage"], each["critic"], each["risk_warmup"])
            for label, each in configs.items()
        }
        assert told == {
            "both": ("entropic:3", 0.01, "entropic", "categorical", 0.6),
            "risk only": ("entropic:3", 0.0, "entropic", "categorical", 0.6),
            "rationality only": ("entropic:inf", 0.01, "entropic", "categorical", 0.6),
            "neither": ("entropic:inf", 0.0, "entropic", "categorical", 0.6),
            "risk-value advantage": ("entropic:3", 0.01, "risk-value", "categorical", 0.6),
            "no risk schedule": ("entropic:3", 0.01, "entropic", "categorical", 0.0),
            "scalar critic": ("mean", 0.01, "gae", "scalar", 0.6),
        }

    @pytest.mark.parametrize(
        ("arguments", "tables", "words"),
        [
            ({"method": "mappo"}, {}, "--method must be rqe-mappo or a method with its advantage"),
            ({}, {"rqe-mappo": {"critic": "quantile"}}, "must leave advantage and critic as they are"),
            ({}, {"rqe-mappo": {"epsilon": 0.0}}, "neither can be gone"),
            ({}, {"rqe-mappo": {"tau": float("inf")}}, "neither can be gone"),
        ],
    )
    def test_what_is_refused(self, arguments, tables, words):
        with pytest.raises(AverseError, match=words):
            ablation_arms(AblateArguments(**arguments), tables)


class TestTuning:
    COMMAND = ("compare", "--env", "corridor", "--methods", "slow=trifling:NEUTRAL:learning_rate=1.0", "--steps", "640")
    COMMAND += ("--seeds", "2", "--episodes", "20", "--json")

    def test_a_missing_optuna_is_one_line(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "optuna", None)
        assert main(["compare", "--methods", "mappo", "--tune", "2", "--out", str(tmp_path / "x")]) == 2
        error = capsys.readouterr().err
        assert "--tune needs optuna, and import optuna failed" in error
        assert "pip install" in error
        assert error.count("\n") == 1
        assert not (tmp_path / "x").exists()

    def test_the_same_budget_and_other_seeds(self, tmp_path, capsys):
        pytest.importorskip("optuna", reason="the extra `tune` is not installed")
        out = tmp_path / "tuned"
        command = [*self.COMMAND, "--out", str(out), "--tune"]
        assert main([*command, "2"]) == 0
        first = capsys.readouterr().out
        assert sorted(run.name for run in (out / "tuning" / "slow").iterdir()) == ["try-0", "try-1"]
        own, drawn = (load(out / "tuning" / "slow" / name) for name in ("try-0", "try-1"))
        assert own.config.seeds == drawn.config.seeds == (100,)
        assert own.config.learner == {**own.config.learner, "learning_rate": 1.0, "final_learning_rate": 1.0}
        assert drawn.config.learner["learning_rate"] == 1.0  # as it was given
        assert drawn.config.learner["final_learning_rate"] in tuning.CHOICES["final_learning_rate"]
        development = [Episodes.read_parquet(run.path / "episodes.parquet") for run in (own, drawn)]
        assert development[0].seed.tolist() == development[1].seed.tolist()
        assert not set(development[0].seed) & set(Episodes.read_parquet(out / "episodes.parquet").seed)
        scores = [each.episode_return.mean() for each in development]
        assert f"# mean return of each try: {scores[0]:.4g}, {scores[1]:.4g}" in (out / "tuned.toml").read_text()
        (winner,) = read_arms(["slow=trifling:NEUTRAL"], read_tables(out / "tuned.toml"))
        best = (own, drawn)[int(np.argmax(scores))].config.learner
        used = load(out / "runs" / "slow").config.learner
        assert used == best == {**best, **winner.settings}
        assert main([*command, "2"]) == 0  # draws the same, and does nothing again
        assert capsys.readouterr().out == first
        assert main([*command, "3"]) == 2
        assert "tuned.toml was tuned otherwise (2 tries per method" in capsys.readouterr().err


def test_hasty_compilation_ends_with_its_block(monkeypatch):
    names = ("jax_disable_most_optimizations", "jax_persistent_cache_min_compile_time_secs")
    before = [jax.config.values[name] for name in names]
    monkeypatch.setattr("averse.compilation.jax.jit", lambda function, compiler_options: compiler_options)

    def level() -> list[int | None]:
        return [(given(len) or {}).get("xla_backend_optimization_level") for given in (jit, jit_beside, jit_once)]

    def fails():
        with hasty_compilation():
            assert [jax.config.values[name] for name in names] == [True, 1e9]
            assert level() == [1, 1, 0]
            raise KeyboardInterrupt

    jax.config.update(names[0], False)
    try:
        with pytest.raises(KeyboardInterrupt):
            fails()
        assert jax.config.values[names[0]] is False
        with hasty_compilation(wanted=False):
            assert jax.config.values[names[0]] is False
            assert level() == [None, None, 0]
    finally:
        jax.config.update(names[0], before[0])
    assert [jax.config.values[name] for name in names] == before
    assert level() == [None, None, 0]


def test_what_is_compiled_in_haste_computes_the_same():
    """XLA knows the options, and they change rounding at the most."""
    numbers = np.linspace(-3.0, 3.0, 100, dtype=np.float32)
    with hasty_compilation():
        hasty = [compiled(jnp.tanh)(numbers) for compiled in (jit, jit_beside, jit_once)]
    np.testing.assert_allclose(hasty, [np.tanh(numbers)] * 3, rtol=1e-5)
