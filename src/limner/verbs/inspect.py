"""Looking inside a run: one page with the pictures of its latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.seeds import derive, generator
from limner.verbs import directories
from limner.verbs.line import task_of
from limner.verbs.load import load

if TYPE_CHECKING:
    from torch import Tensor

    from limner.engine import Run
    from limner.reports.inside import Panel
    from limner.tasks import ImageSet

SOUGHT = 10
"""Real images that are sought among the latents."""

BESIDE = 20
"""Samples that are shown beside the nearest image learned from."""


class Neighbours(NamedTuple):
    """``samples``, the ``nearest`` image learned from of each, uint8 ``(n, c, h, w)``, and how far apart, ``(n,)``."""

    samples: Tensor
    nearest: Tensor
    distance: Tensor


class Inspected(NamedTuple):
    """Where the page and its pictures are, what each dimension changes, and what could not be shown."""

    directory: Path
    page: Path
    pictures: list[Path]
    dimensions: list[dict[str, Any]]
    notes: list[str]


def nearest(run: Run, learned: Tensor | None = None, *, count: int = 16, seed: int = 0) -> Neighbours:
    """``count`` new images, and the image learned from that each is most like (:mod:`limner.reports.nearest`).

    learned  uint8 ``(n, c, h, w)``; ``None``: loaded again, where the run's directory tells what it learned from

    Raises :class:`LimnerError` where the run makes no images, or it is not told what it learned from.
    """
    from limner.reports.nearest import nearest as found_in

    if "sample" not in run.learner.answers:
        raise LimnerError(f"{run.task_name} was learned by a {run.learner.kind}, which makes no new images")
    if learned is None:
        learned = task_of(str(run.lineage.get("directory", run.task_name))).support.images
    if not len(learned) or tuple(learned.shape[1:]) != tuple(run.learner.image_shape):
        raise LimnerError(
            f"{run.task_name} makes images of shape {tuple(run.learner.image_shape)}, but those to hold beside them "
            f"are of shape {tuple(learned.shape)}; give as many channels and pixels, and at least one"
        )
    samples = run.sample(count, seed=seed)
    found = found_in(samples, learned)
    return Neighbours(samples, learned[found.place], found.distance)


def inspect(
    model: str,
    data: str | None = None,
    *,
    extractor: str | None = None,
    steps: int = 200,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
) -> Inspected:
    """Write a page that looks inside a run with latents: ways between images, single dimensions, real images found.

    Where latents are maps, a flow's noise or a VQ-VAE's codes, single dimensions mean nothing and are left out, and
    real images are held against what becomes of the latents that the run itself gives them: no search then.

    model      a run directory, a run or model of the memory, or ``hf:NAME``
    data       a data spec: real images to find among the latents. ``None``: those that the run was judged on
    extractor  features beside pixels; ``None`` = what fits the images
    steps      of Adam, in the search for each image

    Raises :class:`LimnerError` where the run has no latents, the images do not fit it, or ``out`` exists.
    """
    from limner import metrics
    from limner.inside import has_dimensions, invert
    from limner.inside.latents import latent_learner
    from limner.reports import inside

    directory = directories.claim(out, f"{Path(model.replace(':', '-')).name}-inside", force, model)
    run = load(model, memory=memory)
    latent_learner(run)
    wanted, learned, notes = _images(run, model, data, seed)
    if extractor is None:
        extractor = "pixels" if wanted is None else metrics.choose(wanted)
    found = inside.found_in(run, None if extractor == "pixels" else extractor, seed)
    panels: list[Panel] = [inside.between(run, seed), *inside.of_dimensions(run, found, seed)]
    if wanted is not None:
        sought = wanted.floats()
        labels = wanted.labels if int(run.learner.options.get("classes", 1)) > 1 else None
        searching = has_dimensions(run.learner)
        steps = steps if searching else 0
        inversion = invert(run, sought, labels=labels, steps=steps, extractor=extractor, seed=seed)
        panels.append(inside.back(wanted.images, inversion, extractor, searching))
    if learned is not None:
        panels.append(inside.beside(*nearest(run, learned.images, count=BESIDE, seed=seed)))
    directories.begin(directory, {"verb": "inspect", "model": model, "data": data, "steps": steps, "seed": seed})
    page = inside.write(directory, run, panels, found, extractor)
    pictures = [directory / f"{panel.name}.png" for panel in panels]
    return Inspected(directory, page, pictures, inside.table(found), notes)


def _images(run: Run, model: str, data: str | None, seed: int) -> tuple[ImageSet | None, ImageSet | None, list[str]]:
    """Images to seek among the latents, and those that the run learned from; ``None`` where they are not to be had."""
    from limner.tasks import load as load_images

    shape, learned, held, notes = run.learner.image_shape, None, None, []
    try:
        task = task_of(str(run.lineage.get("directory", model)))
        learned, held = task.support, task.query
    except LimnerError as unknown:
        notes.append(f"{unknown}, so new images are not shown beside those")
    if data is not None:
        held = load_images(data, size=shape[1], colour="grey" if shape[0] == 1 else "rgb")
        if int(run.learner.options.get("classes", 1)) > 1:
            from limner.verbs.classes import names_of
            from limner.verbs.classify import as_learned

            held = as_learned(held, names_of(run), model)
    elif held is None:
        notes.append("no real images were sought among its latents: none were held back; give DATA")
    if held is None:
        return None, learned, notes
    chosen = torch.randperm(len(held), generator=generator(derive(seed, "inside"), "sought"))[:SOUGHT]
    return held.select(chosen), learned, notes
