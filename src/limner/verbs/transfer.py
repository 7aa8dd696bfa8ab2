"""From a source to a target: what was learned there, carried over in several ways, beside what can be had without."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.config import Strategy
from limner.errors import LimnerError
from limner.seeds import derive
from limner.types import Score
from limner.verbs import directories
from limner.verbs.budget import parse
from limner.verbs.evaluate import is_images
from limner.verbs.fields import typed
from limner.verbs.transfer_advice import GOAL, MARK, advised_way, past_transfers
from limner.verbs.transfer_classify import Made, Source, Target, carried_out, target_of
from limner.verbs.transfer_generate import Generated, drawn, generated
from limner.verbs.transfer_source import advised, check, check_shapes, kept, there_is, trained, unseen
from limner.verbs.transfer_table import Row, difference, in_words, mean, summary, verdict
from limner.verbs.transfer_ways import ALWAYS, DEFAULT, WAYS, Way, way_of

if TYPE_CHECKING:
    from limner.memory import Memory
    from limner.tasks import ImageSet, Task

METRIC = {"classify": "accuracy", "generate": "kernel_distance"}
STEPS = {"classify": 300, "generate": 200}
"""Steps on the target, of every way alike, and beneath of the source, where no others are asked for."""

SOURCE_STEPS = {"classify": 1000, "generate": 1000}

RECORD = "transfer.json"


@dataclass(frozen=True)
class Transferred:
    """What came of a transfer.

    rows       one for each way, ``scratch`` and ``source-only`` first (see :class:`limner.verbs.transfer_table.Row`)
    summary    the whole in plain sentences
    page       ``report.html``; ``ways/NAME`` beside it are the models of the first repeat, as run directories
    advice     why this way, and this source, where they were not named
    state      ``finished``, or ``stopped`` (by Ctrl-C, after some of the repeats)
    """

    rows: list[Row]
    summary: str
    directory: Path
    page: Path
    record: dict[str, Any]
    advice: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    state: str = "finished"

    def row(self, label: str) -> Row:
        """The row with that label. Raises :class:`LimnerError`, naming them, where there is none."""
        for row in self.rows:
            if row.label == label:
                return row
        raise LimnerError(f"no way is called {label!r}; there are: {', '.join(row.label for row in self.rows)}")

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return {
            **self.record, "state": self.state, "summary": self.summary, "rows": [row.to_json() for row in self.rows],
            "advice": self.advice, "notes": self.notes, "directory": str(self.directory), "page": str(self.page),
        }  # fmt: skip


class Arm(NamedTuple):
    """A way from a source, under the label that tables show."""

    label: str
    way: Way
    source: Source


Outcome = Made | Generated


def transfer(
    source: str,
    target: str,
    *,
    goal: str = "classify",
    ways: Sequence[str] = ("auto",),
    shots: int = 5,
    budget: str | None = None,
    source_budget: str | None = None,
    repeats: int = 3,
    learner: str | None = None,
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Transferred:
    """Carry over to ``target`` what was learned from ``source``, and hold it against scratch and the source as it is.

    source   a data spec (a model of it is trained first), a run directory, a model or start of the memory, or ``auto``:
             the stored classifier that did best on past targets, or where these are few the one whose images are most
             like the target's; beside it the other, and a random one
    goal     ``classify`` or ``generate``
    ways     names of :mod:`limner.verbs.transfer_ways`, ``features:CLASS`` for a scikit-learn classifier on frozen
             features, ``all``, or ``auto``: what did best on past targets like this one
    shots    target images to learn from: of each class to classify, in all to generate
    budget   steps on the target, such as ``300steps``, the same for every way; ``source_budget``: steps on the source
    repeats  how often the shots are drawn anew; intervals are over these draws. The source is learned once
    learner  of a source that is trained (``classifier``, ``vae``); ``options`` its own, ``fields`` the strategy's

    Nothing is judged on an image that was learned from. Raises :class:`LimnerError` where something given cannot be
    used; then nothing was written.
    """
    from limner.memory import Memory, fingerprint
    from limner.tasks import load

    if goal not in WAYS:
        raise LimnerError(f"there is no transfer to {goal!r}; there are: {', '.join(WAYS)}")
    if repeats < 1:
        raise LimnerError(f"{repeats} repeats tell nothing; give at least 1")
    steps, source_steps = _steps(budget, STEPS[goal]), _steps(source_budget, SOURCE_STEPS[goal])
    given = typed(fields or {}, Strategy().to_json(), "strategy")
    for name in ("steps", "seconds", "start", "update", "frozen", "anchor"):
        if name in given:
            raise LimnerError(f"the field {name} is the way's own; choose it by --way or --budget, not by --set")
    Strategy().replace(**given)
    kind = learner or {"classify": "classifier", "generate": "vae"}[goal]
    if goal == "classify" and kind != "classifier":
        raise LimnerError(f"to classify, a classifier is transferred, not a {kind}; leave --learner out")
    asked = [name for name in dict.fromkeys(ways) if name not in ("auto", "all")]
    for name in asked:
        way_of(name, goal)
    images = load(target)
    _draw(goal, images, shots, seed)  # a mistake is told before anything is done
    stem = f"{Path(source).name} to {target}" if source != "auto" else target
    directory = directories.claim(out, stem, force, source)
    advice: list[str] = []
    with Memory.open(memory) as remembered:
        others: dict[str, Source] = {}
        source_images: ImageSet | None = None
        if source == "auto":
            if goal != "classify":
                raise LimnerError("the source is chosen only for the goal classify yet; name one to generate")
            described = fingerprint(_task(_draw(goal, images, shots, derive(seed, "repeat", 0)), target))
            others, advice = advised(remembered, images, described, seed)
        elif is_images(source):
            source_images = load(source)
            check_shapes(source, source_images.shape, images)
        else:
            others = {"": there_is(source, remembered)}
            check(others[""], images, goal)
        ready = next(iter(others.values()), None)
        images, told = unseen(images, [source_images] if ready is None else [each.images for each in others.values()])
        first = _draw(goal, images, shots, derive(seed, "repeat", 0))
        past = past_transfers(remembered, fingerprint(_task(first, target)), goal)
        request = {
            "verb": "transfer", "goal": goal, "source": source, "target": target, "ways": list(ways), "shots": shots,
            "steps": steps, "repeats": repeats, "seed": seed, "fields": given, "options": dict(options or {}),
        }  # fmt: skip
        directories.begin(directory, request)
        if ready is None:
            assert source_images is not None
            from_ = trained(source, source_images, goal, kind, dict(options or {}), source_steps, seed,
                            directory / "source", remembered, progress)  # fmt: skip
        else:
            from_ = ready
        if "auto" in ways:
            choice = advised_way(past, WAYS[goal].keys() - set(ALWAYS), DEFAULT[goal])
            asked = [choice.chosen, *asked]
            advice.append(f"way: {choice.why}")
        names = [*ALWAYS, *([*WAYS[goal]] if "all" in ways else []), *asked]
        arms = [Arm(name, way_of(name, goal), from_) for name in dict.fromkeys(names)]
        if source == "auto":
            arms = _from_each(arms, others)
        return _carried_out(
            arms, images, first, request | {"source_told": from_.told, "source_sha256": from_.sha256},
            {} if ready is None else dict(options or {}), directory, remembered, advice=advice, notes=told,
            must=set(asked), progress=progress,
        )  # fmt: skip


def _steps(text: str | None, usual: int) -> int:
    given = parse(text)
    if given.seconds is not None or given.steps == 0:
        raise LimnerError(f"a transfer's budget is steps, the same for every way, such as {usual}steps; not {text!r}")
    return usual if given.steps is None else given.steps


def _from_each(arms: list[Arm], others: dict[str, Source]) -> list[Arm]:
    """The arms, the first way that transfers from every chosen source; the advised one is that of all the others."""
    first = next((arm for arm in arms if arm.label not in ALWAYS), None)
    made = []
    for arm in arms:
        if arm is first:
            made += [Arm(f"{arm.label}, {name} source", arm.way, source) for name, source in others.items()]
        else:
            made.append(arm)
    return made


def _draw(goal: str, images: ImageSet, shots: int, seed: int) -> Target | Task:
    return target_of(images, shots, seed) if goal == "classify" else drawn(images, shots, seed)


def _task(draw: Target | Task, spec: str) -> Task:
    """What the memory keeps the draw as."""
    from limner.tasks import Task

    if isinstance(draw, Target):
        draw = Task("classify", f"{draw.support.name}, {len(draw.support)} labelled", draw.support, draw.query)
    return replace(draw, goal=GOAL, source=spec)


def _carried_out(
    arms: list[Arm], images: ImageSet, first: Target | Task, request: dict[str, Any], options: dict[str, Any],
    directory: Path, memory: Memory, *, advice: list[str], notes: list[str], must: set[str], progress: bool,
) -> Transferred:  # fmt: skip
    """Every arm on every draw; the table, the page, and what the memory keeps."""
    from limner.memory import fingerprint
    from limner.verbs.line import listeners

    goal, seed, repeats = request["goal"], request["seed"], request["repeats"]
    fields = {"steps": request["steps"], **request["fields"]}
    outcomes: dict[str, list[Outcome]] = {arm.label: [] for arm in arms}
    notes = [*images.notes, *notes]
    heard, state, begun, done = listeners(progress, "transfer"), "finished", time.perf_counter(), 0
    _tell(heard, "on_start", len(arms) * repeats, 0.0, 0)
    try:
        for repeat in range(repeats):
            drawn_by = derive(seed, "repeat", repeat)
            draw = first if repeat == 0 else _draw(goal, images, request["shots"], drawn_by)
            task, found = _task(draw, request["target"]), dict[str, Outcome]()
            memory.add_task(task, fingerprint(task), parent=images)
            for arm in list(arms):
                done += 1
                try:
                    same = next((label for label in found if _equal(arm, label, arms)), None)
                    found[arm.label] = found[same] if same else _one(arm, draw, fields, options, drawn_by)
                except LimnerError as unfit:
                    if repeat or arm.label in ALWAYS or arm.way.name in must:
                        raise
                    arms = [other for other in arms if other is not arm]
                    notes.append(f"{arm.label} is left out: {unfit}")
                    continue
                score = _score(found[arm.label], goal)
                _tell(heard, "on_step", done, {f"{arm.label} {METRIC[goal].replace('_', ' ')}": score})
                if not same:
                    _remember(
                        arm, found[arm.label], draw, request, directory if repeat == 0 else None, memory, drawn_by
                    )
            for label, outcome in found.items():
                outcomes[label].append(outcome)
    except KeyboardInterrupt:
        if not outcomes[arms[0].label]:
            raise
        state = "stopped"
        notes.append(
            f"stopped by hand after {len(outcomes[arms[0].label])} of {repeats} repeats; the rows are of these"
        )
    finally:
        _tell(heard, "on_end", state)
    rows = table(arms, outcomes, goal)
    if len(rows[0].values) == 1:
        notes.append("one draw of shots tells nothing of how another would do; --repeats 3 or more does")
    record = request | {"seconds": time.perf_counter() - begun, "metric": METRIC[goal]}
    made = Transferred(
        rows, summary(rows, METRIC[goal]), directory, directory / "report.html", record, advice, notes, state
    )
    directories.write_json(directory / RECORD, made.to_json())
    from limner.reports import transferred

    transferred.write(made, arms[0].source.images, first)
    return made


def _equal(arm: Arm, label: str, arms: list[Arm]) -> bool:
    """Whether the arm ``label`` is the same way from the same source, which needs not be gone twice."""
    other = next(each for each in arms if each.label == label)
    return other.way == arm.way and other.source is arm.source


def _one(arm: Arm, draw: Target | Task, fields: dict[str, Any], options: dict[str, Any], seed: int) -> Outcome:
    if isinstance(draw, Target):
        return carried_out(arm.way, arm.source, draw, fields, options, seed)
    return generated(arm.way, arm.source, draw, fields, seed)


def _score(outcome: Outcome, goal: str) -> float:
    if isinstance(outcome, Made):
        return float(outcome.right.double().mean())
    if METRIC[goal] not in outcome.scores.values:
        raise LimnerError(f"the samples could not be scored: {'; '.join(outcome.scores.notes)}")
    return outcome.scores.values[METRIC[goal]].value


def _remember(
    arm: Arm, outcome: Outcome, draw: Target | Task, request: dict[str, Any], directory: Path | None, memory: Memory,
    seed: int,
) -> None:  # fmt: skip
    """Keep the outcome in the memory, and the first draw's model in ``directory``."""
    from limner.engine import Run
    from limner.types import Scores
    from limner.verbs.classify import wilson

    goal = request["goal"]
    task = _task(draw, request["target"])
    run = outcome.run
    if isinstance(outcome, Made):
        run = run or Run(arm.source.learner, task.name, task.source, Strategy(), seed, {})
        value, count = _score(outcome, goal), len(outcome.right)
        scores = {"accuracy": Score(value, *wilson(value, count))}
        run.scores = Scores(scores, "its own logits", 0, count, len(task.support), seed)
    else:
        run = outcome.run
        run.scores = outcome.scores
    run.task_name, run.source = task.name, task.source
    run.task = {
        "sha256": task.sha256,
        "support": {"name": task.support.name, "count": len(task.support), "sha256": task.support.sha256,
                    "licence": task.support.licence, "classes": list(task.support.class_names)},
    }  # fmt: skip
    run.lineage[MARK] = {"way": arm.way.name, "source": arm.source.sha256, "goal": goal, "metric": METRIC[goal]}
    run.notes += [note for note in outcome.notes if note not in run.notes]
    begun_from = "scratch" if arm.way.carries == "nothing" or not arm.source.sha256 else arm.source.sha256
    place = None if directory is None else directory / "ways" / arm.label.replace(", ", "-").replace(" ", "-")
    kept(memory, task, run, run.strategy.replace(start=begun_from), seed, place)


