"""A generator's latents as the prior: the damaged image is looked for among those that a run can make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.degradations.base import Shape, shape_of
from limner.errors import LimnerError
from limner.inside.latents import Encoding, decoded, drawn, in_turn, latent_learner
from limner.learners.base import Coded
from limner.learners.latents import sampler_of
from limner.restoration.base import Knowledge, check, needs_noise
from limner.restoration.plug_and_play import LEAST, first_guess
from limner.restoration.single import descend, last
from limner.restoration.solvers import near, residual
from limner.types import Params

if TYPE_CHECKING:
    from limner.engine import Run

CANDIDATES = 256
"""Random latents of which the likeliest are the starts."""

WEIGHTS_RATE = 5e-4
"""Of Adam, at which the generator's weights move while it adapts, and the latents with them."""


@dataclass(frozen=True, eq=False)
class GenerativePrior:
    """x = G(z), the image that a GAN's or VAE's generator G makes of the latents z that explain the damage best.

    Three stages. First the latents alone (Bora et al. 2017, section 3), as the likeliest under the noise, what the
    generator cannot make, and the density p that its samples are drawn from:

        z = argmin ‖M A G(z) − y‖² / (σ² + looseness²) − 2 log p(z),

    of ``starts`` ways down the best, from the likeliest of 256 random latents and, where there is an encoder, from its
    answer to a first guess. Then the generator's weights move with z (image-adaptive GAN: Hussein et al. 2020,
    section 3.2), with the noise alone in the denominator, until the data are met as well as the noise allows
    (Morozov 1966). At last back-projection (theirs, section 3.3): the image nearest to both G(z) and the data, x =
    argmin ‖M A x − y‖² / σ² + ‖x − G(z)‖² / e², e² being what G(z) leaves unexplained beyond the noise. Without blur
    and noise, what was seen is kept exactly.

    run        of a learner with latents; it makes whole images of one size, and only such are restored
    starts     how many ways down are tried for each image; classes, where the run has some, go by what fits
    steps      of Adam for the latents, at ``rate``, which falls to 0 as a cosine
    adapting   steps, at most, in which the weights move too, from 1
    looseness  standard deviation of what the generator cannot make, in intensities

    >>> import limner
    >>> from limner.learners import create
    >>> gan = create("gan", (1, 16, 16), latents=3, width=4)
    >>> run = limner.Run(gan, "dots", "", limner.Strategy(), 0, gan.init(seed=0))
    >>> prior = GenerativePrior(run, starts=2, steps=3, adapting=1)
    >>> prior.restore(torch.zeros(1, 1, 16, 16), Knowledge(noise=0.1), torch.Generator()).shape
    torch.Size([1, 1, 16, 16])
    """

    run: Run
    starts: int = 8
    steps: int = 200
    adapting: int = 100
    rate: float = 0.05
    looseness: float = 0.1
    name = "generative-prior"

    def __post_init__(self) -> None:
        latent_learner(self.run)
        if isinstance(self.run.learner, Coded):
            raise LimnerError(
                f"{self.run.task_name} was learned by a {self.run.learner.kind}, whose latents are codes that no small "
                f"step leads along; give {self.name} a run of another learner, such as a vae or a gan"
            )

    def handles(self, knowledge: Knowledge) -> str:
        """Everything linear with noise of known strength."""
        return needs_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The images found. Raises :class:`LimnerError` for those of another size than the run's."""
        check(self, images, knowledge)
        assert knowledge.noise is not None
        self._refuse(knowledge.clean_shape(shape_of(images)))
        made = self.generated(images, knowledge, generator)
        noise = knowledge.noise if knowledge.operator is None else max(knowledge.noise, LEAST)
        unexplained = (residual(images, knowledge, made).square() - noise**2).clamp_min(1e-6)
        return near(images, knowledge, made, (noise**2 / unexplained).to(images).view(-1, 1, 1, 1))

    def generated(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """G(z) by the adapted weights, before it is projected back onto the data."""
        noise = knowledge.noise or 0.0
        params = {name: value.to(images) for name, value in self.run.params.items()}
        weight = torch.ones_like(images) if knowledge.mask is None else knowledge.mask.to(images).expand_as(images)
        sought = _Sought(self.run, params, images, knowledge.linear(shape_of(images)).forward, weight, noise)
        guess = first_guess(images, knowledge, generator).clamp(0, 1)
        return self._adapted(sought, *self._searched(sought, *self._starts(sought, guess, generator)))

    def _refuse(self, shape: Shape) -> None:
        channels, height, width = self.run.learner.image_shape
        if shape[1] > channels:
            raise LimnerError(f"{self.run.task_name} makes grey images, and these have colours; make them grey first")
        if shape[2:] != (height, width):
            raise LimnerError(
                f"{self.run.task_name} makes whole images of {width}×{height} pixels and knows nothing of images of "
                f"{shape[3]}×{shape[2]}; bring them to its size, or give a run that learned from such"
            )

    def _starts(self, sought: _Sought, guess: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """``(starts · n, latents)``, the first of all images first, and their classes."""
        count = len(guess)
        candidates = drawn(self.run, CANDIDATES, int(torch.randint(2**31, (), generator=generator)))
        labels = in_turn(self.run, CANDIDATES)
        made = sought.like(decoded(self.run, candidates, labels).to(guess))
        errors = torch.stack([sought.error(one.expand(count, -1, -1, -1)) for one in made])
        best = errors.topk(min(self.starts, CANDIDATES), dim=0, largest=False).indices.flatten().cpu()
        chosen, classes = candidates[best].to(guess), None if labels is None else labels[best]
        if isinstance(self.run.learner, Encoding):  # its answer, instead of the last, in the class that fits best
            with torch.no_grad():
                likely = None if classes is None else classes[:count]
                whole = guess.expand(-1, self.run.learner.image_shape[0], -1, -1)
                answer = self.run.learner.encode(sought.params, whole, likely)[0]
            chosen = torch.cat([answer, chosen[: len(chosen) - count]])
            if classes is not None:
                classes = torch.cat([classes[:count], classes[: len(classes) - count]])
        return chosen, classes

    def _searched(self, sought: _Sought, latents: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The likeliest latents of each image ``(n, latents)`` at the ends of all ways, and their classes."""
        variance, count = max(sought.noise**2 + self.looseness**2, LEAST**2), len(sought.images)
        asked = replace(sought, labels=labels)

        def falling(step: int) -> float:
            return self.rate * (1 + cos(pi * step / self.steps)) / 2

        ended = last(
            descend({"latents": latents}, lambda moving: asked.energies(moving, variance).sum(), self.steps, falling)
        )
        with torch.no_grad():
            ways = asked.energies(ended, variance).view(-1, count).argmin(0)
        best = ways * count + torch.arange(count, device=ways.device)
        return ended["latents"][best], None if labels is None else labels[best.cpu()]

    def _adapted(self, sought: _Sought, latents: Tensor, labels: Tensor | None) -> Tensor:
        """The images of ``latents (n, latents)`` by weights that adapted to each of them apart."""
        found = []
        for place in range(len(latents)):
            part = slice(place, place + 1)
            one = replace(sought.only(place), labels=None if labels is None else labels[part])
            found.append(self._one(one, {**one.moving(latents[part]), "latents": latents[part]}))
        return torch.cat(found)

    def _one(self, sought: _Sought, begun: Params) -> Tensor:
        variance, enough = max(sought.noise, LEAST) ** 2, float(sought.weight.sum()) * sought.noise**2
        error, made = float("inf"), sought.images

        def energy(moving: Params) -> Tensor:
            nonlocal error, made
            image = sought.made(moving)
            apart = sought.error(image)
            error, made = float(apart.detach()), image.detach()
            return (apart / variance + sought.rarity(moving)).sum()

        for _ in descend(begun, energy, self.adapting, lambda _: WEIGHTS_RATE):
            if error <= enough:
                break
        return made


@dataclass(frozen=True)
class _Sought:
    """What latents are to explain.

    params   of the run
    images   y, damaged, ``(n, c, h, w)``; ``weight`` 1 where they were seen, else 0
    observe  M A, images ``(n, c, h, w)`` to what is seen of them
    noise    its standard deviation
    labels   the classes of the latents asked for, or ``None``
    """

    run: Run
    params: Params
    images: Tensor
    observe: Callable[[Tensor], Tensor]
    weight: Tensor
    noise: float
    labels: Tensor | None = None

    def only(self, place: int) -> _Sought:
        """The same for the image at ``place`` alone."""
        count, part = len(self.images), slice(place, place + 1)

        def observe(images: Tensor) -> Tensor:  # an operator may be another one for each image
            return self.observe(images.expand(count, -1, -1, -1))[part]

        return replace(self, images=self.images[part], weight=self.weight[part], observe=observe)

    def moving(self, latents: Tensor) -> Params:
        """The parameters that the images of ``latents`` depend on."""
        leaves = {name: value.detach().requires_grad_() for name, value in self.params.items()}
        with torch.enable_grad():
            total = self.made({**leaves, "latents": latents}).sum()
            found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return {name: self.params[name] for name, slope in zip(leaves, found, strict=True) if slope is not None}

    def made(self, moving: Params) -> Tensor:
        """G(z) of ``moving["latents"]``, by the run's parameters and those of ``moving`` instead."""
        learner = latent_learner(self.run)
        return self.like(learner.decode({**self.params, **moving}, moving["latents"], self.labels))

    def like(self, images: Tensor) -> Tensor:
        """The mean of the channels where the damaged images are grey."""
        return images if images.shape[1] == self.images.shape[1] else images.mean(1, keepdim=True)

    def error(self, made: Tensor) -> Tensor:
        """‖M A x − y‖² of images x ``(n, c, h, w)``, ``(n,)``."""
        return ((self.observe(made) - self.images) * self.weight).square().flatten(1).sum(1)

    def energies(self, moving: Params, variance: float) -> Tensor:
        """‖M A G(z) − y‖² / variance − 2 log p(z) of the latents ``(ways · n, latents)``, the first of all n first."""
        errors = torch.cat([self.error(part) for part in torch.split(self.made(moving), len(self.images))])
        return errors / variance + self.rarity(moving)

    def rarity(self, moving: Params) -> Tensor:
        """−2 log p(z) under the density that samples are drawn from."""
        return -2 * sampler_of(self.params).log_density(moving["latents"])
