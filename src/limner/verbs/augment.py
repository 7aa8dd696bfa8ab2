"""A training set with made images: some of each class, as files, and whether a classifier is the better for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.engine.events import Listener
from limner.errors import LimnerError
from limner.verbs import augment_check, directories, making
from limner.verbs.adapt import check_strategy
from limner.verbs.class_folders import folders
from limner.verbs.goals import check_learner
from limner.verbs.line import asked_strategy, listeners

if TYPE_CHECKING:
    from limner.tasks import ImageSet
    from limner.verbs.augment_check import Gain, Plan
    from limner.verbs.making import Making

RECORD, PAGE = "augment.json", "report.html"
"""Beside the folders of the classes: how the images were made, and the page that shows them."""

SHOWN = 12
"""Images of each class that the page shows, real and made, at most."""

_FOR_GENERATORS = 0.75
"""Of a time budget, the part in which generators learn, those of the check included."""


@dataclass
class Augmented:
    """What was written, and how.

    record  what ``augment.json`` holds: data, seed, learner, strategy, start, classes with counts and sha256, check
    gain    what the check found; ``None`` where there was none, with a note that says why
    state   ``finished``, ``stopped`` (while images were made), ``stopped while checking``; a record may also say
            ``failed``, or ``running`` or ``checking``: where nothing runs, it was cut short
    """

    directory: Path
    record: dict[str, Any]
    gain: Gain | None = None
    state: str = "running"
    notes: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """The page with real and made images of each class."""
        return self.directory / PAGE

    @property
    def made(self) -> int:
        """Images that were made and written."""
        return sum(each["made"] for each in self.record["classes"])


def augment(
    spec: str,
    *,
    per_class: int,
    start: str = "auto",
    learner: str | None = None,
    strategy: str | None = None,
    budget: str | None = None,
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    check: bool = True,
    with_originals: bool = False,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Augmented:
    """Make ``per_class`` images of each class of ``spec``, and find out whether a classifier is the better for them.

    start, learner, strategy, options, fields  as for :func:`limner.adapt`; how generators are shared out among the
                    classes is told by :func:`limner.verbs.making.decide`. They are not kept: the record remakes them
    budget          seconds of the whole command, the check included, or steps of each generator
    check           whether classifiers with and without made images, and with ordinary augmentation, are compared by
                    cross-validation (see :mod:`limner.verbs.augment_check`)
    with_originals  copy the real images beside the made ones, so that ``out`` is a training set by itself
    out             gets ``CLASS/made-0001.png``…, as large and in the colours that ``spec`` loads as, ``augment.json``
                    and ``report.html`` (``None``: a new directory in ``runs``). Files of ``spec`` are only read

    Images are written as they are made. Stopped by Ctrl-C, those that there are stay, and ``state`` says so.
    Raises :class:`LimnerError` for images without classes, an ``out`` that exists, a disk without room.
    """
    from limner.memory import Memory
    from limner.tasks import load
    from limner.verbs.sample import check_room

    begun = time.monotonic()
    if per_class < 1:
        raise LimnerError(f"{per_class} images of each class cannot be made; give a --per-class of 1 or more")
    given, limits = asked_strategy(fields, budget)
    check_learner(learner, "generate")
    check_strategy(strategy, "generate")
    directory = directories.claim(out, f"{spec}-augmented", force)
    making.apart(directory, spec)
    images = making.labelled(load(spec), spec)
    names = folders(images.class_names, (RECORD, PAGE, directories.REQUEST))
    copies = len(images) if with_originals else 0
    check_room(directory, per_class * len(names) + copies, images.shape, "--per-class")
    refusal = augment_check.impossible(images) if check else "nothing was checked, as --no-check asked"
    with Memory.open(memory) as remembered:
        how = making.decide(
            images, spec, start=start, learner=learner, named=strategy, options=options, fields=given,
            steps=limits.steps, seconds=None, memory=remembered, seed=seed,
        )  # fmt: skip
    if limits.seconds is not None:
        how = _within(how, images, limits.seconds, not refusal)
    pace = how.pace(images, seed)
    main = how.generators(images) * augment_check.one_training(how, pace)
    plan = None
    if not refusal:
        left = None if limits.seconds is None else limits.seconds - main - (time.monotonic() - begun)
        plan = augment_check.planned(images, how, per_class, left, pace, seed)
        if plan is None:
            refusal = f"{limits.seconds:g} seconds are too few for the check, so nothing was checked"
    bars = listeners(progress, "making")
    for bar in bars:
        bar.on_note(_cost(how, images, main, plan))

    record = _record(spec, images, names, how, per_class, seed, with_originals)
    made = Augmented(directory, record, notes=[*images.notes, *([refusal] if refusal else [])])
    request = {"verb": "augment", "spec": spec, "per_class": per_class, "seed": seed, "memory": memory}
    directories.begin(directory, request)
    _keep(made)
    try:
        shown = _write(made, images, how, per_class, seed, bars)
        if with_originals:
            _copy(made, images, names)
    except KeyboardInterrupt:
        made.state = "stopped"
        made.notes.append(f"stopped by hand: {_told(made, per_class)}, whole; begin anew with --force")
        _keep(made)
        return made
    except OSError as refused:
        made.state = "failed"
        made.notes.append(f"the disk refused to take more: {_told(made, per_class)}")
        with suppress(LimnerError):  # where not even this can be written, the record still says that it was running
            _keep(made)
        raise LimnerError(
            f"{directory} takes no more images ({str(refused.strerror).lower()}): {_told(made, per_class)}; free space "
            "or choose another --out"
        ) from refused
    if plan is not None:
        made.state = "checking"
        _keep(made)
        deadline = float("inf") if limits.seconds is None else begun + limits.seconds
        _check(made, images, how, plan, seed, deadline, progress)
    made.state = "finished" if made.state in ("running", "checking") else made.state
    made.record["seconds"] = round(time.monotonic() - begun, 1)
    _report(made, images, shown)
    _keep(made)
    return made


class _Bar(Listener):
    """One bar over several trainings in turn, and over what is done with them; ``rest`` counts like steps."""

    def __init__(self, bars: tuple[Listener, ...], trainings: int, steps: int, rest: int) -> None:
        self.bars, self.steps, self.trained, self.rest = bars, steps, 0, 0
        for bar in bars:
            bar.on_start(trainings * steps + rest, 0.0)

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Of one of the trainings."""
        for bar in self.bars:
            bar.on_step(self.trained + self.rest + step, values)

    def on_note(self, sentence: str) -> None:
        """Of one of the trainings."""
        for bar in self.bars:
            bar.on_note(sentence)

    def on_end(self, state: str) -> None:
        """Of one of the trainings."""
        self.trained += self.steps

    def more(self, count: int = 1) -> None:
        """So much of the rest is done."""
        self.rest += count
        self.on_step(0, {})

    def close(self, whole: bool) -> None:
        """All is done, or it was stopped."""
        for bar in self.bars:
            bar.on_end("finished" if whole else "stopped")


