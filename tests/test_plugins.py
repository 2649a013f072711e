"""Names: built-in, registered, offered by installed packages, and `module:Attribute`."""

import sys

import pytest

from averse.errors import AverseError
from averse.plugins import Registry, imported, path_of


class Thing:
    class Inner:
        pass


@pytest.fixture
def registry():
    return Registry("thing", "averse.things", {"ordered": "collections:OrderedDict", "plain": Thing})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package on the path whose metadata offer a thing, as an installed one has them."""
    (tmp_path / "offering_things.py").write_text("class Offered:\n    pass\n")
    metadata = tmp_path / "offering_things-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: offering-things\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[averse.things]\noffered = offering_things:Offered\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("offering_things", None)


def test_builtin_and_registered(registry):
    from collections import OrderedDict

    assert registry.find("ordered") is OrderedDict
    assert registry.find("plain") is Thing
    registry.register("mine", Thing.Inner)
    assert registry.find("mine") is Thing.Inner
    assert registry.names() == ["ordered", "plain", "mine"]
    registry.register("mine", Thing)
    assert registry.find("mine") is Thing


def test_installed_packages_offer_more(registry, installed):
    assert registry.names() == ["ordered", "plain", "offered"]
    assert registry.find("offered").__name__ == "Offered"
    assert registry.name_of(registry.find("offered")) == "offered"


def test_names_of_things(registry):
    from collections import Counter, OrderedDict

    registry.register("inner", Thing.Inner)
    assert registry.name_of(OrderedDict) == "ordered"
    assert registry.name_of(Thing) == "plain"
    assert registry.name_of(Thing.Inner) == "inner"
    assert registry.name_of(Counter) == "collections:Counter"
    assert registry.name_of(lambda: 0) is None
    assert path_of(type("Made", (), {})) is None
    assert imported("collections:Counter") is Counter


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ordred", "unknown thing 'ordred'; did you mean ordered?"),
        ("no_such_module:Thing", "the thing no_such_module:Thing cannot be imported: No module named 'no_such_module'"),
        (
            "collections:Nothing",
            "the thing collections:Nothing cannot be imported: module 'collections' has no attribute 'Nothing'",
        ),
        (
            "collections:Countr",
            "the thing collections:Countr cannot be imported: module 'collections' has no attribute 'Countr'; "
            "did you mean Counter?",
        ),
    ],
)
def test_what_nobody_knows(registry, name, line):
    with pytest.raises(AverseError) as caught:
        registry.find(name)
    assert str(caught.value) == line


@pytest.mark.parametrize("name", ["ordered", "a:b", "", "two words", 3])
def test_names_that_cannot_be(registry, name):
    with pytest.raises(AverseError):
        registry.register(name, Thing)
