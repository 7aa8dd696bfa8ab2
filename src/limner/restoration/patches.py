"""Denoising by like patches, wherever in the image they lie; by the libraries that do it best."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.restoration.base import Knowledge, check, only_noise
from limner.restoration.colour import each_array, from_opponent, opponent


@dataclass(frozen=True)
class NonLocalMeans:
    """Each pixel the mean of those around it, weighed by how alike their patches are (Buades, Coll and Morel 2005).

    By scikit-image: weights exp(−max(d² − 2σ², 0) / h²), d² the mean square difference of two patches, h =
    ``strength`` · σ (the form of Buades et al. 2011); ``patch`` (a side) and ``distance`` (to the furthest) in pixels.
    Colours are compared together.
    """

    strength: float = 0.7
    patch: int = 5
    distance: int = 6
    name = "non-local-means"

    @property
    def reach(self) -> int:
        """How many pixels away anything counts for a pixel: the furthest patch's rim."""
        return self.distance + self.patch // 2

    def handles(self, knowledge: Knowledge) -> str:
        """Noise of known strength, nothing else."""
        return only_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The means; nothing is random."""
        from skimage.restoration import denoise_nl_means

        check(self, images, knowledge)
        noise = knowledge.noise
        assert noise is not None
        if noise == 0:
            return images.clone()
        # for too small an image the library reads beyond its border, which is continued here
        short = max(0, self.patch + 1 - min(images.shape[2:]))
        wider = torch.nn.functional.pad(images, (0, short, 0, short), mode="replicate")

        def means(image: Any) -> Any:
            return denoise_nl_means(
                image,
                patch_size=self.patch,
                patch_distance=self.distance,
                h=self.strength * noise,
                sigma=noise,
                fast_mode=True,
                channel_axis=None if image.ndim == 2 else -1,
            )

        return each_array(wider, means)[:, :, : images.shape[2], : images.shape[3]]


@dataclass(frozen=True)
class BM3D:
    """Like patches stacked, transformed and shrunk together, twice (Dabov et al. 2007; Mäkinen, Azzari and Foi 2020).

    By the authors' library, in colour in opponent space, patches being matched by lightness. It is free for
    non-commercial use only, and not installed with Limner: ``pip install "limner[bm3d]"`` adds it.
    """

    name = "bm3d"

    def handles(self, knowledge: Knowledge) -> str:
        """Noise of known strength, nothing else, where the library is there."""
        if find_spec("bm3d") is None:
            return (
                "bm3d needs its authors' library, which is free for non-commercial use only and not installed; add it "
                'by pip install "limner[bm3d]"'
            )
        return only_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The estimates; nothing is random. Raises :class:`LimnerError` for images under 8 pixels."""
        check(self, images, knowledge)
        import bm3d

        noise = knowledge.noise
        if min(images.shape[2:]) < 8:
            raise LimnerError("bm3d works on patches of 8×8, and an image is smaller; use another method")
        if noise == 0:
            return images.clone()

        def estimate(image: Any) -> Any:
            return bm3d.bm3d(image, noise).reshape(image.shape)

        return from_opponent(each_array(opponent(images), estimate))
