"""All scores together: what they rank, how sure they are, and what they refuse."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.metrics import distribution, evaluate, extractor, few_shot
from limner.metrics.evaluation import Comparison, floors, intervals
from limner.metrics.train_glyph_net import blur
from limner.seeds import generator
from limner.tasks import ImageSet, load
from limner.types import METRICS, Scores


@pytest.fixture(scope="module")
def character() -> ImageSet:
    """104 drawings of one built-in character, which glyph-net did not learn from in these drawings."""
    return load("glyphs,script=greek,characters=3,per_class=104,size=28,seed=11").select(torch.arange(104))


@pytest.fixture(scope="module")
def parts(character: ImageSet) -> tuple[Tensor, ImageSet, ImageSet]:
    """Fresh real images, query and support."""
    return (
        character.images[:64],
        character.select(torch.arange(64, 96)),
        character.select(torch.arange(96, 104)),
    )


def to_bytes(images: Tensor) -> Tensor:
    return images.mul(255).round().clamp(0, 255).to(torch.uint8)


def blurred(images: Tensor, deviation: float) -> Tensor:
    return to_bytes(blur(images.float() / 255, deviation))


def noisy(images: Tensor, deviation: float) -> Tensor:
    return to_bytes(images.float() / 255 + deviation * torch.randn(images.shape, generator=generator(0, "noise")))


def test_every_score_is_the_one_of_its_own_function(parts) -> None:
    samples, query, support = parts
    scores = evaluate(samples, query, support, extractor="pixels", bootstraps=0)
    x, y, s = (images.flatten(1).double() / 255 * 2 - 1 for images in (samples, query.images, support.images))
    balls = distribution.precision_recall_density_coverage(x, y)
    expected = {
        "kernel_distance": distribution.kernel_distance(x, y),
        "frechet_distance": distribution.frechet_distance(x, y),
        "precision": balls.precision,
        "recall": balls.recall,
        "density": balls.density,
        "coverage": balls.coverage,
        "diversity": few_shot.diversity(x, y),
        "nearest_training_ratio": few_shot.nearest_training_ratio(x, y, s),
    }
    assert set(expected) == set(METRICS) - {
        "absolute_error",
        "psnr",
        "ssim",
        "hidden_error",
    }  # those of what was restored
    assert scores.plain() == pytest.approx(expected, rel=1e-4)
    assert (scores.samples, scores.query, scores.support, scores.extractor) == (64, 32, 8, "pixels")
    assert all(score.low is None and score.floor is None for score in scores.values.values())


def test_distances_rank_three_strengths_of_blur_and_of_noise(parts) -> None:
    samples, query, support = parts
    for spoil, strengths in ((blurred, (0.7, 1.2, 2.0)), (noisy, (0.1, 0.2, 0.4))):
        ladder = [evaluate(samples, query, support, bootstraps=0).plain()]
        ladder += [evaluate(spoil(samples, s), query, support, bootstraps=0).plain() for s in strengths]
        for metric in ("kernel_distance", "frechet_distance"):
            values = [rung[metric] for rung in ladder]
            assert values == sorted(values), f"{metric} under {spoil.__name__}: {values}"
        assert ladder[-1]["coverage"] < ladder[0]["coverage"]


def test_a_memoriser_is_seen_by_the_nearest_training_ratio_alone(parts) -> None:
    samples, query, support = parts
    copies = evaluate(support.images.repeat(8, 1, 1, 1), query, support, bootstraps=50)
    fresh = evaluate(samples, query, support, bootstraps=50)
    assert copies.values["nearest_training_ratio"].value == pytest.approx(0.0, abs=1e-6)
    low, high = fresh.values["nearest_training_ratio"].low, fresh.values["nearest_training_ratio"].high
    assert low is not None
    assert high is not None
    assert 0.7 < low < 1 < high < 1.4
    assert copies.values["precision"].value > 0.8, "precision is blind to copies; if not, the documentation is wrong"


def test_a_collapsed_generator_has_no_diversity(parts) -> None:
    samples, query, support = parts
    scores = evaluate(samples[:1].repeat(64, 1, 1, 1), query, support, bootstraps=20).values
    assert scores["diversity"].value == pytest.approx(0.0, abs=1e-6)
    assert scores["recall"].value == 0.0
    assert scores["kernel_distance"].value > 5 * (scores["kernel_distance"].floor or 0)


def test_real_images_score_like_their_floor(parts) -> None:
    samples, query, support = parts
    values = evaluate(samples, query, support).values
    kernel = values["kernel_distance"]
    assert kernel.floor is not None
    assert abs(kernel.value) < 3 * kernel.floor
    spoilt = evaluate(blurred(samples, 2.0), query, support).values["kernel_distance"]
    assert spoilt.floor is not None
    assert spoilt.value > 5 * spoilt.floor
    for metric in ("coverage", "density", "precision", "recall", "diversity", "nearest_training_ratio"):
        assert values[metric].value == pytest.approx(values[metric].floor, abs=0.25), metric


def test_same_seed_same_scores_and_they_survive_json(parts) -> None:
    samples, query, support = parts
    scores = evaluate(samples, query, support, bootstraps=30, seed=4)
    assert evaluate(samples, query, support, bootstraps=30, seed=4) == scores
    other = evaluate(samples, query, support, bootstraps=30, seed=5)
    assert other.plain() == scores.plain()
    assert other != scores
    assert Scores.from_json(scores.to_json()) == scores
    for metric, score in scores.values.items():
        assert score.low is not None, metric
        assert score.high is not None, metric
        assert score.low <= score.value <= score.high, metric


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """In a simulation, with the mean over fresh draws for truth: between 88% and 100% of 95% intervals hold it."""

    def draw(index: int) -> Comparison:
        random = generator(index, "simulation")
        return Comparison(
            torch.randn(24, 4, generator=random, dtype=torch.float64) * 0.8 + 0.6,
            torch.randn(16, 4, generator=random, dtype=torch.float64),
            torch.randn(5, 4, generator=generator(0, "support"), dtype=torch.float64),
        )

    watched = ("kernel_distance", "diversity", "coverage", "precision", "nearest_training_ratio")
    fresh = [draw(1000 + index).scores() for index in range(400)]
    truth = {metric: sum(row[metric] for row in fresh) / len(fresh) for metric in watched}
    held = dict.fromkeys(watched, 0)
    rounds = 80
    for index in range(rounds):
        comparison = draw(index)
        values, reach = comparison.scores(), intervals(comparison, 60, seed=index)
        for metric in watched:
            held[metric] += abs(values[metric] - truth[metric]) <= reach[metric]
    assert all(count >= 0.88 * rounds for count in held.values()), held


def test_the_kernel_distances_floor_is_its_spread_between_equal_distributions() -> None:
    """Root mean square over fresh draws of the same sizes, within a third."""
    values, floor = [], []
    for index in range(60):
        random = generator(index, "floor")
        same = Comparison(*(torch.randn(n, 4, generator=random, dtype=torch.float64) for n in (30, 20)))
        values.append(same.scores()["kernel_distance"])
        floor.append(floors(same, seed=index)["kernel_distance"])
    spread = float(torch.tensor(values).square().mean().sqrt())
    assert sum(floor) / len(floor) == pytest.approx(spread, rel=0.33)


def test_a_share_of_none_or_all_is_not_certain(parts) -> None:
    samples, query, support = parts
    scores = evaluate(255 - samples, query, support, extractor="pixels", bootstraps=20).values
    assert scores["precision"].value == 0.0
    assert scores["precision"].high == pytest.approx(1 - 0.025 ** (1 / 64))
    assert scores["coverage"].high == pytest.approx(1 - 0.025 ** (1 / 32))


@pytest.mark.parametrize("supports", [2, 8])
@pytest.mark.parametrize(("samples", "queries"), [(1, 1), (1, 5), (1, 9), (5, 1), (2, 2), (3, 9), (4, 4)])
def test_tiny_sets_are_scored_as_far_as_they_go(parts, samples: int, queries: int, supports: int) -> None:
    made, query, support = parts
    scores = evaluate(made[:samples], query.select(torch.arange(queries)), support.select(torch.arange(supports)))
    assert "nearest_training_ratio" in scores.values
    assert ("kernel_distance" in scores.values) == (min(samples, queries) > 1)
    assert scores.notes
    assert all(torch.tensor(score.value).isfinite() for score in scores.values.values())


def test_without_support_copying_is_not_measured(parts) -> None:
    samples, query, _ = parts
    scores = evaluate(samples, query, None, bootstraps=0)
    assert "nearest_training_ratio" not in scores.values
    assert any("copying was not measured" in note for note in scores.notes)


def test_equal_query_images_have_no_diversity_to_be_held_against(parts) -> None:
    samples, query, support = parts
    same = query.select(torch.zeros(6, dtype=torch.int64))
    scores = evaluate(samples, same, support, extractor="pixels", bootstraps=10)
    assert "diversity" not in scores.values
    assert any("all equal" in note for note in scores.notes)


def test_mistakes_are_told(parts) -> None:
    samples, query, support = parts
    with pytest.raises(LimnerError, match="no samples to score"):
        evaluate(samples[:0], query, support)
    with pytest.raises(LimnerError, match="no query images"):
        evaluate(samples, query.select(torch.arange(0)), support)
    with pytest.raises(LimnerError, match="same size and colour"):
        evaluate(samples[..., :20, :20], query, support)
    with pytest.raises(LimnerError, match="same size and colour"):
        evaluate(samples.expand(-1, 3, -1, -1), query, support)
    with pytest.raises(LimnerError, match="scored as uint8 images"):
        evaluate(samples.float(), query, support)
    with pytest.raises(LimnerError, match="no feature extractor"):
        evaluate(samples, query, support, extractor="vgg")
    with pytest.raises(LimnerError, match="bootstraps"):
        evaluate(samples, query, support, bootstraps=-1)


def test_scoring_is_quick(parts) -> None:
    """64 samples against 15 query images with 200 resamples, in half a second of one core's time."""
    samples, query, support = parts
    evaluate(samples, query, support, extractor="glyph-net", bootstraps=2)
    began = time.process_time()
    evaluate(samples, query.select(torch.arange(15)), support, extractor="glyph-net", bootstraps=200)
    assert time.process_time() - began < 0.5 * torch.get_num_threads()


def test_a_curve_ends_where_the_table_stands(tmp_path, monkeypatch) -> None:
    """The same parameters have the same scores as the run goes and at its end, also where k depends on the counts."""
    import limner

    asked: list[int] = []
    monkeypatch.setattr(
        "limner.metrics.evaluation.extractor_named",
        lambda name: lambda images: (asked.append(len(images)), extractor(name)(images))[1],
    )
    run = limner.adapt(
        "digits,classes=3,size=16,limit=18", shots=10, learner="vae", options={"width": 8}, budget="6steps",
        fields={"evaluate_every": 3}, out=tmp_path / "run", memory=str(tmp_path / "memory"),
    )  # fmt: skip
    assert run.scores is not None
    assert (run.scores.samples, run.scores.query) == (200, 8)
    assert distribution.neighbours(200, 8) != distribution.neighbours(64, 8)
    points = [point for point in run.curve if "kernel_distance" in point.values]
    assert [point.step for point in points] == [3, 6]
    table = run.scores.plain()
    assert set(table) == {name for name in points[-1].values if name in METRICS}
    assert {name: points[-1].values[name] for name in table} == table
    assert asked.count(200) == 2  # and the features of the last samples are taken once for both
