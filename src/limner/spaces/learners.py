"""The spaces of Limner's learners: defaults from the portfolio and else the learners' own options, ranges from here."""

from __future__ import annotations

import inspect
from typing import Any

from limner.config import UPDATES, Strategy
from limner.spaces.knobs import Knob, Space

WHOLE: dict[str | tuple[str, str], tuple[int, int]] = {
    "latents": (2, 128), "width": (4, 96), "features": (8, 512), "importance_samples": (2, 50), "codes": (8, 1024),
    "code_size": (2, 64), "prior_width": (8, 128), "code": (8, 256), "integration_steps": (2, 50), "pool": (8, 256),
    "depth": (1, 6), ("restorer", "depth"): (5, 20),
}  # fmt: skip
"""Options in whole numbers, from and to, gone through by factors; of one learner where it is named beside."""

NUMBERS = {
    "beta": (0.01, 10.0), "temperature": (0.1, 1.0), "penalty": (1.0, 1000.0), "gamma": (0.01, 100.0),
    "commitment": (0.05, 2.0), "adversarial": (0.1, 100.0), "fidelity": (1.0, 1000.0),
}  # fmt: skip
"""Options in numbers above 0, gone through by factors."""

FROM_NOTHING = {"lecam": 1.0, "identity": 10.0, "radius": 1.0, "noise": 0.5}
"""Options in numbers from 0, up to these."""

DECIDED = ("classes", "outputs", "input_channels", "prior", "likelihood", "conditioning")
"""Options that the task decides, not a search. One that nothing here tells a range of is no knob either."""

CONDITIONS = {
    ("vae", "beta"): ("objective", ("elbo",)),
    ("vae", "importance_samples"): ("objective", ("importance",)),
    ("vae", "penalty"): ("objective", ("wasserstein",)),
    ("classifier", "features"): ("network", ("plain",)),
    ("classifier", "normalisation"): ("network", ("conv4",)),
}
"""Options that play a part only with certain words of another one."""

STRATEGY = (
    Knob("learning_rate", "float", 1e-3, 1e-5, 0.1, log=True, of="strategy"),
    Knob("batch", "choice", 32, words=(4, 8, 16, 32, 64, 128, 0), of="strategy"),
    Knob("betas", "choice", (0.9, 0.999), words=((0.0, 0.99), (0.5, 0.999), (0.9, 0.99), (0.9, 0.999)), of="strategy"),
    Knob("schedule", "choice", "constant", words=("constant", "cosine"), of="strategy"),
    Knob("clip", "choice", 0.0, words=(0.0, 0.1, 1.0, 10.0), of="strategy"),
    Knob("ema", "choice", 0.0, words=(0.0, 0.9, 0.99, 0.999), of="strategy"),
    Knob("augmentation", "choice", (), words=((), ("shift",), ("flip",), ("shift", "flip"), ("affine",)),
         of="strategy"),
)  # fmt: skip
"""How any of Limner's learners learns; ``steps`` and ``seconds`` are the budget, and no knobs."""

FROM_START = (
    Knob("update", "choice", "full", words=UPDATES, of="strategy"),
    Knob("rank", "int", 4, 1, 32, log=True, when=("update", ("low-rank",)), of="strategy"),
    Knob("anchor", "choice", 0.0, words=(0.0, 1e-3, 1e-2, 0.1, 1.0), of="strategy"),
)
"""And how it goes on from a start."""


def usual(kind: str, adapted: bool = False) -> Strategy:
    """The strategy of the portfolio's first entry for a kind of learner, from a start or from scratch."""
    from limner.memory.portfolio import PORTFOLIO

    listed = [entry for entries in PORTFOLIO.values() for entry in entries if entry.learner == kind]
    fitting = [entry.strategy for entry in listed if entry.adapted == adapted]
    return (fitting or [entry.strategy for entry in listed] or [Strategy()])[0]


