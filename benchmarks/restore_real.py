"""Real noise of two cameras: the shipped network adapted to one scene's pairs, against what needs none, on the others.

It is adapted as `limner adapt restore` does where nothing is known of like tasks.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import harness
import numpy as np
import torch
from photographs import ARCHIVE, as_file
from PIL import Image
from torch import Tensor

from limner.engine import fit
from limner.errors import LimnerError
from limner.learners import rebuild
from limner.memory.portfolio import entries
from limner.memory.shipped import load_shipped
from limner.metrics import fidelity
from limner.model_file import StoredModel
from limner.restoration import Knowledge, Restorer, restorer
from limner.restoration.estimate import estimate
from limner.restoration.trained import Trained
from limner.seeds import generator
from limner.tasks import Alone, Pairs, Task
from limner.tasks.pictures import Pictures, patches
from limner.verbs.restoration import rehearsal_of, rehearsed

SEED, SIDE, PATCH = 0, 256, 64
EVERY = 8
"""One photograph in so many is given to what learns from each photograph by itself, for minutes."""
THIN = 2
"""One photograph in so many is taken at all, for BM3D takes a quarter of a minute for each."""

ADAPTED = {"NikonD800": ("flower", "plant"), "Sony": ("plant", "toy")}
"""Of each camera two scenes, on each of which a network is adapted; it is judged on all others of that camera."""

STRATEGY = entries("restore")[0].strategy
"""What `limner adapt restore` takes from the start that ships with Limner, where nothing is known of like tasks."""

PAIRS, ALONE = "adapted to one scene's pairs", "adapted to one scene, damaged alone"


class Photograph(NamedTuple):
    """A photograph as it came from the camera, and the mean of many; uint8 ``(1, 3, h, w)``."""

    name: str
    camera: str
    scene: str
    real: Tensor
    true: Tensor


def polyu() -> list[Photograph]:
    """The pairs of ``PolyU_Nikon_Sony/``: the middle of each."""
    archive, found = Path(harness.spec(ARCHIVE)), []
    try:
        with zipfile.ZipFile(archive) as pack:
            for name in sorted(entry for entry in pack.namelist() if entry.endswith("_real.JPG")):
                both = [_middle(pack.read(name.replace("_real", f"_{kind}"))) for kind in ("real", "mean")]
                words = Path(name).stem.split("_")
                found.append(Photograph(Path(name).stem, words[0], words[4], *both))
    except (OSError, KeyError, zipfile.BadZipFile) as problem:
        raise LimnerError(f"the pairs cannot be read from {archive} ({problem}); give a zip with PolyU pairs") from None
    if not found:
        raise LimnerError(f"{archive} holds no *_real.JPG with its *_mean.JPG; give a zip that does")
    return found


def _middle(data: bytes) -> Tensor:
    pixels = torch.from_numpy(np.array(Image.open(BytesIO(data)).convert("RGB"))).movedim(2, 0)[None]
    top, left = ((length - SIDE) // 2 for length in pixels.shape[2:])
    return pixels[..., top : top + SIDE, left : left + SIDE]


def adapted(start: StoredModel, scene: Sequence[Photograph], alone: bool) -> tuple[Restorer, float]:
    """The network after adaptation to one scene's photographs, by their pairs or without the true ones; seconds."""
    sides = []
    for which in ("real", "true"):
        images = [getattr(one, which)[0] for one in scene]
        sides.append(patches(Pictures("scene", images, [one.name for one in scene], None, "", ()), PATCH)[0])
    support = Alone(sides[0]) if alone else Pairs(*sides)
    task = Task("restore", "scene", support, None, SEED)
    strategy = STRATEGY.replace(steps=5) if harness.quick() else STRATEGY
    strategy = strategy.replace(rehearsal=rehearsal_of(strategy, start, task))
    learner = rebuild(start.learner_description)
    run = fit(learner, rehearsed(task, start, strategy, SEED), strategy, seed=SEED, start=start.params)
    return Trained.of(run), run.cost.seconds


def measured(one: Restorer, photograph: Photograph, noise: float | None, label: str) -> dict[str, Any]:
    """PSNR and SSIM of one photograph, and the seconds that it took."""
    begun = time.perf_counter()
    made = one.restore(photograph.real.float() / 255, Knowledge(noise=noise), generator(SEED, photograph.name))
    return scored(as_file(made), photograph, label) | {"seconds": time.perf_counter() - begun, "noise": noise}


def scored(made: Tensor, photograph: Photograph, label: str) -> dict[str, Any]:
    """PSNR and SSIM against the true photograph."""
    return {
        "method": label,
        "photograph": photograph.name,
        "camera": photograph.camera,
        "psnr": float(fidelity.signal_to_noise(made, photograph.true)),
        "ssim": float(fidelity.structural_similarities(made, photograph.true)),
    }


