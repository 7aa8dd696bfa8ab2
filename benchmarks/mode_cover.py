"""How many modes a GAN covers: 25 Gaussians on a grid, and the 1000 combinations of three digits in the channels."""

from __future__ import annotations

import math
import multiprocessing
import time
from typing import Any, NamedTuple

import harness
import torch
from PIL import Image
from torch import Tensor

from limner.config import Strategy
from limner.engine import Run, fit
from limner.learners import GAN, create
from limner.objectives.adversarial import OBJECTIVES
from limner.reports.figures import grid
from limner.seeds import generator
from limner.tasks import ImageSet, Task, load
from limner.types import Params, Request

TRAIN = "npz:{data}/mnist12k.npz,images=train_x,labels=train_y"
TEST = "npz:{data}/mnist12k.npz,images=test_x,labels=test_y"
SEED, SEEDS, MINUTES, QUICK_MINUTES = 0, 3, 30.0, 4.0
PER_SIDE, DEVIATION, POINTS, POINT_SAMPLES = 5, 0.005, 20_000, 2_500
"""The grid of VEEGAN and PacGAN, [-4, 4]² with deviation 0.05, scaled to [0, 1] by (x + 5) / 10."""
POINT_GAMMA, POINT_BATCH = 0.001, 64
"""The plane is a tenth as wide as the paper's, and squared slopes a hundred times as large: R1 weighs little."""
STACKS, STACK_SAMPLES, MODES = 30_000, 26_000, 1000
RECOGNISER_SHARE = 0.1
"""Seconds of the recogniser's training for each second of the GAN's."""
STRATEGY = Strategy(learning_rate=1e-3, betas=(0.0, 0.99), steps=10**9)


class Covered(NamedTuple):
    """Modes that at least one sample is of, the share of samples that are of one, KL of their counts to uniform."""

    modes: int
    quality: float
    kl: float


def centres() -> Tensor:
    """The 25 modes, ``(25, 2)``."""
    line = (torch.linspace(-4, 4, PER_SIDE) + 5) / 10
    return torch.cartesian_prod(line, line)


def points(count: int, seed: int) -> Tensor:
    """Points of the 25 Gaussians, ``(count, 2)``."""
    random = generator(seed, "grid")
    chosen = centres()[torch.randint(PER_SIDE**2, (count,), generator=random)]
    return chosen + DEVIATION * torch.randn(count, 2, generator=random)


def covered_points(found: Tensor) -> Covered:
    """Of points ``(n, 2)``: a point within 3 deviations of a centre is of that mode (Srivastava et al. 2017)."""
    distances, nearest = torch.cdist(found, centres()).min(1)
    good = distances <= 3 * DEVIATION
    return counted(nearest[good], PER_SIDE**2, float(good.float().mean()))


def counted(modes: Tensor, of: int, quality: float) -> Covered:
    counts = torch.bincount(modes, minlength=of).double()
    shares = counts[counts > 0] / max(len(modes), 1)
    kl = float((shares * (shares * of).log()).sum()) if len(modes) else math.inf
    return Covered(int((counts > 0).sum()), quality, kl)


def as_images(found: Tensor) -> ImageSet:
    return ImageSet(found.mul(255).round().clamp(0, 255).to(torch.uint8).view(-1, 1, 1, 2), "25 Gaussians")


def drawn(run: Run, count: int, seed: int) -> Tensor:
    """Samples as floats: a byte is too coarse for a point."""
    return run.learner.predict(run.params, Request("sample", count), generator(seed, "mode cover"))


def on_points(asked: tuple[str, int, float]) -> dict[str, Any]:
    """Train on the grid by one objective, on one core."""
    objective, seed, seconds = asked
    harness.on_one_core()
    learner = create("gan", (1, 1, 2), network="mlp", latents=2, width=8, objective=objective, gamma=POINT_GAMMA)
    strategy = STRATEGY.replace(batch=POINT_BATCH, seconds=seconds, ema=0.999, schedule="cosine")
    run = fit(learner, Task("generate", "grid", as_images(points(POINTS, seed)), None), strategy, seed=seed)
    found = drawn(run, POINT_SAMPLES, seed)[:, 0, 0]
    return {
        "objective": objective,
        "seed": seed,
        "steps": run.cost.steps,
        "state": run.state,
        "notes": run.notes,
        "points": found.tolist(),
        **covered_points(found)._asdict(),
    }


def stacked(digits: ImageSet, count: int, label: str) -> Tensor:
    """Three random digits in the channels, uint8 ``(count, 3, h, w)``."""
    chosen = torch.randint(len(digits), (count, 3), generator=generator(SEED, "stacks", label))
    return digits.images[:, 0][chosen]


def recogniser(digits: ImageSet, seconds: float) -> Run:
    """Our own classifier, which says which digit a channel shows."""
    strategy = Strategy(steps=3000, seconds=seconds, batch=64, schedule="cosine", augmentation=("affine",))
    return fit(create("classifier", (1, 28, 28), classes=10), Task("classify", "digits", digits, None), strategy)


def recognised(reader: Run, images: Tensor) -> Tensor:
    """The mode of each stack of float images ``(n, 3, h, w)``: its three digits as one number."""
    request = Request("logits", images=images.flatten(0, 1)[:, None])
    digits = reader.learner.predict(reader.params, request, generator(SEED)).argmax(1).view(-1, 3)
    return digits @ torch.tensor([100, 10, 1])


