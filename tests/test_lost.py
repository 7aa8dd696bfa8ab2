"""Lost pixels: taken away in training, filled in roughly, told to a network that learned to fill them in."""

import numpy as np
import pytest
import torch

from limner.errors import LimnerError
from limner.learners import create
from limner.objectives.lost import LOST, REACH, draw_lost, filled
from limner.restoration import Knowledge
from limner.restoration.trained import Trained
from limner.tasks import load
from limner.types import Request


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def told(**options):
    return create("restorer", (3, 24, 24), network="drunet", width=3, depth=5, lost=0.5, **options)


def test_what_was_seen_is_kept_and_what_was_lost_is_forgotten():
    images, lost = torch.rand(2, 3, 20, 20, generator=random()), torch.rand(2, 1, 20, 20, generator=random(1)) < 0.7
    made = filled(images, lost)
    assert torch.equal(made[~lost.expand_as(made)], images[~lost.expand_as(made)])
    assert torch.equal(filled(torch.where(lost, 9.0, images), lost), made)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_filling_in_is_about_as_good_as_the_biharmonic_solution(share):
    from skimage.restoration import inpaint_biharmonic

    image = load("photos,size=64,per_class=4").floats()[1:2].mean(1, keepdim=True)
    lost = torch.rand(1, 1, 64, 64, generator=random()) < share
    exact = inpaint_biharmonic(image[0, 0].double().numpy(), lost[0, 0].numpy(), split_into_regions=False)
    wrong = (filled(image, lost) - image).square().mean().sqrt().item()
    assert wrong < 1.05 * float(np.sqrt(np.mean((exact - image[0, 0].numpy()) ** 2)))


def test_no_pixel_farther_than_the_reach_matters_and_nothing_seen_is_grey():
    lost = torch.ones(1, 1, 1, 2 * REACH + 9, dtype=torch.bool)
    lost[..., 0] = False
    row = torch.zeros(lost.shape)
    dark, bright = filled(row, lost), filled(row + 1, lost)
    assert (dark[..., 1:8] != bright[..., 1:8]).all()
    assert torch.equal(dark[..., REACH + 1 :], bright[..., REACH + 1 :])
    assert bright[0, 0, 0, -1] == 0.5


def test_which_pixels_are_taken_away_is_drawn():
    images = torch.zeros(60, 3, 32, 32)
    drawn = draw_lost(images, 1.0, random())
    assert torch.equal(drawn, draw_lost(images, 1.0, random()))
    shares = drawn.float().mean((1, 2, 3))
    assert shares.min() < 0.1 < 0.8 < shares.max()
    assert not draw_lost(images, 0.0, random()).any()


def test_a_loss_with_lost_pixels_does_not_look_at_what_they_were():
    net = told()
    params, clean = net.init(0), torch.rand(2, 3, 16, 16, generator=random())
    draws = {"lost": torch.zeros(2, 1, 16, 16, dtype=torch.bool)}
    draws["lost"][:, :, 4:8, 4:8] = True
    changed = torch.where(draws["lost"], clean + 0.1, clean)
    values = [net.restored(params, images, draws["lost"].float()) for images in (clean, changed)]
    assert torch.equal(*values)
    found = net.loss("net", params, {"inputs": clean, "images": clean}, draws)
    level = torch.where(draws["lost"], LOST, 1e-5)  # no noise comes to the least that its logarithm can take
    assert torch.allclose(found.value, (net.restored(params, clean, level) - clean).square().mean())


def test_a_network_for_colour_fills_in_grey_alike():
    net, image = told(), torch.rand(1, 1, 20, 24, generator=random())
    params, level = net.init(0), (torch.rand(1, 1, 20, 24, generator=random(2)) < 0.5).float()
    grey, fewer = net.in_grey(params)
    alike = net.restored(params, image.expand(-1, 3, -1, -1), level).mean(1, keepdim=True)
    assert torch.allclose(grey.restored(fewer, image, level), alike, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_trained_network_is_told_the_mask(channels):
    net = told()
    one = Trained(net, net.init(0), "run")
    images = torch.rand(2, channels, 20, 21, generator=random())
    mask = (torch.rand(2, 1, 20, 21, generator=random(1)) < 0.6).float()
    covered = images * mask
    made = one.restore(covered, Knowledge(noise=0.0, mask=mask), random())
    assert torch.equal(made * mask, covered)
    assert not torch.equal(made, one.restore(covered, Knowledge(noise=0.0), random()))
    assert torch.equal(made, one.restore(images, Knowledge(noise=0.0, mask=mask), random()).where(mask == 0, covered))
    assert one.restore(covered, Knowledge(mask=mask), random()).isfinite().all()


def test_noise_can_be_told_of_each_pixel():
    net = told()
    params, images = net.init(0), torch.rand(2, 3, 9, 10, generator=random())
    whole, each = torch.tensor([0.1, 0.3]), torch.tensor([0.1, 0.3])[:, None, None, None].expand(2, 1, 9, 10)
    made = [net.predict(params, Request("restore", images=images, noise=noise), random()) for noise in (whole, each)]
    assert torch.equal(*made)
    with pytest.raises(LimnerError, match="nor for each of their pixels"):
        net.predict(params, Request("restore", images=images, noise=torch.zeros(2, 1, 9, 9)), random())


@pytest.mark.parametrize("options", [{"network": "unet", "lost": 0.5}, {"network": "drunet", "lost": 1.5}])
def test_lost_pixels_need_a_network_that_can_be_told_and_a_share(options):
    with pytest.raises(LimnerError, match="ffdnet or drunet"):
        create("restorer", (1, 16, 16), depth=5, width=2, **options)
