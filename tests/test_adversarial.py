"""Adversarial objectives, differentiable augmentation and the GAN's options, against values worked out by hand."""

import math

import pytest
import torch

from limner.errors import LimnerError
from limner.learners import create
from limner.learners.gan import NETWORKS
from limner.networks.critic import Critic
from limner.networks.mlp import PerceptronBody
from limner.networks.style import ModulatedConvolution
from limner.objectives.adversarial import OBJECTIVES, lecam_penalty, slope_penalty
from limner.objectives.augmentation import DRAWN, TRANSFORMATIONS, augmented
from limner.seeds import generator
from limner.testing import tiny_batch
from limner.types import Request

SHAPE = (1, 16, 16)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def sides(word, real, fake):
    """The losses of both players at single scores."""
    objective, real, fake = OBJECTIVES[word], torch.tensor([real]), torch.tensor([fake])
    scores = (real, fake) if objective.paired else (fake,)
    return float(objective.critic(real, fake)), float(objective.generator(*scores))


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


@pytest.mark.parametrize(
    ("word", "critic", "generator_"),
    [
        ("relativistic", -math.log(sigmoid(1.5)), -math.log(sigmoid(-1.5))),
        ("non-saturating", -math.log(sigmoid(2.0)) - math.log(1 - sigmoid(0.5)), -math.log(sigmoid(0.5))),
        ("minimax", -math.log(sigmoid(2.0)) - math.log(1 - sigmoid(0.5)), math.log(1 - sigmoid(0.5))),
        ("least-squares", 0.5 * (1.0**2 + 0.5**2), 0.5 * 0.5**2),
        ("hinge", 1.5, -0.5),
        ("wasserstein-penalty", -1.5, -0.5),
        ("wasserstein-clipping", -1.5, -0.5),
    ],
)
def test_each_objective_has_the_value_of_its_paper(word, critic, generator_):
    """At D(x) = 2 and D(G(z)) = ½."""
    assert sides(word, 2.0, 0.5) == (pytest.approx(critic, rel=1e-5), pytest.approx(generator_, rel=1e-5))


def test_every_objective_has_a_value_here():
    marks = test_each_objective_has_the_value_of_its_paper.pytestmark[0].args[1]
    assert {word for word, *_ in marks} == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("word", "best"),
    [
        ("minimax", lambda p, q: math.log(p / q)),  # σ(D*) = p / (p + q), Goodfellow 2014, proposition 1
        ("non-saturating", lambda p, q: math.log(p / q)),
        ("least-squares", lambda p, q: p / (p + q)),  # Mao 2017, eq. 5 with a = 0, b = 1
    ],
)
def test_the_best_critic_of_two_known_densities_is_where_its_slope_vanishes(word, best):
    """Over two places, seen 8 and 2 times real and 3 and 7 times generated, descent ends at the closed form."""
    counts = torch.tensor([8, 2]), torch.tensor([3, 7])
    scores = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        value = OBJECTIVES[word].critic(*(scores.repeat_interleave(count) for count in counts))
        (slope,) = torch.autograd.grad(value, scores)
        scores = (scores - slope).detach().requires_grad_()
    expected = torch.tensor([best(p, q) for p, q in zip(*(count.tolist() for count in counts), strict=True)])
    assert torch.allclose(scores.detach().float(), expected, atol=1e-4)


def test_the_slope_penalty_of_a_linear_critic():
    weights, real, fake = draw(1, 1, 4, 4), draw(3, 1, 4, 4, seed=1), draw(3, 1, 4, 4, seed=2)
    found = slope_penalty(lambda x: (weights * x).sum((1, 2, 3)), real, fake, torch.rand(3).double())
    assert torch.allclose(found, (weights.norm() - 1).square())


def test_the_slope_penalty_looks_between_the_images():
    """D(x) = ½‖x‖² has slope ‖x‖, which tells where it was taken."""
    real, fake, mix = draw(3, 1, 4, 4, seed=1), draw(3, 1, 4, 4, seed=2), torch.tensor([0.0, 0.3, 1.0]).double()
    places = mix[:, None, None, None] * real + (1 - mix)[:, None, None, None] * fake
    found = slope_penalty(lambda x: 0.5 * x.square().sum((1, 2, 3)), real, fake, mix)
    assert torch.allclose(found, (places.flatten(1).norm(dim=1) - 1).square().mean())


def test_lecam_is_least_where_all_scores_agree():
    assert float(lecam_penalty(torch.full((3,), 2.0), torch.full((4,), 2.0))) == 0
    assert float(lecam_penalty(torch.tensor([1.0, 3.0]), torch.tensor([0.0]))) == pytest.approx((1 + 9) / 2 + 4)


