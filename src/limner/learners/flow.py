"""Flow matching: noise carried to images along a learned velocity, the modern yardstick beside VAEs and GANs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.checks import check_words
from limner.learners.labels import asked_labels, learned_labels
from limner.networks import Template
from limner.networks.unet import TimedUNet
from limner.objectives.flow import INTEGRATORS, flow_matching, integrate
from limner.types import Batch, Draws, Loss, Params, Request


class Flow:
    """Flow matching on straight lines (Lipman et al. 2023; rectified flow, Liu et al. 2023), with a small U-Net.

    Its one player ``net`` minimises E ‖v(x_t, t) − (x₁ − x₀)‖², with x₁ an image in [−1, 1], x₀ ~ N(0, 1), t uniform in
    [0, 1] and x_t = (1 − t)·x₀ + t·x₁. A sample is noise carried by dx/dt = v(x, t) from t = 0 to 1.

    width              channels of the U-Net's larger side; twice as many at the smaller
    integrator         ``euler`` or ``heun`` (twice the work a step)
    integration_steps  how many steps a sample takes
    classes            1, or how many: then the velocity is given the label

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
        self.image_shape = image_shape
        self.options: dict[str, Any] = {
            "width": width, "integrator": integrator, "integration_steps": integration_steps, "classes": classes
        }  # fmt: skip
        self._net = Template("net", lambda: TimedUNet(image_shape, width, classes))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """``noise``: x₀, of the images' shape; ``times``: t, ``(n,)``, each uniform in [0, 1], spread evenly over a
        batch (one draw shifts equal spacings), which takes noise from the loss."""
        count, device = len(batch["images"]), generator.device
        noise = torch.randn(batch["images"].shape, generator=generator, device=device)
        shift = torch.rand(1, generator=generator, device=device)
        times = (shift + torch.randperm(count, generator=generator, device=device) / count) % 1
        return {"noise": noise, "times": times}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """The mean squared error of the velocity, over pixels and batch."""
        labels = learned_labels(batch, self.options["classes"], "flow")

        def velocity(points: Tensor, times: Tensor) -> Tensor:
            return self._net(params, points, times, labels)  # type: ignore[no-any-return]

        value = flow_matching(velocity, draws["noise"], 2 * batch["images"] - 1, draws["times"])
        return Loss(value, {"velocity": value})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """Samples, without gradients; of the classes ``request.labels``, or of all classes in turn."""
        if request.what != "sample":
            raise LimnerError(f"a flow cannot answer {request.what!r}; ask it for samples")
        labels = asked_labels(request, self.options["classes"], "flow", generator.device)
        noise = torch.randn((request.count, *self.image_shape), generator=generator, device=generator.device)
        with torch.no_grad():
            parts = [self._carry(params, noise[at : at + 256], labels, at) for at in range(0, len(noise), 256)]
        return torch.cat(parts) if parts else torch.empty(0, *self.image_shape)

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params

    def _carry(self, params: Params, noise: Tensor, labels: Tensor | None, begin: int) -> Tensor:
        part = None if labels is None else labels[begin : begin + 256]

        def velocity(points: Tensor, times: Tensor) -> Tensor:
            return self._net(params, points, times, part)  # type: ignore[no-any-return]

        images = integrate(velocity, noise, self.options["integrator"], self.options["integration_steps"])
        return (0.5 * images + 0.5).clamp(0, 1)
