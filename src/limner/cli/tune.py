"""``limner tune``: a search for the strategy of one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import help, options, restoration, show

if TYPE_CHECKING:
    from limner.verbs.tune import Tuned


def add_to(app: help.App) -> None:
    """Add the command."""
    app.command(epilog="Example: limner tune sklearn:wine estimator:sklearn.tree.DecisionTreeClassifier")(tune)


def tune(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help=f"Images, as a data spec: {options.KINDS}. For estimators also a table: sklearn:wine (breast_cancer, "
            "iris, digits, diabetes), or csv:FILE,target=COLUMN.",
        ),
    ],
    learner: Annotated[
        str,
        typer.Argument(
            metavar="LEARNER",
            help="Any of Limner's learners (vae, gan, classifier …), or estimator: and the dotted name of a "
            "scikit-learn classifier, regressor or clusterer.",
        ),
    ],
    degradation: restoration.Degradation = None,
    shots: Annotated[
        int | None, typer.Option(metavar="K", help="Images or rows to learn from; the others are held back.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="20runs", help="When to end: 20runs (default), 10m, or 10m,20runs (whichever is first)."),
    ] = None,
    each: Annotated[
        str | None,
        typer.Option(metavar="200steps", help="The budget of each run: 200steps, or 30s (also of estimators)."),
    ] = None,
    sampler: Annotated[
        str, typer.Option(metavar="NAME", help="Of the adviser search: tpe, cma-es, gp or random.")
    ] = "tpe",
    adviser: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who proposes: search (a sampler), nearest, portfolio, evolution, metann, metacnn, random or default.",
        ),
    ] = "search",
    rungs: Annotated[
        bool,
        typer.Option(
            "--rungs",
            help="Take runs of steps a quarter at a time, and go on with what promises most (of metann and metacnn).",
        ),
    ] = False,
    start: Annotated[str, typer.Option(metavar="MODEL", help=f"{options.MODELS}.")] = "scratch",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="An option of the learner, held at that value."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of the strategy, held at that value."),
    ] = None,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this very search, which the memory knows.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Search for the strategy that does best: the default first, then what an adviser proposes, who knows the past.

    Half of what is held back scores the runs; the default and the winner are scored on the other half at the end. Every
    run is kept in the memory. The same command with --resume goes on where it was stopped, or on to a larger budget.
    """
    from limner.verbs.tune import tune as verb

    tell(
        verb(
            data,
            learner,
            shots=shots,
            degradation=degradation,
            budget=budget,
            each=each,
            sampler=sampler,
            adviser=adviser,
            rungs=rungs,
            start=start,
            options=show.pairs(option),
            fields=show.pairs(field),
            out=out,
            memory=memory,
            seed=seed,
            force=force,
            resume=resume,
            progress=True,
        ),
        json,
    )


def tell(made: Tuned, json: bool) -> None:
    """What was tried, and what the winner does on what no search has seen."""
    if json:
        show.document(made.to_json())
    else:
        from limner.reports import words
        from limner.reports.tuned import interval, remark, verdict

        score = words.label(made.metric)
        cells = [
            [
                f"{trial.number + 1}{' *' if trial.number == made.winner else ''}",
                trial.source,
                made.told(trial),
                show.number(trial.score),
                interval(trial.low, trial.high),
                show.number(trial.seconds),
                remark(trial),
            ]
            for trial in made.trials
        ]
        show.table("", ["run", "from", "other than the default", score, "95% interval", "seconds", ""], cells)
        rows = [[name, show.number(one.value), interval(one.low, one.high)] for name, one in made.test.items()]
        show.table(f"on {made.held['test']:,} that no search has seen", ["", score, "95% interval"], rows)
        typer.echo(verdict(made))
        for note in made.notes:
            typer.echo(f"  {note}")
        typer.echo(f"{'default' if made.keeps_default else 'winner':<9} {made.use}")
        typer.echo(f"page      {made.page}")
    if made.state == "stopped":
        raise show.Stopped(f"stopped after {len(made.trials)} runs, all kept; go on with: {made.command} --resume")