def _write(
    made: Augmented, images: ImageSet, how: Making, per_class: int, seed: int, bars: tuple[Listener, ...]
) -> list[Tensor]:
    """Write the images as they come; the first few of each class."""
    classes = made.record["classes"]
    bar = _Bar(bars, how.generators(images), how.strategy.steps, per_class * len(classes))
    shown: list[list[Tensor]] = [[] for _ in classes]
    whole = False
    try:
        for label, part in how.made(images, per_class, seed, (bar,)):
            folder = made.directory / classes[label]["folder"]
            for path, image in zip(_paths(folder, "made", classes[label]["made"], per_class), part, strict=False):
                _put(path, image)
                classes[label]["made"] += 1
                bar.more()
            if sum(map(len, shown[label])) < SHOWN:
                shown[label].append(part[:SHOWN])
        whole = True
    finally:
        bar.close(whole)
    return [torch.cat(parts)[:SHOWN] for parts in shown]


def _copy(made: Augmented, images: ImageSet, names: list[str]) -> None:
    """Write the real images, as they were loaded, beside the made ones."""
    for label, name in enumerate(names):
        own = images.images[images.of_class(label)]
        for path, image in zip(_paths(made.directory / name, "real", 0, len(own)), own, strict=False):
            _put(path, image)


def _paths(folder: Path, stem: str, done: int, count: int) -> Iterator[Path]:
    """``made-0001.png``…, after those that are ``done``, with as many digits as ``count`` needs."""
    digits = max(4, len(str(count)))
    return (folder / f"{stem}-{index:0{digits}d}.png" for index in range(done + 1, count + 1))


