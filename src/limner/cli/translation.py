"""``limner translate``, and what ``adapt translate`` takes beside one set of data."""

from __future__ import annotations

from typing import Annotated

import typer

from limner.cli import help, options, show
from limner.errors import LimnerError

Targets = Annotated[
    str | None,
    typer.Argument(metavar="TARGETS", help="To translate or restore: what images of DATA are to become."),
]
Paired = Annotated[
    bool | None,
    typer.Option(
        "--pairs/--no-pairs",
        help="To translate: DATA and TARGETS are pairs, or are none (default: by their names and counts).",
    ),
]


def two_sided(goal: str, data: str, targets: str | None, paired: bool | None) -> str:
    """The data spec of DATA and TARGETS together, for goals ``translate`` and ``restore``; else that of DATA alone.

    Raises :class:`LimnerError` for a goal that there is not, or that takes one set of data.
    """
    from limner.verbs.goals import check_goal

    check_goal(goal)
    if goal == "restore" and targets is not None and paired is not False:
        return f"{data} => {targets}"
    if goal != "translate":
        if targets is not None or paired is not None:
            given = repr(targets) if targets is not None else "--pairs"
            raise LimnerError(f"to {goal} takes one set of data, so leave {given} out; two are to translate or restore")
        return data
    from limner.tasks.pair_spec import join

    spec, told = join(data, targets, paired)
    if told:
        show.complain(told)
    return spec


def add_to(app: help.App) -> None:
    """Add the command."""
    app.command(epilog="Example: limner translate runs/facades folder:labels --out photographs")(translate)


def translate(
    model: Annotated[str, typer.Argument(metavar="RUN", help="A run of adapt translate, or a model of the memory.")],
    data: options.Data,
    back: Annotated[
        bool, typer.Option("--back", help="The other way, from targets to inputs; for runs of the learner cycle.")
    ] = False,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """What a translator makes of images: one PNG each, under its own name. The images themselves are only read."""
    from limner.verbs.translate import translate as verb

    made = verb(model, data, back=back, out=out, memory=memory, force=force, progress=True)
    told = [f"{len(made.images)} images in {made.directory}", f"some of them: {made.picture}"]
    show.lines(made._asdict(), told, json)
