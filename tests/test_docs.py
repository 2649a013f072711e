"""The pages tell the truth: every public name is on one API page and documented, and what pages name and run exists."""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from compiled_stand_ins import stand_in

import averse
from averse import cli
from averse.commands import Command, parse
from averse.environments.microgrids.example import write_example

griffe = pytest.importorskip("griffe", reason="the extra `docs` is not installed")

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
API = sorted((ROOT / "docs" / "api").glob("*.md"))
# Packages whose `__all__` is public, and modules in which every name without an underscore is.
PACKAGES = (
    "",
    "risk",
    "environments",
    "learners",
    "training",
    "evaluation",
    "planning",
    "games",
    "statistics",
    "export",
)
MODULES = ("settings", "plugins", "commands", "errors", "sheets", "tables", "progress", "files", "compilation")
GROUPS = ("averse.environments", "averse.methods", "averse.measures", "averse.commands")  # of entry points
RAISES = re.compile(r"raise (AverseError|DivergenceError|unknown_name)\b")


@cache
def package():
    """The package as the site sees it, read and not imported."""
    extensions = griffe.load_extensions(str(ROOT / "docs" / "fields.py"))
    return griffe.load("averse", search_paths=[ROOT / "src"], extensions=extensions)


@cache
def find(path: str):
    """What `averse.x.y` names. A name that a package imports goes before a module of that name."""
    found = package()
    *way, last = path.split(".")[1:] or [""]
    for part in way:
        found = found.members[part]
        found = find(found.target_path) if found.is_alias else found
    if not last:
        return found
    if found.is_module and found.imports.get(last, path) != path:
        return find(found.imports[last])
    found = found.members[last]
    return find(found.target_path) if found.is_alias else found


def exists(path: str) -> bool:
    try:
        find(path)
    except KeyError:
        return False
    return True


def public_modules() -> list[str]:
    return [f"averse.{name}" for name in MODULES] + [
        f"averse.{inner}.{name}"
        for inner in ("report", "learners.parts")
        for name, member in find(f"averse.{inner}").members.items()
        if member.is_module
    ]


def members_of(module) -> Iterator[str]:
    """The public names that a module defines: functions and classes, and of its variables those with a docstring."""
    for name, member in module.members.items():
        if name.startswith("_") or member.is_alias or member.is_module:
            continue
        if not member.is_attribute or member.docstring is not None:
            yield member.path


@cache
def public() -> dict[str, str]:
    """Where each public name is defined -> a name by which it is known."""
    names = {}
    for inner in PACKAGES:
        base = f"averse.{inner}".rstrip(".")
        for name in find(base).exports:
            found = find(f"{base}.{name}")
            if not found.is_module:
                names.setdefault(found.path, f"{base}.{name}")
    for module in public_modules():
        for path in members_of(find(module)):
            names.setdefault(path, path)
    return names


def documented() -> list[str]:
    """What the API pages show, where it is defined; a module stands for its public names."""
    shown = []
    for page in API:
        for path in re.findall(r"^::: ([\w.]+)", page.read_text(), re.MULTILINE):
            assert exists(path), f"{page.name} shows {path}, which does not exist"
            found = find(path)
            shown += members_of(found) if found.is_module else [found.path]
    return shown


def test_every_public_name_is_on_exactly_one_page():
    shown = Counter(documented())
    assert [name for name, count in shown.items() if count > 1] == [], "on more than one page"
    assert sorted(name for path, name in public().items() if path not in shown) == [], "on no page"


def inherited(cls, name: str):
    """The docstring of what a method overrides or, beside a protocol of its package, fulfils."""
    for base in cls.bases:
        known = getattr(base, "canonical_path", None)
        if known is not None and known.startswith("averse.") and exists(known):
            parent = find(known)
            own = parent.members.get(name)
            if own is not None and own.docstring is not None:
                return own.docstring
            if parent.docstring is not None and re.search(rf"^  {name}: ", parent.docstring.value, re.MULTILINE):
                return parent.docstring
            if (told := inherited(parent, name)) is not None:
                return told
    for protocol in protocols(cls.module.parent.path):
        if protocol is not cls and name in protocol.members and protocol.members.keys() <= cls.members.keys():
            return protocol.members[name].docstring
    return None


