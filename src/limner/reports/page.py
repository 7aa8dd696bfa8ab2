"""Pages: what a run did, and runs side by side. Each is one file that asks for nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import platform
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.config import Strategy
from limner.model_file import write_atomically
from limner.reports import words
from limner.reports.compared import compared, verdict
from limner.reports.figures import Plot, curve_plot, grid, score_plot
from limner.reports.nearest import nearest
from limner.types import Cost, CurvePoint, Mistake, Scores

if TYPE_CHECKING:
    from jinja2 import Environment

    from limner.engine import Run
    from limner.reports.inside import Panel
    from limner.tasks import ImageSet, TwoSided

MOST_IMAGES = 64
MOST_BESIDE = 30
MOST_IN_ARM = 24
MOST_PAIRS = 12
MOST_MISTAKES = 24
MOST_TRIPLES = 20
CELL = 80
SMALL_CELL = 60


@dataclass(frozen=True)
class Arm:
    """One of several runs that are held side by side.

    name         short, for example ``from scratch``
    explanation  one sentence: what is different about it
    samples      uint8 ``(n, c, h, w)``
    scores, curve, cost, strategy  the run's own
    notes        what a reader must know about it
    """

    name: str
    explanation: str
    samples: Tensor
    scores: Scores | None
    curve: Sequence[CurvePoint]
    cost: Cost
    strategy: Strategy
    notes: Sequence[str] = ()


def write_run(
    directory: str | Path,
    run: Run,
    scores: Scores | None,
    support: ImageSet,
    query: ImageSet | None,
    samples: Tensor | None,
    pairs: Tensor | None = None,
    mistakes: Sequence[Mistake] | None = None,
    translated: TwoSided | None = None,
    restored: TwoSided | None = None,
    inside: Sequence[Panel] = (),
) -> Path:
    """Write ``report.html`` into the run's directory; its path.

    support, query  the images learned from and those held back (``None`` where there are none)
    samples         uint8 ``(n, c, h, w)`` made by the run; ``None`` for a learner that makes no images
    pairs           int64 ``(n,)``: the support image that each sample is to be shown with; ``None`` = the nearest in
                    pixels (see :func:`limner.reports.nearest.nearest`)
    mistakes        what a classifier put in the wrong class, those it was surest of first; ``None`` = no classifier
    translated      what a translator made the samples from, in their order; ``None`` = no translator
    restored        likewise the pairs of a restorer
    inside          what lies inside a learner with latents (see :func:`limner.reports.inside.of_run`)
    """
    place = Path(directory)
    two_sided = translated if restored is None else restored
    template = "run.html" if two_sided is None else "translation.html" if restored is None else "restoration.html"
    page = (
        environment()
        .get_template(template)
        .render(
            title=words.title(run.task_name),
            run=run,
            scores=scores,
            learner=words.learner_in_words(run.learner),
            start=words.start_in_words(run.strategy, run.lineage),
            strategy=words.strategy_in_words(run.strategy),
            cost=words.cost_in_words(run.cost),
            support=gallery(support.images, "images it learned from"),
            made=gallery(samples, "images it made", MOST_BESIDE),
            held=None if query is None else gallery(query.images, "real images held back", MOST_BESIDE),
            pairs=[] if two_sided is not None else _pairs(samples, support.images, pairs),
            triples=None if two_sided is None or samples is None else _triples(two_sided, samples),
            mistakes=None if mistakes is None else _mistakes(mistakes),
            inside=inside,
            verdict=words.verdict(scores),
            copying=_reading(scores, "nearest_training_ratio"),
            rows=_rows(scores),
            warnings=_warnings(run, scores),
            notes=[*run.notes, *(scores.notes if scores is not None else ())],
            advice=run.lineage.get("advice", []),
            plots=_run_plots(run, scores),
            place=str(place),
            quoted=shlex.quote(str(place)),
            source=shlex.quote(run.source) if run.source else "",
            versions=versions(),
        )
    )
    return _write(place / "report.html", page)


def write_comparison(
    path: str | Path,
    arms: Sequence[Arm],
    title: str,
    story: str,
    support: ImageSet | None = None,
    query: ImageSet | None = None,
    one_task: bool = True,
) -> Path:
    """Write a page that holds ``arms`` side by side; its path.

    story           what was done, in plain sentences
    support, query  the images that all arms learned from and were judged on, where they are the same
    one_task        whether all arms are of the same task; otherwise none is called the best at a score
    """
    shown = [
        {
            "place": index % 8 + 1,
            "arm": arm,
            "made": gallery(arm.samples, f"images made {arm.name}", MOST_IN_ARM),
            "strategy": words.strategy_in_words(arm.strategy),
            "start": words.start_in_words(arm.strategy, {}),
            "cost": words.cost_in_words(arm.cost),
            "pairs": None if support is None else _pairs(arm.samples, support.images, None)[:4],
            "copies": arm.scores is not None and words.copies(arm.scores.values.get("nearest_training_ratio")),
        }
        for index, arm in enumerate(arms)
    ]
    scored = {arm.name: arm.scores for arm in arms if arm.scores is not None}
    alike = len({(found.extractor, found.query, found.samples) for found in scored.values()}) <= 1
    comparable = one_task and alike
    page = (
        environment()
        .get_template("comparison.html")
        .render(
            title=title,
            story=story,
            arms=shown,
            support=None if support is None else gallery(support.images, "images they learned from"),
            held=None if query is None else gallery(query.images, "real images held back", MOST_IN_ARM),
            rows=compared(scored),
            comparable=comparable,
            one_task=one_task,
            verdict=verdict(scored) if comparable else "",
            scores=next(iter(scored.values()), None),
            plots=_comparison_plots(arms, scored),
            notes=list(dict.fromkeys(note for found in scored.values() for note in found.notes)),
            versions=versions(),
        )
    )
    return _write(Path(path), page)


def _write(path: Path, page: str) -> Path:
    write_atomically(path, page.encode())
    return path


@cache
def environment() -> Environment:
    """Where the pages' templates are found and filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("limner.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"shown": words.shown, "reading": words.reading}
    return made


