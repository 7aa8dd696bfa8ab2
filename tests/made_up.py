"""Images, tasks, runs and scores made up for tests of the memory and the adviser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from limner.config import Strategy
from limner.learners import create
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task
from limner.types import Cost, CurvePoint, Score, Scores
from limner.verbs.making import Making

VAE = {"kind": "vae", "image_shape": [1, 16, 16], "options": {"latents": 4}}


def images(seed: int, name: str = "dots", count: int = 5) -> ImageSet:
    made = torch.randint(0, 256, (count, 1, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return ImageSet(made, name)


def a_task(seed: int = 0, name: str = "dots") -> Task:
    return Task("generate", f"{name} {seed}", images(2 * seed, name), images(2 * seed + 1, name), seed, name)


def a_run(value: float = 1.0, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "params": {"net.a": torch.full((3, 2), value)}, "best": None, "state": "finished", "notes": ["a note"],
        "curve": [CurvePoint(1, 0.5, {"loss": 2.0}), CurvePoint(2, 1.0, {"loss": float("nan")})],
        "cost": Cost(1.5, 20, 2, "cpu"), "lineage": {"start": "scratch"},
    }  # fmt: skip
    return SimpleNamespace(**fields | changes)


def some_scores(value: float = 0.1) -> Scores:
    values = {"kernel_distance": Score(value, value - 0.05, value + 0.05, 0.01), "coverage": Score(float("nan"))}
    return Scores(values, "pixels", 64, 5, 5, notes=("coverage could not be measured: too few images",))


def discs(seed: int, radius: float = 5.0, count: int = 8) -> ImageSet:
    """White discs near the middle, on black."""
    centres = 7.5 + torch.randn(count, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    rows, columns = torch.arange(16.0)[:, None], torch.arange(16.0)[None, :]
    inside = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2).sqrt() < radius
    return ImageSet(inside[:, None].to(torch.uint8) * 255, "discs")


def snow(seed: int, count: int = 8) -> ImageSet:
    """Grey noise, as unlike discs as can be."""
    noise = 128 + 20 * torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    return ImageSet(noise.clamp(0, 255).to(torch.uint8), "snow")


def bars(counts=(4, 4), seed=0, names=("lying", "standing")) -> ImageSet:
    """Thin bars, lying or standing, no two images alike."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    images = torch.randint(0, 9, (len(labels), 1, 16, 16), generator=random, dtype=torch.uint8)
    for place, label in enumerate(labels.tolist()):
        across = int(torch.randint(3, 13, (1,), generator=random))
        part = images[place, 0] if label == 0 else images[place, 0].T
        part[across, 2:14] = 250
    return ImageSet(images, "bars", labels, tuple(names))


def a_making(each: bool, steps: int = 2) -> Making:
    """A tiny VAE for each of two classes, or one of both."""
    options = {} if each else {"classes": 2}
    return Making(create("vae", (1, 16, 16), width=4, latents=2, **options), Strategy(steps=steps), None, each)
