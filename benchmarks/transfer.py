"""From MNIST to other images by few labels: every way beside scratch and the source alone; and which source to choose.

Sources are MNIST, Fashion-MNIST, one half of Omniglot's alphabets and built-in glyphs; targets Fashion-MNIST, ten
characters of the other half's alphabets, and ten folders of tiles, drawn anew for each repeat.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import harness
import torch
from PIL import Image

from limner.engine import fit
from limner.learners import create
from limner.memory import fingerprint
from limner.seeds import derive, generator
from limner.tasks import ImageSet, Task, load
from limner.types import Params
from limner.verbs.transfer_classify import USUAL, Source, carried_out, target_of
from limner.verbs.transfer_ways import CLASSIFY

SEED, WAYS, JUDGED_LEAST = 0, 10, 8
SIZE = "size=28,colour=grey"
OMNIGLOT = "npz:{data}/omniglot_background28.npz,images=x,labels=char,groups=alphabet"
SPECS = {
    "MNIST": "npz:{data}/mnist12k.npz,images=train_x,labels=train_y",
    "Fashion-MNIST": "npz:{data}/fashion12k.npz,images=train_x,labels=train_y",
    "Omniglot": OMNIGLOT,
    "tiles": "zip:{data}/crawl_tiles32.zip," + SIZE,
    "glyphs": "glyphs,size=28,per_class=20,characters=200",
}
MAIN, SOURCES, TARGETS = (
    "MNIST",
    ("MNIST", "Fashion-MNIST", "Omniglot", "glyphs"),
    ("Fashion-MNIST", "Omniglot", "tiles"),
)
CHOICE = "partial"
"""The way by which sources are compared."""


@dataclass(frozen=True)
class Scale:
    """Labels a class, how often targets are drawn, steps on the source and on a target, and the ways that are gone."""

    shots: tuple[int, ...]
    repeats: int
    source_steps: int
    steps: int
    ways: tuple[str, ...]


FULL = Scale((1, 5, 20, 100), 5, 2000, 200, tuple(CLASSIFY))
QUICK = Scale((5,), 2, 20, 8, ("scratch", "source-only", "partial", "logistic-regression", "joint", "adversarial"))


@cache
def images_of(name: str) -> ImageSet:
    return load(harness.spec(SPECS[name]))


def source_images(name: str) -> ImageSet:
    """What a source learns from: of Omniglot every second alphabet, of the others all."""
    images = images_of(name)
    if name != "Omniglot":
        return images
    assert images.class_groups is not None
    return images.restrict(torch.nonzero(images.class_groups % 2 == 0).flatten().tolist(), name="Omniglot, half")


def target_images(name: str, shots: int, repeat: int) -> ImageSet | None:
    """Ten classes with enough images, drawn for the repeat; ``None`` where there are not as many."""
    images = images_of(name)
    assert images.labels is not None
    counts = torch.bincount(images.labels, minlength=len(images.class_names))
    fit_for = counts >= shots + JUDGED_LEAST
    if name == "Omniglot":
        assert images.class_groups is not None
        fit_for &= images.class_groups % 2 == 1
    classes = torch.nonzero(fit_for).flatten()
    if len(classes) < WAYS:
        return None
    chosen = classes[torch.randperm(len(classes), generator=generator(SEED, name, repeat))[:WAYS]]
    return images.restrict(sorted(chosen.tolist()), name=name)


def learned(asked: tuple[str, Scale]) -> tuple[str, Params]:
    """A source's parameters, on one core."""
    harness.on_one_core()
    name, scale = asked
    images = source_images(name)
    learner = create("classifier", images.shape, classes=len(images.class_names))
    task = Task("classify", name, images, None)
    return name, fit(learner, task, USUAL.replace(steps=scale.source_steps), seed=SEED).params


def source_of(name: str, params: Params) -> Source:
    images = source_images(name)
    learner = create("classifier", images.shape, classes=len(images.class_names))
    return Source(name, learner, params, tuple(f"{name} {each}" for each in images.class_names), images)