def versions() -> dict[str, str]:
    """What a page was made by, as its last line tells."""
    return {
        "Limner": version("limner"),
        "PyTorch": torch.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


# ── Images ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def data_uri(image: Tensor) -> str:
    """A uint8 image ``(c, h, w)`` as the address that holds it whole.

    >>> data_uri(torch.zeros(1, 16, 16, dtype=torch.uint8))[:32]
    'data:image/png;base64,iVBORw0KGg'
    """
    buffer = io.BytesIO()
    grid(image[None], columns=1).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery(images: Tensor | None, what: str, most: int = MOST_IMAGES) -> dict[str, Any] | None:
    """Images for the page, each enlarged by a whole number: ``wide`` and ``narrow`` are widths in pixels."""
    if images is None or not len(images):
        return None
    few = images[:most]
    return {"images": [data_uri(image) for image in few], "total": len(images), "what": what, **_widths(images)}


def _widths(images: Tensor) -> dict[str, int]:
    side = images.shape[3]
    return {"wide": side * max(1, round(CELL / side)), "narrow": side * max(1, round(SMALL_CELL / side))}


def _pairs(samples: Tensor | None, support: Tensor, given: Tensor | None) -> list[dict[str, Any]]:
    """The samples most like an image learned from, beside it; the most alike first."""
    if samples is None or not len(samples):
        return []
    found = nearest(samples, support)
    index = found.place if given is None else given
    order = found.distance.argsort()[:MOST_PAIRS].tolist()
    return [
        {
            "sample": data_uri(samples[place]),
            "nearest": data_uri(support[int(index[place])]),
            "number": place + 1,
            "of": int(index[place]) + 1,
            "distance": words.short_number(float(found.distance[place])),
            **_widths(samples),
        }
        for place in order
    ]


def _triples(translated: TwoSided, samples: Tensor) -> dict[str, Any]:
    """Inputs, what was made of them, and where they are pairs, what it should have been."""
    from limner.tasks import Pairs

    paired = isinstance(translated, Pairs)
    count = min(len(samples), MOST_TRIPLES)
    shown = [
        {
            "input": data_uri(translated.inputs.images[place]),
            "made": data_uri(samples[place]),
            "truth": data_uri(translated.targets.images[place]) if paired else "",
        }
        for place in range(count)
    ]
    return {"shown": shown, "paired": paired, "total": len(samples), **_widths(samples)}


def _mistakes(found: Sequence[Mistake]) -> dict[str, Any]:
    shown = [
        {"image": data_uri(one.image), "true": one.true, "taken_for": one.taken_for, **_widths(one.image[None])}
        for one in found[:MOST_MISTAKES]
    ]
    return {"shown": shown, "total": len(found)}


# ── Scores ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(scores: Scores | None) -> list[dict[str, str]]:
    rows = []
    for name, score in (scores.values if scores is not None else {}).items():
        better, meaning = words.MEANINGS.get(name, ("", ""))
        value, interval, floor = words.shown(score)
        rows.append(
            {
                "name": words.label(name), "meaning": meaning, "better": words.ARROWS.get(better, ""), "value": value,
                "interval": interval, "floor": floor, "reading": words.reading(name, score),
            }
        )  # fmt: skip
    return rows


def _reading(scores: Scores | None, name: str) -> str:
    """What a score says, as the end of a sentence about the samples; empty where it is unknown."""
    return "" if scores is None or name not in scores.values else words.reading(name, scores.values[name])


def _warnings(run: Run, scores: Scores | None) -> list[str]:
    found = []
    if run.state == "collapsed":
        found.append(words.COLLAPSED)
    elif run.state != "finished":
        found.append(f"This run is {run.state}, not finished: what it shows is as far as it came.")
    found += [words.sentence(warning) for warning in run.warnings]
    counted = any(warning.startswith("near-copies") for warning in run.warnings)
    if not counted and scores is not None and words.copies(scores.values.get("nearest_training_ratio")):
        found.append(
            "The samples lie closer to the images learned from than other real images do: many of them may be "
            "near-copies. See the pairs below. A shorter training, augmentation or more images may help."
        )
    return found


def _run_plots(run: Run, scores: Scores | None) -> list[str]:
    measured = Counter(name for point in run.curve for name in point.values)
    values = {name for name, times in measured.items() if times > 1}  # one point is no curve
    plots: list[Plot] = []
    for key in ("kernel_distance", "accuracy", "psnr", "absolute_error"):
        if key in values:
            floor = scores.values[key].floor if scores is not None and key in scores.values else None
            plots.append(
                curve_plot({run.task_name: run.curve}, key, floor, title=f"{words.label(key)} on held-out images")
            )
    for key, title in words.COPYING.items():
        if key in values:
            plots.append(curve_plot({run.task_name: run.curve}, key, 1.0, title=title))
    if words.HELD_OUT in values:
        plots.append(curve_plot({run.task_name: run.curve}, words.HELD_OUT, title="Early stopping: shots held out"))
    losses = [f"{player}{kind}" for player in run.learner.players for kind in (" loss", " query loss")]
    if present := [name for name in losses if name in values]:
        plots.append(curve_plot({run.task_name: run.curve}, present, title="Losses"))
    return [plot.svg() for plot in plots]


def _comparison_plots(arms: Sequence[Arm], scored: Mapping[str, Scores]) -> list[str]:
    plots: list[Plot] = []
    names = [arm.name for arm in arms]
    curves = {arm.name: arm.curve for arm in arms}
    for key in ("kernel_distance", "coverage", "accuracy"):
        if names and all(any(key in point.values for point in curve) for curve in curves.values()):
            floors = [found.values[key].floor for found in scored.values() if key in found.values]
            floor = floors[0] if floors and key != "accuracy" else None
            plots.append(curve_plot(curves, key, floor, title=f"{words.label(key)} as it learned"))
    for key in ("kernel_distance", "coverage", "diversity", "nearest_training_ratio"):
        found = {name: one.values[key] for name, one in scored.items() if key in one.values}
        if len(found) == len(arms) > 0:
            plots.append(score_plot(found, f"{words.label(key)} ({words.ARROWS[words.MEANINGS[key][0]]})"))
    return [plot.svg() for plot in plots]
