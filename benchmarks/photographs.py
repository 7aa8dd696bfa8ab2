"""Photographs to restore, and blind networks that learn on one core to restore them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import harness
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.config import ENDLESS, Strategy
from limner.degradations import parse
from limner.engine import fit
from limner.errors import LimnerError
from limner.learners import create
from limner.restoration.trained import Trained
from limner.tasks import Damaged, ImageSet, Task
from limner.types import Params

ARCHIVE, SEED, PATCH = "{data}/restoration_dev.zip", 0, 64
_SAME = {"batch": 8, "steps": ENDLESS, "schedule": "cosine", "warmup": 100, "clip": 1.0, "ema": 0.999}


@dataclass(frozen=True)
class Blind:
    """A network that learns from ``Train400`` under ``damage`` for some minutes of one core."""

    name: str
    network: dict[str, object]
    minutes: float
    damage: str = "gaussian(5..55)"
    rate: float = 1e-3


@cache
def photographs(folder: str) -> dict[str, Tensor]:
    """The images of ``folder/`` in the archive in grey, uint8 ``(1, 1, h, w)``, by name."""
    archive, found = Path(harness.spec(ARCHIVE)), {}
    try:
        with zipfile.ZipFile(archive) as pack:
            for name in sorted(pack.namelist()):
                if name.startswith(f"{folder}/") and name.lower().endswith((".png", ".jpg", ".bmp")):
                    pixels = np.array(Image.open(BytesIO(pack.read(name))).convert("L"))
                    found[Path(name).stem] = torch.from_numpy(pixels)[None, None]
    except (OSError, zipfile.BadZipFile) as problem:
        raise LimnerError(f"the images cannot be read from {archive} ({problem}); give a zip with {folder}/") from None
    if not found:
        raise LimnerError(f"{archive} holds no {folder}/ with images; give a zip that does")
    return found


def patches() -> ImageSet:
    """Patches that cover the training photographs evenly, a few pixels beyond each other."""
    cut = [
        image[0, :, top : top + PATCH, left : left + PATCH]
        for image in photographs("Train400").values()
        for top in np.linspace(0, image.shape[2] - PATCH, 4).round().astype(int)
        for left in np.linspace(0, image.shape[3] - PATCH, 4).round().astype(int)
    ]
    return ImageSet(torch.stack(cut), "Train400")


def learned(blind: Blind) -> tuple[str, Params, int]:
    """The name and parameters of a network that has learned, and the steps it took; in a process of its own."""
    harness.on_one_core()
    clean = patches()
    learner = create("restorer", clean.shape, **blind.network)
    task = Task("restore", f"Train400 under {blind.damage}", Damaged(clean, parse(blind.damage), SEED), None, SEED)
    strategy = Strategy(
        learning_rate=blind.rate, seconds=60 * blind.minutes, augmentation=("turn",), precision="bfloat16", **_SAME
    )
    run = fit(learner, task, strategy, seed=SEED)
    print(f"{blind.name}: {run.cost.steps:,} steps in {blind.minutes:.3g} minutes", flush=True)
    return blind.name, run.params, run.cost.steps


def restorer_of(blind: Blind, params: Params) -> Trained:
    """The network as a restorer."""
    return Trained(create("restorer", (1, PATCH, PATCH), **blind.network), params, blind.name)


def damaged(clean: Tensor, sigma: float, name: str) -> Tensor:
    """A photograph with white Gaussian noise, the same for the same name, not clipped."""
    from limner.seeds import generator

    noise = torch.randn(clean.shape, generator=generator(SEED, f"{name} {sigma:g}"))
    return clean.float() / 255 + sigma / 255 * noise


def as_file(images: Tensor) -> Tensor:
    """Clipped and rounded to bytes, as a file would hold them."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
