"""Artifacts at a URL of fsspec: verified by hash, told in a sentence where something is wrong, gone when forgotten."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from made_up import VAE, a_run, a_task

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.memory.artifacts import Artifacts, placed

STORE = fsspec.filesystem("memory")


@pytest.fixture
def bucket() -> Iterator[str]:
    name = f"bucket-{secrets.token_hex(4)}"
    yield name
    if STORE.exists(f"/{name}"):
        STORE.rm(f"/{name}", recursive=True)


@pytest.fixture
def memory(tmp_path: Path, bucket: str) -> Any:
    with Memory.open(f"sqlite:///{tmp_path}/memory.db?artifacts=memory://{bucket}/weights") as opened:
        yield opened


def test_models_come_back_from_a_store(memory: Memory, bucket: str, tmp_path: Path) -> None:
    model = memory.put_model({"net.a": torch.arange(3.0)}, VAE, name="far")
    name = f"/{bucket}/weights/{model[:2]}/{model}.safetensors"
    assert STORE.exists(name)
    assert memory.artifacts.path(model) == f"memory:/{name}"
    assert memory.artifacts.all() == [model]
    assert torch.equal(memory.get_model("far").params["net.a"], torch.arange(3.0))
    assert memory.verify() == []
    memory.export(tmp_path / "all.zip")
    with Memory.open(tmp_path / "near") as near:
        near.import_(tmp_path / "all.zip")
        assert near.get_model("far").sha256 == model


def test_a_wrong_hash_is_one_sentence_and_heals(memory: Memory, bucket: str) -> None:
    model = memory.put_model({"net.a": torch.arange(3.0)}, VAE)
    name = f"/{bucket}/weights/{model[:2]}/{model}.safetensors"
    STORE.pipe_file(name, STORE.cat_file(name)[:-1] + b"!")
    with pytest.raises(LimnerError, match=f"model {model[:12]} is damaged: its content has changed .*import FILE"):
        memory.get_model(model)
    assert len(memory.verify()) == 1
    memory.put_model({"net.a": torch.arange(3.0)}, VAE)
    assert memory.verify() == []
    STORE.rm_file(name)
    with pytest.raises(LimnerError, match=f"model {model[:12]} is missing"):
        memory.get_model(model)


def test_foreign_files_in_a_store_are_named(memory: Memory, bucket: str) -> None:
    memory.put_model({"net.a": torch.arange(3.0)}, VAE)
    STORE.pipe_file(f"/{bucket}/weights/notes.txt", b"mine")
    orphan = memory.artifacts.put(b"nobody's")
    assert [problem.split(" ")[2] for problem in memory.verify()] == [f"memory://{bucket}/weights/notes.txt"]
    made = STORE.store[f"/{bucket}/weights/{orphan[:2]}/{orphan}.safetensors"]
    made.created = made.modified = made.created.fromtimestamp(time.time() - 3600, made.created.tzinfo)
    assert len(memory.verify()) == 2


def test_forgetting_reaches_the_store(memory: Memory, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = memory.add_task(a_task())
    models = []
    for value in range(2):
        run = memory.begin_run(task, VAE, Strategy(), value)
        models.append(memory.finish_run(run, a_run(float(value)), None))
    kept = memory.put_model({"net.a": torch.arange(3.0)}, VAE)
    with monkeypatch.context() as patch:

        def refuse(*_told: object) -> None:
            raise PermissionError("Access Denied")

        patch.setattr(type(STORE), "rm_file", refuse)
        with pytest.raises(LimnerError, match=r"could not be deleted \(Access Denied\).*by hand"):
            memory.forget(task)
    assert memory.runs() == []
    assert len(memory.artifacts.all()) == 3  # said, and by verify once they are old
    for model in models:
        memory.artifacts.remove(str(model))
    again = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0)
    memory.finish_run(again, a_run(), None)
    memory.forget(task)
    assert memory.artifacts.all() == [kept]
    assert [name for name in STORE.find(f"/{bucket}") if kept not in name] == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nosuch://bucket", "artifacts cannot lie at nosuch://bucket .*give a folder, s3://"),
        ("gs://bucket", r"need a further package .*pip install gcsfs"),
    ],
)
def test_a_store_that_is_not_known_is_one_sentence(url: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if url.startswith("gs"):

        def missing(*_told: object, **_options: object) -> None:
            raise ImportError("Please install gcsfs to access Google Storage")

        monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(LimnerError, match=sentence):
        Artifacts(placed(url))


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    artifacts = Artifacts(placed(f"file://{tmp_path}/weights"))
    sha256 = artifacts.put(b"content")
    assert (tmp_path / "weights" / sha256[:2] / f"{sha256}.safetensors").read_bytes() == b"content"
