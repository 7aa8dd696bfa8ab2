"""Going through a family: what is tried and kept, by one process and by several, begun, stopped and gone on with."""

import json
import threading

import numpy as np
import pytest
from made_up import VAE, a_task

import limner
from limner.cli.main import main
from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.memory.liveness import Claimed
from limner.verbs import trials
from limner.verbs.budget import Budget
from limner.verbs.experience import experience, resume
from limner.verbs.experience_family import Plan, pieces_of

TREE = "estimator:sklearn.tree.DecisionTreeClassifier"
FAMILY = "sklearn:wine; sklearn:iris"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr("limner.memory.fingerprints._installed_extractor", lambda: None)
    monkeypatch.chdir(tmp_path)


def told(memory):
    """What there is to compare of all runs: not their ids and times."""
    with Memory.open(memory) as remembered:
        runs = remembered.runs()
    return sorted(
        (run["name"], run["state"], json.dumps(run["learner"], sort_keys=True), run["scores"]["accuracy"]["value"])
        for run in runs
    )


def test_a_family_is_gone_through_and_every_run_kept(tmp_path):
    made = experience(TREE, FAMILY, tasks=3, runs=3, adviser="random", out=tmp_path / "out")
    assert (made.state, [row["state"] for row in made.rows]) == ("finished", ["done"] * 3)
    assert [row["task"] for row in made.rows] == ["sklearn:wine", "sklearn:iris", "sklearn:wine"]
    assert all(row["best"] >= row["default"] for row in made.rows)
    with Memory.open() as memory:
        runs, said = memory.runs(), memory.list("recommendations")
        tasks = {run["task"] for run in runs}
    assert len(runs) == len(said) == 9
    assert len(tasks) == 3  # each task is a sample of the rows of its own
    assert {run["state"] for run in runs} == {"finished"}
    assert json.loads((tmp_path / "out" / "experience.json").read_text())["rows"] == made.rows


def test_two_processes_do_what_one_does_and_nothing_twice(tmp_path):
    asked = {"tasks": 4, "runs": 2, "adviser": "random"}
    experience(TREE, FAMILY, **asked, memory=str(tmp_path / "one"), out=tmp_path / "a")
    made = experience(TREE, FAMILY, **asked, workers=2, memory=str(tmp_path / "two"), out=tmp_path / "b")
    assert (made.state, made.workers, made.notes) == ("finished", 2, [])
    assert told(tmp_path / "one") == told(tmp_path / "two")
    assert len(told(tmp_path / "two")) == 8


def test_it_goes_on_where_it_was_stopped_and_on_to_more(tmp_path, monkeypatch):
    tried, count = trials.BlackBoxes.attempt, []

    def interrupted(self, values, worse, label, way):
        count.append(label)
        if len(count) == 4:
            raise KeyboardInterrupt
        return tried(self, values, worse, label, way)

    asked = {"tasks": 2, "runs": 3, "adviser": "random"}
    with monkeypatch.context() as patch:
        patch.setattr(trials.BlackBoxes, "attempt", interrupted)
        made = experience(TREE, FAMILY, **asked, out=tmp_path / "out")
    assert (made.state, [row["runs"] for row in made.rows]) == (
        "stopped",
        [3, 1],
    )  # one that was cut short is kept as failed
    with pytest.raises(LimnerError, match="of 4 runs so far; go on with it by limner meta-train --resume"):
        experience(TREE, FAMILY, **asked, out=tmp_path / "other")
    again = resume(tmp_path / "out")
    assert (again.state, [row["state"] for row in again.rows]) == ("finished", ["done", "done"])
    further = resume(tmp_path / "out", tasks=3, runs=3)
    assert [row["runs"] for row in further.rows][2] == 3
    whole = experience(
        TREE, FAMILY, tasks=3, runs=3, adviser="random", memory=str(tmp_path / "whole"), out=tmp_path / "w"
    )
    assert [(row["default"], row["best"]) for row in whole.rows] == [
        (row["default"], row["best"]) for row in further.rows
    ]


def test_a_budget_ends_it_and_what_waits_is_no_failure(tmp_path):
    made = experience(TREE, FAMILY, tasks=2, runs=2, budget="0.001s", out=tmp_path / "out")
    assert (made.state, [row["state"] for row in made.rows]) == ("stopped", ["waiting", "waiting"])


def test_of_two_processes_one_alone_gets_a_piece_of_work(tmp_path):
    with Memory.open(tmp_path) as memory:
        task = memory.add_task(a_task())
        won, lost = [], []

        def ask():
            try:
                won.append(memory.begin_run(task, VAE, Strategy(), 0, "work-000-default", claims="work-000"))
            except Claimed as refused:
                lost.append(str(refused))

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert (len(won), len(lost)) == (1, 3)
        assert "is going on in another process" in lost[0]
        with pytest.raises(Claimed, match="is going on"):  # pieces of one list are done in turn
            memory.begin_run(task, VAE, Strategy(), 0, "work-001-tpe", claims="work-001")
        assert memory.begin_run(task, VAE, Strategy(), 0, "other-000-default", claims="other-000")
        memory.fail_run(won[0], "stopped by hand")
        again = memory.begin_run(task, VAE, Strategy(), 0, "work-000-default", claims="work-000")
        memory.fail_run(again, "the loss was not a number")
        with pytest.raises(Claimed, match="has been done by another process"):
            memory.begin_run(task, VAE, Strategy(), 0, "work-000-default", claims="work-000")


