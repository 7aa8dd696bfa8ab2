"""The classes that a conditional learner is made for, and those that samples are asked of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.errors import LimnerError

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.tasks import Task

NAMES = "classes"
"""Where a conditional run keeps the names of its classes, in ``run.task``."""


def with_classes(options: dict[str, Any] | None, task: Task, spec: str) -> dict[str, Any]:
    """The learner's ``options``, with ``classes`` as the images have them where it is to be conditional.

    Asked for by a ``conditioning`` other than none, or by ``classes`` above 1. Raises :class:`LimnerError` where the
    images have fewer than two classes, other than asked for, or one without any image to learn from.
    """
    options = dict(options or {})
    if options.get("conditioning", "none") == "none" and options.get("classes", 1) == 1:
        return options
    names, labels = task.support.class_names, task.support.labels
    if labels is None or len(names) < 2:
        raise LimnerError(
            f"{spec} does not have the classes that a conditional learner learns; give two or more, in a folder each, "
            "or with an array of labels, or leave the conditioning out"
        )
    if options.setdefault("classes", len(names)) != len(names):
        raise LimnerError(f"{spec} has {len(names)} classes, not {options['classes']!r}; give classes={len(names)}")
    counts = torch.bincount(labels, minlength=len(names)).tolist()
    if 0 in counts:
        raise LimnerError(
            f"the class {names[counts.index(0)]!r} of {spec} has none of the {len(labels):,} images learned from; "
            "give more --shots, or choose other classes with classes="
        )
    return options


def told_apart(options: dict[str, Any] | None, task: Task, spec: str) -> dict[str, Any]:
    """The ``options`` of a learner that is to classify, with ``classes`` as the images have them.

    Raises :class:`LimnerError` where the images have fewer than two classes, or others than asked for.
    """
    options, count = dict(options or {}), len(task.support.class_names)
    if task.support.labels is None or count < 2:
        raise LimnerError(
            f"{spec} does not have the classes that are to be told apart; give two or more, in a folder each, or with "
            "an array of labels"
        )
    if options.setdefault("classes", count) != count:
        raise LimnerError(f"{spec} has {count} classes, not {options['classes']!r}; give classes={count}")
    return options


def of_start(description: dict[str, Any], task: Task, start: str) -> dict[str, Any]:
    """The ``description`` of a start's learner, for the classes of the task.

    Raises :class:`LimnerError` where it was made for others.
    """
    from limner.learners import for_classes

    given = len(task.support.class_names)
    found = for_classes(description, given)
    if found is None:
        does = "tells apart" if task.goal == "classify" else "makes images of"
        raise LimnerError(
            f"the start {start} {does} {description['options']['classes']} classes, but {task.source} has "
            f"{given or 'none'}; choose as many with classes=, or begin from scratch"
        )
    return found


def is_conditional(run: Run) -> bool:
    """Whether the run's learner makes images of classes that it can be asked for."""
    return "sample" in run.learner.answers and run.learner.options.get("classes", 1) > 1


def names_of(run: Run) -> tuple[str, ...]:
    """The names of a conditional run's classes: numbers where nothing tells them; nothing where it has none."""
    if not is_conditional(run):
        return ()
    return tuple(run.task.get(NAMES) or map(str, range(run.learner.options["classes"])))


def chosen(run: Run, names: tuple[str, ...]) -> list[int]:
    """The labels of the classes called ``names``, or of all of them; nothing where the run has no classes.

    Raises :class:`LimnerError` for a name that the run does not know.
    """
    known = names_of(run)
    if names and not known:
        raise LimnerError(
            f"this {run.learner.kind} was trained without classes, so it cannot be asked for {names[0]!r}; leave "
            "--class out"
        )
    for name in names:
        if name not in known:
            raise LimnerError(
                f"the run does not know the class {name!r}; it knows: {', '.join(known[:12])}"
                f"{'…' if len(known) > 12 else ''}"
            )
    return [known.index(name) for name in names or known]


def labels_from(places: list[int], first: int, count: int) -> Tensor | None:
    """The labels of samples ``first`` to ``first + count``, the chosen classes in turn; ``None`` without classes.

    >>> labels_from([4, 7], 1, 3).tolist()
    [7, 4, 7]
    """
    return torch.tensor(places)[torch.arange(first, first + count) % len(places)] if places else None
