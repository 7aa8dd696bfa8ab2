"""Trains the restorer that ships with the package, on images that come with it: ``python tools/train_restorer.py``.

Writes ``src/limner/data/restorer.safetensors``: a small U-Net for colour images (grey ones are three alike), which met
noise of several kinds, mild blur and JPEG, of unknown strength, alone and one after the other. It learned from scenes
drawn by Limner and from scikit-image's photographs (public domain or CC0), half of them in grey, and is kept in half
precision. Forty minutes on one core; ``--steps`` makes it shorter, and ``--resume`` goes on with what was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from limner.config import Strategy
from limner.degradations import parse
from limner.engine import ProgressBar, fit
from limner.learners import create, describe
from limner.model_file import encode, write_atomically
from limner.tasks import Damaged, ImageSet, Task, load

TARGET = Path(__file__).resolve().parent.parent / "src" / "limner" / "data" / "restorer.safetensors"
SOURCES = ("leaves,kinds=600,per_class=8,size=64", "photos,size=64,per_class=300")
SEED = 0
NETWORK = {"network": "unet", "width": 24, "depth": 8, "loss": "charbonnier"}
DAMAGE = (
    "one_of(gaussian(2..55),gaussian(2..55),poisson(10..300),poisson_gaussian(20..300,sigma=1..15),speckle(0.05..0.3),"
    "salt_and_pepper(0.005..0.25),blur(gaussian,width=0.4..2)+gaussian(1..12),jpeg(8..75),"
    "gaussian(3..30)+blur(gaussian,width=0.4..0.9)+jpeg(60..95),"
    "blur(gaussian,width=0.3..1.2)+poisson_gaussian(30..300,sigma=1..10)+jpeg(30..90),nothing)"
    "+one_of(clip+quantise(8),nothing)"
)
STRATEGY = Strategy(
    learning_rate=1e-3, batch=8, schedule="cosine", warmup=200, clip=1.0, ema=0.999, augmentation=(),
    precision="bfloat16",
)  # fmt: skip


def images() -> ImageSet:
    """Patches of all sources in one set, every second one in grey."""
    found = [load(source) for source in SOURCES]
    whole = torch.cat([each.images for each in found])
    grey = whole[::2].float().mean(1, keepdim=True).round().to(torch.uint8).expand(-1, 3, -1, -1)
    whole[::2] = grey
    return ImageSet(whole, " and ".join(SOURCES), licence="; ".join(each.licence for each in found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=32_000)
    parser.add_argument("--directory", type=Path, help="where a stopped training is kept, to go on with")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=TARGET)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    clean = images()
    learner = create("restorer", clean.shape, **NETWORK)
    task = Task("restore", f"{clean.name} under {DAMAGE}", Damaged(clean, parse(DAMAGE), SEED), None, SEED, clean.name)
    run = fit(
        learner, task, STRATEGY.replace(steps=asked.steps), seed=SEED, directory=asked.directory, resume=asked.resume,
        listeners=[ProgressBar("restorer")],
    )  # fmt: skip
    if run.state != "finished":
        raise SystemExit(f"the training is {run.state}; nothing was written")
    half = {name: value.half() for name, value in run.params.items()}
    about = {"images": clean.name, "degradation": DAMAGE, "steps": run.cost.steps, "licence": "Apache-2.0"}
    data = encode(half, describe(learner), "start", about=about)
    write_atomically(asked.out, data)
    print(f"{asked.out.name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