def table(arms: list[Arm], outcomes: dict[str, list[Outcome]], goal: str) -> list[Row]:
    """A row for each arm, over all repeats."""
    better_is_higher = goal == "classify"
    values = {arm.label: [_score(each, goal) for each in outcomes[arm.label]] for arm in arms}
    right = {arm.label: _right(outcomes[arm.label]) for arm in arms}
    rows = []
    for arm in arms:
        more = {}
        for other in ALWAYS:
            if arm.label != other:
                both = (right[arm.label], right[other])
                pair = None if both[0] is None or both[1] is None else (both[0], both[1])
                more[other] = difference(values[arm.label], values[other], pair)
        outcome = outcomes[arm.label][0]
        rows.append(
            Row(
                arm.label, arm.way.name, arm.way.about, arm.source.name if arm.way.carries != "nothing" else "",
                mean(values[arm.label], right[arm.label]), tuple(values[arm.label]), more,
                verdict(more["scratch"], better_is_higher) if "scratch" in more else "",
                sum(each.seconds for each in outcomes[arm.label]) / len(outcomes[arm.label]),
                "" if outcome.carried is None else outcome.carried.told(),
                None if outcome.carried is None else outcome.carried.left,
                outcome.notes,
            )
        )  # fmt: skip
    return rows


def _right(outcomes: list[Outcome]) -> list[torch.Tensor] | None:
    found = [outcome.right for outcome in outcomes if isinstance(outcome, Made)]
    return found or None


def cells(made: Transferred) -> list[dict[str, str]]:
    """The table in words, for terminals and pages."""
    share = made.record["metric"] == "accuracy"
    return [
        {
            "way": row.label,
            "score": in_words(row.score, share),
            "more than scratch": in_words(row.more["scratch"], share, True) if "scratch" in row.more else "",
            "more than source only": in_words(row.more["source-only"], share, True)
            if "source-only" in row.more
            else "",
            "verdict": row.verdict,
            "seconds": f"{row.seconds:.1f}",
        }
        for row in made.rows
    ]


def _tell(heard: Sequence[Any], event: str, *details: Any) -> None:
    for listener in heard:
        getattr(listener, event)(*details)
