"""Pictures: grids of images, curves of runs, scores with their intervals and floors."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.reports.words import label, short_number
from limner.types import CurvePoint, Score

if TYPE_CHECKING:
    from PIL.Image import Image

INK, MUTED, LINE = "#23211e", "#716b62", "#dcd6ca"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7f6fd0", "#4d4d4d")
"""Colours that the colour-blind can tell apart (Okabe & Ito 2008, the yellow darkened to be seen on white)."""
DASHES = ("-", (0, (6, 2)), (0, (2, 1.6)), (0, (7, 2, 1.5, 2)))
THEMED = {INK: "currentColor", MUTED: f"var(--muted, {MUTED})", LINE: f"var(--line, {LINE})"} | {
    colour: f"var(--series-{place}, {colour})" for place, colour in enumerate(SERIES, 1)
}
"""In a page, a plot takes the page's own colours, so that it can be read in light and in dark."""


def grid(
    images: Tensor,
    columns: int = 8,
    scale: int = 1,
    gutter: int = 2,
    captions: Sequence[str] | None = None,
    background: int = 255,
) -> Image:
    """``images`` in rows of ``columns``, each pixel enlarged to ``scale`` × ``scale``, with thin gutters between.

    images    uint8 ``(n, c, h, w)``, c = 1 or 3
    captions  a line under each image, shortened to fit; ``None`` = none
    Returns a grey or colour picture, ``columns * w * scale + (columns - 1) * gutter`` wide and likewise high, without
    an outer margin; fewer images than ``columns`` make it narrower. Raises :class:`LimnerError` for what is no image.

    >>> grid(torch.zeros(5, 1, 28, 28, dtype=torch.uint8), columns=3, scale=2).size
    (172, 114)
    """
    from PIL import Image

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise LimnerError(
            f"a grid shows uint8 images of shape (n, 1 or 3, height, width), at least one; these are {images.dtype} of "
            f"shape {tuple(images.shape)}"
        )
    if columns < 1 or scale < 1 or gutter < 0:
        raise LimnerError(
            f"a grid needs columns and scale from 1 and a gutter from 0, not {columns}, {scale}, {gutter}"
        )
    if captions is not None and len(captions) != len(images):
        raise LimnerError(f"{len(images)} images but {len(captions)} captions; give one for each image")
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    caption_height = 14 if captions is not None else 0
    across, down = width * scale + gutter, height * scale + caption_height + gutter
    canvas = torch.full((rows * down - gutter, columns * across - gutter, channels), background, dtype=torch.uint8)
    large = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3).permute(0, 2, 3, 1)
    for index, image in enumerate(large):
        top, left = index // columns * down, index % columns * across
        canvas[top : top + height * scale, left : left + width * scale] = image
    pixels = canvas.numpy()
    picture = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    if captions is not None:
        _caption(picture, captions, columns, (across, down), (width * scale, height * scale), background)
    return picture


def _caption(
    picture: Image,
    captions: Sequence[str],
    columns: int,
    cell: tuple[int, int],
    size: tuple[int, int],
    background: int,
) -> None:
    from PIL import ImageDraw, ImageFont

    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=10)
    ink = 40 if background > 127 else 220
    for index, caption in enumerate(captions):
        left, top = index % columns * cell[0], index // columns * cell[1] + size[1] + 1
        text = caption
        while len(text) > 1 and draw.textlength(text, font=font) > size[0]:
            text = text[:-2].rstrip() + "…"
        draw.text((left, top), text, fill=ink if picture.mode == "L" else (ink, ink, ink), font=font)


@dataclass(frozen=True)
class Plot:
    """A plot: as SVG text for a page, or as a picture. ``words`` tell those who cannot see it what it shows."""

    words: str
    size: tuple[float, float]
    draw: Callable[[Any], None]

    def svg(self) -> str:
        """One ``<svg>`` element that takes its colours and its font from the page around it."""
        from html import escape

        buffer = io.BytesIO()
        self._save(buffer, "svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        text = buffer.getvalue().decode()
        text = text[text.index("<svg") :]
        text = re.sub(r'<g id="[^"]*">', "<g>", text)
        text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
        text = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", text, count=1)
        text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
        for colour, themed in THEMED.items():
            text = text.replace(colour, themed)
        return text.replace("<svg", f'<svg role="img" aria-label="{escape(self.words)}"', 1).strip()

    def image(self, dots_an_inch: int = 144) -> Image:
        """The same as a picture on white."""
        from PIL import Image

        buffer = io.BytesIO()
        self._save(buffer, "png", dpi=dots_an_inch)
        return Image.open(buffer).convert("RGB")

    def _save(self, buffer: io.BytesIO, kind: str, **options: Any) -> None:
        import matplotlib
        from matplotlib.figure import Figure

        style: dict[Any, Any] = {
            "svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": self.words, "font.size": 9.5,
            "text.color": INK,
            "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "axes.titlecolor": INK, "xtick.color": MUTED,
            "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False, "grid.color": LINE,
            "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "grid.linewidth": 0.6, "axes.grid": True,
            "axes.axisbelow": True, "xtick.major.size": 0, "ytick.major.size": 0, "legend.frameon": False,
        }  # fmt: skip
        with matplotlib.rc_context(style):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure.add_subplot())
            figure.savefig(buffer, format=kind, transparent=kind == "svg", **options)


