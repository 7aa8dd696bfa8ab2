"""Learning a start from a family of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from limner.errors import LimnerError
from limner.verbs import budget as budgets


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
    budget     outer steps or time: ``1000steps``, ``10m``…
    options    the learner's; ``fields`` those of :class:`limner.meta.MetaPlan`
    out        also write the start to this ``.safetensors`` file

    The family's classes are split by ``seed`` into train, validation and test; what is recorded with the start rebuilds
    the split. Raises :class:`LimnerError` where something given cannot be used; then nothing was written.
    """
    import dataclasses

    from limner.learners import create, describe
    from limner.memory import Memory
    from limner.meta import MetaPlan, learn
    from limner.tasks import Family, load

    limits = budgets.parse(budget)
    wanted = dict(fields or {})
    if limits.steps is not None:
        wanted["steps"] = limits.steps
    if limits.seconds is not None:
        wanted["seconds"] = limits.seconds
    plan = MetaPlan.from_json({"algorithm": algorithm, **wanted})
    path = claim_file(Path(out), force) if out is not None else None
    images = load(family)
    goal = "classify" if learner == "classifier" else "generate"
    tasks = Family(images, shots, queries, seed=seed, goal=goal, min_images=shots + queries)
    network = create(learner, images.shape, **(options or {}))
    with Memory.open(memory) as remembered:
        start = learn(network, tasks, algorithm, plan, seed, listeners=())
        description = describe(network)
        sha256 = remembered.put_model(
            start.params,
            description,
            role="start",
            name=name,
            family=start.family,
            curve=start.curve,
            rates=start.rates,
        )
    if path is not None:
        start.save(path)
    counts = {split: len(classes) for split, classes in tasks.classes.items()}
    notes = [
        *tasks.notes,
        f"{counts['train']} classes to learn from, {counts['validation']} to validate on, {counts['test']} never seen",
        f"{start.cost.steps} outer steps in {start.cost.seconds:.0f} s",
    ]
    return Learned(sha256, name, path, shots, notes, plan.to_json(), dict(start.family), dataclasses.asdict(start.cost))


def claim_file(path: Path, force: bool) -> Path:
    """``path``, checked to be where a start can be written: nothing there, or with ``force`` a start of Limner's."""
    from limner.memory.artifacts import decode

    if path.suffix != ".safetensors":
        raise LimnerError(f"{path} does not end in .safetensors; a start is a safetensors file")
    if path.exists() and not force:
        raise LimnerError(f"{path} exists already; choose another --out, or add --force to replace it")
    if path.exists():
        decode(path.read_bytes(), str(path))
    return path
