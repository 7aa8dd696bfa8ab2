"""Degradations: adjoints, norms, moments of noise, seeds, masks, and what becomes of shapes."""

import pytest
import torch

from limner.degradations import STAGES, Convolution, OneOf, parse
from limner.degradations.kernels import defocus_kernels, gaussian_kernels, kernel_from, motion_kernels
from limner.degradations.operators import about_kernels
from limner.errors import LimnerError

ALL = (
    "gaussian(25)", "poisson(30)", "poisson_gaussian(30,sigma=5)", "speckle(0.2)", "salt_and_pepper(0.1,salt=0.3)",
    "stripes(10)", "blur(gaussian,width=1.2)", "blur(motion,length=7,angle=30)", "blur(defocus,radius=2.5)",
    "downsample(2)", "missing(0.5)", "boxes(2)", "scratches(3)", "text(8)", "mosaic", "jpeg(30)", "quantise(3)", "clip",
)  # fmt: skip
RANGES = (
    "gaussian(5..50)", "blur(motion,length=1..9,angle=-90..90)+poisson(20..200)", "missing(0.2..0.8)+quantise(8)",
    "one_of(gaussian(5..50),poisson(20),jpeg(10..60),nothing)", "unknown", "boxes(1..3,size=0.1..0.3)+stripes(0..9)",
)  # fmt: skip
BLURS = (
    "blur(gaussian,width=0.5..2", "blur(motion,length=2..9,angle=-90..90", "blur(defocus,radius=0..4",
    "downsample(2,width=0.2..1", "downsample(3", "downsample(5,width=0",
)  # fmt: skip
MASKS = ("missing(0.3..0.7)", "boxes(2)", "scratches(3,thickness=2)", "text(8)", "mosaic")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=2, channels=3, height=20, width=17, dtype=torch.float64):
    return torch.rand(count, channels, height, width, generator=seeded(1), dtype=dtype)


def operator_of(text, shape):
    damage = parse(text)
    return damage.operator(damage.sample(shape, seeded()), shape)


def gap(operator):
    """|⟨A x, y⟩ − ⟨x, Aᵀ y⟩| over the size of the two."""
    x = torch.randn(operator.shape, generator=seeded(2), dtype=torch.float64)
    y = torch.randn(operator.result, generator=seeded(3), dtype=torch.float64)
    made, back = operator.forward(x), operator.adjoint(y)
    assert made.shape == y.shape
    assert back.shape == x.shape
    assert made.abs().sum() > 0
    return float(((made * y).sum() - (x * back).sum()).abs() / (made.norm() * y.norm()))


def test_every_stage_is_tried():
    assert {stage.word for stage in STAGES} == {text.partition("(")[0] for text in ALL}


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (7, 12), (20, 17)], ids=str)
@pytest.mark.parametrize("boundary", ["reflect", "circular", "zero"])
@pytest.mark.parametrize("blur", BLURS)
def test_adjoints_of_blurs_are_exact(blur, boundary, sides):
    """Also where the image is smaller than the kernel, and where the step does not divide its sides."""
    assert gap(operator_of(f"{blur},boundary={boundary})", (3, 3, *sides))) < 1e-14


@pytest.mark.parametrize("text", MASKS)
def test_adjoints_of_masks_are_exact(text):
    assert gap(operator_of(text, (3, 3, 20, 17))) < 1e-14


def test_adjoint_of_a_composition():
    text = "blur(motion,length=7,angle=20)+missing(0.3)+downsample(3)+gaussian(25)+blur(defocus,radius=3)"
    operator = operator_of(text, (2, 1, 20, 17))
    assert operator.result == (2, 1, 7, 6)
    assert gap(operator) < 1e-14


def test_the_operator_ends_where_noise_begins():
    images = pictures()
    damage = parse("blur(motion,length=7)+missing(0.3)+gaussian(25)+clip")
    drawn = damage.sample(tuple(images.shape), seeded())
    operator = damage.operator(drawn, tuple(images.shape))
    damaged = damage.apply(images, drawn, seeded(4))
    noise = (25 / 255) * torch.randn(images.shape, generator=seeded(4), dtype=torch.float64)
    assert torch.equal(damaged, (operator.forward(images) + noise).clamp(0, 1))


