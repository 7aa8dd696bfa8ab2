"""The main job on built-in data: ten images of a character never seen, three ways of learning, one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from limner.config import Strategy
from limner.seeds import derive
from limner.verbs import budget as budgets
from limner.verbs import directories
from limner.verbs.compare import Comparison, compared
from limner.verbs.line import Order, Prepared, carry_out, listeners, with_budget

if TYPE_CHECKING:
    from limner.memory import StoredModel
    from limner.tasks import Family, Task

START = "shipped:glyphs-vae"
"""The meta-learned start."""

POOLED = "shipped:glyphs-vae-pooled"
"""The same network pre-trained, for as long, on all the characters together that the start was meta-learned on."""

STRATEGY = Strategy(optimiser="adam", learning_rate=1e-3, betas=(0.0, 0.99), steps=50, batch=0, evaluate_every=10)
"""What all three arms do, to the letter; they differ only in where they begin."""

FAMILY = "glyphs,characters=300,per_class=20"
"""The family that beginnings are learned on where that is asked for."""

LEARNING_SECONDS = 60.0
"""How long each of the two beginnings is learned then."""


class Beginnings(NamedTuple):
    """The start, the pooled model, and the family both were learned on."""

    start: StoredModel
    pooled: StoredModel
    family: Family


def demo(
    *,
    out: str | Path | None = "limner-demo",
    budget: str | None = None,
    learn: bool = False,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Comparison:
    """Take 10 images of a character that no model has seen, adapt three ways with the same budget, and compare.

    The arms: from the meta-learned start; from scratch; from a model pre-trained on all characters together. ``out``
    gets one page with everything (``index.html``), a run directory for each arm, and a memory of its own.
    Another ``seed`` takes another character. ``learn``: learn the start and the pre-trained model now, a minute each,
    instead of taking those that come with Limner. Raises :class:`LimnerError` where ``out`` exists.
    """
    from limner.learners import rebuild
    from limner.memory import Memory

    strategy = with_budget(STRATEGY, budgets.parse(budget))
    directory = directories.claim(out, "demo", force)
    start, pooled, family = learned(seed, progress) if learn else shipped()
    task = unseen(family, seed)
    directories.begin(directory, {"verb": "demo", "seed": seed, "budget": budget, "learn": learn})
    arms: dict[str, StoredModel | None] = {
        "adapted from the meta-learned start": start,
        "trained from scratch": None,
        "fine-tuned from all characters together": pooled,
    }
    runs = {}
    with Memory.open(directory / "memory") as memory:
        for name, begun in arms.items():
            description = (begun or start).learner_description
            reference = "scratch" if begun is None else begun.metadata.get("reference")
            if begun is not None and reference is None:
                role = begun.metadata["role"]
                reference = memory.put_model(begun.params, description, role=role, name=name)
            order = Order(
                verb="demo",
                goal=task.goal,
                spec=family.spec,
                shots=len(task.support),
                seed=seed,
                learner=description,
                strategy=strategy.replace(start=reference),
            )
            place = directory / name.split()[0]
            prepared = Prepared(task, family.images)
            runs[name] = carry_out(order, prepared, rebuild(description), begun, place, memory, progress=progress)
    character = task.name.split("'")[1] if "'" in task.name else task.name
    story = (
        f"Limner was given {len(task.support)} images of {character}, a character that none of its models "
        f"had seen, nor any other of its script. All three arms took the same {strategy.steps} steps with the same "
        f"strategy; they differ only in where they began. Scores are on {len(task.query or ())} other images of the "
        "character, which nothing learned from."
    )
    return compared(directory / "index.html", runs, dict.fromkeys(runs, task), "Ten images of a new character", story)


def unseen(family: Family, seed: int) -> Task:
    """A character of the family's test split, which nothing was learned from: which one, ``seed`` says."""
    classes = family.classes["test"]
    return family.task("test", derive(seed, "character") % len(classes), seed)


def shipped() -> Beginnings:
    """The start and the pooled model that come with Limner, and the family that the start's file tells."""
    from limner.memory.shipped import load_shipped
    from limner.tasks import Family

    start, pooled = load_shipped(START), load_shipped(POOLED)
    return Beginnings(start, pooled, Family.from_json(start.metadata["family"]))


def learned(seed: int, progress: bool) -> Beginnings:
    """A start and a pooled model learned now, each for :data:`LEARNING_SECONDS`."""
    from limner.engine import fit
    from limner.learners import create, describe
    from limner.memory import StoredModel
    from limner.meta import MetaPlan
    from limner.meta import learn as meta_learn
    from limner.tasks import Family, Task, load

    images = load(FAMILY)
    family = Family(images, shots=10, queries=10, seed=seed)
    learner = create("vae", images.shape, latents=24, width=32, prior="class")
    plan = MetaPlan("fomaml", steps=10**6, seconds=LEARNING_SECONDS, tasks=1, inner_steps=2)
    start = meta_learn(learner, family, plan, seed=seed, listeners=listeners(progress, "meta-training"))
    plain = create("vae", images.shape, latents=24, width=32)
    pool = Task("generate", "all characters together", family.pool("train"), None)
    together = Strategy(steps=10**6, seconds=LEARNING_SECONDS, batch=32)
    pooled = fit(plain, pool, together, seed=seed, listeners=listeners(progress, "pre-training"))
    return Beginnings(
        StoredModel("", start.params, describe(learner), {"role": "start"}),
        StoredModel("", pooled.params, describe(plain), {"role": "model"}),
        family,
    )
