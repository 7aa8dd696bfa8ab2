"""What is written where: never over what is there."""

from __future__ import annotations

import json

import pytest

from limner.errors import LimnerError
from limner.verbs import directories


def test_a_new_directory_is_claimed_without_being_made(tmp_path):
    path = directories.claim(tmp_path / "new", "x")
    assert path == tmp_path / "new"
    assert not path.exists()


def test_without_out_the_first_free_name_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = directories.begin(directories.claim(None, "folder:/some where/cats,size=32"), {})
    second = directories.begin(directories.claim(None, "folder:/some where/cats,size=32"), {})
    assert (str(first), str(second)) == ("runs/cats-size=32", "runs/cats-size=32-2")


@pytest.mark.parametrize("name", ["", "..", "/", ":::", "-"])
def test_no_spec_leads_outside_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = directories.claim(None, name)
    assert path.parent.name == "runs"
    assert path.resolve().parent == tmp_path / "runs"


def test_what_exists_is_never_overwritten(tmp_path):
    made = directories.begin(tmp_path / "run", {"verb": "adapt"})
    (made / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(LimnerError, match="exists already; choose another --out, or add --force"):
        directories.claim(made, "x")
    assert directories.claim(made, "x", force=True) == made
    assert (made / "model.safetensors").read_bytes() == b"precious"


@pytest.mark.parametrize("content", [None, "{}", "[1]", "not json", "3", '"limner"'])
def test_force_replaces_only_what_limner_wrote(tmp_path, content):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    if content is not None:
        (theirs / "request.json").write_text(content)
    with pytest.raises(LimnerError, match="was not written by Limner"):
        directories.claim(theirs, "x", force=True)
    directories.begin(theirs, {})
    assert (theirs / "thesis.txt").read_text() == "years of work"


def test_a_file_in_the_way_is_not_replaced(tmp_path):
    (tmp_path / "file").write_text("mine")
    for force in (False, True):
        with pytest.raises(LimnerError):
            directories.claim(tmp_path / "file", "x", force=force)
    assert (tmp_path / "file").read_text() == "mine"


def test_force_begins_afresh(tmp_path):
    made = directories.begin(tmp_path / "run", {"verb": "adapt"})
    (made / "old.txt").write_text("old")
    directories.begin(directories.claim(made, "x", force=True), {"verb": "train"})
    assert sorted(path.name for path in made.iterdir()) == ["request.json"]
    assert directories.request_of(made)["verb"] == "train"


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    directories.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        directories.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
