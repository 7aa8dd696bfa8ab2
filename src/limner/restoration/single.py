"""Restorers that learn from the damaged image alone: no clean image, no pairs.

Each trains a small network on one image. That is no task with images to learn from and others to be judged on, and the
image that comes out at each step decides when to end, so the steps are a short loop of their own (:func:`descend`)
around the engine's optimiser, not :func:`limner.engine.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.degradations.base import shape_of
from limner.engine.optimisers import named
from limner.networks import Template
from limner.networks.hourglass import Hourglass
from limner.networks.restorers import DnCNN, padded
from limner.restoration.base import Knowledge, check
from limner.types import Params

_REACH = 0.1
_JITTER = 1 / 30
_SCALES, _NOISE = 4, 16


@dataclass(frozen=True)
class ZeroShotNoise2Noise:
    """Two half-size images of one noisy image are a pair: the same scene, other noise (Mansour & Heckel 2023).

    D₁ takes the mean of one diagonal of each 2×2 pixels, D₂ that of the other (their figure 2). A network f of two
    layers and 22 thousand weights learns the noise by ½ Σ ‖Dᵢy − f(Dᵢy) − Dⱼy‖² (eq. 4) and that to restore and to
    halve commute, ½ Σ ‖Dᵢy − f(Dᵢy) − Dᵢ(y − f(y))‖² (eq. 6). The image is y − f(y).

    steps  of Adam at rate ``rate``, halved after three quarters
    """

    steps: int = 2000
    rate: float = 1e-3
    width: int = 48
    name = "zero-shot-noise2noise"

    def handles(self, knowledge: Knowledge) -> str:
        """Noise that is another in each pixel, of whatever strength."""
        if knowledge.mask is not None:
            return f"{self.name} needs every pixel; use blind-spot or deep-image-prior where some are lost"
        return _noise_alone(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """Each image by a network of its own."""
        check(self, images, knowledge)
        channels = images.shape[1]
        net = Template("net", lambda: _Small(channels, self.width))
        return torch.cat([self._one(net, image, generator) for image in torch.split(images, 1)])

    def _one(self, net: Template, image: Tensor, generator: torch.Generator) -> Tensor:
        even = padded(image, 2) if min(image.shape[2:]) < 2 else image[..., : _even(image, 2), : _even(image, 3)]
        halves = diagonals(even)

        def loss(params: Params) -> Tensor:
            restored = [half - net(params, half) for half in halves]
            of_whole = diagonals(even - net(params, even))
            across = sum(_square(restored[one] - halves[1 - one]) for one in (0, 1))
            alike = sum(_square(restored[one] - of_whole[one]) for one in (0, 1))
            return torch.as_tensor(across + alike) / 2

        def rate(step: int) -> float:
            return self.rate / (2 if 4 * step > 3 * self.steps else 1)

        params = last(descend(_fresh(net, image, generator), loss, self.steps, rate))
        with torch.no_grad():
            return image - net(params, image)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class BlindSpot:
    """A network that tells a pixel from those around it cannot learn its noise (Noise2Self, Batson & Royer 2019).

    At each step one of 16 grids of pixels, each the 4th in its row and column, is covered by the mean of its
    neighbours, and the network is asked for what was there (their section 3; Noise2Void, Krull et al. 2019, covers
    pixels by chance). The image is put together from its answers on the 16 grids, none of which saw the pixel it tells.
    Lost pixels are covered always, and asked for never.

    steps  of Adam at rate ``rate``, which falls as half a cosine, each on a patch of ``patch`` pixels
    """

    steps: int = 1000
    rate: float = 2e-3
    width: int = 32
    depth: int = 7
    patch: int = 96
    name = "blind-spot"

    def handles(self, knowledge: Knowledge) -> str:
        """Noise that is another in each pixel, of whatever strength, and lost pixels."""
        return _noise_alone(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """One network for all the images."""
        check(self, images, knowledge)
        channels = images.shape[1]
        seen = torch.ones_like(images) if knowledge.mask is None else knowledge.mask.to(images).expand_as(images)
        net = Template("net", lambda: DnCNN(channels, self.width, self.depth))

        def told(params: Params, patch: Tensor, shown: Tensor) -> Tensor:
            covered = neighbours(patch, shown)
            return covered - net(params, covered)  # type: ignore[no-any-return]

        def loss(params: Params) -> Tensor:
            patch, there = self._patch(images, seen, generator)
            asked = grid(patch, int(torch.randint(16, (), generator=generator))) * there
            wrong = (told(params, patch, there * (1 - asked)) - patch) * asked
            return wrong.square().sum() / asked.sum().clamp(min=1)

        schedule = torch.cos(torch.linspace(0, torch.pi, self.steps + 1)).add(1).div(2).tolist()
        begun = _fresh(net, images, generator)
        params = last(descend(begun, loss, self.steps, lambda step: self.rate * schedule[step]))
        with torch.no_grad():
            found = torch.zeros_like(images)
            for place in range(16):
                asked = grid(images, place)
                found = found + asked * told(params, images, seen * (1 - asked))
        return found

    def _patch(self, images: Tensor, seen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random part of a random image, and which of its pixels were seen."""
        one = int(torch.randint(len(images), (), generator=generator))
        corner = [
            int(torch.randint(max(side - self.patch, 0) + 1, (), generator=generator)) for side in images.shape[2:]
        ]
        part = (slice(one, one + 1), slice(None), *(slice(start, start + self.patch) for start in corner))
        return images[part], seen[part]


