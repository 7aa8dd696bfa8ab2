"""Built-in ``glyphs``: characters of many scripts, each a class, drawn as if by many hands.

Each drawing takes a random font among those that have the character, and varies it by a random affine map, a random
stroke width and an elastic deformation (Simard, Steinkraus & Platt 2003). White ink on black, as in MNIST.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks import cache
from limner.tasks.handwriting import NUMBERS, draw
from limner.tasks.image_set import ImageSet
from limner.tasks.select import choose_classes, wanted
from limner.tasks.spec import Spec, nearest

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Picture = np.ndarray[Any, Any]

FONTS = (
    "DejaVuSans", "DejaVuSerif", "STIXGeneral", "DejaVuSansMono", "DejaVuSans-Oblique", "DejaVuSerif-Italic",
    "STIXGeneralItalic", "DejaVuSansMono-Oblique",
)  # fmt: skip
"""The fonts, all shipped with matplotlib; the first that has a character decides which characters look alike."""

LICENCE = "drawn from DejaVu (Bitstream Vera licence) and STIX (SIL Open Font Licence) fonts"
SYMBOLS = {
    "arrows": (range(0x2190, 0x2200), range(0x27F0, 0x2800), range(0x2900, 0x2980), range(0x2B00, 0x2B60)),
    "maths": (range(0x2200, 0x2300), range(0x27C0, 0x27F0), range(0x2980, 0x2B00)),
    "technical": (range(0x2300, 0x2400),),
    "shapes": (range(0x25A0, 0x2600),),
    "signs": (range(0x2600, 0x27C0), range(0x20A0, 0x20D0)),
}
"""Scripts that are ranges of symbols."""

LETTERS = (
    "LATIN", "GREEK", "COPTIC", "CYRILLIC", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC", "NKO", "LAO", "TIFINAGH",
    "OGHAM", "CANADIAN SYLLABICS", "LISU", "RUNIC", "THAI", "BOPOMOFO", "VAI", "OLD ITALIC", "DESERET",
)  # fmt: skip
"""Scripts that are known by the first words of a character's name."""


class Character(NamedTuple):
    """A class: its character, name and script, and the fonts that have it."""

    text: str
    name: str
    script: str
    fonts: tuple[str, ...]


def script_of(text: str) -> str | None:
    """The script of a character, or ``None`` where it has no place among the glyphs.

    >>> script_of("ξ"), script_of("7"), script_of("→"), script_of(" ")
    ('greek', 'digits', 'arrows', None)
    """
    category, name = unicodedata.category(text), unicodedata.name(text, "")
    if "0" <= text <= "9":
        return "digits"
    if name.startswith("MATHEMATICAL ") and any(style in name for style in ("FRAKTUR", "SCRIPT", "DOUBLE-STRUCK")):
        return None if "BOLD" in name or "DIGIT" in name else "calligraphic"
    if unicodedata.normalize("NFKC", text) != text:
        return None  # the same character in another dress: ligatures, full width, roman numerals, …
    if category in ("Lu", "Ll", "Lo"):
        return next((script.lower() for script in LETTERS if name.startswith(script + " ")), None)
    if category in ("Sm", "So", "Sc"):
        return next((s for s, ranges in SYMBOLS.items() if any(ord(text) in points for points in ranges)), None)
    return None


def load(spec: Spec, called: str, progress: Callable[[int, int], None] | None = None) -> ImageSet:
    """Draw the image set of a ``glyphs`` spec, or take it from the cache.

    Options: ``size`` (28), ``per_class`` drawings of each character (20), ``script`` (all), ``characters`` (at most
    this many, chosen by the seed), ``seed`` (0). Raises :class:`LimnerError` for a script that does not exist.
    """
    options = spec.options
    size, per_class, seed = options.get("size", 28), options.get("per_class", 20), options.get("seed", 0)
    chosen = _choose(options.get("script"), options.get("characters"), seed)
    if "classes" in options:
        chosen = _named(options["classes"], chosen, called)
    scripts = tuple(dict.fromkeys(character.script for character in chosen))
    name = cache.key("glyphs", VERSION, [c.text for c in chosen], size, per_class, seed)
    kept = cache.find(name)
    if kept is None:
        images = cache.keep(name, _drawings(chosen, size, per_class, seed, progress), {"what": called})
    else:
        images = kept[0]
    made = ImageSet(
        images,
        called,
        labels=torch.arange(len(chosen)).repeat_interleave(per_class),
        class_names=tuple(character.name for character in chosen),
        class_groups=torch.tensor([scripts.index(character.script) for character in chosen]),
        group_names=scripts,
        licence=LICENCE,
    )
    if "limit" in options:
        made = made.select(wanted(made.labels, len(made), None, options["limit"]))
    return replace(made, images=made.images.expand(-1, 3, -1, -1)) if options.get("colour") == "rgb" else made


def _named(classes: str, characters: list[Character], called: str) -> list[Character]:
    """The characters that ``classes`` names, by name, index or the character itself: only those are drawn."""
    words = classes.split("+")
    words = [unicodedata.name(word) if len(word) == 1 and word not in "0123456789" else word for word in words]
    return [characters[index] for index in choose_classes("+".join(words), [c.name for c in characters], called)]


