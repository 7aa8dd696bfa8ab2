"""Implicit maximum likelihood: a generator without a critic, which forgets no image that it learns from."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.base import Learner
from limner.learners.checks import check_latents, check_words
from limner.learners.gan import NETWORKS
from limner.learners.labels import decoded_labels
from limner.networks import Template
from limner.objectives.transfer import resolutions
from limner.types import Batch, Draws, Loss, Params, Request


class IMLE:
    """Implicit maximum likelihood estimation (Li & Malik 2018) with rejection sampling (Vashist, Peng & Li 2024).

    A GAN asks that each generated image be like some real one, and may leave real ones out. This asks the reverse: that
    for each real image some generated one be near. Its one player ``generator`` minimises, over the images x of a batch
    and a pool of latents z ~ N(0, 1) drawn anew at each step,

        mean over x of d(x, G(z_x)),   z_x = the latent of the pool whose image is nearest to x, of those left,

    where those are rejected whose image is nearer than ε to any x of the batch: a generator that trains on them pulls
    on what is right already, and by latents that lie nearer to images than those it is sampled by (Vashist et al.,
    section 3 and algorithm 1). ε is ``radius`` times the mean distance of an image of the batch to its nearest other
    one, so it knows no scale, and is 0 for a single image (Adaptive IMLE, Aghabozorgi, Peng & Li 2023, too has
    distances that the images set). In the batch's order, each image takes the nearest latent that is not taken yet, so
    that no latent is pulled two ways; where none is left, the nearest of those rejected (plain IMLE).

    d is the squared distance of pixels at up to three resolutions (full, a half, a quarter), each averaged over its
    own pixels: thin strokes that do not overlap are equally far from each other at full resolution, wherever they lie,
    while the coarse ones say which way to move. (The papers take features of a network trained on photographs.)

    latents, width, network  as of the GAN, whose generator this is: a GAN is a start for it (:func:`imle_of`)
    pool     latents to choose from at each step; at least as many as the batch has images are drawn
    radius   ε in units of the images' own distances (0 = plain IMLE)
    noise    standard deviation of what is added to a latent that was chosen: what lies beside it becomes like it

    >>> imle = IMLE((1, 16, 16), latents=4, width=4, pool=8)
    >>> imle.predict(imle.init(seed=0), Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 16, 16])
    """

    kind = "imle"
    players = ("generator",)
    answers = ("sample",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int = 32,
        width: int = 16,
        network: str = "dcgan",
        pool: int = 64,
        radius: float = 0.3,
        noise: float = 0.1,
    ) -> None:
        check_words("IMLE", network=(network, NETWORKS))
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "latents": latents, "width": width, "network": network, "pool": pool, "radius": radius, "noise": noise
        }  # fmt: skip
        self._generator = Template("generator", lambda: NETWORKS[network].generator(image_shape, latents, width))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``generator.*``."""
        return self._generator.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``pool``: the latents to choose from, at least one for each image, ``(m, latents)``; ``noise``: ε added to
        those chosen, ``(n, latents)``."""
        count, latents = len(batch["images"]), self.options["latents"]
        shapes = {"pool": (max(self.options["pool"], count), latents), "noise": (count, latents)}
        return {
            name: torch.randn(shape, generator=generator, device=generator.device) for name, shape in shapes.items()
        }

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The mean distance of each image to that of its latent; terms ``distance``, and ``rejected``, the share of
        the pool that was."""
        images, pool = batch["images"], draws["pool"]
        with torch.no_grad():
            nearest, rejected = self.choose(images, self.decode(params, pool))
        latents = pool[nearest] + self.options["noise"] * draws["noise"]
        value = (features(images) - features(self.decode(params, latents))).square().sum(1).mean()
        return Loss(value, {"distance": value, "rejected": rejected.to(value.dtype).mean()})

    def choose(self, images: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the pool's images ``made (m, c, h, w)`` each of ``images (n, c, h, w)`` takes, ``(n,)``, no two the
        same, and which were rejected for being too near, ``(m,)`` of truth values.

        Fewer left than images: those that find none of them take the nearest of the rejected.
        """
        wanted, count = features(images), images.shape[0]
        distances = _squared(wanted, features(made))
        limit = distances.new_zeros(())
        if count > 1:
            others = _squared(wanted, wanted) + torch.diag(wanted.new_full((count,), math.inf))
            limit = (self.options["radius"] * others.amin(1).sqrt().mean()).square()
        rejected = (distances < limit).any(0)
        # Distances are at most 1: what is rejected goes behind all that is left, what is taken behind everything.
        cost, places = distances + 2.0 * rejected, torch.arange(made.shape[0], device=made.device)
        chosen, taken = [], torch.zeros_like(rejected)
        for row in cost:
            chosen.append((row + 4.0 * taken).argmin())
            taken = taken | (places == chosen[-1])
        return torch.stack(chosen), rejected

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, without gradients."""
        if request.what != "sample" or request.labels is not None:
            raise LimnerError("an IMLE answers with samples, of no classes; ask it for those alone")
        shape = (request.count, self.options["latents"])
        latents = torch.randn(shape, generator=generator, device=generator.device)
        with torch.no_grad():
            images = [self.decode(params, part) for part in torch.split(latents, 256)]
        return torch.cat(images) if images else torch.empty(0, *self.image_shape)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images G(z) in [0, 1], ``(n, c, h, w)``, of ``latents (n, latents)``; can be differentiated. It has no
        classes."""
        check_latents("IMLE", latents, self.options["latents"])
        decoded_labels(latents, labels, 1, "IMLE")
        return torch.sigmoid(self._generator(params, latents))


def features(images: Tensor) -> Tensor:
    """``images (n, c, h, w)`` as points ``(n, features)``, whose squared distance is the mean over up to three
    resolutions of the mean squared difference of pixels there.

    >>> round(features(torch.ones(1, 1, 28, 28)).square().sum().item(), 5)
    1.0
    """
    levels = [level.flatten(1) for level in resolutions(images)]
    return torch.cat([level / math.sqrt(level.shape[1] * len(levels)) for level in levels], 1)


def _squared(left: Tensor, right: Tensor) -> Tensor:
    """The squared distance of each of ``left (n, features)`` to each of ``right (m, features)``, ``(n, m)``."""
    squares = left.square().sum(1)[:, None] + right.square().sum(1)
    return (squares - 2 * left @ right.T).clamp(min=0)


def imle_of(learner: Learner, params: Params, **options: Any) -> tuple[IMLE, Params]:
    """The IMLE whose generator is that of a GAN, and the start that the GAN's ``params`` are for it; ``options`` are
    the IMLE's own (pool, radius, noise).

    Raises :class:`LimnerError` for another learner, and for a GAN with classes.

    >>> from limner.learners.gan import GAN
    >>> gan = GAN((1, 16, 16), latents=3, width=4)
    >>> imle, start = imle_of(gan, gan.init(0), pool=8)
    >>> imle.options["latents"], set(start) == set(imle.init(0))
    (3, True)
    """
    if learner.kind != "gan" or learner.options["classes"] > 1:
        raise LimnerError(f"an IMLE begins from a GAN without classes, not from this {learner.kind}; give one")
    same = {name: learner.options[name] for name in ("latents", "width", "network")}
    start = {name: value for name, value in params.items() if name.startswith("generator.")}
    return IMLE(learner.image_shape, **same, **options), start
