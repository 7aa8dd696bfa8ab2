"""Who makes the images of each class: a generator adapted to each from a start, or one for all of them together."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.config import Strategy
from limner.errors import LimnerError
from limner.seeds import derive
from limner.verbs.classes import with_classes
from limner.verbs.line import find_start, learner_of
from limner.verbs.opening import opening

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.engine.events import Listener
    from limner.learners import Learner
    from limner.memory import Memory, StoredModel
    from limner.tasks import ImageSet, Task

FEW = 50
"""Up to so many images a class (the median), each class has a generator of its own, where there is a start for it."""

_TIMED = 3
"""Steps by which a generator's pace is measured."""


@dataclass(frozen=True)
class Making:
    """How images of the classes of a set are made.

    learner   makes them; ``strategy`` is how it learns, ``start`` what it begins from (``None``: fresh parameters)
    each      whether each class has a generator of its own; else there is one, which is told the class
    why       in sentences
    """

    learner: Learner
    strategy: Strategy
    start: StoredModel | None
    each: bool
    why: tuple[str, ...] = ()

    def generators(self, images: ImageSet) -> int:
        """How many generators are trained for the images."""
        return len(images.class_names) if self.each else 1

    def made(
        self, images: ImageSet, per_class: int, seed: int, listeners: tuple[Listener, ...] = ()
    ) -> Iterator[tuple[int, Tensor]]:
        """``per_class`` new images of each class: its label, and uint8 ``(at most 256, c, h, w)`` at a time.

        A generator sees ``images`` and nothing else, beside the start. The same arguments give the same images, unless
        the strategy ends by seconds. Raises :class:`LimnerError` where a generator comes to nothing, and
        ``KeyboardInterrupt`` where it was stopped by hand.
        """
        from limner.tasks import Task
        from limner.verbs.sample import drawn

        labels = range(len(images.class_names))
        if not self.each:
            run = self._trained(_whole(images), seed, listeners)
            for label in labels:
                for part in drawn(run, per_class, [label], derive(seed, "class", label)):
                    yield label, part
            return
        for label in labels:
            own = images.restrict([label])
            named = f"the class {images.class_names[label]!r} of {images.name}"
            run = self._trained(Task("generate", named, own, None), derive(seed, "class", label), listeners)
            for part in drawn(run, per_class, [], derive(seed, "class", label)):
                yield label, part

    def set_of(self, images: ImageSet, per_class: int, seed: int, listeners: tuple[Listener, ...] = ()) -> ImageSet:
        """What :meth:`made` gives, as one labelled set."""
        parts = list(self.made(images, per_class, seed, listeners))
        labels = torch.cat([torch.full((len(part),), label) for label, part in parts])
        return replace(images, images=torch.cat([part for _, part in parts]), labels=labels, names=())

    def pace(self, images: ImageSet, seed: int) -> float:
        """Seconds that a step takes here, of a generator of the largest class (or of all), by trying a few."""
        task = _largest(images, seed) if self.each else None
        steps = max(1, min(_TIMED, self.strategy.steps))
        short = self.strategy.replace(steps=steps, seconds=0.0, evaluate_every=0)
        timed = Making(self.learner, short, self.start, self.each)
        run = timed._trained(task or _whole(images), seed, ())
        return run.cost.seconds / steps

    def _trained(self, task: Task, seed: int, listeners: tuple[Listener, ...]) -> Run:
        from limner.engine import fit

        begun, first = self.start, None
        if begun is not None:
            first, _ = opening(begun, self.learner, self.strategy, seed)
        run = fit(
            self.learner,
            task,
            self.strategy,
            seed=seed,
            start=None if begun is None else begun.params,
            listeners=listeners,
            opening=first,
        )
        if run.state == "stopped":
            raise KeyboardInterrupt
        if run.state != "finished":
            raise LimnerError(
                f"the {self.learner.kind} of {task.name} {run.state}, so no images are made of it; try another "
                "--learner, a lower rate (--set learning_rate=…), or more images"
            )
        return run