def learner_space(kind: str, adapted: bool = False) -> Space:
    """What can be chosen about the learner ``kind`` and its strategy; of one that goes on from a start only the latter.

    >>> space = learner_space("vae")
    >>> space["latents"].default, space["schedule"].default, space["beta"].when
    (16, 'cosine', ('objective', ('elbo',)))
    """
    usually = usual(kind, adapted)
    knobs = [Knob(**{**vars(knob), "default": getattr(usually, knob.name)}) for knob in STRATEGY]
    return Space(f"the {kind}", (*knobs, *(FROM_START if adapted else _options(kind))))


def learner_values(space: Space, options: dict[str, Any], strategy: Strategy) -> dict[str, Any]:
    """The values of a learner and a strategy in a space; options and fields that are no knobs are left aside."""
    found = {}
    for knob in space.knobs:
        if knob.of == "strategy":
            found[knob.name] = getattr(strategy, knob.name)
        elif knob.name in options:
            found[knob.name] = options[knob.name]
    return {name: value for name, value in space.complete(found).items() if name in found}


def _options(kind: str) -> list[Knob]:
    from limner.learners import CATALOGUE
    from limner.memory.portfolio import options_of

    words, usually = _words(), options_of(kind)
    made = []
    for name, parameter in list(inspect.signature(CATALOGUE[kind]).parameters.items())[1:]:
        if name in DECIDED:
            continue
        default, when = usually.get(name, parameter.default), CONDITIONS.get((kind, name))
        if (kind, name) in words:
            made.append(Knob(name, "choice", default, words=words[kind, name], when=when))
        elif name in WHOLE and isinstance(default, int):
            made.append(Knob(name, "int", default, *WHOLE.get((kind, name), WHOLE[name]), log=True, when=when))
        elif name in NUMBERS:
            made.append(Knob(name, "float", default, *NUMBERS[name], log=True, when=when))
        elif name in FROM_NOTHING:
            made.append(Knob(name, "float", default, 0.0, FROM_NOTHING[name], when=when))
    conditional = [knob for knob in made if knob.when is not None]
    return [knob for knob in made if knob.when is None] + conditional


def _words() -> dict[tuple[str, str], tuple[str, ...]]:
    """The words of options that take words, from where the learners themselves take them."""
    from limner.learners.gan import NETWORKS
    from limner.learners.latents import SAMPLERS
    from limner.learners.restorer import LOSSES
    from limner.learners.translator import GAMES
    from limner.networks.restorers import NETWORKS as RESTORERS
    from limner.networks.set_encoder import POOLINGS
    from limner.networks.translators import TRANSLATORS
    from limner.objectives.adversarial import OBJECTIVES
    from limner.objectives.flow import INTEGRATORS

    found: dict[tuple[str, str], tuple[str, ...]] = {
        ("vae", "objective"): ("elbo", "importance", "wasserstein"),
        ("vae-gan", "reconstruction"): ("features", "pixels"),
        ("gan", "objective"): tuple(OBJECTIVES),
        ("gan", "network"): tuple(NETWORKS),
        ("gan", "augment"): ("none", "translation", "colour", "colour+translation+cutout"),
        ("imle", "network"): tuple(NETWORKS),
        ("classifier", "network"): ("plain", "conv4"),
        ("restorer", "network"): tuple(RESTORERS),
        ("restorer", "loss"): LOSSES,
    }
    for kind in ("classifier", "prototypical"):
        found[kind, "normalisation"] = ("batch", "group")
    for kind in ("vae", "vae-gan"):
        found[kind, "sampler"] = tuple(SAMPLERS)
    for kind in ("pix2pix", "cycle"):
        found |= {(kind, "network"): tuple(TRANSLATORS), (kind, "objective"): GAMES}
    for kind in ("flow", "set-flow"):
        found[kind, "integrator"] = tuple(INTEGRATORS)
    for kind in ("set-vae", "set-flow"):
        found[kind, "pooling"] = POOLINGS
    return found
