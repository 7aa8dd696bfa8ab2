"""Multilayer perceptrons as in the first generative adversarial network (Goodfellow et al. 2014, section 5).

They take images of any shape, and so points too: an "image" of shape (1, 1, 2) is a point of the plane.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from limner.errors import LimnerError
from limner.networks.convolutional import scale_weights

UNITS = 16
"""Units of a hidden layer for each of a network's ``width``, so that one width serves every kind of network."""


SHARPNESS = 20.0
"""How much steeper a critic's first layer is for a single number than He's initialisation has it."""


def _spread(layer: nn.Module) -> None:
    """Have each unit bend at a random point of the unit cube, the more sharply the fewer numbers an input has.

    With zero biases all units bend at the origin, which is a corner of where images lie. Among hundreds of pixels that
    does not matter; points of the plane are then seen by nearly straight functions, which cannot tell near ones apart.
    """
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.mul_(1 + SHARPNESS / layer.in_features)
        layer.bias.copy_(-(layer.weight * torch.rand_like(layer.weight)).sum(1))


def _check(image_shape: tuple[int, int, int]) -> None:
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise LimnerError(f"images of shape {image_shape} are none; give (channels, height, width), each from 1")


class PerceptronGenerator(nn.Module):
    """Latents ``(n, inputs)`` to image maps ``(n, c, h, w)``, unbounded, by two hidden layers of 16·width units.

    >>> import torch
    >>> PerceptronGenerator((1, 1, 2), inputs=4, width=2)(torch.zeros(3, 4)).shape
    torch.Size([3, 1, 1, 2])
    """

    def __init__(self, image_shape: tuple[int, int, int], inputs: int, width: int) -> None:
        super().__init__()
        _check(image_shape)
        units = UNITS * width
        layers = [nn.Linear(inputs, units), nn.SiLU(), nn.Linear(units, units), nn.SiLU()]
        scale_weights(layers)
        self.body = nn.Sequential(*layers, nn.Linear(units, math.prod(image_shape)))
        self.image_shape = image_shape

    def forward(self, latents: Tensor) -> Tensor:
        """``(n, inputs)`` to ``(n, c, h, w)``."""
        return self.body(latents).unflatten(1, self.image_shape)  # type: ignore[no-any-return]


class PerceptronBody(nn.Sequential):
    """Images ``(n, c, h, w)`` to features ``(n, 16·width)`` by two hidden layers.

    >>> import torch
    >>> PerceptronBody((1, 1, 2), width=2)(torch.zeros(3, 1, 1, 2)).shape
    torch.Size([3, 32])
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int) -> None:
        _check(image_shape)
        self.features = UNITS * width
        layers = [nn.Linear(math.prod(image_shape), self.features), nn.SiLU(),
                  nn.Linear(self.features, self.features), nn.SiLU()]  # fmt: skip
        scale_weights(layers)
        _spread(layers[0])
        super().__init__(nn.Flatten(), *layers)