def curve_plot(
    curves: Mapping[str, Sequence[CurvePoint]],
    key: str | Sequence[str],
    floor: float | None = None,
    title: str = "",
    across: str = "step",
) -> Plot:
    """One value, or several, of one or more runs as they went.

    curves  a run's name to its curve
    key     the value to show (``"kernel_distance"``), or several of them
    floor   drawn as a dotted line: what real images score
    across  ``"step"`` or ``"seconds"``
    Raises :class:`LimnerError` where no curve has such a value.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    lines: list[tuple[str, list[float], list[float]]] = []
    for name, curve in curves.items():
        for wanted in keys:
            points = [point for point in curve if wanted in point.values]
            if points:
                told = " · ".join(part for part, many in ((name, len(curves)), (label(wanted), len(keys))) if many > 1)
                lines.append(
                    (told, [float(getattr(point, across)) for point in points], [p.values[wanted] for p in points])
                )
    if not lines:
        raise LimnerError(f"no curve has a value {' or '.join(map(repr, keys))}; it was not measured as the runs went")
    title = title or ", ".join(label(wanted) for wanted in keys)

    def draw(axes: Any) -> None:
        for place, (name, at, values) in enumerate(lines):
            axes.plot(
                at,
                values,
                label=name,
                color=SERIES[place % len(SERIES)],
                linestyle=DASHES[place % len(DASHES)] if len(values) > 1 else "-",
                linewidth=1.9,
                marker="o" if len(values) <= 30 else None,
                markersize=3.6,
            )
        if floor is not None:
            axes.axhline(floor, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="real images")
        axes.set_title(title, loc="left", fontsize=10.5)
        axes.set_xlabel("step" if across == "step" else "seconds")
        axes.margins(x=0.02)
        if across == "step":
            axes.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1 or floor is not None:
            axes.legend(fontsize=8.5, handlelength=2.6, labelspacing=0.3)

    ends = "; ".join(f"{name or title} ends at {short_number(values[-1])}" for name, _, values in lines)
    real = "" if floor is None else f" Real images score {short_number(floor)}."
    return Plot(f"{title} by {across}: {ends}.{real}", (4.5, 2.9), draw)


def score_plot(scores: Mapping[str, Score], title: str) -> Plot:
    """One score of several arms: a dot with its 95% interval for each, and what real images score as a dotted line.

    >>> score_plot({"scratch": Score(0.3, 0.2, 0.4, 0.1)}, "Kernel distance").words
    'Kernel distance: scratch 0.300 (0.200 to 0.400). Real images score 0.100.'
    """
    if not scores:
        raise LimnerError(f"{title}: there is no score to draw")

    def draw(axes: Any) -> None:
        for place, score in enumerate(scores.values()):
            colour = SERIES[place % len(SERIES)]
            if score.low is not None and score.high is not None:
                axes.hlines(place, score.low, score.high, color=colour, linewidth=2.4)
            axes.plot([score.value], [place], "o", color=colour, markersize=7)
            axes.annotate(
                short_number(score.value), (score.value, place), (0, 7), textcoords="offset points", ha="center",
                fontsize=8.5, color=INK,
            )  # fmt: skip
            if score.floor is not None:
                axes.vlines(
                    score.floor, place - 0.5, place + 0.5, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)),
                    label="real images" if place == 0 else None,
                )  # fmt: skip
        axes.set_yticks(range(len(scores)), [textwrap.fill(name, 22) for name in scores], color=INK)
        axes.set_ylim(len(scores) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
        axes.set_title(title, loc="left", fontsize=10.5)
        if any(score.floor is not None for score in scores.values()):
            axes.legend(fontsize=8.5, loc="upper right", bbox_to_anchor=(1, -0.12), borderaxespad=0)

    told = []
    for name, score in scores.items():
        ends = "" if score.low is None or score.high is None else f" ({_span(score)})"
        told.append(f"{name} {short_number(score.value)}{ends}")
    floors = dict.fromkeys(short_number(score.floor) for score in scores.values() if score.floor is not None)
    real = f" Real images score {' and '.join(floors)}." if floors else ""
    return Plot(f"{title}: {', '.join(told)}.{real}", (4.5, 0.9 + 0.55 * len(scores)), draw)


def _span(score: Score) -> str:
    return f"{short_number(score.low or 0.0)} to {short_number(score.high or 0.0)}"
