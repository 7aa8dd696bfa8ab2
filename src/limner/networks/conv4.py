"""Conv4: the four-block network of the few-shot literature, so that published results can be compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError


class BatchStatistics(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) by the batch at hand, in training and in use; nothing is stored.

    So it is a pure function, but what one image gives depends on the others beside it: predictions are transductive,
    as in the MAML paper. Maps ``(n, c, h, w)`` to the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """``(n, c, h, w)``, normalised channel by channel."""
        return functional.batch_norm(maps, None, None, self.weight, self.bias, training=True)


class Conv4(nn.Module):
    """Four blocks of 3×3 convolution, normalisation, 2×2 max pooling and ReLU (Vinyals et al. 2016).

    Pooling comes before ReLU here: the order changes nothing, but leaves ReLU a quarter of the numbers and the graph
    one map less.

    normalisation  ``batch``: by the statistics of the batch at hand; ``group``: GroupNorm, image by image

    >>> Conv4((1, 28, 28), width=8, normalisation="batch")(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 8])
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, normalisation: str) -> None:
        super().__init__()
        channels, height, side = image_shape
        if min(height, side) < 16:
            raise LimnerError(f"images of {height}×{side} pixels are too small for Conv4; give at least 16×16")
        layers: list[nn.Module] = []
        for before in (channels, width, width, width):
            layers.append(nn.Conv2d(before, width, 3, padding=1))
            layers.append(BatchStatistics(width) if normalisation == "batch" else nn.GroupNorm(1, width))
            layers += [nn.MaxPool2d(2), nn.ReLU()]
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.body = nn.Sequential(*layers)
        self.features = width * (height // 16) * (side // 16)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, features)``."""
        return self.body(images).flatten(1)  # type: ignore[no-any-return]
