"""Damage that no training has seen: a meta-learned start and a few steps, against a blind network and fine-tuning it.

All networks are alike and have learned from the same photographs under the same damage for equally long: a blind one,
and starts that were meta-learned from it as it was half-way. Each then gets 4 or 16 pairs of patches of other
photographs under damage outside those ranges, takes some steps on them, and is judged on Set12. Those with a head fit
it to the pairs in closed form, before any step and again after the last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import harness
import torch
from photographs import ARCHIVE, photographs
from torch import Tensor

from limner.config import ENDLESS, Strategy
from limner.degradations import parse
from limner.engine import fit
from limner.learners import create
from limner.learners.restorer import Restorer
from limner.meta import MetaPlan, learn
from limner.meta.inner import Episode, Inner
from limner.seeds import generator
from limner.tasks import Damaged, DegradationFamily, ImageSet, Task
from limner.types import FITTED, Batch, Params

SEED, PATCH, SIDE = 0, 40, 160
MINUTES = 90.0
"""Of one core for all training: half for the first half of every network, the rest for their second halves."""

NETWORK = {"network": "dncnn", "width": 32, "depth": 7, "head": 5, "maps": 8}
"""The head's window was chosen on the validation damage, that it has maps on what is judged on. Networks that fit no
head have them and use neither."""
SEEN = (
    "one_of(gaussian(5..40),poisson(30..200),salt_and_pepper(0.01..0.05),"
    "blur(gaussian,width=0.5..1.2)+gaussian(2..10))+quantise(8)"
)
VALIDATION = (
    "gaussian(60)+quantise(8)",
    "poisson(15)+quantise(8)",
    "speckle(0.2)+quantise(8)",
    "blur(defocus,radius=2)+gaussian(5)+quantise(8)",
    "gaussian(15)+salt_and_pepper(0.1)+quantise(8)",
)
"""Damage that step sizes are chosen on: outside the ranges too, but none that is judged on."""
UNSEEN = (
    "gaussian(75)+quantise(8)",
    "poisson(8)+quantise(8)",
    "speckle(0.35)+quantise(8)",
    "stripes(25)+gaussian(10)+quantise(8)",
    "salt_and_pepper(0.2)+quantise(8)",
    "blur(motion,length=9,angle=30)+gaussian(3)+quantise(8)",
    "blur(defocus,radius=3)+gaussian(3)+quantise(8)",
    "blur(gaussian,width=2.5)+poisson(60)+quantise(8)",
    "gaussian(25)+salt_and_pepper(0.1)+jpeg(30)",
    "jpeg(8)",
)
QUICK = harness.quick()
PAIRS, STEPS, LONG = ((4,) if QUICK else (4, 16)), (1, 5, 10), ((30,) if QUICK else (30, 100))
WITH_HEAD = (0, *STEPS)
RATES = (1e-4, 1e-3) if QUICK else (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
PLAN = MetaPlan(
    inner_steps=5, inner_rate=1e-3, inner_optimiser="adam", inner_betas=(0.9, 0.999), tasks=2, rate=3e-4,
    steps=ENDLESS, validate_every=100, validate_tasks=24, clip=1.0, device="cpu", execution="loop",
)  # fmt: skip
RIDGE, HEAD = "ridge regression, meta-learned", "fine-tuned with a head"
STARTS: dict[str, tuple[MetaPlan, bool]] = {
    "MAML": (replace(PLAN, algorithm="maml"), False),
    "ANIL": (replace(PLAN, algorithm="anil", inner_rate=3e-3), False),
    "Reptile": (replace(PLAN, algorithm="reptile", inner_steps=8, inner_batch=8, rate=1e-3), False),
    "MAML, damaged alone": (replace(PLAN, algorithm="maml"), True),
    RIDGE: (replace(PLAN, algorithm="ridge", tasks=4, rate=1e-3), False),
}
"""By name: how it is learned, and whether its inner steps see damaged patches alone."""


@dataclass(frozen=True)
class Way:
    """A start, how it is adapted, and after how many steps that is looked at."""

    name: str
    start: Params
    plan: MetaPlan = PLAN
    alone: bool = False
    steps: tuple[int, ...] = STEPS
    head: bool = False


def damages() -> tuple[str, ...]:
    """The damage that is judged on."""
    return UNSEEN[:3] if QUICK else UNSEEN


def stacked(folder: str, side: int) -> Tensor:
    """The middles of the photographs of ``folder``, uint8 ``(n, 1, side, side)``."""
    found = []
    for image in photographs(folder).values():
        top, left = ((length - side) // 2 for length in image.shape[2:])
        found.append(image[0, :, top : top + side, left : left + side])
    return torch.stack(found)


def trained(images: ImageSet, minutes: float, start: Params | None) -> Params:
    """A blind network after so many minutes of the damage seen, from ``start`` or afresh."""
    learner = create("restorer", (1, 60, 60), **NETWORK)
    cut = torch.cat([images.images[..., top : top + 60, left : left + 60] for top in (0, 60, 120) for left in (0, 60)])
    task = Task("restore", "Train400", Damaged(ImageSet(cut, "Train400"), parse(SEEN)), None)
    rate = 1e-3 if start is None else 5e-4
    strategy = Strategy(
        learning_rate=rate, batch=16, steps=ENDLESS, seconds=60 * minutes, schedule="cosine", clip=1.0, ema=0.999
    )
    found = fit(learner, task, strategy, seed=SEED, start=start).params
    return {name: value for name, value in found.items() if not name.startswith(FITTED)}


def pairs_of(images: Tensor, damage: str, count: int, label: str) -> Batch:
    """``count`` pairs of patches of ``images (n, 1, h, w)``, damaged alike, drawn by ``label``."""
    random = generator(SEED, label, damage)
    family = DegradationFamily(ImageSet(images, label), damage, PATCH, count, 1, seed=SEED, fractions=(1.0, 0.0, 0.0))
    support = family.sample("train", random).support
    return {"inputs": support.inputs.floats(), "images": support.targets.floats()}  # type: ignore[attr-defined]


def followed(
    learner: Restorer, way: Way, support: Batch, rate: float, steps: Sequence[int]
) -> tuple[dict[int, Params], float]:
    """The parameters after each number of ``steps`` at ``rate``, and the seconds of a step, closed forms with them."""
    batch = {"inputs": support["inputs"]} if way.alone else support
    random, many = generator(SEED, "steps"), max(steps)
    draws = [learner.draw(batch, random) for _ in range(max(many, 1))]
    episode = Episode(
        {name: value.expand(len(draws), *value.shape) for name, value in batch.items()},
        {name: torch.stack([one[name] for one in draws]) for name in draws[0]},
        {},
        {},
    )
    plan = replace(way.plan, inner_steps=many, inner_rate=rate)

    def fitted(params: Params) -> Params:
        with torch.no_grad():
            return learner.finish(params, support, random) if way.head else params

    begun = time.perf_counter()
    trail = [fitted(way.start)]
    trail += Inner(learner, plan, trail[0], episode).trail()
    trail[-1] = fitted(trail[-1])
    seconds = (time.perf_counter() - begun) / max(many, 1)
    return {step: fitted(trail[step]) for step in steps}, seconds


def quality(learner: Restorer, params: Params, judged: Batch) -> float:
    """The mean PSNR over images of what is made of the damaged ones, clipped."""
    with torch.no_grad():
        made = torch.cat([learner.restored(params, one) for one in torch.split(judged["inputs"], 4)]).clamp(0, 1)
    return float(
        -10 * (made - judged["images"]).square().mean((1, 2, 3)).clamp(min=1e-10).log10().mean().nan_to_num(-100.0)
    )


def judged_by(images: Tensor, damage: str) -> Batch:
    """Images damaged, always alike, and clean."""
    clean = images.float() / 255
    return {"inputs": parse(damage)(clean, generator(SEED, "judged", damage)), "images": clean}


def best_rates(learner: Restorer, way: Way, parts: Mapping[str, Tensor], count: int) -> dict[int, float]:
    """For each number of steps the rate with the best mean PSNR over the validation damage."""
    reached = {(steps, rate): 0.0 for steps in way.steps for rate in RATES}
    for damage in VALIDATION[:2] if QUICK else VALIDATION:
        support = pairs_of(parts["validation"], damage, count, "validation")
        judged = judged_by(parts["judge rates"], damage)
        for rate in RATES:
            for steps, params in followed(learner, way, support, rate, way.steps)[0].items():
                reached[steps, rate] += quality(learner, params, judged)
    return {steps: max(RATES, key=lambda rate: reached[steps, rate]) for steps in way.steps}


def measured(learner: Restorer, ways: Sequence[Way], parts: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """One row for each way, number of pairs, number of steps and unseen damage."""
    found = []
    for count in PAIRS:
        for way in ways:
            chosen = best_rates(learner, way, parts, count)
            for damage in damages():
                judged = judged_by(parts["test"], damage)
                support = pairs_of(parts["support"], damage, count, "support")
                for rate in set(chosen.values()):
                    steps = [number for number in way.steps if chosen[number] == rate]
                    kept, seconds = followed(learner, way, support, rate, steps)
                    found += [
                        {
                            "method": way.name, "pairs": count, "steps": number, "damage": damage, "rate": rate,
                            "psnr": quality(learner, params, judged), "seconds a step": seconds,
                        }
                        for number, params in kept.items()
                    ]  # fmt: skip
            print(
                f"{way.name}, {count} pairs: {sum(values(found, way.name, count, 10)) / len(damages()):.2f} dB",
                flush=True,
            )
    return found


def values(found: Sequence[Mapping[str, Any]], method: str, count: int, steps: int) -> list[float]:
    """The PSNR for each unseen damage."""
    return [row["psnr"] for row in found if (row["method"], row["pairs"], row["steps"]) == (method, count, steps)]


def row_of(found: Sequence[Mapping[str, Any]], blind: Sequence[float], method: str, count: int) -> dict[str, Any]:
    """A line of the table: PSNR by steps, and what a step and a second gain over the blind network unadapted."""
    line: dict[str, Any] = {"method": method, "pairs": count}
    for steps in (*WITH_HEAD, *LONG):
        reached = values(found, method, count, steps)
        line[f"after {steps}"] = sum(reached) / len(reached) if reached else None
    ten = values(found, method, count, 10)
    line["against"] = harness.difference(ten, values(found, "fine-tuned", count, 10), SEED)
    gain = harness.difference(ten, blind, SEED).mean
    own = [row for row in found if row["method"] == method and row["pairs"] == count and row["steps"]]
    seconds = [row["seconds a step"] for row in own]
    line["gain a step"], line["gain a second"] = gain / 10, gain / (10 * sum(seconds) / len(seconds))
    return line


def caught_up(found: Sequence[Mapping[str, Any]], method: str, count: int) -> str:
    """How many steps fine-tuning needs for what ``method`` reaches after 10, in words."""
    wanted = sum(values(found, method, count, 10))
    enough = [steps for steps in (*STEPS, *LONG) if sum(values(found, "fine-tuned", count, steps)) >= wanted]
    needed = f"{enough[0]} steps of fine-tuning" if enough else f"more than {LONG[-1]} steps of fine-tuning"
    return f"what {method} reaches after 10 steps on {count} pairs takes {needed}"


def main() -> None:
    harness.on_one_core()
    started = time.perf_counter()
    minutes = harness.minutes(0.3 if QUICK else MINUTES)
    harness.spec(ARCHIVE)
    pictures = stacked("Train400", 180)
    parts = {"validation": pictures[320:350], "judge rates": pictures[350:362], "support": pictures[362:]}
    parts["judge rates"] = parts["judge rates"][..., 10:-10, 10:-10]
    parts["test"] = stacked("Set12", SIDE)[: 2 if QUICK else None]
    images = ImageSet(pictures[:320], "Train400")
    learner = create("restorer", (1, PATCH, PATCH), **NETWORK)
    assert isinstance(learner, Restorer)
    share = minutes / (2 + len(STARTS))
    half = trained(images, share, None)
    blind = trained(images, share, half)
    ways = [
        Way("fine-tuned", blind, steps=(*STEPS, *LONG)),
        Way("from scratch", learner.init(SEED + 1), steps=(*STEPS, *LONG)),
        Way("fine-tuned, damaged alone", blind, alone=True),
        Way(HEAD, blind, steps=WITH_HEAD, head=True),
    ]
    for name, (plan, alone) in STARTS.items():
        family = DegradationFamily(images, SEEN, PATCH, 8, 8, SEED, (0.9, 0.1, 0.0), alone=alone)
        made = learn(learner, family, replace(plan, seconds=60 * share), seed=SEED, start=half)
        print(f"{name}: {made.cost.steps} outer steps in {made.cost.seconds:.0f} s", flush=True)
        head = plan.algorithm == "ridge"
        ways.append(Way(name, made.params, PLAN if head else plan, alone, WITH_HEAD if head else STEPS, head))
    found = measured(learner, ways, parts)
    unadapted = [quality(learner, blind, judged_by(parts["test"], damage)) for damage in damages()]
    mean = sum(unadapted) / len(unadapted)
    rows: list[dict[str, Any]] = [{"method": "blind, unadapted", "after 0": mean}]
    rows += [row_of(found, unadapted, way.name, count) for count in PAIRS for way in ways]
    columns = {"method": "method", "pairs": "pairs"}
    columns |= {f"after {steps}": f"PSNR after {steps}" for steps in (*WITH_HEAD, *LONG)}
    columns |= {
        "against": "ahead of fine-tuning after 10, dB",
        "gain a step": "dB a step",
        "gain a second": "dB a second",
    }
    told = [caught_up(found, name, count) for count in PAIRS for name in (RIDGE, HEAD, "MAML", "Reptile")]
    harness.finish(
        "restore-unseen",
        rows,
        columns=columns,
        seed=SEED,
        started=started,
        details=found,
        threads=1,
        story=(
            f"Seen in training: `{SEEN}`. Judged on: {', '.join(f'`{one}`' for one in damages())}, on the middle "
            f"{SIDE}×{SIDE} pixels of Set12's images; figures are means over these kinds of damage, and intervals are "
            f"over them. Every network had {2 * share:.3g} minutes of one core. All learn by Adam, for each number of "
            "pairs and steps at the rate that is best on other damage "
            f"({', '.join(f'`{one}`' for one in VALIDATION)}) and other photographs; those called alone see no clean "
            "patch. A head is fitted in closed form before the first step and again after the last; steps move the "
            f"rest. Gains are over the blind network unadapted, after 10 steps. In words: {'; '.join(told)}."
        ),
    )


if __name__ == "__main__":
    harness.run(main)
