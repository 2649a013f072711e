"""Tables: the same cells on the terminal and in markdown."""

import numpy as np
import pytest

from averse.errors import AverseError
from averse.evaluation import Episodes, Summary, summarise
from averse.evaluation.tables import caption, columns_of, summary_table


def make_summary(seeds=3, episodes=400, collision=True, offset=0.0, failed=0, learnt=True) -> Summary:
    generator = np.random.default_rng(0)
    n = seeds * episodes
    metrics = {"crossing_time": generator.normal(12, 1, n), "near_miss": np.full(n, np.nan)}
    if collision:
        metrics["collision"] = generator.random(n) < 0.05
    returns = generator.normal(size=n) + offset
    table = Episodes(
        np.repeat(np.arange(seeds), episodes), np.arange(n), returns, np.ones(n), np.arange(n) < failed, metrics
    )
    words = {"collision": "1 if any, else 0", "crossing_time": "mean time to cross, s", "near_miss": "smallest gap (m)"}
    return summarise(table, {name: words[name] for name in metrics}, resamples=100, learnt=learnt)


SUMMARIES = {"mappo": make_summary(), "rqe-mappo [tau=4]": make_summary(offset=-1.0, failed=2)}


def test_headings_have_the_units_of_the_environments_words():
    headings = [column.heading for column in columns_of(SUMMARIES)]
    assert headings == ["return", "worst-5% return", "collision rate", "crossing time, s", "near miss, m"]


def test_markdown_shows_every_estimate():
    text = summary_table(SUMMARIES, ["crossing_time"], title="Junction").markdown()
    lines = text.splitlines()
    assert lines[0] == "**Junction**"
    assert lines[2] == "| policy | return | worst-5% return | collision rate | crossing time, s |"
    assert lines[3] == "| --- | ---: | ---: | ---: | ---: |"
    summary = SUMMARIES["mappo"]
    cells = [str(summary.mean), str(summary.cvar_05), f"{summary.collision_rate:.1%}"]
    assert lines[4] == f"| mappo | {' | '.join(cells)} | {summary.metrics['crossing_time'].mean} |"
    assert "Failed episodes, left out: rqe-mappo [tau=4] 2." in text


def test_terminal_shows_the_same_cells_within_eighty_columns():
    text = summary_table(SUMMARIES, ["crossing_time"], title="Junction").text(80)
    assert "rqe-mappo [tau=4]" in text  # not eaten as markup
    for summary in SUMMARIES.values():
        for estimate in (str(summary.mean), str(summary.cvar_05), f"{summary.collision_rate:.1%}"):
            value, _, interval = estimate.partition(" ")
            assert value in text
            assert interval in text
    assert max(map(len, text.splitlines())) <= 80


def test_undefined_and_absent_figures_are_dashes():
    mixed = {"with": make_summary(), "without": make_summary(collision=False)}
    rows = [line for line in summary_table(mixed).markdown().splitlines() if line.startswith("| with")]
    assert [cell.strip() for cell in rows[0].split("|")][6] == "–"  # near_miss is defined nowhere
    assert [cell.strip() for cell in rows[1].split("|")][4] == "–"  # no collision metric
    alone = [column.heading for column in columns_of({"without": make_summary(collision=False)})]
    assert "collision rate" not in alone


def test_pipes_in_names_do_not_break_markdown():
    assert "a\\|b" in summary_table({"a|b": make_summary()}).markdown()


def test_caption_tells_the_basis_and_the_warnings():
    words = caption({"a": make_summary(seeds=1, episodes=50), "b": make_summary()})
    assert "50-1,200 episodes, 1-3 training seeds each" in words
    assert "Warning (a): only 50 episodes" in words
    mixed = caption({"by hand": make_summary(seeds=1, episodes=1200, learnt=False), "b": make_summary()})
    assert "1,200 episodes each, 3 training seeds of what was trained." in mixed
    assert "Warning" not in mixed


def test_no_metric_may_be_chosen_in_any_type():
    assert summary_table(SUMMARIES, np.array([])).headings == summary_table(SUMMARIES, ()).headings


def test_bad_input():
    with pytest.raises(AverseError, match="no summary"):
        summary_table({})
    with pytest.raises(AverseError, match="did you mean crossing_time"):
        summary_table(SUMMARIES, ["crossing_tme"])