def _put(path: Path, image: Tensor) -> None:
    """Write one image, or leave no file."""
    from limner.engine.run import png

    data = png(image)
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check(
    made: Augmented, images: ImageSet, how: Making, plan: Plan, seed: int, deadline: float, progress: bool
) -> None:
    """Check, and write down what was found."""
    from limner.reports.augmented import verdict

    judging = 3 * plan.steps
    bars = listeners(progress, "checking")
    bar = _Bar(bars, plan.folds * how.generators(images), how.strategy.steps, plan.folds * judging)
    whole = False
    try:
        made.gain = augment_check.check(
            images, how, plan, seed, deadline=deadline, on_fold=lambda done: bar.more(judging), listeners=(bar,)
        )
        whole = True
    except KeyboardInterrupt:
        made.state = "stopped while checking"
        made.notes.append("the check was stopped by hand; all images were made, but whether they help is not known")
        return
    finally:
        bar.close(whole)
    gain = made.gain
    if gain.done < plan.folds:
        made.notes.append(f"the time was up after {gain.done} of {plan.folds} folds of the check")
    if plan.per_class < made.record["per_class"]:
        made.notes.append(f"the check learned from {plan.per_class} made images a class")
    if not plan.features:
        made.notes.append(
            f"there is no second opinion: features of {len(images):,} images take too long "
            f"(the most is {augment_check.MOST_REGRESSED:,})"
        )
    made.record["check"] = gain.to_json() | {"verdict": verdict(gain)}


def _report(made: Augmented, images: ImageSet, shown: list[Tensor]) -> None:
    from limner.reports.augmented import Class, write

    real = [images.images[images.of_class(label)[:SHOWN]] for label in range(len(images.class_names))]
    counts = [each["real"] for each in made.record["classes"]]
    classes = [Class(*each) for each in zip(images.class_names, real, shown, counts, strict=True)]
    write(made.page, made.record, classes, made.gain, made.notes)


def _record(
    spec: str, images: ImageSet, names: list[str], how: Making, per_class: int, seed: int, with_originals: bool
) -> dict[str, Any]:
    from limner.learners import describe

    parts = (images.restrict([label]) for label in range(len(names)))
    return {
        "data": spec,
        "source": {"sha256": images.sha256, "images": len(images), "licence": images.licence},
        "seed": seed,
        "per_class": per_class,
        "learner": describe(how.learner),
        "strategy": how.strategy.to_json(),
        "start": None if how.start is None else {"name": how.strategy.start, "sha256": how.start.sha256},
        "generator_for_each_class": how.each,
        "why": list(how.why),
        "with_originals": with_originals,
        "classes": [
            {"name": name, "folder": folder, "real": len(part), "sha256": part.sha256, "made": 0}
            for name, folder, part in zip(images.class_names, names, parts, strict=True)
        ],
        "check": None,
    }


def _keep(made: Augmented) -> None:
    """Write the record as it is now, so that a directory always tells how far it came."""
    directories.write_json(made.directory / RECORD, {"state": made.state, **made.record, "notes": made.notes})


def _told(made: Augmented, per_class: int) -> str:
    classes = made.record["classes"]
    return f"{made.made:,} of {per_class * len(classes):,} images stay in {made.directory}"


def _within(how: Making, images: ImageSet, seconds: float, checked: bool) -> Making:
    """The same with so many seconds for each generator that all of them, and a check, end in ``seconds``."""
    from dataclasses import replace

    assert images.labels is not None
    times = 1 + (min(augment_check.MOST_FOLDS, int(torch.bincount(images.labels).max())) if checked else 0)
    share = _FOR_GENERATORS * seconds / (times * how.generators(images))
    return replace(how, strategy=how.strategy.replace(seconds=share))


def _cost(how: Making, images: ImageSet, main: float, plan: Plan | None) -> str:
    """What it is going to take, before it begins."""
    count = how.generators(images)
    few = f"{count:,} generators" if count > 1 else "1 generator"
    told = f"{few} of up to {how.strategy.steps:,} steps, about {_duration(main)}"
    if plan is not None:
        told += (
            f"; then the check, {plan.folds} folds with as many generators and 3 classifiers of {plan.steps} steps "
            f"each, about {_duration(plan.seconds)} (--no-check leaves it out)"
        )
    return told


def _duration(seconds: float) -> str:
    """Seconds or minutes, no more exactly than is known.

    >>> _duration(0.4), _duration(42.3), _duration(200)
    ('1 s', '42 s', '3 min')
    """
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"
