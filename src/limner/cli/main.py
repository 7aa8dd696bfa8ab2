"""The command line: it reads options, calls a verb, and shows what came back. No logic of its own.

Every import that costs time stays inside the command that needs it, so that ``limner --help`` answers at once.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from limner.cli import (
    augment,
    exchange,
    help,
    memory,
    meta,
    options,
    predict,
    restoration,
    show,
    transfer,
    translation,
    trouble,
    tune,
)
from limner.errors import LimnerError

app = help.App(
    name="limner",
    help="Learns to make images from a handful of examples, and gets better with every task it has done.",
    epilog="Begin with: limner demo. Then: limner adapt generate folder:my-images --shots 10",
)
app.add_typer(memory.app)

STOPPED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for a user's mistake (told in one sentence), 130 if stopped.

    >>> main(["evaluate", "folder:no-such-folder", "digits"])
    2
    """
    try:
        code = int(app(args=arguments, prog_name="limner", standalone_mode=False) or 0)
    except show.Stopped as stopped:
        complain(str(stopped))
        return STOPPED
    except trouble.MISTYPED as mistake:
        complain(trouble.mistyped(mistake))
        return 2
    except LimnerError as mistake:
        complain(str(mistake))
        return 2
    except OSError as refusal:
        if (sentence := trouble.refused(refusal)) is None:
            raise
        complain(sentence)
        return 2
    except (MemoryError, RuntimeError) as trouble_met:
        if (sentence := trouble.exhausted(trouble_met)) is None:
            if trouble.told_by_another():  # one process ended, and so this one could not go on
                return 2
            raise
        complain(sentence)
        return 2
    except SystemExit as leaving:  # whoever read the output has gone away
        return leaving.code if isinstance(leaving.code, int) else 1
    if code == STOPPED:
        complain("stopped by hand; nothing is left half-written")
    return code


def complain(sentence: str) -> None:
    """The sentence on standard error, by one alone of the processes that ``torchrun`` started."""
    if trouble.first_to_tell():
        show.complain(sentence)


def version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from importlib.metadata import version as installed

        typer.echo(f"limner {installed('limner')}")
        raise typer.Exit()