def test_gamma_weighs_the_penalty_and_nothing_else():
    batch = tiny_batch(SHAPE)
    for objective, weight in (("relativistic", 0.5), ("hinge", 0.5), ("wasserstein-penalty", 10.0)):
        free, held = (create("gan", SHAPE, latents=3, width=4, objective=objective, gamma=gamma) for gamma in (0, 3))
        params, draws = held.init(0), held.draw(batch, generator(0))
        without, loss = (learner.loss("critic", params, batch, draws) for learner in (free, held))
        assert not {"r1", "r2", "slope"} & set(without.terms)  # what has no weight is not computed
        penalty = sum(loss.terms[name] for name in ("r1", "r2", "slope") if name in loss.terms)
        assert torch.allclose(loss.value - without.value, 3 * weight * penalty, rtol=1e-4)
        assert float(penalty) > 0


def test_a_clipped_critic_stays_within_its_limit():
    gan = create("gan", SHAPE, latents=3, width=4, objective="wasserstein-clipping")
    limit, params = OBJECTIVES["wasserstein-clipping"].limit, gan.init(0)
    moved = {name: value + 1 for name, value in params.items()}
    held = gan.constrain(moved)
    critics = [name for name in params if name.startswith("critic.")]
    assert critics
    assert all(float(value.abs().max()) <= limit for name, value in params.items() if name in critics)
    assert all(bool((held[name] == limit).all()) for name in critics)
    assert all(held[name] is moved[name] for name in params if name not in critics)


def test_projection_adds_what_the_class_says_of_the_features():
    critic = Critic(PerceptronBody((1, 1, 2), width=1), "projection", 3)
    images, labels = torch.rand(4, 1, 1, 2), torch.tensor([0, 2, 1, 2])
    scores, _ = critic(images, labels)
    features = critic.body(images)
    expected = critic.head(features)[:, 0] + (features * critic.directions.weight[labels]).sum(1)
    assert torch.allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("conditioning", ["concatenation", "projection", "auxiliary"])
def test_the_class_reaches_both_players(conditioning):
    gan = create("gan", (1, 1, 2), latents=3, width=1, network="mlp", conditioning=conditioning, classes=2)
    params, batch = gan.init(0), tiny_batch((1, 1, 2), classes=2)
    latents = torch.zeros(2, 3)
    first, second = gan.decode(params, latents, torch.tensor([0, 1]))
    assert not torch.allclose(first, second)
    assert torch.equal(gan.decode(params, latents), gan.decode(params, latents, torch.tensor([0, 1])))
    other = batch | {"labels": 1 - batch["labels"]}
    draws = gan.draw(batch, generator(0))
    values = [gan.loss("critic", params, some, draws).value for some in (batch, other)]
    assert not torch.allclose(*values)


def test_asked_for_classes_a_gan_makes_these():
    gan = create("gan", (1, 1, 2), latents=3, width=1, network="mlp", conditioning="projection", classes=3)
    params, labels = gan.init(0), torch.tensor([2, 2, 0])
    made = gan.predict(params, Request("sample", count=3, labels=labels), generator(1))
    latents = torch.randn(3, 3, generator=generator(1))
    assert torch.equal(made, gan.decode(params, latents, labels))


@pytest.mark.parametrize("word", TRANSFORMATIONS)
def test_augmentation_of_strength_0_is_the_identity_and_of_strength_1_is_not(word):
    images, chances = torch.rand(8, 3, 16, 16), torch.rand(8, 1, DRAWN, generator=generator(0))
    assert torch.equal(augmented(images, (word,), chances, 0.0), images)
    changed = [not torch.allclose(*pair) for pair in zip(augmented(images, (word,), chances), images, strict=True)]
    assert sum(changed) >= 7  # a translation by 0 both ways is possible


def test_strength_is_the_share_of_images_that_are_augmented():
    images = torch.rand(1, 1, 4, 4).expand(4000, -1, -1, -1)
    chances = torch.rand(4000, 1, DRAWN, generator=generator(0))
    changed = (augmented(images, ("colour",), chances, torch.tensor(0.3)) != images).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.03)


def test_translation_moves_as_torch_rolls():
    images = torch.zeros(1, 1, 16, 16).index_put((torch.tensor(0),) * 2 + (torch.tensor(8),) * 2, torch.tensor(1.0))
    for down in range(-2, 3):
        chances = torch.tensor([[[0.0, (down + 2.5) / 5, 0.5, 0.0]]])
        moved = augmented(images, ("translation",), chances)
        assert torch.nonzero(moved == 1).tolist() == [[0, 0, 8 - down, 8]]


