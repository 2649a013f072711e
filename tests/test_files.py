"""Files that appear whole, and folders that are refused before any work."""

import pytest

from averse.errors import AverseError
from averse.files import folder_written_whole, new_folder, writable_folder, write_text, written_whole


def test_a_new_folder_is_made_with_its_parents_and_may_be_there_if_empty(tmp_path):
    path = new_folder(tmp_path / "a" / "b")
    assert path.is_dir()
    assert new_folder(str(path)) == path
    assert not list(path.iterdir())


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "result").write_text("old")
    with pytest.raises(AverseError, match="exists already; choose another --out or remove it"):
        new_folder(tmp_path)
    with pytest.raises(AverseError, match="exists already; go on with --resume"):
        new_folder(tmp_path, advice="go on with --resume")
    assert writable_folder(tmp_path) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("make", [new_folder, writable_folder])
def test_what_cannot_be_a_folder_is_one_line(make, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "0" / ("x" * 300)):
        with pytest.raises(AverseError, match="cannot be a folder for results") as error:
            make(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("averse.files.tempfile.TemporaryFile", refuse)  # root may write everywhere
    with pytest.raises(AverseError, match="Permission denied"):
        writable_folder(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "first")

    def interrupted() -> None:
        with written_whole(tmp_path / "new" / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(path.name, path.read_text()) for path in (tmp_path / "new").iterdir()] == [("a.txt", "first")]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_written_whole_or_not_at_all(there, tmp_path, monkeypatch):
    """Also one that is there and empty, and where it is the present one."""
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    out = "." if there else "study"

    def interrupted() -> None:
        with folder_written_whole(out) as temporary:
            write_text(temporary / "half.txt", "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.rglob("*")] == ["new"]
    with folder_written_whole(out) as temporary:
        write_text(temporary / "whole.txt", "whole")
    written = tmp_path / "new" / ("" if there else "study") / "whole.txt"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [written]
    with pytest.raises(AverseError, match="exists already"), folder_written_whole(written.parent):
        raise AssertionError("it began")
