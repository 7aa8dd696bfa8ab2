"""What is wrong with an image, found in the image alone: noise and its kind, lost pixels, how blurred it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]

SIDE = 8
"""Of the patches that noise is measured in."""

SMALL_SIDE = 5
"""Where too many pixels are lost for whole patches of the other size."""

FEWEST_PATCHES, MOST_PATCHES = 150, 8_000
TEXTURE = 1.5
"""A patch is taken to be flat whose neighbours differ by less than so many times what the noise explains."""

CLEAN = 2 / 255
"""Noise below this is not told from fine texture, and hardly seen."""

FLAT_SIDE, FEWEST_FLAT = 16, 256
"""Of the blocks that JPEG's noise is measured in, and how many there must be."""

SURVIVED, NOT_TEXTURE = 0.85 / 255, 4.5 / 255
"""Less in flat blocks is left in the JPEG file of a clean photograph too, and more is what the picture shows."""

DRAWN = 0.02 / 255
"""Noise below this is that of what was drawn: no photograph has so little."""

FEWEST_LOST = 0.002
"""A smaller share of pixels that stand out as black or white is taken for what the picture shows."""

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

    @property
    def clean(self) -> bool:
        """Whether there is no noise, lost pixel or block. Soft edges alone are no damage that could be told."""
        return self.noise is not None and self.kind == "none" and self.mask is None and self.blocks < BLOCKY

    @property
    def degradation(self) -> str:
        """A guess as a degradation's text, without the blur, which no image tells for certain.

        >>> Found(0.1, "gaussian", lost=0.5).degradation
        'missing(0.5)+gaussian(25.5)'
        """
        parts = [f"missing({self.lost:.3g})"] if self.lost else []
        if self.kind in ("gaussian", "coarse"):
            parts.append(f"gaussian({255 * (self.noise or 0):.3g})")
        if self.kind == "poisson_gaussian":
            sigma = f",sigma={255 * self.read:.3g}"
            parts.append(
                f"poisson_gaussian({self.photons:.3g}{sigma})" if self.read else f"poisson({self.photons:.3g})"
            )
        parts += [f"salt_and_pepper({self.impulses:.3g})"] if self.impulses else []
        return "+".join(parts) or "nothing"

    def sentences(self) -> list[str]:
        """What was found, for a reader, each with how far to trust it."""
        told = []
        level = f"a standard deviation of {255 * (self.noise or 0):.1f} of 255"
        if self.kind == "gaussian":
            told.append(f"Noise with {level}, as strong in dark as in bright parts.")
        elif self.kind == "coarse":
            told.append(
                f"Coarse noise, as of grain or a camera's JPEG file, with about {level}. A higher --noise takes more "
                "of it away."
            )
        elif self.kind == "poisson_gaussian":
            rest = f" and {255 * self.read:.1f} from reading the sensor" if self.read else ""
            told.append(
                f"Noise that grows with the intensity, as of counting {self.photons:.0f} photons at the brightest"
                f"{rest}: {level} at middle intensities."
            )
        elif self.noise is None:
            told.append("The noise cannot be measured: too few pixels are whole; say --noise where you know it.")
        else:
            told.append(
                f"No noise that could be told from texture (at most {255 * self.noise:.1f} of 255 from pixel to pixel)."
            )
        if self.blocks >= BLOCKY:
            told.append("Steps between blocks of 8×8 pixels, as JPEG at a low quality leaves them.")
        if self.impulses:
            told.append(f"{100 * self.impulses:.1f}% of the intensities are black or white impulses.")
        if self.lost:
            told.append(
                f"{100 * self.lost:.1f}% of the pixels seem to be missing: exactly black or white, or no number. If "
                "the picture is drawn so, say --degradation nothing."
            )
        if self.blur is not None and self.blur.width >= BLURRED:
            trust = (
                "most edges agree, but lens or scene may have made them so"
                if self.blur.trusted
                else "or more, as noise hides the softest"
                if self.blur.noisy
                else "a guess, as edges differ much"
            )
            told.append(
                f"Edges are as soft as after a Gaussian blur of width {self.blur.width:.1f} ({trust}). They were left "
                f'so; to sharpen, say --degradation "blur(gaussian,width={self.blur.width:.1f})", with noise after it.'
            )
        return told


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
    impulses, lost = lost_values(np.where(known, values, 0.5))
    mask = known & ~lost & ~impulses if impulses.any() else known & ~lost
    filled = _filled(values, np.broadcast_to(mask, values.shape)) if not mask.all() else values
    masks = np.broadcast_to(mask, values.shape)
    levels = [_patches(channel, seen_there, seed) for channel, seen_there in zip(filled, masks, strict=True)]
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
        blocks_of(filled.mean(0)) if measured else 1.0,
    )  # fmt: skip


