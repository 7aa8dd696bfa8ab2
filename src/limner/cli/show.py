"""How results look in a terminal: a few lines for people, or with ``--json`` one document for machines.

Results go to standard output; progress and complaints go to standard error.
"""

from __future__ import annotations

import json as json_format
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from limner.config import ENDLESS
from limner.errors import LimnerError
from limner.verbs.fields import read

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.memory import Recommendation
    from limner.types import Scores
    from limner.verbs.compare import Comparison
    from limner.verbs.data import Description
    from limner.verbs.meta_train import Learned
    from limner.verbs.sample import Written

COLUMNS = {
    "runs": ("id", "name", "state", "learner", "task_name", "steps", "seconds", "scores", "created"),
    "models": ("sha256", "name", "learner", "bytes", "runs", "created"),
    "starts": ("sha256", "name", "origin", "learner", "scores", "bytes", "created"),
    "tasks": ("sha256", "name", "goal", "shots", "queries", "runs", "created"),
    "images": ("sha256", "name", "images", "image_shape", "classes", "licence"),
    "recommendations": ("id", "rank", "learner", "source", "expected", "reason"),
}
"""What a table of the memory shows of each kind; ``--json`` shows all."""


class Stopped(Exception):
    """A run was stopped by Ctrl-C and saved; the message says how to go on."""


def complain(sentence: str) -> None:
    """One sentence on standard error."""
    typer.echo(f"limner: {sentence}", err=True)


def needed(value: str | None, name: str, example: str) -> str:
    """``value``, or a complaint that it is missing."""
    if value is None:
        raise LimnerError(f"{name} is missing; right would be, for example: {example}")
    return value


def alone(data: str | None, option: str) -> None:
    """Complain of DATA beside an option that takes its data from elsewhere."""
    if data is not None:
        raise LimnerError(f"{option} goes on with a run as it was begun, so leave out {data!r}")


