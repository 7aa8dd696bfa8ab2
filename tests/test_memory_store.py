"""The memory keeps what it is told, whole, and gives it back as it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import VAE, a_run, a_task, images, some_scores
from sqlalchemy import inspect, text

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.memory.database import locate
from limner.types import CurvePoint


@pytest.fixture
def memory(memory_at: Callable[[str], str]) -> Any:
    with Memory.open(memory_at("memory")) as opened:
        yield opened


def test_a_run_comes_back_as_it_was(memory: Memory, tmp_path: Path) -> None:
    task = memory.add_task(a_task())
    run = memory.begin_run(task, VAE, Strategy(steps=20), 7, "first", tmp_path / "first")
    assert len(run) == 12
    assert memory.show(run)["state"] == "running"
    sha256 = memory.finish_run(run, a_run(), some_scores())
    shown = memory.show("first")
    assert shown["state"] == "finished"
    assert shown["model"] == sha256
    assert shown["directory"] == str(tmp_path / "first")
    assert shown["strategy"] == Strategy(steps=20).to_json()
    assert shown["learner"] == VAE
    assert (shown["seconds"], shown["steps"], shown["threads"]) == (1.5, 20, 2)
    assert shown["scores"]["kernel_distance"] == {
        "value": 0.1, "low": 0.05, "high": pytest.approx(0.15), "floor": 0.01, "extractor": "pixels", "samples": 64,
        "query": 5, "support": 5, "seed": 0,
    }  # fmt: skip
    assert "coverage" not in shown["scores"]  # nothing was measured, so there is no number
    assert shown["notes"] == ["a note", "coverage could not be measured: too few images"]
    assert [point["step"] for point in shown["curve"]] == [1, 2]
    assert shown["curve"][1]["values"] == {"loss": "nan"}
    json.dumps(shown, allow_nan=False)
    model = memory.get_model(run[:6])
    assert torch.equal(model.params["net.a"], torch.ones(3, 2))
    assert model.learner_description == VAE
    assert memory.verify() == []


def test_a_strategy_and_a_learner_are_kept_once(memory: Memory) -> None:
    task = memory.add_task(a_task())
    for seed in range(3):
        memory.begin_run(task, VAE, Strategy(steps=5), seed)
    memory.begin_run(task, dict(reversed(VAE.items())), Strategy(steps=6), 0)
    with memory.database.reading() as session:
        counts = [
            session.execute(text(f"SELECT count(*) FROM {name}")).scalar()
            for name in ("strategies", "learners", "runs")
        ]
    assert counts == [2, 1, 4]


def test_a_start_keeps_its_rates_and_lineage(memory: Memory) -> None:
    start = memory.put_model(
        {"net.a": torch.zeros(2)}, VAE, role="start", name="dots", family={"spec": "dots"},
        rates={"net.a": torch.full((2,), 0.5)}, curve=[CurvePoint(1, 0.1, {"loss": 1.0})], scores=some_scores(),
    )  # fmt: skip
    stored = memory.get_model("dots")
    assert stored.sha256 == start
    assert stored.rates is not None
    assert torch.equal(stored.rates["net.a"], torch.full((2,), 0.5))
    assert list(stored.params) == ["net.a"]
    run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(start="dots"), 0)
    child = memory.finish_run(run, a_run(), None)
    assert child is not None
    assert memory.get_model(child).metadata["parent"] == start
    assert memory.show(start)["children"] == [child]
    assert [model.sha256 for model in memory.models(kind="vae", image_shape=(1, 16, 16), role="start")] == [start]
    assert memory.models(kind="gan") == memory.models(image_shape=(3, 16, 16)) == []
    assert [row["sha256"] for row in memory.list("starts")] == [start]


def test_the_same_model_is_the_same_file(memory: Memory) -> None:
    params = {f"net.{index}": torch.arange(index + 1.0) for index in range(20)}
    first = memory.put_model(params, VAE, name="one")
    again = memory.put_model(dict(reversed(params.items())), VAE, name="two")
    assert first == again
    assert memory.artifacts.all() == [first]
    assert memory.get_model("two").sha256 == first
    assert memory.put_model(params, VAE, role="start") != first


def test_references(memory: Memory) -> None:
    task = memory.add_task(a_task())
    runs = [memory.begin_run(task, VAE, Strategy(), seed, "same") for seed in range(2)]
    with pytest.raises(LimnerError, match=f"'same' could be any of 2 in the memory: .*{runs[0]}"):
        memory.show("same")
    with pytest.raises(
        LimnerError,
        match=r"no run, model, task, data set or recommendation called 'nonsense'; nearest are: .*limner memory list",
    ):
        memory.show("nonsense")
    with pytest.raises(LimnerError, match="holds no model or run called 'zz'"):
        memory.get_model("zz")
    with pytest.raises(LimnerError, match=f"run {runs[0]} is running and has no model"):
        memory.get_model(runs[0])
    with pytest.raises(LimnerError, match="no model 'shipped:zz' comes with Limner"):
        memory.get_model("shipped:zz")
    with pytest.raises(LimnerError, match="called ''"):
        memory.show("")
    with pytest.raises(LimnerError, match="called '%'"):
        memory.show("%")
    with pytest.raises(LimnerError, match="cannot list 'cats'; it can list: runs"):
        memory.list("cats")
    with pytest.raises(LimnerError, match="has no task"):
        memory.begin_run("0" * 64, VAE, Strategy(), 0)
    with pytest.raises(LimnerError, match="no role 'banana'"):
        memory.put_model({}, VAE, role="banana")


def test_every_kind_lists_and_shows(memory: Memory) -> None:
    task = a_task()
    sha256 = memory.add_task(task)
    assert memory.add_task(task, parent=images(99, "all dots", 20)) == sha256  # twice is once
    assert [row["name"] for row in memory.list("tasks")] == [task.name]
    assert {row["name"] for row in memory.list("images")} == {"dots", "all dots"}
    assert memory.list("recommendations") == memory.list("models") == memory.runs() == []
    assert memory.show(task.support.sha256)["tasks"] == [sha256]
    assert len(memory.show("all dots")["parts"]) == 2
    assert memory.show(sha256)["what"] == "task"
    assert memory.show(sha256)["shots"] == 5


def test_what_comes_with_limner_is_shown_too(memory: Memory) -> None:
    shown = memory.show("shipped:glyphs-gan")
    assert (shown["what"], shown["role"], shown["name"]) == ("model", "start", "shipped:glyphs-gan")
    assert shown["sha256"] == memory.get_model("shipped:glyphs-gan").sha256
    assert shown["plan"]["algorithm"] == "reptile"
    json.dumps(shown, allow_nan=False)
    assert memory.show("shipped:glyph-net")["role"] == "features"
    with pytest.raises(LimnerError, match="no model 'shipped:zz' comes with Limner"):
        memory.show("shipped:zz")


def test_a_run_stopped_by_hand_tells_how_to_go_on(memory: Memory, tmp_path: Path) -> None:
    run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0, directory=tmp_path / "here")
    memory.finish_run(run, a_run(state="stopped"), None)
    assert memory.show(run)["reason"] == (
        f"stopped by hand; go on with: limner adapt generate --resume {tmp_path / 'here'}"
    )
    memory.resume_run(run)
    memory.finish_run(run, a_run(), None)
    assert memory.show(run)["reason"] == ""


def test_a_failed_run_is_told_and_can_be_taken_up(memory: Memory) -> None:
    run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0)
    memory.fail_run(run, "the loss was not a number")
    assert memory.show(run)["reason"] == "the loss was not a number"
    assert memory.runs(state="failed")[0]["id"] == run
    assert memory.resume_run(run)["state"] == "running"
    with pytest.raises(LimnerError, match="is running, so there is nothing to resume"):
        memory.resume_run(run)
    memory.finish_run(run, a_run(), None)
    with pytest.raises(LimnerError, match="is finished already"):
        memory.finish_run(run, a_run(), None)


def test_where_a_memory_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(tmp_path / "folder").url.database == str(tmp_path / "folder" / "memory.db")
    assert locate(tmp_path / "a.db").artifacts == tmp_path / "a.artifacts"
    assert locate(f"sqlite:///{tmp_path}/b.db?artifacts={tmp_path}/w").artifacts == tmp_path / "w"
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path / "told"))
    assert locate().url.database == str(tmp_path / "told" / "memory.db")
    monkeypatch.delenv("LIMNER_MEMORY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if sys.platform == "linux":
        assert locate().url.database == str(tmp_path / "data" / "limner" / "memory.db")
    monkeypatch.setenv("LIMNER_ARTIFACTS", str(tmp_path / "weights"))
    server = locate("postgresql://me:secret@host/limner")
    assert server.artifacts == tmp_path / "weights"
    assert server.url.drivername == "postgresql+psycopg"
    assert "secret" not in server.label
    assert server.schema == "limner"
    other = locate("postgresql://host/limner?artifacts=s3://bucket/w&schema=ours")
    assert (other.url.query, other.artifacts, other.schema) == ({}, "s3://bucket/w", "ours")
    assert other.label.endswith("host/limner (schema ours)")
    for name in ('a"b', "pg_own", "1st"):
        with pytest.raises(LimnerError, match="cannot be a schema's name"):
            locate(f"postgresql://host/limner?schema={name}")
    with pytest.raises(LimnerError, match="cannot lie in mysql"):
        locate("mysql://host/limner")
    with pytest.raises(LimnerError, match="must outlive"):
        locate("sqlite://")


def test_writers_wait_and_readers_do_not(memory: Memory) -> None:
    memory.add_task(a_task())
    with memory.database.writing() as session:
        session.execute(text("DELETE FROM tasks"))
        assert len(memory.list("tasks")) == 1  # a reader sees the state before
    with memory.database.reading() as session:
        if memory.database.is_sqlite:
            assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1
        schema = memory.database.location.schema
        assert inspect(session.connection()).has_table("alembic_version", schema=schema)
