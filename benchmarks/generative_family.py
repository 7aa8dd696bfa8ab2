"""Every adversarial objective, every autoencoder with each sampler, and flow matching: same images, same minutes."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import harness
import torch
from PIL import Image

from limner.config import Strategy
from limner.engine import fit
from limner.learners import batch_of, create
from limner.memory.portfolio import entries
from limner.metrics import evaluate
from limner.metrics.likelihood import negative_log_likelihood
from limner.reports.figures import grid
from limner.seeds import derive, generator
from limner.tasks import ImageSet, Task, load
from limner.types import FITTED

SECONDS, FINAL_SECONDS, QUICK_SHARE = 60.0, 45.0, 0.1
SAMPLES, FINALISTS, SEEDS = 1000, 5, 3
ALSO = "GAN, relativistic"
"""A finalist whatever its place: the objective of R3GAN, which is there for the asking by longer trainings."""
METRICS = ("frechet_distance", "kernel_distance", "precision", "recall", "coverage")


@dataclass(frozen=True)
class Data:
    """Images to learn from and to be judged on, and the features that judge."""

    name: str
    train: str
    test: str
    extractor: str
    held_back: int = 0

    def load(self) -> tuple[ImageSet, ImageSet]:
        """Train and test images; where there is one set alone, ``held_back`` of it are the test images."""
        train = shuffled(load(harness.spec(self.train)))
        if not self.held_back:
            return train, shuffled(load(harness.spec(self.test)))
        kept = torch.arange(len(train))
        return train.select(kept[self.held_back :]), train.select(kept[: self.held_back])


def shuffled(images: ImageSet) -> ImageSet:
    """In random order: archives are often sorted by class, and the first few images then all of one."""
    return images.select(torch.randperm(len(images), generator=generator(0, "benchmark order")))


MNIST = Data(
    "MNIST",
    "npz:{data}/mnist12k.npz,images=train_x,labels=train_y",
    "npz:{data}/mnist12k.npz,images=test_x,labels=test_y",
    "glyph-net",
)
FASHION = Data(
    "Fashion",
    "npz:{data}/fashion12k.npz,images=train_x,labels=train_y",
    "npz:{data}/fashion12k.npz,images=test_x,labels=test_y",
    "efficientnet-lite0",
)
CLOTHING = Data("clothing", "zip:{data}/clothing2k_64_cc0.zip,size=32,colour=rgb", "", "efficientnet-lite0", 500)


@dataclass(frozen=True)
class Arm:
    """A learner with its options; ``samplers`` are tried one after the other on the same parameters."""

    name: str
    kind: str
    options: dict[str, Any]
    samplers: tuple[str, ...] = ("",)

    @property
    def strategy(self) -> Strategy:
        """What the portfolio trains the learner by from scratch."""
        return next(entry.strategy for entry in entries("generate", self.kind) if not entry.adapted)


_ALL = ("prior", "mixture", "flow")

ARMS = (
    *(
        Arm(f"GAN, {objective}", "gan", {"objective": objective, "width": 32})
        for objective in (
            "relativistic", "minimax", "non-saturating", "least-squares", "wasserstein-clipping",
            "wasserstein-penalty", "hinge",
        )
    ),
    *(
        Arm(f"GAN, relativistic, {network}", "gan", {"network": network, "width": 32})
        for network in ("mlp", "residual", "style")
    ),
    Arm("VAE", "vae", {"width": 32}, _ALL),
    Arm("VAE, β = 4", "vae", {"width": 32, "beta": 4.0}, _ALL),
    Arm("VAE, discretised logistic", "vae", {"width": 32, "likelihood": "logistic"}, _ALL),
    Arm("VAE, Gaussian", "vae", {"width": 32, "likelihood": "gaussian"}, _ALL),
    Arm("importance-weighted", "vae", {"width": 32, "objective": "importance"}, _ALL),
    Arm("Wasserstein autoencoder", "vae", {"width": 32, "objective": "wasserstein"}, _ALL),
    Arm("VAE-GAN", "vae-gan", {"width": 32}),
    Arm("VQ-VAE", "vq-vae", {}),
    Arm("flow matching", "flow", {}),
)  # fmt: skip


def made(asked: tuple[Arm, Data, float, int]) -> list[dict[str, Any]]:
    """Train an arm on one core and judge it: a row for each sampler, with sixteen samples."""
    arm, data, seconds, seed = asked
    harness.on_one_core()
    train, test = data.load()
    shape = train.shape
    task = Task("generate", data.name, train, None)
    strategy = arm.strategy.replace(seconds=seconds, steps=10**9)
    learner = create(arm.kind, shape, **arm.options)
    run = fit(learner, task, strategy, seed=seed)
    rows = []
    for sampler in arm.samplers:
        if sampler:
            learner = create(arm.kind, shape, **arm.options, sampler=sampler)
            trained = {name: value for name, value in run.params.items() if not name.startswith(FITTED)}
            params = learner.finish(trained, batch_of(train), generator(seed, "finish"))
            run = replace(run, learner=learner, params=params)
        begun = time.perf_counter()
        samples = run.sample(min(SAMPLES, len(test)), seed=derive(seed, "benchmark"))
        taken = time.perf_counter() - begun
        found = evaluate(samples, test, None, data.extractor, bootstraps=0).plain()
        row = {
            "data": data.name, "arm": arm.name, "sampler": sampler or None, "seed": seed, "state": run.state,
            "steps": run.cost.steps, "sampled a second": len(samples) / taken,
            **{metric: found[metric] for metric in METRICS},
        }  # fmt: skip
        if sampler == arm.samplers[0] and arm.kind == "vae":
            few = batch_of(test.select(torch.arange(min(200, len(test)))))
            row["nll"] = negative_log_likelihood(learner, run.params, few, samples=64, seed=seed).nats.value
        rows.append(row | {"pictured": samples[:16]})
        print(f"{data.name}, {arm.name}, {sampler or 'as it is'}: {found['frechet_distance']:.3g}", flush=True)
    return rows


def real(data: Data) -> dict[str, Any]:
    """What images to learn from score against the test images: nothing made can be expected to do better."""
    train, test = data.load()
    found = evaluate(train.images[: min(SAMPLES, len(test))], test, None, data.extractor, bootstraps=0).plain()
    return {
        "data": data.name, "arm": "real images", "seed": 0, "state": "real",
        **{metric: found[metric] for metric in METRICS}, "pictured": test.images[:16],
    }  # fmt: skip


def main() -> None:
    started = time.perf_counter()
    torch.set_num_threads(1)
    quick = harness.quick()
    share, seeds = (QUICK_SHARE, 1) if quick else (1.0, SEEDS)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first = list(chain(*pool.map(made, [(arm, MNIST, share * SECONDS, 0) for arm in ARMS], chunksize=1)))
        first.sort(key=lambda row: row["frechet_distance"])
        best = list(dict.fromkeys((row["arm"], row["sampler"]) for row in first if row["state"] == "finished"))
        chosen = []
        for name, sampler in best:
            if name not in {arm.name for arm in chosen}:
                (arm,) = (arm for arm in ARMS if arm.name == name)
                chosen.append(replace(arm, samplers=(sampler or "",)))
        chosen = chosen[:FINALISTS]
        chosen += [arm for arm in ARMS if arm.name == ALSO and arm not in chosen]
        places = [(MNIST, range(seeds)), (FASHION, range(seeds)), (CLOTHING, range(seeds))]
        asked = [(arm, data, share * FINAL_SECONDS, seed) for data, own in places for arm in chosen for seed in own]
        again = list(chain(*pool.map(made, asked, chunksize=1)))
    references = [real(data) for data in (MNIST, FASHION, CLOTHING)]
    finals = finalists(chosen, again, references)
    everything = [*references, *first, *again]
    columns = {
        "data": "data", "arm": "model", "sampler": "latents from", "seeds": "seeds",
        **{metric: metric.replace("_", " ") for metric in METRICS},
        "nll": "test NLL, nats", "steps": "steps", "sampled a second": "sampled a second",
    }  # fmt: skip
    harness.finish(
        "generative-family",
        [plain(row) for row in (references[0], *first, *finals)],
        columns=columns,
        seed=0,
        started=started,
        threads=2,
        pictures=[
            harness.Picture("mnist", picture([references[0], *first]), "Sixteen samples each, best first (MNIST)"),
            harness.Picture(
                "finalists",
                picture([*references[1:], *(row for row in again if row["seed"] == 0)]),
                "The best five on Fashion and on clothing photographs, beside real images",
            ),
        ],
        story=(
            f"Each model was trained for {share * SECONDS:.0f} s of one core, from scratch, by the portfolio's "
            "strategy; the table is in the order of the Fréchet distance on MNIST. The best "
            f"{FINALISTS} models follow, and the GAN of the relativistic objective, for "
            f"{share * FINAL_SECONDS:.0f} s each with {seeds} seeds on three sets of "
            f"images (means, 95% bootstrap intervals over seeds). {SAMPLES} samples "
            f"against as many test images (500 clothing photographs); features: {MNIST.extractor} for MNIST, "
            f"{FASHION.extractor} for the others. Test NLL is by importance sampling (64 latents an image, 200 images) "
            "and can be compared only between models of the same likelihood: Bernoulli's is of grey values taken as "
            "probabilities, the Gaussian's a density, the logistic's that of 256 levels."
        ),
        details=[plain(row) for row in everything],
    )


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its samples, which are for the picture alone."""
    return {name: value for name, value in row.items() if name != "pictured"}


