"""Built-in sprites: the same for the same seed, alike within a kind, different between kinds."""

from __future__ import annotations

import pytest
import torch

from limner.errors import LimnerError
from limner.tasks import Family, load
from limner.tasks.sprites import draw


def test_a_kind_is_the_same_whatever_else_is_drawn() -> None:
    few, many = load("sprites,kinds=3,per_class=4,size=16"), load("sprites,kinds=5,per_class=4,size=16")
    assert few.shape == (3, 16, 16)
    assert torch.equal(few.images, many.images[:12])
    assert not torch.equal(few.images, load("sprites,kinds=3,per_class=4,size=16,seed=1").images)


def test_images_of_a_kind_are_nearer_to_each_other_than_to_those_of_others() -> None:
    images = load("sprites,kinds=30,per_class=6,size=16")
    pixels = images.floats().flatten(1)
    assert images.labels is not None
    distances = torch.cdist(pixels, pixels).fill_diagonal_(torch.inf)
    nearest = images.labels[distances.argmin(1)]
    assert float((nearest == images.labels).float().mean()) > 0.6  # by chance 0.03
    assert float(distances.min()) > 0.1  # and none is a copy of another


def test_sprites_are_a_family_and_can_be_grey() -> None:
    images = load("sprites,kinds=10,per_class=4,size=16,colour=grey")
    task = Family(images, shots=2, queries=2, seed=0).task("test", 0, seed=0)
    assert images.shape == (1, 16, 16)
    assert len(task.support) == 2


@pytest.mark.parametrize("size", [16, 17, 64])
def test_any_size_can_be_drawn(size: int) -> None:
    drawn = draw(seed=0, index=1, count=3, size=size)
    assert drawn.shape == (3, size, size, 3)
    assert drawn.std() > 5


def test_a_single_kind_is_refused() -> None:
    with pytest.raises(LimnerError, match="how many kinds"):
        load("sprites,kinds=1")