def decide(
    images: ImageSet, spec: str, *, start: str, learner: str | None, named: str | None,
    options: dict[str, Any] | None, fields: dict[str, Any], seconds: float | None, steps: int | None, memory: Memory,
    seed: int,
) -> Making:  # fmt: skip
    """How images of the classes are best made, by the adviser's word on the largest class.

    With a start, and few images a class (:data:`FEW`) or a start that was asked for, a generator is adapted from it to
    each class. Else one learner is trained on all classes together, told which is which where its kind can be: what
    classes have in common is then learned from all of them. ``named``, a strategy by its name, goes before that.
    ``seconds`` and ``steps`` are for one generator.

    Raises :class:`LimnerError` where start, learner and images do not fit each other.
    """
    from limner.learners import create
    from limner.memory import Adviser
    from limner.verbs.adapt import called, choose

    shape, count = images.shape, len(images.class_names)
    given = None if start in ("auto", "scratch") else find_start(start, memory, shape)
    if given is not None:
        kind = given.learner_description["kind"]
        if learner not in (None, kind):
            raise LimnerError(f"the start {start} is a {kind}, not a {learner}; leave --learner out or choose another")
        learner = kind
    found = Adviser(memory).recommend(
        _largest(images, seed, spec), budget_seconds=seconds, learner=learner, budget_steps=steps, start=given
    )
    reference = start if given is None or start.startswith("shipped:") else given.sha256
    median = int(torch.bincount(images.labels, minlength=count).median())  # type: ignore[arg-type]
    many = start == "auto" and named is None and median > FEW
    if many:
        reference = "scratch"
    advice = choose(called(found, named, start), reference, learner)
    reference = advice.strategy.start if reference == "auto" else reference
    begun = given if given is not None else find_start(reference, memory, shape)
    strategy = advice.strategy.replace(start=reference, **fields)
    why: tuple[str, ...] = () if given is not None else (advice.reason,)
    if begun is not None:
        network = learner_of(begun, reference if given is None else start, options, _whole(images, spec))
        if "sample" not in network.answers:
            raise LimnerError(f"the start {reference} is a {network.kind}, which makes no images; choose another")
        each = int(network.options.get("classes", 1)) == 1
        why = (*why, *_learned_from_these(begun, spec), _in_words(each, count, reference if given is None else start))
        return Making(network, strategy, begun, each, why)
    wanted = advice.options | told_classes(advice.learner, count) | (options or {})
    network = create(advice.learner, shape, **with_classes(wanted, _whole(images, spec), spec))
    each = int(network.options.get("classes", 1)) == 1
    if many:
        why = (*why, f"with {median} images a class, more than {FEW}, no class needs a start of its own")
    return Making(network, strategy, None, each, (*why, _in_words(each, count, "scratch")))


def told_classes(learner: str, count: int) -> dict[str, Any]:
    """The options by which a kind of learner is told ``count`` classes; none where it cannot be, or there is one.

    >>> told_classes("vae", 3), told_classes("gan", 3), told_classes("vae", 1)
    ({'classes': 3}, {'classes': 3, 'conditioning': 'projection'}, {})
    """
    from limner.learners import CATALOGUE

    known = inspect.signature(CATALOGUE[learner]).parameters
    if count < 2 or "classes" not in known:
        return {}
    return {"classes": count} | ({"conditioning": "projection"} if "conditioning" in known else {})


def labelled(images: ImageSet, spec: str) -> ImageSet:
    """The images with only the classes that have any. Raises :class:`LimnerError` where they have no classes."""
    if images.labels is None:
        raise LimnerError(
            f"{spec} has no classes, so there is no telling of what to make images; give images in one folder a "
            "class, or an array of labels"
        )
    counts = torch.bincount(images.labels, minlength=len(images.class_names))
    present = torch.nonzero(counts).flatten().tolist()
    return images if len(present) == len(counts) else images.restrict(present)


def apart(directory: Path, spec: str) -> None:
    """Raises :class:`LimnerError` where ``directory`` and the files that ``spec`` names lie in each other."""
    from limner.tasks.spec import parse

    path = parse(spec).path
    if not path or not Path(path).expanduser().exists():
        return
    source, place = Path(path).expanduser().resolve(), directory.absolute().resolve()
    if place in (source, *source.parents) or source in place.parents:
        raise LimnerError(
            f"{directory} and the images of {spec} lie in each other, and those are never touched; choose another --out"
        )


def _largest(images: ImageSet, seed: int, spec: str = "") -> Task:
    from limner.tasks import Task

    assert images.labels is not None
    label = int(torch.bincount(images.labels).argmax())
    own = images.restrict([label])
    named = f"{images.name}, class {images.class_names[label]!r}, {len(own)} shot{'s' if len(own) > 1 else ''}"
    return Task("generate", named, own, None, seed, spec)


def _whole(images: ImageSet, spec: str = "") -> Task:
    from limner.tasks import Task

    return Task("generate", f"all classes of {images.name}", images, None, source=spec)


def _learned_from_these(start: StoredModel, spec: str) -> list[str]:
    family = str((start.metadata.get("family") or {}).get("spec", "")).split(",")[0]
    if family and family == spec.split(",")[0]:
        return ["the start was learned from images of the same source, so a check on these flatters it"]
    return []


def _in_words(each: bool, count: int, reference: str) -> str:
    begun = "from scratch" if reference == "scratch" else f"from {reference if len(reference) < 40 else reference[:12]}"
    return f"a generator for each class, {begun}" if each else f"one generator of all {count} classes, {begun}"
