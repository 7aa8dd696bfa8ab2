"""A restorer that Limner trained, behind the contract of all restorers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.learners.restorer import Restorer as Network
from limner.learners.restorer import noise_of
from limner.networks.restorers import TOLD
from limner.objectives.lost import LOST, filled
from limner.restoration.base import Knowledge, check
from limner.types import Params

if TYPE_CHECKING:
    from limner.engine import Run

_TOGETHER = 2**20


@dataclass(frozen=True, eq=False)
class Trained:
    """A network that learned from damaged and clean images (:class:`limner.learners.Restorer`).

    It takes damage for such as it learned from: of what is known the noise is told to it where it asks
    (:data:`limner.networks.restorers.TOLD`), and lost pixels where it learned to fill them in; without noise, what was
    seen is then kept exactly. A network for grey images mends colours one by one; one for colour takes
    grey as three alike.

    learner, params  of the run
    name             what to call it
    learned          what it learned from, a data spec

    >>> learner = Network((1, 16, 16), width=4, depth=3)
    >>> restorer = Trained(learner, learner.init(0), "run")
    >>> restorer.restore(torch.zeros(1, 3, 20, 30), Knowledge(), torch.Generator()).shape, restorer.reach
    (torch.Size([1, 3, 20, 30]), 3)
    """

    learner: Network
    params: Params
    name: str
    learned: str = ""

    @classmethod
    def of(cls, run: Run) -> Trained:
        """The restorer of a run of ``train restorer`` or ``adapt restore``. Raises :class:`LimnerError` for others."""
        if not isinstance(run.learner, Network):
            raise LimnerError(
                f"{run.task_name} is a run of the learner {run.learner.kind}, which does not restore; give one of "
                "limner train restorer, or of limner adapt restore"
            )
        return cls(run.learner, run.params, f"run {run.id}", run.source)

    @property
    def reach(self) -> int:
        """How many pixels to each side a restored pixel depends on, at most."""
        return self.learner.reach

    @property
    def blind(self) -> bool:
        """Whether it finds out how strong the noise is by itself."""
        return self.learner.options["network"] not in TOLD

    def handles(self, knowledge: Knowledge) -> str:
        """Everything that leaves images as large as they were."""
        operator = knowledge.operator
        if operator is not None and operator.shape != operator.result:
            return f"{self.name} leaves images as large as they are; enlarge them first, or use plug-and-play"
        return ""

    def restore(self, images: Tensor, knowledge: Knowledge, generator: torch.Generator) -> Tensor:
        """The images mended; nothing is random."""
        check(self, images, knowledge)
        wanted, given = self.learner.image_shape[0], images.shape[1]
        apart = self._apart(images)
        levels = self._levels(knowledge, images, apart)
        params = {name: value.to(images) for name, value in self.params.items()}
        together = max(1, _TOGETHER // (images.shape[2] * images.shape[3]))
        batches = torch.split(apart, together)
        told = [None] * len(batches) if levels is None else torch.split(levels, together)
        with torch.no_grad():
            parts = [self.learner.restored(params, part, level) for part, level in zip(batches, told, strict=True)]
        found = torch.cat(parts)
        made = found.view(images.shape) if wanted == 1 else found if given == wanted else found.mean(1, keepdim=True)
        if self.learner.fills and knowledge.mask is not None and knowledge.noise == 0:
            return torch.where(knowledge.mask.to(images) > 0, images, made)
        return made

    def _apart(self, images: Tensor) -> Tensor:
        """As the network takes them: colours one by one, or grey as so many alike."""
        wanted = self.learner.image_shape[0]
        return images.flatten(0, 1)[:, None] if wanted == 1 else images.expand(-1, wanted, -1, -1)

    def _levels(self, knowledge: Knowledge, images: Tensor, apart: Tensor) -> Tensor | None:
        """What the network is told of the noise of each of ``apart``: one number, or one for each pixel; ``None`` where
        nothing is known, which it estimates by itself."""
        noise, mask = knowledge.noise, knowledge.mask
        if not self.learner.fills or mask is None:
            return None if noise is None else images.new_full((len(apart),), noise)
        lost = self._apart(mask.to(images).expand_as(images)).amin(1, keepdim=True) == 0
        levels = noise_of(filled(apart, lost)) if noise is None else images.new_full((len(apart),), noise)
        return torch.where(lost, LOST, levels[:, None, None, None])
