"""What is wrong with an image, found in it alone: noise and its kind, stripes, lost pixels, how blurred it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from limner.restoration.noise import (
    CLEAN,
    FEWEST_PATCHES,
    Array,
    blocks_of,
    coarse_level,
    jpeg_level,
    noise_level,
    patches_of,
    variance_line,
)
from limner.restoration.stripes import Stripes, find, offsets

DRAWN = 0.02 / 255
"""Noise below this is that of what was drawn: no photograph has so little."""

FEWEST_LOST = 0.002
"""A smaller share of pixels that stand out as black or white is taken for what the picture shows."""

MUCH, SCATTERED = 0.25, 0.7
"""Where more of an image than this is black or white, it was drawn so, as a page or a chart is, if not so large a part
of those pixels lie beside others as chance would put there."""

BLOCKY = 1.2
"""From this ratio on, steps between blocks of 8×8 pixels are taken for those of JPEG."""

BLURRED = 1.3
"""From this width on, in pixels, edges are softer than those of a sharp photograph."""


class Blur(NamedTuple):
    """How blurred edges are: the standard deviation of the Gaussian that blurs a step as much, in pixels.

    spread  the middle half of the edges lies within so much of it, in parts of it: above 0.5 edges say different things
    noisy   whether noise hides the softest edges, so that the image may be more blurred than this
    """

    width: float
    spread: float
    noisy: bool = False

    @property
    def trusted(self) -> bool:
        """Whether the edges agree, and all can be seen."""
        return self.spread <= 0.5 and not self.noisy


@dataclass(frozen=True)
class Found:
    """What was found in an image.

    noise      standard deviation of intensities in [0, 1], at the middle of the image's; ``None``: cannot be measured
    kind       ``none``, ``gaussian``, ``poisson_gaussian``, or ``coarse``: shared by neighbours, as grain is
    photons    at full intensity, of Poisson–Gaussian noise; ``read``: the standard deviation of the rest of it
    stripes    rows or columns with offsets of their own; ``None``: none that could be told. All else was found without
    impulses   the share of intensities that are salt or pepper
    lost       the share of pixels that are missing
    mask       float32 ``(1, 1 or c, h, w)``, 0 where an impulse is or a pixel is missing; ``None``: nowhere
    blur       of its edges; ``None``: it has too few
    blocks     how much larger steps between blocks of 8×8 pixels are than others; JPEG makes them 1.2 and more
    """

    noise: float | None
    kind: str = "none"
    photons: float = 0.0
    read: float = 0.0
    impulses: float = 0.0
    lost: float = 0.0
    mask: Tensor | None = None
    blur: Blur | None = None
    blocks: float = 1.0
    stripes: Stripes | None = None

    @property
    def clean(self) -> bool:
        """Whether there is no noise, stripe, lost pixel or block. Soft edges alone are no damage that could be told."""
        return self.stripes is None and self.clean_without_stripes

    @property
    def clean_without_stripes(self) -> bool:
        """Whether nothing is left to mend where the stripes are gone."""
        return self.noise is not None and self.kind == "none" and self.mask is None and self.blocks < BLOCKY

    @property
    def degradation(self) -> str:
        """A guess as a degradation's text, without the blur, which no image tells for certain.

        >>> Found(0.1, "gaussian", lost=0.5).degradation
        'missing(0.5)+gaussian(25.5)'
        """
        parts = [f"missing({self.lost:.3g})"] if self.lost else []
        if self.stripes is not None:
            along = "" if self.stripes.direction == "rows" else f",direction={self.stripes.direction}"
            parts.append(f"stripes({255 * self.stripes.level:.3g}{along})")
        if self.kind in ("gaussian", "coarse"):
            parts.append(f"gaussian({255 * (self.noise or 0):.3g})")
        if self.kind == "poisson_gaussian":
            sigma = f",sigma={255 * self.read:.3g}"
            parts.append(
                f"poisson_gaussian({self.photons:.3g}{sigma})" if self.read else f"poisson({self.photons:.3g})"
            )
        parts += [f"salt_and_pepper({self.impulses:.3g})"] if self.impulses else []
        return "+".join(parts) or "nothing"

    def sentences(self, noise_told: bool = False) -> list[str]:
        """What was found, for a reader: short, one fact each; nothing of the noise where that was told.

        >>> Found(0.1, "gaussian").sentences()
        ['Noise with a standard deviation of 25.5 of 255.', 'It is as strong in dark as in bright parts.']
        """
        told = [] if self.stripes is None else [
            f"Stripes: {self.stripes.direction} have offsets of their own, with a standard deviation of "
            f"{255 * self.stripes.level:.1f} of 255."
        ]  # fmt: skip
        told += [] if noise_told else self._noise()
        if self.blocks >= BLOCKY:
            told.append("Blocks of 8×8 pixels show, as JPEG at a low quality leaves them.")
        if self.impulses:
            told.append(f"{100 * self.impulses:.1f}% of the intensities are black or white impulses.")
        if self.lost:
            told.append(f"{100 * self.lost:.1f}% of the pixels seem to be missing.")
            told.append("If the picture is drawn so, say --degradation nothing.")
        if self.blur is not None and self.blur.width >= BLURRED:
            text = f"blur(gaussian,width={self.blur.width:.1f})"
            text += "" if self.degradation == "nothing" else f"+{self.degradation}"
            told += [
                f"Edges are as soft as after a Gaussian blur of width {self.blur.width:.1f}.",
                "Most of them agree, but lens or scene may have made them so."
                if self.blur.trusted
                else "They may be softer still, as noise hides the softest."
                if self.blur.noisy
                else "That is a guess, as they differ much.",
                f'To sharpen them, say --degradation "{text}".',
            ]
        return told

    def _noise(self) -> list[str]:
        besides = "" if self.stripes is None else " besides"
        if self.noise is None:
            return ["The noise cannot be measured: too few pixels are whole.", "Say --noise where you know it."]
        level = f"{255 * self.noise:.1f} of 255"
        if self.kind == "gaussian":
            return [f"Noise with a standard deviation of {level}.", "It is as strong in dark as in bright parts."]
        if self.kind == "coarse":
            return [
                f"Coarse noise, as of grain or a camera's JPEG, with a standard deviation of about {level}.",
                "A higher --noise takes more of it away.",
            ]
        if self.kind == "poisson_gaussian":
            told = [
                f"Noise that grows with the intensity, with a standard deviation of {level} in the middle.",
                f"It is as of counting {self.photons:.0f} photons at the brightest.",
            ]
            return told + ([f"Reading the sensor adds {255 * self.read:.1f} of 255."] if self.read else [])
        return [f"No noise{besides} that could be told from texture: at most {level}."]


def estimate(images: Tensor, seen: Tensor | None = None, seed: int = 0) -> Found:
    """What is wrong with an image, float ``(1, c, h, w)`` in [0, 1]; ``seen`` is 0 where its pixels are known lost.

    Large images are looked at in a random sample of patches, lost pixels in the whole.

    >>> noisy = 0.5 + torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    >>> found = estimate(noisy)
    >>> found.kind, round(found.noise, 2)
    ('gaussian', 0.1)
    """
    values = images[0].double().numpy()
    known = np.ones((1, *values.shape[1:]), bool) if seen is None else seen[0].numpy() > 0
    stripes = find(values, known)
    if stripes is not None:  # black and white stay what they are, or no pixel would be missing any more
        inside = (values > 0) & (values < 1)
        values = np.where(inside, np.clip(values - offsets(values, known, stripes), 1e-6, 1 - 1e-6), values)
    impulses, lost = lost_values(np.where(known, values, 0.5))
    mask = known & ~lost & ~impulses if impulses.any() else known & ~lost
    filled = _filled(values, np.broadcast_to(mask, values.shape)) if not mask.all() else values
    masks = np.broadcast_to(mask, values.shape)
    levels = [patches_of(channel, seen_there, seed) for channel, seen_there in zip(filled, masks, strict=True)]
    measured = all(len(patches) >= FEWEST_PATCHES for patches in levels)
    kind, photons, read, sigma = "none", 0.0, 0.0, 0.0
    if measured:
        sigma = sqrt(float(np.mean([noise_level(patches) ** 2 for patches in levels])))
    if measured and DRAWN < sigma < CLEAN:
        coarse = max(coarse_level(filled, masks, seed), jpeg_level(filled, masks))
        kind, sigma = ("coarse", coarse) if coarse >= CLEAN else (kind, sigma)
    elif sigma >= CLEAN:
        kind = "gaussian"
        slope, rest = variance_line(levels)
        if slope:
            kind, photons, read = "poisson_gaussian", 1 / slope, sqrt(rest)
            sigma = sqrt(slope * float(np.median(np.concatenate([patches.mean(1) for patches in levels]))) + rest)
    return Found(
        sigma if measured else None, kind, photons, read, float(impulses.mean()), float(1 - (known & ~lost).mean()),
        None if mask.all() else torch.from_numpy(mask.astype(np.float32))[None],
        blur_width(filled.mean(0), sigma) if measured else None,
        blocks_of(filled.mean(0)) if measured else 1.0, stripes,
    )  # fmt: skip


# ── Lost pixels ───────────────────────────────────────────────────────────────────────────────────────────────────────


def lost_values(values: Array) -> tuple[Array, Array]:
    """Which of ``(c, h, w)`` are impulses, and which pixels ``(1, h, w)`` are missing: all false where too few are.

    Both are black or white amid what is neither: half of those that touch each other, at their border, must be 0.1 of
    full intensity and 3.5 standard deviations away from the other intensities of the 7×7 pixels around. Pixels black
    in all channels, or white in all, are missing; otherwise they are impulses, and so are blacks and whites together.
    Where most that are so stand out, all are taken, as in dark parts none can.
    """
    standing = np.stack([_standing(channel) for channel in values])
    none = np.zeros_like(standing)
    black, white = (values <= 0).all(0), (values >= 1).all(0)
    shares = [float((standing.any(0) & pixels).mean()) for pixels in (black, white)]
    apart = float((standing & ~(black | white)).mean())
    if apart >= FEWEST_LOST or min(shares) >= FEWEST_LOST / 2:
        extreme = (values <= 0) | (values >= 1)
        return (extreme if standing.sum() >= 0.4 * extreme.sum() else standing), none[:1]
    missing = none[0]
    for pixels, share in zip((black, white), shares, strict=True):
        if share >= FEWEST_LOST:
            out = standing.any(0) & pixels
            missing = missing | (pixels if out.sum() >= 0.4 * pixels.sum() else out)
    return none, missing[None]


def _standing(channel: Array) -> Array:
    """Black and white values of ``(h, w)`` that stand out, groups of them judged together."""
    from scipy import ndimage

    out = np.zeros(channel.shape, bool)
    extreme = (channel <= 0) | (channel >= 1)
    if not FEWEST_LOST / 2 < extreme.mean() < 0.98 or _drawn(extreme):
        return out
    others = np.where(extreme, 0.0, channel)
    count = ndimage.uniform_filter((~extreme).astype(np.float64), 7)
    mean = ndimage.uniform_filter(others, 7) / np.maximum(count, 1e-9)
    square = ndimage.uniform_filter(others**2, 7) / np.maximum(count, 1e-9)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    stands_out = np.abs(channel - mean) > np.maximum(0.1, 3.5 * deviation)
    for end in (channel <= 0, channel >= 1):
        labels, groups = ndimage.label(end)
        border = end & (count > 0.5 / 49)
        borders = np.bincount(labels[border], minlength=groups + 1)
        standing = np.bincount(labels[border], stands_out[border], minlength=groups + 1)
        lost = (borders > 0) & (standing >= 0.5 * borders)
        lost[0] = False
        out |= lost[labels]
    return out


def _drawn(extreme: Array) -> bool:
    """Whether much of ``(h, w)`` is black or white, and in areas: of p lost by chance 1 − p⁴ have one seen beside."""
    from scipy import ndimage

    share = float(extreme.mean())
    beside = extreme & ~ndimage.binary_erosion(extreme, border_value=1)
    return bool(share > MUCH and beside.sum() < SCATTERED * (1 - share**4) * extreme.sum())


def _filled(values: Array, mask: Array) -> Array:
    """Lost values replaced by the mean of those around that were seen."""
    from scipy import ndimage

    made: Array = values.copy()
    for channel, seen in zip(made, mask, strict=True):
        weights = ndimage.gaussian_filter(seen.astype(np.float64), 1.5)
        around = ndimage.gaussian_filter(np.where(seen, channel, 0.0), 1.5) / np.maximum(weights, 1e-6)
        channel[~seen] = around[~seen]
    return made


# ── Blur ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def blur_width(grey: Array, noise: float) -> Blur | None:
    """How blurred the strongest edges of ``(h, w)`` are, or ``None`` where none stands out of the noise.

    A step blurred by a Gaussian of width w has a gradient ∝ 1/w at its middle; blurred again by s, 1/√(w² + s²). So the
    ratio r of both gradients tells w = s / √(r² − 1) (Zhuo & Sim 2011). The image is smoothed first the more, the
    noisier it is, and that is taken off again.
    """
    from scipy import ndimage

    if min(grey.shape) < 24:
        return None
    if grey.size > 2_000_000:  # the middle is enough
        height, width = grey.shape
        grey = grey[max(0, height // 2 - 700) : height // 2 + 700, max(0, width // 2 - 700) : width // 2 + 700]
    noisy = noise >= CLEAN
    before, again = (1.5, 1.5) if noisy else (0.7, 1.0)
    first = ndimage.gaussian_gradient_magnitude(grey, before)
    second = ndimage.gaussian_gradient_magnitude(grey, sqrt(before**2 + again**2))
    crest = (first == ndimage.maximum_filter(first, 5)) & (first > 6 * noise / before**2 / 5) & (first > 0.02)
    if crest.sum() < 20:
        return None
    strongest = crest & (first >= np.quantile(first[crest], 0.7))
    ratio = first[strongest] / second[strongest]
    widths = np.sqrt(np.maximum(again**2 / np.maximum(ratio**2 - 1, 1e-3) - before**2, 0.0))
    low, middle, high = np.quantile(widths, [0.25, 0.5, 0.75])
    return Blur(float(middle), float((high - low) / 2 / max(middle, 0.3)), noisy)