def test_tasks_of_images_are_classes_to_learn_from_and_other_ones_are_left_for_tests():
    def plan(learner, **changes):
        usual = {
            "learner": learner, "family": "digits,size=16", "tasks": 20, "runs": 1, "shots": 10, "ways": 3,
            "degradation": None, "start": "scratch", "each": trials.Budget(5), "options": {}, "fields": {},
            "adviser": "search", "sampler": "tpe", "seed": 0,
        }  # fmt: skip
        return Plan(**usual | changes)

    single = pieces_of(plan("vae"))
    named = [piece.spec.partition("classes=")[2].split(",")[0] for piece in single]
    assert len(set(named)) == len(named) == 7  # of ten classes three are for validation and test
    several = pieces_of(plan("classifier"))
    assert len(several) == 20
    assert {word for piece in several for word in piece.spec.partition("classes=")[2].split(",")[0].split("+")} <= set(
        named
    )
    assert pieces_of(plan("classifier", tasks=5)) == several[:5]
    damaged = pieces_of(plan("restorer", degradation="gaussian(25); poisson(30)", tasks=3))
    assert [piece.degradation for piece in damaged] == ["gaussian(25)", "poisson(30)", "gaussian(25)"]
    assert len({piece.seed for piece in damaged}) == 3
    with pytest.raises(LimnerError, match="too few for --ways 9"):
        pieces_of(plan("classifier", ways=9))


def test_networks_gather_experience_too(tmp_path):
    made = experience(
        "classifier", "digits,size=16,limit=24", tasks=1, runs=2, ways=2, each="3steps", adviser="random",
        options={"width": 4, "features": 8}, fields={"batch": 8}, out=tmp_path / "out",
    )  # fmt: skip
    assert (made.metric, made.rows[0]["runs"], made.state) == ("accuracy", 2, "finished")


@pytest.mark.parametrize(
    ("family", "more", "said"),
    [
        (" ; ", {}, "a family needs data; give --family DATA"),
        ("sklearn:wine", {"tasks": 0}, "--tasks 0 does nothing"),
        ("sklearn:wine", {"workers": 0}, "--workers 0 does nothing"),
        ("sklearn:wine", {"adviser": "oracle"}, "there is no adviser 'oracle'"),
        ("sklearn:wine", {"budget": "5steps"}, "the budget 5steps of an experience is a time"),
        ("sklearn:wine", {"shots": 175}, "leaves 3 held back"),
        ("sklearn:win", {}, "win"),
    ],
)
def test_a_mistake_is_told_before_anything_is_done(family, more, said, tmp_path):
    with pytest.raises(LimnerError, match=said) as refusal:
        experience(TREE, family, **more, out=tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()
    with Memory.open() as memory:
        assert memory.runs() == []


def test_the_command_line(tmp_path, capsys):
    asked = ["meta-train", "experience", TREE, "--family", "sklearn:iris", "--tasks", "1", "--runs", "2"]
    assert main([*asked, "--adviser", "random", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["state"] == "done"
    assert main(["meta-train", "--resume", str(tmp_path / "out"), "--runs", "3"]) == 0
    assert "sklearn:iris" in capsys.readouterr().out
    for words, said in (
        (["--name", "x"], "--name plays no part in meta-train experience"),
        (["--goal", "generate"], "--goal plays no part"),
        (["--queries", "0"], "--queries plays no part"),
        (["--shots", "0"], "0 shots leave nothing to learn from"),
        (["--on", "spark"], "right would be ray, or ray://HOST:PORT of a cluster"),
    ):
        assert main([*asked, *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["meta-train", "experience", TREE]) == 2
    assert "an experience needs a family" in capsys.readouterr().err
    assert main(["meta-train", "reptile", "vae", "--family", "glyphs", "--workers", "2"]) == 2
    assert "--workers is of meta-train experience alone" in capsys.readouterr().err
    assert main(["meta-train", "--resume", str(tmp_path / "out"), "--adviser", "metann"]) == 2


def test_tasks_are_the_same_wherever_the_images_lie(tmp_path):
    drawn = []
    for place in ("here", "there"):
        images = limner.data("digits,limit=4,size=16")
        (tmp_path / place).mkdir()
        np.savez(tmp_path / place / "pack.npz", x=images.images[:, 0].numpy(), y=images.labels.numpy())
        spec = f"npz:{tmp_path / place / 'pack.npz'},images=x,labels=y"
        plan = Plan("classifier", spec, 3, 1, 5, 3, None, "scratch", Budget(), {}, {}, "random", "tpe", 0)
        drawn.append([piece.spec.partition("classes=")[2] for piece in pieces_of(plan)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1
