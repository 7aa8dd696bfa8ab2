"""Splits and families: disjoint by construction, by seed, whole groups together; and the glyphs they are made of."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from limner.errors import LimnerError
from limner.tasks import Family, ImageSet, load, split
from limner.tasks.glyphs import characters, script_of
from limner.tasks.handwriting import NUMBERS, draw


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMNER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def numbered(sizes, groups=None):
    """Images whose first two pixels tell their number, ``sizes[i]`` of class i."""
    images = torch.zeros(sum(sizes), 1, 16, 16, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = torch.arange(len(images)) % 256, torch.arange(len(images)) // 256
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    names = tuple(f"c{index}" for index in range(len(sizes)))
    if groups is None:
        return ImageSet(images, "numbered", labels, names)
    group_names = tuple(f"g{index}" for index in range(max(groups) + 1))
    return ImageSet(images, "numbered", labels, names, torch.tensor(groups), group_names)


def numbers(images):
    pixels = images.images[:, 0, 0].int()
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


@settings(max_examples=30, deadline=None)
@given(total=some.integers(1, 60), part=some.floats(0, 1), seed=some.integers(0, 99))
def test_split_is_a_partition(total, part, seed):
    shots = max(1, round(part * total))
    images = numbered([total])
    task = split(images, shots, seed)
    held = [] if task.query is None else numbers(task.query)
    assert sorted(numbers(task.support) + held) == list(range(total))
    assert len(task.support) == shots
    assert task.sha256 == split(images, shots, seed).sha256


def test_split_mistakes_and_queries():
    images = numbered([10])
    assert len(split(images, 4, 0, queries=3).query) == 3
    assert split(images, 4, 0, queries=0).query is None
    assert split(images, 4, 0).sha256 != split(images, 4, 1).sha256
    for shots, queries, said in [
        (11, None, "10 images, fewer than 11 shots"),
        (0, None, "at least 1"),
        (8, 3, "at most 2"),
    ]:
        with pytest.raises(LimnerError, match=said):
            split(images, shots, 0, queries=queries)


@settings(max_examples=30, deadline=None)
@given(groups=some.lists(some.integers(0, 7), min_size=12, max_size=80), seed=some.integers(0, 99))
def test_families_are_disjoint_and_groups_whole(groups, seed):
    order = sorted(set(groups))
    groups = [order.index(group) for group in groups]
    images = numbered([6] * len(groups), groups)
    if len(order) < 3:
        with pytest.raises(LimnerError, match="too few for the splits"):
            Family(images, 2, 3, seed=seed)
        return
    family = Family(images, 2, 3, seed=seed)
    divided = family.classes
    assert sorted(chain(*divided.values())) == list(range(len(groups)))
    assert all(divided.values())
    found = [{groups[index] for index in classes} for classes in divided.values()]
    assert sum(map(len, found)) == len(set.union(*found))  # no group in two splits
    assert divided == Family(images, 2, 3, seed=seed).classes


def test_fractions_are_kept_and_seeds_differ():
    images = numbered([4] * 200)
    family = Family(images, 1, 2)
    assert [len(classes) for classes in family.classes.values()] == [140, 20, 40]
    assert family.classes != Family(images, 1, 2, seed=1).classes
    grouped = Family(numbered([4] * 200, [index // 4 for index in range(200)]), 1, 2)
    counts = [len(classes) for classes in grouped.classes.values()]
    assert all(abs(count - wanted) <= 4 for count, wanted in zip(counts, (140, 20, 40), strict=True))
    assert Family(images, 1, 2, fractions=(0.5, 0, 0.5)).classes["validation"] == ()


def test_tasks_of_a_family():
    images = numbered([8] * 30)
    family = Family(images, 3, 4)
    task = family.task("test", 1, seed=5)
    inside = set(family.members[family.classes["test"][1]].tolist())
    support, query = set(numbers(task.support)), set(numbers(task.query))
    assert (len(support), len(query)) == (3, 4)
    assert not support & query
    assert support | query <= inside
    assert task.sha256 == family.task("test", 1, seed=5).sha256 != family.task("test", 1, seed=6).sha256
    generator = torch.Generator().manual_seed(0)
    seen = {int(family.sample("train", generator).support.labels[0]) for _ in range(400)}
    assert seen == set(family.classes["train"])


def test_pool_holds_all_images_of_its_classes_with_matching_labels():
    images = numbered([3, 5, 4, 6, 2, 7, 3, 3, 3, 3], [0, 1, 2, 0, 1, 2, 3, 4, 5, 6])
    family = Family(images, 1, 1)
    pools = [family.pool(name) for name in family.classes]
    assert sorted(chain.from_iterable(numbers(pool) for pool in pools)) == list(range(len(images)))
    for pool in pools:
        for number, label in zip(numbers(pool), pool.labels.tolist(), strict=True):
            assert pool.class_names[label] == images.class_names[int(images.labels[number])]
        for name, group in zip(pool.class_names, pool.class_groups.tolist(), strict=True):
            was = int(images.class_groups[images.class_names.index(name)])
            assert pool.group_names[group] == images.group_names[was]


def test_family_json_rebuilds_it():
    images = load("digits,size=16")
    family = Family(images, 5, 5, seed=3, fractions=(0.5, 0.2, 0.3))
    again = Family.from_json(family.to_json())
    assert again.classes == family.classes
    assert again.task("train", 0, 1).sha256 == family.task("train", 0, 1).sha256
    with pytest.raises(LimnerError, match="have changed"):
        Family.from_json(family.to_json(), images=load("digits,size=16,limit=50"))


def test_family_mistakes():
    with pytest.raises(
        LimnerError, match=r"'c1' of numbered has 3 images, but 5 shots and a query need 6.*min_images=6"
    ):
        Family(numbered([9, 3, 9, 9, 9]), 5, 5)
    left = Family(numbered([9, 3, 9, 9, 9]), 5, 5, min_images=6)
    assert 1 not in set(chain(*left.classes.values()))
    assert left.notes == ("1 of 5 classes have fewer than 6 images and are left out",)
    with pytest.raises(LimnerError, match="2 usable classes, too few"):
        Family(numbered([9, 9]), 2, 2)
    with pytest.raises(LimnerError, match="has no classes"):
        Family(ImageSet(numbered([9]).images, "plain"), 2, 2)
    with pytest.raises(LimnerError, match="add up to 1"):
        Family(numbered([9] * 5), 2, 2, fractions=(0.5, 0.5, 0.5))
    family = Family(numbered([9] * 5), 2, 2)
    with pytest.raises(LimnerError, match="no split 'dev'"):
        family.pool("dev")
    with pytest.raises(LimnerError, match="no index 99"):
        family.task("test", 99, 0)


def test_labels_of_an_image_set_are_checked():
    images = numbered([2, 2])
    with pytest.raises(LimnerError, match="4 images but 3 labels"):
        ImageSet(images.images, "short", torch.zeros(3, dtype=torch.int64), ("a",))
    with pytest.raises(LimnerError, match="labels run from 0 to 1, but there are 1"):
        ImageSet(images.images, "few", images.labels, ("a",))


# glyphs


def test_ink_never_reaches_the_border_and_is_always_there():
    masters = torch.zeros(600, 64, 64)
    for row, (left, top) in enumerate(
        torch.randint(10, 31, (600, 2), generator=torch.Generator().manual_seed(0)).tolist()
    ):
        left, top = (10, top) if row % 2 else (left, 10)  # the longer extent is that of rendered characters
        masters[row, top : 64 - top, left : 64 - left] = 1  # boxes of all proportions: the worst case
    drawings = draw(masters, torch.rand(600, NUMBERS, generator=torch.Generator().manual_seed(1)), 28)[:, 0]
    rim = torch.cat([drawings[:, 0], drawings[:, -1], drawings[:, :, 0], drawings[:, :, -1]], dim=1)
    assert rim.max() == 0
    assert drawings.flatten(1).max(1).values.min() > 100


def test_drawing_without_variation_is_the_master_scaled():
    master = torch.zeros(1, 64, 64)
    master[0, 10:54, 28:36] = 1
    random = torch.full((1, NUMBERS), 0.5)
    drawing = draw(master, random, 64)[0, 0].float() / 255
    assert torch.allclose(drawing, drawing.flip(0), atol=0.02)
    assert torch.allclose(drawing, drawing.flip(1), atol=0.02)
    height = (drawing[:, 32] > 0.5).sum()
    assert abs(int(height) - 0.76 * 64) <= 2 * 2


def test_glyphs_by_script_are_deterministic_whichever_are_wanted():
    greek = load("glyphs,script=greek,per_class=3,size=20")
    assert greek.shape == (1, 20, 20)
    assert greek.group_names == ("greek",)
    assert len(greek) == 3 * len(greek.class_names) > 150
    one = load("glyphs,script=greek+hebrew,per_class=3,size=20,classes=ξ")
    assert one.class_names == ("GREEK SMALL LETTER XI",)
    assert torch.equal(one.images, greek.images[greek.of_class(greek.class_names.index("GREEK SMALL LETTER XI"))])
    assert load("glyphs,script=greek,per_class=3,size=20").sha256 == greek.sha256  # from the cache
    assert load("glyphs,script=greek,per_class=3,size=20,seed=1").sha256 != greek.sha256
    flat = greek.images.flatten(1)
    assert len(flat.unique(dim=0)) == len(flat)  # no two drawings are the same


def test_characters_are_many_and_differ():
    known = characters()
    assert len(known) > 2500
    assert len({character.script for character in known}) > 15
    assert len({character.name for character in known}) == len(known)
    texts = {character.text for character in known}
    assert "A" in texts
    assert not {"Α", "А"} & texts  # Greek and Cyrillic letters that look like A
    assert script_of("a") == "latin"
    assert script_of("\ue000") is None


def test_photos_are_patches_by_seed():
    photos = load("photos,per_class=4,size=24")
    assert photos.shape == (3, 24, 24)
    assert len(photos) == 4 * len(photos.class_names) >= 40
    assert (
        photos.sha256 == load("photos,per_class=4,size=24").sha256 != load("photos,per_class=4,size=24,seed=1").sha256
    )