@pytest.mark.parametrize("boundary", ["reflect", "circular", "zero"])
def test_convolution_against_scipy(boundary):
    from scipy.ndimage import convolve

    images = pictures(2, 1, 9, 8)
    kernels = torch.rand(2, 5, 5, generator=seeded(), dtype=torch.float64)
    made = Convolution(kernels, (2, 1, 9, 8), boundary).forward(images)
    mode = {"reflect": "reflect", "circular": "wrap", "zero": "constant"}[boundary]
    for image, kernel, found in zip(images, kernels, made, strict=True):
        expected = convolve(image[0].numpy(), kernel.numpy(), mode=mode)
        assert torch.allclose(found[0], torch.from_numpy(expected), atol=1e-12)


@pytest.mark.parametrize("boundary", ["reflect", "circular", "zero"])
@pytest.mark.parametrize("blur", BLURS)
def test_norms_of_blurs(blur, boundary):
    """At most 1 where circular or zero, or symmetric in both axes; 2 for any reflect; 1 exactly where circular."""
    norms = operator_of(f"{blur},boundary={boundary})", (2, 1, 6, 7)).norm(seeded(5), iterations=30)
    turned = "motion" in blur and boundary == "reflect"
    assert norms.max() <= (2 if turned else 1 + 1e-9)
    if boundary == "circular" and "downsample" not in blur:
        assert norms.min() > 0.97


def test_norm_against_the_singular_value():
    operator = operator_of("blur(motion,length=5,angle=30)+downsample(2,width=0)", (1, 1, 6, 5))
    basis = torch.eye(30, dtype=torch.float64).view(30, 1, 6, 5)
    matrix = torch.cat([operator.forward(one[None]).flatten(1) for one in basis]).T
    assert operator.norm(seeded(), iterations=500).item() == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item())


@pytest.mark.parametrize("text", MASKS)
def test_norms_of_masks(text):
    assert operator_of(text, (2, 3, 16, 16)).norm(seeded()).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("text", [f"{blur})" for blur in BLURS] + list(MASKS))
def test_operators_are_differentiable(text):
    """The gradient of ½‖A x − y‖² is Aᵀ (A x − y), as proximal gradient steps need it."""
    operator = operator_of(text, (2, 3, 8, 9))
    x = pictures(2, 3, 8, 9).requires_grad_()
    residual = operator.forward(x) - 0.3
    (gradient,) = torch.autograd.grad((residual**2).sum() / 2, x)
    assert torch.allclose(gradient, operator.adjoint(residual.detach()), atol=1e-12)


def test_kernels_have_sum_one_and_width():
    for kernels in (
        gaussian_kernels(torch.tensor([0.0, 0.7, 2.0]), 8),
        motion_kernels(torch.tensor([1.0, 6.0, 9.0]), torch.tensor([0.0, 45.0, -170.0]), 5),
        defocus_kernels(torch.tensor([0.0, 1.5, 4.0]), 4),
    ):
        assert kernels.min() >= 0
        assert torch.allclose(kernels.sum((1, 2)), torch.ones(3, dtype=torch.float64))
        assert torch.equal(kernels, kernels.flip(1, 2))  # no shift
    steps = torch.arange(-8, 9, dtype=torch.float64)
    assert (gaussian_kernels(torch.tensor([2.0]), 8)[0].sum(0) * steps**2).sum().item() == pytest.approx(4, rel=1e-2)
    straight = motion_kernels(torch.tensor([9.0]), torch.tensor([0.0]), 5)[0]
    assert straight[5].tolist() == pytest.approx([0] + [1 / 9] * 9 + [0])
    upwards = motion_kernels(torch.tensor([9.0]), torch.tensor([30.0]), 5)[0]
    assert upwards[:5, 6:].sum() > 5 * upwards[6:, 6:].sum()  # 30° from across: right and up


