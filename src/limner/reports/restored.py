"""The page of restored images: each before, after, and what was removed, with what is known of how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

WIDE, DETAIL, DETAIL_FROM = 480, 160, 2
"""The longer side of a picture on the page; that of the part of a larger one shown pixel by pixel; and from how many
times that size on."""

GAIN_TO = 3.0
"""What was removed is shown so that this many of its standard deviations fill the scale from grey to black or white."""

SCORED = 100
"""Rows of scores, at most."""


@dataclass(frozen=True)
class Shown:
    """What the page shows of one image: addresses of pictures with their captions, whole and in detail."""

    name: str
    whole: list[tuple[str, str]]
    detail: list[tuple[str, str]]
    told: dict[str, Any]


def thumbnails(name: str, damaged: Tensor, restored: Tensor, clean: Tensor | None, told: dict[str, Any]) -> Shown:
    """Small copies of float images ``(1, c, h, w)``: before, after, removed, and where there is a truth, the error."""
    before = damaged
    if damaged.shape != restored.shape:  # made larger
        before = functional.interpolate(damaged, restored.shape[2:], mode="nearest")
    removed, gain = _amplified(before - restored)
    pictures = [("before", before), ("after", restored), (f"what was removed, ×{gain:.3g}", removed)]
    if clean is not None and clean.shape == restored.shape:
        error, gain = _amplified(restored - clean)
        pictures.append((f"error against the truth, ×{gain:.3g}", error))
    height, width = restored.shape[2:]
    detail: list[tuple[str, str]] = []
    if max(height, width) > DETAIL_FROM * DETAIL:
        top, left = _liveliest(restored)
        detail = [
            (caption, _address(images[..., top : top + DETAIL, left : left + DETAIL])) for caption, images in pictures
        ]
    return Shown(name, [(caption, _address(_smaller(images))) for caption, images in pictures], detail, told)


def _amplified(difference: Tensor) -> tuple[Tensor, float]:
    """A difference around middle grey, and how many times it was made larger."""
    gain = 0.5 / max(GAIN_TO * float(difference.std()), 1 / 255) if difference.numel() > 1 else 1.0
    return difference * gain + 0.5, gain


def _smaller(images: Tensor) -> Tensor:
    most = max(images.shape[2:])
    if most <= WIDE:
        return images
    size = [max(1, round(side * WIDE / most)) for side in images.shape[2:]]
    return functional.interpolate(images, size, mode="area")


def _liveliest(images: Tensor) -> tuple[int, int]:
    """The corner of the part that has the most in it, the seventh eighth of them: not a lonely edge."""
    rough = images.mean(1, keepdim=True)
    energy = functional.pad(rough.diff(dim=2).abs(), (0, 0, 0, 1)) + functional.pad(rough.diff(dim=3).abs(), (0, 1))
    height, width = images.shape[2:]
    side = (min(DETAIL, height), min(DETAIL, width))
    means = functional.avg_pool2d(energy, side, stride=[max(1, part // 2) for part in side])[0, 0]
    place = int(means.flatten().argsort()[int(0.875 * (means.numel() - 1))])
    row, column = divmod(place, means.shape[1])
    return row * max(1, side[0] // 2), column * max(1, side[1] // 2)


def _address(images: Tensor) -> str:
    from limner.reports.page import data_uri

    return data_uri((images[0].clamp(0, 1) * 255).round().to(torch.uint8))


def _scored(images: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """A row for each image with a truth, and one of their means; – where the damaged image has another size."""
    kinds = {"psnr": ".2f", "ssim": ".4f", "feature_distance": ".3f"}
    names = {f"{kind}_{when}": form for kind, form in kinds.items() for when in ("before", "after")}
    with_truth = [one for one in images if "scores" in one]
    rows = [(one["image"], [one["scores"].get(name) for name in names]) for one in with_truth]
    if len(rows) > 1:
        columns = zip(*(values for _, values in rows), strict=True)
        means = [None if None in column else sum(column) / len(column) for column in columns]
        rows = [*rows[:SCORED], (f"mean of {len(rows)}", means)]

    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return [
        (image, [shown(value, form) for value, form in zip(values, names.values(), strict=True)])
        for image, values in rows
    ]


def write(path: Path, record: dict[str, Any], shown: Sequence[Shown]) -> Path:
    """Write the page at ``path``; its path.

    record  what ``restored.json`` holds
    """
    from limner.model_file import write_atomically
    from limner.reports.page import environment, versions

    page = (
        environment()
        .get_template("restored.html")
        .render(
            title=Path(record["asked"]["source"]).name or "Restored images",
            record=record,
            shown=shown,
            scored=_scored(record["images"]),
            count=len(record["images"]),
            seconds=sum(one["seconds"] for one in record["images"]),
            versions=versions(),
        )
    )
    write_atomically(path, page.encode())
    return path
