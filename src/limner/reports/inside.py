"""Pictures of what is inside a learner with latents, for the page of a run and for a page of their own."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.inside import Attribution, Inversion, attribution, has_dimensions, interpolate, traverse
from limner.inside.latents import latent_shape
from limner.reports.figures import grid

if TYPE_CHECKING:
    from PIL.Image import Image

    from limner.engine import Run

CELL = 72
"""Images are enlarged to about so many pixels a side."""

SHOWN_DIMENSIONS = 8
"""Of the latent dimensions, those that change most are shown."""

BESIDE = 10
"""Images beside what was made of them, in one row."""


@dataclass(frozen=True)
class Panel:
    """A picture with its heading and what it shows in words; ``name`` is that of its file."""

    name: str
    title: str
    caption: str
    picture: Image

    @property
    def address(self) -> str:
        """The picture as the address that holds it whole."""
        buffer = io.BytesIO()
        self.picture.save(buffer, format="PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def of_run(run: Run, seed: int = 0) -> list[Panel]:
    """What the page of a run with latents shows of them: ways between images, and what single dimensions change."""
    return [between(run, seed), *of_dimensions(run, found_in(run, seed=seed, count=8), seed)]


def found_in(run: Run, extractor: str | None = None, seed: int = 0, count: int = 16) -> Attribution | None:
    """What each latent dimension changes; ``None`` where latents are maps."""
    if not has_dimensions(run.learner):
        return None
    return attribution(run, count, extractor=extractor, seed=seed)


def of_dimensions(run: Run, found: Attribution | None, seed: int = 0) -> list[Panel]:
    """What single dimensions change; nothing where latents are maps."""
    return [] if found is None else [along(run, found, seed), where(found)]


def between(run: Run, seed: int = 0) -> Panel:
    """Ways from one sample to another."""
    images = interpolate(run, seed=seed).images
    return Panel(
        "interpolation",
        "From one image to another",
        "Each row leads from one new image, on its left, to another, on its right, through the latents between them "
        "along a great circle. Where all between look like images too, it has learned more than single images.",
        grid(images.flatten(0, 1), columns=images.shape[1], scale=_scale(images)),
    )


def along(run: Run, found: Attribution, seed: int = 0) -> Panel:
    """What one sample becomes as the dimensions that change most are moved."""
    chosen = found.order[:SHOWN_DIMENSIONS].tolist()
    moved = traverse(run, chosen, seed=seed)
    steps = moved.images.shape[1]
    captions = [""] * (len(chosen) * steps)
    for row, place in enumerate(chosen):
        captions[row * steps] = f"dimension {place}"
    reach = float(moved.offsets[-1])
    return Panel(
        "traversal",
        "Along single dimensions",
        f"One new image, in the middle of each row; a single dimension of its latent is moved from {-reach:g} to "
        f"{reach:g} standard deviations, all others held. These are the {len(chosen)} dimensions that change most "
        f"pixels, of {len(found.order)}.",
        grid(moved.images.flatten(0, 1), columns=steps, scale=_scale(moved.images), captions=captions),
    )


def where(found: Attribution) -> Panel:
    """Heat maps of the dimensions that change most."""
    chosen = found.order[: 2 * SHOWN_DIMENSIONS]
    maps = found.maps[chosen]
    bright = (maps / maps.max().clamp(min=1e-12)).mul(255).round().to(torch.uint8)[:, None]
    captions = [f"{place}: {float(found.pixels[place]):.3f}" for place in chosen.tolist()]
    return Panel(
        "attribution",
        "What changes where",
        "For each dimension, the brighter a place the more it changes at one standard deviation to either side, on "
        "average over several images; below each map the dimension and its mean absolute change of pixels, 0 to 1.",
        grid(bright, columns=SHOWN_DIMENSIONS, scale=_scale(bright), captions=captions, background=255),
    )


def back(wanted: Tensor, found: Inversion, features: str, sought: bool = True) -> Panel:
    """Real images, and the nearest that the run can make; ``wanted``: uint8 ``(n, c, h, w)``.

    sought  whether latents were sought, or are those that the run itself gives the images
    """
    captions = [f"apart {float(error):.3f}" for error in found.error]
    by = "" if features == "pixels" else f" and in the features of {features}"
    how = f"the nearest image that it can make: a latent is sought whose image is nearest in pixels{by}"
    if not sought:
        how = "what it makes of the latent that it gives them itself"
    began = f", and was {float(found.first_error.mean()):.3f} where the search began" if sought else ""
    return Panel(
        "inversion",
        "Real images, found among its latents",
        f"Above real images, below each {how}. What it cannot make again it has not learned. Apart is the root mean "
        f"squared difference of intensities, 0 to 1; its mean is {float(found.error.mean()):.3f}{began}.",
        _rows(wanted, found.images, captions),
    )


def beside(samples: Tensor, known: Tensor, distance: Tensor) -> Panel:
    """New images, and below each the nearest image learned from, ``known``: uint8 ``(n, c, h, w)`` both."""
    return Panel(
        "nearest",
        "New images beside the nearest learned from",
        "Above new images, drawn at random; below each the image learned from that is most like it. Apart is the root "
        "mean squared difference of intensities, 0 to 1, at 16 × 16 pixels.",
        _rows(samples, known, [f"apart {float(apart):.3f}" for apart in distance]),
    )


def write(directory: str | Path, run: Run, panels: Sequence[Panel], found: Attribution | None, features: str) -> Path:
    """Write ``report.html`` and a PNG file of each panel into the directory; the page's path.

    found  what each dimension changes; ``None`` where latents are maps
    """
    from limner.model_file import write_atomically
    from limner.reports import words
    from limner.reports.page import environment, versions

    place = Path(directory)
    for panel in panels:
        buffer = io.BytesIO()
        panel.picture.save(buffer, format="PNG", optimize=True)
        write_atomically(place / f"{panel.name}.png", buffer.getvalue())
    page = (
        environment()
        .get_template("inside.html")
        .render(
            title=words.title(run.task_name),
            learner=words.learner_in_words(run.learner),
            latent=latent_shape(run.learner),
            panels=panels,
            rows=table(found),
            features=features,
            versions=versions(),
        )
    )
    write_atomically(place / "report.html", page.encode())
    return place / "report.html"


def table(found: Attribution | None) -> list[dict[str, Any]]:
    """What each dimension changes, those that change most pixels first; nothing where latents are maps."""
    if found is None:
        return []
    total = float(found.pixels.sum()) or 1.0
    return [
        {
            "dimension": place,
            "pixels": float(found.pixels[place]),
            "share": float(found.pixels[place]) / total,
            "features": None if found.features is None else float(found.features[place]),
        }
        for place in found.order.tolist()
    ]


def _rows(above: Tensor, below: Tensor, captions: Sequence[str]) -> Image:
    """Pairs one above the other, in double rows of ``BESIDE``."""
    parts, told = [], []
    for at in range(0, len(above), BESIDE):
        pair = (above[at : at + BESIDE], below[at : at + BESIDE])
        short = BESIDE - len(pair[0]) if at else 0  # only a last row that is not the first needs blanks
        blank = above.new_full((short, *above.shape[1:]), 255)
        parts += [pair[0], blank, pair[1], blank]
        told += [""] * (len(pair[0]) + short) + [*captions[at : at + BESIDE], *[""] * short]
    return grid(torch.cat(parts), columns=min(BESIDE, len(above)), scale=_scale(above), captions=told)


def _scale(images: Tensor) -> int:
    return max(1, round(CELL / images.shape[-1]))
