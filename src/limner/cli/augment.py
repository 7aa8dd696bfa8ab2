"""``limner augment``: a training set with made images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import help, options, show

if TYPE_CHECKING:
    from limner.verbs.augment import Augmented


def add_to(app: help.App) -> None:
    """Add the command."""
    app.command(epilog="Example: limner augment folder:my-images --per-class 50 --with-originals --out bigger")(augment)


def augment(
    data: options.Data,
    per_class: Annotated[int, typer.Option("--per-class", metavar="N", help="How many images to make of each class.")],
    start: Annotated[str, typer.Option(metavar="MODEL", help=f"auto (as advised), {options.MODELS}.")] = "auto",
    budget: Annotated[
        str | None,
        typer.Option(metavar="60s", help="Time for all, the check included (60s, 2m, 1h); or 500steps a generator."),
    ] = None,
    learner: options.LearnerName = None,
    strategy: options.StrategyName = None,
    option: options.LearnerOptions = None,
    field: options.StrategyFields = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Find out by cross-validation whether a classifier gains.")
    ] = True,
    with_originals: Annotated[
        bool, typer.Option("--with-originals", help="Copy the real images beside: DIR is a training set by itself.")
    ] = False,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Make images of each class of a labelled set, as files, and find out whether they help a classifier.

    DIR/CLASS/made-0001.png and so on, a page with real and made images, and augment.json, which tells how they were
    made. A class's name is written with %XX where a folder cannot be called so. The check trains classifiers on real
    images alone, with made ones and with ordinary augmentation, and judges all by real images that neither they nor
    the generators have seen. It takes about five times as long as the images themselves.
    """
    from limner.verbs.augment import augment as verb

    tell(
        verb(
            data,
            per_class=per_class,
            start=start,
            budget=budget,
            learner=learner,
            strategy=strategy,
            options=show.pairs(option),
            fields=show.pairs(field),
            check=check,
            with_originals=with_originals,
            out=out,
            memory=memory,
            seed=seed,
            force=force,
            progress=True,
        ),
        json,
    )


def tell(made: Augmented, json: bool) -> None:
    """What was written, and whether it helps."""
    if json:
        show.document(
            {"directory": made.directory, "page": made.page, "state": made.state, **made.record, "notes": made.notes}
        )
    else:
        classes = made.record["classes"]
        many = "class" if len(classes) == 1 else "classes"
        typer.echo(f"{made.made:,} images of {len(classes):,} {many} in {made.directory}")
        for sentence in (*made.record["why"], *made.notes):
            typer.echo(f"  {sentence}")
        if made.gain is not None:
            from limner.reports.augmented import rows, verdict

            columns = ("judge", "learned from", "accuracy", "95% interval", "more than from real images alone")
            show.table("", columns, [list(_ordered(row)) for row in rows(made.gain)])
            typer.echo(verdict(made.gain))
        if made.page.exists():
            typer.echo(f"page      {made.page}")
    if made.state != "finished":
        raise show.Stopped(made.notes[-1])


def _ordered(row: dict[str, str]) -> tuple[str, ...]:
    return row["judge"], row["arm"], row["accuracy"], row["interval"], row["difference"]
