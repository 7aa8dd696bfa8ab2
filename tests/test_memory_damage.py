"""Damage is noticed, named with its remedy, and healed; a disk that is full or refuses loses nothing."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.model_file import decode, encode
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task

VAE = {"kind": "vae", "image_shape": [1, 16, 16], "options": {}}


def put(memory: Memory, value: float) -> str:
    """A model of four equal parameters; its sha256."""
    return memory.put_model({"net.a": torch.full((4,), float(value))}, VAE)


@pytest.fixture
def memory(memory_at: Callable[[str], str]) -> Any:
    with Memory.open(memory_at("memory")) as opened:
        yield opened


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, "is damaged: its content has changed"),
        (_flip, "is damaged: its content has changed"),
        (lambda path: path.write_bytes(b""), "is damaged: its content has changed"),
        (Path.unlink, "is missing"),
        (_replace_by_folder, "cannot be read"),
    ],
)
def test_each_damaged_artifact_is_named_with_its_remedy_and_healed(
    memory: Memory, tmp_path: Path, damage: Any, words: str
) -> None:
    models = [put(memory, seed) for seed in range(3)]
    memory.export(tmp_path / "all.zip")
    assert memory.verify() == []
    path = memory.artifacts.path(models[1])
    damage(path)
    (problem,) = memory.verify()
    assert f"model {models[1][:12]} {words}" in problem
    assert str(path) in problem
    assert f"limner memory import FILE, or let it go with limner memory forget {models[1][:12]}" in problem
    with pytest.raises(LimnerError, match=words):
        memory.get_model(models[1])
    if path.is_dir():
        path.rmdir()
    memory.import_(tmp_path / "all.zip")  # the first remedy
    assert memory.verify() == []
    assert torch.equal(memory.get_model(models[1]).params["net.a"], torch.ones(4))
    damage(path)
    if path.is_dir():
        path.rmdir()
    memory.forget(models[1][:12])  # and the second
    assert memory.verify() == []
    assert torch.equal(memory.get_model(models[2]).params["net.a"], torch.full((4,), 2.0))


def test_every_foreign_file_is_named_with_its_remedy(memory: Memory) -> None:
    model = put(memory, 0.0)
    folder, own = memory.artifacts.place, memory.artifacts.path(model)
    orphan = memory.artifacts.path(memory.artifacts.put(b"nobody's"))
    unfinished = own.with_name(".writing-x")
    unfinished.write_bytes(b"half")
    assert memory.verify() == []  # both are young: another process may be about to tell of them
    for path in (orphan, unfinished):
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    foreign = [folder / "notes.txt", own.with_name("copy.safetensors"), folder / "deep" / "er" / own.name]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(own.read_bytes())
    problems = memory.verify()
    assert len(problems) == 5
    for path in (orphan, *foreign):
        (told,) = (problem for problem in problems if f"the file {path} " in problem)
        assert told.endswith("belongs to no model of this memory; move it elsewhere or delete it")
    assert f"the file {unfinished} was left by an interrupted write; delete it" in problems
    for path in (orphan, unfinished, *foreign):
        path.unlink()
    assert memory.verify() == []


def test_the_same_model_made_anew_heals_the_file(memory: Memory) -> None:
    model = put(memory, 0.0)
    _flip(memory.artifacts.path(model))
    assert put(memory, 0.0) == model
    assert torch.equal(memory.get_model(model).params["net.a"], torch.zeros(4))
    assert memory.verify() == []


def test_bytes_that_are_no_model_are_refused() -> None:
    from safetensors.torch import save

    whole = encode({"a": torch.ones(2)}, VAE, "model")
    assert decode(whole).learner_description == VAE
    for wrong in (b"", b"text", whole[:-3], save({"a": torch.ones(1)}), save({"a": torch.ones(1)}, {"limner": "[]"})):
        with pytest.raises(LimnerError, match="is not a model of Limner"):
            decode(wrong)


def test_a_full_disk_loses_nothing(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), "dots")
    run = memory.begin_run(memory.add_task(Task("generate", "dots", images, None)), VAE, Strategy(), 0)
    before = memory.list("models"), memory.artifacts.all()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LimnerError, match=r"No space left on device.*nothing was changed"):
            memory.put_model({"net.b": torch.ones(3)}, VAE)
    assert (memory.list("models"), memory.artifacts.all()) == before
    assert not list(memory.artifacts.place.glob("*/.writing-*"))
    if not memory.database.is_sqlite:
        return
    with memory.database.reading() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar()
    with memory.database.reading() as session:
        session.execute(text(f"PRAGMA max_page_count = {pages}"))  # SQLite now answers as on a full disk
    with pytest.raises(LimnerError, match="disk is full; free space"):
        memory.fail_run(run, "x" * 100_000)
    assert memory.show(run)["reason"] == ""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_disk_that_refuses_is_told_in_a_sentence(tmp_path: Path) -> None:
    code = (
        "import sys, torch\nfrom limner.memory import Memory\nfrom limner.errors import LimnerError\n"
        "import resource\nmemory = Memory.open(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
        "learner = {'kind': 'vae', 'image_shape': [1, 1, 1], 'options': {}}\n"
        "try:\n    memory.put_model({'net.a': torch.ones(100_000)}, learner)\n"
        "except LimnerError as told:\n    print(told)\n"
        "print(memory.list('models'), memory.verify())\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot take 400," in told.stdout
    assert told.stdout.endswith("[] []\n")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY  # the limit was the child's alone
