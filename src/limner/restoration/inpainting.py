"""Lost pixels filled in smoothly from those around them: the baseline of inpainting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.restoration.base import Knowledge, check


@dataclass(frozen=True)
class Biharmonic:
    """Lost pixels such that Δ²u = 0 in them, what was seen being kept (Damelin and Hoang 2018), by scikit-image.

    Each channel is filled in by itself. Noise stays as it is.
    """

    name = "biharmonic"

    def handles(self, knowledge: Knowledge) -> str:
        """A mask and nothing else."""
        if knowledge.operator is not None or knowledge.mask is None:
            return f"{self.name} only fills in lost pixels; give a mask of those that were seen, or use plug-and-play"
        return ""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The images filled in; nothing is random. Raises :class:`LimnerError` where a channel has no pixel left."""
        from skimage.restoration import inpaint_biharmonic

        check(self, images, knowledge)
        assert knowledge.mask is not None
        mask = knowledge.mask.to(images.device).bool().expand_as(images)
        if not bool(mask.flatten(2).any(2).all()):
            raise LimnerError("an image has lost all its pixels, so there is nothing to fill it in from; leave it out")
        channels, seen = images.flatten(0, 1).double().cpu().numpy(), mask.flatten(0, 1).cpu().numpy()
        made = [
            torch.from_numpy(inpaint_biharmonic(channel, ~kept, split_into_regions=False))
            for channel, kept in zip(channels, seen, strict=True)
        ]
        filled = torch.stack(made).view(images.shape).to(images)
        return torch.where(mask, images, filled)
