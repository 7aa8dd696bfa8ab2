"""Built-in ``photos``: patches of the photographs that scikit-image carries, each photograph a class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.arrays import Array, ArraySource
from limner.tasks.spec import Spec

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
"""Files inside the package scikit-image; nothing is fetched."""


def open_photos(spec: Spec) -> ArraySource:
    """Square patches at random places and scales (1 to 4 times ``size``), ``per_class`` (100) of each photograph."""
    import skimage.data

    options = spec.options
    size, per_class, seed = options.get("size", 32), options.get("per_class", 100), options.get("seed", 0)
    folder = Path(skimage.data.__file__).parent
    paths = [folder / name for name in PHOTOGRAPHS if (folder / name).exists()]
    if not paths:
        raise LimnerError(
            "scikit-image carries no photographs here; reinstall scikit-image, or give a folder of images"
        )
    source = ArraySource(
        str(spec),
        (len(paths) * per_class, size, size, 3),
        np.dtype(np.uint8),
        lambda: (_patches(path, size, per_class, seed) for path in paths),
        labels=np.repeat(np.arange(len(paths)), per_class),
        names=tuple(path.stem for path in paths),
        licence="public domain or CC0, as listed in scikit-image's data/README.txt",
    )
    if len(paths) < len(PHOTOGRAPHS):
        source.notes.append(f"{len(PHOTOGRAPHS) - len(paths)} photographs are not in this version of scikit-image")
    return source


def _patches(path: Path, size: int, count: int, seed: int) -> Array:
    """``(count, size, size, 3)`` patches of one photograph."""
    return np.stack(list(_cut(path, size, torch.rand(count, 3, generator=generator(seed, "photos", path.stem)))))


def _cut(path: Path, size: int, random: torch.Tensor) -> Iterator[Array]:
    from PIL import Image

    with Image.open(path) as file:
        photograph = file.convert("RGB")
    largest = min(*photograph.size, 4 * size)
    for across, down, scale in random.tolist():
        side = min(photograph.width, photograph.height, round(size + scale * max(0, largest - size)))
        left, top = int(across * (photograph.width - side + 1)), int(down * (photograph.height - side + 1))
        patch = photograph.crop((left, top, left + side, top + side))
        yield np.asarray(patch.resize((size, size), Image.Resampling.LANCZOS))
