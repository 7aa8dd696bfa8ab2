"""The check of made images: that no fold leaks, and that arms, intervals and verdicts hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import a_making, bars

from limner.engine import fit as true_fit
from limner.errors import LimnerError
from limner.metrics import gain as gains
from limner.reports import augmented
from limner.types import Score
from limner.verbs import augment_check
from limner.verbs.augment_check import Gain, Plan

PLAN = Plan(folds=2, steps=2, per_class=2, features="", ordinary=("shift",), seconds=0.0)


# ── The check ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_folds_deal_every_class_evenly_and_leave_some_of_it_to_learn_from():
    labels = torch.tensor([0] * 7 + [1] * 2 + [2] * 13)[torch.randperm(22, generator=torch.Generator().manual_seed(1))]
    fold = gains.folds(labels, 5, seed=3)
    sizes = torch.bincount(fold, minlength=5)
    assert sizes.max() - sizes.min() <= 1
    for label in range(3):
        counts = torch.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
        assert all(((fold != each) & (labels == label)).any() for each in range(5))
    assert torch.equal(fold, gains.folds(labels, 5, seed=3))
    assert not torch.equal(fold, gains.folds(labels, 5, seed=4))


@pytest.mark.parametrize("each", [True, False], ids=["a generator a class", "one for all"])
def test_nothing_of_a_fold_reaches_what_is_judged_on_it(monkeypatch, each):
    """Whatever the images of a fold are, what was made and learned for that fold stays the same, bit by bit."""
    seen = []

    def correct(real, made, held, **named):
        seen.append((real, made, held))
        return {"network": {arm: torch.zeros(len(held), dtype=torch.bool) for arm in gains.ARMS}}

    monkeypatch.setattr(gains, "correct", correct)
    images, making = bars((5, 5)), a_making(each)
    augment_check.check(images, making, PLAN, seed=1)
    (real, made, held), first = seen[0], list(seen)
    seen.clear()
    here = torch.tensor([any(torch.equal(image, one) for one in held.images) for image in images.images])
    assert here.sum() == len(held) == 5
    assert not any(torch.equal(image, one) for image in held.images for one in real.images)
    changed = replace(images, images=torch.where(here[:, None, None, None], 255 - images.images, images.images))
    augment_check.check(changed, making, PLAN, seed=1)
    assert torch.equal(seen[0][0].images, real.images)
    assert torch.equal(seen[0][1].images, made.images)
    assert not torch.equal(seen[0][2].images, held.images)
    assert not torch.equal(seen[1][1].images, first[1][1].images)  # there they were learned from


def test_every_training_of_a_fold_keeps_to_its_training_part_and_takes_equal_steps(monkeypatch):
    import limner.engine

    trained = []

    def fit(learner, task, strategy, **named):
        trained.append((learner.kind, task.support.images, strategy))
        return true_fit(learner, task, strategy, **named)

    monkeypatch.setattr(limner.engine, "fit", fit)
    monkeypatch.setattr(gains, "fit", fit)
    images = bars((5, 5))
    fold = gains.folds(images.labels, 2, augment_check.derive(7, "check"))
    augment_check.check(images, a_making(True), PLAN, seed=7)
    kinds = [kind for kind, _, _ in trained]
    assert kinds == (["vae"] * 2 + ["classifier"] * 3) * 2
    for place, (_, learned, _) in enumerate(trained):
        held = images.images[fold == place // 5]
        assert not any(torch.equal(image, one) for image in held for one in learned)
    judges = [strategy for kind, _, strategy in trained if kind == "classifier"]
    assert len({(judge.steps, judge.batch, judge.learning_rate) for judge in judges}) == 1
    assert [judge.augmentation for judge in judges[:3]] == [(), (), ("shift",)]
    assert [len(learned) for kind, learned, _ in trained[:5] if kind == "classifier"] == [5, 5 + 2 * 2, 5]


def test_the_time_ends_a_check_after_its_second_fold(monkeypatch):
    found = augment_check.check(bars(), a_making(False), replace(PLAN, folds=4), 0, deadline=0.0)
    assert (found.done, found.judged) == (2, 4)


def test_the_arms_tell_good_made_images_from_bad_ones():
    real, held, good = bars((2, 2), 1), bars((20, 20), 2), bars((30, 30), 3)
    bad = replace(good, labels=1 - good.labels)
    found = {
        name: gains.correct(real, made, held, ordinary=("shift",), steps=40, seed=0, features="pixels", width=4)
        for name, made in (("good", good), ("bad", bad))
    }
    for judge in ("network", "regression"):
        share = {name: float(arms[judge]["made"].float().mean()) for name, arms in found.items()}
        plain = float(found["good"][judge]["plain"].float().mean())
        assert share["bad"] < min(plain, 0.35)
        assert share["good"] > 0.85
        assert torch.equal(found["good"][judge]["plain"], found["bad"][judge]["plain"])
        assert torch.equal(found["good"][judge]["ordinary"], found["bad"][judge]["ordinary"])


def test_without_a_class_or_with_others_nothing_is_judged():
    with pytest.raises(LimnerError, match="do not have the same classes"):
        gains.together(bars(), bars(names=("a", "b")))
    alone = bars((4, 0)).restrict([0])
    with pytest.raises(LimnerError, match="two or more classes"):
        gains.by_network(alone, alone, steps=1, seed=0)


# ── The paired interval ───────────────────────────────────────────────────────────────────────────────────────────────


def answers(gained: int, lost: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
    first[:gained] = True
    second[gained : gained + lost] = True
    return first, second


def test_a_paired_interval_is_that_of_bonett_and_price_where_folds_agree():
    first, second = answers(10, 5, 40)
    fold = torch.arange(40) % 5  # each has two gained and one lost, so the folds do not differ at all
    found = gains.paired(first, second, fold, 5)
    p, q = 11 / 42, 6 / 42
    reach = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / 42)
    assert found.value == pytest.approx(5 / 40)
    assert found.low == pytest.approx(p - q - reach, abs=1e-5)
    assert found.high == pytest.approx(p - q + reach, abs=1e-5)
    mirrored = gains.paired(second, first, fold, 5)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_a_paired_interval_is_that_of_nadeau_and_bengio_where_folds_differ():
    first, second = answers(16, 0, 40)
    fold = torch.arange(40) // 8  # two folds all gained, three with no difference
    found = gains.paired(first, second, fold, 5)
    spread = math.sqrt((1 / 5 + 8 / 32) * np.var([1, 1, 0, 0, 0], ddof=1))
    assert found.low == pytest.approx(0.4 - 2.776445 * spread, abs=1e-5)
    assert found.high == 1.0


def test_a_paired_interval_never_claims_certainty_and_halves_with_four_times_the_images():
    same = torch.ones(20, dtype=torch.bool)
    found = gains.paired(same, same, torch.arange(20) % 5, 5)
    assert found.low < 0 < found.high
    widths = []
    for times in (1, 4):
        first, second = (part.repeat(times) for part in answers(10, 5, 40))
        found = gains.paired(first, second, torch.arange(40 * times) % 5, 5)
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.05)


@pytest.mark.parametrize("shaken", [0.0, 0.15], ids=["images differ", "trainings differ too"])
def test_a_paired_interval_covers_the_truth_as_often_as_it_says(shaken):
    """Also where each fold's training shifts all of its images alike, which an interval over images alone misses."""
    random = np.random.default_rng(0)
    fold, truth, kept, narrow = torch.arange(200) % 5, 0.1, 0, 0
    for _ in range(200):
        gain = np.clip(truth + random.normal(0, shaken, 5), -0.4, 0.6)[fold.numpy()]
        drawn = random.random(200)
        first, second = torch.from_numpy(drawn < 0.3 + gain / 2), torch.from_numpy(drawn > 0.7 + gain / 2)
        found = gains.paired(first, second, fold, 5)
        kept += found.low <= truth <= found.high
        p, q = (first & ~second).double().mean(), (second & ~first).double().mean()
        narrow += abs(float(p - q) - truth) <= 1.96 * math.sqrt(float(p + q - (p - q) ** 2) / 200)
    assert kept / 200 >= 0.94
    if shaken:
        assert narrow / 200 < 0.85


