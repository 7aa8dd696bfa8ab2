"""A few small pictures of a task's images: for the map of tasks, and for advisers that look at images themselves."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SIDE, MOST = 16, 16
"""Pixels across and down of a thumbnail, and how many are kept of a task."""


def thumbnails(images: Any) -> str:
    """The first :data:`MOST` of ``images``, uint8 ``(n, 1 or 3, h, w)``, each the mean over areas, side by side in one
    PNG as base64 text; empty for what is no such images, as a table's rows are none.

    >>> import torch
    >>> strip = thumbnails(torch.full((20, 1, 28, 30), 7, dtype=torch.uint8))
    >>> tuple(pictures(strip).shape), pictures(strip).unique().tolist(), thumbnails(torch.zeros(3, 2))
    ((16, 1, 16, 16), [7], '')
    """
    import torch
    from PIL import Image
    from torch.nn.functional import adaptive_avg_pool2d

    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
        return ""
    if images.shape[1] not in (1, 3) or not len(images):
        return ""
    small = adaptive_avg_pool2d(images[:MOST].float(), (SIDE, SIDE)).round().to(torch.uint8)
    strip = small.permute(2, 0, 3, 1).reshape(SIDE, -1, small.shape[1]).numpy()
    buffer = io.BytesIO()
    Image.fromarray(strip[:, :, 0] if strip.shape[2] == 1 else strip).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def pictures(strip: str) -> Tensor:
    """What :func:`thumbnails` made a text of: uint8 ``(n, 1 or 3, SIDE, SIDE)``."""
    import numpy as np
    import torch
    from PIL import Image

    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(strip)))))
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return pixels.reshape(SIDE, -1, SIDE, pixels.shape[2]).permute(1, 3, 0, 2).contiguous()