@dataclass(frozen=True)
class DeepImagePrior:
    """The image that a network makes of fixed noise z, on its way to the damaged one (Ulyanov et al. 2018).

    Minimises ‖M A f(z) − y‖² over the weights of f (their eq. 2): the network is quicker to make an image than noise.
    Where to end is told without the truth, by Wang et al. 2023 (algorithm 2): while the image gets better it settles,
    and once noise comes in it does not, so that with xₖ the image after k steps, the running variance

        vₖ = (1 − α) vₖ₋₁ + α (1 − α) ‖xₖ − aₖ₋₁‖²,   aₖ = (1 − α) aₖ₋₁ + α xₖ,   α = 0.1

    has a valley: the image at its lowest is kept, once ``patience`` steps found none lower.

    steps  at most, of Adam at rate ``rate``
    """

    steps: int = 3000
    patience: int = 400
    rate: float = 1e-2
    width: int = 32
    name = "deep-image-prior"

    def handles(self, knowledge: Knowledge) -> str:
        """Whatever is linear, with noise of whatever strength."""
        return ""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """Each image by a network of its own."""
        check(self, images, knowledge)
        observed = knowledge.linear(shape_of(images))
        height, width = observed.shape[2:]
        sides = [2**_SCALES * max(2, -(-side // 2**_SCALES)) for side in (height, width)]
        channels = images.shape[1]
        net = Template("net", lambda: Hourglass(channels, self.width, _SCALES, _NOISE))
        found = []
        for place in range(len(images)):

            def error(made: Tensor, place: int = place) -> Tensor:
                whole = made.expand(len(images), -1, -1, -1)  # an operator may be another one for each image
                return (observed.forward(whole) - images)[place].square().mean()

            noise = _REACH * torch.rand(1, _NOISE, *sides, generator=generator).to(images)
            found.append(self._one(net, noise, error, (height, width), generator))
        return torch.cat(found)

    def _one(
        self,
        net: Template,
        noise: Tensor,
        error: Callable[[Tensor], Tensor],
        sides: tuple[int, int],
        generator: torch.Generator,
    ) -> Tensor:
        made = noise.new_zeros(())

        def loss(params: Params) -> Tensor:
            nonlocal made
            jitter = _JITTER * torch.randn(noise.shape, generator=generator).to(noise)
            image = net(params, noise + jitter)[..., : sides[0], : sides[1]]
            made = image.detach()
            return error(image)

        valley = Valley(self.patience)
        for _ in descend(_fresh(net, noise, generator), loss, self.steps, lambda _: self.rate):
            if valley.passed(made):
                break
        return valley.best


class Valley:
    """Where a row of images settled most, by the running variance of :class:`DeepImagePrior`.

    >>> valley = Valley(patience=50)
    >>> values = [1 / step for step in range(1, 100)] + [0.01 + 0.001 * step * (-1) ** step for step in range(200)]
    >>> ended = [valley.passed(torch.full((1,), value)) for value in values].index(True)
    >>> 100 < ended < 200
    True
    """

    def __init__(self, patience: int, share: float = 0.1) -> None:
        self.patience, self.share = patience, share
        self.steps, self.lowest, self.since = 0, float("inf"), 0
        self.variance = 0.0
        self.mean = self.best = torch.zeros(())

    def passed(self, image: Tensor) -> bool:
        """Take the next image; whether the lowest place lies ``patience`` images back."""
        self.steps += 1
        if self.steps == 1:
            self.mean = self.best = image
            return False
        apart = float((image - self.mean).square().sum())
        self.variance = (1 - self.share) * self.variance + self.share * (1 - self.share) * apart
        self.mean = torch.lerp(self.mean, image, self.share)
        if self.steps > 3 / self.share:  # before that the variance still rises from 0
            if self.variance < self.lowest:
                self.lowest, self.since, self.best = self.variance, 0, image
            else:
                self.since += 1
        else:
            self.best = image
        return self.since >= self.patience


def descend(
    params: Params, loss: Callable[[Params], Tensor], steps: int, rate: Callable[[int], float]
) -> Iterator[Params]:
    """``steps`` steps of Adam down ``loss``, at ``rate(step)``; the parameters after each.

    >>> ways = descend({"net.x": torch.ones(())}, lambda params: params["net.x"].square(), 200, lambda step: 0.1)
    >>> abs(list(ways)[-1]["net.x"].item()) < 0.05
    True
    """
    optimiser = named("adam")
    state = optimiser.init(params)
    for step in range(steps):
        moving = {name: value.detach().requires_grad_() for name, value in params.items()}
        with torch.enable_grad():
            found = torch.autograd.grad(loss(moving), list(moving.values()))
        params, state = optimiser.quick(params, dict(zip(params, found, strict=True)), state, rate(step), None)
        yield params


def diagonals(images: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of either diagonal of each 2×2 pixels: two images of half the side.

    >>> [half.item() for half in diagonals(torch.tensor([[[[1.0, 2.0], [4.0, 7.0]]]]))]
    [3.0, 4.0]
    """
    top, bottom = images[..., 0::2, :], images[..., 1::2, :]
    return (top[..., 1::2] + bottom[..., 0::2]) / 2, (top[..., 0::2] + bottom[..., 1::2]) / 2


def grid(images: Tensor, place: int) -> Tensor:
    """1 at every 4th pixel of every 4th row, of the ``place``-th of the 16 such grids, else 0; ``(1, 1, h, w)``.

    >>> grid(torch.zeros(1, 1, 4, 8), 5).nonzero()[:, 2:].tolist()
    [[1, 1], [1, 5]]
    """
    height, width = images.shape[2:]
    rows = (torch.arange(height, device=images.device) % 4 == place // 4)[:, None]
    columns = torch.arange(width, device=images.device) % 4 == place % 4
    return (rows & columns).to(images)[None, None]


def neighbours(images: Tensor, shown: Tensor) -> Tensor:
    """The images where they are ``shown`` (1), elsewhere the mean of what is shown nearby: of 3×3 pixels, or where
    nothing is, of ever larger squares.

    >>> neighbours(torch.tensor([[[[1.0, 9.0, 3.0]]]]), torch.tensor([[[[1.0, 0.0, 1.0]]]])).tolist()
    [[[[1.0, 2.0, 3.0]]]]
    """
    channels = images.shape[1]
    shown = shown.expand_as(images)
    filled, size = images * shown, 3
    known = shown
    while not bool(known.all()) and size < 2 * max(images.shape[2:]) + 3:
        box = images.new_ones(channels, 1, size, size)
        total = functional.conv2d(images * shown, box, padding=size // 2, groups=channels)
        count = functional.conv2d(shown, box, padding=size // 2, groups=channels).round()
        here = (count > 0) & (known == 0)
        filled = torch.where(here, total / count.clamp(min=1), filled)
        known = torch.where(here, torch.ones_like(known), known)
        size = 2 * size - 1
    return filled


class _Small(nn.Module):
    """Two 3×3 convolutions and a 1×1 one (Mansour & Heckel 2023, section 3.3)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.leaky_relu(self.first(images), 0.2)
        return self.third(functional.leaky_relu(self.second(inner), 0.2))  # type: ignore[no-any-return]


def last(ways: Iterator[Params]) -> Params:
    """The last of what :func:`descend` yields."""
    found: Params = {}
    for found in ways:  # noqa: B007
        pass
    return found


def _even(image: Tensor, dimension: int) -> int:
    return 2 * (image.shape[dimension] // 2)


def _fresh(net: Template, images: Tensor, generator: torch.Generator) -> Params:
    seed = int(torch.randint(2**31, (), generator=generator))
    return {name: value.to(images) for name, value in net.init(seed).items()}


def _square(wrong: Tensor) -> Tensor:
    return wrong.square().mean()


def _noise_alone(name: str, knowledge: Knowledge) -> str:
    if knowledge.operator is not None:
        return f"{name} takes away noise only, not blur or the like; use deep-image-prior, or plug-and-play"
    return ""
