"""Photographs damaged in ways that no one tells: the restorer that ships beside BM3D with the noise estimated.

Each photograph of Set12 and every tenth of Train400, which nothing that ships has learned from, is damaged as a file
would be (clipped, in bytes) by each kind of damage, at a strength of its own.
"""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import harness
import numpy as np
from photographs import SEED, as_file, photographs
from torch import Tensor

from limner.degradations import parse
from limner.metrics import fidelity
from limner.restoration import Knowledge, restorer
from limner.restoration.estimate import estimate
from limner.seeds import generator

KINDS = {
    "Gaussian": "gaussian(5..50)",
    "Poisson": "poisson(20..200)",
    "salt and pepper": "salt_and_pepper(0.01..0.2)",
    "mild blur, noise": "blur(gaussian,width=0.5..2)+gaussian(2..10)",
    "JPEG": "jpeg(10..60)",
    "noise, blur, JPEG": "gaussian(5..20)+blur(gaussian,width=0.5..0.8)+jpeg(70..90)",
    "none": "nothing",
}
"""The first five are what ``unknown`` stands for."""
METHODS = ("starter", "bm3d")


def restored(method: str, observed: Tensor, found: Any) -> Tensor:
    """By a method, told what was found in the image."""
    if method == "bm3d" and not found.noise:
        return observed
    return restorer(method).restore(observed, Knowledge(noise=found.noise), generator(SEED, "restorer"))


def measured(kind: str) -> list[dict[str, Any]]:
    """All methods under a kind of damage, on all photographs; in a process of its own, on one core."""
    harness.on_one_core()
    images = photographs("Set12") | dict(list(photographs("Train400").items())[::10])
    found = []
    for name, clean in list(images.items())[:: 10 if harness.quick() else 1]:
        observed = as_file(parse(KINDS[kind])(clean.float() / 255, generator(SEED, kind, name)))
        told = estimate(observed.float() / 255, None, SEED)
        row: dict[str, Any] = {"kind": kind, "image": name, "estimated": told.degradation}
        row["damaged"] = float(fidelity.signal_to_noise(observed, clean).clamp(max=60))
        for method in METHODS:
            begun = time.perf_counter()
            made = as_file(restored(method, observed.float() / 255, told))
            row[f"{method} seconds"] = time.perf_counter() - begun
            row[method] = float(fidelity.signal_to_noise(made, clean).clamp(max=60))
            row[f"{method} ssim"] = float(fidelity.structural_similarities(made, clean))
        found.append(row)
    print(kind, *(f"{method} {np.mean([row[method] for row in found]):.2f}" for method in METHODS), flush=True)
    return found


def row_of(kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the photographs."""
    line: dict[str, Any] = {"kind": kind, "photographs": len(found)}
    for name in ("damaged", *METHODS):
        line[name] = f"{np.mean([row[name] for row in found]):.2f}"
    line["more"] = harness.difference([row["starter"] for row in found], [row["bm3d"] for row in found])
    for method in METHODS:
        line[f"{method} ssim"] = f"{np.mean([row[f'{method} ssim'] for row in found]):.4f}"
        line[f"{method} seconds"] = float(np.median([row[f"{method} seconds"] for row in found]))
    return line


def main() -> None:
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = dict(zip(KINDS, pool.map(measured, KINDS, chunksize=1), strict=True))
    rows = [row_of(kind, parts[kind]) for kind in KINDS]
    mixture = [row for kind in list(KINDS)[:5] for row in parts[kind]]
    rows.append(row_of("**the first five together**", mixture))
    others = [row for row in mixture if row["kind"] != "salt and pepper"]
    rows.append(row_of("the same but for salt and pepper", others))
    harness.finish(
        "restore-unknown",
        rows,
        columns={
            "kind": "damage", "photographs": "images", "damaged": "PSNR before", "starter": "starter",
            "bm3d": "BM3D, σ estimated", "more": "dB more", "starter ssim": "SSIM starter", "bm3d ssim": "SSIM BM3D",
            "starter seconds": "seconds starter", "bm3d seconds": "seconds BM3D",
        },
        seed=SEED,
        started=started,
        threads=1,
        details=[row for part in parts.values() for row in part],
        story=(
            "Neither method is told anything. BM3D gets the σ that Limner estimates from the image, and leaves alone "
            "what looks clean; the starter mends whatever it is given. PSNR of bytes, at most 60 dB; *dB more* is the "
            "starter's less BM3D's, image by image, with its 95% bootstrap interval. Damage: "
            + "; ".join(f"{kind}: `{text}`" for kind, text in KINDS.items())
            + ". Seconds of one core, median."
        ),
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
