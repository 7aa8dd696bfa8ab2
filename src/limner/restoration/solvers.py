"""Least squares with a known operator: in closed form by Fourier transforms or pixel by pixel, else by iteration."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from limner.degradations import Convolution
from limner.degradations.base import Shape, shape_of
from limner.restoration.base import Knowledge, simple

Map = Callable[[Tensor], Tensor]


def conjugate_gradients(
    matrix: Map, right: Tensor, start: Tensor, iterations: int = 100, tolerance: float = 1e-5, nearly: Map | None = None
) -> Tensor:
    """x with ``matrix`` x = ``right`` for each image of a batch, the matrix symmetric and positive definite.

    Preconditioned conjugate gradients (Hestenes and Stiefel 1952; Golub and Van Loan, Matrix Computations, 11.5):
    ``nearly`` applies about the inverse of the matrix. Ends when no image's residual is longer than ``tolerance``
    times its right side.

    >>> right = torch.tensor([[[[1.0, 6.0]]]])
    >>> conjugate_gradients(lambda x: torch.tensor([2.0, 3.0]) * x, right, torch.zeros_like(right)).flatten().tolist()
    [0.5, 2.0]
    """
    found, residual = start, right - matrix(start)
    enough = (tolerance**2 * _inner(right, right)).clamp_min(1e-30)
    changed = residual if nearly is None else nearly(residual)
    direction, product = changed, _inner(residual, changed)
    for _ in range(iterations):
        going = _inner(residual, residual) > enough
        if not bool(going.any()):
            break
        image = matrix(direction)
        step = torch.where(going, product / _inner(direction, image).clamp_min(1e-30), 0)
        found, residual = found + step * direction, residual - step * image
        changed = residual if nearly is None else nearly(residual)
        before, product = product, _inner(residual, changed)
        direction = changed + product / before.clamp_min(1e-30) * direction
    return found


def transfer(kernels: Tensor, height: int, width: int) -> Tensor:
    """The Fourier transform of circular convolution with ``kernels``, ``(n, 1, h, w // 2 + 1)``.

    >>> transfer(torch.ones(1, 3, 3) / 9, 4, 4)[0, 0, 0, 0].real.round().item()
    1.0
    """
    reach = kernels.shape[1] // 2
    places = torch.arange(-reach, reach + 1, device=kernels.device)
    rows = kernels.new_zeros(len(kernels), height, kernels.shape[2]).index_add(1, places % height, kernels)
    whole = kernels.new_zeros(len(kernels), height, width).index_add(2, places % width, rows)
    response: Tensor = torch.fft.rfft2(whole)
    return response.unsqueeze(1)


def roughness_spectrum(height: int, width: int) -> Tensor:
    """|∇|² of circular first differences, (4 sin² πk/h + 4 sin² πl/w), ``(h, w // 2 + 1)`` float64."""
    down = torch.sin(torch.pi * torch.arange(height, dtype=torch.float64) / height)
    across = torch.sin(torch.pi * torch.arange(width // 2 + 1, dtype=torch.float64) / width)
    return 4 * down.view(-1, 1) ** 2 + 4 * across**2


def roughness(images: Tensor) -> Tensor:
    """∇ᵀ∇ x, first differences within the image (nothing beyond the border)."""
    found = torch.zeros_like(images)
    for axis in (2, 3):
        if images.shape[axis] > 1:
            difference = images.diff(dim=axis)
            edge = torch.zeros_like(images.narrow(axis, 0, 1))
            found = found - torch.cat([edge, difference, edge], axis).diff(dim=axis)
    return found


def convolution_of(knowledge: Knowledge) -> Convolution | None:
    """The one convolution that the whole operator is, where it is that."""
    if knowledge.operator is None or knowledge.mask is not None:
        return None
    parts = simple(knowledge.operator)
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Convolution) else None


def near(
    images: Tensor, knowledge: Knowledge, other: Tensor, weight: Tensor, iterations: int = 100
) -> Tensor:  # fmt: skip
    """argmin_x ‖M A x − y‖² + w ‖x − other‖², the step towards the data; ``weight`` = w, ``(n, 1, 1, 1)``, from 0.

    In closed form without an operator, x = (M y + w other) / (M + w), where w may be 0: what was seen is then kept
    exactly. By Fourier transforms for circular convolution (Zhang et al. 2021, equation 8), else by iteration.
    """
    if knowledge.operator is None:
        mask = torch.ones_like(images) if knowledge.mask is None else knowledge.mask.to(images).expand_as(images)
        total = mask + weight
        mean = (mask * images + weight * other) / torch.where(total > 0, total, 1)
        return torch.where(total > 0, torch.where(mask * (weight == 0) == 1, images, mean), other)
    return other + _least(images, knowledge, weight, other, lambda x: x, lambda h, w: torch.ones(()), iterations)


def roughly(images: Tensor, knowledge: Knowledge, other: Tensor, weight: Tensor, times: int = 3) -> Tensor:
    """About :func:`near` for one convolution whose image ends at the border, by few steps instead of up to a hundred.

    From x = ``other``, each step takes away what the closed form for an endless image, nothing beyond the border, makes
    of the residuals y − A x and other − x, these being exact (iterative refinement: Golub and Van Loan, Matrix
    Computations, 3.5.3):

        x ← x + (H̄ F(y − A x) + w F(other − x)) / (|H|² + w),   within the border.
    """
    convolution = convolution_of(knowledge)
    assert convolution is not None
    beyond = convolution.kernels.shape[1]
    height, width = other.shape[2:]
    sides = height + 2 * beyond, width + 2 * beyond
    response = transfer(convolution.kernels.to(other), *sides)
    power = response.abs() ** 2 + weight

    def spread(maps: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfft2(functional.pad(maps, (beyond,) * 4))
        return spectrum

    made = other
    for _ in range(times):
        wanted = response.conj() * spread(images - convolution.forward(made)) + weight * spread(other - made)
        change = torch.fft.irfft2(wanted / power, s=sides)
        made = made + change[..., beyond : beyond + height, beyond : beyond + width]
    return made


def smooth(images: Tensor, knowledge: Knowledge, weight: Tensor, start: Tensor, iterations: int = 100) -> Tensor:
    """argmin_x ‖M A x − y‖² + w ‖∇x‖², Tikhonov's; for circular convolution x̂ = H̄ ŷ / (|H|² + w |∇|²)."""
    return start + _least(images, knowledge, weight, start, roughness, roughness_spectrum, iterations, around=False)


def _least(
    images: Tensor,
    knowledge: Knowledge,
    weight: Tensor,
    start: Tensor,
    penalty: Map,
    spectrum: Callable[[int, int], Tensor],
    iterations: int,
    around: bool = True,
) -> Tensor:
    """What has to be added to ``start`` to minimise ‖M A x − y‖² + w ⟨x, P x⟩, or of x − start where ``around``."""
    linear = knowledge.linear(shape_of(images))
    convolution = convolution_of(knowledge)
    height, width = start.shape[2:]
    inverse: Map | None = None
    if convolution is not None:
        beyond = 0 if convolution.boundary == "circular" else convolution.kernels.shape[1]  # so as not to wrap around
        sides = height + 2 * beyond, width + 2 * beyond
        response = transfer(convolution.kernels.to(start), *sides)
        power = response.abs() ** 2 / convolution.step**2 + weight * spectrum(*sides).to(start)
        power = power.clamp_min(torch.finfo(start.dtype).eps)

        def inverse(residual: Tensor) -> Tensor:
            wide = functional.pad(residual, (beyond,) * 4)
            divided: Tensor = torch.fft.irfft2(torch.fft.rfft2(wide) / power, s=sides)
            return divided[..., beyond : beyond + height, beyond : beyond + width]

        if convolution.boundary == "circular" and convolution.step == 1:
            if around:
                return inverse(linear.adjoint(images - linear.forward(start)))
            return inverse(linear.adjoint(images)) - start
    right = linear.adjoint(_seen(images, knowledge) - linear.forward(start))
    if not around:
        right = right - weight * penalty(start)

    def matrix(x: Tensor) -> Tensor:
        return linear.adjoint(linear.forward(x)) + weight * penalty(x)

    return conjugate_gradients(matrix, right, torch.zeros_like(start), iterations, nearly=inverse)


def _seen(images: Tensor, knowledge: Knowledge) -> Tensor:
    return images if knowledge.mask is None else images * knowledge.mask.to(images)


def residual(images: Tensor, knowledge: Knowledge, clean: Tensor) -> Tensor:
    """The root of the mean square of y − M A x over what was seen, ``(n,)``."""
    difference = _seen(images, knowledge) - knowledge.linear(shape_of(images)).forward(clean)
    return torch.sqrt((difference**2).flatten(1).sum(1) / seen_count(knowledge, shape_of(images)).to(images))


def seen_count(knowledge: Knowledge, shape: Shape) -> Tensor:
    """How many intensities of each damaged image were seen, at least 1, float64 ``(n,)``."""
    if knowledge.mask is None:
        return torch.full(shape[:1], float(shape[1] * shape[2] * shape[3]), dtype=torch.float64)
    return knowledge.mask.double().cpu().expand(shape).flatten(1).sum(1).clamp_min(1)


def _inner(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum((1, 2, 3), keepdim=True)
