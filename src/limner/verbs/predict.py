"""What a classifier, or the winner of a search of estimators, says of new images or rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.verbs import directories
from limner.verbs.classify import logits_of

if TYPE_CHECKING:
    from torch import Tensor

    from limner.engine import Run
    from limner.estimators import Fitted
    from limner.tasks import ImageSet

FILE, PICTURE = "predictions.csv", "predictions.png"
SHOWN, IN_A_ROW = 8, 8
"""Classes that the picture shows at most, and images of each."""


@dataclass(frozen=True)
class Predicted:
    """What was said of each image or row.

    of       ``image`` or ``row``; ``what``: ``class``, ``cluster`` or ``value``
    names    of the images; of rows their numbers, from 1
    answers  the name of a class, the number of a cluster, or a value, for each
    sureness the probability that the classifier gives its answer, 0 to 1; empty where it gives none
    file     the table of all of them, as CSV; ``picture`` shows images by class (``None`` of rows, and of values)
    """

    of: str
    what: str
    names: tuple[str, ...]
    answers: tuple[Any, ...]
    sureness: tuple[float, ...]
    directory: Path
    file: Path
    picture: Path | None
    notes: tuple[str, ...] = field(default=())

    @property
    def counts(self) -> dict[str, int]:
        """How many of each class or cluster, the most first; empty of values."""
        return {} if self.what == "value" else dict(Counter(map(str, self.answers)).most_common())

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        told = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}
        return told | {"counts": self.counts}


def predict(
    model: str,
    spec: str,
    *,
    out: str | Path | None = None,
    memory: str | None = None,
    force: bool = False,
) -> Predicted:
    """What ``model`` says of the images or rows of ``spec``: the class of each, or its cluster, or its value.

    model  a run of ``adapt classify`` (its directory, or what the memory calls it), or the directory of a
           ``limner tune`` of a classifier or of an estimator, whose winner then answers
    spec   a folder of images or any data spec, brought to the size and colours that were learned from; or for one that
           learned from a table, a table with the same columns (``csv:new.csv``, which needs no target)

    ``out`` (``None``: a new directory in ``runs``) gets ``predictions.csv`` and, of images, ``predictions.png``: some
    of each class, those first that it is surest of. Raises :class:`LimnerError` where the model tells no classes apart,
    the data do not suit it, or ``out`` exists.
    """
    directory = directories.claim(out, f"{Path(model.replace(':', '-')).name}-predicted", force, model)
    fitted = _estimator(model)
    said = _by_run(model, spec, memory) if fitted is None else _by_estimator(fitted, spec)
    directories.begin(directory, {"verb": "predict", "model": model, "spec": spec})
    of, file, picture = "row" if said.images is None else "image", directory / FILE, None
    _write(file, of, said)
    if said.images is not None and said.what != "value":
        picture = directory / PICTURE
        _draw(picture, said.images, said)
    return Predicted(of, said.what, said.names, said.answers, said.sureness, directory, file, picture, said.notes)


class _Said(NamedTuple):
    """What was said, as :class:`Predicted` tells it, of which ``images``, uint8 ``(n, c, h, w)``; ``None``: of rows."""

    what: str
    names: tuple[str, ...]
    answers: tuple[Any, ...]
    sureness: tuple[float, ...]
    images: Tensor | None
    notes: tuple[str, ...]


def _estimator(model: str) -> Fitted | None:
    """The winner in the directory of a search of estimators; ``None`` where that is not what it is."""
    from limner.verbs.tune import fitted, of_estimator

    return fitted(model) if of_estimator(Path(model)) else None


def _by_run(model: str, spec: str, memory: str | None) -> _Said:
    from limner.tasks import load as data
    from limner.tasks.tables import is_table
    from limner.verbs.load import load

    run = load(model, memory=memory)
    learner = run.learner
    if "logits" not in learner.answers:
        raise LimnerError(f"{model} is a {learner.kind}, which tells no classes apart; give a run of adapt classify")
    if is_table(spec):
        raise LimnerError(f"{model} learned from images, so the table {spec} does not suit it; give folder:my-images")
    channels, side, _ = learner.image_shape
    images = data(spec, size=side, colour="grey" if channels == 1 else "rgb")
    logits = logits_of(learner, run.params, images)
    sureness, taken = logits.softmax(1).max(1)
    known, told = _classes(run, logits.shape[1])
    answers = tuple(known[place] for place in taken.tolist())
    return _Said("class", _called(images), answers, tuple(sureness.tolist()), images.images, (*images.notes, *told))


def _classes(run: Run, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the classes that a run tells apart, and what is to be told of them: numbers where none are known."""
    names = (run.task.get("support") or {}).get("classes") or run.lineage.get("classes") or ()
    if len(names) == count:
        return tuple(names), ()
    return tuple(map(str, range(count))), ("nothing tells the names of its classes, so they are numbered from 0",)


def _by_estimator(fitted: Fitted, spec: str) -> _Said:
    from limner.estimators import Estimator
    from limner.tasks import load as data
    from limner.tasks.tables import Table, is_table, load_rows

    learned, goal = fitted.support, Estimator(fitted.recipe["class"]).goal
    if isinstance(learned, Table) != is_table(spec):
        wanted = "a table, for example csv:new.csv" if isinstance(learned, Table) else "images, as folder:my-images"
        raise LimnerError(
            f"{fitted.recipe['class']} learned from {learned.name}, so {spec} does not suit it; give {wanted}"
        )
    if isinstance(learned, Table):
        seen: Any = load_rows(spec, learned)
        names, images = tuple(str(number + 1) for number in range(len(seen))), None
    else:
        seen = data(spec, size=learned.shape[1], colour="grey" if learned.shape[0] == 1 else "rgb")
        names, images = _called(seen), seen.images
    said = fitted.predict(seen)
    if goal == "classify":
        answers: tuple[Any, ...] = tuple(learned.class_names[int(place)] for place in said)
        return _Said("class", names, answers, (), images, seen.notes)
    if goal == "cluster":
        return _Said("cluster", names, tuple(int(place) for place in said), (), images, seen.notes)
    return _Said("value", names, tuple(float(value) for value in said), (), images, seen.notes)


def _called(images: ImageSet) -> tuple[str, ...]:
    return images.names or tuple(str(number + 1) for number in range(len(images)))


def _write(file: Path, of: str, said: _Said) -> None:
    from limner.model_file import write_atomically

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [said.names, said.answers, *([[f"{value:.4f}" for value in said.sureness]] if said.sureness else [])]
    writer.writerow([of, said.what, *(["sureness"] if said.sureness else [])])
    writer.writerows(zip(*columns, strict=True))
    write_atomically(file, text.getvalue().encode())


def _draw(picture: Path, images: Tensor, said: _Said) -> None:
    """Some images of each of the classes given most often, a row each, those that it is surest of first."""
    from limner.reports.figures import grid

    answers, sureness = said.answers, said.sureness
    order = sorted(range(len(answers)), key=lambda place: -sureness[place] if sureness else place)
    blank = torch.full_like(images[0], 255)
    shown, captions = [], []
    for answer, _ in Counter(answers).most_common(SHOWN):
        row = [place for place in order if answers[place] == answer][:IN_A_ROW]
        empty = IN_A_ROW - len(row)
        shown += [images[place] for place in row] + [blank] * empty
        captions += [f"{answer}" + (f": {sureness[place]:.2f}" if sureness else "") for place in row] + [""] * empty
    scale = max(1, 96 // images.shape[-1])
    grid(torch.stack(shown), columns=IN_A_ROW, scale=scale, captions=captions).save(picture)
