"""``limner transfer``: from a source to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import help, options, show

if TYPE_CHECKING:
    from limner.verbs.transfer import Transferred


def add_to(app: help.App) -> None:
    """Add the command."""
    app.command(epilog="Example: limner transfer digits,size=28,classes=0-4 digits,size=28,classes=5-9 --shots 5")(
        transfer
    )


def transfer(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="What is transferred from: a data spec, a run, a model or start of the memory, or auto (as advised).",
        ),
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help=f"Target images, as a data spec: {options.KINDS}.")],
    goal: Annotated[str, typer.Option(metavar="GOAL", help="classify or generate.")] = "classify",
    ways: Annotated[
        list[str] | None,
        typer.Option(
            "--way",
            metavar="NAME",
            help="How: auto (as advised), all, full, partial, head, logistic-regression, features:CLASS, "
            "discriminative, anchored, joint, joint-rising, joint-learned, adversarial, correlation, kernel, low-rank, "
            "modulation; to generate also distance-preserving. May be given again.",
        ),
    ] = None,
    shots: Annotated[
        int,
        typer.Option(metavar="K", help="Target images to learn from: of each class to classify, in all to generate."),
    ] = 5,
    budget: Annotated[
        str | None, typer.Option(metavar="300steps", help="Steps on the target, the same for every way.")
    ] = None,
    source_budget: Annotated[
        str | None, typer.Option("--source-budget", metavar="1000steps", help="Steps on the source, if it is trained.")
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="N", help="How often the shots are drawn anew.")] = 3,
    learner: Annotated[
        str | None, typer.Option(metavar="NAME", help="The source's learner: classifier, or to generate vae or gan.")
    ] = None,
    option: options.LearnerOptions = None,
    field: options.StrategyFields = None,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Learn from a source, carry that over to a target, and show what it was worth beside scratch and the source alone.

    Every way takes as many steps on the same few target images, and is judged on others that none has seen. A way that
    does worse than scratch is called so. DIR holds a page, transfer.json, and the model of each way in ways/NAME.
    """
    from limner.verbs.transfer import transfer as verb

    tell(
        verb(
            source,
            target,
            goal=goal,
            ways=ways or ("auto",),
            shots=shots,
            budget=budget,
            source_budget=source_budget,
            repeats=repeats,
            learner=learner,
            options=show.pairs(option),
            fields=show.pairs(field),
            out=out,
            memory=memory,
            seed=seed,
            force=force,
            progress=True,
        ),
        json,
    )


def tell(made: Transferred, json: bool) -> None:
    """The table, what it says, and where the page is."""
    from limner.verbs.transfer import cells

    if json:
        show.document(made.to_json())
    else:
        for sentence in made.advice:
            typer.echo(sentence)
        found = cells(made)
        show.table("", [name if name != "score" else made.record["metric"] for name in found[0]],
                   [list(row.values()) for row in found])  # fmt: skip
        typer.echo(made.summary)
        for note in made.notes:
            typer.echo(f"  {note}")
        typer.echo(f"page      {made.page}")
    if made.state == "stopped":
        raise show.Stopped(made.notes[-1])
