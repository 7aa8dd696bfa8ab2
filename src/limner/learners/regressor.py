"""A regressor: numbers from numbers, the yardstick of gradient meta-learning."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError
from limner.networks import Template
from limner.types import Batch, Draws, Loss, Params, Request


class Regressor:
    """A multilayer perceptron with ReLU, trained by the mean squared error; 1 → 40 → 40 → 1 is that of the MAML paper
    (Finn et al. 2017, section 5.1).

    It learns ``targets`` from ``inputs``; of an image set, each image's label, as a number, from its pixels.

    outputs  numbers to predict
    width    units of each hidden layer
    depth    hidden layers

    >>> regressor = Regressor((1, 1, 1))
    >>> request = Request("values", images=torch.zeros(5, 1))
    >>> regressor.predict(regressor.init(seed=0), request, torch.Generator()).shape
    torch.Size([5, 1])
    """

    kind = "regressor"
    players = ("net",)
    answers = ("values",)

    def __init__(self, image_shape: tuple[int, int, int], outputs: int = 1, width: int = 40, depth: int = 2) -> None:
        self.image_shape = image_shape
        self.options: dict[str, Any] = {"outputs": outputs, "width": width, "depth": depth}
        channels, height, side = image_shape
        sizes = [channels * height * side, *[width] * depth, outputs]
        self._net = Template("net", lambda: _perceptron(sizes))

    def init(self, seed: int) -> Params:
        """Fresh parameters ``net.*``."""
        return self._net.init(seed)

    def draw(self, batch: Batch, generator: torch.Generator) -> Draws:
        """Nothing random happens in a step."""
        return {}

    def loss(self, player: str, params: Params, batch: Batch, draws: Draws) -> Loss:
        """Mean over points and outputs of (prediction − target)²; term ``squared_error``."""
        inputs = batch["inputs"] if "inputs" in batch else batch["images"]
        if "targets" not in batch and "labels" not in batch:
            raise LimnerError("a regressor learns from targets; give points, or images with labels")
        targets = batch["targets"] if "targets" in batch else batch["labels"].to(inputs.dtype)[:, None]
        value = functional.mse_loss(self._net(params, inputs.flatten(1)), targets)
        return Loss(value, {"squared_error": value})

    def predict(self, params: Params, request: Request, generator: torch.Generator) -> Tensor:
        """``values`` ``(n, outputs)`` for inputs ``(n, features)`` or images, without gradients."""
        if request.what != "values" or request.images is None:
            raise LimnerError(f"a regressor cannot answer {request.what!r}; give it inputs, ask for values")
        with torch.no_grad():
            return self._net(params, request.images.flatten(1))  # type: ignore[no-any-return]

    def finish(self, params: Params, batch: Batch, generator: torch.Generator) -> Params:
        """Nothing is fitted afterwards."""
        return params


def _perceptron(sizes: list[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
