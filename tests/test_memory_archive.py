"""Schema and migrations agree; damage is noticed; exports travel; forgetting leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from private_postgres import Server
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.engine import make_url

import limner.memory.database
from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.memory.lookup import plural
from limner.memory.schema import REVISION, TABLES, RunRow, Table
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task
from limner.types import Cost, CurvePoint, Score, Scores

VAE = {"kind": "vae", "image_shape": [1, 16, 16], "options": {}}


def images(seed: int, name: str) -> ImageSet:
    made = torch.randint(0, 256, (5, 1, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return ImageSet(made, name)


def tell(memory: Memory, name: str, seed: int, start: str = "scratch", value: float | None = None) -> tuple[str, str]:
    """A finished run on a task of its own; the ids of run and model."""
    task = Task("generate", name, images(2 * seed, name), images(2 * seed + 1, name), seed, name)
    run = memory.begin_run(memory.add_task(task), VAE, Strategy(start=start, steps=seed + 1), seed, f"run of {name}")
    made = SimpleNamespace(
        params={"net.a": torch.full((4,), float(seed) if value is None else value)}, best=None, state="finished",
        notes=[], curve=[CurvePoint(1, 0.1, {"loss": 1.0})], cost=Cost(1.0, 10, 1), lineage={},
    )  # fmt: skip
    model = memory.finish_run(run, made, Scores({"kernel_distance": Score(0.1)}, "pixels", 9, 5, 5))
    assert model is not None
    return run, model


@pytest.fixture
def memory(memory_at: Callable[[str], str]) -> Any:
    with Memory.open(memory_at("memory")) as opened:
        yield opened


def counts(memory: Memory) -> dict[str, int]:
    with memory.database.reading() as session:
        found = {plural(t): session.execute(text(f"SELECT count(*) FROM {t.__tablename__}")).scalar() for t in TABLES}
    return {name: count for name, count in found.items() if count}


# schema


def test_migrations_make_the_schema(memory: Memory, tmp_path: Path) -> None:
    with memory.database.writing() as session:
        connection = session.connection()
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == REVISION
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Table.metadata) == []
        migrated = [_structure(connection, table.__tablename__) for table in TABLES]
        for table in reversed(TABLES):
            connection.execute(text(f"DROP TABLE {table.__tablename__}"))
        Table.metadata.create_all(connection)
        assert [_structure(connection, table.__tablename__) for table in TABLES] == migrated


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_memory_of_every_released_version_is_brought_up_to_date(
    memory_at: Callable[[str], str], tmp_path: Path, revision: str
) -> None:
    """Made anew at that version, with what a memory of today holds: nothing is lost, and the structure is today's."""
    with Memory.open(memory_at("now")) as memory:
        run, model = tell(memory, "dots", 1)
        before, shown = counts(memory), memory.show(run)
        memory.export(tmp_path / "all.zip")
        with memory.database.writing() as session:
            connection = session.connection()
            wanted = [_structure(connection, table.__tablename__) for table in TABLES]
            rows = [(table, connection.execute(select(table.__table__)).mappings().all()) for table in TABLES]
            for name in (*(table.__tablename__ for table in reversed(TABLES)), "alembic_version"):
                connection.execute(text(f"DROP TABLE {name}"))
            limner.memory.database.upgrade(connection, None, "here", revision)
            assert memory.database.revision(connection) == revision
            there = inspect(connection).get_table_names()
            assert [
                _structure(connection, table.__tablename__) for table in TABLES if table.__tablename__ in there
            ] != wanted
            for table, records in rows:
                if records:
                    connection.execute(insert(table.__table__), [dict(record) for record in records])
    with Memory.open(memory_at("now")) as memory:
        with memory.database.reading() as session:
            connection = session.connection()
            assert memory.database.revision(connection) == REVISION
            assert [_structure(connection, table.__tablename__) for table in TABLES] == wanted
        assert (counts(memory), memory.show(run)) == (before, shown)
        assert memory.get_model(model).sha256 == model
        _rewrite(tmp_path / "all.zip", _edit(lambda content: content.update(schema=revision)))
        assert memory.import_(tmp_path / "all.zip") == {}  # an export of that version


