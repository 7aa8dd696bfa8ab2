"""Warnings: each where it is due, silence where it is not."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from limner.metrics import nearest_training_ratio
from limner.metrics.few_shot import among, nearest, nearest_shot_ratio
from limner.metrics.judgement import copied, of_samples, of_shots
from limner.tasks import ImageSet, load

NET = "glyph-net"


@pytest.fixture(scope="module")
def glyphs():
    return load("glyphs,script=greek,size=28,per_class=30")


def of_class(glyphs, index, count=30):
    return glyphs.select(glyphs.of_class(index)[:count], "one letter")


def test_nothing_is_said_of_good_images(glyphs):
    for index in (0, 5, 9):
        assert of_shots(of_class(glyphs, index, 10), NET) == []
        real = of_class(glyphs, index)
        thirds = [real.select(torch.arange(start, start + 10)) for start in (0, 10, 20)]
        assert of_samples(thirds[0].images, thirds[1], thirds[2], NET) == []
        assert of_samples(thirds[0].images, thirds[1], None, NET) == []


@pytest.mark.parametrize(
    ("count", "begin"), [(1, "one image does not show"), (2, "2 images show little"), (4, "4 ima")]
)
def test_too_few_are_told(glyphs, count, begin):
    (told,) = of_shots(of_class(glyphs, 0, count), NET)
    assert told.startswith(begin)
    assert "give 5 or more" in told


def test_equal_images_are_told_once(glyphs):
    one = of_class(glyphs, 0, 1)
    (told,) = of_shots(one.select(torch.zeros(5, dtype=torch.int64)), NET)
    assert told.startswith("all 5 images are one and the same")


def test_exact_copies_are_named():
    images = ImageSet(
        torch.arange(6, dtype=torch.uint8).mul(40).reshape(6, 1, 1, 1).expand(6, 1, 16, 16)[[0, 1, 2, 3, 4, 1]],
        "greys", names=("a.png", "b.png", "c.png", "d.png", "e.png", "f.png"),
    )  # fmt: skip
    assert copied(images) == [(5, 1)]
    (told,) = of_shots(images, "pixels")
    assert "1 image is an exact copy of another (f.png of b.png), so only 5 of 6" in told


def test_unlike_things_are_told_and_classes_are_not(glyphs):
    places = torch.tensor([int(glyphs.of_class(index)[0]) for index in (0, 3, 7, 11, 15)])
    five = ImageSet(glyphs.images[places], "five letters")
    (told,) = of_shots(five, NET)
    assert told.startswith("these 5 images are as unlike each other as images of different things")
    assert of_shots(glyphs.select(places), NET) == [], "whoever gives classes knows that they differ"


def noisy(images, deviation):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * deviation
    return (images + noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(
    "copy",
    [
        lambda images: images,
        lambda images: noisy(images, 20),
        lambda images: avg_pool2d(images.float(), 3, 1, 1).to(torch.uint8),
    ],
    ids=["exact", "noisy", "blurred"],
)
def test_copies_are_counted_with_and_without_images_held_back(glyphs, copy):
    real = of_class(glyphs, 5)
    shots, query = real.select(torch.arange(5)), real.select(torch.arange(5, 20))
    samples = torch.cat([copy(shots.images), real.images[20:30]])
    for held in (query, None):
        told = [sentence for sentence in of_samples(samples, shots, held, NET) if sentence.startswith("near-copies")]
        assert len(told) == 1
        count = int(told[0].split()[1])
        assert 4 <= count <= 7
        assert "of 15 new images" in told[0]
        assert "--set early_stopping=true" in told[0]


def test_lack_of_variety_is_told(glyphs):
    real = of_class(glyphs, 5)
    shots, query = real.select(torch.arange(5)), real.select(torch.arange(5, 20))
    samples = noisy(real.images[25:26].expand(20, -1, -1, -1), 3)
    told = of_samples(samples, shots, query, NET)
    assert [sentence.split(":")[0] for sentence in told] == ["little variety"]


def test_what_is_far_from_the_real_ones_is_told(glyphs):
    real = of_class(glyphs, 5)
    shots, query = real.select(torch.arange(5)), real.select(torch.arange(5, 20))
    chance = torch.randint(256, (20, *real.shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for held_back in (query, None):
        told = of_samples(chance, shots, held_back, NET)
        assert "unlike the real ones: 20 of 20 new images lie farther from every real one" in told[0]
    half = torch.cat([chance[:10], real.images[20:]])
    assert of_samples(half, shots, query, NET) == []


def test_one_shot_and_equal_shots_say_nothing_of_samples(glyphs):
    one = of_class(glyphs, 0, 1)
    for shots in (one, one.select(torch.zeros(4, dtype=torch.int64))):
        assert of_samples(glyphs.images[:8], shots, None, NET) == []


def test_the_ratio_among_shots_is_that_to_fresh_images_on_average():
    """With real images as samples both ratios are about 1, whatever the scale; copies are at 0."""
    random = torch.Generator().manual_seed(1)
    support, samples, real = (7 * torch.randn(count, 4, generator=random) for count in (200, 400, 400))
    ours, known = nearest_shot_ratio(samples, support), nearest_training_ratio(samples, real, support)
    assert ours == pytest.approx(known, rel=0.1)
    assert nearest_shot_ratio(support, support) == 0
    assert among(support).tolist() == [
        float(nearest(support[[place]], torch.cat([support[:place], support[place + 1 :]]))) for place in range(200)
    ]
