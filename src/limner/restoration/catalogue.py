"""Restorers by name that need no training beforehand, each with its options; what the command line reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, NamedTuple

from limner.errors import LimnerError
from limner.restoration.base import Restorer
from limner.restoration.deconvolution import RichardsonLucy, Wiener
from limner.restoration.generative import GenerativePrior
from limner.restoration.inpainting import Biharmonic
from limner.restoration.patches import BM3D, NonLocalMeans
from limner.restoration.plug_and_play import PlugAndPlay
from limner.restoration.shipped import Denoiser, Starter
from limner.restoration.single import BlindSpot, DeepImagePrior, ZeroShotNoise2Noise
from limner.restoration.sparse import Dictionary, Wavelets
from limner.restoration.stripes import Destriping
from limner.restoration.variational import TotalVariation


class Entry(NamedTuple):
    """What makes a restorer, and one line of help."""

    make: Callable[..., Restorer]
    help: str


CATALOGUE: dict[str, Entry] = {
    "starter": Entry(Starter, "noise of any kind, mild blur, JPEG, of unknown strength: a network; fast"),
    "denoiser": Entry(Denoiser, "noise of known strength: a network, plug-and-play's prior; fast"),
    "total-variation": Entry(TotalVariation, "noise: flat regions and sharp edges; fast"),
    "wavelets": Entry(Wavelets, "noise: wavelet shrinkage with cycle spinning; fast"),
    "dictionary": Entry(Dictionary, "noise: patches as sums of few atoms learned from the image; slow"),
    "non-local-means": Entry(NonLocalMeans, "noise: means over like patches; fast"),
    "bm3d": Entry(BM3D, "noise: like patches shrunk together; the best of these (non-commercial, limner[bm3d])"),
    "destriping": Entry(Destriping, "stripes: rows or columns with offsets of their own; fast"),
    "wiener": Entry(Wiener, "known blur: Tikhonov and Wiener's filter, its strength set from the noise"),
    "richardson-lucy": Entry(RichardsonLucy, "known blur: the likeliest image under Poisson noise, step by step"),
    "biharmonic": Entry(Biharmonic, "lost pixels: filled in smoothly"),
    "zero-shot-noise2noise": Entry(ZeroShotNoise2Noise, "unknown noise: learned from the image itself; slow"),
    "blind-spot": Entry(BlindSpot, "unknown noise, lost pixels: learned from the images themselves; slow"),
    "deep-image-prior": Entry(DeepImagePrior, "anything linear, unknown noise: a network drawn to it; very slow"),
    "plug-and-play": Entry(PlugAndPlay, "known blur, lost pixels, down-sampling, with the denoiser prior=NAME"),
    "generative-prior": Entry(GenerativePrior, "anything linear, for images such as the generator run=RUN makes; slow"),
}

AUTO_PRIOR = "denoiser"
"""The denoiser that plug-and-play takes where none is named."""


def restorer(name: str, **options: Any) -> Restorer:
    """The restorer of that name with its options: words, whole numbers from 1, or numbers from 0.

    Of plug-and-play, ``prior`` is another restorer, the name of one, or ``auto``: :data:`AUTO_PRIOR`. Of
    generative-prior, ``run`` is a run of a learner with latents (:func:`limner.load`).

    Raises :class:`LimnerError` for a name or an option that there is not, telling those that there are.

    >>> restorer("total-variation", strength=1.0)
    TotalVariation(strength=1.0)
    >>> restorer("plug-and-play", prior="wavelets").prior.name
    'wavelets'
    """
    if name not in CATALOGUE:
        raise LimnerError(f"there is no restorer {name!r}; there are: {', '.join(CATALOGUE)}")
    known = options_of(name)
    for option, value in options.items():
        if option not in known:
            told = ", ".join(known) or "none"
            raise LimnerError(f"{name} has no option {option!r}; there are: {told}")
        _check(name, option, value, known[option])
    if name == "plug-and-play":
        prior = options.pop("prior", "auto")
        options["prior"] = restorer(AUTO_PRIOR if prior == "auto" else prior) if isinstance(prior, str) else prior
    if name == "generative-prior" and not hasattr(options.get("run"), "learner"):
        raise LimnerError(f"{name} needs the option run: a run whose generator makes such images, as limner.load gives")
    return CATALOGUE[name].make(**options)


def options_of(name: str) -> dict[str, Any]:
    """The options of a restorer in the catalogue and their defaults.

    >>> options_of("wavelets")
    {'wavelet': 'sym4', 'levels': 4, 'shifts': 3}
    """
    make = CATALOGUE[name].make
    assert is_dataclass(make)
    return {field.name: "auto" if field.default is MISSING else field.default for field in fields(make)}


def _check(name: str, option: str, value: Any, default: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, str):
        right, well = "a word", isinstance(value, str) or option in ("prior", "run")
    elif isinstance(default, int):
        right, well = "a whole number from 1", number and isinstance(value, int) and value >= 1
    else:
        right, well = "a number from 0", number and 0 <= value < float("inf")
    if not well:
        raise LimnerError(f"the option {option} of {name} cannot be {value!r}; it must be {right}")
