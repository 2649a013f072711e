"""The page of `averse report` in a browser: it draws, fetches nothing, fits a phone, follows the dark, and slides."""

import importlib.util
import re
from pathlib import Path

import pytest
from browser import browser, find_chromium
from small_study import study, write_study

from averse.report.html import write_report
from averse.report.style import DARK, INK, PALETTE, PAPER, rgb

if missing := [name for name in ("plotly", "jinja2") if importlib.util.find_spec(name) is None]:
    pytest.skip(f"the extra `report` is not installed: {', '.join(missing)}", allow_module_level=True)
if (PROGRAM := find_chromium()) is None:
    pytest.skip("no Chromium on the PATH", allow_module_level=True)

pytestmark = pytest.mark.thorough

PHONE, DESK = 390, 1200
HOSTILE = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "a & b <b>c</b> %{x}")
PLOT = "[...document.querySelectorAll('.plot')].find(p => p.layout?.sliders?.length)"


@pytest.fixture(scope="module")
def window():
    with browser(PROGRAM) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_study(folder / "study", runs={"lost": "nowhere/" + 60 * "long"})
    write_report(folder / "study", folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    write_study(folder / "study", HOSTILE, title=HOSTILE[0], command=HOSTILE[1])
    write_report(folder / "study", folder / "page.html")
    return folder / "page.html"


def css(color: str) -> str:
    return "rgb({}, {}, {})".format(*rgb(color))


def test_on_a_phone(page, window):
    """Nothing is wider than the screen but what scrolls in a box of its own, also when all is unfolded."""
    window.open(page, PHONE)
    for _ in range(2):
        assert window.value("document.documentElement.scrollWidth") <= PHONE
        wide = window.value("""[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg') &&
            e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))""")
        assert wide == []
        window.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
        window.wait("!document.querySelector('.plot:not([data-drawn])')")
    assert window.value("[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)")
    assert window.trouble == []


def test_at_a_desk_by_day_and_by_night(page, window):
    window.open(page, DESK)
    plots = window.value("document.querySelectorAll('.plot').length")
    assert plots == 6
    assert window.value("document.querySelectorAll('.plot .main-svg').length") >= plots
    assert window.value("getComputedStyle(document.body).backgroundColor") == css(PAPER)
    window.open(page, DESK, dark=True)
    assert window.value("getComputedStyle(document.body).backgroundColor") == css(DARK[PAPER])
    assert window.value("getComputedStyle(document.body).color") == css(DARK[INK])
    first = "getComputedStyle(document.querySelector('.plot .point')).fill"
    assert window.value(first) == css(DARK[PALETTE[0]])
    day = {"name": "prefers-color-scheme", "value": "light"}
    window.call("Emulation.setEmulatedMedia", features=[day])
    window.wait(f"{first} === '{css(PALETTE[0])}'")  # figures follow without being loaded anew
    assert window.trouble == []


def test_the_slider(page, window):
    """Dragged with a mouse: the markers and the words are those of the alpha that it stands at."""
    window.open(page, DESK, height=2400)
    markers = f"{PLOT}.data.slice(-3).map(t => [t.x[0], t.y[0]])"
    start = study()["interpolation"][0]["metrics"]
    assert window.value(markers)[0] == [0, start["return"]["value"]]
    window.value(f"{PLOT}.scrollIntoView({{behavior: 'instant'}})")
    box = """(s => { const b = s.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] })"""
    x, y, _, height = window.value(f"{box}({PLOT}.querySelector('.slider-grip-rect'))")
    left, _, width, _ = window.value(f"{box}({PLOT}.querySelector('.slider-rail-rect'))")
    window.drag((x + 5, y + height / 2), (left + 0.7 * width, y + height / 2))
    window.wait(f"{PLOT}.layout.sliders[0].active === 7")
    point = study()["interpolation"][7]
    mean, tail = (point["metrics"][name]["value"] for name in ("return", "worst_5"))
    expected = [[0.7, mean], [0.7, tail], [mean, tail]]
    window.wait(f"{markers}[0][0] === 0.7")
    assert window.value(markers) == [pytest.approx(each) for each in expected]
    assert "alpha = 0.7" in window.value(f"{PLOT}.querySelector('.annotation').textContent")
    assert window.trouble == []


def test_the_menu(page, window):
    window.open(page, DESK)
    plot = "document.querySelector('.plot')"
    window.value(f"{plot}.scrollIntoView({{behavior: 'instant'}})")
    press = "e => ['mousedown', 'mouseup', 'click'].forEach(k => e.dispatchEvent(new MouseEvent(k, {bubbles: true})))"
    window.value(f"({press})({plot}.querySelector('.updatemenu-header'))")
    window.wait(f"{plot}.querySelectorAll('.updatemenu-dropdown-button').length > 2")
    window.value(f"""({press})([...{plot}.querySelectorAll('.updatemenu-dropdown-button')]
        .find(e => e.textContent === 'collision rate'))""")
    window.wait(f"{plot}.layout.yaxis.title.text === 'collision rate'")
    assert window.value(f"{plot}.data.map(t => t.y[0])") == pytest.approx([0.2, 0.15, 0.1])


def test_hostile_texts(hostile, window):
    window.open(hostile, DESK)
    window.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    window.wait("!document.querySelector('.plot:not([data-drawn])')")
    assert window.value("document.title") == HOSTILE[0]
    assert window.value(
        "[...document.querySelectorAll('.plot .legendtext')].slice(0, 3).map(e => e.textContent)"
    ) == list(HOSTILE)
    assert window.value("document.querySelectorAll('img').length") == 0
    assert window.trouble == []


def test_without_scripts_and_on_paper(page, window):
    window.open(page, PHONE, scripts=False)
    window.call("Emulation.setScriptExecutionDisabled", value=False)  # for the questions
    assert window.value("document.querySelectorAll('table').length") >= 5
    assert window.value("getComputedStyle(document.querySelector('.plot')).display") == "none"
    assert "scripts are switched off" in window.value("document.querySelector('figure').innerText")
    window.open(page, DESK, dark=True)
    pages = len(re.findall(rb"/Type /Page\b(?!s)", window.pdf()))
    assert 2 <= pages <= 20
    window.wait(f"getComputedStyle(document.querySelector('.plot .point')).fill === '{css(DARK[PALETTE[0]])}'")
    assert window.trouble == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_stored_report_of_the_junction(window, width):
    """docs/examples/junction.html: all figures and films are there, and nothing is wider than the screen."""
    stored = Path(__file__).parents[2] / "docs" / "examples" / "junction.html"
    assert stored.stat().st_size < 8_000_000
    window.open(stored, width)
    window.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    window.wait("!document.querySelector('.plot:not([data-drawn])')")
    assert window.value("document.querySelectorAll('.plot').length") > 20
    assert window.value("[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))")
    films = "[...document.querySelectorAll('figure img')]"
    assert window.value(f"{films}.map(e => e.complete && e.naturalWidth > 0)") == [True] * 3
    assert window.value("document.documentElement.scrollWidth") <= width
    assert window.trouble == []


def test_an_older_browser(page, tmp_path, window):
    """What cannot be unpacked is told in the place of each figure; the tables are there."""
    text = page.read_text(encoding="utf-8").replace("DecompressionStream", "NoSuchStream")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    window.open(tmp_path / "page.html", DESK)
    assert window.value("document.querySelectorAll('.plot .main-svg').length") == 0
    assert window.value("[...document.querySelectorAll('.plot')].every(p => /cannot draw/.test(p.textContent))")
    assert window.value("document.querySelectorAll('table').length") >= 5
    assert window.trouble == []
