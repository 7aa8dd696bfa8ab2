"""Set12 under white Gaussian noise of known strength: every method that needs no training, and blind networks beside.

Methods that learn from the one image alone take minutes for it, and are measured on three images at σ 25, with BM3D on
the same three beside them. The networks learn for ``MINUTES`` (8) each on one core, the U-Net ten times as long beside.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

import harness
import numpy as np
from photographs import SEED, Blind, as_file, damaged, learned, photographs, restorer_of

from limner.metrics import fidelity
from limner.restoration import Knowledge, Restorer, restorer
from limner.seeds import generator
from limner.types import Params

SIGMAS = (15, 25, 50)
METHODS = ("total-variation", "wavelets", "non-local-means", "dictionary", "bm3d", "denoiser", "starter")
SINGLE = ("zero-shot-noise2noise", "blind-spot", "deep-image-prior")
FEW = (0, 1, 3)
"""The images on which the slow ones are measured: cameraman, house, starfish (01, 02, 04)."""
PUBLISHED = {
    "total-variation": (29.61, 27.52, 24.71),
    "wavelets": (30.14, 27.92, 24.76),
    "non-local-means": (31.17, 28.68, 25.00),
    "bm3d": (32.37, 29.97, 26.72),
    "DnCNN, one net a σ": (32.86, 30.44, 27.18),
    "DRUNet": (33.25, 30.94, 27.90),
}
"""PSNR on all twelve: of the first three measured elsewhere, of the others as published."""


def networks(minutes: float) -> list[Blind]:
    """Blind networks, each for the same time, and the U-Net for longer."""
    kinds = {"dncnn": (48, 10), "ffdnet": (64, 10), "nafnet": (16, 8), "unet": (24, 8)}
    return [
        Blind(f"{kind}, {part * minutes:.3g} min", {"network": kind, "width": width, "depth": depth}, part * minutes)
        for kind, (width, depth) in kinds.items()
        for part in ((1, 10) if kind == "unet" else (1,))
    ][::-1]


def measured(asked: tuple[str, Blind | None, Params | None, Sequence[int], bool]) -> list[dict[str, Any]]:
    """A method on all images, or on few of them, at each σ; in a process of its own, on one core."""
    harness.on_one_core()
    name, blind, params, sigmas, few = asked
    one: Restorer = restorer(name) if blind is None else restorer_of(blind, params or {})
    images = photographs("Set12")
    chosen = [list(images)[place] for place in FEW] if few else list(images)
    found = []
    for sigma in sigmas:
        for image in chosen:
            clean = images[image]
            noisy = damaged(clean, sigma, image)
            begun = time.perf_counter()
            made = one.restore(noisy, Knowledge(noise=sigma / 255), generator(SEED, "restorer"))
            seconds = time.perf_counter() - begun
            found.append({
                "method": name, "image": image, "sigma": sigma, "seconds": seconds,
                "psnr": float(fidelity.signal_to_noise(as_file(made), clean)),
                "ssim": float(fidelity.structural_similarities(as_file(made), clean)),
            })  # fmt: skip
        own = [entry["psnr"] for entry in found if entry["sigma"] == sigma]
        print(f"{name}, σ {sigma}: {np.mean(own):.2f} dB, {found[-1]['seconds']:.1f} s", flush=True)
    return found


def row(label: str, found: Sequence[dict[str, Any]], published: Sequence[float] | None) -> dict[str, Any]:
    """Means over the images that ``found`` tells of."""
    names = sorted({entry["image"] for entry in found})
    line: dict[str, Any] = {"method": label, "images": len(names) or None}
    for place, sigma in enumerate(SIGMAS):
        own = [entry for entry in found if entry["sigma"] == sigma]
        for key in ("psnr", "ssim"):
            mean = float(np.mean([entry[key] for entry in own])) if own else None
            line[f"{key} {sigma}"] = None if mean is None else f"{mean:.2f}" if key == "psnr" else f"{mean:.4f}"
        line[f"known {sigma}"] = None if published is None else f"{published[place]:.2f}"
    line["seconds"] = float(np.median([entry["seconds"] for entry in found])) if found else None
    return line


def main() -> None:
    started = time.perf_counter()
    quick = harness.quick()
    blinds = networks(0.05 if quick else harness.minutes(8))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        trained = {name: (params, steps) for name, params, steps in pool.map(learned, blinds, chunksize=1)}
        asked: list[tuple[str, Blind | None, Params | None, Sequence[int], bool]] = [
            *((name, None, None, (25,), True) for name in (() if quick else reversed(SINGLE))),
            *((name, None, None, SIGMAS, quick) for name in METHODS),
            *((blind.name, blind, trained[blind.name][0], SIGMAS, quick) for blind in reversed(blinds)),
        ]
        found = list(chain(*pool.map(measured, asked, chunksize=1)))
    order = [*METHODS, *(blind.name for blind in reversed(blinds)), *(() if quick else SINGLE)]
    rows = [row(name, [one for one in found if one["method"] == name], PUBLISHED.get(name)) for name in order]
    few = sorted({one["image"] for one in found if one["method"] in SINGLE})
    if few:
        same = [one for one in found if one["method"] == "bm3d" and one["image"] in few and one["sigma"] == 25]
        rows.append(row("bm3d, on those three", same, None))
    rows += [row(name, [], PUBLISHED[name]) for name in list(PUBLISHED)[len(PUBLISHED) - 2 :]]
    columns = {"method": "method", "images": "images"}
    columns |= {f"psnr {sigma}": f"PSNR σ {sigma}" for sigma in SIGMAS}
    columns |= {f"known {sigma}": f"elsewhere σ {sigma}" for sigma in SIGMAS}
    columns |= {f"ssim {sigma}": f"SSIM σ {sigma}" for sigma in SIGMAS}
    columns["seconds"] = "seconds an image"
    steps = ", ".join(f"{blind.name.split(',')[0]} {trained[blind.name][1]:,}" for blind in reversed(blinds))
    harness.finish(
        "restore-set12",
        rows,
        columns=columns,
        seed=SEED,
        started=started,
        threads=1,
        details=found,
        story=(
            "White Gaussian noise of standard deviation σ on the scale 0–255, not clipped, its strength known to the "
            "methods that ask for it. Results are clipped and rounded to bytes; figures are means over images, seconds "
            "of one core, their median over images and σ. Elsewhere: measured or published by others, on all twelve "
            "images with other noise. Networks with minutes are blind, one for all σ from 5 to 55 (FFDNet is "
            "told σ), and learned from Train400 for so many minutes of one core in bfloat16; steps: "
            f"{steps}. Denoiser and starter ship with Limner and saw none of these photographs. Those on three "
            f"images are of {', '.join(few)}."
        ),
    )


if __name__ == "__main__":
    harness.run(main)