def test_every_version_but_the_newest_is_tested() -> None:
    folder = Path(limner.memory.database.__file__).parent / "migrations" / "versions"
    versions = sorted(path.stem.removeprefix("version_") for path in folder.glob("version_*.py"))
    (parameters,) = test_a_memory_of_every_released_version_is_brought_up_to_date.pytestmark
    assert [*parameters.args[1], REVISION] == versions


def test_a_memory_kept_in_public_moves_into_its_own_schema(private_server: Server, tmp_path: Path) -> None:
    """As it lay before memories had schemas; what else lies in public stays there."""
    import psycopg

    with psycopg.connect(private_server.url, autocommit=True) as direct:
        direct.execute("CREATE DATABASE shared")
        url = make_url(private_server.url).set(database="shared")
        at = f"{url.render_as_string(hide_password=False)}&artifacts={tmp_path}/weights"
        try:
            with Memory.open(f"{at}&schema=public") as memory:
                run, _ = tell(memory, "dots", 1)
                with memory.database.writing() as session:
                    session.execute(text("CREATE TABLE cats (name TEXT)"))
            with Memory.open(at) as memory:
                assert memory.show(run)["state"] == "finished"
                with memory.database.reading() as session:
                    assert inspect(session.connection()).get_table_names("public") == ["cats"]
            with pytest.raises(LimnerError, match="is a database, but not a memory of Limner"):
                Memory.open(f"{at}&schema=public")
        finally:
            direct.execute("DROP DATABASE shared WITH (FORCE)")


def _structure(connection: Any, table: str) -> Any:
    found = inspect(connection)
    columns = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)]
    indexes = sorted((i["name"], i["column_names"]) for i in found.get_indexes(table))
    keys = sorted((k["name"], k["constrained_columns"], k["referred_table"]) for k in found.get_foreign_keys(table))
    return table, columns, indexes, keys, found.get_pk_constraint(table)


def test_a_memory_made_by_a_newer_version_is_refused_untouched(memory_at: Callable[[str], str]) -> None:
    with Memory.open(memory_at("new")) as memory:
        tell(memory, "dots", 0)
        with memory.database.writing() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(LimnerError, match=r"made by a newer version of Limner \(schema 9999.*upgrade Limner"):
            Memory.open(memory_at("new"))
        assert counts(memory)["runs"] == 1


