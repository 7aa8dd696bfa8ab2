"""Lost pixels and known blur on Set12: plug-and-play with several priors, smooth filling in, and Wiener's filter.

``wiener, best`` has the strength that gives the highest PSNR of each image, found with the truth at hand: no one could
do better with that filter.
"""

from __future__ import annotations

import multiprocessing
import time
from itertools import chain
from typing import Any

import harness
import numpy as np
import torch
from photographs import SEED, as_file, photographs
from torch import Tensor

from limner.degradations import parse
from limner.metrics import fidelity
from limner.restoration import Knowledge, Restorer, restorer
from limner.restoration.deconvolution import Wiener
from limner.seeds import generator

SIGMA = 2.55
DAMAGES = {
    "half lost": "missing(0.5)",
    "80% lost": "missing(0.8)",
    "Gaussian blur": "blur(gaussian,width=1.6)",
    "motion": "blur(motion,length=15,angle=30)",
    "defocus": "blur(defocus,radius=4)",
}
LOST = ("half lost", "80% lost")
PRIORS = ("total-variation", "wavelets", "non-local-means", "denoiser")
STRENGTHS = tuple(10 ** (power / 3) for power in range(-9, -2))
"""Regularisers of Wiener's filter."""


def methods(damage: str) -> list[str]:
    """What is measured under a damage."""
    plain = ["biharmonic"] if damage in LOST else ["wiener", "wiener, best", "richardson-lucy"]
    return [*plain, *(f"plug-and-play, {prior}" for prior in PRIORS)]


def score(made: Tensor, clean: Tensor) -> float:
    return float(fidelity.signal_to_noise(as_file(made), clean))


def of(method: str) -> list[Restorer]:
    """The restorer, or all that the best is chosen of."""
    if method == "wiener, best":
        return [Wiener(strength) for strength in STRENGTHS]
    name, _, prior = method.partition(", ")
    return [restorer(name, prior=prior) if prior else restorer(name)]


def measured(asked: tuple[str, str]) -> list[dict[str, Any]]:
    """A method under a damage on all images; in a process of its own, on one core."""
    harness.on_one_core()
    damage, method = asked
    images = list(photographs("Set12").items())
    found = []
    for name, clean in images[:2] if harness.quick() else images:
        whole = parse(DAMAGES[damage])
        random = generator(SEED, damage, name)
        shape = (1, 1, *clean.shape[2:])
        parameters = whole.sample(shape, random)
        noise = 0.0 if damage in LOST else SIGMA / 255
        observed = whole.apply(clean.float() / 255, parameters, random)
        observed = observed + noise * torch.randn(observed.shape, generator=random)
        knowledge = Knowledge.of(whole, parameters, shape, noise)
        begun = time.perf_counter()
        made = [one.restore(observed, knowledge, generator(SEED, "restorer")) for one in of(method)]
        seconds = (time.perf_counter() - begun) / len(made)
        best = max(made, key=lambda one, clean=clean: score(one, clean))  # type: ignore[misc]
        found.append({
            "method": method, "damage": damage, "image": name, "seconds": seconds, "psnr": score(best, clean),
            "ssim": float(fidelity.structural_similarities(as_file(best), clean)),
            "observed": score(observed, clean),
        })  # fmt: skip
    print(f"{damage}, {method}: {np.mean([one['psnr'] for one in found]):.2f} dB", flush=True)
    return found


def main() -> None:
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        asked = [(damage, method) for damage in DAMAGES for method in methods(damage)]
        found = list(chain(*pool.map(measured, asked, chunksize=1)))
    rows = []
    for damage in DAMAGES:
        plain = "biharmonic" if damage in LOST else "wiener, best"
        for method in methods(damage):
            own = [one for one in found if (one["damage"], one["method"]) == (damage, method)]
            against = [one for one in found if (one["damage"], one["method"]) == (damage, plain)]
            rows.append({
                "damage": damage, "method": method,
                "psnr": f"{np.mean([one['psnr'] for one in own]):.2f}",
                "more": None if method == plain else harness.difference(
                    [one["psnr"] for one in own], [one["psnr"] for one in against]
                ),
                "ssim": f"{np.mean([one['ssim'] for one in own]):.4f}",
                "observed": f"{np.mean([one['observed'] for one in own]):.2f}",
                "seconds": float(np.median([one["seconds"] for one in own])),
            })  # fmt: skip
    harness.finish(
        "restore-inverse",
        rows,
        columns={
            "damage": "damage", "method": "method", "psnr": "PSNR", "more": "dB more", "ssim": "SSIM",
            "observed": "PSNR of the damaged", "seconds": "seconds an image",
        },
        seed=SEED,
        started=started,
        threads=1,
        details=found,
        story=(
            "Means over the 12 images; *dB more* than filling in smoothly (biharmonic) where pixels were lost, than "
            "Wiener's filter with the best strength of each image, chosen with the truth at hand, where a known kernel "
            f"blurred and noise of σ {SIGMA} was added; 95% bootstrap intervals over images. Blurs: "
            + ", ".join(DAMAGES[damage] for damage in DAMAGES if damage not in LOST)
            + ". `denoiser` ships with Limner and never saw these photographs. Seconds of one core."
        ),
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
