"""What the VAE and the VAE-GAN share: an encoder and a decoder, with classes or without, and a sampler fitted after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.labels import asked_labels, learned_labels
from limner.learners.latents import SAMPLERS, sampler_of
from limner.networks import Template
from limner.types import Batch, Params, Request

TOGETHER = 256
"""Images that are encoded or decoded at once, so that memory stays bounded."""


class Autoencoding:
    """A learner whose player ``net`` is an :class:`~limner.networks.autoencoder.Autoencoder`.

    The leaf has ``name``, as sentences call it, ``options`` with ``latents``, ``sampler`` and ``classes``, the template
    ``_net``, and says how latents are decoded.
    """

    name: str
    answers = ("sample", "reconstruct", "features")
    image_shape: tuple[int, int, int]
    options: dict[str, Any]
    _net: Template

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(n, c, h, w)`` in [0, 1] of ``latents (n, latents)``, as they are shown."""
        raise NotImplementedError

    def encode(self, params: Params, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), ``(n, latents)`` each, of ``images`` in [0, 1]; can be differentiated.

        Raises :class:`LimnerError` where it has classes and ``labels (n,)`` are missing.
        """
        if (labels is None) != (self.options["classes"] < 2):
            raise LimnerError(
                f"a {self.name} with classes sees an image beside its label; give labels"
                if labels is None
                else f"this {self.name} was trained without classes; leave labels out"
            )
        found: tuple[Tensor, Tensor] = self._net(params, images, labels, method="encode")
        return found

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, reconstructions or features (posterior means), without gradients; of the classes
        ``request.labels`` (samples: of all classes in turn where there are none)."""
        with torch.no_grad():
            if request.what == "sample":
                labels = asked_labels(request, self.options["classes"], self.name, generator.device)
                shape = (request.count, self.options["latents"])
                latents = torch.randn(shape, generator=generator, device=generator.device)
                return self._decoded(params, sampler_of(params).place(latents, generator), labels)
            if request.images is None or request.what not in self.answers:
                raise LimnerError(
                    f"a {self.name} cannot answer {request.what!r} here; ask it for samples, or give images"
                )
            if request.labels is not None:
                shown = replace(request, count=len(request.images))
                asked_labels(shown, self.options["classes"], self.name, generator.device)
            mean, _ = self.encode(params, request.images, request.labels)
            return mean if request.what == "features" else self._decoded(params, mean, request.labels)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Fits the sampler to the posterior of the batch: keys ``fitted.*``; nothing for ``sampler="prior"``."""
        if self.options["sampler"] == "prior":
            return params
        means, log_variances = self._posterior(params, batch)
        return {**params, **SAMPLERS[self.options["sampler"]](means, log_variances.exp(), generator)}

    def _posterior(self, params: Params, batch: Batch) -> tuple[Tensor, Tensor]:
        """Means and log variances of q(z|x) of a batch of any size, without gradients."""
        labels = learned_labels(batch, self.options["classes"], self.name)
        places = range(0, len(batch["images"]), TOGETHER)
        with torch.no_grad():
            found = [self.encode(params, batch["images"][at : at + TOGETHER], _part(labels, at)) for at in places]
        means, log_variances = zip(*found, strict=True)
        return torch.cat(means), torch.cat(log_variances)

    def _decoded(self, params: Params, latents: Tensor, labels: Tensor | None) -> Tensor:
        places = range(0, len(latents), TOGETHER)
        images = [self.decode(params, latents[at : at + TOGETHER], _part(labels, at)) for at in places]
        return torch.cat(images) if images else torch.empty(0, *self.image_shape)


def _part(labels: Tensor | None, begin: int) -> Tensor | None:
    return None if labels is None else labels[begin : begin + TOGETHER]
