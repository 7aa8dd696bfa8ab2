"""The amortised answer by flow matching: noise carried to images along a velocity that has read the shots."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.checks import check_words
from limner.learners.sets import kept_code, together, with_code
from limner.networks import Template
from limner.networks.set_encoder import POOLINGS, random_contexts
from limner.networks.set_unet import SetVelocity
from limner.objectives.flow import INTEGRATORS, drawn, flow_matching, integrate
from limner.types import Batch, Draws, Loss, Params, Request


class SetFlow:
    """Flow matching conditioned on a set: given 1 or more images it makes others of their kind without a training step.

    As :class:`~limner.learners.flow.Flow`, with a velocity that is also given the code of a set (Giannone, Nielsen &
    Winther 2022, Few-Shot Diffusion Models, there for diffusion). Its one player ``net`` minimises

        E ‖v(x_t, t, cᵢ) − (xᵢ − x₀)‖²,  cᵢ = f(Sᵢ), xᵢ ∉ Sᵢ

    where each image's set is a random part of the others in its batch, which holds one class. A batch of one image is
    its own set. ``finish`` keeps the code of all images it is given; further training on the shots refines it.

    width              channels of the U-Net's larger side; twice as many at the smaller, half as many in the encoder
    code               numbers in a token of the code
    pooling            ``mean``: one token, the mean over images. ``attention``: four tokens, each a learned query over
                       all places of all images; every place of the U-Net's smaller side then looks at all tokens
    integrator         ``euler`` or ``heun`` (twice the work a step)
    integration_steps  how many steps a sample takes

    >>> learner = SetFlow((1, 16, 16), width=4, integration_steps=2)
    >>> params = learner.finish(learner.init(seed=0), {"images": torch.zeros(3, 1, 16, 16)}, torch.Generator())
    >>> learner.predict(params, Request("sample", count=2), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 16, 16])
    """

    kind = "set-flow"
    players = ("net",)
    answers = ("sample",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 32,
        code: int = 64,
        pooling: str = "attention",
        integrator: str = "heun",
        integration_steps: int = 12,
    ) -> None:
        check_words("set-flow", integrator=(integrator, INTEGRATORS), pooling=(pooling, POOLINGS))
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "width": width, "code": code, "pooling": pooling, "integrator": integrator,
            "integration_steps": integration_steps
        }  # fmt: skip
        self._net = Template("net", lambda: SetVelocity(image_shape, width, code, pooling))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``noise`` and ``times``, see :func:`limner.objectives.flow.drawn`; ``context``: which others each image's set
        is of, ``(n, n)``."""
        return drawn(batch["images"], generator) | {"context": random_contexts(len(batch["images"]), generator)}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The mean squared error of the velocity, over pixels and batch."""
        code = self._net(params, batch["images"], draws["context"], method="code")

        def velocity(points: Tensor, times: Tensor) -> Tensor:
            return self._net(params, points, times, code)  # type: ignore[no-any-return]

        value = flow_matching(velocity, draws["noise"], 2 * batch["images"] - 1, draws["times"])
        return Loss(value, {"velocity": value})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples like the set kept by ``finish``, without gradients."""
        if request.what != "sample":
            raise LimnerError(f"a set-flow cannot answer {request.what!r}; ask it for samples")
        kept_code(params, 0, self.kind)  # tells that none is kept, however few samples are asked for
        noise = torch.randn((request.count, *self.image_shape), generator=generator, device=generator.device)
        with torch.no_grad():
            parts = [self._carry(params, part) for part in together(noise)]
        return torch.cat(parts) if parts else noise

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Keeps the code of all images of the batch, ``fitted.code``."""
        return with_code(self._net, params, batch["images"])

    def _carry(self, params: Params, noise: Tensor) -> Tensor:
        code = kept_code(params, len(noise), self.kind)

        def velocity(points: Tensor, times: Tensor) -> Tensor:
            return self._net(params, points, times, code)  # type: ignore[no-any-return]

        images = integrate(velocity, noise, self.options["integrator"], self.options["integration_steps"])
        return (0.5 * images + 0.5).clamp(0, 1)
