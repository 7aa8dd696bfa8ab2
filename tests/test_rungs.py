"""Runs taken one rung at a time: what is seen of them, what is proposed next, and searches that pause and go on."""

import json
import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch

from limner.advisers import adviser
from limner.advisers.base import Case, Told
from limner.advisers.ensemble import Predicted
from limner.advisers.history import PastRun, PastTask
from limner.advisers.metann import HELD, Learned, MetaNN, Ways
from limner.advisers.rungs import at_rungs, lessons, looks, seen_of, standardised
from limner.cli.main import main
from limner.config import ENDLESS, Strategy
from limner.engine import checkpoint, fit
from limner.engine.held_out import Limits
from limner.learners import rebuild
from limner.memory import Fingerprint, Memory
from limner.reports.memory_facts import best
from limner.spaces import Knob, Space
from limner.testing import StopAt
from limner.verbs import trials
from limner.verbs.holding import Holding
from limner.verbs.line import judge_of
from limner.verbs.load import load
from limner.verbs.searching import Going, Tried
from limner.verbs.tune import tune

RUNGS = 4
SPACE = Space("a line", (Knob("x", "float", 0.0, 0.0, 1.0), Knob("slow", "choice", False, words=(False, True))))
HERE = Fingerprint({"intensity": {"mean": 0.5}})
nan = torch.nan


def on_way(values):
    """Scores at the rungs: near to x from the first on, and rising towards it."""
    return {rung: values["x"] - math.exp(-rung) for rung in range(1, RUNGS + 1)}


def seconds(values):
    return 40.0 if values["slow"] else 4.0


def a_past(curves=True):
    runs = []
    for place in range(24):
        values = {"x": place / 24, "slow": place % 2 == 1}
        looked = tuple((rung / RUNGS, score) for rung, score in on_way(values).items()) if curves else ()
        runs.append(PastRun(str(place), values, on_way(values)[RUNGS], seconds(values), looked))
    return PastTask("like", "like", 0.9, HERE, tuple(runs))


def a_case(*past, rungs=RUNGS):
    return Case(SPACE, True, 0, HERE, tuple(past), "", rungs)


def told(values, to=RUNGS, better=0.0):
    scores = {rung: score + better for rung, score in on_way(values).items() if rung <= to}
    whole = to == RUNGS
    return Told(values, scores[to] if whole else None, seconds(values) * to / RUNGS, whole, scores, not whole)


def advising(*runs):
    made = MetaNN(a_case(a_past()))
    for run in runs:
        made.observe(run)
    return made


DEFAULT = told(SPACE.default)


# ── What is seen of runs ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_score_at_a_rung_is_that_of_the_first_look_there_or_later():
    assert at_rungs(((0.1, 9.0), (0.5, 1.0), (0.55, 2.0), (1.0, 3.0)), 4) == {1: 1.0, 2: 1.0, 3: 3.0, 4: 3.0}
    assert at_rungs(((0.6, 1.0),), 5) == {1: 1.0, 2: 1.0, 3: 1.0}  # 0.6 * 5 is 3, whatever its last bit
    assert at_rungs((), 4) == {}
    points = [
        {"step": 3, "seconds": 5.0, "values": {"psnr": 20.0}},
        {"step": 6, "seconds": 9.0, "values": {"psnr": nan}},
    ]
    assert looks(points, "psnr", Strategy(steps=12)) == ((0.25, 20.0),)
    assert looks(points, "psnr", Strategy(steps=ENDLESS, seconds=10.0)) == ((0.5, 20.0),)


