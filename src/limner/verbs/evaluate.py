"""Scoring samples against real images that were not learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import LimnerError
from limner.seeds import derive
from limner.types import Scores
from limner.verbs.classes import is_conditional, names_of
from limner.verbs.classify import as_learned, scored
from limner.verbs.hub import PREFIX
from limner.verbs.line import some_of, task_of

if TYPE_CHECKING:
    from torch import Tensor

    from limner.engine import Run
    from limner.tasks import ImageSet


def evaluate(
    made: str,
    real: str,
    *,
    count: int = 200,
    extractor: str | None = None,
    memory: str | None = None,
    seed: int = 0,
) -> Scores:
    """Score ``made`` against the images of the data spec ``real``.

    made       a run directory, a run or model of the memory, ``hf:NAME/NAME`` (``count`` samples are drawn), or images
               by a data spec; of a data set on the hub with an option, as ``hf:NAME,split=train``
    extractor  ``glyph-net``, ``efficientnet-lite0`` or ``pixels``; ``None`` = what fits the images

    A classifier is scored by its accuracy on the images of ``real``, whose classes must be among those it learned.
    Real images that the run learned from are left out, so that a copier gains nothing; the scores' notes say how many.
    Raises :class:`LimnerError` where either side cannot be had, or nothing real is left.
    """
    from limner import metrics
    from limner.tasks import load

    notes: list[str] = []  # what was left out on loading, and what else a reader must know
    support, run = None, None
    if is_images(made):
        judged = load(made)
        samples, shape = judged.images, judged.shape
        notes += [f"{made}: {note}" for note in judged.notes]
    else:
        from limner.verbs.load import load as load_run

        try:
            run = load_run(made, memory=memory)
        except LimnerError as unknown:
            if not made.startswith(PREFIX):
                raise
            raise LimnerError(
                f"{unknown}; for the images of a data set give an option: {made},split=train"
            ) from unknown
        if "restore" in run.learner.answers:
            raise LimnerError(f"{made} is a restorer; mend images with limner restore, then evaluate their folder")
        if "translate" in run.learner.answers:
            raise LimnerError(
                f"{made} is a translator; put images through it with limner translate, then evaluate their folder"
            )
        if "sample" not in run.learner.answers:
            return _as_classifier(run, made, real, seed)
        samples, shape = run.sample(count, seed=derive(seed, "scores")), run.learner.image_shape
        try:
            support = task_of(run.lineage.get("directory", made)).support
        except LimnerError as unknown:
            notes.append(f"{unknown}, so it may have learned from the real images")
    query, told = _unseen(real, shape, support, made)
    notes += told
    judged_on = some_of(query, seed)
    if run is not None and (likelihood := _likelihood(run, judged_on, seed)):
        notes.append(likelihood)
    if len(judged_on) < len(query):
        notes.append(f"scores are measured on {len(judged_on):,} of the {len(query):,} real images")
    if support is not None:
        support = some_of(support, seed)
    scores = metrics.evaluate(samples, judged_on, support, extractor=extractor, seed=seed)
    return replace(scores, notes=(*notes, *scores.notes))


def _likelihood(run: Run, images: ImageSet, seed: int) -> str | None:
    """How likely the images are to the run's model, in a sentence; ``None`` where it has no likelihood, or where it
    learned classes, by name, that these images are not of."""
    from limner.learners import batch_of
    from limner.metrics.likelihood import Weighted, negative_log_likelihood

    learner = run.learner
    if not isinstance(learner, Weighted):
        return None
    if is_conditional(run):
        try:
            images = as_learned(images, names_of(run), run.task_name)
        except LimnerError:
            return None  # no mistake: images of other classes can be scored, but their likelihood is not defined
    batch = batch_of(images)
    found = negative_log_likelihood(learner, run.params, batch, seed=seed, likelihood=learner.options["likelihood"])
    return found.told()


def _unseen(real: str, shape: tuple[int, int, int], support: ImageSet | None, made: str) -> tuple[ImageSet, list[str]]:
    """The images of ``real`` that were not learned from, and what was left out."""
    from limner.tasks import load

    query = load(real, size=shape[1], colour="grey" if shape[0] == 1 else "rgb")
    notes = [f"{real}: {note}" for note in query.notes]
    if support is not None:
        query, left_out = without(query, support)
        if left_out:
            notes.append(f"{left_out} of the real images were learned from and are left out")
    if not len(query):
        raise LimnerError(f"every image of {real} was learned from by {made}; give images that it has not seen")
    return query, notes


def _as_classifier(run: Run, made: str, real: str, seed: int) -> Scores:
    """Accuracy on the images of ``real`` that were not learned from, their classes matched by name."""
    learned = task_of(run.lineage.get("directory", made)).support
    query, notes = _unseen(real, run.learner.image_shape, learned, made)
    known = as_learned(replace(query, name=real), learned.class_names, made)
    return replace(scored(run, known, len(learned)), seed=seed, notes=tuple(notes))


def is_images(text: str) -> bool:
    """Whether ``text`` is a data spec rather than a run: it names a kind of data, or a folder or file that is no run.

    ``hf:NAME/NAME`` is a run, as everywhere where one is asked for; with an option, which no run has, a data set.

    >>> is_images("digits,size=16"), is_images("shipped:glyphs-vae"), is_images("3f2a90")
    (True, False, False)
    >>> is_images("hf:me/my-run"), is_images("hf:me/my-images,split=train")
    (False, True)
    """
    from limner.tasks.spec import KINDS
    from limner.verbs.directories import verb_of

    kind, colon, _ = text.split(",")[0].partition(":")
    if f"{kind}{colon}" == PREFIX:
        return "," in text
    if kind in KINDS and (colon or not KINDS[kind].path):
        return True
    path = Path(text.split(",")[0])
    return path.exists() and not (path / "run.json").exists() and verb_of(path) != "tune"


def without(images: ImageSet, known: ImageSet) -> tuple[ImageSet, int]:
    """``images`` less those that are, byte for byte, in ``known``; and how many those were."""
    import torch

    seen = {bytes_of(image) for image in known.images}
    keep = torch.tensor([bytes_of(image) not in seen for image in images.images], dtype=torch.bool)
    return images.select(torch.nonzero(keep).flatten()), int((~keep).sum())


def bytes_of(image: Tensor) -> bytes:
    """An image's bytes."""
    return image.contiguous().numpy().tobytes()
