"""Trains the restorers that ship with the package, on images that come with it: ``python tools/train_restorer.py``.

Writes ``src/limner/data/restorer.safetensors``, a small U-Net for colour images (grey ones are three alike) that met
noise of several kinds, mild blur and JPEG, of unknown strength, alone and one after the other, and
``denoiser.safetensors``, one that is told how strong white noise is: plug-and-play's prior. They learned from scenes
drawn by Limner and from scikit-image's photographs (public domain or CC0), half of the time in grey, and are kept in
half precision. ``--steps`` makes it shorter, ``--resume`` goes on with what was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch

from limner.config import Strategy
from limner.degradations import parse
from limner.engine import ProgressBar, fit
from limner.learners import create, describe
from limner.model_file import encode, write_atomically
from limner.tasks import Damaged, ImageSet, Task, load

DATA = Path(__file__).resolve().parent.parent / "src" / "limner" / "data"
SOURCES = ("leaves,kinds=600,per_class=8,size=64", "photos,size=64,per_class=300")
SEED = 0


class Recipe(NamedTuple):
    """A network, what damages the images that it learns from, how long it does, and the role of what comes of it: a
    ``start`` is what to ``adapt`` begins with."""

    network: dict[str, Any]
    damage: str
    steps: int
    role: str


RECIPES = {
    "restorer": Recipe(
        {"network": "unet", "width": 24, "depth": 8, "loss": "charbonnier"},
        "one_of(gaussian(2..55),gaussian(2..55),poisson(10..300),poisson_gaussian(20..300,sigma=1..15),"
        "speckle(0.05..0.3),salt_and_pepper(0.005..0.25),blur(gaussian,width=0.4..2)+gaussian(1..12),jpeg(8..75),"
        "gaussian(3..30)+blur(gaussian,width=0.4..0.9)+jpeg(60..95),"
        "blur(gaussian,width=0.3..1.2)+poisson_gaussian(30..300,sigma=1..10)+jpeg(30..90),nothing)"
        "+one_of(clip+quantise(8),nothing)",
        32_000,
        "start",
    ),
    "denoiser": Recipe(
        {"network": "drunet", "width": 24, "depth": 7, "loss": "l1"}, "gaussian(0..60)", 18_000, "model"
    ),
}
STRATEGY = Strategy(
    learning_rate=1e-3, batch=8, schedule="cosine", warmup=200, clip=1.0, ema=0.999, augmentation=("turn",),
    precision="bfloat16",
)  # fmt: skip


def images() -> ImageSet:
    """Patches of all sources in one set, every third one in grey."""
    found = [load(source) for source in SOURCES]
    whole = torch.cat([each.images for each in found])
    whole[::3] = whole[::3].float().mean(1, keepdim=True).round().to(torch.uint8)
    return ImageSet(whole, " and ".join(SOURCES), licence="; ".join(each.licence for each in found))


def train(name: str, steps: int | None, directory: Path | None, resume: bool, out: Path) -> None:
    """Train one and write it."""
    recipe, clean = RECIPES[name], images()
    learner = create("restorer", clean.shape, **recipe.network)
    damaged = Damaged(clean, parse(recipe.damage), SEED)
    task = Task("restore", f"{clean.name} under {recipe.damage}", damaged, None, SEED, clean.name)
    run = fit(
        learner, task, STRATEGY.replace(steps=steps or recipe.steps), seed=SEED, directory=directory, resume=resume,
        listeners=[ProgressBar(name)],
    )  # fmt: skip
    if run.state != "finished":
        raise SystemExit(f"the training is {run.state}; nothing was written")
    half = {key: value.half() for key, value in run.params.items()}
    about = {"images": clean.name, "degradation": recipe.damage, "steps": run.cost.steps, "licence": "Apache-2.0"}
    data = encode(half, describe(learner), recipe.role, about=about)
    write_atomically(out / f"{name}.safetensors", data)
    print(f"{name}: {len(data):,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(RECIPES), help="train only this one")
    parser.add_argument("--steps", type=int, help="for each, in place of its own")
    parser.add_argument("--directory", type=Path, help="where stopped trainings are kept, to go on with")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=DATA)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in [asked.only] if asked.only else RECIPES:
        kept = None if asked.directory is None else asked.directory / name
        train(name, asked.steps, kept, asked.resume, asked.out)


if __name__ == "__main__":
    main()
