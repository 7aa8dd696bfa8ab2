"""How clean images become observed ones: noise, blur, masks, down-sampling, JPEG, chains and random ranges of these."""

from __future__ import annotations

from limner.degradations.base import Chain, Degradation, OneOf, Parameters, Range, Stage
from limner.degradations.linear import Convolution, Identity, Linear, Mask
from limner.degradations.text import STAGES, UNKNOWN, parse

__all__ = [
    "STAGES",
    "UNKNOWN",
    "Chain",
    "Convolution",
    "Degradation",
    "Identity",
    "Linear",
    "Mask",
    "OneOf",
    "Parameters",
    "Range",
    "Stage",
    "parse",
]
