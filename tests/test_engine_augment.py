"""Augmentations: pure, in range, and doing what their names say."""

import pytest
import torch

from limner.engine.augment import CATALOGUE, augment
from limner.errors import LimnerError


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("shape", [(5, 1, 16, 16), (3, 3, 32, 32)])
def test_augmentations_are_pure_and_stay_in_range(name, shape):
    images = torch.rand(shape, generator=drawn(1))
    before = images.clone()
    first, second = augment(images, (name,), drawn()), augment(images, (name,), drawn())
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert torch.equal(first, first.clamp(0, 1))
    assert not torch.equal(first, augment(images, (name,), drawn(7)))


def test_a_flat_image_stays_flat_under_movement():
    flat = torch.full((4, 1, 16, 16), 0.25)
    for name in ("shift", "affine", "flip", "turn", "elastic", "cutout"):
        assert torch.allclose(augment(flat, (name,), drawn()), flat, atol=1e-6)


def test_shift_moves_whole_pixels():
    dots = torch.zeros(64, 1, 32, 32)
    dots[:, :, 16, 16] = 1
    moved = augment(dots, ("shift",), drawn())
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(64))
    places = moved.flatten(1).argmax(1)
    assert (places // 32 - 16).abs().max() == 3
    assert (places % 32 - 16).abs().max() == 3


def test_turn_gives_each_of_the_eight_symmetries_and_only_those():
    image = torch.arange(16.0).view(1, 1, 4, 4) / 16
    turned = augment(image.expand(400, -1, -1, -1), ("turn",), drawn())
    ways = [torch.rot90(side, count, (1, 2)) for side in (image[0], image[0].flip(2)) for count in range(4)]
    seen = [sum(torch.equal(one, way) for one in turned) for way in ways]
    assert sum(seen) == 400
    assert min(seen) > 25
    with pytest.raises(LimnerError, match="4×8 cannot be turned"):
        augment(torch.zeros(1, 1, 8, 4), ("turn",), drawn())


def test_flip_mirrors_about_half():
    images = torch.rand(400, 1, 16, 16, generator=drawn(2))
    flipped = augment(images, ("flip",), drawn())
    mirrored = sum(torch.equal(after, before.flip(2)) for after, before in zip(flipped, images, strict=True))
    assert 150 < mirrored < 250


def test_unknown_name_is_told():
    with pytest.raises(LimnerError, match="shift, affine, flip, turn, colour"):
        augment(torch.zeros(1, 1, 16, 16), ("spin",), drawn())


def test_cutout_covers_a_square_with_the_mean_and_leaves_the_rest():
    images = torch.rand(200, 3, 16, 16, generator=drawn(3))
    covered = augment(images, ("cutout",), drawn())
    changed = (covered != images).any(1)
    counts = changed.sum((1, 2))
    assert counts.max() == 64
    assert counts.min() >= 16  # a corner: a quarter of the square
    for image, before, mask in zip(covered, images, changed, strict=True):
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert rows * columns == mask.sum()  # a rectangle
        assert torch.allclose(image[:, mask], before.mean((1, 2))[:, None].expand(-1, int(mask.sum())))


def test_elastic_moves_smoothly_and_not_far():
    ramp = torch.linspace(0, 1, 40).expand(50, 1, 40, 40)
    bent = augment(ramp, ("elastic",), drawn())
    assert 0.005 < (bent - ramp).abs().max() < 0.08  # up to 5% of the side, and what the cubic overshoots
    assert (bent - ramp).diff(dim=2).abs().max() < 0.02  # neighbours move alike
