"""The restorers that come with Limner, trained on images that come with it (``tools/train_restorer.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from limner.learners import rebuild
from limner.learners.restorer import Restorer as Network
from limner.model_file import decode
from limner.restoration.base import Knowledge, only_noise
from limner.restoration.trained import Trained

DATA = Path(__file__).resolve().parent.parent / "data"


@dataclass(frozen=True)
class Starter:
    """A small U-Net that learned to mend noise of several kinds, mild blur and JPEG, of any strength, untold.

    It takes grey images and such in colour, of any size. Lost pixels and strong blur it does not mend. ``blind``: it is
    told nothing, also as a prior.

    >>> images = torch.full((1, 1, 24, 32), 0.5)
    >>> Starter().restore(images, Knowledge(), torch.Generator()).shape
    torch.Size([1, 1, 24, 32])
    """

    name = "starter"
    blind = True

    @property
    def reach(self) -> int:
        """How many pixels to each side a restored pixel depends on, at most."""
        return network("restorer").reach

    def handles(self, knowledge: Knowledge) -> str:
        """Everything but lost pixels and known operators."""
        if knowledge.operator is None and knowledge.mask is None:
            return ""
        return "starter mends noise, mild blur and JPEG, not lost pixels or a known blur; use plug-and-play for these"

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The images mended; nothing is random."""
        return network("restorer").restore(images, knowledge, generator)


@dataclass(frozen=True)
class Denoiser:
    """A small U-Net that takes away white noise of known strength, up to 60 on the scale 0–255: plug-and-play's prior.

    Zhang et al. 2021 (DPIR, section 3) tell why a prior should be told the strength, and why such a network is one.

    >>> Denoiser().restore(torch.full((1, 3, 24, 32), 0.5), Knowledge(noise=0.1), torch.Generator()).shape
    torch.Size([1, 3, 24, 32])
    """

    name = "denoiser"

    @property
    def reach(self) -> int:
        """How many pixels to each side a restored pixel depends on, at most."""
        return network("denoiser").reach

    def handles(self, knowledge: Knowledge) -> str:
        """Noise of known strength, nothing else."""
        return only_noise(self.name, knowledge)

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The images mended; nothing is random."""
        return network("denoiser").restore(images, knowledge, generator)


@cache
def network(name: str) -> Trained:
    """A network with its parameters, in single precision."""
    model = decode((DATA / f"{name}.safetensors").read_bytes(), f"the {name} that comes with Limner")
    learner = rebuild(model.learner_description)
    assert isinstance(learner, Network)
    return Trained(learner, {key: value.float() for key, value in model.params.items()}, name)
