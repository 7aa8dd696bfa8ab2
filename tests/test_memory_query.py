"""Asking the memory without SQL: filters, conditions, frames; the same on both kinds of database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import VAE, a_run, a_task, some_scores
from sqlalchemy import select, text

from limner.cli.main import main
from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.memory.query import on_tasks
from limner.memory.schema import EvaluationRow, RunRow

GAN = VAE | {"kind": "gan"}


@pytest.fixture
def location(memory_at: Callable[[str], str]) -> str:
    """Six runs: of a VAE and a GAN in turn, with a kernel distance of 0.1 to 0.6 and 1 to 6 steps to take."""
    where = memory_at("memory")
    with Memory.open(where) as memory:
        for index in range(6):
            task = memory.add_task(a_task(index // 3))
            run = memory.begin_run(task, (VAE, GAN)[index % 2], Strategy(steps=index + 1), index, f"run {index}")
            memory.finish_run(run, a_run(float(index)), some_scores(0.1 * (index + 1)))
        memory.fail_run(memory.begin_run(task, VAE, Strategy(), 9, "bad"), "no reason")
        memory.put_model({"net.a": torch.ones(1)}, VAE, role="start", name="a start", scores=some_scores(0.3))
    return where


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"learner": "gan"}, "531"),
        ({"goal": "generate", "state": "finished", "limit": 2}, "54"),
        ({"where": "kernel_distance<0.35"}, "210"),
        ({"where": "kernel_distance>=0.35 and seed<5"}, "43"),
        ({"where": ["kernel_distance < 0.35", "seed != 1"], "learner": "vae"}, "20"),
        ({"where": "name='run 3'"}, "3"),
        ({"where": "steps==20", "limit": 1}, "5"),
        ({"where": "kernel_distance>9"}, ""),
    ],
)
def test_runs_are_chosen(location: str, filters: dict[str, Any], names: str) -> None:
    with Memory.open(location) as memory:
        assert [row["name"] for row in memory.list("runs", **filters)] == [f"run {name}" for name in names]


def test_other_kinds_are_chosen_too(location: str) -> None:
    with Memory.open(location) as memory:
        (task, other) = memory.list("tasks")
        assert len(memory.list("runs", task=task["sha256"][:10])) + len(memory.list("runs", task=other["sha256"])) == 7
        assert memory.list("tasks", where=f"name={task['name']}") == [task]
        assert [row["name"] for row in memory.list("starts", where="kernel_distance<0.4", learner="vae")] == ["a start"]
        assert memory.list("models", where="bytes<1") == []
        assert len(memory.list("images", where="images=5")) == 4
        assert memory.list("recommendations", goal="generate", learner="gan", where="rank=1") == []
        assert {row["runs"] for row in memory.list("tasks")} == {3, 4}


@pytest.mark.parametrize(
    ("kind", "filters", "sentence"),
    [
        ("runs", {"goal": "generat"}, r"nothing with the goal 'generat'; it knows: generate"),
        ("runs", {"learner": "vea"}, r"the learner 'vea'; it knows: gan, vae"),
        ("runs", {"state": "done"}, r"the state 'done'; it knows: failed, finished"),
        ("tasks", {"learner": "vae"}, r"tasks have no learner to choose by; these have: runs, models"),
        ("images", {"state": "finished"}, r"images have no state to choose by; these have: runs"),
        (
            "runs",
            {"where": "kernel_distanz<1"},
            r"cannot be chosen by 'kernel_distanz'; they can by the scores kernel",
        ),
        ("tasks", {"where": "kernel_distance<1"}, r"tasks cannot be chosen by 'kernel_distance'; they can by sha256"),
        ("runs", {"where": "kernel_distance<low"}, r"compares with a number, and 'low' is none"),
        ("runs", {"where": "kernel_distance"}, r"the condition 'kernel_distance' cannot be read; right would be"),
        ("runs", {"where": "1=1; DROP TABLE runs"}, r"cannot be read"),
        ("runs", {"where": "notes=x"}, r"cannot be chosen by 'notes'"),
        ("runs", {"limit": 0}, r"a limit of 0 lists nothing"),
        ("cats", {}, r"cannot list 'cats'; it can list: runs"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(location: str, kind: str, filters: dict[str, Any], sentence: str) -> None:
    with Memory.open(location) as memory:
        with pytest.raises(LimnerError, match=sentence):
            memory.list(kind, **filters)
        assert len(memory.runs()) == 7


def test_a_frame_has_a_column_for_each_leaf(location: str) -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    with Memory.open(location) as memory:
        frame = memory.frame("runs", state="finished")
        table = memory.arrow("runs", state="finished")
        starts = memory.arrow("starts")
        assert memory.arrow("models", where="bytes<1").num_rows == len(memory.frame("models", where="bytes<1")) == 0
    assert isinstance(frame, pandas.DataFrame)
    assert frame.groupby("learner.kind")["scores.kernel_distance.value"].min().to_dict() == pytest.approx(
        {"vae": 0.1, "gan": 0.2}
    )
    assert list(frame["strategy.steps"]) == [6, 5, 4, 3, 2, 1]
    assert isinstance(table, pyarrow.Table)
    assert set(table.column_names) == set(frame.columns)
    assert table.column("seed").to_pylist() == list(frame["seed"])
    assert starts.column("name").to_pylist() == ["a start"]


def test_an_arrow_column_of_several_types_is_text() -> None:
    pytest.importorskip("pyarrow")
    from limner.memory.frames import arrow

    table = arrow([{"options": {"pooling": "mean"}}, {"options": {"pooling": 3}}, {"options": {}}])
    assert table.column("options.pooling").to_pylist() == ['"mean"', "3", None]


def test_the_command_chooses_and_says_what_it_left_out(
    location: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        assert main(["memory", "list", *words, "--memory", location]) == 0
        return capsys.readouterr().out

    chosen = ["runs", "--goal", "generate", "--learner", "vae", "--where", "kernel_distance<0.4"]
    assert [row["name"] for row in json.loads(said(*chosen, "--json"))] == ["run 2", "run 0"]
    assert len(json.loads(said("runs", "--json"))) == 7
    assert "these are the newest" not in said("runs")
    monkeypatch.setattr("limner.cli.memory.SHOWN", 3)
    told = said("runs")
    assert "these are the newest 3; choose with --where" in told
    assert "run 0" not in told
    assert "are so" in said("runs", "--where", "kernel_distance>9")
    assert "shipped:glyphs-vae" in said("starts", "--json")
    assert "shipped" not in said("starts", "--learner", "vae", "--json")


def test_scores_are_looked_up_by_the_tasks_and_not_among_all_by_their_metric(tmp_path: Path) -> None:
    with Memory.open(str(tmp_path)) as memory, memory.database.reading() as session:
        query = select(RunRow.id, EvaluationRow.value).join(EvaluationRow, EvaluationRow.owner == RunRow.id)
        of = EvaluationRow.metric == "kernel_distance"
        for condition, wanted in ((on_tasks(["one", "two"]), True), (RunRow.task_sha256.in_(["one", "two"]), False)):
            told = query.where(of, condition).compile(session.connection(), compile_kwargs={"literal_binds": True})
            plan = "\n".join(str(row[3]) for row in session.execute(text(f"EXPLAIN QUERY PLAN {told}")))
            assert ("(owner=? AND metric=?)" in plan) is wanted, plan
