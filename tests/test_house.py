"""The rules of the house: imports run downwards only, without circles, and functions are short enough to read."""

import ast
import itertools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "averse"
# From the ground up: a part of the house may import what stands in its own line or in a line before.
FLOORS = (
    ("version", "errors", "stopping"),
    ("arguments", "files", "extras", "machine", "compilation", "statistics", "settings", "plugins"),
    ("progress", "sheets", "tables", "commands"),
    ("risk",),
    ("planning",),
    ("games",),
    ("environments", "gymnasium"),
    ("learners",),
    ("training",),
    ("evaluation", "export"),
    ("engines",),
    ("report",),
    ("experiments",),
    ("listing",),
    ("cli", "__init__"),
)
LONGEST_FUNCTION = 80  # lines


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported_by(module: str) -> set[str]:
    """The modules of the package that a module imports anywhere in its text, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module or "")
    return {name for name in found if name in MODULES and name != module}


def part_of(module: str) -> str:
    return module.split(".")[1]


def floor_of(module: str) -> int:
    return next(floor for floor, parts in enumerate(FLOORS) if part_of(module) in parts)


def test_every_part_has_a_floor():
    parts = {part_of(module) for module in MODULES}
    assert parts == set(itertools.chain.from_iterable(FLOORS)), "a part of the house is missing here, or gone"


@pytest.mark.parametrize("module", [module for module in MODULES if module != "averse.__init__"])
def test_imports_run_downwards(module):
    upwards = {
        other
        for other in imported_by(module)
        if floor_of(other) > floor_of(module) and not (other == "averse.__init__" or part_of(other) == part_of(module))
    }
    assert not upwards


def test_no_circles():
    """Each module can be taken away after all that it imports: a topological order exists."""
    left = {module: imported_by(module) for module in MODULES if module != "averse.__init__"}
    # A package's own face is imported through its modules: what it lists is theirs.
    faces = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    while left:
        free = {module for module, others in left.items() if not (others - faces) & left.keys() - {module}}
        assert free, f"these import each other in a circle: {sorted(left)}"
        left = {module: others for module, others in left.items() if module not in free}


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module):
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


def test_files_that_are_no_modules_are_packed():
    """What a wheel does not hold is there in a checkout only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["averse"]
    others = [path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert others
    lost = [path for path in others if not any(path.relative_to(SOURCE).match(pattern) for pattern in patterns)]
    assert not lost


def test_every_test_is_in_one_tier_and_ci_runs_the_quick_and_the_thorough_one():
    pytest_options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {"slow", "thorough"} < {line.partition(":")[0] for line in pytest_options["markers"]}
    (default,) = re.findall(r"-m '(.*?)'", pytest_options["addopts"])
    recipes = dict(re.findall(r"^(\w+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    chosen = {}
    for target in ("test", "thorough", "slow"):
        said = re.findall(r"-m (?!pytest)('[^']*'|\w+)", recipes[target])
        assert len(said) <= 1
        chosen[target] = said[0].strip("'") if said else default
    for slow, thorough in itertools.product([False, True], repeat=2):
        marks = {"slow": slow, "thorough": thorough}
        runs = [target for target, expression in chosen.items() if eval(expression, {}, marks)]
        assert runs == ["slow" if slow else "thorough" if thorough else "test"]
    steps = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert {"make test", "make thorough"} <= set(steps)
