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
    for name in ("shift", "affine", "flip"):
        assert torch.allclose(augment(flat, (name,), drawn()), flat, atol=1e-6)


def test_shift_moves_whole_pixels():
    dots = torch.zeros(64, 1, 32, 32)
    dots[:, :, 16, 16] = 1
    moved = augment(dots, ("shift",), drawn())
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(64))
    places = moved.flatten(1).argmax(1)
    assert (places // 32 - 16).abs().max() == 3
    assert (places % 32 - 16).abs().max() == 3


def test_flip_mirrors_about_half():
    images = torch.rand(400, 1, 16, 16, generator=drawn(2))
    flipped = augment(images, ("flip",), drawn())
    mirrored = sum(torch.equal(after, before.flip(2)) for after, before in zip(flipped, images, strict=True))
    assert 150 < mirrored < 250


def test_unknown_name_is_told():
    with pytest.raises(LimnerError, match="shift, affine, flip, colour"):
        augment(torch.zeros(1, 1, 16, 16), ("spin",), drawn())
