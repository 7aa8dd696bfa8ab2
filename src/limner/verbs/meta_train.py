"""Learning a start from a family of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import LimnerError
from limner.verbs import budget as budgets
from limner.verbs.fields import typed

if TYPE_CHECKING:
    from limner.meta import Start


class Learned(NamedTuple):
    """A start in the memory: its sha256 and name, its file if one was asked for, what it was learned on and how."""

    sha256: str
    name: str
    path: Path | None
    shots: int
    notes: list[str]
    plan: dict[str, Any]
    family: dict[str, Any]
    cost: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return self._asdict() | {"path": None if self.path is None else str(self.path)}


def meta_train(
    algorithm: str,
    learner: str,
    family: str,
    *,
    shots: int = 10,
    queries: int = 10,
    start: str = "scratch",
    budget: str | None = None,
    name: str = "",
    options: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Learned:
    """Meta-learn a start for ``learner`` by ``algorithm`` on the classes of the data spec ``family``, and remember it.

    algorithm  ``reptile``, ``maml`` or ``fomaml``
    start      a model or start to go on from, ``scratch`` for fresh parameters
    budget     outer steps or time: ``1000steps``, ``10m``…
    options    the learner's; ``fields`` those of :class:`limner.meta.MetaPlan`
    out        also write the start to this ``.safetensors`` file

    The family's classes are split by ``seed`` into train, validation and test; what is recorded with the start rebuilds
    the split. Raises :class:`LimnerError` where something given cannot be used; then nothing was written.
    """
    import dataclasses

    from limner.learners import create, describe, rebuild
    from limner.memory import Memory
    from limner.meta import MetaPlan, learn
    from limner.tasks import Family, load
    from limner.verbs.line import find_start, listeners

    limits = budgets.parse(budget)
    wanted = dict(fields or {})
    if limits.steps is not None:
        wanted["steps"] = limits.steps
    if limits.seconds is not None:
        wanted["seconds"] = limits.seconds
    plan = MetaPlan.from_json({"algorithm": algorithm, **typed(wanted, MetaPlan().to_json(), "plan")})
    path = claim_file(Path(out), force) if out is not None else None
    images = load(family)
    goal = "classify" if learner == "classifier" else "generate"
    tasks = Family(images, shots, queries, seed=seed, goal=goal, min_images=shots + queries)
    if goal == "classify":
        options = {"classes": len(images.class_names)} | (options or {})
    with Memory.open(memory) as remembered:
        begun = find_start(start, remembered, images.shape)
        network = (
            create(learner, images.shape, **(options or {})) if begun is None else rebuild(begun.learner_description)
        )
        if network.kind != learner:
            raise LimnerError(
                f"the start {start} is a {network.kind}, not a {learner}; give another, or name that learner"
            )
        made = learn(
            network,
            tasks,
            plan,
            seed=seed,
            start=None if begun is None else begun.params,
            listeners=listeners(progress, "meta-training"),
        )
        sha256 = remembered.put_model(
            made.params,
            describe(network),
            role="start",
            name=name,
            parent=None if begun is None or start.startswith("shipped:") else begun.sha256,
            family=made.family,
            curve=made.curve,
            rates=made.rates,
            plan=plan.to_json(),
        )
    if path is not None:
        write_start(path, made)
    counts = {split: len(classes) for split, classes in tasks.classes.items()}
    notes = [
        *tasks.notes,
        *made.notes,
        f"{counts['train']} classes to learn from, {counts['validation']} to validate on, {counts['test']} never seen",
        f"{made.cost.steps} outer steps in {made.cost.seconds:.0f} s",
    ]
    return Learned(sha256, name, path, shots, notes, plan.to_json(), dict(made.family), dataclasses.asdict(made.cost))


def write_start(path: Path, start: Start) -> None:
    """Write the start as one safetensors file that tells its learner, plan and family.

    Put into ``limner/data``, such a file is ``shipped:NAME``.
    """
    from limner.learners import describe
    from limner.model_file import encode, write_atomically

    about = {"family": start.family, "plan": start.plan.to_json()}
    write_atomically(path, encode(start.params, describe(start.learner), "start", start.rates, about))


def claim_file(path: Path, force: bool) -> Path:
    """``path``, checked to be where a start can be written: nothing there, or with ``force`` a start of Limner's."""
    from limner.model_file import decode

    if path.suffix != ".safetensors":
        raise LimnerError(f"{path} does not end in .safetensors; a start is a safetensors file")
    if path.exists() and not force:
        raise LimnerError(f"{path} exists already; choose another --out, or add --force to replace it")
    if path.exists():
        decode(path.read_bytes(), str(path))
    return path