def untaught(photographs: Sequence[Photograph]) -> list[dict[str, Any]]:
    """What methods make of each photograph that learn from no other."""
    found = []
    single = restorer("zero-shot-noise2noise", **({"steps": 20} if harness.quick() else {}))
    for place, one in enumerate(photographs):
        real, true = one.real.float() / 255, one.true.float() / 255
        found.append(scored(one.real, one, "as it came") | {"seconds": 0.0})
        levels = {"estimated": estimate(real).noise or 0.0, "measured from the pair": float((real - true).std())}
        found += [measured(restorer("bm3d"), one, level, f"bm3d, σ {how}") for how, level in levels.items()]
        print(f"{one.name}: {found[-3]['psnr']:.2f} dB, bm3d {found[-2]['psnr']:.2f}", flush=True)
        if place % EVERY == 0:
            found.append(measured(single, one, None, "zero-shot-noise2noise"))
            print(f"zero-shot-noise2noise {found[-1]['psnr']:.2f}", flush=True)
    return found


def taught(photographs: Sequence[Photograph]) -> list[dict[str, Any]]:
    """What the network makes of each, unadapted, and adapted to another scene of the same camera."""
    start = load_shipped("shipped:restorer")
    found = [measured(restorer("starter"), one, None, "starter, not adapted") for one in photographs]
    for camera, scenes in ADAPTED.items():
        for scene in scenes:
            shown = [one for one in photographs if (one.camera, one.scene) == (camera, scene)]
            others = [one for one in photographs if one.camera == camera and one.scene != scene]
            for label, alone in ((PAIRS, False), (ALONE, True)):
                if not shown or not others:
                    continue
                network, seconds = adapted(start, shown, alone)
                own = [measured(network, one, None, label) for one in others]
                found += [row | {"scene": scene, "adapted in": seconds} for row in own]
                print(f"{label}, {camera} {scene}: {mean(row['psnr'] for row in own):.2f} dB", flush=True)
    return found


def by_photograph(found: Sequence[Mapping[str, Any]], method: str, key: str = "psnr") -> dict[str, float]:
    """Each photograph's mean over the scenes that the method was adapted to."""
    rows = [row for row in found if row["method"] == method]
    names = dict.fromkeys(row["photograph"] for row in rows)
    return {name: mean(row[key] for row in rows if row["photograph"] == name) for name in names}


def row_of(found: Sequence[Mapping[str, Any]], method: str) -> dict[str, Any]:
    """Means over photographs, and how far ahead of BM3D on the same ones."""
    own, other = by_photograph(found, method), by_photograph(found, "bm3d, σ estimated")
    cameras = {row["photograph"]: row["camera"] for row in found}
    line: dict[str, Any] = {"method": method, "photographs": len(own)}
    for camera in ADAPTED:
        values = [value for name, value in own.items() if cameras[name] == camera]
        line[camera] = f"{mean(values):.2f}" if values else None
    line["psnr"] = f"{mean(own.values()):.2f}"
    line["ssim"] = f"{mean(by_photograph(found, method, 'ssim').values()):.4f}"
    line["ahead"] = harness.difference(list(own.values()), [other[name] for name in own], SEED)
    line["seconds"] = mean(row["seconds"] for row in found if row["method"] == method)
    return line


def main() -> None:
    harness.on_one_core()
    started = time.perf_counter()
    photographs = polyu()[::THIN]
    if harness.quick():
        photographs = [one for one in photographs if one.camera == "Sony" and one.scene in ("plant", "toy")][2:5]
    found = untaught(photographs) + taught(photographs)
    rows = [row_of(found, method) for method in dict.fromkeys(row["method"] for row in found)]
    columns = {"method": "method", "photographs": "photographs"}
    columns |= {camera: f"PSNR {camera}" for camera in ADAPTED} | {"psnr": "PSNR", "ssim": "SSIM"}
    columns |= {"ahead": "ahead of bm3d, σ estimated, dB", "seconds": "seconds each"}
    scenes = "; ".join(f"{camera}: {' and '.join(names)}" for camera, names in ADAPTED.items())
    harness.finish(
        "restore-real",
        rows,
        columns=columns,
        seed=SEED,
        started=started,
        details=found,
        threads=1,
        story=(
            f"Every {THIN}nd of the PolyU photographs in colour, the middle {SIDE}×{SIDE} pixels; the truth is "
            "the mean of many shots. The network that ships with Limner was adapted "
            f"in {STRATEGY.steps} steps to one scene, and judged on the camera's other scenes; each "
            f"camera has two such scenes ({scenes}), and a photograph's figure is the mean over them. Intervals are "
            "over photographs. BM3D is told σ as estimated from the photograph, or as measured against the truth, "
            "which no user has. Zero-Shot Noise2Noise, which takes minutes a photograph, mended every "
            f"{EVERY}th; its interval is over these."
        ),
    )


if __name__ == "__main__":
    harness.run(main)
