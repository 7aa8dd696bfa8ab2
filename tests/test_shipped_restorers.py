"""The restorers that come with Limner: what they mend, what they leave alone, and that they fit the package."""

import pytest
import torch

from limner.degradations import parse
from limner.learners import create
from limner.metrics.fidelity import signal_to_noise
from limner.networks.restorers import TOLD
from limner.restoration import Knowledge, restorer, tiles
from limner.restoration.shipped import DATA
from limner.restoration.trained import Trained
from limner.tasks import load


@pytest.fixture(scope="module")
def scenes():
    """Scenes that no restorer has learned from, in colour."""
    return load("leaves,kinds=12,per_class=1,size=96,seed=77").floats()


def decibels(made, clean):
    return float(signal_to_noise((made.clamp(0, 1) * 255).round().byte(), (clean * 255).round().byte()).mean())


def mended(name, damaged, knowledge=None):
    return restorer(name).restore(damaged, knowledge or Knowledge(), torch.Generator())


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    ("damage", "least"), [("gaussian(25)", 5), ("poisson(40)", 5), ("salt_and_pepper(0.1)", 8), ("jpeg(20)", 0.7)]
)
def test_the_starter_mends_what_it_is_not_told(scenes, damage, least, grey):
    clean = scenes[:, :1] if grey else scenes
    damaged = parse(damage)(clean, torch.Generator().manual_seed(0)).clamp(0, 1)
    assert decibels(mended("starter", damaged), clean) > decibels(damaged, clean) + least


def test_the_starter_changes_little_of_what_is_clean(scenes):
    assert decibels(mended("starter", scenes), scenes) > 33


@pytest.mark.parametrize("sigma", [0, 10, 25, 50])
def test_the_denoiser_is_better_than_wavelets_where_there_is_noise_and_harmless_where_there_is_none(scenes, sigma):
    noise = sigma / 255
    damaged = scenes + noise * torch.randn(scenes.shape, generator=torch.Generator().manual_seed(1))
    found = decibels(mended("denoiser", damaged, Knowledge(noise=noise)), scenes)
    if sigma:
        assert found > decibels(mended("wavelets", damaged, Knowledge(noise=noise)), scenes) + 0.5
    else:
        assert found > 38


@pytest.mark.parametrize("name", ["starter", "denoiser"])
def test_tiles_give_what_the_whole_image_gives(scenes, name):
    one, known = restorer(name), Knowledge(noise=0.1)
    image = torch.cat([torch.cat(list(scenes[:4]), 2), torch.cat(list(scenes[4:8]), 2)], 1)[None]
    whole = one.restore(image, known, torch.Generator())
    parts = tiles.restore(one, image, known, torch.Generator(), tile=160)
    assert (whole - parts).abs().max() < 1e-4


def test_both_together_are_small_enough_to_ship():
    assert sum((DATA / f"{name}.safetensors").stat().st_size for name in ("restorer", "denoiser")) < 3_000_000


def test_what_they_do_not_mend_is_told():
    lost = Knowledge(noise=0.1, mask=torch.ones(1, 1, 8, 8))
    assert "plug-and-play" in restorer("starter").handles(lost)
    assert "how strong" in restorer("denoiser").handles(Knowledge())


def test_a_prior_that_is_told_the_noise_is_not_blind():
    for network, depth in (("drunet", 5), ("ffdnet", 3), ("unet", 5), ("dncnn", 3)):
        learner = create("restorer", (1, 16, 16), network=network, width=2, depth=depth)
        assert Trained(learner, learner.init(0), "run").blind == (network not in TOLD)