def test_what_is_not_a_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database, and long enough to be read as one" * 20)
    with pytest.raises(LimnerError, match="is not a memory of Limner"):
        Memory.open(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE cats (name TEXT)")
    other.commit()
    other.close()
    with pytest.raises(LimnerError, match="is a database, but not a memory of Limner"):
        Memory.open(tmp_path / "other.db")
    (tmp_path / "file").write_text("")
    with pytest.raises(LimnerError, match="cannot be made there"):
        Memory.open(tmp_path / "file" / "below")


# export and import


def test_an_export_makes_the_same_memory_elsewhere(memory: Memory, tmp_path: Path) -> None:
    start = memory.put_model({"net.s": torch.ones(2)}, VAE, role="start", name="first start")
    run, model = tell(memory, "dots", 1, start="first start")
    running = memory.begin_run(memory.list("tasks")[0]["sha256"], VAE, Strategy(), 5)
    told = memory.export(tmp_path / "all.zip")
    assert told == counts(memory)
    with pytest.raises(LimnerError, match=r"all.zip exists already"):
        memory.export(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as file:
        assert {Path(name).suffix for name in file.namelist()} == {".json", ".safetensors"}
        record = next(row for row in json.loads(file.read("memory.json"))["tables"]["runs"] if row["id"] == running)
        assert record["host"] is record["process"] is record["directory"] is None
    with Memory.open(tmp_path / "other") as other:
        assert other.import_(tmp_path / "all.zip") == told
        assert other.import_(tmp_path / "all.zip") == {}
        assert counts(other) == counts(memory)
        assert other.verify() == []
        theirs, ours = other.show(run), memory.show(run)
        assert theirs.pop("imported")["from"] == "all.zip"
        assert ours.pop("imported") is None
        assert theirs == ours
        assert other.get_model(model).metadata["parent"] == start
        assert other.show(running)["state"] == "killed"
        memory.finish_run(running, SimpleNamespace(
            params={}, best=None, state="finished", notes=[], curve=[], cost=Cost(2.0, 3, 1), lineage={}), None
        )  # fmt: skip
        memory.export(tmp_path / "later.zip")
        assert other.import_(tmp_path / "later.zip") == {"runs": 1, "curves": 1}
        assert other.show(running)["state"] == "finished"


def test_memories_merge(memory: Memory, tmp_path: Path) -> None:
    tell(memory, "dots", 1)
    with Memory.open(tmp_path / "other") as other:
        tell(other, "dots", 1)
        tell(other, "lines", 2)
        other.export(tmp_path / "other.zip")
    new = memory.import_(tmp_path / "other.zip")
    assert (new["runs"], new["tasks"], new["models"]) == (2, 1, 1)  # the task and model of the dots were there
    assert len(memory.runs()) == 3
    assert memory.verify() == []


def test_a_part_is_exported_with_what_it_rests_on(memory: Memory, tmp_path: Path) -> None:
    memory.put_model({"net.s": torch.ones(2)}, VAE, role="start", name="first start")
    run, _ = tell(memory, "dots", 1, start="first start")
    tell(memory, "lines", 2)
    told = memory.export(tmp_path / "part.zip", run)
    assert told == {"data_sets": 2, "tasks": 1, "learners": 1, "strategies": 1, "models": 2, "runs": 1, "curves": 1,
                    "evaluations": 1}  # fmt: skip
    with Memory.open(tmp_path / "other") as other:
        other.import_(tmp_path / "part.zip")
        assert other.verify() == []
        assert other.show(run)["scores"] == memory.show(run)["scores"]
    with pytest.raises(LimnerError, match=r"holds no .* called 'squares'"):
        memory.export(tmp_path / "none.zip", "squares")
    assert not (tmp_path / "none.zip").exists()


def _rewrite(path: Path, change: Any) -> None:
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data)


def _edit(change: Any) -> Any:
    def edit(entries: dict[str, bytes]) -> None:
        content = json.loads(entries["memory.json"])
        change(content)
        entries["memory.json"] = json.dumps(content).encode()

    return edit


def _lose_artifact(entries: dict[str, bytes]) -> None:
    del entries[next(name for name in entries if name.startswith("artifacts/"))]


def _bend_artifact(entries: dict[str, bytes]) -> None:
    name = next(name for name in entries if name.startswith("artifacts/"))
    entries[name] = entries[name][:-1] + b"!"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_lose_artifact, "not a whole export"),
        (_bend_artifact, "is damaged; nothing was imported"),
        (_edit(lambda content: content.update(schema="9999")), "newer version"),
        (_edit(lambda content: content.update(format="cats")), "not a whole export"),
        (_edit(lambda content: content["tables"].update(cats=[{"a": 1}])), "not a whole export"),
        (_edit(lambda content: content["tables"]["runs"][0].pop("seed")), "not a whole export"),
        (_edit(lambda content: content["tables"].update(tasks=[])), "refers to things that it does not hold"),
        (
            _edit(lambda content: content["tables"]["runs"][0].update(seed=None)),
            "refers to things that it does not hold",
        ),
        (lambda entries: entries.pop("memory.json"), "not a whole export"),
    ],
)
def test_a_damaged_export_changes_nothing(tmp_path: Path, change: Any, sentence: str) -> None:
    with Memory.open(tmp_path / "one") as one:
        tell(one, "dots", 1)
        one.export(tmp_path / "one.zip")
    _rewrite(tmp_path / "one.zip", change)
    with Memory.open(tmp_path / "two") as two:
        tell(two, "lines", 2)
        before = counts(two), two.artifacts.all()
        with pytest.raises(LimnerError, match=sentence):
            two.import_(tmp_path / "one.zip")
        assert (counts(two), two.artifacts.all()) == before


