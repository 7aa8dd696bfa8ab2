"""From a source to a target: what is carried over, what each way makes of it, what is told, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import limner
from limner.cli.main import main
from limner.errors import LimnerError
from limner.learners import create
from limner.memory import Memory
from limner.tasks import ImageSet, load
from limner.types import Request
from limner.verbs import transfer_advice as advice
from limner.verbs import transfer_classify as classify
from limner.verbs.transfer_source import unseen
from limner.verbs.transfer_table import difference, mean, verdict
from limner.verbs.transfer_ways import CLASSIFY, WAYS, carry, way_of

SMALL = {"features": 6, "width": 4}
LETTERS, NUMBERS = "digits,size=16,classes=0-2,limit=40", "digits,size=16,classes=5-7,limit=40"


@pytest.fixture(scope="module")
def images():
    return load(NUMBERS)


@pytest.fixture(scope="module")
def source():
    """A classifier of three other digits, not trained: what matters here does not depend on how good it is."""
    others = load(LETTERS)
    learner = create("classifier", (1, 16, 16), classes=3, **SMALL)
    params = learner.init(3)
    return classify.Source("others", learner, params, others.class_names, others)


@pytest.fixture
def target(images):
    return classify.target_of(images, 3, seed=1)


def logits(learner, params, images):
    return learner.predict(params, Request("logits", images=images.floats()), torch.Generator())


# ── What is carried over ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_fits_by_name_and_shape_is_carried_and_what_does_not_is_told(source):
    wider = create("classifier", (1, 16, 16), classes=5, features=8, width=4)
    found = carry(source.params, wider, 0, "body")
    assert "net.encoder.body.0.weight" in found.names
    assert torch.equal(found.params["net.encoder.body.0.weight"], source.params["net.encoder.body.0.weight"])
    assert found.left["net.scale.weight"] == "has shape (8,), in the source (6,)"
    assert "own classes" in found.left["net.head.weight"]
    assert not found.params["net.head.weight"].any()
    assert set(found.names) | set(found.left) == set(found.params)


def test_carrying_everything_refuses_what_does_not_fit(source):
    with pytest.raises(LimnerError, match=r"not all of the source.*net\.head\.weight has shape \(5, 6\).*partial"):
        carry(source.params, create("classifier", (1, 16, 16), classes=5, **SMALL), 0, "all")
    with pytest.raises(LimnerError, match="nothing of the source"):
        carry({"other.weight": torch.ones(1)}, source.learner, 0, "body")


# ── A draw of the target ──────────────────────────────────────────────────────────────────────────────────────────────


def keys(images):
    return {image.numpy().tobytes() for image in images.images}


def test_labelled_judged_and_unlabelled_images_are_apart():
    every = load("digits,size=16")
    found = classify.target_of(every, 4, seed=0)
    assert torch.bincount(found.support.labels).tolist() == [4] * 10
    parts = [found.support, found.query, found.unlabelled]
    assert sum(map(len, parts)) == len(every)
    assert not keys(found.support) & keys(found.query)
    assert not keys(found.unlabelled) & keys(found.query)
    again, other = classify.target_of(every, 4, seed=0), classify.target_of(every, 4, seed=1)
    assert torch.equal(found.support.images, again.support.images)
    assert not torch.equal(found.support.images, other.support.images)


def test_a_class_with_too_few_images_is_named(images):
    with pytest.raises(LimnerError, match=r"the class '5' .* has 40 images, too few"):
        classify.target_of(images, 40, 0)


def test_a_mixed_set_balances_the_domains_and_hides_the_unlabelled(source):
    every = load("digits,size=16,classes=5-9")
    found = classify.target_of(every, 2, seed=0)
    both = classify.mixed(source.images, found, seed=0)
    labels, count = both.labels, len(source.images)
    of_source, known = labels < 3, (labels >= 3) & (labels < 8)
    assert (int(of_source.sum()), int(known.sum()), int((labels == 8).sum())) == (count, count // 2, count // 2)
    assert keys(both.select(known)) == keys(found.support)
    assert keys(both.select(labels == 8)) <= keys(found.unlabelled)
    assert not keys(both) & keys(found.query)
    place = int(torch.nonzero(known)[0])
    original = [image for image in range(len(every)) if torch.equal(every.images[image], both.images[place])]
    assert labels[place] - 3 == every.labels[original[0]]


# ── Ways ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_source_as_it_is_knows_the_same_classes_by_name_in_any_order(source):
    again = source.images.restrict([2, 0])
    learner, params = classify.as_it_is(source, classify.target_of(again, 2, 0))
    expected = logits(source.learner, source.params, again)[:, [2, 0]]
    assert torch.allclose(logits(learner, params, again), expected, atol=1e-6)


def test_the_source_as_it_is_sorts_other_classes_by_their_mean_features(source, target):
    from sklearn.neighbors import NearestCentroid

    learner, params = classify.as_it_is(source, target)
    seen = [classify._features(source, part).numpy() for part in (target.support, target.query)]
    expected = NearestCentroid().fit(seen[0], target.support.labels.numpy()).predict(seen[1])
    assert (logits(learner, params, target.query).argmax(1).numpy() == expected).all()


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2]])
def test_a_linear_estimator_becomes_a_head_that_answers_the_same(source, images, classes):
    found = classify.target_of(images.restrict(classes), 4, 0)
    made = classify.carried_out(CLASSIFY["logistic-regression"], source, found, {}, {}, 0)
    answers = logits(made.run.learner, made.run.params, found.query).argmax(1) == found.query.labels
    assert torch.equal(answers, made.right)
    assert int(made.right.sum()) > 0


def test_another_estimator_classifies_and_leaves_no_model(source, target):
    made = classify.carried_out(
        way_of("features:sklearn.tree.DecisionTreeClassifier", "classify"), source, target, {}, {}, 0
    )
    assert made.run is None
    assert made.right.shape == (len(target.query),)
    again = classify.carried_out(
        way_of("features:sklearn.tree.DecisionTreeClassifier", "classify"), source, target, {}, {}, 0
    )
    assert torch.equal(made.right, again.right)


def test_only_the_head_learns_where_the_features_stay_as_they_are(source, target):
    made = classify.carried_out(CLASSIFY["head"], source, target, {"steps": 4}, {}, 0)
    moved = {name for name, value in made.run.params.items() if not torch.equal(value, made.carried.params[name])}
    assert moved == {"net.head.weight", "net.head.bias"}


@pytest.mark.parametrize("name", [name for name, way in CLASSIFY.items() if way.how in ("steps", "domains")])
def test_every_way_ends_in_a_classifier_that_has_moved(name, source, target):
    made = classify.carried_out(CLASSIFY[name], source, target, {"steps": 2, "learning_rate": 0.01}, {}, 0)
    assert made.run.learner.kind == "classifier"
    assert set(made.run.params) == set(made.run.learner.init(0))
    assert torch.equal(
        logits(made.run.learner, made.run.params, target.query).argmax(1) == target.query.labels, made.right
    )
    assert any(not torch.equal(value, made.carried.params.get(key)) for key, value in made.run.params.items())
    again = classify.carried_out(CLASSIFY[name], source, target, {"steps": 2, "learning_rate": 0.01}, {}, 0)
    assert all(torch.equal(value, again.run.params[key]) for key, value in made.run.params.items())


def test_an_anchor_holds_to_the_source(source, target):
    found = {}
    for name in ("partial", "anchored"):
        made = classify.carried_out(CLASSIFY[name], source, target, {"steps": 30, "optimiser": "sgd"}, {}, 0)
        found[name] = sum(float((v - made.carried.params[k]).square().sum()) for k, v in made.run.params.items())
    assert found["anchored"] < found["partial"]


def test_ways_that_need_the_sources_images_say_so(source, target):
    from dataclasses import replace

    with pytest.raises(LimnerError, match="which others does not have"):
        classify.carried_out(CLASSIFY["joint"], replace(source, images=None), target, {"steps": 1}, {}, 0)


# ── Numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_intervals_are_students_over_repeats():
    from scipy import stats

    values = [0.51, 0.62, 0.58, 0.6]
    found = mean(values)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)


def test_repeats_that_agree_by_chance_are_not_taken_for_certain():
    right = [torch.arange(20) < 10, torch.arange(20) >= 10]
    wrong = [torch.arange(20) < 5, torch.arange(20) >= 15]
    found = difference([0.5, 0.5], [0.25, 0.25], (right, wrong))
    assert found.value == 0.25
    assert found.low < 0.2
    assert found.high > 0.3
    alone = difference([0.5], [0.25], (right[:1], wrong[:1]))
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_a_worse_way_is_called_worse_where_lower_is_better_too():
    from limner.types import Score

    assert verdict(Score(5.0, 1.0, 9.0), False) == "worse than scratch"
    assert verdict(Score(-5.0, -9.0, -1.0), False) == "better than scratch"
    assert verdict(Score(5.0), False) == "no clear difference"


# ── Advice ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unlike_targets_advise_nothing_and_like_ones_do():
    far = [advice.Past("a", 5.0, "s", way, score) for way, score in (("partial", 0.1), ("joint", 0.9))]
    assert advice.advised_way(far, CLASSIFY, "partial").chosen == "partial"
    near = [
        advice.Past(task, 0.1, "s", way, score) for task in "ab" for way, score in (("partial", 0.1), ("joint", 0.9))
    ]
    chosen = advice.advised_way(far + near, CLASSIFY, "partial")
    assert chosen.chosen == "joint"
    assert "2 past targets" in chosen.why


def test_sources_are_chosen_by_fingerprint_by_rank_and_at_random():
    found = [advice.Candidate("aa", "near", 0.1, 0.5), advice.Candidate("bb", "far", 2.0, 0.6)]
    past = [advice.Past("t", 1.0, "aa", "partial", 0.9), advice.Past("t", 1.0, "bb", "partial", 0.3)]
    chosen = advice.chosen_sources(found, past, 0)
    assert [chosen[name].chosen for name in ("nearest", "static")] == ["aa", "aa"]
    assert advice.chosen_sources(found, [], 0)["static"].chosen == "bb"
    assert {advice.chosen_sources(found, [], seed)["random"].chosen for seed in range(12)} == {"aa", "bb"}


def test_the_source_that_did_best_on_past_targets_is_advised_once_there_are_enough_of_them():
    found = [advice.Candidate("aa", "near", 0.1, 0.5), advice.Candidate("bb", "far", 2.0, 0.6)]
    one = [advice.Past("t", 1.0, "aa", "partial", 0.3), advice.Past("t", 1.0, "bb", "partial", 0.9)]
    name, choice = next(iter(advice.chosen_sources(found, one, 0).items()))
    assert (name, choice.chosen) == ("nearest", "aa")
    assert "followed, as one past target was reached from two sources or more, too few for a ranking" in choice.why
    two = [*one, advice.Past("u", 1.0, "aa", "joint", 0.3), advice.Past("u", 1.0, "bb", "joint", 0.4)]
    name, choice = next(iter(advice.chosen_sources(found, two, 0).items()))
    assert (name, choice.chosen) == ("static", "bb")
    assert "best mean rank over 2 past transfers (followed, as 2 past targets were reached" in choice.why
    even = [one[0], replace(one[1], score=0.3)]
    even += [replace(each, task="v") for each in even]
    assert next(iter(advice.chosen_sources(found, even, 0).values())).chosen == "aa"  # of equal ones the nearest
    apart = [one[0], advice.Past("u", 1.0, "bb", "partial", 0.9), advice.Past("v", 1.0, "aa", "partial", 0.1)]
    assert next(iter(advice.chosen_sources(found, apart, 0))) == "nearest"  # no target was reached from both


# ── The whole ─────────────────────────────────────────────────────────────────────────────────────────────────────────

QUICK = {"shots": 2, "budget": "3steps", "source_budget": "6steps", "repeats": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("transfer")
    return limner.transfer(
        LETTERS, NUMBERS, ways=("partial", "logistic-regression", "joint"), options=SMALL, out=place / "one",
        memory=str(place / "memory"), **QUICK,
    )  # fmt: skip


def test_scratch_and_the_source_alone_stand_beside_every_way(made):
    assert [row.label for row in made.rows] == ["scratch", "source-only", "partial", "logistic-regression", "joint"]
    for row in made.rows[2:]:
        assert len(row.values) == 2
        assert row.more["scratch"].value == pytest.approx(row.score.value - made.row("scratch").score.value)
        assert row.verdict
    told = json.loads((made.directory / "transfer.json").read_text())
    assert told["rows"][2]["left"]["net.head.weight"]
    page = made.page.read_text()
    assert "<svg" in page
    assert "belongs to the source" in page


def test_a_kept_model_scores_what_was_told(made):
    run = limner.load(made.directory / "ways" / "partial")
    from limner.seeds import derive

    query = classify.target_of(load(NUMBERS), 2, derive(0, "repeat", 0)).query
    right = logits(run.learner, run.params, query).argmax(1) == query.labels
    assert float(right.double().mean()) == pytest.approx(made.row("partial").values[0])


def test_the_memory_keeps_transfers_apart_from_ordinary_runs(made):
    with Memory.open(made.directory.parent / "memory") as memory:
        runs = memory.runs(state="finished")
        goals = {task["sha256"]: task["goal"] for task in memory.list("tasks")}
    marked = [run for run in runs if advice.MARK in (run["lineage"] or {})]
    assert len(marked) == 2 * len(made.rows)
    assert {goals[run["task"]] for run in marked} == {advice.GOAL}
    assert {goals[run["task"]] for run in runs if run not in marked} == {"classify"}


def test_the_source_can_be_a_run_or_chosen_from_the_memory(made, tmp_path):
    memory = str(made.directory.parent / "memory")
    given = {"memory": memory, **QUICK, "repeats": 1}
    run = limner.transfer(str(made.directory / "source"), NUMBERS, ways=("partial",), out=tmp_path / "run", **given)
    assert run.row("partial").values[0] == pytest.approx(made.row("partial").values[0])
    chosen = limner.transfer("auto", NUMBERS, out=tmp_path / "auto", **given)
    labels = [row.label for row in chosen.rows]
    assert [label.split(", ")[1] for label in labels[2:]] == ["nearest source", "static source", "random source"]
    assert any(line.startswith("source, nearest") for line in chosen.advice)
    assert any(line.startswith("way: ") for line in chosen.advice)


def test_generators_are_transferred_too(tmp_path):
    made = limner.transfer(
        LETTERS, "digits,size=16,classes=7,limit=60", goal="generate", ways=("full", "discriminative", "low-rank"),
        options={"latents": 2, "width": 4}, out=tmp_path / "one", **QUICK | {"shots": 5, "repeats": 1},
    )  # fmt: skip
    assert made.record["metric"] == "kernel_distance"
    assert [row.label for row in made.rows][2:] == ["full", "discriminative", "low-rank"]
    assert all(row.verdict == "no clear difference" for row in made.rows[1:])
    assert limner.load(tmp_path / "one" / "ways" / "full").sample(2).shape == (2, 1, 16, 16)


def test_images_of_the_source_are_never_judged_on(images):
    kept, told = unseen(images, [images.select(torch.arange(10))])
    assert len(kept) == len(images) - 10
    assert "10 of the target's images" in told[0]
    with pytest.raises(LimnerError, match="every image of the target"):
        unseen(images, [images])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ways": ("teleport",)}, "there is no way 'teleport'.*partial"),
        ({"ways": ("features:sklearn.linear_model.Ridge",)}, "does not classify"),
        ({"goal": "restore"}, "no transfer to 'restore'"),
        ({"budget": "20s"}, "budget is steps"),
        ({"fields": {"steps": 3}}, "the way's own"),
        ({"shots": 40}, "too few to learn from 40"),
        ({"shots": 0}, "give at least 1"),
        ({"repeats": 0}, "give at least 1"),
        ({"learner": "vae"}, "a classifier is transferred"),
        ({"source": "digits,size=20"}, "load the target with size=20"),
        ({"source": NUMBERS}, "every image of the target"),
        ({"source": "no-such-start"}, "no-such-start"),
        ({"source": "auto"}, "holds no classifier"),
        ({"target": "digits,size=16,classes=9"}, "two or more classes"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(given, told, tmp_path):
    asked = {"source": LETTERS, "target": NUMBERS, "out": tmp_path / "one", **QUICK, **given}
    with pytest.raises(LimnerError, match=told):
        limner.transfer(**asked)
    assert not (tmp_path / "one").exists()


def test_the_command_line_prints_one_document_and_refuses_in_one_sentence(tmp_path, capsys):
    asked = ["transfer", LETTERS, NUMBERS, "--way", "head", "--shots", "2", "--budget", "2steps", "--source-budget"]
    asked += ["3steps", "--repeats", "1", "-o", "width=4", "-o", "features=6", "--out", str(tmp_path / "one")]
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in told["rows"]] == ["scratch", "source-only", "head"]
    assert main(asked) == 2
    assert capsys.readouterr().err.strip().endswith("add --force to replace it")
    assert main([*asked, "--force"]) == 0
    shown = capsys.readouterr().out
    assert "more than scratch" in shown
    assert str(tmp_path / "one" / "report.html") in shown


def test_every_way_says_what_it_does():
    for ways in WAYS.values():
        assert all(way.name == name and way.about for name, way in ways.items())


def test_an_image_set_without_classes_is_refused(source):
    with pytest.raises(LimnerError, match="two or more classes"):
        classify.target_of(ImageSet(torch.zeros(4, 1, 16, 16, dtype=torch.uint8), "blank"), 1, 0)
