"""Flow matching: noise carried to images along a learned velocity, the modern yardstick beside VAEs and GANs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.checks import check_latents, check_words
from limner.learners.labels import asked_labels, decoded_labels, learned_labels
from limner.networks import Template
from limner.networks.unet import TimedUNet
from limner.objectives.flow import INTEGRATORS, Velocity, drawn, flow_matching, integrate
from limner.types import Batch, Draws, Loss, Params, Request


class Flow:
    """Flow matching on straight lines (Lipman et al. 2023; rectified flow, Liu et al. 2023), with a small U-Net.

    Its one player ``net`` minimises E ‖v(x_t, t) − (x₁ − x₀)‖², with x₁ an image in [−1, 1], x₀ ~ N(0, 1), t uniform in
    [0, 1] and x_t = (1 − t)·x₀ + t·x₁. A sample is noise carried by dx/dt = v(x, t) from t = 0 to 1.

    width              channels of the U-Net's larger side; twice as many at the smaller
    integrator         ``euler`` or ``heun`` (twice the work a step)
    integration_steps  how many steps a sample takes
    classes            1, or how many: then the velocity is given the label

    Its latents are the noise itself; each image has one, found by going the same way back.

    >>> flow = Flow((1, 16, 16), width=4, integration_steps=2)
    >>> flow.predict(flow.init(seed=0), Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 16, 16])
    """

    kind = "flow"
    players = ("net",)
    answers = ("sample",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 32,
        integrator: str = "heun",
        integration_steps: int = 12,
        classes: int = 1,
    ) -> None:
        check_words("flow", integrator=(integrator, INTEGRATORS))
        self.image_shape = self.latent_shape = image_shape
        self.options: dict[str, Any] = {
            "width": width, "integrator": integrator, "integration_steps": integration_steps, "classes": classes
        }  # fmt: skip
        self._net = Template("net", lambda: TimedUNet(image_shape, width, classes))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``noise`` and ``times``, see :func:`limner.objectives.flow.drawn`."""
        return drawn(batch["images"], generator)

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The mean squared error of the velocity, over pixels and batch."""
        labels = learned_labels(batch, self.options["classes"], "flow")
        value = flow_matching(self._velocity(params, labels), draws["noise"], 2 * batch["images"] - 1, draws["times"])
        return Loss(value, {"velocity": value})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, without gradients; of the classes ``request.labels``, or of all classes in turn."""
        if request.what != "sample":
            raise LimnerError(f"a flow cannot answer {request.what!r}; ask it for samples")
        labels = asked_labels(request, self.options["classes"], "flow", generator.device)
        noise = torch.randn((request.count, *self.image_shape), generator=generator, device=generator.device)
        with torch.no_grad():
            parts = [
                self._carry(params, noise[at : at + 256], None if labels is None else labels[at : at + 256])
                for at in range(0, len(noise), 256)
            ]
        return torch.cat(parts) if parts else torch.empty(0, *self.image_shape)

    def decode(self, params: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images in [0, 1] that noise ``(n, c·h·w)`` is carried to, ``(n, c, h, w)``; can be differentiated.

        Raises :class:`LimnerError` for latents of the wrong length.
        """
        check_latents("flow", latents, math.prod(self.image_shape))
        labels = decoded_labels(latents, labels, self.options["classes"], "flow")
        return self._carry(params, latents.reshape(-1, *self.image_shape), labels)

    def encode(self, params: Params, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The noise ``(n, c·h·w)`` that is carried to ``images``, by following dx/dt = v(x, t) from t = 1 back to 0,
        and the log variance of it: −∞, as nothing here is random. Exact as far as the integrator is."""
        labels = decoded_labels(images, labels, self.options["classes"], "flow")
        velocity = self._velocity(params, labels)

        def backwards(points: Tensor, times: Tensor) -> Tensor:
            return -velocity(points, 1 - times)

        options = self.options
        noise = integrate(backwards, 2 * images - 1, options["integrator"], options["integration_steps"]).flatten(1)
        return noise, torch.full_like(noise, -torch.inf)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params

    def _velocity(self, params: Params, labels: Tensor | None) -> Velocity:
        return lambda points, times: self._net(params, points, times, labels)

    def _carry(self, params: Params, noise: Tensor, labels: Tensor | None) -> Tensor:
        options = self.options
        images = integrate(self._velocity(params, labels), noise, options["integrator"], options["integration_steps"])
        return (0.5 * images + 0.5).clamp(0, 1)