@cache
def protocols(inner: str) -> list:
    """The protocols in the modules of a package."""
    return [
        found
        for module in find(inner).members.values()
        if not module.is_alias and module.is_module
        for found in module.members.values()
        if not found.is_alias and found.is_class and any(str(base) == "Protocol" for base in found.bases)
    ]


def parts_of(path: str) -> Iterator[tuple[str, object, object]]:
    """A public object and, of a class, its public functions and properties: name, object, docstring."""
    found = find(path)
    yield public()[path], found, found.docstring
    if not found.is_class:
        return
    for name, member in found.members.items():
        if not name.startswith("_") and (member.is_function or "property" in member.labels):
            yield f"{public()[path]}.{name}", member, member.docstring or inherited(found, name)


def test_every_public_name_has_a_docstring():
    parts = [part for path in public() for part in parts_of(path)]
    assert len(parts) > 300
    assert [name for name, _, told in parts if told is None] == []


def test_fields_are_documented():
    untold = []
    for path, name in public().items():
        found = find(path)
        if found.is_class and found.docstring is not None:
            told = found.docstring.value
            untold += [
                f"{name}.{field}"
                for field, member in found.members.items()
                if member.is_attribute
                and "instance-attribute" in member.labels
                and "property" not in member.labels
                and not field.startswith("_")
                and member.annotation is not None
                and not re.search(rf"\b{field}\b", told)
            ]
    assert untold == []


def raising(found) -> str:
    """The text in which what a docstring tells of happens: of a class, what runs when an instance is built."""
    if found.is_class and any(decorator.callable_path.endswith("settings") for decorator in found.decorators):
        return ""  # that decorator says what is raised
    if found.is_class:
        builders = [found.members[name] for name in ("__init__", "__post_init__") if name in found.members]
        return "\n".join(builder.source for builder in builders if builder.is_function)
    return found.source or ""


def test_what_is_raised_is_told():
    silent = [
        name
        for path in public()
        for name, found, told in parts_of(path)
        if RAISES.search(raising(found)) and not (told and re.search(r"\b[Rr]aise", told.value))
    ]
    assert silent == []


def test_shapes_of_arrays_are_told():
    """Of what public functions take and give; an array with no axes is told as []."""
    arrays = re.compile(r"Array|ndarray|Floats|Integers|Tables")
    silent = []
    for path in public():
        for name, found, told in parts_of(path):
            if found.is_function:
                types = [parameter.annotation for parameter in found.parameters] + [found.returns]
                if any(arrays.search(str(kind)) for kind in types) and not (told and re.search(r"\[.*?\]", told.value)):
                    silent.append(name)
    assert silent == []


# --- what the pages name and run ------------------------------------------------------------------------------------