def test_lessons_are_all_pairs_of_what_was_seen_and_what_came_later():
    scores = torch.tensor([[0.0, 1.0, 3.0], [1.0, nan, 2.0]])
    found = lessons(scores)
    rows = sorted(
        (run, round(seen * 3), round(to * 3), last, gained, gain)
        for run, (to, seen, last, gained), gain in zip(
            found.runs.tolist(), found.seen.tolist(), found.gains.tolist(), strict=True
        )
    )
    assert rows == [
        (0, 0, 1, 0.0, 0.0, 0.0), (0, 0, 2, 0.0, 0.0, 1.0), (0, 0, 3, 0.0, 0.0, 3.0),
        (0, 1, 2, 0.0, 0.0, 1.0), (0, 1, 3, 0.0, 0.0, 3.0), (0, 2, 3, 1.0, 1.0, 2.0),
        (1, 0, 1, 0.0, 0.0, 1.0), (1, 0, 3, 0.0, 0.0, 2.0), (1, 1, 3, 1.0, 0.0, 1.0),
    ]  # fmt: skip
    assert lessons(torch.tensor([[2.0], [1.0]])).seen.shape == (2, 0)  # whole runs: nothing is seen before their end


def test_what_is_told_of_a_way_is_nothing_before_its_first_rung():
    scores = torch.tensor([[nan, nan, nan], [0.5, nan, nan], [0.5, 2.0, nan]])
    found = seen_of(scores, torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
    expected = torch.tensor([[1 / 3, 0, 0, 0], [2 / 3, 1 / 3, 0.5, 0], [1, 2 / 3, 2.0, 1.5]])
    assert torch.allclose(found, expected)


def test_scores_are_standardised_rung_by_rung_and_what_is_unknown_stays_so():
    scores = torch.tensor([[0.0, 10.0, 5.0], [2.0, nan, 5.0], [4.0, 30.0, 5.0]])
    found = standardised(scores)
    assert torch.allclose(found[:, 0], torch.tensor([-1.0, 0.0, 1.0]) * math.sqrt(1.5))
    assert found[:, 1].isnan().tolist() == [False, True, False]
    assert found[[0, 2], 1].tolist() == [-1.0, 1.0]
    assert found[:, 2].tolist() == [0.0, 0.0, 0.0]


# ── What is proposed ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_paused_run_ahead_of_all_is_gone_on_with_and_one_far_behind_is_not():
    ahead = {"x": 0.95, "slow": False}
    found = advising(DEFAULT, told(ahead, 1)).propose(8)
    assert (found.values, found.rung) == (ahead, 2)
    assert "of 4, going on with a paused run, after 2 runs here and 15 on 1 related tasks." in found.reason
    behind = {"x": 0.05, "slow": False}
    found = advising(told({"x": 0.9, "slow": False}), told(behind, 1, better=-0.5)).propose(8)
    assert (found.values != behind, found.rung) == (True, 1)


def test_of_two_that_promise_the_same_the_cheaper_rung_comes_first():
    quick, slow = {"x": 0.95, "slow": False}, {"x": 0.95, "slow": True}
    found = advising(DEFAULT, told(slow, 1), told(quick, 1)).propose(8)
    assert (found.values, found.rung) == (quick, 2)


def test_a_curve_that_was_seen_counts_for_more_than_what_like_runs_did():
    values = {"x": 0.5, "slow": False}
    ends = []
    for better in (-0.3, 0.3):
        made = advising(DEFAULT, told(values, 3, better=better))
        learned = made._learned()
        ways = made._ways([], learned)
        ends.append(float(made._foretold(learned, ways, torch.tensor([RUNGS])).mean))
    assert ends[1] > ends[0] + 0.5


def test_the_acquisition_is_the_best_rate_of_improvement_among_the_rungs_that_can_be_had():
    """Against the formula, written out for each way and rung with the normal distribution of the standard library."""
    made, normal = MetaNN(a_case()), NormalDist()
    means = [[-0.5, 0.2, 0.9, 1.4], [0.0, 0.6, 0.7, 0.8], [0.0, 0.0, 0.0, 1.1]]
    deviations = [[0.3, 0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.1, 0.2]]
    centre, spread, best = [1.0, 2.0, 2.5, 3.0], [0.5, 1.0, 1.0, 2.0], 3.2
    seen, each = [0, 1, 3], [1.0, 2.0, 0.5]

    def foretold(learned, ways, to):
        at = (to - 1).tolist()
        mean = torch.tensor([row[rung] for row, rung in zip(means, at, strict=True)])
        return Predicted(mean, torch.tensor([row[rung] for row, rung in zip(deviations, at, strict=True)]), mean)

    made._foretold = foretold
    nothing = torch.full((3, RUNGS), nan)
    ways = Ways([{}] * 3, [], torch.tensor(seen), nothing)
    learned = Learned(None, nothing, best, torch.tensor(centre), torch.tensor(spread))
    budgets = {(None, None): [4, 4, 4], (0.5, None): [2, 3, 4], (None, 2.1): [2, 2, 4], (0.25, 9.0): [1, 2, 4],
               (None, 0.1): [1, 2, 4]}  # fmt: skip
    for (left, seconds), last in budgets.items():
        worth, at = made._worth(learned, ways, torch.tensor(each), left, seconds)
        for way in range(3):
            rates = {}
            for rung in range(seen[way] + 1, last[way] + 1):
                mean = centre[rung - 1] + spread[rung - 1] * means[way][rung - 1]
                deviation = spread[rung - 1] * deviations[way][rung - 1]
                off = (mean - best) / deviation
                gain = (mean - best) * normal.cdf(off) + deviation * normal.pdf(off)
                rates[rung] = gain / ((rung - seen[way]) * each[way])
            assert float(worth[way]) == pytest.approx(max(rates.values()), rel=1e-4)
            assert int(at[way]) == max(rates, key=rates.get)


def test_the_first_is_taken_whole():
    assert MetaNN(a_case(a_past())).propose(5).rung is None


def test_only_so_many_are_held_and_those_that_promise_least_are_dropped():
    held = [told({"x": place / 20, "slow": False}, 1) for place in range(HELD + 4)]
    found = advising(DEFAULT, *held).propose(40)
    others = [run.values for run in held if run.values != found.values]
    assert len(found.drops) == len(others) - HELD
    assert max(values["x"] for values in found.drops) < 0.3
    assert found.values not in found.drops


def test_where_nothing_is_known_it_draws_a_rung_at_a_time_and_what_was_told_again_counts_once():
    made = adviser("metann", a_case())
    first = made.propose(5)
    assert (first.values, first.rung) == (SPACE.default, None)
    made.observe(DEFAULT)
    drawn = made.propose(4)
    assert (drawn.source, drawn.rung) == ("metann", 1)
    made.observe(told(drawn.values, 1))
    made.observe(told(drawn.values, 2))
    assert len(made.told) == 2
    assert made.told[1].rungs.keys() == {1, 2}
    assert made.best == max(made.told, key=lambda run: max(run.rungs.values()))  # what is paused can be the best


def test_past_runs_without_curves_and_whole_runs_teach_what_they_can():
    made = MetaNN(a_case(a_past(curves=False)))
    made.observe(DEFAULT)
    assert made.propose(3).rung == 1
    whole = MetaNN(a_case(a_past(), rungs=1))
    whole.observe(Told(SPACE.default, 0.0, 4.0))
    assert whole.propose(3).rung is None


# ── Searches ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SPEC = "digits,classes=0-1,size=16,limit=24"
ASKED = {
    "each": "4steps", "adviser": "metann", "rungs": True, "options": {"width": 4, "features": 8, "network": "conv4"},
    "fields": {"batch": 8},
}  # fmt: skip


def quickly(patch, directory):
    """Tasks are compared by simple statistics, networks learn little, runs have 2 rungs that all take the same time."""
    patch.setattr(trials, "RUNGS", 2)
    patch.setattr("limner.memory.fingerprints._installed_extractor", lambda: None)
    patch.setattr("limner.advisers.ensemble.STEPS", 4)
    patch.setattr("limner.advisers.metann.INSTANT", 1e6)  # what it learns depends on no clock
    patch.setattr(MetaNN, "_seconds_of_a_rung", lambda self, ways, end: torch.ones(len(ways.values)))
    patch.chdir(directory)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A search takes little time."""
    quickly(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """A search that nothing came between, and where it is; its memory is in ``memory``."""
    place = tmp_path_factory.mktemp("at-once")
    with pytest.MonkeyPatch.context() as patch:
        quickly(patch, place)
        return tune(SPEC, "classifier", budget="3runs", memory=str(place / "memory"), out=place / "one", **ASKED), place


def test_a_run_that_paused_is_kept_once_and_is_bit_by_bit_the_one_made_at_once(at_once, quick, tmp_path):
    made, place = at_once
    assert made.state == "finished"
    assert len(made.trials) > 3  # of some runs only a part was made
    assert {trial.state for trial in made.trials} == {"finished"}
    ended = [trial for trial in made.trials if trial.ended_early]
    assert ended
    assert all(trial.reason == "others promised more for their seconds" for trial in ended)
    whole = [trial for trial in made.trials if not trial.ended_early]
    assert sum(trial.steps for trial in made.trials) == 3 * 4
    assert made.best.score == max(trial.score for trial in made.trials)
    assert not (place / "one" / "paused").exists()
    page = made.page.read_text()
    assert f"kept as at step {ended[0].steps}: others promised more for their seconds" in page
    with Memory.open(place / "memory") as memory:
        runs = [run for run in memory.runs() if run["name"].startswith("tune-")]
        assert sorted(run["id"] for run in runs) == sorted(trial.run for trial in made.trials)
        assert len(memory.list("recommendations")) == len(made.trials)
        subject = trials.Networks(
            trials.Asked(SPEC, "classifier", None, None, "scratch", trials.Budget(4), ASKED["options"],
                         ASKED["fields"], 0), memory, False,
        )  # fmt: skip
        for trial in (whole[-1], ended[0]):
            record = next(run for run in runs if run["id"] == trial.run)
            learner, strategy = rebuild(record["learner"]), Strategy.from_json(record["strategy"])
            judge = judge_of(learner, subject.task, 0)
            once = fit(learner, subject.task, strategy, seed=0, judge=judge) if trial in whole else None
            if once is None:  # what was given up is what the run would have been there
                once = fit(learner, subject.task, strategy, seed=0, judge=judge, directory=tmp_path / "part",
                           until=Limits(trial.steps, 0.0))  # fmt: skip
            kept = memory.get_model(trial.run).params
            assert all(torch.equal(kept[name], value) for name, value in once.params.items())


@pytest.mark.parametrize("at", [1, 3])
def test_after_a_stop_by_hand_it_goes_on_as_if_it_had_not_been_stopped(at, at_once, quick, tmp_path, monkeypatch):
    """A stop in the first rung of a run, and in its second."""
    stop = StopAt(at)
    monkeypatch.setattr("limner.verbs.line.listeners", lambda progress, label: (stop,) if label != "run 1" else ())
    place = {"memory": str(tmp_path / "b"), "out": tmp_path / "two"}
    stopped = tune(SPEC, "classifier", budget="3runs", **place, **ASKED)
    assert stopped.state == "stopped"
    paused = [trial for trial in stopped.trials if trial.state == "paused"]
    assert paused
    assert any(trial.steps == at for trial in paused)
    assert f"paused at step {at}" in stopped.page.read_text()
    with Memory.open(place["memory"]) as memory:
        assert {run["id"] for run in memory.runs(state="paused")} == {trial.run for trial in paused}
    stop.at = -1
    resumed = tune(SPEC, "classifier", budget="3runs", resume=True, **place, **ASKED)
    assert resumed.state == "finished"

    def shown(made):
        return [(trial.values, trial.score, trial.steps, trial.ended_early, trial.state) for trial in made.trials]

    assert shown(resumed) == shown(at_once[0])
    assert resumed.test == at_once[0].test
    with Memory.open(place["memory"]) as memory:
        names = [run["name"] for run in memory.runs() if run["name"].startswith("tune-")]
    assert len(names) == len(set(names)) == len(resumed.trials)


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_paused_run_that_cannot_go_on_has_failed_and_the_search_goes_on(harm, quick, tmp_path, monkeypatch):
    stop = StopAt(1)
    monkeypatch.setattr("limner.verbs.line.listeners", lambda progress, label: (stop,) if label == "run 2" else ())
    monkeypatch.setattr("limner.reports.tuned.write", lambda made: None)  # the page is looked at elsewhere
    tune(SPEC, "classifier", budget="2runs", out=tmp_path / "one", **ASKED)
    (checkpoint,) = (tmp_path / "one" / "paused").glob("*/checkpoint.safetensors")
    checkpoint.unlink() if harm == "gone" else checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    resumed = tune(SPEC, "classifier", budget="2runs", out=tmp_path / "one", resume=True, **ASKED)
    assert (resumed.state, resumed.trials[1].state) == ("finished", "failed")
    told = "no longer where it was held, so it cannot go on" if harm == "gone" else "is damaged; begin the run anew"
    assert told in resumed.trials[1].reason
    assert resumed.trials[1].score is None
    again = tune(SPEC, "classifier", budget="2runs", out=tmp_path / "one", resume=True, **ASKED)
    assert [trial.run for trial in again.trials] == [trial.run for trial in resumed.trials]


def only(monkeypatch, begun):
    """The adviser goes on with paused runs first, or, with ``begun`` false, with none."""

    def worth(self, learned, ways, each, left, seconds):
        return ((ways.seen > 0) == begun).float(), ways.seen + 1

    monkeypatch.setattr(MetaNN, "_worth", worth)


def test_a_paused_run_can_win_and_the_winner_is_used_like_any_other(quick, tmp_path, monkeypatch, capsys):
    """Through the command line, on to a larger budget, where the adviser ends none that it has begun."""
    only(monkeypatch, begun=False)
    monkeypatch.setattr("limner.metrics.evaluation.choose", lambda images: "pixels")
    monkeypatch.setattr("limner.verbs.line.JUDGED", 20)
    spec, out = "digits,classes=0,size=16,limit=40", tmp_path / "out"
    asked = ["tune", spec, "vae", "--shots", "20", "--each", "4steps", "--adviser", "metann", "--rungs", "-o",
             "width=4", "-o", "latents=4", "--set", "batch=8", "--out", str(out)]  # fmt: skip
    assert main([*asked, "--budget", "2runs"]) == 0
    shown = capsys.readouterr()
    assert "(paused, 1 of 2)" in shown.err
    assert "(kept as at step 2)" in shown.err
    assert "(paused" not in shown.out  # when the budget is spent, nothing is
    assert main([*asked, "--resume", "--budget", "3runs", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    rows, winner = made["trials"], made["trials"][made["winner"]]
    assert [(row["state"], row["steps"], row["ended_early"]) for row in rows] == [
        ("finished", 4, 0), *[("finished", 2, 2)] * 4
    ]  # fmt: skip
    assert winner["score"] == min(row["score"] for row in rows)
    assert winner["ended_early"] == 2  # of this seed, one of four is better after two steps than the default after four
    kept = json.loads((out / "winner.json").read_text())
    assert (kept["id"], kept["ended_early"]) == (winner["run"], 2)
    page = (out / "index.html").read_text()
    assert f"the best is run {made['winner'] + 1} " in page
    assert "kept as at step 2: others promised more for their seconds" in page
    with Memory.open() as memory:
        record = next(run for run in memory.runs() if run["id"] == winner["run"])
        assert record["scores"][made["metric"]]["value"] == winner["score"]
        with memory.database.reading() as session:
            found = best(session, [record["task"]])[record["task"]]
        assert (found.value, found.runs) == (winner["score"], 5)
        assert found.told.endswith("as at step 2")
    assert load(winner["run"]).sample(2).shape == (2, 1, 16, 16)
    assert main(["sample", winner["run"], "--count", "2", "--out", str(tmp_path / "drawn")]) == 0
    assert main(["evaluate", winner["run"], spec, "--count", "20", "--extractor", "pixels", "--json"]) == 0
    assert made["metric"] in capsys.readouterr().out


def test_a_copy_is_held_of_the_best_rung_that_a_run_went_on_from(tmp_path):
    holding = Holding(tmp_path / "paused")
    place = holding.place("a run")
    place.mkdir(parents=True)
    expected = [({}, None), ({1: 0.5}, 1), ({1: 0.5, 2: 0.4}, 1), ({1: 0.5, 2: 0.4, 3: 0.6}, 3)]
    for rungs, copied in expected:
        (place / checkpoint.NAME).write_text(f"after {max(rungs, default=0)} rungs")
        holding.secure(place, rungs, higher=True)
        found = holding.secured(place)
        assert (found and found[0]) == copied
        assert found is None or (found[1] / checkpoint.NAME).read_text() == f"after {copied} rungs"
    (place / checkpoint.NAME).write_text("stopped on the way to the fourth")
    holding.secure(place, expected[-1][0], higher=True)
    assert (holding.secured(place)[1] / checkpoint.NAME).read_text() == "after 3 rungs"
    holding.secure(place, {3: 0.6, 4: 0.7}, higher=False)
    assert holding.secured(place)[0] == 3
    holding.close()
    assert not (tmp_path / "paused").exists()


def test_what_was_in_hand_is_not_lost_by_going_on(quick, tmp_path):
    def go_to(place, rung):
        return subject.attempt(values, lambda rung, score: False, "", trials.Way(place, rung))

    asked = trials.Asked(
        SPEC, "classifier", None, None, "scratch", trials.Budget(4), ASKED["options"], ASKED["fields"], 0
    )
    with Memory.open() as memory:
        subject = trials.Networks(asked, memory, False)
        going = Going(memory, subject, "a-search-", "accuracy", True, adviser="metann", held=tmp_path / "paused")
        values, place, other = subject.space.default, going.held.place("a"), going.held.place("b")
        for each in (place, other):
            assert go_to(each, 1).state == "paused"
        going.held.secure(place, {1: 0.5}, True)
        whole, part = go_to(place, None), go_to(other, 0)
        params, curve, score = whole.params, list(whole.curve), whole.scores.values["accuracy"].value
        going._on_way[0] = {1: score}  # as good as at the end, which is kept then
        going._at_its_best(whole, values, 0, place)
        assert whole.params == params
        assert "ended_early" not in whole.lineage
        going._on_way[0] = {1: score + 0.1}
        going._at_its_best(whole, values, 0, place)
        assert all(torch.equal(whole.params[name], value) for name, value in part.params.items())
        assert any(not torch.equal(params[name], value) for name, value in part.params.items())
        assert whole.scores.values == part.scores.values
        assert (whole.state, whole.cost.steps, whole.curve) == ("finished", 4, curve)
        assert (whole.lineage["ended_early"], whole.lineage["why"]) == (2, "it scored better there than further on")
        whole.state, whole.scores = "failed", None  # one that comes to nothing further on
        going._at_its_best(whole, values, 0, place)
        assert (whole.state, whole.scores.values) == ("finished", part.scores.values)

        ended = Tried(0, "a", "default", values, 0.6, None, None, 4, 1.0, 0, "finished", "")
        going.trials = [ended, replace(ended, number=1, score=None, state="paused")]
        going._on_way = {0: {}, 1: {1: 0.7}}
        assert going.winner() == 0  # a search that is stopped by hand has no model yet of what is paused
        assert going.notes[-1] == "run 2, which is paused, was the best so far (accuracy 0.7); --resume ends it"