def test_real_and_generated_images_are_augmented_alike():
    """If the generator makes the very images that are real, the critic sees one distribution: here, one set."""
    gan = create("gan", SHAPE, latents=3, width=4, augment="colour+translation+cutout")
    batch = tiny_batch(SHAPE)
    draws = gan.draw(batch, generator(0))
    assert draws["critic_chances"].shape == (8, 3, DRAWN)
    alike = draws | {"critic_chances": draws["critic_chances"][:4].repeat(2, 1, 1)}
    real, fake = gan._seen(batch, alike, "critic", batch["images"])
    assert torch.equal(real, fake)
    assert not torch.equal(real, batch["images"])


def test_strength_in_the_batch_governs_the_augmentation():
    plain, changed = (create("gan", SHAPE, latents=3, width=4, augment=word) for word in ("none", "colour+cutout"))
    params, batch = plain.init(0), tiny_batch(SHAPE)
    draws = changed.draw(batch, generator(0))
    expected = plain.loss("critic", params, batch, draws).value
    off = changed.loss("critic", params, batch | {"strength": torch.tensor(0.0)}, draws).value
    assert torch.equal(off, expected)
    assert not torch.equal(changed.loss("critic", params, batch, draws).value, expected)


def test_modulation_equals_weights_of_each_image():
    """Karras et al. 2020, eq. 1 and 3, written out."""
    torch.manual_seed(0)
    layer = ModulatedConvolution(3, 5, style=4).double()
    maps, style = draw(2, 3, 6, 6), draw(2, 4, seed=1)
    for image, scale, found in zip(maps, layer.scale(style), layer(maps, style), strict=True):
        weight = layer.weight * scale[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = torch.nn.functional.conv2d(image[None], weight, layer.bias, padding=1)[0]
        assert torch.allclose(found, expected)


@pytest.mark.parametrize("side", [16, 28, 44, 128])
@pytest.mark.parametrize("network", ["residual", "style"])
def test_every_side_fits_every_network(network, side):
    gan = create("gan", (3, side, side), width=4, latents=2, network=network)
    params, batch = gan.init(0), tiny_batch((3, side, side), count=2)
    assert gan.predict(params, Request("sample", count=2), generator(0)).shape == (2, 3, side, side)
    assert bool(gan.loss("critic", params, batch, gan.draw(batch, generator(0))).value.isfinite())


def test_early_layers_come_first_and_can_be_frozen():
    for network in NETWORKS:
        names = [name for name in create("gan", SHAPE, width=4, network=network).init(0) if name.startswith("critic.")]
        assert names[0].startswith(("critic.body.0.", "critic.body.1."))
        assert names[-1] == "critic.head.bias"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"objective": "best"}, "relativistic, non-saturating"),
        ({"network": "unet"}, "dcgan, mlp, residual, style"),
        ({"conditioning": "film"}, "none, concatenation, projection, auxiliary"),
        ({"augment": "colour+twirl"}, "'twirl'; it has: none, or some of colour"),
        ({"conditioning": "projection"}, "at least 2 classes"),
        ({"classes": 3}, "conditioning=concatenation"),
        ({"image_shape": (1, 8, 8)}, "from 16 to 128"),
        ({"image_shape": (1, 0, 2), "network": "mlp"}, "are none"),
    ],
)
def test_what_a_gan_cannot_be_is_told(options, told):
    with pytest.raises(LimnerError, match=told):
        create("gan", **{"image_shape": SHAPE, "width": 4} | options)


def test_wrong_labels_and_latents_are_told():
    gan = create("gan", (1, 1, 2), width=1, network="mlp", conditioning="projection", classes=2)
    params = gan.init(0)
    with pytest.raises(LimnerError, match="from 0 to 1"):
        gan.predict(params, Request("sample", count=2, labels=torch.tensor([0, 2])), generator(0))
    with pytest.raises(LimnerError, match="32 numbers, not 5"):
        gan.decode(params, torch.zeros(2, 5))
    with pytest.raises(LimnerError, match="give images with classes"):
        gan.loss("critic", params, tiny_batch((1, 1, 2)), gan.draw(tiny_batch((1, 1, 2)), generator(0)))
    plain = create("gan", (1, 1, 2), width=1, network="mlp")
    with pytest.raises(LimnerError, match="without classes"):
        plain.predict(plain.init(0), Request("sample", count=1, labels=torch.tensor([0])), generator(0))
