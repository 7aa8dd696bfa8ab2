"""``limner meta-train``: a start learned from a family of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from limner.cli import experience, help, options, restoration, show
from limner.errors import LimnerError


def add_to(app: help.App) -> None:
    """Add the command."""
    example = "limner meta-train maml classifier --family glyphs --ways 5 --shots 1 --budget 10m"
    app.command(epilog=f"Example: {example}")(meta_train)


def meta_train(
    algorithm: Annotated[
        str | None,
        typer.Argument(
            metavar="ALGORITHM",
            help="reptile, fomaml, maml, anil, boil, meta-sgd, maml++, imaml, prototypical or ridge; or experience.",
        ),
    ] = None,
    learner: Annotated[
        str | None,
        typer.Argument(
            metavar="LEARNER",
            help="vae, gan, vae-gan, vq-vae, flow, imle, set-vae, set-flow, classifier, prototypical, regressor, "
            "restorer or two-domains; of experience also estimator:CLASS.",
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="A data spec with classes to draw tasks from; of clean images for a restorer; sinusoid.",
        ),
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(metavar="GOAL", help="generate, classify, cluster or regress (default: as the learner is for)."),
    ] = None,
    ways: Annotated[
        int | None, typer.Option(metavar="N", help="Classes in a task to classify or cluster (default: 5).")
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Images (of each class; of experience in all) to adapt to in a task (default: 10; to classify 1).",
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(metavar="N", help="Images (of each class) that judge it (default: 10; to classify 15)."),
    ] = None,
    turns: Annotated[
        bool | None, typer.Option("--turns", help="A class turned by 90, 180 or 270 degrees is a class of its own.")
    ] = None,
    degradation: restoration.Degradation = None,
    alone: Annotated[
        bool | None,
        typer.Option("--alone", help="To restore: a start that adapts to damaged images alone, not to pairs."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"What to go on from: {options.MODELS} (default: scratch).")
    ] = None,
    budget: options.Budget = None,
    tasks: Annotated[int | None, typer.Option(metavar="N", help="Of experience: tasks (default: 10).")] = None,
    runs: Annotated[
        int | None, typer.Option(metavar="N", help="Of experience: strategies tried on each task (default: 10).")
    ] = None,
    each: Annotated[str | None, typer.Option(metavar="200steps", help="Of experience: the budget of a run.")] = None,
    adviser: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of experience: search (default), nearest, portfolio, evolution, metann, metacnn, random or default.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Of experience: how many share the work (default: 1).")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE", help="Of experience: ray (one of its own), or ray://HOST:PORT (default: processes here)."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What to call the start in the memory.")] = None,
    option: options.LearnerOptions = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any field of the plan, e.g. inner_steps=10."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="All of these from a JSON or TOML file; what is typed beside it goes first."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the whole configuration, which --config takes, and stop.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PLACE", help="A directory, or a .safetensors file for the start alone; must not exist."),
    ] = None,
    memory: options.MemoryAt = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed gives the same result (default: 0).")
    ] = None,
    force: options.Force = False,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="DIR", help="Go on with the meta-training that was stopped in DIR."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Learn a start from a family of tasks. From its parameters a few steps on a few images go far.

    Under torchrun the tasks of each outer step are shared by its processes:

    \b
      torchrun --nproc-per-node 2 -m limner meta-train maml vae --family glyphs

    experience learns no start: it tries strategies on each task of a family, and keeps what came of them, for advisers:

    \b
      limner meta-train experience estimator:sklearn.tree.DecisionTreeClassifier --family "sklearn:wine; sklearn:iris"
    """
    from limner.verbs import meta_train as verb

    asked: dict[str, Any] = {
        "algorithm": algorithm, "learner": learner, "family": family, "goal": goal, "ways": ways, "shots": shots,
        "queries": queries, "turns": turns, "degradation": degradation, "alone": alone, "start": start,
        "budget": budget, "name": name, "seed": seed,
        "options": show.pairs(option), "fields": show.pairs(field), "config": config,
    }  # fmt: skip
    own = {"tasks": tasks, "runs": runs, "each": each, "adviser": adviser, "workers": workers, "on": on}
    if algorithm == "experience" or (resume is not None and experience.wrote(resume)):
        place = {"out": out, "memory": memory, "force": force, "resume": resume}
        experience.tell(asked | {"dry_run": dry_run or None}, own, place, json)
        return
    if said := [name for name, value in own.items() if value is not None]:
        raise LimnerError(f"--{said[0]} is of meta-train experience alone; leave it out")
    if resume is not None:
        said = [*(word for word, value in asked.items() if value), *(["out"] if out else [])]
        show.alone(", ".join(said) or None, "--resume")
        show.start(verb.resume(resume, memory=memory, progress=True), json)
    elif dry_run:
        show.document(verb.configure(**asked, memory=memory))
    else:
        show.start(verb.meta_train(**asked, out=out, memory=memory, force=force, progress=True), json)