@app.callback()
def common(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Learns to make images from a handful of examples, and gets better with every task it has done."""
    help.instead_of_nothing(context)


@app.command(epilog="Example: limner demo --out limner-demo")
def demo(
    out: options.Out = Path("limner-demo"),
    budget: options.Budget = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Ten images of a character never seen before, learned from in three ways, side by side on one page."""
    from limner.verbs.demo import demo as verb

    show.comparison(verb(out=out, budget=budget, seed=seed, force=force, progress=True), json)


@app.command(epilog="Example: limner adapt generate folder:my-images --shots 10 --budget 60s")
def adapt(
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="generate, classify, translate or restore.")],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=f"Images, as a data spec: {options.KINDS}.")
    ] = None,
    targets: translation.Targets = None,
    pairs: translation.Paired = None,
    degradation: restoration.Degradation = None,
    damaged: restoration.Damaged = None,
    shots: options.Shots = None,
    start: Annotated[str, typer.Option(metavar="MODEL", help=f"auto (as advised), {options.MODELS}.")] = "auto",
    budget: options.Budget = None,
    learner: options.LearnerName = None,
    strategy: options.StrategyName = None,
    option: options.LearnerOptions = None,
    field: options.StrategyFields = None,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    resume: options.Resume = None,
    json: options.Json = False,
) -> None:
    """The whole line: look, ask the adviser, learn, judge on images held back, remember, report.

    To restore, give pairs as DATA and TARGETS (damaged, clean), clean images as DATA and how they get damaged, or
    --damaged images, with clean ones or alone. A few pairs teach something, more teach more: patches of 64 pixels are
    cut from them, and of ten and more images a fifth is held back to judge on. With pairs, three quarters of each step
    rehearse on drawn images what the start mends already, so that it is not forgotten; --set rehearsal=0 leaves that
    out.
    """
    from limner.verbs.adapt import adapt as verb
    from limner.verbs.goals import check_goal
    from limner.verbs.resume import resume as go_on

    if resume is not None:
        show.alone(data, "--resume")
        show.run(go_on(resume, memory=memory, progress=True), json)
        return
    if data is None and damaged is None:
        check_goal(goal)
        show.needed(data, "DATA", f"limner adapt {goal} folder:my-images --shots 10")
    show.run(
        verb(
            None if data is None else translation.two_sided(goal, data, targets, pairs),
            goal=goal,
            degradation=degradation,
            damaged=damaged,
            shots=shots,
            start=start,
            budget=budget,
            learner=learner,
            strategy=strategy,
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


@app.command(epilog="Example: limner train vae digits,classes=3 --shots 100 --budget 500steps --set schedule=cosine")
def train(
    learner: Annotated[
        str | None,
        typer.Argument(
            metavar="LEARNER",
            help="vae, gan, vae-gan, vq-vae, flow, imle, set-vae, set-flow, "
            "classifier, prototypical, pix2pix, cycle or restorer.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=f"Images, as a data spec: {options.KINDS}.")
    ] = None,
    degradation: restoration.Degradation = None,
    shots: options.Shots = None,
    start: Annotated[str, typer.Option(metavar="MODEL", help=f"{options.MODELS}.")] = "scratch",
    budget: options.Budget = None,
    rate: Annotated[float | None, typer.Option(metavar="R", help="The learning rate.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Images in a step; 0 for all at once.")] = None,
    option: options.LearnerOptions = None,
    field: options.StrategyFields = None,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    resume: options.Resume = None,
    json: options.Json = False,
) -> None:
    """Train one learner with a strategy of your own. What adapt decides by itself is yours to say here."""
    from limner.verbs.resume import resume as go_on
    from limner.verbs.train import train as verb

    if resume is not None:
        show.alone(data, "--resume")
        show.run(go_on(resume, memory=memory, progress=True), json)
        return
    example = "limner train vae digits --shots 100"
    by_name = {"learning_rate": rate, "batch": batch}
    show.run(
        verb(
            show.needed(learner, "LEARNER", example),
            show.needed(data, "DATA", example),
            degradation=degradation,
            shots=shots,
            start=start,
            budget=budget,
            options=show.pairs(option),
            fields=show.pairs(field) | {name: value for name, value in by_name.items() if value is not None},
            out=out,
            memory=memory,
            seed=seed,
            force=force,
            progress=True,
        ),
        json,
    )


meta.add_to(app)
augment.add_to(app)
tune.add_to(app)
transfer.add_to(app)
predict.add_to(app)


@app.command(epilog="Example: limner sample runs/my-images --count 64 --out samples")
def sample(
    model: Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or a run or model of the memory.")],
    count: Annotated[int, typer.Option(metavar="N", help="How many images.")] = 16,
    class_names: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Only this class of a conditional run; may be given again."),
    ] = None,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """New images from a run: one PNG each, written as they are drawn, and one picture of the first."""
    from limner.verbs.sample import sample as verb

    classes = tuple(class_names or ())
    made = verb(model, count=count, class_names=classes, out=out, memory=memory, seed=seed, force=force, progress=True)
    show.files(made, json)


@app.command(
    epilog="Example: limner evaluate runs/my-images folder:more-images. Or: limner evaluate folder:made folder:real"
)
def evaluate(
    made: Annotated[
        str,
        typer.Argument(
            metavar="RUN-or-DATA",
            help="What is judged: a run, also hf:NAME/NAME, or images by a data spec, of the hub with an option: "
            "hf:NAME,split=train.",
        ),
    ],
    real: Annotated[str, typer.Argument(metavar="DATA", help=f"Real images to judge by: {options.KINDS}.")],
    count: Annotated[int, typer.Option(metavar="N", help="Samples to draw from a run.")] = 200,
    extractor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Features: glyph-net, efficientnet-lite0 or pixels.")
    ] = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Score samples against real images, each score beside what real images score against real ones.

    Those floors, like the scores, depend on the images: other DATA than the run was judged on gives other floors than
    the run's own.
    """
    from limner.verbs.evaluate import evaluate as verb

    show.scores(verb(made, real, count=count, extractor=extractor, memory=memory, seed=seed), json)


@app.command(epilog="Example: limner compare runs/one runs/two --out comparison")
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run directories, or runs of the memory.")],
    out: options.Out = None,
    memory: options.MemoryAt = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Runs side by side: one page and one table."""
    from limner.verbs.compare import compare as verb

    show.comparison(verb(runs, out=out, memory=memory, force=force), json)


@app.command(epilog="Example: limner recommend folder:my-images --shots 10 --budget 60s")
def recommend(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=f"Images, as a data spec: {options.KINDS}.")
    ] = None,
    targets: translation.Targets = None,
    pairs: translation.Paired = None,
    goal: Annotated[str, typer.Option(metavar="GOAL", help="generate, classify, translate or restore.")] = "generate",
    degradation: restoration.Degradation = None,
    damaged: restoration.Damaged = None,
    shots: options.Shots = None,
    budget: options.Budget = None,
    learner: options.LearnerName = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """What the adviser would do with these images, best first, and why. Nothing is trained.

    To restore or translate, give DATA and TARGETS, or what shows the damage, as for limner adapt.
    """
    from limner.verbs.recommend import recommend as verb

    if data is None and damaged is None:
        show.needed(data, "DATA", "limner recommend folder:my-images --shots 10")
    spec = None if data is None else translation.two_sided(goal, data, targets, pairs)
    found = verb(
        spec, goal=goal, degradation=degradation, damaged=damaged, shots=shots, budget=budget, learner=learner,
        memory=memory, seed=seed,
    )  # fmt: skip
    show.recommendations(found, json)


@app.command(epilog="Example: limner data npz:pack.npz,images=x,labels=y --out preview.png")
def data(
    spec: options.Data,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw a picture of some of the images.")
    ] = None,
    seed: options.Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it is a PNG.")] = False,
    json: options.Json = False,
) -> None:
    """What a data spec gives: how many images, of which shape, in which classes, and what was left out.

    A data spec is KIND[:PATH][,option=value...], or simply the path of a folder, .zip, .npz or IDX file:

    \b
      glyphs, digits, photos           images that come with Limner; glyphs has script=, characters=
      sprites, leaves                  coloured things and scenes that never were, drawn; both have kinds=
      folder:PATH, zip:PATH            image files; sub-folders are classes
      npz:PATH                         a NumPy archive; images=, labels=, groups= name its arrays
      idx:PATH                         a file in MNIST's format; labels= is the file of labels
      hf:NAME-or-PATH                  a Hugging Face dataset; split=, images=, labels=

    \b
      size=32                          the side in pixels; learners take 16 to 128, a multiple of 4
      colour=grey, colour=rgb          (default: grey where all images are)
      fit=crop, fit=pad, fit=stretch   how images that are not square become so (default: crop)
      part=left, part=right            only that half of each image
      pairs=left-right                 for adapt translate: the input is the left half, its target the right one
      classes=cat+dog, classes=c*      only these classes, by their names; classes=5 is the class called 5,
                                       classes=0-4 those called 0 to 4; never places in the list
      limit=20                         at most so many images of each class
      per_class=20, seed=1             for these: how many to draw of each class, and which
      memory_limit=500000000           bytes above which images are mapped from a file on the disk
    """
    from limner.verbs.data import describe as verb

    show.description(verb(spec, out=out, seed=seed, force=force), json)


translation.add_to(app)
restoration.add_to(app)
exchange.add_to(app)


def run() -> None:
    """The installed command ``limner``."""
    gc.set_threshold(50_000)  # imports make many objects and hardly any garbage, which takes time to look for
    sys.exit(main())
