"""Tables: nothing is cut in a terminal however narrow, and markdown has the same cells."""

import re

import pytest
from rich.console import Console

from averse.errors import AverseError
from averse.tables import Table

HEADINGS = ["policy", "return", "worst-5% return", "collision rate", "time to cross the junction, s", "by seed"]
ROWS = [
    ["rqe-mappo [tau=4]", "-1.20 [-1.41, -0.98]", "-6.2 [-7.0, -5.5]", "2.5% [1.8%, 3.4%]", "12.01", "1.25, 2.5, 3.75"],
    ["mappo", "-1.04 [-1.25, -0.81]", "-8.9 [-9.6, -8.2]", "–", "11.80", "4.25, 5.5, 6.75"],
]
TABLE = Table(HEADINGS, ROWS, title="Junction", caption="95% intervals in brackets; 1,000 episodes each.")


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_a_terminal_shows_every_word_whole_within_its_width(width):
    lines = TABLE.text(width).splitlines()
    assert max(map(len, lines)) <= width
    words = set(TABLE.text(width).split())
    for cell in [*HEADINGS, *(cell for row in ROWS for cell in row), TABLE.title, *TABLE.caption.split()]:
        assert set(cell.split()) <= words
    for interval in re.findall(r"\[[^]]*\]", " ".join(cell for row in ROWS for cell in row[1:])):
        assert interval in TABLE.text(width)


def test_side_by_side_where_there_is_room_and_in_blocks_where_not():
    assert TABLE.text(80).count("policy") == 1
    assert TABLE.text(50).count("policy") == 2
    assert TABLE.text(50).count("rqe-mappo") == 2


def test_intervals_stand_below_their_values_and_numbers_are_set_to_the_right():
    lines = TABLE.text(100).splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("mappo")]
    end = lines[at].index("-1.04") + len("-1.04")
    assert lines[at + 1].index("[-1.25, -0.81]") + len("[-1.25, -0.81]") == end


def test_units_stay_with_their_word():
    for width in (30, 80, 120):
        assert "junction, s" in TABLE.text(width)


def test_long_cells_and_names_wrap_at_spaces():
    table = Table(["a", "b"], [["a name of words", ", ".join(f"{k / 8:.3f}" for k in range(40))]])
    lines = table.text(40).splitlines()
    assert max(map(len, lines)) <= 40
    assert all(f"{k / 8:.3f}" in table.text(40) for k in range(40))


def test_rich_prints_it_in_its_own_width():
    console = Console(width=60)
    with console.capture() as capture:
        console.print(TABLE)
    assert capture.get().rstrip("\n") == TABLE.text(60)


def test_without_a_terminal_it_is_80_wide(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: (_ for _ in ()).throw(OSError))
    assert str(TABLE) == TABLE.text(80)


def test_markdown():
    lines = TABLE.markdown().splitlines()
    assert lines[:2] == ["**Junction**", ""]
    assert lines[2] == f"| {' | '.join(HEADINGS)} |"
    assert lines[3] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[4] == f"| {' | '.join(ROWS[0])} |"
    assert lines[-2:] == ["", TABLE.caption]
    assert Table(["a|b"], [["c|d"]]).markdown() == "| a\\|b |\n| --- |\n| c\\|d |\n"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(AverseError, match="row of 1 cells"):
        Table(["a", "b"], [["c"]])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ab", []), "headings must be"),
        (([], []), "headings is empty"),
        ((["a", 5], []), "headings must be"),
        ((["a"], "b"), "rows must be a list of rows"),
        ((["a"], [["b"], "c"]), r"rows\[1\] must be"),
        ((["a"], [[1.5]]), r"rows\[0\] must be"),
        ((["a"], [], None), "title must be a text"),
        ((["a"], [], "", 3), "caption must be a text"),
    ],
)
def test_what_is_no_text_is_refused(arguments, words):
    with pytest.raises(AverseError, match=words):
        Table(*arguments)


@pytest.mark.parametrize("width", [0, -3, 7.5, "80"])
def test_a_width_is_a_count(width):
    with pytest.raises(AverseError, match="width must be"):
        TABLE.text(width)
