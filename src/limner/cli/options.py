"""The options that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

KINDS = (
    "glyphs, sprites, leaves, digits, photos, folder:PATH, zip:PATH, npz:PATH, idx:PATH or hf:NAME, "
    "then ,option=value as needed"
)
MODELS = (
    "scratch, shipped:NAME, or a model: its sha256, name, run or directory (limner memory list starts shows the starts)"
)

Data = Annotated[str, typer.Argument(metavar="DATA", help=f"Images, as a data spec: {KINDS}.")]
Shots = Annotated[
    int | None,
    typer.Option(metavar="K", help="Images to learn from; the others, best 10 or more, are held back to judge on."),
]
Queries = Annotated[int | None, typer.Option(metavar="N", help="Images to judge on (default: all that are left).")]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="60s",
        help="When to end: 60s, 2m, 1h (all of it is used), 500steps, or 2m,500steps (whichever is first).",
    ),
]
LearnerName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The learner: vae, gan, vae-gan, vq-vae or flow (default: as advised)."),
]
LearnerOptions = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="NAME=VALUE", help="An option of the learner, e.g. latents=32."),
]
StrategyName = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="A strategy by its name: adapted, amortised, scratch, implicit-likelihood, freeze-critic, modulation, "
        "low-rank, distance-preserving; to restore from pairs closed-form (default: as advised; limner recommend lists "
        "them).",
    ),
]
StrategyFields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any field of the strategy, e.g. schedule=cosine, clip=1."),
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write; must not exist yet.")]
Force = Annotated[bool, typer.Option("--force", help="Replace --out if Limner wrote it; never anything else.")]
MemoryAt = Annotated[
    str | None, typer.Option("--memory", metavar="PATH-or-URL", help="The memory (default: in your user data folder).")
]
Seed = Annotated[int, typer.Option(metavar="N", help="The same seed gives the same result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on standard output.")]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="DIR", help="Go on with the run that was stopped in DIR; no DATA then."),
]