# Mean and variance at intensity x, of independent numbers
MOMENTS = {
    "gaussian(30)": (lambda x: x, lambda x: (30 / 255) ** 2),
    "poisson(20)": (lambda x: x, lambda x: x / 20),
    "poisson_gaussian(50,sigma=20)": (lambda x: x, lambda x: x / 50 + (20 / 255) ** 2),
    "speckle(0.4)": (lambda x: x, lambda x: (0.4 * x) ** 2),
    "salt_and_pepper(0.2,salt=0.75)": (
        lambda x: 0.8 * x + 0.15,
        lambda x: 0.8 * x**2 + 0.15 - (0.8 * x + 0.15) ** 2,
    ),
    "missing(0.3)": (lambda x: 0.7 * x, lambda x: 0.7 * 0.3 * x**2),
}


@pytest.mark.parametrize("intensity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("text", MOMENTS)
def test_moments_of_noise(text, intensity):
    """Within 4 standard errors, those of the variance from the fourth moment."""
    mean, variance = (formula(intensity) for formula in MOMENTS[text])
    images = torch.full((4, 1, 150, 150), intensity, dtype=torch.float64)
    values = parse(text)(images, seeded(6)).flatten()
    centred = values - mean
    assert abs(centred.mean()) < 4 * (variance / len(values)) ** 0.5
    squares = centred**2
    assert abs(squares.mean() - variance) < 4 * squares.std() / len(values) ** 0.5


@pytest.mark.parametrize("direction", ["rows", "columns"])
def test_stripes_are_the_same_along_them(direction):
    images = torch.full((2, 3, 2000, 4) if direction == "rows" else (2, 3, 4, 2000), 0.5, dtype=torch.float64)
    noise = parse(f"stripes(51,direction={direction})")(images, seeded()) - 0.5
    along = 3 if direction == "rows" else 2
    assert torch.allclose(noise, noise.mean((1, along), keepdim=True).expand_as(noise))
    stripes = noise.mean((1, along))
    assert abs(stripes.mean()) < 4 * 0.2 / 4000**0.5
    assert abs((stripes**2).mean() - 0.04) < 4 * 0.04 * (2 / 4000) ** 0.5


def test_neighbours_are_independent():
    noise = parse("gaussian(255)")(torch.zeros(2, 1, 150, 150), seeded())
    pairs = (noise[0] * noise[1], noise[..., 1:] * noise[..., :-1], noise[..., 1:, :] * noise[..., :-1, :])
    for products in pairs:
        assert abs(products.mean()) < 4 / products.numel() ** 0.5


@pytest.mark.parametrize("text", [*ALL, *RANGES])
def test_seeds(text):
    """One seed, one result; another seed, another; nothing is changed in place."""
    images, before, damage = pictures(), pictures(), parse(text)
    first, again = damage(images, seeded(7)), damage(images, seeded(7))
    assert torch.equal(images, before)
    assert torch.equal(first, again)
    assert first.dtype == images.dtype
    random = not text.startswith(
        ("blur(g", "blur(motion,length=7", "blur(d", "downsample", "mosaic", "jpeg", "qu", "clip")
    )
    assert torch.equal(first, damage(images, seeded(8))) != random


@pytest.mark.parametrize("text", [*ALL, *RANGES])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 3, 2), (3, 3, 12, 9)], ids=str)
def test_shapes_grey_colour_and_small(text, shape):
    images = torch.rand(shape, generator=seeded(), dtype=torch.float32)
    damage = parse(text)
    if text == "mosaic" and shape[1] == 1:
        with pytest.raises(LimnerError, match="needs colour images"):
            damage(images, seeded())
        return
    made = damage(images, seeded())
    assert made.shape == damage.shape_after(shape)
    assert made.isfinite().all()


def test_each_image_has_its_own():
    images = torch.full((8, 1, 12, 12), 0.5)
    for text in ("gaussian(5..50)", "missing(0.1..0.9)", "blur(motion,length=2..9,angle=0..180,boundary=zero)"):
        damage = parse(text)
        drawn = damage.sample((8, 1, 12, 12), seeded())
        assert all(len(value) == 8 for value in drawn.values())
        made = damage.apply(images, drawn, seeded(1))
        assert len({tuple(image.flatten().tolist()) for image in made}) == 8