def pairs(given: Sequence[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` options as a dictionary: numbers, true and false, lists (with +) and words.

    >>> pairs(["latents=32", "beta=0.5", "sampler=prior", "augmentation=shift+turn"])
    {'latents': 32, 'beta': 0.5, 'sampler': 'prior', 'augmentation': 'shift+turn'}
    """
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise LimnerError(f"{text!r} cannot be read; right would be NAME=VALUE, e.g. latents=32")
        found[name.strip().replace("-", "_")] = read(value)
    return found


def document(record: Any) -> None:
    """The one JSON document of ``--json``; numbers that JSON does not know become null."""
    typer.echo(json_format.dumps(strict(record), indent=2, ensure_ascii=False, allow_nan=False))


def strict(value: Any) -> Any:
    """``value`` with nothing in it that JSON does not know.

    >>> strict({"a": (1, float("nan")), "where": Path("x")})
    {'a': [1, None], 'where': 'x'}
    """
    if isinstance(value, Mapping):
        return {str(name): strict(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [strict(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def lines(record: dict[str, Any], sentences: Sequence[str], json: bool) -> None:
    """The sentences, or the record."""
    if json:
        document(record)
        return
    for sentence in sentences:
        typer.echo(sentence)


def table(title: str, columns: Sequence[str], rows_of_text: Sequence[Sequence[str]]) -> None:
    """A table that fits the terminal; long cells are folded, and brackets in them are nothing but brackets."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    made = Table(title=Text(title) if title else None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column.replace("_", " "), overflow="fold")
    for row in rows_of_text:
        made.add_row(*map(Text, row))
    console.print(made)


def short(name: str, value: Any) -> str:
    """A value as a table's cell."""
    if name == "scores" and isinstance(value, Mapping):
        best = "kernel_distance" if "kernel_distance" in value else next(iter(value), None)
        return "" if best is None else f"{best.replace('_', ' ')} {number(value[best]['value'])}"
    if name == "learner" and isinstance(value, Mapping):
        return f"{value['kind']} {'×'.join(str(side) for side in value['image_shape'])}"
    if name in ("sha256", "id"):
        return str(value)[:12]
    if name == "created" and value is not None:
        return str(value)[:16].replace("T", " ")
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(part)[:12] for part in value)
    return "" if value is None else str(value)


def number(value: float | None) -> str:
    """A number with four digits that matter; a dash where there is none.

    >>> number(0.0123456), number(1234.5), number(None)
    ('0.01235', '1234', '–')
    """
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def counted(counts: Mapping[str, Any]) -> str:
    """Counts in words.

    >>> counted({"runs": 2, "data_sets": ["a"], "strategies": 1, "run_directories_kept": 1})
    '2 runs, 1 data set, 1 strategy, 1 run directory kept'
    """
    told = []
    for name, part in counts.items():
        count = part if isinstance(part, int) else len(part)
        words = name.replace("_", " ")
        if count == 1:
            words = words.replace("ies", "y").removesuffix("s")
        told.append(f"{count:,} {words}")
    return ", ".join(told) or "nothing"


def rows(kind: str, found: list[dict[str, Any]], json: bool, *, empty: str, title: str) -> None:
    """Rows of the memory, of one kind."""
    if json:
        document(found)
    elif not found:
        typer.echo(empty)
    else:
        columns = COLUMNS[kind]
        table(title, columns, [[short(name, row[name]) for name in columns] for row in found])
        for row in found:
            if reason := row.get("reason") if kind == "runs" else None:
                typer.echo(f"  {row['id']} {row['name']}: {reason}")


def record(found: dict[str, Any], json: bool) -> None:
    """All about one thing of the memory."""
    if json:
        document(found)
        return
    for name, value in found.items():
        if value is None or value in ("", [], {}):
            continue
        if name == "curve":
            value = f"{len(value)} points (all of them with --json)"
        elif name == "scores" and value:
            value = ", ".join(f"{metric.replace('_', ' ')} {number(score['value'])}" for metric, score in value.items())
        elif isinstance(value, dict):
            value = ", ".join(f"{key}={json_format.dumps(strict(part))}" for key, part in value.items())
        elif isinstance(value, list):
            value = "; ".join(part if isinstance(part, str) else json_format.dumps(strict(part)) for part in value)
        typer.echo(f"{name.replace('_', ' '):>14}  {value}")


def score_rows(found: Scores) -> list[list[str]]:
    """One row for each metric: value, interval, floor, which way is better."""
    from limner.reports import words

    return [
        [words.label(name), *words.shown(score), words.MEANINGS.get(name, ("", ""))[0]]
        for name, score in found.values.items()
    ]


def scores(found: Scores, json: bool) -> None:
    """A table of scores, with what they were measured by."""
    if json:
        document(found.to_json())
        return
    against = f"{found.query} {'image' if found.query == 1 else 'images'} held back"
    title = f"on {against}"
    if found.samples:
        title = f"{found.samples} samples against {against}, features of {found.extractor}"
    columns: tuple[str, ...] = ("score", "value", "95% interval", "real against real", "better")
    cells = score_rows(found)
    if not any(row[3] for row in cells):  # a share, such as accuracy, has no such floor
        columns, cells = columns[:3] + columns[4:], [row[:3] + row[4:] for row in cells]
    table(title, columns, cells)
    for note in found.notes:
        typer.echo(f"  {note}")


def run(made: Run, json: bool) -> None:
    """What a run came to; where it was stopped, how to go on."""
    directory = str(made.lineage.get("directory", ""))
    if json:
        document(made.to_json() | {"directory": directory})
    else:
        typer.echo(
            f"{made.learner.kind} on {made.task_name}: "
            f"{made.cost.steps} steps in {made.cost.seconds:.0f} s ({made.state})"
        )
        for sentence in (*made.lineage.get("advice", ()), *made.notes):
            typer.echo(f"  {sentence}")
        for sentence in made.warnings:
            typer.echo(f"  warning: {sentence}")
        if made.scores is not None:
            scores(made.scores, False)
        typer.echo(f"run       {directory}")
        if made.state == "finished":
            typer.echo(f"page      {Path(directory) / 'report.html'}")
            if "sample" in made.learner.answers:
                typer.echo(f"more      limner sample {directory} --count 64")
            if "translate" in made.learner.answers:
                typer.echo(f"use       limner translate {directory} DATA")
            if "logits" in made.learner.answers:
                typer.echo(f"use       limner predict {directory} DATA")
            if "restore" in made.learner.answers:
                typer.echo(f"use       limner restore {directory} DATA --out restored")
    if made.state == "failed":
        complain(f"training failed at step {made.cost.steps}; the last sound model is in {directory}: try a lower rate")
        raise typer.Exit(1)
    if made.state == "collapsed":
        complain(
            "training collapsed, so this is no result; try a lower rate (--set learning_rate=…), another objective or "
            "more images"
        )
        raise typer.Exit(1)
    if made.state == "stopped":
        goals = [goal for goal in ("translate", "restore") if goal in made.learner.answers]
        goal = goals[0] if goals else "generate"
        verb = f"adapt {goal}" if made.lineage.get("verb") == "adapt" else "train"
        raise Stopped(f"stopped at step {made.cost.steps} and saved; go on with: limner {verb} --resume {directory}")


def comparison(made: Comparison, json: bool) -> None:
    """Arms side by side, one row for each."""
    if json:
        document(made.to_json())
        return
    from limner.reports import words

    names = list(dict.fromkeys(name for row in made.rows for name in row["scores"]))
    cells = [
        ["learner", *(row["learner"] for row in made.rows), ""],
        ["steps", *(str(row["steps"]) for row in made.rows), ""],
        ["seconds", *(f"{row['seconds']:.1f}" for row in made.rows), "lower"],
    ]
    for name in names:
        values = (number(row["scores"].get(name)) for row in made.rows)
        cells.append([words.label(name), *values, words.MEANINGS.get(name, ("", ""))[0]])
    table("", ["", *(row["name"] for row in made.rows), "better"], cells)
    for sentence in made.notes:
        typer.echo(f"  {sentence}")
    typer.echo(f"page      {made.page}")


def recommendations(found: Sequence[Recommendation], json: bool) -> None:
    """What the adviser would do, best first."""
    if json:
        document([vars(advice) | {"strategy": advice.strategy.to_json()} for advice in found])
        return
    cells = [
        [
            str(rank),
            advice.learner,
            advice.name or "–",
            advice.start[:24],
            f"{advice.strategy.seconds:g} s" if advice.strategy.steps >= ENDLESS else str(advice.strategy.steps),
            number(advice.strategy.learning_rate),
            number(advice.expected),
            advice.source,
            advice.reason,
        ]
        for rank, advice in enumerate(found, 1)
    ]
    table("", ["rank", "learner", "strategy", "start", "steps", "rate", "expected", "from", "why"], cells)


def start(made: Learned, json: bool) -> None:
    """What meta-training came to; where it was stopped, how to go on. Only the first of several processes speaks."""
    if made.state == "elsewhere":
        return
    if json:
        document(made.to_json())
    else:
        typer.echo(f"start     {made.sha256[:12]} {made.name}".rstrip())
        for sentence in made.notes:
            typer.echo(f"  {sentence}")
        if made.test:
            _adaptation(made.test)
        for what, place in {"directory": made.directory, "file": made.path, "page": made.page}.items():
            if place is not None:
                typer.echo(f"{what:<9} {place}")
        if made.state == "finished" and made.use:
            typer.echo(f"use       {made.use}")
    steps = f"{made.cost['steps']:,} outer steps"
    if made.state == "failed":
        complain(f"meta-training failed after {steps}; the start is what was sound before: try lower rates")
        raise typer.Exit(1)
    if made.state == "stopped":
        again = "" if made.directory is None else f"; go on with: limner meta-train --resume {made.directory}"
        raise Stopped(f"stopped after {steps} and saved{again}")


def _adaptation(test: dict[str, Any]) -> None:
    """A table of what adaptation does on unseen tasks, step by step."""
    from limner.reports.start_words import value_label

    steps = {name: pairs for name, pairs in test["steps"].items() if name.endswith(("query loss", "accuracy"))}
    count = len(next(iter(steps.values())))
    places = [place for place in (0, 1, 2, 3, 5, 10, 15, 20, 30, 50) if place < count]
    columns = ["", *("before" if place == 0 else f"{place} step{'' if place == 1 else 's'}" for place in places)]
    columns = columns if count > 1 else ["", "in closed form"]
    cells = [
        [value_label(name, steps), *(f"{number(pairs[place][0])} ± {number(pairs[place][1])}" for place in places)]
        for name, pairs in steps.items()
    ]
    table(f"adapting to {test['tasks']} {test['split']} tasks (mean, 95% interval)", columns, cells)


def files(made: Written, json: bool) -> None:
    """What was written where."""
    from limner.verbs.sample import TOGETHER

    if json:
        document({"directory": made.directory, "picture": made.picture, "images": made.images})
        return
    at_once = "all" if made.count <= TOGETHER else f"the first {TOGETHER}"
    typer.echo(f"{made.count:,} images in {made.directory}")
    typer.echo(f"{at_once} in one: {made.picture}")


def description(found: Description, json: bool) -> None:
    """What a data spec gives."""
    told = found.record
    if json:
        document(told | {"picture": found.picture})
        return
    channels, height, width = told["shape"]
    colour = "grey" if channels == 1 else "colour"
    many = "image" if told["images"] == 1 else "images"
    typer.echo(f"{told['name']}: {told['images']:,} {colour} {many} of {height}×{width} pixels")
    typer.echo(f"sha256    {told['sha256'][:16]}")
    typer.echo(f"licence   {told['licence']}")
    if told["classes"]:
        sizes = sorted(told["classes"].values())
        spread = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
        chosen = "" if told["chosen"] is None else f", chosen by classes={told['chosen']}"
        typer.echo(f"classes   {len(sizes):,}, of {spread} images{chosen}")
        table("", ["class", "images"], [[name, str(count)] for name, count in list(told["classes"].items())[:20]])
        if len(sizes) > 20:
            typer.echo(f"  … and {len(sizes) - 20:,} more (all of them with --json)")
    for note in told["notes"]:
        typer.echo(f"  {note}")
    if found.picture is not None:
        typer.echo(f"picture   {found.picture}")
