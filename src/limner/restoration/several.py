"""What is wrong with several images together: one degradation, its ranges as wide as the images differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from torch import Tensor

from limner.restoration.estimate import BLURRED, Found, estimate

MOST, SIDE = 20, 512
"""Images that are looked at, at most, and the side of the part of each, in its middle."""

OUTER = (0.1, 0.9)
"""Ranges leave a tenth of the images outside at either end: an estimate can be far off."""

ALIKE = 0.1
"""Numbers that differ by a smaller part of themselves are one number."""

BLURS = 1.25
"""How many times as soft as those of clean images edges must be to be called blurred."""


class Together(NamedTuple):
    """What was found in several images: the degradation as text, empty where nothing is wrong, and in sentences."""

    degradation: str
    sentences: tuple[str, ...]


def estimated(damaged: Sequence[Tensor], clean: Sequence[Tensor] = (), seed: int = 0) -> Together:
    """The degradation that images seem to have, uint8 ``(c, h, w)`` each of any size; looked at are 20 at most.

    What most of them have is told (:func:`limner.restoration.estimate.estimate`), in numbers from the lower to the
    upper tenth. ``clean`` images of the same kind show how soft edges are without damage, so that blur can be told:
    Gaussian blurs of widths a and b make one of √(a² + b²).
    """
    found = [_look(image, seed) for image in _some(damaged)]
    pristine = [_look(image, seed) for image in _some(clean)]
    kinds = Counter(one.kind for one in found if one.noise is not None)
    kind, agree = kinds.most_common(1)[0] if kinds else ("none", 0)
    alike = [one for one in found if one.kind == kind and one.noise is not None]
    blur, told_of_blur = _blur(found, pristine)
    parts = [blur] if blur else []
    if kind in ("gaussian", "coarse"):
        parts.append(f"gaussian({_range([255 * (one.noise or 0) for one in alike])})")
    if kind == "poisson_gaussian":
        photons, read = _range([one.photons for one in alike]), [255 * one.read for one in alike]
        rest = f",sigma={_range(read)}" if np.median(read) > 0.5 else ""
        parts.append(f"poisson_gaussian({photons}{rest})" if rest else f"poisson({photons})")
    striped = [one.stripes for one in found if one.stripes is not None]
    told_of_stripes = ""
    if 2 * len(striped) > len(found):
        direction = Counter(one.direction for one in striped).most_common(1)[0][0]
        along = "" if direction == "rows" else f",direction={direction}"
        parts.append(f"stripes({_range([255 * one.level for one in striped])}{along})")
        told_of_stripes = f"{len(striped)} have stripes: {direction} with offsets of their own"
    for word, shares in (
        ("salt_and_pepper", [one.impulses for one in found]),
        ("missing", [one.lost for one in found]),
    ):
        if np.median(shares) > 0:
            parts.append(f"{word}({_range([share for share in shares if share > 0])})")
    what = {
        "none": "no noise", "gaussian": "noise as strong in dark as in bright parts",
        "poisson_gaussian": "noise that grows with the intensity",
        "coarse": "coarse noise, which neighbours share; what learns of independent noise leaves part of it",
    }[kind]  # fmt: skip
    text = "+".join([*parts, "quantise(8)"]) if parts else ""
    measured = f"{agree} of {len(found)} images that were looked at have {what}"
    measured += ", and no more of them agree on anything else" if 2 * agree <= len(found) else ""
    return Together(text, tuple(sentence for sentence in (measured, told_of_stripes, told_of_blur) if sentence))


def _look(image: Tensor, seed: int) -> Found:
    height, width = image.shape[1:]
    top, left = max(height - SIDE, 0) // 2, max(width - SIDE, 0) // 2
    return estimate(image[None, :, top : top + SIDE, left : left + SIDE].float() / 255, seed=seed)


def _some(images: Sequence[Tensor]) -> list[Tensor]:
    return [images[int(place)] for place in np.linspace(0, len(images) - 1, min(MOST, len(images))).round()]


def _blur(found: Sequence[Found], pristine: Sequence[Found]) -> tuple[str, str]:
    """A blur's text, and a sentence of it; both empty where there is none to tell of."""
    widths = [one.blur.width for one in found if one.blur is not None and one.blur.trusted]
    sharp = [one.blur.width for one in pristine if one.blur is not None and one.blur.trusted]
    if not sharp or 2 * len(widths) < len(found):
        return "", ""
    before, after = float(np.median(sharp)), float(np.median(widths))
    if after < max(BLURRED, BLURS * before):
        return "", ""
    width = sqrt(after**2 - before**2)
    told = f"edges are {after:.1f} pixels soft where those of clean images are {before:.1f}, as after a Gaussian blur"
    return f"blur(gaussian,width={width:.2g})", told


def _range(values: Sequence[float]) -> str:
    """Numbers as the text of one, or of a range.

    >>> _range([24.9, 25.0, 25.3]), _range([10.0, 20.0, 30.0])
    ('25', '12..28')
    """
    low, middle, high = np.quantile(values, (OUTER[0], 0.5, OUTER[1]))
    return f"{middle:.3g}" if high - low <= ALIKE * middle else f"{low:.3g}..{high:.3g}"
