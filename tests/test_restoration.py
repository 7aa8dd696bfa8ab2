"""The mathematics of the classical restorers, and what they say to images and knowledge that they cannot use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from limner.degradations import Convolution, parse
from limner.errors import LimnerError
from limner.restoration import Knowledge, Restorer, options_of, restorer
from limner.restoration.base import simple
from limner.restoration.colour import from_opponent, opponent
from limner.restoration.deconvolution import discrepant
from limner.restoration.patches import BM3D
from limner.restoration.plug_and_play import PlugAndPlay, schedule
from limner.restoration.solvers import conjugate_gradients, near, residual, roughness, smooth
from limner.restoration.sparse import pursue
from limner.restoration.variational import divergence, gradient, minimise, total_variation

DENOISERS = ("total-variation", "wavelets", "dictionary", "non-local-means")
CLASSICAL = (*DENOISERS, "bm3d", "wiener", "richardson-lucy", "biharmonic", "plug-and-play")
QUICK = {
    "dictionary": {"atoms": 8, "patch": 4, "examples": 200}, "plug-and-play": {"steps": 2},
    "zero-shot-noise2noise": {"steps": 2}, "blind-spot": {"steps": 2}, "deep-image-prior": {"steps": 2},
}  # fmt: skip


def quick(name: str) -> Restorer:
    if name == "bm3d":
        pytest.importorskip("bm3d", reason='bm3d is not installed: pip install "limner[bm3d]"')
    return restorer(name, **QUICK.get(name, {}))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(count: int = 1, channels: int = 1, side: int = 16, dtype: torch.dtype = torch.float64) -> Tensor:
    """A smooth ramp with a bright square, differing from image to image and channel to channel."""
    ramp = torch.linspace(0.2, 0.5, side, dtype=dtype)
    image = ramp.view(1, 1, side, 1) * torch.linspace(0.6, 1, count * channels, dtype=dtype).view(count, channels, 1, 1)
    image = image.expand(count, channels, side, side).clone()
    image[:, :, side // 4 : side // 2, side // 4 : side // 2] += 0.4
    return image


def known(text: str, images: Tensor, noise: float | None) -> tuple[Tensor, Knowledge]:
    """The images damaged, and what there is to know of it."""
    shape = tuple(images.shape)
    damage = parse(text)
    parameters = damage.sample(shape, random(1))
    return damage.apply(images, parameters, random(2)), Knowledge.of(damage, parameters, shape, noise)


def psnr(found: Tensor, truth: Tensor) -> float:
    return float(-10 * torch.log10(((found - truth) ** 2).mean()))


def whole(knowledge: Knowledge, shape: tuple[int, ...]) -> Tensor:
    """The matrix of the whole operator of one image, from its columns."""
    linear = knowledge.linear(shape)
    count = int(np.prod(linear.shape))
    return torch.stack([linear.forward(row.view(linear.shape)).flatten() for row in torch.eye(count).double()], 1)


def test_divergence_is_minus_the_adjoint_of_the_gradient():
    images = torch.randn(2, 3, 5, 4, generator=random()).double()
    field = torch.randn(2, 2, 3, 5, 4, generator=random(1)).double()
    assert torch.allclose((gradient(images) * field).sum(), -(images * divergence(field)).sum())


def test_roughness_is_the_gradient_twice():
    images = torch.randn(2, 1, 5, 4, generator=random()).double()
    assert torch.allclose(roughness(images), -divergence(gradient(images)))
    assert not roughness(torch.ones(1, 1, 1, 1)).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_total_variation_lowers_its_objective_and_closes_the_gap(channels):
    noisy = picture(2, channels) + 0.1 * torch.randn(2, channels, 16, 16, generator=random()).double()
    weight = 0.1

    def objective(images: Tensor) -> Tensor:
        return ((images - noisy) ** 2).flatten(1).sum(1) / 2 + weight * total_variation(images)

    earlier, gap = minimise(noisy, weight, iterations=10, tolerance=0)
    later, closed = minimise(noisy, weight, iterations=1000, tolerance=0)
    assert (objective(earlier) < objective(noisy)).all()
    assert (closed >= -1e-9).all()
    assert (closed < 1e-3 * objective(later)).all()
    assert (closed < gap / 10).all()
    # the gap is a bound on how far an earlier objective is from the least
    assert (objective(earlier) - objective(later) <= gap + 1e-9).all()
    assert torch.allclose(later.mean((1, 2, 3)), noisy.mean((1, 2, 3)))


def test_total_variation_of_two_pixels_is_soft_thresholding():
    found, _ = minimise(torch.tensor([[[[0.0, 1.0]]]]).double(), 0.6, iterations=500)
    assert torch.allclose(found, torch.full((1, 1, 1, 2), 0.5).double(), atol=1e-3)


LINEAR = (
    "blur(motion,length=5,boundary=circular)",
    "blur(motion,length=5,angle=20)",
    "downsample(2)",
    "missing(0.4)",
    "blur(gaussian,width=1)+missing(0.3)",
    "nothing",
)


@pytest.mark.parametrize("text", LINEAR)
def test_least_squares_equal_the_solution_by_matrices(text):
    clean = picture(side=8)
    damaged, knowledge = known(text, clean, None)
    matrix = whole(knowledge, tuple(damaged.shape))
    weight = torch.full((1, 1, 1, 1), 0.05).double()
    count = matrix.shape[1]
    right = matrix.T @ damaged.flatten()

    other = torch.randn(clean.shape, generator=random()).double()
    expected = torch.linalg.solve(matrix.T @ matrix + 0.05 * torch.eye(count).double(), right + 0.05 * other.flatten())
    assert torch.allclose(near(damaged, knowledge, other, weight).flatten(), expected, atol=1e-4)

    rough = torch.stack([roughness(row.view(1, 1, 8, 8)).flatten() for row in torch.eye(64).double()], 1)
    if "circular" not in text:  # whose differences go around the border
        expected = torch.linalg.solve(matrix.T @ matrix + 0.05 * rough, right)
        found = smooth(damaged, knowledge, weight, torch.zeros_like(clean), 300)
        assert torch.allclose(found.flatten(), expected, atol=1e-3)


def test_wiener_with_circular_borders_is_the_closed_form_and_keeps_to_the_noise():
    clean = picture(2, side=32)
    damaged, knowledge = known("blur(gaussian,width=1.5,boundary=circular)+gaussian(5)", clean, 5 / 255)
    found, weight = discrepant(damaged, knowledge, 5 / 255)
    assert torch.allclose(residual(damaged, knowledge, found), torch.full((2,), 5 / 255).double(), rtol=1e-6)
    operator = simple(knowledge.operator)[0]
    assert isinstance(operator, Convolution)
    point = torch.zeros(2, 1, 32, 32).double()
    point[:, :, 0, 0] = 1
    response = np.fft.fft2(operator.forward(point).numpy())
    waves = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(32))
    power = np.abs(response) ** 2 + weight.numpy() * (waves[:, None] + waves)
    expected = np.fft.ifft2(np.conj(response) * np.fft.fft2(damaged.numpy()) / power).real
    assert np.allclose(found.numpy(), expected, atol=1e-9)
    assert psnr(found, clean) > psnr(damaged, clean)


def test_wiener_with_a_mirrored_border_keeps_to_the_noise():
    clean = picture(2, 3, side=24)
    damaged, knowledge = known("blur(motion,length=5,angle=30)+gaussian(5)", clean, 5 / 255)
    found = restorer("wiener").restore(damaged, knowledge, random())
    assert torch.allclose(residual(damaged, knowledge, found), torch.full((2,), 5 / 255).double(), rtol=0.05)
    assert psnr(found, clean) > psnr(damaged, clean)


@pytest.mark.parametrize("text", ["blur(gaussian,width=1)", "blur(motion,length=5)+missing(0.2)", "downsample(2)"])
def test_richardson_lucy_keeps_the_sum_and_stays_positive(text):
    clean = picture(2, dtype=torch.float32)
    clean[0, :, :5] = 0
    damaged, knowledge = known(text, clean, None)
    found = restorer("richardson-lucy", steps=20).restore(damaged, knowledge, random())
    assert (found >= 0).all()
    again = knowledge.linear(tuple(damaged.shape)).forward(found)
    assert torch.allclose(again.sum((1, 2, 3)), damaged.sum((1, 2, 3)), rtol=1e-4)
    assert psnr(again, damaged) > 35


def test_richardson_lucy_stops_at_the_noise():
    clean = picture(dtype=torch.float32, side=32)
    damaged, knowledge = known("blur(gaussian,width=1.5)+gaussian(10)", clean, 10 / 255)
    stopped = restorer("richardson-lucy", steps=150).restore(damaged, knowledge, random())
    unknown = Knowledge(operator=knowledge.operator)
    assert psnr(stopped, clean) > psnr(
        restorer("richardson-lucy", steps=150).restore(damaged, unknown, random()), clean
    )


@dataclass(frozen=True)
class Quadratic:
    """The denoiser argmin_z ‖z − x‖² / 2σ² + r/2 ‖z‖², whose plug-and-play solution is known in closed form."""

    strength: float
    name = "quadratic"

    def handles(self, knowledge: Knowledge) -> str:
        return ""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        assert knowledge.noise is not None
        return images / (1 + self.strength * knowledge.noise**2)


def test_half_quadratic_splitting_with_a_quadratic_prior_is_tikhonovs_solution(monkeypatch):
    clean, noise, penalty, small = picture(side=8), 0.1, 3.0, 0.1
    damaged, knowledge = known("blur(gaussian,width=0.7,boundary=circular)", clean, noise)
    monkeypatch.setattr("limner.restoration.plug_and_play.schedule", lambda noise, steps, first: [small] * steps)
    found = PlugAndPlay(Quadratic(penalty), steps=400, trust=1.0).restore(damaged, knowledge, random())
    matrix = whole(knowledge, tuple(damaged.shape))
    # what splitting with this penalty minimises, with z = x / (1 + r s²):
    # (AᵀA + (σ/s)² (1 − 1/(1 + r s²))) x = Aᵀ y
    effective = (noise / small) ** 2 * (1 - 1 / (1 + penalty * small**2))
    assert effective == pytest.approx(penalty * noise**2, rel=0.04)
    expected = torch.linalg.solve(matrix.T @ matrix + effective * torch.eye(64).double(), matrix.T @ damaged.flatten())
    assert torch.allclose(found.flatten() * (1 + penalty * small**2), expected, atol=1e-5)


@pytest.mark.parametrize("scheme", ["half-quadratic", "proximal-gradient"])
@pytest.mark.parametrize(
    "text", ["blur(motion,length=5)+gaussian(3)", "missing(0.5)+gaussian(3)", "downsample(2)+gaussian(3)"]
)
def test_plug_and_play_betters_every_linear_damage(text, scheme):
    clean = picture(1, 3, side=32, dtype=torch.float32)
    damaged, knowledge = known(text, clean, 3 / 255)
    found = restorer("plug-and-play", steps=20, scheme=scheme).restore(damaged, knowledge, random())
    assert found.shape == clean.shape
    if text.startswith("downsample"):
        damaged = torch.nn.functional.interpolate(damaged, scale_factor=2, mode="bilinear")
    assert psnr(found, clean) > psnr(damaged, clean) + 2


@pytest.mark.parametrize("name", ["plug-and-play", "biharmonic"])
def test_what_was_seen_is_kept_exactly_where_there_is_no_noise(name):
    clean = picture(2, 3, dtype=torch.float32)
    damaged, knowledge = known("missing(0.4)", clean, 0.0)
    found = quick(name).restore(damaged, knowledge, random())
    seen = knowledge.mask.expand_as(clean)
    assert torch.equal(found[seen], clean[seen])
    assert psnr(found, clean) > psnr(damaged, clean) + 10


def test_knowledge_tells_masks_from_operators():
    shape = (2, 1, 8, 8)
    images = picture(2, side=8)
    damaged, knowledge = known("blur(gaussian,width=1)+missing(0.3)+missing(0.3)", images, 0.0)
    assert isinstance(knowledge.operator, Convolution)
    assert torch.equal(knowledge.linear(shape).forward(images), damaged)
    _, only = known("missing(0.3)", images, 0.0)
    assert only.operator is None
    _, inner = known("missing(0.3)+blur(gaussian,width=1)", images, 0.0)
    assert inner.mask is None
    assert len(simple(inner.operator)) == 2
    _, none = known("gaussian(25)", images, None)
    assert none.operator is None
    assert none.mask is None


def test_orthogonal_matching_pursuit_is_that_of_scikit_learn():
    from sklearn.linear_model import orthogonal_mp

    atoms = torch.randn(12, 6, generator=random()).double()
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    signals = torch.randn(20, 6, generator=random(1)).double()
    signals = 3 * signals / signals.norm(dim=1, keepdim=True)  # scikit-learn takes one atom even where none is needed
    found = pursue(signals, atoms, 0.5, 6)
    expected = orthogonal_mp(atoms.T.numpy(), signals.T.numpy(), tol=0.5).T
    assert np.allclose(found.numpy(), expected, atol=1e-6)
    assert ((signals - found @ atoms) ** 2).sum(1).max() <= 0.5
    assert (pursue(signals, atoms, 0.0, 2) != 0).sum(1).max() == 2


def test_opponent_colours_are_orthonormal():
    images = torch.randn(2, 3, 4, 4, generator=random()).double()
    assert torch.allclose(from_opponent(opponent(images)), images)
    assert torch.allclose(opponent(images).norm(), images.norm())
    assert opponent(images[:, :1]) is not None
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(opponent(grey)[:, 1:], torch.zeros(2, 2, 4, 4).double(), atol=1e-12)


def test_conjugate_gradients_with_a_preconditioner():
    matrix = torch.tensor([[4.0, 1], [1, 3]]).double()
    right = torch.tensor([[[[1.0, 2]]], [[[0.0, 0]]]]).double()
    found = conjugate_gradients(lambda x: x @ matrix, right, torch.zeros_like(right), nearly=lambda x: x / 3.5)
    assert torch.allclose(found[0, 0, 0], torch.linalg.solve(matrix, right[0, 0, 0]), atol=1e-6)
    assert not found[1].any()


# ── Every denoiser ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        *((name, channels) for name in DENOISERS for channels in (1, 3)),
        ("bm3d", 1),
        pytest.param("bm3d", 3, marks=pytest.mark.slow),
    ],
)
def test_denoisers_come_nearer_to_the_truth(name, channels):
    clean = picture(1, channels, side=32, dtype=torch.float32)
    noisy, knowledge = known("gaussian(20)", clean, 20 / 255)
    before = noisy.clone()
    found = quick(name).restore(noisy, knowledge, random())
    assert torch.equal(noisy, before)
    assert (found.shape, found.dtype) == (noisy.shape, noisy.dtype)
    assert psnr(found, clean) > psnr(noisy, clean) + 3


@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers_leave_images_without_noise_as_they_are(name):
    clean = picture(2, 3, side=17, dtype=torch.float32)
    assert torch.equal(quick(name).restore(clean, Knowledge(noise=0.0), random()), clean)


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("level", [0.0, 0.7])
def test_even_images_stay_even(name, level):
    even = torch.full((1, 3, 12, 12), level)
    found = quick(name).restore(even, Knowledge(noise=0.1), random())
    assert torch.allclose(found, even, atol=1e-4)


@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers_treat_each_image_by_itself(name):
    images = picture(2, 1, side=16) + 0.1 * torch.randn(2, 1, 16, 16, generator=random()).double()
    one = quick(name)
    both = one.restore(images, Knowledge(noise=0.1), random())
    assert torch.allclose(both[:1], one.restore(images[:1], Knowledge(noise=0.1), random()), atol=2e-3)


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_images_smaller_than_a_patch(name, size):
    small = torch.rand(1, 3, *size, generator=random())
    if name == "dictionary":
        with pytest.raises(LimnerError, match="smaller"):
            quick(name).restore(small, Knowledge(noise=0.1), random())
    else:
        found = quick(name).restore(small, Knowledge(noise=0.1), random())
        assert found.shape == small.shape
        assert torch.isfinite(found).all()


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", CLASSICAL)
def test_what_cannot_be_restored_is_refused_in_one_sentence(name):
    one = quick(name)
    images = torch.rand(1, 1, 16, 16, generator=random())
    broken = images.clone()
    broken[0, 0, 3, 3] = float("nan")
    for wrong, knowledge, match in (
        (broken, Knowledge(noise=0.1), "not a number"),
        ((images * 255).to(torch.uint8), Knowledge(noise=0.1), "floating-point"),
        (images[0], Knowledge(noise=0.1), "floating-point"),
        (images, Knowledge(noise=-0.1), "standard deviation"),
        (images, Knowledge(noise=0.1, mask=torch.ones(1, 1, 8, 16)), r"mask has shape \(1, 1, 8, 16\)"),
        (images, Knowledge(noise=0.1, mask=torch.ones(16, 16)), "mask has shape"),
        (images, Knowledge(noise=0.1, operator=Convolution(torch.ones(1, 3, 3), (1, 1, 8, 8))), "operator makes"),
    ):
        with pytest.raises(LimnerError, match=match):
            one.restore(wrong, knowledge, random())


@pytest.mark.parametrize("name", CLASSICAL)
def test_restorers_have_the_name_of_the_catalogue_and_say_what_they_cannot(name):
    one = quick(name)
    assert one.name == name
    images = torch.rand(1, 1, 16, 16, generator=random())
    _, blurred = known("blur(gaussian,width=1)", images, None)
    for knowledge in (Knowledge(), blurred, Knowledge(mask=torch.ones(1, 1, 16, 16)), Knowledge(noise=0.1)):
        if why := one.handles(knowledge):
            assert why.startswith(name)
            with pytest.raises(LimnerError, match=name):
                one.restore(images, knowledge, random())
        else:
            assert torch.isfinite(one.restore(images, knowledge, random())).all()


@pytest.mark.slow
def test_bm3d_of_an_even_colour():
    even = torch.tensor([0.7, 0.0, 0.3]).view(1, 3, 1, 1).expand(1, 3, 12, 12)
    assert torch.allclose(quick("bm3d").restore(even, Knowledge(noise=0.1), random()), even, atol=1e-3)


def test_bm3d_refuses_images_smaller_than_its_patch():
    with pytest.raises(LimnerError, match="smaller"):
        quick("bm3d").restore(torch.rand(1, 1, 7, 20), Knowledge(noise=0.1), random())


def test_an_image_without_any_pixel_left_is_refused():
    with pytest.raises(LimnerError, match="lost all its pixels"):
        restorer("biharmonic").restore(torch.zeros(1, 1, 8, 8), Knowledge(mask=torch.zeros(1, 1, 8, 8)), random())


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("median", {}, "no restorer 'median'; there are: starter, denoiser"),
        ("wavelets", {"level": 3}, "no option 'level'; there are: wavelet, levels, shifts"),
        ("wavelets", {"levels": 0}, "whole number from 1"),
        ("wavelets", {"levels": 2.5}, "whole number from 1"),
        ("wavelets", {"wavelet": "haarr"}, "no wavelet 'haarr'"),
        ("total-variation", {"strength": -1}, "number from 0"),
        ("total-variation", {"strength": "big"}, "number from 0"),
        ("plug-and-play", {"scheme": "magic"}, "half-quadratic, proximal-gradient"),
        ("plug-and-play", {"prior": "wiener", "steps": True}, "whole number from 1"),
        ("plug-and-play", {"prior": "biharmonic"}, "the prior of plug-and-play"),
        ("biharmonic", {"steps": 3}, "there are: none"),
    ],
)
def test_mistakes_in_names_and_options(name, options, match):
    with pytest.raises(LimnerError, match=match):
        restorer(name, **options)


def test_every_option_has_a_default_that_is_right():
    for name in CLASSICAL:
        if name == "bm3d":
            continue
        assert restorer(name, **{k: v for k, v in options_of(name).items() if v}) == restorer(name)


def test_bm3d_names_the_extra_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr("limner.restoration.patches.find_spec", lambda name: None)
    with pytest.raises(LimnerError, match=r"limner\[bm3d\]"):
        BM3D().restore(torch.rand(1, 1, 8, 8), Knowledge(noise=0.1), random())


def test_schedules_fall_to_the_noise():
    assert schedule(0.1, 1) == [0.1]
    falling = schedule(0.01, 5)
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.01)
    assert schedule(0.5, 3) == pytest.approx([0.5] * 3)
