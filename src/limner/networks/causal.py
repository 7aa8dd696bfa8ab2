"""A causal network over a map: what stands at a place depends only on the places read before it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from limner.networks.critic import one_hot


def down(maps: Tensor) -> Tensor:
    """``(n, c, h, w)`` moved down by a row, zeros above: each row holds what stood over it."""
    return functional.pad(maps, (0, 0, 1, 0))[:, :, :-1]


def right(maps: Tensor) -> Tensor:
    """``(n, c, h, w)`` moved right by a column: each place holds what stood to its left."""
    return functional.pad(maps, (1, 0, 0, 0))[:, :, :, :-1]


class Causal(nn.Module):
    """Maps ``(n, channels, s, s)`` to logits ``(n, outputs, s, s)``, each place from those read before it: the rows
    above, and its own row's left.

    Gated PixelCNN's two stacks (van den Oord et al. 2016, section 2.2), which have no blind spot: one sees whole
    rows above, the other the row to the left and what the first tells it. Convolutions masked by padding on one
    side alone; no normalisation, which would look at all places.

    >>> import torch
    >>> Causal(channels=3, outputs=5, width=8)(torch.zeros(2, 3, 7, 7), None).shape
    torch.Size([2, 5, 7, 7])
    """

    def __init__(self, channels: int, outputs: int, width: int, classes: int = 1, blocks: int = 4) -> None:
        super().__init__()
        self.classes = classes
        sizes = [channels] + blocks * [width]
        self.above = nn.ModuleList([nn.Conv2d(size, width, (3, 5)) for size in sizes])
        self.left = nn.ModuleList([nn.Conv2d(size, width, (1, 3)) for size in sizes])
        self.tell = nn.ModuleList([nn.Conv2d(width, width, 1) for _ in sizes])
        if classes > 1:
            self.label = nn.Linear(classes, width, bias=False)
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, outputs, 1))

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """``(n, outputs, s, s)``; ``labels (n,)`` are ``None`` for a network without classes."""
        rows, row = self._rows(0, maps), self._row(0, right(maps))
        row = row + self.tell[0](down(rows))
        if labels is not None:
            row = row + self.label(one_hot(labels, self.classes, maps))[:, :, None, None]
        for index in range(1, len(self.above)):
            rows = rows + self._rows(index, functional.silu(rows))
            row = row + self._row(index, functional.silu(row)) + self.tell[index](down(functional.silu(rows)))
        return self.head(row)  # type: ignore[no-any-return]

    def _rows(self, index: int, maps: Tensor) -> Tensor:
        return self.above[index](functional.pad(maps, (2, 2, 2, 0)))  # type: ignore[no-any-return]

    def _row(self, index: int, maps: Tensor) -> Tensor:
        return self.left[index](functional.pad(maps, (2, 0, 0, 0)))  # type: ignore[no-any-return]
