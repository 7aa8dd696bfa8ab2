"""``limner memory``: look into what is remembered, check it, move it, forget parts of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import help, options, show
from limner.errors import LimnerError
from limner.verbs.directories import run_of

if TYPE_CHECKING:
    from limner.memory import Memory

app = help.App(
    name="memory", help="What is remembered: list, show, advice, report, card, verify, export, import, forget."
)

KINDS = "runs, models, starts, tasks, images or recommendations"

SHOWN = 50
"""Rows that a table shows where no other limit is given; as JSON all are."""


def opened(location: str | None) -> Memory:
    """The memory at ``location``; one that was given must be there."""
    from limner.memory import Memory

    check(location)
    return Memory.open(location)


def check(location: str | None) -> None:
    """Raises :class:`LimnerError` where a memory was given and is not there: a slip of the pen begins none."""
    from limner.memory.database import locate

    place = None if location is None or "://" in location else locate(location).url.database
    if place is not None and not Path(place).exists():
        raise LimnerError(f"there is no memory at {location}; check --memory, or leave it out for the usual one")


@app.callback()
def common(context: typer.Context) -> None:
    """What is remembered: list, show, advice, report, card, verify, export, import, forget."""
    help.instead_of_nothing(context)


@app.command("list", epilog='Example: limner memory list runs --learner vae --where "kernel_distance<50"')
def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{KINDS}.")] = "runs",
    goal: Annotated[str | None, typer.Option(metavar="GOAL", help="Only of tasks with this goal: generate…")] = None,
    learner: Annotated[str | None, typer.Option(metavar="NAME", help="Only with this kind of learner: vae…")] = None,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Only runs in this state: finished…")] = None,
    task: Annotated[str | None, typer.Option(metavar="ID", help="Only of the task whose id begins so.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help='Of a score or a column: "kernel_distance<50 and steps>=1000".'),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help=f"At most so many (default: {SHOWN}; with --json all).")
    ] = None,
    memory: options.MemoryAt = None,
    json: options.Json = False,
) -> None:
    """A table, newest first. Among all the starts are those that come with Limner."""
    from limner.verbs.starts import listed, own_starts

    asked = {"goal": goal, "learner": learner, "state": state, "task": task, "where": where or ()}
    chosen = any(asked.values())
    most = limit if limit is not None or json else SHOWN
    with opened(memory) as remembered:
        place, shipped = remembered.location, kind == "starts" and not chosen
        if shipped:
            rows = listed(remembered)[:most]
        else:
            rows = remembered.list(kind, **asked, limit=most if limit is not None or most is None else most + 1)
            rows = own_starts(rows) if kind == "starts" else rows
    title = f"{kind} in {place}" + (", and shipped with Limner" if shipped else "")
    empty = f"no {kind} in the memory at {place} are so" if chosen else f"the memory at {place} holds no {kind} yet"
    show.rows(kind, rows[:most], json, empty=empty, title=title)
    if most is not None and len(rows) > most:
        typer.echo(f"these are the newest {most}; choose with --where and others, or show more with --limit N")


@app.command("show", epilog="Example: limner memory show 3f2a90")
def show_(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="An id, a name, a run directory or shipped:NAME.")
    ],
    memory: options.MemoryAt = None,
    json: options.Json = False,
) -> None:
    """All about one run, model, task or data set."""
    with opened(memory) as remembered:
        record = remembered.show(run_of(reference))
    show.record(record, json)


@app.command(epilog="Example: limner memory advice")
def advice(memory: options.MemoryAt = None, json: options.Json = False) -> None:
    """How good advice was: what was followed, and how it did against the default on the same tasks."""
    with opened(memory) as remembered:
        rows, where = remembered.advice(), remembered.location
    if json:
        show.document(rows)
        return
    if not rows:
        typer.echo(f"no advice has been followed in the memory at {where} yet")
        return
    cells = [
        [
            row["adviser"], row["metric"].replace("_", " "), str(row["followed"]), str(row["failed"]),
            str(row["compared"]), "–" if row["better"] is None else f"{row['better']:.0%}", show.number(row["regret"]),
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["adviser", "score", "followed", "failed", "beside the default", "better than it", "regret against it"]
    show.table(f"advice in {where}", heads, cells)
    typer.echo(
        "regret: by how much the score is worse than the default's on the same task; below 0 is better; of "
        "those better than it equal ones count half"
    )


@app.command(epilog="Example: limner memory report --out memory.html")
def report(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The page, FILE.html, or a folder for it; must not exist yet.")
    ] = Path("memory.html"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace a page that Limner wrote; never anything else.")
    ] = False,
    memory: options.MemoryAt = None,
    json: options.Json = False,
) -> None:
    """A page of the whole memory: map of tasks, best strategies, worth of advice, knobs that matter, cost."""
    from limner.verbs.memory_report import memory_report

    check(memory)
    page = memory_report(out, memory=memory, force=force)
    show.lines({"page": str(page)}, [f"page      {page}"], json)


@app.command(epilog="Example: limner memory card 3f2a90 --out card.md")
def card(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="A run or a model: id, name or directory.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write it; must not exist yet.")] = None,
    memory: options.MemoryAt = None,
) -> None:
    """The model card of a run or model: what it learned from, how, how good it is, its limits."""
    from limner.model_file import write_atomically
    from limner.verbs.card import card as told

    written = told(reference, memory=memory)
    if out is None:
        typer.echo(written)
        return
    if out.exists():
        raise LimnerError(f"{out} exists already; give another file name, or delete it first")
    write_atomically(out, written.encode())
    typer.echo(f"written: {out}")


@app.command(epilog="Example: limner memory verify")
def verify(memory: options.MemoryAt = None, json: options.Json = False) -> None:
    """Check every stored file against its checksum and its entry. Exit code 1 if anything is wrong."""
    with opened(memory) as remembered:
        problems, where = remembered.verify(), remembered.location
    show.lines({"memory": where, "problems": problems}, problems or [f"the memory at {where} is whole"], json)
    if problems:
        raise typer.Exit(1)


@app.command(epilog="Example: limner memory export mine.limner")
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; must not exist yet.")],
    what: Annotated[
        str | None, typer.Option("--what", metavar="REFERENCE", help="Only this and what belongs to it.")
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="With the small pictures that are kept of each task's images.")
    ] = False,
    memory: options.MemoryAt = None,
    json: options.Json = False,
) -> None:
    """Write the memory, or a part of it, to one file, for another machine or another person."""
    with opened(memory) as remembered:
        counts = remembered.export(path, what, thumbnails)
    show.lines({"file": str(path), "exported": counts}, [f"{path} holds {show.counted(counts)}"], json)


@app.command("import", epilog="Example: limner memory import theirs.limner")
def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file that limner memory export wrote.")],
    memory: options.MemoryAt = None,
    json: options.Json = False,
) -> None:
    """Take in an exported memory. What is there already stays as it is."""
    from limner.memory import Memory

    with Memory.open(memory) as remembered:
        counts, where = remembered.import_(path), remembered.location
    show.lines({"memory": where, "imported": counts}, [f"new in {where}: {show.counted(counts)}"], json)


@app.command(epilog="Example: limner memory forget folder:my-images --dry-run")
def forget(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="A data set, task, run or model: id or name.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    memory: options.MemoryAt = None,
    json: options.Json = False,
) -> None:
    """Remove one thing and all that came of it, models included."""
    with opened(memory) as remembered:
        removed = remembered.forget(run_of(reference), dry_run=dry_run)
    verb = "would be forgotten" if dry_run else "forgotten"
    remains = removed.pop("remains", [])
    proof = [] if dry_run else remains or ["nothing that names any of it remains, in the database or among the files"]
    told = {verb: removed} if dry_run else {verb: removed, "remains": remains}
    show.lines(told, [f"{verb}: {show.counted(removed)}", *proof], json)
    if remains:
        raise typer.Exit(1)
