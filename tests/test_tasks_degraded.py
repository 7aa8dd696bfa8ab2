"""Tasks to restore: one degradation each, pairs of patches, nothing of the support in the query."""

import pytest
import torch

from limner.degradations import parse
from limner.errors import LimnerError
from limner.learners import batch_of, create
from limner.tasks import DegradationFamily, ImageSet, Pairs, TaskFamily, family_from_json
from limner.tasks.degraded import Unrounded, enlarged


def pictures(count=12, channels=1, side=32, labels=None, first=0):
    """Images of which every pixel says whose it is: those of image i are 20 i + 0 … 19."""
    drawn = torch.randint(20, (count, channels, side, side), generator=torch.Generator().manual_seed(0))
    images = (drawn + 20 * (torch.arange(count) + first).view(-1, 1, 1, 1)).to(torch.uint8)
    return ImageSet(images, "pictures", labels, tuple("abcdef") if labels is not None else ())


def whose(pairs):
    return set((pairs.targets.images // 20).flatten().tolist())


def test_a_task_is_one_degradation_of_pairs():
    family = DegradationFamily(pictures(), "gaussian(5..50)", patch=16, shots=2, queries=3)
    assert isinstance(family, TaskFamily)
    texts = set()
    for index in range(8):
        task = family.task("train", index, seed=0)
        assert task.goal == "restore"
        assert isinstance(task.support, Pairs)
        assert (len(task.support), len(task.query)) == (2, 3)
        text = task.name.removeprefix("pictures under ").removesuffix(", 2 shots")
        texts.add(text)
        sigma = parse(text).values["sigma"]
        errors = torch.cat([one["inputs"] - one["images"] for one in map(batch_of, (task.support, task.query))])
        assert abs(255 * errors.std() - sigma) < 4 * sigma / (2 * errors.numel()) ** 0.5
    assert len(texts) == 8


def test_support_and_query_share_no_image_and_splits_share_none():
    family = DegradationFamily(pictures(), "gaussian(9)", patch=16, shots=4, queries=4, seed=3)
    seen = {}
    for split in ("train", "validation", "test"):
        seen[split] = set()
        for index in range(20):
            task = family.task(split, index, seed=index)
            support, query = whose(task.support), whose(task.query)
            assert not support & query or len(family.members[split]) == 1
            seen[split] |= support | query
        assert seen[split] == set(family.members[split].tolist())
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 12


def test_the_halves_of_a_single_image():
    rows = torch.arange(32, dtype=torch.uint8).view(1, 1, 32, 1).expand(3, 1, 32, 32).contiguous()
    family = DegradationFamily(ImageSet(rows, "rows"), "nothing", patch=8, shots=5, queries=5, fractions=(1 / 3,) * 3)
    task = family.task("test", 0, seed=0)
    assert task.support.targets.images.max() < 16
    assert task.query.targets.images.min() >= 16


def test_classes_stay_together():
    labels = torch.arange(12) // 2
    family = DegradationFamily(pictures(labels=labels), "gaussian(9)", patch=16, shots=1, queries=1)
    groups = [set(labels[places].tolist()) for places in family.members.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6


def test_by_number_and_by_chance_a_seed_is_a_task():
    family = DegradationFamily(pictures(), "unknown", patch=16, shots=2, queries=3)
    first, again = (family.task("train", 3, seed=5) for _ in range(2))
    assert first.sha256 == again.sha256
    other = family.task("train", 3, seed=6)
    assert other.name == first.name  # the number says which degradation
    assert other.sha256 != first.sha256
    one, two = (family.sample("train", torch.Generator().manual_seed(9)) for _ in range(2))
    assert one.sha256 == two.sha256
    assert len({family.sample("train", torch.Generator().manual_seed(n)).sha256 for n in range(9)}) == 9


def test_patches_are_mirrored_and_turned():
    corner = torch.zeros(6, 1, 16, 16, dtype=torch.uint8)
    corner[:, 0, 0, 1] = 200
    family = DegradationFamily(ImageSet(corner, "corners"), "nothing", 16, 30, 30, fractions=(1, 0, 0))
    task = family.task("train", 0, seed=0)
    bright = {tuple(image.nonzero()[0].tolist()) for image in task.support.targets.images[:, 0]}
    assert bright == {(0, 1), (1, 0), (0, 14), (14, 0), (15, 1), (1, 15), (15, 14), (14, 15)}


def test_noise_leaves_the_bounds_unless_asked_not_to():
    dark = ImageSet(torch.zeros(6, 1, 16, 16, dtype=torch.uint8), "dark")
    free, filed = (
        DegradationFamily(dark, text, 16, 4, 4, fractions=(1, 0, 0)).task("train", 0, 0).support
        for text in ("gaussian(25)", "gaussian(25)+quantise(8)")
    )
    assert batch_of(free)["inputs"].min() < -0.1
    assert batch_of(filed)["inputs"].min() == 0
    some = free.select(torch.tensor([2, 0]))
    assert torch.equal(batch_of(some)["inputs"], batch_of(free)["inputs"][[2, 0]])
    assert torch.equal(free.inputs.images, (free.inputs.values.clamp(0, 1) * 255).round().byte())
    assert Unrounded(free.inputs.values + 1e-4, "other").sha256 != free.inputs.sha256


def test_test_tasks_can_have_degradations_never_learned_from():
    family = DegradationFamily(pictures(), "gaussian(5)", 16, 1, 1, unseen="stripes(20)")
    assert "under gaussian(5)" in family.task("validation", 0, 0).name
    assert "under stripes(20)" in family.task("test", 0, 0).name


def test_what_became_smaller_is_enlarged_where_it_was():
    values = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ramp = torch.linspace(0, 1, 16, dtype=torch.float64).expand(1, 1, 16, 16)
    for factor in (2, 4, 16):
        small = values[..., ::factor, ::factor]
        assert torch.allclose(enlarged(small, 16)[..., ::factor, ::factor], small, atol=1e-12)
    assert torch.allclose(enlarged(ramp[..., ::2, ::2], 16)[..., 2:-4], ramp[..., 2:-4], atol=1e-12)
    family = DegradationFamily(pictures(), "downsample(2)", 16, 1, 1)
    assert family.task("train", 0, 0).support.inputs.shape == (1, 16, 16)
    with pytest.raises(LimnerError, match="16 pixels became 6"):
        DegradationFamily(pictures(), "downsample(3)", 16, 1, 1).task("train", 0, 0)


def test_its_record_rebuilds_it():
    images = pictures()
    family = DegradationFamily(images, "unknown", 16, 2, 3, seed=4, fractions=(0.5, 0.2, 0.3), unseen="jpeg(9)")
    again = family_from_json(family.to_json(), images)
    assert again.to_json() == family.to_json()
    assert again.task("test", 1, 2).sha256 == family.task("test", 1, 2).sha256
    with pytest.raises(LimnerError, match="have changed"):
        family_from_json(family.to_json(), pictures(first=1, count=11))


def test_a_translator_takes_a_batch_of_it():
    family = DegradationFamily(pictures(channels=3), "mosaic+gaussian(5)", 16, 2, 2)
    batch = batch_of(family.task("train", 0, 0).support)
    learner = create("pix2pix", family.image_shape, width=4)
    params = learner.init(seed=0)
    assert learner.loss("generator", params, batch, {}).value.isfinite()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patch": 33}, "cannot be cut from the images of pictures, of 32×32"),
        ({"patch": 4}, "give patches from 8 to 32"),
        ({"shots": 0}, "at least 1 shot"),
        ({"fractions": (0.5, 0.1, 0.1)}, "add up to 1"),
        ({"images": pictures(2)}, "2 images, too few for the splits"),
        ({"images": pictures(3), "patch": 20}, "support and query need a half each"),
        ({"degradation": "gausian(3)"}, "did you mean gaussian"),
    ],
)
def test_mistakes(changes, told):
    given = {"images": pictures(), "degradation": "gaussian(9)", "patch": 16, "shots": 1, "queries": 1} | changes
    with pytest.raises(LimnerError, match=told):
        DegradationFamily(**given)


def test_mistakes_of_splits():
    family = DegradationFamily(pictures(), "clip", 16, 1, 1, fractions=(1, 0, 0))
    assert family.size("train") > 0 == family.size("test")
    for split, told in (("test", "has no images"), ("dev", "no split 'dev'")):
        with pytest.raises(LimnerError, match=told):
            family.task(split, 0, 0)
