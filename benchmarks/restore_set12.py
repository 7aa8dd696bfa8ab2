"""Set12 under white Gaussian noise of known strength: every method that needs no training, and trained runs beside.

``RUNS=FOLDER:FOLDER…`` adds runs of ``limner train restorer``. Methods that learn from the one image alone take minutes
for it, and are measured on three images, with BM3D on the same three beside them.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.engine import Run
from limner.errors import LimnerError
from limner.metrics import fidelity
from limner.restoration import Knowledge, Restorer, restorer
from limner.restoration.trained import Trained
from limner.seeds import generator

SEED = 0
SIGMAS = (15, 25, 50)
METHODS = ("total-variation", "wavelets", "non-local-means", "dictionary", "bm3d")
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


def photographs(archive: Path) -> dict[str, Tensor]:
    """The grey images of ``Set12/`` in a zip, uint8 ``(1, 1, h, w)``, by name."""
    found = {}
    try:
        with zipfile.ZipFile(archive) as pack:
            for name in sorted(pack.namelist()):
                if name.startswith("Set12/") and name.endswith(".png"):
                    pixels = np.array(Image.open(BytesIO(pack.read(name))).convert("L"))
                    found[Path(name).stem] = torch.from_numpy(pixels)[None, None]
    except (OSError, zipfile.BadZipFile) as problem:
        raise LimnerError(f"the images cannot be read from {archive} ({problem}); give a zip with Set12/") from None
    if not found:
        raise LimnerError(f"{archive} holds no Set12/*.png; give a zip that does")
    return found


def measured(one: Restorer, clean: Tensor, sigma: int, name: str) -> dict[str, Any]:
    """PSNR and SSIM of one image, rounded to bytes as a file would be, and the seconds that it took."""
    noise = torch.randn(clean.shape, generator=generator(SEED, f"{name} {sigma}"))
    damaged = clean.float() / 255 + sigma / 255 * noise
    begun = time.perf_counter()
    found = one.restore(damaged, Knowledge(noise=sigma / 255), generator(SEED, "restorer"))
    seconds = time.perf_counter() - begun
    made = (found.clamp(0, 1) * 255).round().to(torch.uint8)
    return {
        "method": one.name,
        "image": name,
        "sigma": sigma,
        "psnr": float(fidelity.signal_to_noise(made, clean)),
        "ssim": float(fidelity.structural_similarities(made, clean)),
        "seconds": seconds,
    }


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


def trained() -> list[Restorer]:
    """Runs that ``RUNS`` names, one folder after another with colons between."""
    folders = [Path(name) for name in os.environ.get("RUNS", "").split(":") if name]
    return [Trained.of(Run.load(folder)) for folder in folders]


def main() -> None:
    started = time.perf_counter()
    images = photographs(Path(harness.spec("{data}/restoration_dev.zip")))
    names = list(images)
    few = [names[place] for place in FEW if place < len(names)]
    if harness.quick():
        names = few
    single = [] if harness.quick() else [restorer(name) for name in SINGLE]
    found: list[dict[str, Any]] = []
    for one in [*map(restorer, METHODS), *trained(), *single]:
        for sigma in SIGMAS:
            for name in few if one in single else names:
                found.append(measured(one, images[name], sigma, name))
                print("{method}, σ {sigma}, {image}: {psnr:.2f} dB, {seconds:.1f} s".format(**found[-1]), flush=True)
    rows = []
    for method in dict.fromkeys(entry["method"] for entry in found):
        own = [entry for entry in found if entry["method"] == method]
        rows.append(row(method, own, PUBLISHED.get(method)))
    if single:
        same = [entry for entry in found if entry["method"] == "bm3d" and entry["image"] in few]
        rows.append(row("bm3d, on those three", same, None))
    rows += [row(name, [], PUBLISHED[name]) for name in list(PUBLISHED)[len(PUBLISHED) - 2 :]]
    columns = {"method": "method", "images": "images"}
    columns |= {f"psnr {sigma}": f"PSNR σ {sigma}" for sigma in SIGMAS}
    columns |= {f"known {sigma}": f"elsewhere σ {sigma}" for sigma in SIGMAS}
    columns |= {f"ssim {sigma}": f"SSIM σ {sigma}" for sigma in SIGMAS}
    columns["seconds"] = "seconds an image"
    harness.finish(
        "restore-set12",
        rows,
        columns=columns,
        seed=SEED,
        started=started,
        details=found,
        story=(
            "White Gaussian noise of standard deviation σ on the scale 0–255, not clipped, its strength known to the "
            "classical methods. Results are clipped and rounded to bytes; figures are means over images, seconds their "
            "median over images and σ. Elsewhere: measured or published by others, on all twelve images with other "
            f"noise. Those on three images are of {', '.join(few)}."
        ),
    )


if __name__ == "__main__":
    harness.run(main)