def test_ranges_are_filled_evenly():
    drawn = parse("gaussian(5..50)").sample((4000, 1, 1, 1), seeded())["sigma"]
    assert drawn.min() >= 5
    assert drawn.max() <= 50
    assert abs(drawn.mean() - 27.5) < 4 * 45 / (12 * 4000) ** 0.5
    qualities = parse("jpeg(10..12)").sample((3000, 1, 1, 1), seeded())["quality"]
    assert qualities.unique().tolist() == [10, 11, 12]
    assert torch.bincount(qualities.int())[10:].min() > 900


def test_a_mixture_is_its_alternatives():
    mixture = parse("one_of(clip,missing(1),quantise(1))")
    assert isinstance(mixture, OneOf)
    images = 0.2 + 0.2 * pictures(300, 1, 2, 2)
    drawn = mixture.sample((300, 1, 2, 2), seeded())
    made = mixture.apply(images, drawn, seeded())
    assert torch.bincount(drawn["choice"]).min() > 70
    for choice, image, result in zip(drawn["choice"].tolist(), images, made, strict=True):
        assert torch.equal(result, image if choice == 0 else torch.zeros_like(image))


@pytest.mark.parametrize("text", RANGES)
def test_settled_is_definite(text):
    settled = [parse(text).settle(seeded(seed)) for seed in range(12)]
    assert len(set(settled)) > 4
    for damage in settled:
        assert ".." not in str(damage)
        assert "one_of" not in str(damage)
        assert damage.settle(seeded()) == damage == parse(str(damage))
        images = pictures()
        assert torch.equal(damage(images, seeded(1)), parse(str(damage))(images, seeded(1)))


def test_masks_lose_what_they_say():
    shape = (50, 1, 40, 60)
    texts = "missing(0.3)", "boxes(1,size=0.5)", "scratches(4)", "text(10,lines=2)", "boxes(3,size=0)", "scratches(0)"
    kept = {text: parse(text).sample(shape, seeded())["mask"].double().mean() for text in texts}
    assert kept["missing(0.3)"] == pytest.approx(0.7, abs=4 * (0.21 / 120_000) ** 0.5)
    assert kept["boxes(1,size=0.5)"] == pytest.approx(1 - 400 / 2400)
    assert 0.7 < kept["scratches(4)"] < 0.95
    assert 0.7 < kept["text(10,lines=2)"] < 0.97
    assert kept["boxes(3,size=0)"] == kept["scratches(0)"] == 1


def test_a_mosaic_keeps_one_channel_of_each_pixel():
    made = parse("mosaic(pattern=grbg)")(torch.ones(2, 3, 4, 6), seeded())
    assert torch.equal(made.sum(1), torch.ones(2, 4, 6))
    assert made[0, :, :2, :2].flatten(1).tolist() == [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]


