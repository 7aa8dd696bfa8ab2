"""``limner inspect``, ``limner export`` and ``limner push``: looking into runs, and giving them to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limner.cli import help, options, show

Model = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, a run or model of the memory, or hf:NAME.")]


def add_to(app: help.App) -> None:
    """Add the commands."""
    app.command(epilog="Example: limner inspect runs/my-images --out inside")(inspect)
    app.command(epilog="Example: limner export runs/my-images --onnx --out generator.onnx")(export)
    app.command(epilog="Example: limner push runs/my-images my-name/my-images --private")(push)


def inspect(
    model: Model,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Real images to find among the latents (default: those held back)."),
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Features beside pixels: glyph-net, efficientnet-lite0 or pixels."),
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", help="Steps of the search for each real image, where there is one.")
    ] = 200,
    out: options.Out = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Look inside a run with latents: ways between images, single dimensions, real images found again, neighbours."""
    from limner.verbs.inspect import inspect as verb

    made = verb(model, data, extractor=extractor, steps=steps, out=out, memory=memory, seed=seed, force=force)
    told = [f"{len(made.pictures)} pictures in {made.directory}", *(f"  {note}" for note in made.notes)]
    show.lines(
        {"page": made.page, "pictures": made.pictures, "dimensions": made.dimensions, "notes": made.notes},
        [*told, f"page      {made.page}"],
        json,
    )


def export(
    model: Model,
    onnx: Annotated[bool, typer.Option("--onnx", help="As an ONNX file.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="The file (default: model.onnx in the run's directory).")
    ] = None,
    memory: options.MemoryAt = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if Limner exported it.")] = False,
    json: options.Json = False,
) -> None:
    """Write a run to a file that other programs can run, and check it: latents or images in, images or logits out."""
    from limner.verbs.export import export as verb

    made = verb(model, onnx=onnx, out=out, memory=memory, force=force)
    shapes = [f"{name} {tuple(shape)}" for name, shape in (*made.inputs.items(), *made.outputs.items())]
    show.lines(
        {
            "file": made.path, "inputs": made.inputs, "outputs": made.outputs, "difference": made.difference,
            "metadata": made.metadata,
        },
        [
            f"{made.path}: {', '.join(shapes)}",
            f"  {made.metadata['meaning']}",
            f"  differs from PyTorch by {made.difference:.1g} at most",
        ],
        json,
    )  # fmt: skip


def push(
    model: Model,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="NAME/NAME on the Hugging Face Hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository, if it is new, for you alone.")
    ] = False,
    licence: Annotated[
        str, typer.Option(metavar="NAME", help="Of the weights, as the hub names it, e.g. mit or cc0-1.0.")
    ] = "unknown",
    memory: options.MemoryAt = None,
    json: options.Json = False,
) -> None:
    """Upload a run to the Hugging Face Hub: weights, curve, samples and model card. hf:NAME/NAME then loads it."""
    from limner.verbs.hub import push as verb

    made = verb(model, repository, private=private, licence=licence, memory=memory)
    show.lines(
        {"reference": made.reference, "address": made.address, "files": made.files},
        [f"{made.address} holds {len(made.files)} files", f"use       limner sample {made.reference}"],
        json,
    )
