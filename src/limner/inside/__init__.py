"""Looking inside a learner with latents: paths between them, along them, back to them, and what each of them does."""

from limner.inside.attribution import Attribution, attribution
from limner.inside.inversion import Inversion, invert
from limner.inside.latents import decoded, drawn, has_dimensions, has_latents
from limner.inside.paths import Interpolation, Traversal, interpolate, slerp, traverse

__all__ = [
    "Attribution",
    "Interpolation",
    "Inversion",
    "Traversal",
    "attribution",
    "decoded",
    "drawn",
    "has_dimensions",
    "has_latents",
    "interpolate",
    "invert",
    "slerp",
    "traverse",
]
