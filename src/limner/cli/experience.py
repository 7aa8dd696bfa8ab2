"""``limner meta-train experience``: a family gone through, strategies tried on each of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from limner.cli import show
from limner.errors import LimnerError

if TYPE_CHECKING:
    from limner.verbs.experience import Experience

TAKEN = (
    "algorithm",
    "learner",
    "family",
    "ways",
    "shots",
    "degradation",
    "start",
    "budget",
    "seed",
    "options",
    "fields",
)
"""What of ``meta-train``'s options an experience takes."""


def wrote(path: Path) -> bool:
    """Whether an experience is what was done in the directory."""
    from limner.verbs import directories

    return directories.verb_of(path) == "experience"


def tell(asked: dict[str, Any], own: dict[str, Any], place: dict[str, Any], json: bool) -> None:
    """Carry it out, or go on with it, and tell what came of it."""
    from limner.verbs import experience as verb

    given = {name: value for name, value in asked.items() if value not in (None, {}) and value is not False}
    if refused := [name for name in given if name not in TAKEN]:
        raise LimnerError(f"--{refused[0].replace('_', '-')} plays no part in meta-train experience; leave it out")
    resumed = place.pop("resume")
    memory, out = place["memory"], place["out"]
    more = {name: value for name, value in own.items() if value is not None}
    if resumed is not None:
        allowed = ("budget",)
        if said := [name for name in (*given, *(["out"] if out else [])) if name not in allowed]:
            show.alone(said[0], "--resume")
        if said := [name for name in more if name not in ("tasks", "runs", "workers", "on")]:
            show.alone(f"--{said[0]}", "--resume")
        made = verb.resume(resumed, memory=memory, budget=given.get("budget"), **more, progress=True)
    else:
        missing = next((name for name in ("learner", "family") if name not in given), None)
        if missing is not None:
            raise LimnerError(f"an experience needs a {missing}; see: limner meta-train --help")
        given.pop("algorithm")
        made = verb.experience(given.pop("learner"), given.pop("family"), **given, **more, **place, progress=True)
    _show(made, json)


def _show(made: Experience, json: bool) -> None:
    if json:
        show.document(made.to_json())
    else:
        score = made.metric.replace("_", " ")
        cells = [
            [
                row["task"] + (f" under {row['degradation']}" if row["degradation"] else ""), str(row["runs"]),
                show.number(row["default"]), show.number(row["best"]), show.number(row["seconds"]),
                row["reason"] or row["state"],
            ]
            for row in made.rows
        ]  # fmt: skip
        show.table("", ["task", "runs", f"default's {score}", f"best {score}", "seconds", ""], cells)
        for note in made.notes:
            typer.echo(f"  {note}")
        typer.echo(f"written   {made.directory}")
    if made.state == "stopped":
        raise show.Stopped(f"not all is done; go on with: limner meta-train --resume {made.directory}")
