"""``limner predict``: what a classifier, or the winner of a search, says of new images or rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import help, options, show

if TYPE_CHECKING:
    from limner.verbs.predict import Predicted

FIRST = 10
"""Answers that are shown; all are in the table that is written."""


def add_to(app: help.App) -> None:
    """Add the command."""
    app.command(epilog="Example: limner predict runs/cats-and-dogs folder:new-images --out predicted")(predict)


def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run of adapt classify, or the directory of a tune, whose winner then answers."
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help=f"Images, as a data spec: {options.KINDS}. For an estimator that learned from a table: csv:new.csv, "
            "with the same columns.",
        ),
    ],
    out: options.Out = None,
    memory: options.MemoryAt = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """The class of each new image, or of each row of a table: a CSV file, and a picture of some of each class.

    Of an estimator that regresses it is a value, of one that clusters a cluster.
    """
    from limner.verbs.predict import predict as verb

    tell(verb(model, data, out=out, memory=memory, force=force), json)


def tell(made: Predicted, json: bool) -> None:
    """How many of each class, the first answers, and where all are."""
    if json:
        show.document(made.to_json())
        return
    counts = list(made.counts.items())
    if counts:
        more = f", and {len(counts) - FIRST:,} more" if len(counts) > FIRST else ""
        typer.echo(", ".join(f"{name} ({count:,})" for name, count in counts[:FIRST]) + more)
    rows = [
        [name, show.number(answer) if made.what == "value" else str(answer)]
        + ([f"{made.sureness[place]:.2f}"] if made.sureness else [])
        for place, (name, answer) in enumerate(zip(made.names[:FIRST], made.answers[:FIRST], strict=True))
    ]
    show.table("", [made.of, made.what, *(["sureness"] if made.sureness else [])], rows)
    if len(made.names) > FIRST:
        typer.echo(f"  … and {len(made.names) - FIRST:,} more")
    for note in made.notes:
        typer.echo(f"  {note}")
    typer.echo(f"all       {made.file}")
    if made.picture is not None:
        typer.echo(f"picture   {made.picture}")
