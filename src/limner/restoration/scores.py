"""How near a restored picture comes to the clean one, where there is one."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.engine.run import as_bytes
from limner.metrics.features import PHOTOGRAPH_SIDE, extractor
from limner.metrics.fidelity import signal_to_noise, structural_similarities

NETWORK = "efficientnet-lite0"
"""In whose features the perceptual distance is measured."""

MOST_PARTS = 16
"""Of a picture that features are taken of."""


def against(damaged: Tensor, restored: Tensor, clean: Tensor) -> tuple[dict[str, float], list[str]]:
    """Scores of ``(1, c, h, w)`` in [0, 1] against the clean one, before and after, and sentences that tell them.

    PSNR in decibels, SSIM, and the distance of features (:func:`feature_distance`); those of the damaged picture are
    left out where it is of another size. Raises :class:`LimnerError` where the clean one does not fit the restored one.
    """
    true, scores = as_bytes(clean), {}
    for when, images in (("before", damaged), ("after", restored)):
        if when == "after" or images.shape == clean.shape:
            made = as_bytes(images)
            scores[f"psnr_{when}"] = float(signal_to_noise(made, true))
            scores[f"ssim_{when}"] = float(structural_similarities(made, true))
            scores[f"feature_distance_{when}"] = feature_distance(made, true)

    def told(what: str, name: str, form: str, unit: str = "") -> str:
        before = scores.get(f"{name}_before")
        less = "" if before is None else f" (before: {before:{form}})"
        return f"{what}: {scores[f'{name}_after']:{form}}{unit}{less}."

    return scores, [
        told("PSNR against the truth", "psnr", ".2f", " dB"),
        told("SSIM against the truth", "ssim", ".4f"),
        told(f"Distance to the truth in {NETWORK} features", "feature_distance", ".3f"),
    ]


def feature_distance(images: Tensor, truth: Tensor) -> float:
    """The mean over parts of ‖f(x) − f(y)‖ / ‖f(y)‖ of pictures x and y, f the features of EfficientNet-Lite0.

    The network was trained to name the objects of photographs. The distance sees smearing that PSNR forgives, but was
    never held against what people see. Parts are squares of 128 pixels, at most 16, spread evenly, at their own scale;
    a smaller picture is enlarged.

    images, truth  uint8 ``(1, c, h, w)``

    >>> ramp = torch.arange(256).to(torch.uint8).expand(1, 1, 128, 256)
    >>> feature_distance(ramp, ramp), feature_distance(255 - ramp, ramp) > 0.1
    (0.0, True)
    """
    features = extractor(NETWORK)
    first, second = (features(torch.cat(_parts(one))) for one in (images, truth))
    return float(((first - second).norm(dim=1) / second.norm(dim=1).clamp(min=1e-12)).mean())


def _parts(images: Tensor) -> list[Tensor]:
    down, across = (_starts(side) for side in images.shape[2:])
    side = PHOTOGRAPH_SIDE
    return [images[..., top : top + side, left : left + side] for top in down for left in across]


def _starts(length: int) -> list[int]:
    """Where parts begin along a side: as many as have room, at most four."""
    count = max(1, min(int(MOST_PARTS**0.5), length // PHOTOGRAPH_SIDE))
    room = max(0, length - PHOTOGRAPH_SIDE)
    return [room * place // max(1, count - 1) if count > 1 else room // 2 for place in range(count)]
