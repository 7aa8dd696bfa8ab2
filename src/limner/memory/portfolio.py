"""What is tried when nothing is known: a fixed list, as data. The first entry that can be used is the default.

A portfolio is hard to beat while a memory is small (Feurer et al. 2022, Auto-sklearn 2.0, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limner.config import Strategy

if TYPE_CHECKING:
    from limner.learners import Learner


@dataclass(frozen=True)
class Entry:
    """One thing to try.

    name      what it is called, as in ``adapt --strategy NAME``
    learner   its kind
    adapted   whether it begins from a meta-learned start (which then also says what the learner's options are)
    strategy  how it learns; its ``start`` is filled in
    why       what speaks for it, as the end of a sentence
    options   of the learner, where they are others than its own defaults; of a start those that it does not have
    """

    name: str
    learner: str
    adapted: bool
    strategy: Strategy
    why: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variation:
    """Another way to go on from a start than to change all of it freely.

    name      what it is called; ``learners`` are those that it is for
    fields    what of the strategy is otherwise
    early     so many layers of the critic, from the image on, are left as they are
    why       what speaks for it, as the end of a sentence
    """

    name: str
    learners: tuple[str, ...]
    fields: Mapping[str, Any]
    why: str
    early: int = 0

    def of(self, learner: Learner, strategy: Strategy) -> Strategy:
        """``strategy`` varied so, for a learner whose start is adapted."""
        from limner.engine.adapters import early_layers

        frozen = early_layers(learner, self.early) if self.early else ()
        return strategy.replace(**self.fields, frozen=(*strategy.frozen, *frozen))


_VAE = Strategy(optimiser="adam", learning_rate=1e-3, batch=32)
_GAN = Strategy(optimiser="adam", learning_rate=1e-3, betas=(0.0, 0.99), batch=32, ema=0.99)

_SMOOTH = Strategy(optimiser="adam", learning_rate=2e-3, batch=32, schedule="cosine", ema=0.99)

_TRANSLATOR = Strategy(
    optimiser="adam", learning_rate=5e-4, betas=(0.5, 0.999), batch=4, steps=2000, schedule="cosine", ema=0.99,
    evaluate_every=250,
)  # fmt: skip

_RESTORER = Strategy(
    optimiser="adam", learning_rate=1e-3, batch=8, steps=4000, schedule="cosine", clip=1.0, precision="auto",
    evaluate_every=500,
)  # fmt: skip

READING = ("net.encoder.", "net.seen.")
"""What reads the images, of a VAE that reads sets: it stays as it is where the rest adapts."""

HEAD = 5
"""The window of a restorer's last layer that is fitted at once, in pixels."""

PORTFOLIO: dict[str, tuple[Entry, ...]] = {
    "generate": (
        Entry("adapted", "set-vae", True, _VAE.replace(steps=200, batch=0, schedule="cosine", evaluate_every=50,
              frozen=READING), "it begins by what all the images have in common, and a few steps "
              "then refine that"),
        Entry("adapted", "vae", True, _VAE.replace(steps=200, evaluate_every=50), "a VAE's steps take the "
              "least time"),
        Entry("adapted", "gan", True, _GAN.replace(steps=60, ema=0.9, evaluate_every=20), "a GAN is the other way to "
              "make images, worth comparing"),
        Entry("amortised", "set-vae", True, _VAE.replace(steps=0, batch=0), "it reads the images and answers at once"),
        Entry("amortised", "set-flow", True, _VAE.replace(steps=0, batch=0), "it reads the images and answers at once, "
              "in finer detail but more slowly than a VAE"),
        Entry("scratch", "vae", False, _SMOOTH.replace(steps=2000), "a VAE needs no start, and soon comes as near to "
              "real images as a GAN, or nearer"),
        Entry("scratch", "gan", False, _GAN.replace(steps=2000), "a GAN needs no start, but takes longer to come as "
              "near to real images"),
        Entry("scratch", "vae-gan", False, _GAN.replace(steps=2000), "a VAE whose critic asks for sharp images"),
        Entry("scratch", "vq-vae", False, _SMOOTH.replace(steps=2000), "its codes keep what is sharp"),
        Entry("scratch", "flow", False, _SMOOTH.replace(steps=2000), "flow matching is the modern yardstick"),
        Entry("implicit-likelihood", "imle", False, Strategy(learning_rate=4e-3, betas=(0.9, 0.99), ema=0.9, steps=500),
              "no image is left out, and no critic is needed"),
    ),
    "classify": (
        Entry("adapted", "classifier", True, _VAE.replace(steps=200), "it needs few steps to learn new classes"),
        Entry("adapted", "prototypical", True, Strategy(steps=0), "it needs no steps: a class is the mean of its "
              "images"),
        Entry("scratch", "classifier", False, _VAE.replace(steps=500), "a small classifier from scratch needs no "
              "start"),
        Entry("scratch", "prototypical", False, _VAE.replace(steps=500), "it knows a class by the mean of its images, "
              "and needs several of each"),
    ),
    "translate": (
        Entry("scratch", "pix2pix", False, _TRANSLATOR.replace(augmentation=("shift", "flip")), "pairs say what each "
              "image is to become"),
        Entry("scratch", "cycle", False, _TRANSLATOR.replace(batch=8), "it needs no pairs"),
    ),
    "restore": (
        Entry("adapted", "restorer", True, _RESTORER.replace(learning_rate=3e-4, batch=16, steps=200,
              evaluate_every=50, rehearsal=0.75), "few steps teach it yours as well"),
        Entry("closed-form", "restorer", True, _RESTORER.replace(learning_rate=3e-4, batch=16, steps=0,
              evaluate_every=0, rehearsal=0.75), "a last linear layer, on windows of 5×5 pixels of your damaged images "
              "and of what the start makes of them, is fitted to your pairs at once by ridge regression",
              {"head": HEAD}),
        Entry("scratch", "restorer", False, _RESTORER.replace(warmup=100, ema=0.999), "a small U-Net, which looks far "
              "around each pixel, learns more of it in the same time than a chain of convolutions",
              {"network": "unet", "width": 24, "depth": 8}),
    ),
}  # fmt: skip
"""Goal to entries, the surest first; ``benchmarks/generative_family.py`` trains by those from scratch."""


VARIATIONS: tuple[Variation, ...] = (
    Variation("freeze-critic", ("gan",), {"learning_rate": 4e-3, "batch": 0, "steps": 200}, "the critic keeps what it "
              "knows of edges and strokes (FreezeD)", early=2),
    Variation("modulation", ("gan",), {"learning_rate": 4e-3, "batch": 0, "steps": 50, "update": "modulation",
              "player_rates": {"generator": 5.0}}, "channels are strengthened and weakened, none is mixed "
              "anew", early=2),
    Variation("low-rank", ("gan",), {"learning_rate": 4e-3, "batch": 0, "steps": 200, "update": "low-rank",
              "player_rates": {"generator": 2.5}}, "few numbers change, so little is forgotten"),
    Variation("distance-preserving", ("gan",), {"learning_rate": 4e-3, "batch": 0, "steps": 200, "preserve": 2.0},
              "what was different stays different"),
)  # fmt: skip
"""Ways to go on from a start, beside changing all of it."""


def names(goal: str) -> list[str]:
    """What strategies for a goal are called.

    >>> names("generate")[:3]
    ['adapted', 'amortised', 'scratch']
    """
    varied = [variation.name for variation in VARIATIONS if goal == "generate"]
    return list(dict.fromkeys([*(entry.name for entry in PORTFOLIO.get(goal, ())), *varied]))


def entries(goal: str, learner: str | None = None) -> tuple[Entry, ...]:
    """The entries for a goal, only those with one kind of learner if given.

    >>> [(entry.learner, entry.adapted) for entry in entries("generate", "gan")]
    [('gan', True), ('gan', False)]
    """
    return tuple(entry for entry in PORTFOLIO.get(goal, ()) if learner in (None, entry.learner))


def options_of(learner: str, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options that a kind of learner is trained with from scratch: those ``asked`` for over the usual ones.

    >>> options_of("restorer", {"width": 16}), options_of("vae")
    ({'network': 'unet', 'width': 16, 'depth': 8}, {})
    """
    listed = [entry for found in PORTFOLIO.values() for entry in found if entry.learner == learner]
    return options_over(next((entry.options for entry in listed if not entry.adapted), {}), asked)


def options_over(usual: Mapping[str, Any], asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """``asked`` over ``usual`` options, which are left out where another network is asked for than theirs.

    >>> options_over({"network": "unet", "depth": 8}, {"network": "dncnn"})
    {'network': 'dncnn'}
    """
    asked = dict(asked or {})
    another = asked.get("network", usual.get("network")) != usual.get("network")
    return asked if another else {**usual, **asked}


def goals_of(learner: str) -> list[Any]:
    """The goals that a kind of learner can serve."""
    return [goal for goal, listed in PORTFOLIO.items() if any(entry.learner == learner for entry in listed)]


def learners() -> list[str]:
    """Every kind of learner that serves some goal.

    >>> learners()[:2]
    ['set-vae', 'vae']
    """
    return list(dict.fromkeys(entry.learner for listed in PORTFOLIO.values() for entry in listed))