def code(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


# The changelog tells of names that are gone.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_names_exist(page):
    told = page.read_text()
    missing = [path for path in re.findall(r"`(averse(?:\.\w+)+)", told) if path not in GROUPS and not exists(path)]
    for path in re.findall(r"`([\w/]+/[\w./]*\w\.(?:py|json|svg|md))`", told):
        roots = (ROOT, ROOT / "src" / "averse", ROOT / "docs")
        if "NAME" not in path and not any((root / path).exists() for root in roots):
            missing.append(path)
    for text in code(page, "python"):
        missing += [path for path in averse_names(ast.parse(text)) if not exists(path)]
    assert missing == []


def averse_names(tree: ast.AST) -> Iterator[str]:
    """What a program takes from the package: `from averse.x import y`, and `averse.x.y` as far as it is dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "averse":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Attribute) and (path := dotted(node)) and path.startswith("averse."):
            yield path


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


WORDS = "printf '%s\\0' \"$@\"; printf '\\n'"
# What may stand in the pages beside `averse`; a shell runs the blocks with these in the place of the real ones.
OTHERS = ("make", "pip", "python", "cd", "sbatch")


def invocations(block: str) -> list[list[str]]:
    """The argument lists with which a block of shell calls `averse`, its variables and loops carried out."""
    others = "".join(f"{name}() {{ :; }}; " for name in OTHERS)
    run = subprocess.run(
        ["/bin/bash", "-euc", f"PATH=/nonexistent; averse() {{ {WORDS}; }}; {others}\n{block}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, ""), block
    return [line.split("\0")[:-1] for line in run.stdout.splitlines()]


SHELL = [(page, block) for page in PAGES for block in code(page, "sh")]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The page that shows how to bring one's own, as the module that it says it is; the examples are at hand too."""
    text = "\n\n".join(code(ROOT / "docs" / "extending.md", "python"))
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    yield importlib.import_module("mine")
    sys.modules.pop("mine")


@pytest.mark.parametrize(("page", "block"), SHELL, ids=[page.name for page, _ in SHELL])
def test_commands_are_accepted(page, block, mine, tmp_path, monkeypatch):
    if find_spec("jaxmarl") is None or find_spec("gymnax") is None:
        stand_in(monkeypatch, ("CartPole-v1", "Pendulum-v1"), ("MPE_simple_spread_v3",))
    if "runs/village/example" in block:  # measurements are read as soon as they are named
        monkeypatch.chdir(tmp_path)
        write_example(tmp_path / "runs" / "village" / "example", hours=336)
    for arguments in invocations(block):
        name, rest = arguments[0], arguments[1:]
        command = cli.COMMANDS.find(name)
        assert isinstance(command, Command)
        given = [argument for argument in rest if argument != "--help"]
        parse(cli._with_own_settings(given) if name == "train" else command.arguments, given, f"averse {name}")


def test_what_a_reader_brings_is_in_order(mine):
    averse.check_environment(mine.Bridge())
    specification = averse.environments.specification(averse.make("mine:Bridge", planks=12))
    assert specification == ("mine:Bridge", {"planks": 12, "break_probability": 0.05})
    averse.risk.check_measure(mine.Shortfall(0.5))
    assert str(averse.risk.parse("mine:Shortfall:0.9")) == "mine:Shortfall:0.9"
    run = averse.train("mine:Bridge", "mine:REINFORCE", steps=4096, learning_rate=[1e-3, 1e-2], num_envs=16)
    assert [trial["learning_rate"] for trial in run.trials] == [1e-3, 1e-2]
    assert run.policy(learning_rate=1e-2)(np.zeros((2, 2))).shape == (2,)
    faults = averse.environments.find_faults(type("Mistaken", (mine.Bridge,), {"reward_bounds": (-3.0, 1.0)})())
    assert faults == ["mistaken: an agent's return is -3.1, beyond return_bounds(0) = (-3, 1)"]


@pytest.mark.parametrize(("page", "block"), SHELL, ids=[page.name for page, _ in SHELL])
def test_commands_work_in_zsh(page, block):
    """It expands brackets, does not split variables at spaces, and takes `#` for a word when it is typed or pasted."""
    assert not re.search(r"(?<!\S)#", re.sub(r"'[^']*'|\"[^\"]*\"", "", block))
    plain = re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "''", block)
    assert not re.search(r"[\[\]*?]", re.sub(r"\"\$\{\w+\[@\]\}\"", "", plain))
    for name in re.findall(r"(?<![\"\w])\$(\w+)", plain):
        assert not re.search(rf"^{name}=[\"'].* ", block, re.MULTILINE), f"${name} is several words: make it an array"


INLINE = [
    (page, text)
    for page in PAGES
    for text in re.findall(r"`((?:averse|pip|make|python|cd) [^`\n]+)`", page.read_text())
]


def test_commands_within_sentences_work_in_zsh():
    assert len(INLINE) > 20
    for page, text in INLINE:
        plain = re.sub(r"'[^']*'|\"[^\"]*\"", "''", text)
        assert not re.search(r"[\[\]*?#]|\s[=~]", plain), f"{page.name}: {text}"


def test_what_pages_call_exists():
    targets = (ROOT / "Makefile").read_text()
    for page in PAGES:
        told = "\n".join(code(page, "sh"))
        for target in re.findall(r"^make (\w+)", told, re.MULTILINE) + re.findall(r"`make (\w+)`", page.read_text()):
            assert re.search(rf"^{target}:", targets, re.MULTILINE), f"{page.name}: make {target}"
        for script in re.findall(r"[\w/]+\.py", told):
            assert (ROOT / script).exists() or (ROOT / "examples" / script).exists(), f"{page.name}: {script}"
