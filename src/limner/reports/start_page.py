"""The page and the card of a start: what it was learned from, what adaptation from it does, and on what examples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from limner.engine.pictures import translated_bytes
from limner.engine.run import as_bytes, sample_bytes
from limner.model_file import RATES, write_atomically
from limner.reports import start_words, words
from limner.reports.figures import Plot
from limner.reports.page import environment, gallery, versions
from limner.reports.start_figures import bar_plot, function_plot, rates_plot, trajectory_plot, validation_plot
from limner.seeds import generator
from limner.types import Params, Request

if TYPE_CHECKING:
    from limner.learners import Learner
    from limner.meta import MetaPlan, Start, Trajectory
    from limner.meta.inner import Episode
    from limner.meta.judge import Kept
    from limner.tasks import PointsTask, Task, TaskFamily
    from limner.verbs.meta_train import Learned

    Seen = Trajectory | Kept

EXAMPLES = 3
SAMPLES = 16


class Example(NamedTuple):
    """A validation task, its start and what adaptation made of it."""

    task: Task | PointsTask
    episode: Episode
    before: Params
    after: Params


def write(directory: str | Path, made: Start, seen: Trajectory | None, family: TaskFamily, learned: Learned) -> Path:
    """Write ``report.html`` and ``README.md`` into the start's directory; the path of the page.

    seen     what adaptation does on tasks of classes that were neither learned from nor chosen by
    learned  what the memory and the command line know of it
    """
    place, asked = Path(directory), learned.configuration
    told = _told(made.plan, made.learner, seen, learned) | {"cost": words.cost_in_words(made.cost)}
    page = (
        environment()
        .get_template("start.html")
        .render(
            **told,
            learning=[plot.svg() for plot in _learning(made)],
            adapting=[plot.svg() for plot in _adapting(made, seen)],
            examples=list(_shown(made, family, asked["goal"])),
            versions=versions(),
        )
    )
    write_atomically(place / "report.html", page.encode())
    card = environment().get_template("start.md").render(**told, name=learned.name or place.name)
    write_atomically(place / "README.md", card.encode())
    return place / "report.html"


def card(plan: MetaPlan, learner: Learner, seen: Kept | None, learned: Learned) -> str:
    """The card of a start by what the memory knows of it: what it cost and the files beside it are not known there."""
    told = _told(plan, learner, seen, learned) | {"cost": ""}
    return environment().get_template("start.md").render(**told, name=learned.name or learned.sha256[:12])


def _told(plan: MetaPlan, learner: Learner, seen: Seen | None, learned: Learned) -> dict[str, Any]:
    asked = learned.configuration
    return {
        "title": words.title(asked["family"]),
        "family": words.without_folders(asked["family"]),
        "learned": learned,
        "asked": asked,
        "algorithm": start_words.ALGORITHMS[plan.algorithm],
        "learner": words.learner_in_words(learner) if asked["goal"] != "regress" else "a multilayer perceptron",
        "purpose": start_words.GOALS[asked["goal"]],
        "tasks": start_words.tasks_in_words(asked["goal"], asked.get("ways"), asked["shots"], asked["queries"]),
        "adaptation": start_words.adaptation_in_words(plan),
        "outer": start_words.outer_in_words(plan),
        "verdict": verdict(plan, seen),
        "rows": _rows(plan, seen),
        "split": "" if seen is None else seen.split,
        "measured": 0 if seen is None else seen.tasks,
    }


def verdict(plan: MetaPlan, seen: Seen | None) -> str:
    """What adaptation comes to on unseen tasks, in one sentence; empty where losses rank nothing or none are known."""
    name = None if seen is None else start_words.headline(list(seen.values))
    if seen is None or name is None:
        return ""
    steps = seen.mean(name)
    taken = min(start_words.steps_learned(plan), len(steps) - 1)
    (before, _), (after, reach) = steps[0], steps[taken]
    value = words.label(name.partition(" ")[2]).lower()
    come = f"{_number(after, name)} (± {_number(reach, name)})"
    if plan.traits.outer == "closed form":
        by = start_words.CLOSED_FORMS[plan.algorithm][0]
        return f"On {seen.tasks} unseen tasks the {value} by {by} is {come}."
    if not taken:
        return f"On {seen.tasks} unseen tasks the {value} before any step is {come}."
    how = f"{taken} step{'' if taken == 1 else 's'}"
    return (
        f"On {seen.tasks} unseen tasks {how} of adaptation take{'s' if taken == 1 else ''} the {value} "
        f"from {_number(before, name)} to {come}."
    )


def examples(made: Start, family: TaskFamily, count: int = EXAMPLES) -> Iterator[Example]:
    """Some validation tasks (train tasks where none are held back), each adapted to as the start was learned for."""
    from limner.meta import adapt
    from limner.meta.episodes import device_of, episode_of
    from limner.tasks import SinusoidFamily

    plan = replace(made.plan, turns=False, augmentation=())
    if plan.traits.outer == "displacement":  # else its batches would come from the query too
        plan = replace(plan, algorithm="fomaml")
    device = device_of(plan)
    start = made.params | {RATES + name: value for name, value in (made.rates or {}).items()}
    start = {name: value.to(device) for name, value in start.items()}
    split = "validation" if family.size("validation") else "train"
    if isinstance(family, SinusoidFamily):  # more points, so that the whole wave is seen
        family = SinusoidFamily(family.shots, 200, family.seed)
    random = generator(0, "examples")
    for index in range(min(count, family.size(split))):
        task = family.task(split, index, seed=index)
        episode = episode_of(made.learner, plan, task, random)
        yield Example(task, episode, start, adapt(made.learner, plan, start, episode))


def _shown(made: Start, family: TaskFamily, goal: str) -> Iterator[dict[str, Any]]:
    """The examples as the page shows them: galleries of images, or a plot of a function."""
    for number, example in enumerate(examples(made, family)):
        name = f"Task {number + 1}"
        if goal == "regress":
            yield {"name": name, "plot": _function(made, example, name).svg()}
        elif goal == "restore":
            query = {part: images[:SAMPLES] for part, images in example.episode.query.items()}
            parts = {"Damaged, held back": as_bytes(query["inputs"].clamp(0, 1)).cpu()}
            for what, params in (("Restored before adaptation", example.before), ("After", example.after)):
                parts[what] = translated_bytes(made.learner, params, query["inputs"]).cpu()
            parts["As they truly are"] = as_bytes(query["images"]).cpu()
            galleries = {what: gallery(images, what.lower(), SAMPLES) for what, images in parts.items()}
            yield {"name": f"{name}: {words.title(example.task.name)}", "galleries": galleries}
        elif goal == "generate":
            parts = {
                "Learned from": as_bytes(_first(example.episode, made.plan)).cpu(),
                "Made before adaptation": samples(made, example, example.before),
                "Made after": samples(made, example, example.after),
                "Real ones, held back": as_bytes(example.episode.query["images"][:SAMPLES]).cpu(),
            }
            galleries = {what: gallery(images, what.lower(), SAMPLES) for what, images in parts.items()}
            yield {"name": f"{name}: {words.title(example.task.name)}", "galleries": galleries}
        else:
            support = example.task.support
            galleries = {"Learned from": gallery(support.images, "images learned from", 60)}  # type: ignore[union-attr]
            yield {"name": name, "galleries": galleries | _judged(made, example)}


def samples(made: Start, example: Example, params: Params) -> Tensor:
    """New images from ``params``, finished on the example's support, uint8 ``(16, c, h, w)``."""
    batch = {"images": _first(example.episode, made.plan)}
    finished = made.learner.finish(params, batch, generator(0, "finish"))
    return sample_bytes(made.learner, finished, SAMPLES, 0).cpu()


