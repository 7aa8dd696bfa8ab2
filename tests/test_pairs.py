"""Pairs and unpaired domains: matching, halves, passes, splitting, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import LimnerError
from limner.learners import batch_of
from limner.tasks import Domains, ImageSet, Pairs, load, load_sides, split_sides
from limner.tasks.pair_spec import join, sides


def numbered(count: int, name: str = "numbers", channels: int = 1, first: int = 0) -> ImageSet:
    """Images whose every pixel is their number."""
    values = torch.arange(first, first + count, dtype=torch.uint8)[:, None, None, None]
    return ImageSet(values.expand(-1, channels, 16, 16).clone(), name)


def files(folder: Path, names: list[str], values: list[int], ending: str = ".png", size=(16, 16)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, values, strict=True):
        Image.new("L", size, value).save(folder / f"{name}{ending}")
    return folder


def values(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


def test_pairs_stay_together_when_selected_split_and_batched():
    pairs = Pairs(numbered(12), numbered(12, channels=3, first=100))
    task = split_sides(pairs, 8, 3, 300, "x")
    assert sorted(values(task.support.inputs) + values(task.query.inputs)) == list(range(12))
    for part in (task.support, task.query):
        assert values(part.targets) == [value + 100 for value in values(part.inputs)]
    batch = batch_of(task.support.select(torch.tensor([5, 0])))
    assert torch.allclose(batch["images"][:, :1] - batch["inputs"], torch.tensor(100 / 255))
    assert batch["images"].shape == (2, 3, 16, 16)


def test_the_identity_of_two_sides_tells_their_order_and_matching():
    one, other = numbered(4), numbered(4, first=9)
    shas = {made.sha256 for made in (Pairs(one, other), Pairs(other, one), Domains(one, other))}
    assert len(shas) == 3
    assert Pairs(one, other).sha256 == Pairs(one, other).sha256


def test_a_pass_goes_through_both_domains_evenly_and_apart():
    domains = Domains(numbered(3), numbered(12, first=50))
    random = torch.Generator().manual_seed(0)
    one = domains.one_pass(random)
    counts = torch.bincount(one[:, 0], minlength=3).tolist()
    assert counts == [4, 4, 4]
    assert sorted(one[:, 1].tolist()) == list(range(12))
    met = set()
    for _ in range(40):
        met |= {tuple(row) for row in domains.one_pass(random).tolist()}
    assert len(met) == 36  # every image meets every other one
    chosen = domains.select(one[:5])
    assert values(chosen.inputs) == one[:5, 0].tolist()
    assert values(chosen.targets) == [50 + place for place in one[:5, 1].tolist()]
    assert values(domains.select(torch.arange(5)).inputs) == [0, 1, 2, 0, 1]


def test_domains_hold_back_a_fifth_of_each_side():
    task = split_sides(Domains(numbered(20), numbered(50, first=100)), None, 0, 300, "x")
    assert (len(task.support.inputs), len(task.support.targets)) == (16, 40)
    assert (len(task.query.inputs), len(task.query.targets)) == (4, 10)
    assert not set(values(task.support.inputs)) & set(values(task.query.inputs))
    assert split_sides(Domains(numbered(4), numbered(5)), None, 0, 300, "x").query is None


def test_files_are_paired_by_name_whatever_their_ending_and_order(tmp_path):
    names = ["b", "a", "c"]
    files(tmp_path / "in", names, [2, 1, 3])
    files(tmp_path / "out", names, [12, 11, 13], ".bmp")
    spec, told = join(f"folder:{tmp_path}/in", f"folder:{tmp_path}/out")
    assert " => " in spec
    assert "as pairs" in told
    pairs = load_sides(spec)
    assert values(pairs.targets) == [value + 10 for value in values(pairs.inputs)]
    files(tmp_path / "out", ["d"], [14], ".bmp")
    spec, told = join(f"folder:{tmp_path}/in", f"folder:{tmp_path}/out")
    assert " ~> " in spec
    assert "3 common names" in told
    assert isinstance(load_sides(spec), Domains)
    spec, told = join(f"folder:{tmp_path}/in", f"folder:{tmp_path}/out", paired=True)
    assert len(load_sides(spec)) == 3
    assert "1 files without a partner" in told


def test_arrays_of_the_same_length_are_paired_by_order(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((3, 16, 16), 7, np.uint8), y=np.full((4, 16, 16), 7, np.uint8))
    same, told = join(f"npz:{tmp_path}/a.npz,images=x", f"npz:{tmp_path}/a.npz,images=x")
    assert " => " in same
    assert "same order" in told
    other, _ = join(f"npz:{tmp_path}/a.npz,images=x", f"npz:{tmp_path}/a.npz,images=y")
    assert " ~> " in other
    with pytest.raises(LimnerError, match=r"3 images .* 4 .* no pairs"):
        join(f"npz:{tmp_path}/a.npz,images=x", f"npz:{tmp_path}/a.npz,images=y", paired=True)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_halves_of_images_are_pairs(tmp_path, kind):
    both = np.zeros((2, 20, 40), np.uint8)
    both[:, :, :20], both[:, :, 20:] = 50, 200
    if kind == "npz":
        np.savez(tmp_path / "both.npz", x=both)
        spec = f"npz:{tmp_path}/both.npz,images=x"
    else:
        for index, image in enumerate(both):
            Image.fromarray(image).save(tmp_path / f"{index}.png")
        spec = f"folder:{tmp_path}"
    pairs = load_sides(f"{spec},pairs=left-right")
    assert pairs.shape == (1, 20, 20)
    assert set(pairs.inputs.images.unique().tolist()) == {50}
    assert set(pairs.targets.images.unique().tolist()) == {200}
    turned = load_sides(f"{spec},pairs=right-left")
    assert set(turned.inputs.images.unique().tolist()) == {200}


def test_a_size_given_on_one_side_holds_for_both(tmp_path):
    files(tmp_path / "in", ["a"], [1], size=(40, 40))
    files(tmp_path / "out", ["a"], [2], size=(24, 24))
    assert load_sides(f"folder:{tmp_path}/in => folder:{tmp_path}/out,size=20").inputs.shape == (1, 20, 20)
    with pytest.raises(LimnerError, match=r"40×40 pixels.* 24×24; load both with the same size"):
        load_sides(f"folder:{tmp_path}/in => folder:{tmp_path}/out")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("digits", "one side only"),
        ("digits,pairs=up-down", "left-right or right-left"),
        ("digits,pairs=left-right", "has no option 'part'"),
    ],
)
def test_what_has_no_two_sides_is_refused(spec, told):
    with pytest.raises(LimnerError, match=told):
        load_sides(spec)


def test_files_of_no_common_name_and_number_are_no_pairs(tmp_path):
    files(tmp_path / "in", ["a", "b"], [1, 2])
    files(tmp_path / "out", ["c"], [3])
    with pytest.raises(LimnerError, match=r"2 files .* 1 of .*--no-pairs"):
        load_sides(f"folder:{tmp_path}/in => folder:{tmp_path}/out")
    files(tmp_path / "out", ["d"], [4])
    assert values(load_sides(f"folder:{tmp_path}/in => folder:{tmp_path}/out").targets) == [3, 4]


def test_names_follow_the_images(tmp_path):
    files(tmp_path / "x", ["b", "a", "c"], [2, 1, 3])
    images = load(f"folder:{tmp_path}/x")
    assert images.names == ("a.png", "b.png", "c.png")
    assert images.select(torch.tensor([2, 0])).names == ("c.png", "a.png")
    assert images.select(torch.tensor([False, True, False])).names == ("b.png",)
    assert sides("folder:a ~> folder:b") == ("folder:a", "folder:b", False)
