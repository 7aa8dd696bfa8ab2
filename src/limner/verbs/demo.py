"""The main job on built-in data: ten images of a character never seen, three ways of learning, one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.config import Strategy
from limner.seeds import derive
from limner.verbs import budget as budgets
from limner.verbs import directories
from limner.verbs.compare import Comparison, compared
from limner.verbs.data import save_picture
from limner.verbs.line import Order, Prepared, carry_out, prepare

if TYPE_CHECKING:
    from torch import Tensor

    from limner.memory import StoredModel
    from limner.tasks import Family, Task

START = "shipped:glyphs-gan"
"""The meta-learned start."""

POOLED = "shipped:glyphs-gan-pooled"
"""The same network pre-trained, for as long, on all the characters together that the start was meta-learned on."""

STRATEGY = Strategy(
    optimiser="adam", learning_rate=4e-3, betas=(0.0, 0.99), steps=50, batch=0, ema=0.9, evaluate_every=5
)
"""What all three arms do, to the letter; they differ only in where they begin.

Of the rates 0.0005, 0.001, 0.002 and 0.004 the last was best for each of the three on six validation characters.
"""


DRAWINGS = 110
"""How many times the character is drawn: ten to learn from, the others to judge on."""


class Beginnings(NamedTuple):
    """The start, the pooled model, and the family both were learned on."""

    start: StoredModel
    pooled: StoredModel
    family: Family


def demo(
    *,
    out: str | Path | None = "limner-demo",
    budget: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Comparison:
    """Take 10 images of a character that no model has seen, adapt three ways with the same budget, and compare.

    The arms: from the meta-learned start; from scratch; from a model pre-trained on all characters together. ``out``
    gets one page with everything (``index.html``), one picture (``demo.png``), a run directory for each arm, and a
    memory of its own. Another ``seed`` takes another character. Raises :class:`LimnerError` where ``out`` exists.
    """
    from limner.learners import rebuild
    from limner.memory import Memory

    strategy = STRATEGY.within(*budgets.parse(budget))
    directory = directories.claim(out, "demo", force)
    start, pooled, family = shipped()
    prepared = unseen(family, seed)
    task = prepared.task
    directories.begin(directory, {"verb": "demo", "seed": seed, "budget": budget})
    arms: dict[str, StoredModel | None] = {
        "adapted from the meta-learned start": start,
        "trained from scratch": None,
        "fine-tuned from all characters together": pooled,
    }
    runs = {}
    with Memory.open(directory / "memory") as memory:
        for name, begun in arms.items():
            description = (begun or start).learner_description
            reference = "scratch" if begun is None else begun.metadata["reference"]
            order = Order(
                verb="demo",
                goal=task.goal,
                spec=task.source,
                shots=len(task.support),
                seed=seed,
                learner=description,
                strategy=strategy.replace(start=reference),
            )
            place = directory / name.split()[0]
            runs[name] = carry_out(order, prepared, rebuild(description), begun, place, memory, progress=progress)
    save_picture(picture(task, {name: run.sample(20, seed=seed) for name, run in runs.items()}), directory / "demo.png")
    title = f"Ten images of a new character: {task.support.class_names[0].lower()}"
    return compared(directory / "index.html", runs, dict.fromkeys(runs, task), title, story(task, strategy))


def unseen(family: Family, seed: int) -> Prepared:
    """Fresh drawings of a character of the family's test split, which nothing was learned from; ``seed`` says which.

    They are a data spec of their own, so that any verb can take them up: ``limner adapt generate SPEC --shots 10``.
    """
    from limner.tasks.spec import parse

    classes = family.classes["test"]
    name = family.images.class_names[classes[derive(seed, "character") % len(classes)]]
    known = parse(family.spec)
    size = known.options.get("size", family.images.shape[2])
    return prepare(f"{known.kind},size={size},per_class={DRAWINGS},classes={name}", family.shots, seed)


def shipped() -> Beginnings:
    """The start and the pooled model that come with Limner, and the family that the start's file tells."""
    from limner.memory.shipped import load_shipped
    from limner.tasks import Family

    start, pooled = load_shipped(START), load_shipped(POOLED)
    return Beginnings(start, pooled, Family.from_json(start.metadata["family"]))


def story(task: Task, strategy: Strategy) -> str:
    """What was done, for the page."""
    return (
        f"Limner was given {len(task.support)} images of a character that none of its models had seen, nor any other "
        f"of its script. All three arms took the same {strategy.steps} steps with the same strategy; they differ only "
        f"in where they began. They are judged on {len(task.query or ())} other images of the character."
    )


def picture(task: Task, made: Mapping[str, Tensor], columns: int = 10) -> Any:
    """The images given, and two rows of what each arm made, one under the other, each with a line that says what."""
    from PIL import Image, ImageDraw, ImageFont

    from limner.reports.figures import grid

    rows = {f"the {len(task.support)} images given": task.support.images, **made}
    scale = max(1, 64 // task.support.shape[2])
    grids = [(f"{name}:", grid(images[: 2 * columns], columns=columns, scale=scale)) for name, images in rows.items()]
    line, margin, font = 26, 12, ImageFont.load_default(size=15)
    width = max(part.width for _, part in grids) + 2 * margin
    whole = Image.new("RGB", (width, sum(part.height + line + margin for _, part in grids) + margin), "white")
    draw, top = ImageDraw.Draw(whole), margin
    for name, part in grids:
        draw.text((margin, top), name, fill=(40, 40, 40), font=font)
        whole.paste(part.convert("RGB"), (margin, top + line))
        top += line + part.height + margin
    return whole
