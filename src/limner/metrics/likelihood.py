"""How likely held-out images are to a model: negative log likelihood by importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.objectives.variational import importance_bound
from limner.seeds import generator
from limner.types import Batch, Params, Score


@runtime_checkable
class Weighted(Protocol):
    """A learner whose likelihood can be bounded by importance sampling."""

    def log_weights(self, params: Params, batch: Batch, generator: torch.Generator, count: int) -> Tensor:
        """log wₖ = log p(x|zₖ) + log p(zₖ) − log q(zₖ|x), ``(count, n)``, with zₖ ~ q(z|x)."""


@dataclass(frozen=True)
class Likelihood:
    """−log p(x) of images, in nats for one image and in bits for one number of it, each with a 95% interval.

    ``samples`` is K: what is told is an upper bound on average, the tighter the larger K. ``note`` says what the bits
    are of, and in which density.
    """

    nats: Score
    bits: Score
    samples: int
    note: str

    def told(self) -> str:
        """One sentence.

        >>> Likelihood(Score(80.0, 79.0, 81.0), Score(0.147), 9, "ink or paper").told()
        'negative log likelihood 80.0 nats for one image [79.0, 81.0], 0.147 bits per dimension; K = 9, ink or paper'
        """
        low, high = self.nats.low, self.nats.high
        interval = "" if low is None or high is None else f" [{low:.1f}, {high:.1f}]"
        return (
            f"negative log likelihood {self.nats.value:.1f} nats for one image{interval}, "
            f"{self.bits.value:.3f} bits per dimension; K = {self.samples}, {self.note}"
        )


NOTES: dict[str, tuple[float, str]] = {
    "bernoulli": (0.0, "pixels as ink or paper, grey values as expectations"),
    "gaussian": (8.0, "a density, whose bits are counted for steps of 1/256"),
    "logistic": (0.0, "the probability of 256 levels"),
}
"""By likelihood: bits to add for each number, so that a density over [0, 1] counts as one over 256 levels; a note."""


def negative_log_likelihood(
    learner: Weighted, params: Params, batch: Batch, *, samples: int = 100, seed: int = 0, likelihood: str = "bernoulli"
) -> Likelihood:
    """−log (1/K) Σₖ p(x|zₖ)·p(zₖ)/q(zₖ|x) of each image, with K = ``samples`` (Burda et al. 2016, eq. 8), averaged.

    ``batch`` holds ``images`` (and ``labels`` where the learner has classes) that it has not learned from.
    ``likelihood`` is that of its pixels: only numbers with the same one can be compared. The interval is that of the
    mean over images, ±1.96 standard errors; a single image has none. Raises :class:`LimnerError` for no images or
    no samples.

    >>> class Certain:
    ...     def log_weights(self, params, batch, generator, count):
    ...         return torch.full((count, len(batch["images"])), -4 * math.log(2))
    >>> found = negative_log_likelihood(Certain(), {}, {"images": torch.zeros(3, 1, 2, 2)}, samples=5)
    >>> round(found.nats.value, 4), round(found.bits.value, 4)  # a fair coin for each of 4 pixels
    (2.7726, 1.0)
    """
    images = batch["images"]
    if not len(images) or samples < 1:
        raise LimnerError("a likelihood is measured on one image or more, by one sample or more; give at least 1")
    random, parts = generator(seed, "likelihood"), []
    for begin in range(0, len(images), 100):
        part = {name: value[begin : begin + 100] for name, value in batch.items()}
        parts.append(-importance_bound(learner.log_weights(params, part, random, samples)).double())
    each = torch.cat(parts)
    error = 1.96 * float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else None
    added, note = NOTES[likelihood]
    dimensions = images[0].numel()

    def score(scale: float, offset: float) -> Score:
        middle = scale * float(each.mean()) + offset
        return Score(middle) if error is None else Score(middle, middle - scale * error, middle + scale * error)

    return Likelihood(score(1.0, 0.0), score(1 / (dimensions * math.log(2)), added), samples, note)
