"""A photograph of 12 megapixels through ``limner restore``: seconds and peak memory of each method, in tiles.

The photograph is one that scikit-image carries, enlarged; with noise of σ 15 it is an 8-bit PNG in colour. Each method
is a process of its own with all cores, as a user would run it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
from PIL import Image

from limner.errors import LimnerError

SEED, SIGMA, WIDTH, HEIGHT = 0, 15, 4000, 3000
METHODS = ("starter", "denoiser", "total-variation", "wavelets")
LIMIT = 200
"""Seconds after which a method is given up."""


def photograph(folder: Path, width: int, height: int) -> tuple[Path, Path]:
    """The damaged photograph and the clean one."""
    import skimage.data

    source = Path(skimage.data.__file__).parent / "coffee.png"
    clean = np.asarray(Image.open(source).convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    noise = np.random.default_rng(SEED).normal(0, SIGMA, clean.shape)
    paths = folder / "damaged" / "photograph.png", folder / "clean" / "photograph.png"
    for path, pixels in zip(paths, ((clean + noise).clip(0, 255).round().astype(np.uint8), clean), strict=True):
        path.parent.mkdir()
        Image.fromarray(pixels).save(path, compress_level=1)
    return paths


def measured(method: str, folder: Path, damaged: Path, clean: Path) -> dict[str, Any]:
    """One method; what it took, and what it came to."""
    words = [
        sys.executable, "-m", "limner", "restore", method, str(damaged), "--noise", str(SIGMA), "--truth", str(clean),
        "--no-check", "--out", str(folder / method), "--json",
    ]  # fmt: skip
    begun = time.perf_counter()
    memory = os.environ | {"LIMNER_MEMORY": str(folder / "memory")}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, env=memory, check=False)
    except subprocess.TimeoutExpired:
        return {"method": method, "whole": f"more than {LIMIT}"}
    if done.returncode:
        raise LimnerError(f"{method}: {done.stderr.strip()}")
    record = json.loads((folder / method / "restored.json").read_text())
    one = record["images"][0]
    print(method, one["seconds"], one["scores"], flush=True)
    return {
        "method": method, "used": one["method"], "tiles": one["tiles"], "seconds": one["seconds"],
        "whole": time.perf_counter() - begun, "memory": record["peak_memory"] / 2**20,
        "psnr": f"{one['scores']['psnr_before']:.2f} → {one['scores']['psnr_after']:.2f}",
    }  # fmt: skip


def main() -> None:
    started = time.perf_counter()
    width, height = (400, 300) if harness.quick() else (WIDTH, HEIGHT)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = photograph(folder, width, height)
        rows = [measured(method, folder, *paths) for method in METHODS]
    harness.finish(
        "restore-large",
        rows,
        columns={
            "method": "method", "used": "which is", "tiles": "tiles", "seconds": "seconds",
            "whole": "seconds of the command", "memory": "peak memory, MB", "psnr": "PSNR",
        },
        seed=SEED,
        started=started,
        details=rows,
        story=(
            f"A photograph of {width}×{height} pixels in colour with white noise of σ {SIGMA}, on all cores. *Seconds* "
            "are from file to file, the command's also have the start of Python, scores and the page. Peak memory is "
            "the process's, with the image, the result and the truth as float32 in it. The photograph was enlarged, so "
            "the PSNR is higher than on sharp ones."
        ),
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