def _first(episode: Episode, plan: MetaPlan) -> Tensor:
    """The support's images: those of the first inner step, or where there are none the query's."""
    return episode.inner["images"][0] if "images" in episode.inner else episode.query["images"]


def _judged(made: Start, example: Example) -> dict[str, Any]:
    """Query images that were put into the right class after adaptation, and into a wrong one."""
    images, labels = example.episode.query["images"], example.episode.query["labels"]
    if made.learner.kind == "prototypical" and not any(name.startswith("fitted.") for name in example.after):
        return {"To be sorted": gallery(as_bytes(images).cpu(), "images to be sorted", 30)}
    logits = made.learner.predict(example.after, Request("logits", images=images), generator(0, "page"))
    right = logits.argmax(1) == labels
    found = {"Told rightly": as_bytes(images[right]).cpu(), "Mistaken": as_bytes(images[~right]).cpu()}
    return {what: gallery(part, what.lower(), 30) for what, part in found.items() if len(part)}


def _function(made: Start, example: Example, name: str) -> Plot:
    inputs, targets = example.episode.query["inputs"], example.episode.query["targets"]
    order = inputs[:, 0].argsort()
    predictions = [
        made.learner.predict(params, Request("values", images=inputs[order]), generator(0, "page"))[:, 0].tolist()
        for params in (example.before, example.after)
    ]
    support = example.task.support
    points = (support.inputs[:, 0].tolist(), support.targets[:, 0].tolist())  # type: ignore[union-attr]
    true = (inputs[order, 0].tolist(), targets[order, 0].tolist())
    return function_plot(true, points, predictions[0], predictions[1], name)


