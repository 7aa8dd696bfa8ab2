"""Restorers that learn from the damaged image alone."""

import pytest
import torch

from limner.degradations import parse
from limner.restoration import Knowledge
from limner.restoration.single import (
    BlindSpot,
    DeepImagePrior,
    Valley,
    ZeroShotNoise2Noise,
    descend,
    diagonals,
    grid,
    neighbours,
)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def scene(side=24, channels=1):
    """Smooth waves with an edge."""
    down, across = torch.meshgrid(torch.linspace(0, 3, side), torch.linspace(0, 2, side), indexing="ij")
    image = 0.5 + 0.2 * torch.sin(down) * torch.cos(across) + 0.2 * (across > 1)
    return image.expand(1, channels, side, side).contiguous()


def error(found, truth):
    return float((found - truth).square().mean())


QUICK = {
    "zero-shot-noise2noise": ZeroShotNoise2Noise(steps=120, rate=4e-3, width=12),
    "blind-spot": BlindSpot(steps=150, rate=5e-3, width=8, depth=3, patch=32),
    "deep-image-prior": DeepImagePrior(steps=90, patience=90, width=4),
}


@pytest.mark.parametrize("name", QUICK)
def test_noise_is_taken_away_without_knowing_how_strong_it_is(name):
    clean = scene()
    noisy = clean + 0.12 * torch.randn(clean.shape, generator=random(1))
    before = noisy.clone()
    found = QUICK[name].restore(noisy, Knowledge(), random())
    assert torch.equal(noisy, before)
    assert error(found, clean) < 0.6 * error(noisy, clean)


@pytest.mark.parametrize("name", QUICK)
def test_the_same_seed_gives_the_same(name):
    quick = type(QUICK[name])(steps=3)
    images = torch.rand(2, 3, 9, 12, generator=random(2))
    first, second, other = (quick.restore(images, Knowledge(), random(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == images.shape


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_the_smallest_images(name, size):
    images = torch.rand(1, 1, *size, generator=random())
    found = type(QUICK[name])(steps=2).restore(images, Knowledge(), random())
    assert found.shape == images.shape
    assert torch.isfinite(found).all()


def test_a_blind_spot_is_blind_to_the_pixel_it_tells():
    images = torch.rand(1, 1, 12, 12, generator=random())
    changed = images.clone()
    changed[0, 0, 5, 6] = 0.0
    shown = 1 - grid(images, 4 * (5 % 4) + 6 % 4)
    assert torch.equal(neighbours(images, shown), neighbours(changed, shown))


def test_the_grids_cover_each_pixel_once():
    assert torch.equal(sum(grid(torch.zeros(1, 1, 6, 9), place) for place in range(16)), torch.ones(1, 1, 6, 9))


def test_lost_pixels_count_for_nothing():
    images = torch.rand(1, 1, 12, 12, generator=random())
    mask = (torch.rand(1, 1, 12, 12, generator=random(1)) < 0.5).float()
    other = torch.where(mask == 1, images, torch.full_like(images, 0.9))
    for one in (BlindSpot(steps=3, patch=12), DeepImagePrior(steps=3)):
        first, second = (one.restore(given, Knowledge(mask=mask), random()) for given in (images * mask, other * mask))
        assert torch.equal(first, second)
    assert torch.isfinite(neighbours(images, torch.zeros(1, 1, 12, 12))).all()


def test_deep_image_prior_goes_through_an_operator():
    clean = scene(16)
    damage = parse("downsample(2)")
    parameters = damage.sample((1, 1, 16, 16), random())
    small = damage.apply(clean, parameters, random())
    known = Knowledge.of(damage, parameters, (1, 1, 16, 16))
    found = DeepImagePrior(steps=120, width=8).restore(small, known, random())
    assert found.shape == clean.shape
    assert error(known.linear((1, 1, 8, 8)).forward(found), small) < 0.1 * float(small.var())


def test_halves_share_no_pixel_and_together_are_the_mean():
    images = torch.rand(2, 3, 6, 8, generator=random())
    first, second = diagonals(images)
    assert torch.allclose((first + second) / 2, torch.nn.functional.avg_pool2d(images, 2))
    changed = images.clone()
    changed[..., 0::2, 0::2] += 1
    changed[..., 1::2, 1::2] += 1
    assert torch.equal(diagonals(changed)[0], first)
    assert torch.allclose(diagonals(changed)[1], second + 1)


def test_the_valley_ends_where_images_begin_to_move_again():
    clean, noise = torch.zeros(64), torch.randn(400, 64, generator=random())
    valley, ended = Valley(patience=40), 0
    for step in range(400):
        image = clean + 1 / (step + 1) + 0.001 * max(0, step - 120) * noise[step]
        if valley.passed(image):
            ended = step
            break
    assert 120 <= ended <= 200
    assert error(valley.best, clean) < 1e-3


def test_a_network_cannot_drift_where_it_is_not_asked_to():
    ways = list(descend({"net.x": torch.tensor([3.0])}, lambda params: (params["net.x"] ** 2).sum(), 5, lambda _: 0.0))
    assert len(ways) == 5
    assert ways[-1]["net.x"].item() == 3.0


def test_what_single_images_cannot_tell_is_refused():
    damage = parse("blur(gaussian,width=1)")
    known = Knowledge.of(damage, damage.sample((1, 1, 8, 8), random()), (1, 1, 8, 8))
    assert "deep-image-prior" in ZeroShotNoise2Noise().handles(known)
    assert "deep-image-prior" in BlindSpot().handles(known)
    assert DeepImagePrior().handles(known) == ""
    assert "blind-spot" in ZeroShotNoise2Noise().handles(Knowledge(mask=torch.ones(1, 1, 8, 8)))
