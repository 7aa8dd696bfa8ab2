"""Makes ``glyph-net``, the features that glyph-like images are scored in: ``python -m limner.metrics.train_glyph_net``.

A small classifier of a thousand built-in characters of many scripts, each drawn in many ways. A quarter of the images
that it sees are spoilt as generators spoil images (blurred, noisy, two characters blended, patches wiped out), and
each way of spoiling is a class of its own: a classifier of clean characters only would learn to look past just what
scores must see.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from limner.config import Strategy
from limner.engine.optimisers import create as create_optimiser
from limner.engine.step import init_states, step
from limner.learners import create, describe
from limner.learners.base import Learner
from limner.metrics.features import GLYPH_SIDE
from limner.model_file import encode, write_atomically
from limner.seeds import generator
from limner.tasks import load
from limner.types import Batch, Params, Request

CHARACTERS, DRAWINGS, HELD_BACK = 1000, 64, 4
"""Classes, drawings of each, and how many of these are not learned from."""

SPOILT = ("blurred", "noisy", "blended", "wiped")
"""The classes that follow the characters."""

SPOILT_SHARE = 0.25
WIDTH = 32
PLACE = Path(__file__).parent.parent / "data" / "glyph-net.safetensors"


def spoil(images: Tensor, way: str, random: torch.Generator) -> Tensor:
    """Images ``(n, 1, h, w)`` in [0, 1], spoilt one ``way`` of :data:`SPOILT`, by a random amount.

    >>> spoil(torch.ones(2, 1, 28, 28), "noisy", generator(0, "doctest")).shape
    torch.Size([2, 1, 28, 28])
    """
    amount = torch.rand(len(images), 1, 1, 1, generator=random)
    if way == "blurred":
        return blur(images, 0.6 + 1.4 * float(amount[0]))
    if way == "noisy":
        return (images + (0.06 + 0.3 * amount) * torch.randn(images.shape, generator=random)).clamp(0, 1)
    if way == "blended":
        share = 0.25 + 0.25 * amount
        return (1 - share) * images + share * images.roll(1, dims=0)
    side = images.shape[-1]
    coarse = functional.interpolate(
        torch.rand(len(images), 1, 5, 5, generator=random), size=(side, side), mode="bilinear"
    )
    return images * (coarse > coarse.flatten(1).quantile(0.2 + 0.2 * float(amount[0]), dim=1)[:, None, None, None])


def blur(images: Tensor, deviation: float) -> Tensor:
    """Images ``(n, c, h, w)`` under a Gaussian of this standard deviation in pixels; edges are repeated.

    >>> blur(torch.ones(1, 1, 8, 8), 1.0).mean().round(decimals=4).item()
    1.0
    """
    reach = max(1, round(3 * deviation))
    weights = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * deviation**2))
    weights = (weights / weights.sum()).repeat(images.shape[1], 1, 1, 1)
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    across = functional.conv2d(padded, weights, groups=images.shape[1])
    return functional.conv2d(across, weights.transpose(2, 3), groups=images.shape[1])


def batch_of(images: Tensor, labels: Tensor, random: torch.Generator) -> Batch:
    """A training batch: moved by up to 2 pixels, inks of all strengths, one in eight dark on light, some spoilt."""
    shifts = torch.randint(-2, 3, (2,), generator=random).tolist()
    floats = images.float().div(255).roll(shifts, dims=(2, 3))
    floats = floats ** torch.empty(len(floats), 1, 1, 1).uniform_(-0.9, 0.9, generator=random).exp()
    labels, count = labels.clone(), int(SPOILT_SHARE * len(floats)) // len(SPOILT)
    for index, way in enumerate(SPOILT):
        part = slice(index * count, (index + 1) * count)
        floats[part] = spoil(floats[part], way, random)
        labels[part] = CHARACTERS + index
    inverted = torch.rand(len(floats), generator=random) < 1 / 8
    floats[inverted] = 1 - floats[inverted]
    return {"images": floats, "labels": labels}


def train(epochs: int, seed: int) -> tuple[Learner, Params, dict[str, float]]:
    """The classifier, its weights, and its accuracy on drawings held back (clean; among the characters and spoilt)."""
    images = load(f"glyphs,characters={CHARACTERS},per_class={DRAWINGS},size={GLYPH_SIDE},seed={seed}")
    assert images.labels is not None
    held = torch.arange(len(images)) % DRAWINGS < HELD_BACK
    learn, check = torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
    learner = create("classifier", images.shape, classes=CHARACTERS + len(SPOILT), features=64, width=WIDTH)
    strategy = Strategy(learning_rate=2e-3, batch=256, schedule="cosine", ema=0.999)
    optimiser, params = create_optimiser(strategy), learner.init(seed)
    states, averaged = init_states(learner, optimiser, params), dict(params)
    total, done, began = epochs * (len(learn) // strategy.batch), 0, time.perf_counter()
    random = generator(seed, "glyph-net")
    for epoch in range(epochs):
        order = learn[torch.randperm(len(learn), generator=random)]
        for part in torch.split(order[: len(order) // strategy.batch * strategy.batch], strategy.batch):
            batch = batch_of(images.images[part], images.labels[part], random)
            angle = torch.tensor(torch.pi * done / total)
            rate = strategy.learning_rate * float(1 + angle.cos()) / 2 * min(1.0, (done + 1) / 200)
            result = step(learner, optimiser, params, states, batch, {}, rate, clip=5.0)
            params, states, done = result.params, result.states, done + 1
            decay = min(strategy.ema, done / (done + 10))
            averaged = {name: torch.lerp(params[name], value, decay) for name, value in averaged.items()}
        loss = result.losses["net"].value.item()
        print(f"epoch {epoch + 1}/{epochs}  loss {loss:.3f}  {time.perf_counter() - began:.0f} s", flush=True)
    request = Request("logits", images=images.images[check].float() / 255)
    logits = learner.predict(averaged, request, random)
    right = logits[:, :CHARACTERS].argmax(1) == images.labels[check]
    alarmed = logits.argmax(1) >= CHARACTERS
    return (
        learner,
        averaged,
        {
            "accuracy_on_drawings_held_back": round(right.double().mean().item(), 4),
            "share_of_them_taken_for_spoilt": round(alarmed.double().mean().item(), 4),
        },
    )


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(prog="python -m limner.metrics.train_glyph_net", description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PLACE, help="where the weights go (default: into the package)")
    choices = parser.parse_args()
    learner, params, measured = train(choices.epochs, choices.seed)
    about = {
        "name": "glyph-net",
        "made_by": f"python -m limner.metrics.train_glyph_net --epochs {choices.epochs} --seed {choices.seed}",
        "characters": CHARACTERS,
        "drawings": DRAWINGS,
        "licence": "Apache-2.0",
        **measured,
    }
    # half precision: half the size, and features that differ by less than a thousandth
    data = encode({name: value.half() for name, value in params.items()}, describe(learner), "features", about=about)
    write_atomically(choices.out, data)
    print(f"wrote {choices.out.name}, {len(data) / 1e6:.2f} MB: {measured}")


if __name__ == "__main__":
    main()
