"""The source of a transfer: a model that there is, or one that is trained first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.config import Strategy
from limner.errors import LimnerError
from limner.seeds import derive
from limner.verbs.evaluate import without
from limner.verbs.transfer_advice import candidates, chosen_sources, past_transfers
from limner.verbs.transfer_classify import USUAL, Source

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.memory import Memory
    from limner.memory.fingerprints import Fingerprint
    from limner.tasks import ImageSet, Task

HELD_BACK = 500
"""Source images, at most, that show how well the source was learned; a tenth of them all where those are fewer."""


def check(source: Source, images: ImageSet, goal: str) -> None:
    """Raises :class:`LimnerError` where what is transferred from cannot serve the goal on such images."""
    needed = "logits" if goal == "classify" else "sample"
    if needed not in source.learner.answers or (goal == "classify" and source.learner.kind != "classifier"):
        right = "a classifier" if goal == "classify" else "a learner that makes images"
        raise LimnerError(f"the source {source.name} is a {source.learner.kind}; to {goal}, give {right}")
    if goal == "generate" and source.learner.options.get("classes", 1) > 1:
        raise LimnerError(f"the source {source.name} makes images of classes, which a transfer to generate does not "
                          "keep; give one that was not told classes")  # fmt: skip
    check_shapes(source.name, tuple(source.learner.image_shape), images)


def check_shapes(name: str, shape: tuple[int, ...], images: ImageSet) -> None:
    """Raises :class:`LimnerError` where source and target images are not of one shape."""
    if shape != images.shape:
        colour = "grey" if shape[0] == 1 else "rgb"
        raise LimnerError(
            f"the source {name} is of images of {shape[1]}×{shape[2]} pixels in {shape[0]} channels, but {images.name} "
            f"has {images.shape[1]}×{images.shape[2]} in {images.shape[0]}; load the target with size={shape[1]},"
            f"colour={colour}, or both alike"
        )


def there_is(reference: str, memory: Memory) -> Source:
    """The source that is there already: a run directory, or a run, model or start of the memory.

    Its images are loaded from where the run had them; where they are gone, ways that learn from them cannot be gone.
    """
    from limner.tasks import load as load_images
    from limner.verbs import load as loading

    run = loading.load(reference, memory=memory.location)
    images = None
    if run.source and run.task_name:
        try:
            images = load_images(run.source)
        except LimnerError:
            images = None  # told by the ways that would need them
    classes = tuple(
        (run.task.get("support") or {}).get("classes") or (images.class_names if images is not None else ())
    )
    wanted = run.learner.options.get("classes", 1)
    if images is not None and (len(images.class_names) != wanted or images.shape != tuple(run.learner.image_shape)):
        images = None
    if len(classes) != wanted:
        classes = ()
    sha256 = memory.get_model(reference).sha256 if not Path(reference).is_dir() else _kept(run, memory)
    return Source(reference, run.learner, run.params, classes, images, sha256)


def _kept(run: Run, memory: Memory) -> str:
    """The model's sha256 in the memory, which takes it in where it does not have it yet."""
    from limner.learners import describe

    return memory.put_model(run.params, describe(run.learner), name=run.task_name)


def trained(
    spec: str, images: ImageSet, goal: str, kind: str, options: dict[str, Any], steps: int, seed: int, place: Path,
    memory: Memory, progress: bool,
) -> Source:  # fmt: skip
    """Learn the source from its images, keep it in ``place`` and in the memory, and tell how well it was learned.

    Raises :class:`LimnerError` where the images have no classes to tell apart, or training fails.
    """
    from limner.engine import fit
    from limner.learners import create
    from limner.memory import fingerprint
    from limner.tasks import split
    from limner.verbs import classify
    from limner.verbs.line import listeners
    from limner.verbs.transfer_generate import usual

    seed = derive(seed, "source")
    held = min(HELD_BACK, len(images) // 10)
    if goal == "classify":
        if images.labels is None or len(images.class_names) < 2:
            raise LimnerError(f"{spec} does not have two or more classes to learn from; give labelled images as SOURCE")
        options = {**options, "classes": len(images.class_names)}
        strategy = USUAL.replace(steps=steps)
    else:
        strategy = usual(kind, adapted=False).replace(steps=steps)
    learner = create(kind, images.shape, **options)
    task = split(images, len(images) - held, seed, held, goal, spec)
    run = fit(learner, task, strategy, seed=seed, listeners=listeners(progress, "source"))
    if run.state == "stopped":
        raise KeyboardInterrupt
    if run.state != "finished":
        raise LimnerError(f"the source could not be learned from {spec} ({run.state}): {'; '.join(run.notes)}")
    told = f"{len(task.support):,} images of {spec}, {steps} steps"
    if goal == "classify" and task.query is not None:
        run.scores = classify.scored(run, task.query, len(task.support))
        told += f"; {100 * run.scores.values['accuracy'].value:.1f}% right on {len(task.query)} held back"
    memory.add_task(task, fingerprint(task), parent=images)
    sha256 = kept(memory, task, run, strategy, seed, place)
    classes = images.class_names if goal == "classify" else ()
    return Source(spec, learner, run.params, classes, images, sha256, told)


def kept(memory: Memory, task: Task, run: Run, strategy: Strategy, seed: int, place: Path | None) -> str:
    """Remember a run that is done, and write it to ``place`` where there is one; its model's sha256."""
    from limner.learners import describe

    sha256 = memory.add_task(task)
    run.id = memory.begin_run(sha256, describe(run.learner), strategy, seed, task.name, place)
    if place is not None and run.params:
        run.lineage["directory"] = str(place)
        run.save(place)
    return memory.finish_run(run.id, run, run.scores, place) or ""


def advised(memory: Memory, images: ImageSet, described: Fingerprint, seed: int) -> tuple[dict[str, Source], list[str]]:
    """The advised source first, of the nearest, the static and the random one, and why; none that learned from one of
    the target's ``images``.

    described  the target's fingerprint

    Raises :class:`LimnerError` where the memory holds none.
    """
    past, told = past_transfers(memory, described, "classify"), []
    found = candidates(memory, described, images.shape)
    while found:
        choices = chosen_sources(found, past, seed)
        stored = {sha256: there_is(sha256, memory) for sha256 in {each.chosen for each in choices.values()}}
        seen = [sha256 for sha256, source in stored.items() if _shared(images, source.images)]
        if not seen:
            told += [f"source, {name}: {choice.why}" for name, choice in choices.items()]
            return {name: stored[choice.chosen] for name, choice in choices.items()}, told
        told += [f"{each.name} is left out as a source: it holds images of {images.name}" for each in found
                 if each.sha256 in seen]  # fmt: skip
        found = [each for each in found if each.sha256 not in seen]
    raise LimnerError(
        f"every classifier of the memory learned from images of {images.name}; give SOURCE as a data spec"
    )


def _shared(images: ImageSet, known: ImageSet | None) -> int:
    return 0 if known is None else without(images, known)[1]


def unseen(images: ImageSet, known: Sequence[ImageSet | None]) -> tuple[ImageSet, list[str]]:
    """The target's images that are, byte for byte, none of the source's; and what is to be said of it."""
    count, told = len(images), []
    for source in known:
        if source is None:
            told.append("the source's images are not at hand, so it may have learned from some of the target's")
        else:
            images, _ = without(images, source)
    if not len(images):
        raise LimnerError("every image of the target is one of the source's too, so nothing is left to be judged on; "
                          "give other images as TARGET")  # fmt: skip
    if len(images) < count:
        told.append(f"{count - len(images):,} of the target's images are the source's too, and are left out")
    return images, told