def test_jpeg_is_a_real_one():
    """A file of better quality is nearer; an even grey comes back as it was."""
    images = torch.nn.functional.interpolate(pictures(2, 3, 6, 6), (24, 24), mode="bicubic").clamp(0, 1)
    errors = [float((parse(f"jpeg({quality})")(images, seeded()) - images).abs().mean()) for quality in (5, 30, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    grey = torch.full((1, 1, 16, 16), 100 / 255)
    assert torch.equal(parse("jpeg(50)")(grey, seeded()), grey)


def test_quantised_bytes_are_what_a_file_holds():
    made = parse("gaussian(60)+quantise(8)")(pictures(), seeded())
    assert made.min() == 0
    assert made.max() == 1
    assert torch.allclose(made * 255, (made * 255).round(), atol=1e-9)
    assert parse("gaussian(60)")(pictures(), seeded()).min() < 0  # not clipped unless asked


def test_a_kernel_from_a_file(tmp_path):
    import numpy as np
    from PIL import Image

    np.save(tmp_path / "corner.npy", np.array([[1, 1]]))
    np.save(tmp_path / "bad.npy", np.array([[1, -1]]))
    Image.fromarray(np.array([[0, 0, 0], [0, 0, 200], [0, 0, 0]], dtype=np.uint8)).save(tmp_path / "shift.png")
    assert kernel_from(tmp_path / "corner.npy").tolist() == [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]
    images = pictures()
    made = parse(f'blur(file,path="{tmp_path / "shift.png"}",boundary=circular)')(images, seeded())
    assert torch.allclose(made, images.roll(1, 3))
    assert about_kernels(parse(f"one_of(clip,blur(file,path={tmp_path / 'shift.png'}))")) == []
    (told,) = about_kernels(parse(f"clip+blur(file,path={tmp_path / 'corner.npy'})"))
    assert "corner.npy has 1×2 weights, and so no middle one: images move by half a pixel" in told
    Image.new("RGB", (3, 3), (9, 5, 1)).save(tmp_path / "colour.png")
    assert "in colour" in about_kernels(parse(f"blur(file,path={tmp_path / 'colour.png'})"))[0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (None, "there is no kernel at"),
        ([[1, -1]], "has sum 0"),
        ([[1.0, float("nan")]], "weights that are not finite"),
        ([[[1.0]]], "the same for all colours"),
        (torch.zeros(0, 3).numpy(), "of 1 to 511 each way"),
        (torch.ones(600, 2).numpy(), "of 1 to 511 each way"),
        (b"1 2 3", "it is no .npy array of numbers"),
    ],
)
def test_files_that_hold_no_kernel(tmp_path, values, told):
    import numpy as np

    if isinstance(values, bytes):
        (tmp_path / "k.npy").write_bytes(values)
    elif values is not None:
        np.save(tmp_path / "k.npy", np.array(values))
    for use in (about_kernels, lambda damage: damage(pictures(), seeded())):
        with pytest.raises(LimnerError, match=told):
            use(parse(f"blur(file,path={tmp_path / 'k.npy'})"))


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), "floating-point"),
        (torch.zeros(1, 4, 4), "shape"),
        (torch.zeros(1, 4, 4, 4), "1 or 3"),
        (torch.zeros(0, 1, 4, 4), "shape"),
        (torch.full((1, 1, 4, 4), float("nan")), "not a number"),
    ],
)
def test_what_are_no_images(images, told):
    with pytest.raises(LimnerError, match=told):
        parse("gaussian(25)")(images, seeded())


def test_sizes_that_differ_in_a_batch():
    damage = parse("one_of(downsample(2),downsample(3))")
    with pytest.raises(LimnerError, match=r"different sizes \(4×4 and 6×6\)"):
        damage(torch.zeros(2, 1, 12, 12), seeded())
    assert damage.settle(seeded())(torch.zeros(2, 1, 12, 12), seeded()).shape[2] in (4, 6)
    with pytest.raises(LimnerError, match="settled"):
        parse("unknown+clip").operator({}, (1, 1, 4, 4))


@pytest.mark.parametrize("boundary", ["reflect", "circular", "zero"])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize(("side", "height", "width"), [(5, 9, 8), (7, 3, 16), (15, 20, 31)])
def test_large_convolutions_are_the_same_by_fourier_transforms(monkeypatch, boundary, step, side, height, width):
    random = torch.Generator().manual_seed(0)
    kernels = torch.rand(2, side, side, generator=random, dtype=torch.float64)
    shape = (2, 3, height, width)
    operator = Convolution(kernels, shape, boundary, step)
    images = torch.rand(shape, generator=random, dtype=torch.float64)
    damaged = torch.rand(operator.result, generator=random, dtype=torch.float64)
    plain = operator.forward(images), operator.adjoint(damaged)
    monkeypatch.setattr("limner.degradations.linear.BY_FOURIER", (1, 1))
    for made, wanted in zip((operator.forward(images), operator.adjoint(damaged)), plain, strict=True):
        torch.testing.assert_close(made, wanted, rtol=1e-12, atol=1e-12)