def covered_stacks(reader: Run, batches: Any) -> Covered:
    modes = torch.cat([recognised(reader, batch) for batch in batches])
    return counted(modes, MODES, math.nan)


def samples(learner: GAN, params: Params, count: int) -> Any:
    for index in range(0, count, 1000):
        yield learner.predict(params, Request("sample", min(1000, count - index)), generator(SEED, "stacks", index))


def rows_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for objective in OBJECTIVES:
        runs = [run for run in found if run["objective"] == objective]
        rows.append(
            {
                "data": "25 Gaussians",
                "arm": objective,
                "modes": harness.interval([run["modes"] for run in runs]),
                "quality": harness.interval([100 * run["quality"] for run in runs]),
                "kl": harness.interval([run["kl"] for run in runs]) if all(run["modes"] for run in runs) else None,
                "steps": round(sum(run["steps"] for run in runs) / len(runs)),
            }
        )
    return rows


def row(data: str, arm: str, found: Covered, steps: int | None = None) -> dict[str, Any]:
    quality = None if math.isnan(found.quality) else 100 * found.quality
    return {"data": data, "arm": arm, "modes": found.modes, "quality": quality, "kl": found.kl, "steps": steps}


def on_stacks(asked: tuple[float, int]) -> dict[str, Any]:
    """Train the default GAN on stacks of three digits, on one core, and have our classifier say what it makes."""
    seconds, count = asked
    harness.on_one_core()
    digits, unseen = load(harness.spec(TRAIN)), load(harness.spec(TEST))
    reader = recogniser(digits, RECOGNISER_SHARE * seconds)
    right = reader.learner.predict(reader.params, Request("logits", images=unseen.floats()), generator(SEED))
    learner = create("gan", (3, 28, 28))
    strategy = STRATEGY.replace(batch=32, seconds=seconds, ema=0.999)
    run = fit(learner, Task("generate", "stacks", ImageSet(stacked(digits, STACKS, "train"), "stacks"), None), strategy)
    real = (stacked(unseen, 1000, str(index)).float() / 255 for index in range(count // 1000))
    return {
        "accuracy": float((right.argmax(1) == unseen.labels).float().mean()),
        "real": covered_stacks(reader, real),
        "made": covered_stacks(reader, samples(learner, run.params, count)),
        "steps": run.cost.steps,
        "told": "; ".join([run.state, *run.notes]),
        "samples": run.sample(64, SEED),
    }


def main() -> None:
    started = time.perf_counter()
    quick = harness.quick()
    minutes = harness.minutes(QUICK_MINUTES if quick else MINUTES)
    seeds = 1 if quick else SEEDS
    seconds = 60 * minutes / (len(OBJECTIVES) * seeds)  # the points have one core, the stacks the other
    asked = [(objective, seed, seconds) for seed in range(seeds) for objective in OBJECTIVES]
    count = STACK_SAMPLES // 10 if quick else STACK_SAMPLES
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        stacks = pool.apply_async(on_stacks, ((60 * minutes, count),))
        found = pool.map(on_points, asked, chunksize=1)
        digits = stacks.get()
    rows = [
        row("25 Gaussians", "real points", covered_points(points(POINT_SAMPLES, 99))),
        *rows_of(found),
        row("stacked digits", "real digits, held back", digits["real"]),
        row("stacked digits", "the default GAN", digits["made"], digits["steps"]),
    ]
    columns = {"data": "data", "arm": "objective", "modes": "modes covered", "quality": "within 3σ, %"}
    harness.finish(
        "mode-cover",
        rows,
        columns=columns | {"kl": "KL to uniform, nats", "steps": "steps"},
        seed=SEED,
        started=started,
        threads=2,
        details=[{name: value for name, value in each.items() if name != "points"} for each in found],
        pictures=[
            harness.Picture("points", plots(found), "Samples of each objective (first seed) over the 25 centres"),
            harness.Picture("stacks", grid(digits["samples"], 16, 2), "The default GAN's stacks of three digits"),
        ],
        story=story(minutes, seeds, seconds, digits["accuracy"], count, digits["told"]),
    )


def story(minutes: float, seeds: int, seconds: float, accuracy: float, count: int, told: str) -> str:
    return (
        f"25 Gaussians on a 5×5 grid (deviation a fortieth of the spacing), multilayer perceptrons, {seconds:.0f} s of "
        f"one core each, {seeds} seeds; a mode is covered if at least one of {POINT_SAMPLES:,} samples lies within 3σ "
        f"of its centre (Srivastava et al. 2017). 1000 modes: three digits in the channels, "
        f"{minutes:.0f} minutes of one core, {count:,} samples, recognised by our own classifier (accuracy "
        f"{accuracy:.1%} on digits held back); a mode is covered if one sample is of it (Lin et al. 2018). How that "
        f"training ended: {told}."
    )


def plots(found: list[dict[str, Any]]) -> Image.Image:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * len(OBJECTIVES), 2.3), layout="constrained")
    modes = centres()
    for axis, objective in zip(figure.subplots(1, len(OBJECTIVES)), OBJECTIVES, strict=True):
        made = torch.tensor(next(run["points"] for run in found if run["objective"] == objective))
        axis.scatter(*modes.T, s=30, facecolors="none", edgecolors="tab:red", linewidths=0.6)
        axis.scatter(*made.T, s=0.5, color="black")
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
        axis.set_title(objective, fontsize=8)
    return harness.drawn(figure)


if __name__ == "__main__":
    harness.run(main)
