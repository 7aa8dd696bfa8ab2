"""Implicit maximum likelihood: which latents are chosen, which rejected, and that every image is learned."""

from itertools import permutations

import pytest
import torch

from limner.config import Strategy
from limner.engine import fit
from limner.errors import LimnerError
from limner.learners import create
from limner.learners.imle import features, imle_of
from limner.seeds import generator
from limner.tasks import ImageSet, Task
from limner.testing import tiny_batch
from limner.types import Request

SHAPE = (1, 16, 16)


def imle(**options):
    return create("imle", SHAPE, **{"latents": 3, "width": 4, "pool": 12} | options)


def pictures(count, seed=0):
    return torch.rand(count, *SHAPE, generator=generator(seed))


def apart(left, right):
    """The distance that the learner means, written out: mean squared differences at three resolutions."""
    total = 0.0
    for size in (1, 2, 4):
        one, other = (torch.nn.functional.avg_pool2d(image[None], size) for image in (left, right))
        total += float((one - other).square().mean()) / 3
    return total


def test_features_give_the_mean_squared_difference_over_resolutions():
    left, right = pictures(2), pictures(2, seed=1)
    found = (features(left) - features(right)).square().sum(1)
    assert found.tolist() == pytest.approx([apart(*pair) for pair in zip(left, right, strict=True)], rel=1e-5)


def test_without_a_radius_each_image_takes_the_nearest_not_taken():
    images, made = pictures(3), pictures(9, seed=1)
    chosen, rejected = imle(radius=0.0).choose(images, made)
    assert not bool(rejected.any())
    free = list(range(9))
    for image, place in zip(images, chosen.tolist(), strict=True):
        assert place == min(free, key=lambda index, image=image: apart(image, made[index]))
        free.remove(place)


def test_what_is_nearer_than_the_radius_to_any_image_is_rejected():
    images = pictures(4)
    between = [apart(a, b) ** 0.5 for a, b in permutations(images, 2)]
    nearest = sum(min(between[i : i + 3]) for i in range(0, 12, 3)) / 4
    near = images[[2, 0]] + 0.01 * pictures(2, seed=3)
    made = torch.cat([near, pictures(6, seed=1)])
    chosen, rejected = imle(radius=0.5).choose(images, made)
    expected = [any(apart(one, image) ** 0.5 < 0.5 * nearest for image in images) for one in made]
    assert rejected.tolist() == expected == [True, True, *[False] * 6]
    assert len(set(chosen.tolist())) == 4
    assert not bool(rejected[chosen].any())
    assert sorted(imle(radius=0.0).choose(images, made)[0].tolist())[:2] == [0, 1]


def test_where_too_few_are_left_the_nearest_of_the_rejected_are_taken():
    images, made = pictures(3), pictures(9, seed=1)
    all_gone, rejected = imle(radius=100.0).choose(images, made)
    assert bool(rejected.all())
    assert torch.equal(all_gone, imle(radius=0.0).choose(images, made)[0])
    one_left = torch.cat([images + 0.001, pictures(1, seed=2)])
    chosen, rejected = imle(radius=0.5).choose(images, one_left)
    assert rejected.tolist() == [True, True, True, False]
    assert int(chosen[0]) == 3  # the first image takes what is left
    assert sorted(chosen[1:].tolist()) == [1, 2]


def test_a_single_image_and_identical_images_reject_nothing():
    for images in (pictures(1), pictures(1).expand(3, -1, -1, -1)):
        chosen, rejected = imle(radius=5.0).choose(images, pictures(6, seed=1))
        assert not bool(rejected.any())
        assert len(set(chosen.tolist())) == len(images)


def test_the_loss_is_the_distance_to_the_images_of_the_chosen_latents():
    learner, batch = imle(noise=0.2), tiny_batch(SHAPE)
    params, draws = learner.init(0), learner.draw(batch, generator(0))
    assert draws["pool"].shape == (12, 3)
    chosen, rejected = learner.choose(batch["images"], learner.decode(params, draws["pool"]))
    made = learner.decode(params, draws["pool"][chosen] + 0.2 * draws["noise"])
    loss = learner.loss("generator", params, batch, draws)
    expected = sum(apart(*pair) for pair in zip(batch["images"], made, strict=True)) / 4
    assert float(loss.value) == pytest.approx(expected, rel=1e-5)
    assert float(loss.terms["rejected"]) == pytest.approx(float(rejected.double().mean()))


def test_a_pool_is_never_smaller_than_the_batch():
    learner = imle(pool=1)
    assert learner.draw(tiny_batch(SHAPE), generator(0))["pool"].shape == (4, 3)


def test_every_image_is_learned_and_none_forgotten():
    """Four images far apart: after training each has samples near, where a mean of all would be near none."""
    bars = torch.zeros(4, *SHAPE)
    for place in range(4):
        bars[place, :, :, 4 * place : 4 * place + 4] = 1
    task = Task("generate", "bars", ImageSet(bars.mul(255).to(torch.uint8), "bars"), None)
    run = fit(imle(pool=24), task, Strategy(steps=150, batch=0, learning_rate=1e-2, ema=0.9), seed=1)
    samples = run.sample(64).float() / 255
    distances = (samples[:, None] - bars).square().mean((2, 3, 4))
    assert bool((distances.amin(0) < 0.05).all()), "an image has no sample near it"
    assert distances.argmin(1).bincount(minlength=4).amin() >= 4, "an image has hardly any samples"
    assert float((bars.mean(0) - bars).square().mean()) > 0.15


def test_a_gan_is_a_start_for_it():
    gan = create("gan", SHAPE, latents=3, width=4, network="style")
    params = gan.init(2)
    learner, start = imle_of(gan, params, pool=9)
    assert (learner.options["pool"], learner.options["network"]) == (9, "style")
    latents = torch.randn(2, 3, generator=generator(0))
    assert torch.equal(learner.decode(start, latents), gan.decode(params, latents))
    flat = Task("generate", "flat", ImageSet(torch.zeros(2, *SHAPE, dtype=torch.uint8), "flat"), None)
    assert fit(learner, flat, Strategy(steps=1, update="low-rank", rank=1, preserve=1.0), start=start).cost.steps == 1


def test_what_it_cannot_do_is_told():
    with pytest.raises(LimnerError, match="dcgan, mlp, residual, style"):
        imle(network="unet")
    with pytest.raises(LimnerError, match="3 numbers, not 5"):
        imle().decode(imle().init(0), torch.zeros(2, 5))
    with pytest.raises(LimnerError, match="answers with samples"):
        imle().predict(imle().init(0), Request("reconstruct", images=pictures(1)), generator(0))
    with pytest.raises(LimnerError, match="not from this vae"):
        imle_of(create("vae", SHAPE, width=4), {})