def finalists(chosen: list[Arm], rows: list[dict[str, Any]], references: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each data set and chosen model: means over seeds, below what real images score."""
    found = []
    for reference in references:
        found.append(reference)
        for arm in chosen:
            own = [
                row for row in rows
                if row["data"] == reference["data"] and row["arm"] == arm.name
                and (row["sampler"] or "") == arm.samplers[0]
            ]  # fmt: skip
            means = {metric: harness.interval([row[metric] for row in own]) for metric in METRICS}
            found.append({"data": reference["data"], "arm": arm.name, "sampler": arm.samplers[0] or None,
                          "seeds": len(own), **means})  # fmt: skip
    return found


def picture(rows: list[dict[str, Any]]) -> Image.Image:
    """A line for each row: its name and score, and its samples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.5 * len(rows)))
    for place, (row, axis) in enumerate(zip(rows, figure.subplots(len(rows), 1), strict=True)):
        axis.imshow(grid(row["pictured"], columns=16, scale=1).convert("RGB"))
        told = ", ".join(part for part in (row["data"], row["arm"], row.get("sampler")) if part)
        axis.set_ylabel(f"{told}\n{row['frechet_distance']:.1f}", rotation=0, ha="right", va="center", fontsize=7)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(place < 0)
    figure.subplots_adjust(left=0.34, right=0.995, top=0.995, bottom=0.005, hspace=0.08)
    return harness.drawn(figure)


if __name__ == "__main__":
    harness.run(main)