def measured(asked: tuple[str, int, int, Scale, dict[str, Params]]) -> list[dict[str, Any]]:
    """Every way from MNIST, and the one from each other source, on one draw of a target, on one core."""
    harness.on_one_core()
    target, shots, repeat, scale, params = asked
    images = target_images(target, shots, repeat)
    assert images is not None
    draw = target_of(images, shots, derive(SEED, "draw", repeat))
    arms = [(way, MAIN) for way in scale.ways]
    arms += [(CHOICE, source) for source in SOURCES if source not in (MAIN, target)]
    near = fingerprint(Task("transfer", target, draw.support, None))
    distances = {source: near.distance(described(source)) for source in SOURCES if source != target}
    rows = []
    for way, source in arms:
        begun = time.perf_counter()
        seed = derive(SEED, "way", repeat)
        made = carried_out(CLASSIFY[way], source_of(source, params[source]), draw, {"steps": scale.steps}, {}, seed)
        rows.append(
            {
                "target": target, "shots": shots, "repeat": repeat, "way": way, "source": source,
                "accuracy": 100 * float(made.right.double().mean()), "judged": len(made.right),
                "distance": distances[source], "seconds": time.perf_counter() - begun,
            }
        )  # fmt: skip
    best = max(rows, key=lambda row: row["accuracy"])
    print(f"{target}, {shots} a class, draw {repeat}: best {best['way']} {best['accuracy']:.0f}%", flush=True)
    return rows


@cache
def described(source: str) -> Any:
    return fingerprint(Task("transfer", source, source_images(source), None))


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_ways(details: list[dict[str, Any]], scale: Scale) -> list[dict[str, Any]]:
    """A row for each target and way from MNIST, a column for each number of labels."""
    rows = []
    for target in TARGETS:
        for way in scale.ways:
            row: dict[str, Any] = {"target": target, "way": way}
            for shots in scale.shots:
                own = accuracies(details, target, shots, way, MAIN)
                row[f"shots_{shots}"] = harness.interval(own) if own else None
            rows.append(row)
    return rows


def accuracies(details: list[dict[str, Any]], target: str, shots: int, way: str, source: str) -> list[float]:
    wanted = {"target": target, "shots": shots, "way": way, "source": source}
    own = [row for row in details if all(row[name] == value for name, value in wanted.items())]
    return [row["accuracy"] for row in sorted(own, key=lambda row: row["repeat"])]


def chosen(details: list[dict[str, Any]], rule: str) -> list[float]:
    """What each draw of each target comes to where the source is chosen by a rule, by the way ``partial``."""
    own = [row for row in details if row["way"] == CHOICE]
    cases = sorted({(row["target"], row["shots"], row["repeat"]) for row in own})
    found = []
    for case in cases:
        offered = [row for row in own if (row["target"], row["shots"], row["repeat"]) == case]
        if rule == "nearest":
            found.append(min(offered, key=lambda row: row["distance"])["accuracy"])
        elif rule == "static":
            found.append(min(offered, key=lambda row: rank_elsewhere(own, row))["accuracy"])
        elif rule == "random":  # what a source drawn at random comes to on average
            found.append(sum(row["accuracy"] for row in offered) / len(offered))
        else:
            found.append(max(row["accuracy"] for row in offered))
    return found


def rank_elsewhere(own: list[dict[str, Any]], row: dict[str, Any]) -> float:
    """The mean rank of a row's source over the other targets: nothing of this one is known to a static ranking."""
    ranks = []
    for other in own:
        if other["target"] != row["target"] and other["source"] == row["source"]:
            same = [each for each in own if all(each[name] == other[name] for name in ("target", "shots", "repeat"))]
            better = sum(each["accuracy"] > other["accuracy"] for each in same)
            ranks.append(better / (len(same) - 1))
    return sum(ranks) / len(ranks) if ranks else 0.5