def test_a_cut_export_is_refused(memory: Memory, tmp_path: Path) -> None:
    tell(memory, "dots", 1)
    memory.export(tmp_path / "whole.zip")
    data = (tmp_path / "whole.zip").read_bytes()
    for cut in (b"", data[: len(data) // 2], b"text"):
        (tmp_path / "cut.zip").write_bytes(cut)
        with pytest.raises(LimnerError, match="not a whole export"):
            memory.import_(tmp_path / "cut.zip")
    with pytest.raises(LimnerError, match="there is no file"):
        memory.import_(tmp_path / "none.zip")


# forgetting


def test_forgetting_an_image_set_removes_all_that_came_of_it(memory: Memory) -> None:
    run, model = tell(memory, "dots", 1)
    child_run, child = tell(memory, "lines", 2, start=run)
    kept_run, kept = tell(memory, "squares", 3)
    before = counts(memory)
    told = memory.forget("dots", dry_run=True)
    assert (counts(memory), len(memory.artifacts.all())) == (before, 3)
    said = memory.forget("dots")
    assert said == told | {"remains": []}
    assert said["runs"] == sorted([f"run {run} 'run of dots'", f"run {child_run} 'run of lines'"])
    assert said["models"] == sorted([f"model {model[:12]}", f"model {child[:12]}"])
    assert memory.artifacts.all() == [kept]
    assert [row["id"] for row in memory.runs()] == [kept_run]
    assert {row["name"] for row in memory.list("images")} == {"lines", "squares"}  # lines are no dots
    assert counts(memory)["strategies"] == counts(memory)["curves"] == counts(memory)["evaluations"] == 1
    assert memory.verify() == []
    with pytest.raises(LimnerError, match="holds no model or run called"):
        memory.get_model(model)
    if memory.database.is_sqlite:
        stored = b"".join(path.read_bytes() for path in Path(memory.location).parent.glob("memory.db*"))
        assert run.encode() not in stored  # not even in the pages that SQLite keeps for later use
        assert kept_run.encode() in stored


def test_a_model_that_another_run_made_too_stays(memory: Memory) -> None:
    run, model = tell(memory, "dots", 1, value=5.0)
    other, same = tell(memory, "lines", 2, value=5.0)
    assert model == same
    assert "models" not in memory.forget(run)
    assert memory.get_model(other).sha256 == model
    assert memory.forget(other)["models"] == [f"model {model[:12]}"]
    assert memory.artifacts.all() == []


def test_what_still_names_the_forgotten_is_told(memory: Memory) -> None:
    """The proof looks into every text: a note that someone wrote, and a file that came back."""
    run, model = tell(memory, "dots", 1)
    kept, _ = tell(memory, "lines", 2)
    with memory.database.writing() as session:
        session.get_one(RunRow, kept).notes = [f"better than {run}"]
    put_back = memory.artifacts.get(model)
    remove = memory.artifacts.remove

    def comes_back(sha256: str) -> None:
        remove(sha256)
        memory.artifacts.put(put_back)

    memory.artifacts.remove = comes_back  # type: ignore[method-assign]
    assert memory.forget("dots")["remains"] == [
        f"runs {kept} still names {run}", f"the file {memory.artifacts.path(model)} is still there"
    ]  # fmt: skip


def test_an_import_that_fails_in_the_middle_leaves_nothing(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Memory.open(tmp_path / "one") as one:
        for seed in range(3):
            tell(one, f"dots {seed}", seed)
        one.export(tmp_path / "one.zip")
    tell(memory, "dots 0", 0)
    before, put = (counts(memory), memory.artifacts.all()), memory.artifacts.put

    def fills_up(data: bytes) -> str:
        if len(memory.artifacts.all()) == 2:
            raise LimnerError("the disk is full")
        return put(data)

    monkeypatch.setattr(memory.artifacts, "put", fills_up)
    with pytest.raises(LimnerError, match="disk is full"):
        memory.import_(tmp_path / "one.zip")
    assert (counts(memory), memory.artifacts.all()) == before
    assert memory.verify() == []


def test_forgetting_a_model_keeps_the_record_of_its_run(memory: Memory) -> None:
    run, model = tell(memory, "dots", 1)
    memory.forget(model)
    assert memory.show(run)["model"] is None
    assert memory.show(run)["scores"]["kernel_distance"]["value"] == 0.1


def test_forgetting_images_reaches_starts_learned_from_them(memory: Memory, tmp_path: Path) -> None:
    whole = images(50, "family")
    part = Task("generate", "part", images(51, "family part"), None)
    memory.add_task(part, parent=whole)
    start = memory.put_model({"net.s": torch.ones(2)}, VAE, role="start", family={"sha256": whole.sha256})
    removed = memory.forget(whole.sha256[:10])
    assert removed["models"] == [f"model {start[:12]}"]
    assert len(removed["data_sets"]) == 2
    assert len(removed["tasks"]) == 1
    assert counts(memory) == {}
    shutil.rmtree(memory.artifacts.place)
    assert memory.verify() == []