def _learning(made: Start) -> list[Plot]:
    """Validation as it was learned, before and after adaptation."""
    values = {} if made.trajectory is None else made.trajectory.values
    plots = []
    for name in start_words.chosen(values):
        closed = made.plan.traits.outer == "closed form"
        keys = [f"{name} after"] if closed else [f"{name} before", f"{name} after"]
        if any(key in point.values for point in made.curve for key in keys):
            plots.append(validation_plot(made.curve, keys, start_words.value_label(name, values)))
    return plots


def _adapting(made: Start, seen: Trajectory | None) -> list[Plot]:
    """Step by step on unseen tasks, layer by layer, and the learned step sizes."""
    plots: list[Plot] = []
    if seen is not None and made.plan.traits.outer != "closed form":
        for name in start_words.chosen(seen.values):
            title = f"{start_words.value_label(name, seen.values)} on unseen tasks"
            plots.append(trajectory_plot(seen, [name], learned=made.plan.inner_steps, title=title))
    measured = made.trajectory or seen
    if measured is not None and any(measured.moved.values()):
        plots.append(bar_plot(measured.moved, "How far each layer moves", "change, as a share of its size"))
    if made.rates:
        plots.append(rates_plot(made.rates, made.plan.traits.rates))
    return plots


def _rows(plan: MetaPlan, seen: Seen | None) -> list[dict[str, str]]:
    """Before, after as many steps as it was learned for, and after all that were measured."""
    if seen is None:
        return []
    rows: list[dict[str, str]] = []
    learned = start_words.steps_learned(plan)
    for name in seen.values:
        steps = seen.mean(name)
        if any(steps == seen.mean(row["key"]) for row in rows):  # a loss that is its one term
            continue
        shown = [
            f"{_number(mean, name)} ± {_number(reach, name)}" if math.isfinite(mean) else "not finite"
            for mean, reach in steps
        ]
        row = {
            "key": name,
            "name": start_words.value_label(name, seen.values),
            "after": shown[min(learned, len(shown) - 1)],
        }
        row["steps"] = f"after {learned} step{'' if learned == 1 else 's'}" if len(shown) > 1 else "in closed form"
        row["before"] = shown[0] if len(shown) > 1 else ""
        row["longest"] = shown[-1] if len(shown) - 1 > learned else ""
        rows.append(row | {"most": f"after {len(shown) - 1} steps"})
    return rows


def _number(value: float, name: str) -> str:
    if not math.isfinite(value):
        return "not finite"
    return f"{100 * value:.1f}%" if name.endswith("accuracy") else words.short_number(value)
