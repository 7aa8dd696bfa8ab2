"""What is tried when nothing is known: a fixed list, as data. The first entry that can be used is the default.

A portfolio is hard to beat while a memory is small (Feurer et al. 2022, Auto-sklearn 2.0, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limner.config import Strategy


@dataclass(frozen=True)
class Entry:
    """One thing to try.

    learner   its kind
    adapted   whether it begins from a meta-learned start (which then also says what the learner's options are)
    strategy  how it learns; its ``start`` is filled in
    why       what speaks for it, as the end of a sentence
    """

    learner: str
    adapted: bool
    strategy: Strategy
    why: str


_VAE = Strategy(optimiser="adam", learning_rate=1e-3, batch=32)
_GAN = Strategy(optimiser="adam", learning_rate=1e-3, betas=(0.0, 0.99), batch=32, ema=0.99)

_SMOOTH = Strategy(optimiser="adam", learning_rate=2e-3, batch=32, schedule="cosine", ema=0.99)

_TRANSLATOR = Strategy(
    optimiser="adam", learning_rate=5e-4, betas=(0.5, 0.999), batch=4, steps=2000, schedule="cosine", ema=0.99,
    evaluate_every=250,
)  # fmt: skip

PORTFOLIO: dict[str, tuple[Entry, ...]] = {
    "generate": (
        Entry("vae", True, _VAE.replace(steps=200), "a VAE goes first as its steps take the least time"),
        Entry("gan", True, _GAN.replace(steps=60, ema=0.9), "a GAN is the other way to make images, worth comparing"),
        Entry("vae", False, _SMOOTH.replace(steps=2000), "a VAE needs no start, and soon comes as near to real images "
              "as a GAN, or nearer"),
        Entry("gan", False, _GAN.replace(steps=2000), "a GAN needs no start, but takes longer to come as near to "
              "real images"),
        Entry("vae-gan", False, _GAN.replace(steps=2000), "a VAE whose critic asks for sharp images"),
        Entry("vq-vae", False, _SMOOTH.replace(steps=2000), "its codes keep what is sharp"),
        Entry("flow", False, _SMOOTH.replace(steps=2000), "flow matching is the modern yardstick"),
    ),
    "classify": (
        Entry("classifier", True, _VAE.replace(steps=200), "it needs few steps to learn new classes"),
        Entry("prototypical", True, Strategy(steps=0), "it needs no steps: a class is the mean of its images"),
        Entry("classifier", False, _VAE.replace(steps=500), "a small classifier from scratch needs no start"),
        Entry("prototypical", False, _VAE.replace(steps=500), "it knows a class by the mean of its images, and needs "
              "several of each"),
    ),
    "translate": (
        Entry("pix2pix", False, _TRANSLATOR.replace(augmentation=("shift", "flip")), "pairs say what each "
              "image is to become"),
        Entry("cycle", False, _TRANSLATOR.replace(batch=8), "it needs no pairs"),
    ),
}  # fmt: skip
"""Goal to entries, the surest first; ``benchmarks/generative_family.py`` trains by those from scratch."""


def entries(goal: str, learner: str | None = None) -> tuple[Entry, ...]:
    """The entries for a goal, only those with one kind of learner if given.

    >>> [(entry.learner, entry.adapted) for entry in entries("generate", "gan")]
    [('gan', True), ('gan', False)]
    """
    return tuple(entry for entry in PORTFOLIO.get(goal, ()) if learner in (None, entry.learner))


def goals_of(learner: str) -> list[Any]:
    """The goals that a kind of learner can serve."""
    return [goal for goal, listed in PORTFOLIO.items() if any(entry.learner == learner for entry in listed)]