# ── Noise ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _patches(channel: Array, seen: Array, seed: int) -> Array:
    """Patches at random places, ``(n, d)``, of which no pixel was lost; smaller ones where there are too few."""
    from scipy import ndimage

    drawn = np.random.default_rng(seed)
    found: Array = np.empty((0, SIDE**2))
    for side in (SIDE, SMALL_SIDE):
        if min(channel.shape) < side:
            continue
        down, across = (length - side + 1 for length in channel.shape)
        corner = (-(side // 2), -(side // 2))  # of the filter's origin: the patch's first pixel
        whole = seen if seen.all() else ndimage.minimum_filter(seen, side, origin=corner)
        places = np.flatnonzero(whole[:down, :across])
        if len(places) > MOST_PATCHES:
            places = drawn.choice(places, MOST_PATCHES, replace=False)
        windows = np.lib.stride_tricks.sliding_window_view(channel, (side, side))
        found = windows[places // across, places % across].reshape(len(places), side**2)
        if len(found) >= FEWEST_PATCHES:
            break
    return found


def noise_level(patches: Array) -> float:
    """The standard deviation of the noise in ``(n, d)`` patches, of intensities in [0, 1].

    The covariance of patches has, beside a few large eigenvalues from what they show, many that are the variance of
    noise alone: the largest set of smallest eigenvalues whose mean is their median (Chen, Zhu & Heng, ICCV 2015). It
    is taken of patches with weak texture, found in turns with it (as Liu, Tanaka & Okutomi 2013, by the energy of their
    gradients), and away from 0 and 1 where intensities are clipped.
    """
    side = int(sqrt(patches.shape[1]))
    sigma = _least_eigenvalues(patches)
    for _ in range(4):
        central = _away_from_the_ends(patches, sigma)
        squares = central.reshape(-1, side, side)
        energy = (np.diff(squares, axis=1) ** 2).sum((1, 2)) + (np.diff(squares, axis=2) ** 2).sum((1, 2))
        most = TEXTURE * 4 * side * (side - 1) * sigma**2
        enough = np.sort(energy)[min(300, len(energy) - 1)]
        sigma = _least_eigenvalues(central[energy <= max(most, enough)])
    return sigma


def _least_eigenvalues(patches: Array) -> float:
    values = np.linalg.eigvalsh(np.cov(patches.T))
    for count in range(len(values), 0, -1):
        mean = values[:count].mean()
        if (values[:count] < mean).sum() <= (values[:count] > mean).sum():
            return sqrt(max(float(mean), 0.0))
    return 0.0


def _away_from_the_ends(patches: Array, sigma: float) -> Array:
    """The patches whose mean is two standard deviations from 0 and 1, where any intensities were clipped."""
    if ((patches <= 0) | (patches >= 1)).mean() < 0.001:
        return patches
    means = patches.mean(1)
    room = np.minimum(means, 1 - means)
    fewest = np.sort(room)[-min(len(room), max(500, len(room) // 20))]
    found: Array = patches[room >= min(2 * sigma, fewest)]
    return found


def coarse_level(values: Array, masks: Array, seed: int) -> float:
    """The noise level of ``(c, h, w)`` at half the size: what neighbours share and no single pixel shows (grain)."""
    height, width = (2 * (side // 2) for side in values.shape[1:])
    halves = values[:, :height, :width].reshape(-1, height // 2, 2, width // 2, 2).mean((2, 4))
    seen = masks[:, :height, :width].reshape(-1, height // 2, 2, width // 2, 2).min((2, 4))
    levels = [_patches(channel, there, seed) for channel, there in zip(halves, seen, strict=True)]
    if min(map(len, levels)) < FEWEST_PATCHES:
        return 0.0
    return sqrt(float(np.mean([noise_level(patches) ** 2 for patches in levels])))


def jpeg_level(values: Array, masks: Array) -> float:
    """The noise level of ``(c, h, w)`` where it is what a camera's JPEG file left of its noise; 0 where it is not.

    In flat parts JPEG keeps of noise what is coarse and strong, and nothing of what is fine. So it is told by three
    signs, in the luma of blocks of 16×16 less the plane through each, standard deviations ordered: the faintest tenth
    are alike (the 20th percentile at most 1.7 times the 5th, else it is texture), not quite flat (0.85 of 255 at the
    10th), and of diagonal details at the finest scale there is 0.12 to 0.35 of that, the rounding of the file.

    Where there is texture more noise survives, and cannot be told from it. Over a whole image it is taken for
    3.1 + 0.44 f of 255, f the 10th percentile, as fitted to the Nikon files of PolyU (Xu et al. 2018).
    """
    weights = np.array([0.299, 0.587, 0.114]) if len(values) == 3 else np.ones(1)
    luma, side = np.tensordot(weights, values, 1), FLAT_SIDE
    down, across = (length // side for length in luma.shape)

    def blocks(whole: Array) -> Array:
        cut: Array = whole[: down * side, : across * side].reshape(down, side, across, side)
        return cut.transpose(0, 2, 1, 3).reshape(-1, side, side)

    found = blocks(luma)
    inside = ((found > 3 / 255) & (found < 252 / 255)).mean((1, 2)) > 0.95
    seen: Array = np.min(masks, axis=0)
    found = found[inside & blocks(seen).all((1, 2))]
    if len(found) < FEWEST_FLAT:
        return 0.0
    slopes = np.mgrid[:side, :side].reshape(2, -1) / side
    plane, _ = np.linalg.qr(np.stack([np.ones(side**2), *slopes], 1))
    rest = found.reshape(len(found), -1)
    rest = rest - (rest @ plane) @ plane.T
    strength = np.sqrt((rest**2).sum(1) / (side**2 - 3))
    faint, flat, more = np.quantile(strength, [0.05, 0.1, 0.2])
    details = found[:, ::2, ::2] - found[:, 1::2, ::2] - found[:, ::2, 1::2] + found[:, 1::2, 1::2]
    fine = float(np.median((details / 2).std((1, 2))[strength.argsort()[: 3 * len(found) // 10]]))
    if not SURVIVED <= flat <= NOT_TEXTURE or more > 1.7 * faint or not 0.12 * flat <= fine <= 0.35 * flat:
        return 0.0
    return float(3.1 / 255 + 0.44 * flat)


def blocks_of(values: Array) -> float:
    """How many times larger the median step across the borders of 8×8 blocks is than across other lines, in ``(h, w)``.

    The borders are where that is most; the lesser of rows and columns counts, as both have them where JPEG made them.
    Steps that no one sees, larger by less than 1/255, count for nothing.
    """
    if min(values.shape) < 32:
        return 1.0
    ratios = []
    for steps in (np.abs(np.diff(values, axis=1)).mean(0), np.abs(np.diff(values, axis=0)).mean(1)):
        phases = np.array([np.median(steps[phase::8]) for phase in range(8)])
        others = (phases.sum() - phases.max()) / 7
        ratios.append(float(phases.max() / others) if others > 0 and phases.max() - others > 1 / 255 else 1.0)
    return min(ratios)


def variance_line(levels: list[Array], bins: int = 8) -> tuple[float, float]:
    """a and b ≥ 0 of variance = a · intensity + b (Foi, Trimeche, Katkovnik & Egiazarian 2008); 0 and 0 if none fits.

    levels  the patches of each channel

    The noise of patches of like means is measured apart, and the line fitted by least squares; intensities where
    clipping would narrow the noise count for nothing. It is a line that rises only where the noise at the brightest is
    half as much again as at the darkest, and the line explains most of the differences.
    """
    from scipy.optimize import nnls

    points = []
    for patches in levels:
        means = patches.mean(1)
        order = means.argsort()
        for part in np.array_split(order, bins):
            if len(part) >= 4 * patches.shape[1]:
                found = noise_level(patches[part])
                mean = float(means[part].mean())
                if found > 0 and min(mean, 1 - mean) > 2 * found:
                    points.append((mean, found**2))
    if len(points) < 4:
        return 0.0, 0.0
    x, y = np.array(points).T
    (slope, rest), _ = nnls(np.stack([x, np.ones_like(x)], 1) / y[:, None], np.ones_like(x))
    line = slope * x + rest
    rises = slope * x.max() + rest > 1.5**2 * (slope * x.min() + rest) * 0.75
    explains = ((y - line) ** 2).sum() < 0.4 * ((y - y.mean()) ** 2).sum()
    return (float(slope), float(rest)) if rises and explains else (0.0, 0.0)


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
    if not FEWEST_LOST / 2 < extreme.mean() < 0.98:
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