# ── The verdict ───────────────────────────────────────────────────────────────────────────────────────────────────────

UP, LEVEL, DOWN = Score(0.021, 0.004, 0.039), Score(0.003, -0.02, 0.03), Score(-0.05, -0.08, -0.02)


@pytest.mark.parametrize(
    ("helped", "usual", "more", "told"),
    [
        (UP, LEVEL, UP, "raise accuracy by 2.1 points [0.4, 3.9], and by 2.1 points [0.4, 3.9] more than"),
        (UP, UP, DOWN, "raises it by 2.1 points [0.4, 3.9]: use that instead."),
        (UP, UP, LEVEL, "use them, or ordinary augmentation (shift), which cannot be told apart from them"),
        (LEVEL, UP, DOWN, "No clear gain: the made images change accuracy by 0.3 points [−2.0, 3.0]; ordinary"),
        (LEVEL, LEVEL, LEVEL, "don't bother."),
        (DOWN, LEVEL, DOWN, "lower accuracy, by −5.0 points [−8.0, −2.0]: leave them out"),
    ],
)
def test_the_verdict_says_what_the_intervals_allow(helped, usual, more, told):
    differences = {"made less plain": helped, "ordinary less plain": usual, "made less ordinary": more}
    share = Score(0.9, 0.8, 0.95)
    accuracy = {judge: dict.fromkeys(gains.ARMS, share) for judge in ("network", "regression")}
    plan = replace(PLAN, features="pixels")
    both = {"network": differences, "regression": differences | {"made less plain": UP}}
    found = Gain(plan, accuracy, both, judged=40, done=2, seconds=1.0)
    said = augmented.verdict(found)
    assert told in said
    agrees = "says the same (2.1" if helped is UP else "sees a gain (2.1"
    assert f"Logistic regression on features of pixels {agrees}" in said
    assert "Logistic" not in augmented.verdict(replace(found, gains={"network": differences}))
    assert [row["difference"] for row in augmented.rows(found)][:2] == ["", augmented.points(helped)]
    json.dumps(found.to_json(), allow_nan=False)
