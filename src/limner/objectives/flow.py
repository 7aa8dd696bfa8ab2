"""Flow matching: a velocity field learned by regression, and the integrators that follow it from noise to images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""The velocity v(x, t) of points ``(n, …)`` at times ``(n,)``, of the points' shape."""


def drawn(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """The randomness of a step: ``noise`` x₀, of the images' shape; ``times`` t, ``(n,)``, each uniform in [0, 1] and
    spread evenly over the batch (one draw shifts equal spacings), which takes noise from the loss.

    >>> sorted(drawn(torch.zeros(4, 1, 2, 2), torch.Generator().manual_seed(0)))
    ['noise', 'times']
    """
    count, device = len(images), generator.device
    noise = torch.randn(images.shape, generator=generator, device=device)
    shift = torch.rand(1, generator=generator, device=device)
    return {"noise": noise, "times": (shift + torch.randperm(count, generator=generator, device=device) / count) % 1}


def between(noise: Tensor, images: Tensor, times: Tensor) -> Tensor:
    """The point at time t on the straight line from noise to image: x_t = (1 − t)·x₀ + t·x₁.

    Lipman et al. 2023, eq. 22 with σ_min = 0; Liu, Gong & Liu 2023, eq. 1. ``times`` is ``(n,)``.

    >>> between(torch.zeros(1, 2), torch.full((1, 2), 4.0), torch.tensor([0.25])).tolist()
    [[1.0, 1.0]]
    """
    times = times.view(-1, *(1 for _ in images.shape[1:]))
    return (1 - times) * noise + times * images


def flow_matching(velocity: Velocity, noise: Tensor, images: Tensor, times: Tensor) -> Tensor:
    """E ‖v(x_t, t) − (x₁ − x₀)‖², the mean over numbers and batch (Lipman et al. 2023, eq. 23; Liu et al. 2023, eq. 1).

    Its minimum is v(x, t) = E[x₁ − x₀ | x_t = x], whose flow takes the noise's distribution to that of the images.

    >>> flow_matching(lambda points, times: torch.ones_like(points), torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1))
    tensor(0.)
    """
    return (velocity(between(noise, images, times), times) - (images - noise)).square().mean()


def euler(velocity: Velocity, points: Tensor, time: float, step: float) -> Tensor:
    """x + h·v(x, t): an error of order h for the whole way."""
    return points + step * velocity(points, points.new_full(points.shape[:1], time))


def heun(velocity: Velocity, points: Tensor, time: float, step: float) -> Tensor:
    """x + h/2·(v(x, t) + v(x + h·v(x, t), t + h)): an error of order h² at twice the work."""
    first = velocity(points, points.new_full(points.shape[:1], time))
    second = velocity(points + step * first, points.new_full(points.shape[:1], time + step))
    return points + 0.5 * step * (first + second)


INTEGRATORS: dict[str, Callable[[Velocity, Tensor, float, float], Tensor]] = {"euler": euler, "heun": heun}
"""One step of an integrator, by name."""


def integrate(velocity: Velocity, noise: Tensor, integrator: str, steps: int) -> Tensor:
    """Follow ``velocity`` from time 0 to 1 in ``steps`` equal steps.

    >>> integrate(lambda points, times: 2 * points, torch.ones(1, 1), "heun", 100).round(decimals=2)  # e² = 7.389…
    tensor([[7.3900]])
    """
    points = noise
    for index in range(steps):
        points = INTEGRATORS[integrator](velocity, points, index / steps, 1 / steps)
    return points
