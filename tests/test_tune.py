"""The search for the strategy of a task: decision tree and networks through the very same call, and its mistakes."""

import json
import time

import pytest
import torch

from limner.cli.main import main
from limner.errors import LimnerError
from limner.memory import Memory
from limner.tasks.tables import load_table, split_table
from limner.verbs import trials
from limner.verbs.tune import fitted, most, tune

TREE = "estimator:sklearn.tree.DecisionTreeClassifier"
WINE = "sklearn:wine"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Tasks are compared by their simple statistics alone, and nothing is written beside the tests."""
    monkeypatch.setattr("limner.memory.fingerprints._installed_extractor", lambda: None)
    monkeypatch.chdir(tmp_path)


def test_a_tree_is_tuned_remembered_and_shown(tmp_path):
    made = tune(WINE, TREE, budget="6runs", out=tmp_path / "tree")
    assert [trial.source for trial in made.trials] == ["default", *["tpe"] * 5]
    assert made.trials[0].values == made.default
    assert made.best.score == max(trial.score for trial in made.trials)
    assert set(made.test) == {"default", "winner"}
    assert sum(made.held.values()) == 178
    with Memory.open() as memory:
        runs = {run["id"]: run for run in memory.runs()}
    for trial in made.trials:
        known = runs[trial.run]
        assert known["state"] == "finished"
        assert known["scores"]["accuracy"]["value"] == trial.score
        kept = known["learner"]["options"]
        assert all(kept[name] == value for name, value in trial.values.items())
    assert len(runs) == 6 + len({made.trials[0].run, made.best.run})
    page = made.page.read_text()
    assert "<svg" in page
    assert made.command in page
    assert json.loads((tmp_path / "tree" / "tune.json").read_text())["winner"] == made.winner


def test_the_winner_is_fitted_again_to_what_it_was(tmp_path):
    made = tune(WINE, TREE, budget="4runs", out=tmp_path / "tree", seed=3)
    query = trials.halves(split_table(load_table(WINE), "classify", None, 3, WINE))[1].query
    right = (torch.as_tensor(fitted(tmp_path / "tree").predict(query)) == query.labels).double().mean().item()
    assert right == pytest.approx(made.test["default" if made.keeps_default else "winner"].value)
    with pytest.raises(LimnerError, match="is not a directory that Limner wrote"):
        fitted(tmp_path)


def test_the_halves_share_nothing_and_lose_nothing():
    whole = split_table(load_table(WINE), "classify", 100, 0)
    first, second = trials.halves(whole)
    assert len(first.query) + len(second.query) == len(whole.query)
    rows = [set(map(tuple, part.inputs.tolist())) for part in (first.support, first.query, second.query)]
    assert not (rows[0] & rows[1])
    assert not (rows[0] & rows[2])
    assert not (rows[1] & rows[2])


def test_it_goes_on_from_memory_as_if_it_had_never_stopped(tmp_path):
    whole = tune(WINE, TREE, budget="9runs", memory=str(tmp_path / "one"), out=tmp_path / "whole")
    tune(WINE, TREE, budget="4runs", memory=str(tmp_path / "two"), out=tmp_path / "part")
    with pytest.raises(LimnerError, match="the memory knows this search, of 4 runs so far; add --resume"):
        tune(WINE, TREE, budget="9runs", memory=str(tmp_path / "two"), out=tmp_path / "again")
    resumed = tune(WINE, TREE, budget="9runs", memory=str(tmp_path / "two"), out=tmp_path / "part", resume=True)
    assert [trial.values for trial in resumed.trials] == [trial.values for trial in whole.trials]
    assert [trial.score for trial in resumed.trials] == [trial.score for trial in whole.trials]
    assert resumed.test == whole.test
    with Memory.open(tmp_path / "two") as memory:
        names = [run["name"] for run in memory.runs()]
    assert len(names) == len(set(names))


def test_a_stop_by_hand_keeps_what_was_done(tmp_path, monkeypatch):
    tried = trials.BlackBoxes.attempt

    def interrupted(self, values, worse, label, way):
        if label == "run 3":
            raise KeyboardInterrupt
        return tried(self, values, worse, label, way)

    monkeypatch.setattr(trials.BlackBoxes, "attempt", interrupted)
    stopped = tune(WINE, TREE, budget="5runs", out=tmp_path / "tree")
    assert (stopped.state, len(stopped.trials)) == ("stopped", 2)
    monkeypatch.setattr(trials.BlackBoxes, "attempt", tried)
    resumed = tune(WINE, TREE, budget="5runs", out=tmp_path / "tree", resume=True)
    assert (resumed.state, [trial.number for trial in resumed.trials]) == ("finished", [0, 1, 2, 3, 4])


def test_the_way_on_is_the_whole_command_and_touches_nothing_else(tmp_path, monkeypatch, capsys):
    def interrupted(self, values, worse, label, way):
        raise KeyboardInterrupt

    tried = trials.BlackBoxes.attempt
    monkeypatch.setattr(trials.BlackBoxes, "attempt", interrupted)
    assert main(["tune", WINE, TREE, "--budget", "3runs", "--out", "here", "--memory", "kept"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "was stopped before a run of it had ended; go on with: limner tune sklearn:wine" in told
    monkeypatch.setattr(trials.BlackBoxes, "attempt", tried)
    command = told.partition("go on with: limner ")[2].split()
    assert command[-5:] == ["--out", "here", "--memory", "kept", "--resume"]
    (tmp_path / "data.csv").write_text("a,t\n" + "".join(f"{row},{row % 2}\n" for row in range(30)))
    tune("csv:data.csv,target=t", TREE, budget="1runs", out="other")
    before = {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir() if path.is_file()}
    elsewhere = ["other" if word == "here" else word for word in command]
    assert main(elsewhere) == 2
    assert "other exists already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir() if path.is_file()} == before
    assert main(command) == 0


def test_where_the_default_is_to_be_kept_the_search_stands_for_it(tmp_path):
    for seed in range(4):
        made = tune(WINE, TREE, budget="4runs", out=tmp_path / str(seed), seed=seed)
        kept = made.trials[0] if made.keeps_default else made.best
        assert json.loads((tmp_path / str(seed) / "winner.json").read_text())["id"] == kept.run
        if made.winner and made.test["default"].value >= made.test["winner"].value:
            assert made.keeps_default


def test_a_run_that_cannot_be_fitted_is_told_and_the_search_goes_on(tmp_path, monkeypatch):
    tried = trials.BlackBoxes.attempt

    def refused(self, values, worse, label, way):
        if label == "run 2":
            raise LimnerError("no")
        return tried(self, values, worse, label, way)

    monkeypatch.setattr(trials.BlackBoxes, "attempt", refused)
    made = tune(WINE, TREE, budget="4runs", out=tmp_path / "tree")
    assert (made.trials[1].state, made.trials[1].score, made.trials[1].reason) == ("failed", None, "no")
    assert len(made.trials) == 4
    resumed = tune(WINE, TREE, budget="4runs", out=tmp_path / "tree", resume=True)
    assert [trial.state for trial in resumed.trials] == [trial.state for trial in made.trials]


def test_the_best_of_a_like_task_is_tried_early_and_that_of_another_kind_is_not(tmp_path):
    first = tune(WINE, TREE, budget="6runs", out=tmp_path / "one")
    second = tune(WINE, TREE, budget="3runs", seed=1, out=tmp_path / "two")
    expected = ["default", "past", "tpe"] if first.winner else ["default", "tpe", "tpe"]
    assert [trial.source for trial in second.trials] == expected
    if first.winner:
        assert second.trials[1].values == first.best.values
        assert "tried early: the best of sklearn:wine" in second.notes[0]
    other = tune("sklearn:digits", TREE, budget="2runs", out=tmp_path / "three")
    assert [trial.source for trial in other.trials] == ["default", "tpe"]


@pytest.mark.parametrize("name", ["metann", "evolution"])
def test_another_adviser_proposes_and_its_advice_is_scored(name, tmp_path, capsys):
    tune(WINE, TREE, budget="3runs", sampler="random", out=tmp_path / "one")
    made = tune(WINE, TREE, budget="3runs", seed=1, adviser=name, out=tmp_path / "two")
    assert made.trials[0].source == "default"
    assert f"--adviser {name}" in made.command
    again = tune(WINE, TREE, budget="4runs", seed=1, adviser=name, out=tmp_path / "two", resume=True)
    assert [trial.run for trial in again.trials[:3]] == [trial.run for trial in made.trials]
    with Memory.open() as memory:
        said = memory.list("recommendations")
        known = {run["id"]: run for run in memory.runs()}
    assert len(said) == 7
    assert all(known[one["outcome_run"]]["learner"] == one["learner"] for one in said)
    assert {one["source"] for one in said} == {"default", "search", name}
    assert main(["memory", "advice", "--json"]) == 0
    rows = {row["adviser"]: row for row in json.loads(capsys.readouterr().out)}
    default, others = again.trials[0].score, [trial.score for trial in again.trials[1:]]
    assert rows[name]["regret"] == pytest.approx(sum(default - score for score in others) / 3)
    assert (rows[name]["followed"], rows["default"]["followed"], rows["default"]["compared"]) == (3, 2, 0)
    assert main(["memory", "advice"]) == 0
    assert "below 0 is better" in capsys.readouterr().out


def test_regressors_and_clusterers_and_what_is_held(tmp_path):
    made = tune("sklearn:diabetes", "estimator:sklearn.linear_model.Ridge", budget="3runs", sampler="random",
                options={"scaling": "standard"}, out=tmp_path / "ridge")  # fmt: skip
    assert (made.metric, made.better) == ("r2", "higher")
    assert [knob["name"] for knob in made.knobs] == ["alpha"]
    assert made.test["winner"].value > 0.3
    made = tune("sklearn:iris", "estimator:sklearn.cluster.KMeans", budget="4runs", out=tmp_path / "means")
    assert made.metric == "adjusted_rand"


def test_networks_go_through_the_same_call(tmp_path):
    spec = "digits,classes=0-1,size=16,limit=24"
    made = tune(spec, "classifier", budget="2runs", each="4steps", options={"width": 4, "features": 8},
                fields={"batch": 8}, sampler="random", out=tmp_path / "net")  # fmt: skip
    assert made.metric == "accuracy"
    assert [trial.steps for trial in made.trials] == [4, 4]
    assert not {"width", "features", "batch"} & {knob["name"] for knob in made.knobs}
    with Memory.open() as memory:
        learner = memory.get_model(made.best.run).learner_description
    assert learner["options"]["width"] == 4
    resumed = tune(spec, "classifier", budget="3runs", each="4steps", options={"width": 4, "features": 8},
                   fields={"batch": 8}, sampler="random", out=tmp_path / "net", resume=True)  # fmt: skip
    assert [trial.score for trial in resumed.trials[:2]] == [trial.score for trial in made.trials]


def test_a_game_of_two_players_too_and_one_far_behind_ends_early(tmp_path, monkeypatch):
    monkeypatch.setattr("limner.metrics.evaluation.choose", lambda images: "glyph-net")
    monkeypatch.setattr("limner.verbs.line.JUDGED", 20)
    monkeypatch.setattr("limner.spaces.search.Search.hopeless", lambda self, trial, rung, at: trial.number == 1)
    monkeypatch.setattr(trials, "RUNGS", 2)
    made = tune("digits,classes=0,size=16,limit=40", "gan", budget="2runs", each="4steps", shots=20,
                options={"width": 4, "latents": 4, "network": "dcgan"}, fields={"batch": 8}, sampler="random",
                out=tmp_path / "gan")  # fmt: skip
    assert (made.metric, made.better) == ("kernel_distance", "lower")
    assert [(trial.steps, trial.ended_early) for trial in made.trials] == [(4, 0), (2, 2)]
    assert made.best.score == min(trial.score for trial in made.trials)  # one that was ended early can win as well
    assert "ended early, at step 2" in made.page.read_text()


@pytest.mark.parametrize(
    ("spec", "learner", "more", "told"),
    [
        (WINE, "vae", {}, "is a table, which the vae cannot learn from"),
        (WINE, "wavelets", {}, "is not tuned; its options are given to limner restore"),
        (WINE, "forest", {}, "there is no learner 'forest' to tune"),
        ("digits", "forest", {}, "there is no learner 'forest' to tune"),
        (WINE, "estimator:sklearn.tree.DecisionTre", {}, "near it are: sklearn.tree"),
        (WINE, TREE, {"sampler": "bohb"}, "there is no sampler 'bohb'"),
        (WINE, TREE, {"adviser": "oracle"}, "there is no adviser 'oracle'; there are: default, random"),
        (WINE, TREE, {"adviser": "metann", "sampler": "gp"}, "the adviser metann uses no sampler; leave --sampler out"),
        (WINE, TREE, {"adviser": "metann", "rungs": True}, "a fit of it cannot be paused; leave --rungs out"),
        ("digits", "classifier", {"rungs": True}, "the adviser search proposes whole runs; leave --rungs out"),
        (WINE, TREE, {"budget": "200steps"}, "steps are of each run: --each 200steps"),
        (WINE, TREE, {"budget": "0runs"}, "of a search cannot be read"),
        (WINE, TREE, {"each": "10steps"}, "takes no steps, so leave --each of steps out"),
        (WINE, TREE, {"options": {"max_depth": 5}}, "max_depth cannot be 5; right would be 2, 3, 4, 6"),
        (WINE, TREE, {"options": {"depth": 5}}, "has no option 'depth'"),
        (WINE, TREE, {"shots": 175}, "leaves 3 held back, but a search needs 8 or more"),
        (WINE, "estimator:sklearn.linear_model.Ridge", {}, "has no numbers to learn"),
        ("digits,limit=3", "vae", {"fields": {"steps": 5}}, "steps is no knob of a search; give --each"),
        ("digits,classes=0,limit=60", "vae", {"options": {"latents": 999}}, "latents cannot be 999"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(spec, learner, more, told, tmp_path):
    with pytest.raises(LimnerError, match=told) as refusal:
        tune(spec, learner, out=tmp_path / "out", **more)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()
    with Memory.open() as memory:
        assert memory.runs() == []


def test_budgets_of_a_search():
    assert most("3runs,2m") == (3, 120.0)
    assert most("90s") == (None, 90.0)


def test_time_ends_a_search_but_never_before_its_first_run(tmp_path):
    made = tune(WINE, TREE, budget="0.001s", out=tmp_path / "tree")
    assert len(made.trials) == 1
    assert made.test["default"] == made.test["winner"]


def test_a_fit_that_takes_too_long_is_ended_and_has_failed_by_time(tmp_path):
    """A kernel for which this problem is as good as endless, beside one that is done at once."""
    svc = "estimator:sklearn.svm.SVC"
    (tmp_path / "hard.csv").write_text(hard_table())
    asked = trials.Asked(f"csv:{tmp_path / 'hard.csv'},target=y", svc, None, None, "scratch", trials.Budget(None, 5.0),
                         {}, {}, 0)  # fmt: skip
    subject = trials.BlackBoxes(asked)
    quick = {**subject.space.default, "kernel": "rbf", "C": 0.001}
    endless = {**subject.space.default, "kernel": "linear", "C": 1000.0}
    alone = trials.BlackBoxes(asked._replace(each=trials.Budget())).attempt(quick, lambda rung, score: False, "")
    made = subject.attempt(quick, lambda rung, score: False, "")
    assert (made.scores, made.lineage) == (alone.scores, alone.lineage)  # in a process of its own it is the same
    first = subject.limited._process
    begun = time.monotonic()
    with pytest.raises(LimnerError, match="took longer than 5 seconds, the most that a fit may take"):
        subject.attempt(endless, lambda rung, score: False, "")
    assert time.monotonic() - begun < 30
    assert first.poll() is not None  # nothing goes on after it
    assert subject.attempt(quick, lambda rung, score: False, "").scores == alone.scores


def hard_table():
    """Numbers of no scale and classes without any order: no plane tells them apart."""
    chance = torch.Generator().manual_seed(0)
    rows = torch.randn(1500, 12, generator=chance) * 1000
    labels = torch.randint(0, 2, (1500,), generator=chance).tolist()
    text = [
        ",".join([*(f"{value:.3f}" for value in row), "ab"[label]])
        for row, label in zip(rows.tolist(), labels, strict=True)
    ]
    return "\n".join([",".join([*(f"c{place}" for place in range(12)), "y"]), *text])


def test_a_search_tells_of_a_fit_that_was_ended(tmp_path, monkeypatch):
    def slow(self, values):
        raise LimnerError("it took longer than 7 seconds")

    limits = []
    monkeypatch.setattr("limner.verbs.limited.Limited.tried", slow)
    with pytest.raises(LimnerError, match="could be scored: it took longer than 7 seconds"):
        tune(WINE, TREE, budget="1runs,70s", out=tmp_path / "tree")
    monkeypatch.setattr(trials, "Limited", lambda asked, seconds: limits.append(seconds))
    for budget, each in (("70s", None), ("20s", None), ("1runs", "3s"), ("1runs", None)):
        tune(WINE, TREE, budget=f"1runs,{budget}" if budget[-1] == "s" and "run" not in budget else budget, each=each,
             out=tmp_path / f"{budget}{each}", memory=str(tmp_path / f"{budget}{each}m"))  # fmt: skip
    assert limits == [7.0, 5.0, 3.0]


def test_nothing_that_could_be_scored_is_a_mistake_of_its_own(tmp_path, monkeypatch):
    def refused(self, values, worse, label, way):
        raise LimnerError("the data are odd")

    monkeypatch.setattr(trials.BlackBoxes, "attempt", refused)
    with pytest.raises(LimnerError, match="none of the 2 runs of this search could be scored: the data are odd"):
        tune(WINE, TREE, budget="2runs", out=tmp_path / "tree")


def test_the_command_line(tmp_path, capsys):
    asked = ["tune", WINE, TREE, "--budget", "3runs", "-o", "criterion=gini", "--out", str(tmp_path / "tree")]
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["trials"]) == 3
    assert all("criterion" not in trial["values"] for trial in told["trials"])
    assert main(asked) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*asked, "--resume", "--budget", "4runs"]) == 0
    assert "on 36 that no search has seen" in capsys.readouterr().out
