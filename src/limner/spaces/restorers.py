"""The spaces of the restorers that need no training beforehand: defaults from the catalogue, ranges from here."""

from __future__ import annotations

from limner.spaces.knobs import Knob, Space

RANGES: dict[tuple[str, str], tuple[float, float]] = {
    ("total-variation", "strength"): (0.1, 4.0),
    ("wavelets", "levels"): (1, 6),
    ("wavelets", "shifts"): (1, 8),
    ("dictionary", "atoms"): (64, 512),
    ("dictionary", "patch"): (4, 12),
    ("dictionary", "examples"): (500, 20_000),
    ("dictionary", "passes"): (1, 8),
    ("non-local-means", "strength"): (0.1, 2.0),
    ("non-local-means", "patch"): (3, 9),
    ("non-local-means", "distance"): (3, 15),
    ("richardson-lucy", "steps"): (5, 500),
    ("zero-shot-noise2noise", "steps"): (100, 5000),
    ("zero-shot-noise2noise", "rate"): (1e-4, 1e-2),
    ("zero-shot-noise2noise", "width"): (8, 96),
    ("blind-spot", "steps"): (100, 5000),
    ("blind-spot", "rate"): (1e-4, 1e-2),
    ("blind-spot", "width"): (8, 96),
    ("blind-spot", "depth"): (3, 12),
    ("blind-spot", "patch"): (32, 128),
    ("deep-image-prior", "steps"): (200, 6000),
    ("deep-image-prior", "patience"): (50, 1000),
    ("deep-image-prior", "rate"): (1e-3, 3e-2),
    ("deep-image-prior", "width"): (8, 64),
    ("plug-and-play", "steps"): (2, 60),
    ("plug-and-play", "trust"): (0.02, 2.0),
}
"""Numbers, by restorer and option, gone through by factors. An option that nothing here tells a range of is no knob."""

WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("wavelets", "wavelet"): ("haar", "db2", "sym4", "sym8", "coif2", "bior4.4"),
    ("plug-and-play", "prior"): ("total-variation", "wavelets", "non-local-means"),
    ("plug-and-play", "scheme"): ("half-quadratic", "proximal-gradient"),
}
"""Choices beside the default, by restorer and option."""

SHARES = {("wiener", "regulariser"): 0.5}
"""Numbers from 0, up to these (0 of Wiener's regulariser: set from the noise)."""


def restorer_space(name: str) -> Space:
    """What can be chosen about a restorer of ``limner.restoration.catalogue``.

    >>> restorer_space("total-variation")["strength"].range
    'a number from 0.1 to 4'
    >>> restorer_space("bm3d").knobs
    ()
    """
    from limner.restoration.catalogue import options_of

    knobs = []
    for option, default in options_of(name).items():
        key = (name, option)
        if key in WORDS:
            knobs.append(Knob(option, "choice", default, words=tuple(dict.fromkeys((default, *WORDS[key])))))
        elif key in SHARES:
            knobs.append(Knob(option, "float", default, 0.0, SHARES[key]))
        elif key in RANGES:
            low, high = RANGES[key]
            knobs.append(Knob(option, "int" if isinstance(default, int) else "float", default, low, high, log=True))
    return Space(f"the restorer {name}", tuple(knobs))
