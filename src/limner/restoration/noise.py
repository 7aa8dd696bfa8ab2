"""How strong the noise of an image is, found in the image alone: white or coarse, growing with the intensity or not;
what JPEG leaves of it, and the blocks it adds."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SIDE = 8
"""Of the patches that noise is measured in."""

SMALLER = ((5, 1), (3, 7))
"""Sides where too many pixels are lost for whole patches of the other size, and how many times as many patches each
takes: in small ones noise is less surely told from texture, and found too low."""

PART_SIDE = 6
"""Of the parts of patches that the noise of a few of them is measured in: their eigenvalues spread less."""

FEWEST_PATCHES, MOST_PATCHES = 150, 8_000
TEXTURE = 3.0
"""A patch is taken to be flat whose neighbours differ by no more than what the noise explains and so many times that
energy's standard deviation: the fewer pixels there are, the more of it is chance."""

CLEAN = 2 / 255
"""Noise below this is not told from fine texture, and hardly seen."""

FLAT_SIDE, FEWEST_FLAT = 16, 256
"""Of the blocks that JPEG's noise is measured in, and how many there must be."""

SURVIVED, NOT_TEXTURE = 0.85 / 255, 4.5 / 255
"""Less in flat blocks is left in the JPEG file of a clean photograph too, and more is what the picture shows."""


def patches_of(channel: Array, seen: Array, seed: int) -> Array:
    """Patches at random places, ``(n, d)``, of which no pixel was lost; smaller ones where there are too few."""
    from scipy import ndimage

    drawn = np.random.default_rng(seed)
    found: Array = np.empty((0, SIDE**2))
    for side, times in ((SIDE, 1), *SMALLER):
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
        if len(found) >= times * FEWEST_PATCHES:
            return found
    return found[:0]


def noise_level(patches: Array) -> float:
    """The standard deviation of the noise in ``(n, d)`` patches, of intensities in [0, 1].

    The covariance of patches has, beside a few large eigenvalues from what they show, many that are the variance of
    noise alone: the largest set of smallest eigenvalues whose mean is their median (Chen, Zhu & Heng, ICCV 2015). It
    is taken of patches with weak texture, found in turns with it (as Liu, Tanaka & Okutomi 2013, by the energy of their
    gradients), and away from 0 and 1 where intensities are clipped.
    """
    side = int(sqrt(patches.shape[1]))
    differences = 2 * side * (side - 1)
    chance = 1 + TEXTURE * sqrt(3 / differences)  # each of 2σ² on the mean, and like a few others
    sigma = _least_eigenvalues(patches)
    for _ in range(4):
        central = _away_from_the_ends(patches, sigma)
        squares = central.reshape(-1, side, side)
        energy = (np.diff(squares, axis=1) ** 2).sum((1, 2)) + (np.diff(squares, axis=2) ** 2).sum((1, 2))
        most = chance * 2 * differences * sigma**2
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
    levels = [patches_of(channel, there, seed) for channel, there in zip(halves, seen, strict=True)]
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

    The noise of patches of like means is measured apart, and the line fitted by least squares of relative errors;
    intensities where clipping would narrow the noise count for nothing. It is a line that rises only where the noise at
    the brightest is half as much again as at the darkest, and the line explains most of the differences.
    """
    from scipy.optimize import nnls

    points = []
    for whole in levels:
        side = int(sqrt(whole.shape[1]))
        patches = whole.reshape(-1, side, side)[:, :PART_SIDE, :PART_SIDE].reshape(len(whole), -1)
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
    line = y
    for _ in range(3):  # errors are in proportion to what is measured, of which the line tells better than a point
        (slope, rest), _ = nnls(np.stack([x, np.ones_like(x)], 1) / line[:, None], y / line)
        line = slope * x + rest
    rises = slope * x.max() + rest > 1.5**2 * (slope * x.min() + rest) * 0.75
    explains = ((y - line) ** 2).sum() < 0.4 * ((y - y.mean()) ** 2).sum()
    return (float(slope), float(rest)) if rises and explains else (0.0, 0.0)
