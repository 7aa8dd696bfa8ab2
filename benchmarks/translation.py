"""Translation: facades from pairs, and digits to digits of another look without pairs."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any, NamedTuple

import harness
import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine import fit
from limner.engine.pictures import in_rows, translated_bytes
from limner.learners import Learner, create
from limner.memory.portfolio import entries
from limner.metrics import evaluate, fidelity
from limner.reports.figures import grid
from limner.seeds import generator
from limner.tasks import Domains, ImageSet, Task, load, load_sides, split_sides
from limner.types import Params, Request

FACADES = "zip:{data}/facades_val100.zip,pairs=right-left,size=64"
DIGITS = "npz:{data}/mnist12k.npz,images=train_x,labels=train_y"
UNSEEN = "npz:{data}/mnist12k.npz,images=test_x,labels=test_y"
SEED = 0
MINUTES = {"facades": 5.0, "inverted": 2.0, "coloured": 3.0}
"""Of training, on one core; two of them run at a time."""

RECOGNISER_STEPS = 1500


class Learned(NamedTuple):
    """A translator, what it is described by, and what it took."""

    description: tuple[str, tuple[int, int, int], dict[str, Any]]
    params: Params
    steps: int
    seconds: float

    def learner(self) -> Learner:
        """The learner, which does not travel between processes."""
        kind, shape, options = self.description
        return create(kind, shape, **options)


def inverted(images: ImageSet) -> ImageSet:
    """Black on white."""
    return ImageSet(255 - images.images, "inverted", images.labels, images.class_names)


def coloured(images: ImageSet) -> ImageSet:
    """White becomes an ink of random hue (its brightest channel full), on black."""
    inks = torch.rand(len(images), 3, 1, 1, generator=generator(SEED, "inks"))
    inks = inks / inks.amax(1, keepdim=True)
    painted = (images.images * inks).round().to(torch.uint8)
    return ImageSet(painted, "coloured", images.labels, images.class_names)


LOOKS = {"inverted": inverted, "coloured": coloured}


def as_plain(images: Tensor, look: str) -> Tensor:
    """What the recogniser of plain digits is shown of images that look so: white on black, grey."""
    return 255 - images if look == "inverted" else images.amax(1, keepdim=True)


def facades() -> Task:
    return split_sides(load_sides(harness.spec(FACADES)), None, SEED, 300, "facades")


def digits(look: str) -> Task:
    """Half of the digits as they are, the other half in another look: no digit is on both sides."""
    images = load(DIGITS.replace("{data}", str(harness.data_folder())))
    # The archive is sorted by class: halves as they come would be different digits.
    one, other = torch.randperm(len(images), generator=generator(SEED, "halves")).chunk(2)
    sides = Domains(images.select(one), LOOKS[look](images.select(other)), look)
    return Task("translate", look, sides, None, SEED)


def learned(asked: tuple[str, float]) -> Learned:
    """Train one translator on one core, by the default strategy."""
    name, share = asked
    torch.set_num_threads(1)
    task, kind = (facades(), "pix2pix") if name == "facades" else (digits(name), "cycle")
    strategy = entries("translate", kind)[0].strategy
    strategy = strategy.replace(steps=10**6, seconds=60 * MINUTES[name] * share, evaluate_every=0)
    learner = create(kind, task.support.shape, input_channels=task.support.inputs.shape[0])
    run = fit(learner, task, strategy, seed=SEED)
    if run.state != "finished":
        raise RuntimeError(f"training on {name} ended {run.state}: {run.notes}")
    description = (kind, task.support.shape, dict(learner.options))
    return Learned(description, run.params, run.cost.steps, run.cost.seconds)


def recogniser(steps: int) -> tuple[Learner, Params]:
    """A classifier of plain digits, trained on all that there are to learn from."""
    images = load(DIGITS.replace("{data}", str(harness.data_folder())))
    task = Task("classify", "digits", images, None, SEED)
    learner = create("classifier", images.shape, classes=len(images.class_names))
    strategy = Strategy(steps=steps, batch=64, schedule="cosine", augmentation=("affine",))
    return learner, fit(learner, task, strategy, seed=SEED).params


def main() -> None:
    started = time.perf_counter()
    share = 1 / 4 if harness.quick() else 1.0
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = dict(zip(MINUTES, pool.map(learned, [(name, share) for name in MINUTES], chunksize=1), strict=True))
    rows, pictures = facade_rows(found["facades"])
    judge = recogniser(RECOGNISER_STEPS // (3 if harness.quick() else 1))
    for look in LOOKS:
        more, picture = digit_rows(look, found[look], judge)
        rows += more
        pictures.append(picture)
    harness.finish(
        "translation",
        rows,
        columns={
            "data": "translation", "arm": "images", "error": "absolute error (L1)", "psnr": "PSNR, dB",
            "distance": "kernel distance", "accuracy": "recognised, %", "steps": "steps", "seconds": "seconds",
        },
        seed=SEED,
        started=started,
        threads=2,
        pictures=pictures,
        story=STORY,
    )  # fmt: skip


def facade_rows(made: Learned) -> tuple[list[dict[str, Any]], list[harness.Picture]]:
    """Translations of the 20 held-out label maps, beside what needs no learning."""
    task = facades()
    inputs, truth, known = task.query.inputs, task.query.targets, task.support.targets
    translated = translated_bytes(made.learner(), made.params, inputs.floats())
    mean = known.images.float().mean(0, keepdim=True).round().to(torch.uint8)
    arms = {
        "pix2pix": translated,
        "the input itself": inputs.images,
        "mean photograph": mean.expand(len(truth), -1, -1, -1),
    }
    rows: list[dict[str, Any]] = []
    for arm, images in arms.items():
        one_by_one = fidelity.scores(images, truth.images, SEED)
        distance = evaluate(images, truth, known, seed=SEED).values["kernel_distance"]
        rows.append(
            {
                "data": "facades, labels to photographs",
                "arm": arm,
                "error": interval(one_by_one["absolute_error"], len(truth)),
                "psnr": interval(one_by_one["psnr"], len(truth)),
                "distance": interval(distance, len(truth)),
                "steps": made.steps if arm == "pix2pix" else None,
                "seconds": made.seconds if arm == "pix2pix" else None,
            }
        )
    floor = {"data": rows[0]["data"], "arm": "real photographs, half against half", "distance": distance.floor}
    few = [inputs.images[:8], translated[:8], truth.images[:8]]
    return [*rows, floor], [harness.Picture("facades", grid(in_rows(few), columns=8), FACADES_CAPTION)]


def interval(score: Any, count: int) -> harness.Interval:
    return harness.Interval(score.value, score.low, score.high, count)


def digit_rows(look: str, made: Learned, judge: tuple[Learner, Params]) -> tuple[list[dict[str, Any]], harness.Picture]:
    """How many unseen digits are still recognised as what they were, after translation each way."""
    unseen = load(UNSEEN.replace("{data}", str(harness.data_folder())))
    unseen = unseen.select(torch.randperm(len(unseen), generator=generator(SEED, "unseen")))
    other = LOOKS[look](unseen)
    there = translated_bytes(made.learner(), made.params, unseen.floats())
    back = translated_bytes(made.learner(), made.params, other.floats(), back=True)
    asked = {
        f"plain to {look}": (as_plain(there, look), there, other),
        f"{look} to plain": (back, back, unseen),
        f"{look} to plain, the input itself": (to_grey(other.images), None, unseen),
        "real plain digits": (unseen.images, None, unseen),
    }
    rows: list[dict[str, Any]] = []
    for arm, (shown, images, real) in asked.items():
        request = Request("logits", images=shown.float() / 255)
        right = judge[0].predict(judge[1], request, generator(SEED)).argmax(1) == unseen.labels
        row: dict[str, Any] = {
            "data": f"digits, {look}, no pairs",
            "arm": arm,
            "accuracy": harness.interval([100 * float(one) for one in right]),
        }
        if images is not None:
            distance = evaluate(images[:300], real.select(torch.arange(300, 600)), None, seed=SEED)
            row["distance"] = interval(distance.values["kernel_distance"], 300)
            row |= {"steps": made.steps, "seconds": made.seconds}
        rows.append(row)
    few = [unseen.images[:12], there[:12], other.images[:12], back[:12]]
    caption = f"Unseen digits and what they become in the look {look}; digits of that look and what they become plain"
    return rows, harness.Picture(look, grid(in_rows(few), columns=12, scale=2), caption)


def to_grey(images: Tensor) -> Tensor:
    return images.float().mean(1, keepdim=True).round().to(torch.uint8)


FACADES_CAPTION = "Held-out label maps, what pix2pix makes of them, and the photographs that they belong to"

STORY = (
    "Facades: 80 pairs to learn from, 20 to be judged on, 64×64 pixels, mirrored and shifted; the intervals are over "
    "the 20. L1 and PSNR reward what is blurred: the mean photograph, the same for every input, shows what they are "
    "worth without looking at the input. The kernel distance, in the features of an ImageNet classifier, asks whether "
    "the images look like photographs of facades at all; at 20 images it is coarse.\n\n"
    "Digits: 5,000 plain ones and 5,000 *other* ones in another look (black on white; or an ink of random hue), 28×28 "
    "pixels, never told which belongs to which. 2,000 unseen digits are translated and shown to a classifier trained "
    "on real plain digits (after inverting, or taking the brightest channel, where the translation leads to the other "
    "look). A digit that became another digit, however fine, counts as wrong. *The input itself* is what the "
    "classifier makes of images that were not translated at all."
)


if __name__ == "__main__":
    harness.run(main)