def story(details: list[dict[str, Any]], scale: Scale) -> str:
    """What was done, gains and losses against scratch by name, and what choosing the source is worth."""
    lines = [
        f"Accuracy in percent on held-out images of {WAYS} classes (chance is 10), from MNIST (10,000 images, "
        f"{scale.source_steps:,} steps), by labels a class; means over {scale.repeats} draws of classes and images "
        f"with 95% bootstrap intervals. Every way that takes steps takes {scale.steps} of 64 images. Where classes are "
        "too small there is no number. `logistic-regression` on frozen features is the textbook's feature "
        "transfer. MNIST's classes are none of the targets', so aligned features (`adversarial`, `correlation`, "
        "`kernel`) need not help. Omniglot as a source is the other half of its alphabets.",
        "",
    ]
    for target in TARGETS:
        for shots in scale.shots:
            scratch = accuracies(details, target, shots, "scratch", MAIN)
            verdicts: dict[str, list[str]] = {"gain": [], "loss": []}
            for way in scale.ways:
                if way == "scratch" or not scratch:
                    continue
                more = harness.difference(accuracies(details, target, shots, way, MAIN), scratch)
                if more.low is not None and more.high is not None and not more.low <= 0 <= more.high:
                    verdicts["gain" if more.low > 0 else "loss"].append(f"{way} {harness.told(more)}")
            if scratch:
                told = "; ".join(f"{name}: {', '.join(ways)}" for name, ways in verdicts.items() if ways)
                lines.append(
                    f"- {target}, {shots} a class, against scratch, in points: {told or 'no clear difference'}."
                )
    nearest = chosen(details, "nearest")
    best, rest = harness.told(harness.interval(nearest)), []
    for rule, name in (("static", "a static ranking over the other targets"), ("random", "a random source"),
                       ("best", "the best, known only afterwards")):  # fmt: skip
        other = chosen(details, rule)
        rest.append(f"{name} {harness.told(harness.interval(other))} "
                    f"(nearest less it: {harness.told(harness.difference(nearest, other))})")  # fmt: skip
    lines += ["", f"Which source, by the way `{CHOICE}`, of {', '.join(SOURCES)} (never the target itself), over "
                  f"all targets and labels: the adviser's nearest fingerprint {best}; {'; '.join(rest)}."]  # fmt: skip
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], scale: Scale) -> Image.Image:
    """Accuracy against labels for each target, a line for each of the main ways."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    for axis, target in zip(figure.subplots(1, len(TARGETS), sharey=True), TARGETS, strict=True):
        for place, way in enumerate(
            ("scratch", "source-only", "partial", "logistic-regression", "joint", "adversarial")
        ):
            row = next(each for each in rows if each["target"] == target and each["way"] == way)
            known = [(shots, row[f"shots_{shots}"]) for shots in scale.shots if row[f"shots_{shots}"] is not None]
            line = [found.mean for _, found in known]
            style = {"color": "0.35", "linestyle": "--"} if way == "scratch" else {"color": f"C{place}"}
            axis.plot([shots for shots, _ in known], line, marker="o", markersize=4, label=way, **style)
        axis.set_xscale("log")
        axis.set_xticks(scale.shots, [str(shots) for shots in scale.shots])
        axis.minorticks_off()
        axis.set_title(target, loc="left", fontsize=10)
        axis.set_xlabel("labels a class")
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy, %")
    figure.axes[1].legend(fontsize=8, loc="lower right")  # where Omniglot has no more drawings
    return harness.drawn(figure)


def main() -> None:
    started = time.perf_counter()
    scale = QUICK if harness.quick() else FULL
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        params = dict(pool.map(learned, [(name, scale) for name in SOURCES], chunksize=1))
        asked = [
            (target, shots, repeat, scale, params)
            for repeat in range(scale.repeats)
            for target in TARGETS
            for shots in scale.shots
            if target_images(target, shots, repeat) is not None
        ]
        details = [row for rows in pool.map(measured, asked, chunksize=1) for row in rows]
    rows = of_ways(details, scale)
    harness.finish(
        "transfer",
        rows,
        columns={"target": "target", "way": "way, from MNIST", **{f"shots_{n}": f"{n} a class" for n in scale.shots}},
        seed=SEED,
        started=started,
        pictures=[harness.Picture("labels", picture(rows, scale), "Accuracy on three targets by labels a class: from "
                                  "scratch (dashed) and by five ways from MNIST")],
        story=story(details, scale),
        details=details,
        threads=2,
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