VERSION = 3
"""Raised when the same options draw differently."""


def _choose(scripts: str | None, most: int | None, seed: int) -> list[Character]:
    everything = characters()
    if scripts is not None:
        known = sorted({character.script for character in everything})
        for script in scripts.split("+"):
            if script not in known:
                raise LimnerError(
                    f"glyphs has no script {script!r}{nearest(script, known)}; it has: {', '.join(known)}"
                )
        everything = tuple(character for character in everything if character.script in scripts.split("+"))
    if most is None or most >= len(everything):
        return list(everything)
    order = torch.randperm(len(everything), generator=generator(seed, "glyphs", "characters"))
    return [everything[index] for index in order[:most].sort().values.tolist()]


@lru_cache(maxsize=1)
def characters() -> tuple[Character, ...]:
    """Every character that is a class, by code point: those that look like an earlier one are left out."""
    covered = _coverage()
    found = []
    for point in sorted(set().union(*covered.values())):
        script = script_of(chr(point))
        if script is not None:
            fonts = tuple(font for font in FONTS if point in covered[font])
            found.append(Character(chr(point), unicodedata.name(chr(point)), script, fonts))
    key = cache.key("glyph-characters", VERSION, [(c.text, c.fonts) for c in found])
    kept = cache.find(key)
    if kept is None:
        pictures = np.stack([render(c.text, c.fonts[0], 24, 20) for c in found])
        cache.keep(key, [_distinct(torch.from_numpy(pictures)).to(torch.uint8).numpy()], {"what": "glyphs that differ"})
        kept = cache.find(key)
    assert kept is not None
    return tuple(character for character, distinct in zip(found, kept[0].tolist(), strict=True) if distinct)


def _distinct(pictures: Tensor, least: float = 0.10) -> Tensor:
    """Which ``(n, side, side)`` pictures differ from all earlier ones that are kept.

    Two pictures look alike where the difference of their slightly blurred ink is under ``least`` of the ink of both.
    """
    flat = functional.avg_pool2d(pictures[:, None].float() / 255, 3, 1, 1).flatten(1)
    ink = flat.sum(1)
    kept = ink > 1
    for start in range(0, len(flat), 512):
        distance = torch.cdist(flat[start : start + 512], flat, p=1) / (ink[start : start + 512, None] + ink)
        for row, near in enumerate(distance < least):
            index = start + row
            kept[index] &= not bool((near[:index] & kept[:index]).any())
    return kept


def font_folder() -> Path:
    """Where matplotlib keeps its fonts."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@lru_cache(maxsize=1)
def _coverage() -> dict[str, frozenset[int]]:
    """The code points that each font has a picture for."""
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

    covered = {}
    for name in FONTS:
        path = font_folder() / f"{name}.ttf"
        if not path.exists():
            raise LimnerError(f"the font {path.name} is missing from matplotlib; reinstall matplotlib to draw glyphs")
        with TTFont(path, lazy=True) as font:
            covered[name] = frozenset(font.getBestCmap())
    return covered


@lru_cache(maxsize=len(FONTS))
def _font(name: str, points: int = 96) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(font_folder() / f"{name}.ttf"), points, layout_engine=ImageFont.Layout.BASIC)


def render(text: str, font: str, side: int, longest: int) -> Picture:
    """The character in the middle of a uint8 ``(side, side)`` picture, its longer extent ``longest`` pixels.

    >>> picture = render("O", "DejaVuSans", 64, 44)
    >>> picture.shape, int((picture.max(0) > 0).sum()) <= 46
    ((64, 64), True)
    """
    from PIL import Image, ImageDraw

    left, top, right, bottom = _font(font).getbbox(text)
    picture = Image.new("L", (side, side))
    if right <= left or bottom <= top:
        return np.array(picture)
    large = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(large).text((-left, -top), text, font=_font(font), fill=255)
    scale = longest / max(large.size)
    small = large.resize(
        (max(1, round(large.width * scale)), max(1, round(large.height * scale))), Image.Resampling.BOX
    )
    picture.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return np.array(picture)


def _drawings(
    chosen: list[Character], size: int, per_class: int, seed: int, progress: Callable[[int, int], None] | None
) -> Iterator[Picture]:
    """All drawings, class after class, in parts that fit in memory."""
    side = 64 if size <= 32 else 128
    together = max(1, 1024 // per_class)
    for start in range(0, len(chosen), together):
        masters, random = [], []
        for character in chosen[start : start + together]:
            fonts = np.stack([render(character.text, font, side, side * 11 // 16) for font in character.fonts])
            # a generator of its own, so that a class looks the same whichever others are wanted
            own = generator(seed, "glyphs", character.text)
            masters.append(torch.from_numpy(fonts)[torch.randint(len(fonts), (per_class,), generator=own)])
            random.append(torch.rand(per_class, NUMBERS, generator=own))
        pictures, numbers = torch.cat(masters), torch.cat(random)
        for first in range(0, len(pictures), 2048):
            chunk = slice(first, first + 2048)
            yield draw(pictures[chunk].float() / 255, numbers[chunk], size).numpy()
        if progress is not None:
            progress(min(start + together, len(chosen)), len(chosen))
