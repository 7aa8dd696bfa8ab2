"""The configuration of a meta-training: what was asked on the command line and in a file, and what follows from it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.spaces import ESTIMATOR
from limner.verbs import budget as budgets
from limner.verbs.fields import typed

if TYPE_CHECKING:
    from limner.meta import MetaPlan

NAME = "config.json"
"""The resolved configuration in a start's directory."""

LIKE: dict[str, Any] = {
    "algorithm": "", "learner": "", "options": {}, "family": "", "goal": "", "ways": 5, "shots": 1, "queries": 1,
    "turns": False, "degradation": "", "alone": False, "start": "", "budget": "", "name": "", "seed": 0, "plan": {},
}  # fmt: skip
"""Every field of a configuration file, with a value of its type."""

OF_CLASSES = ("classify", "cluster")
"""Goals whose tasks are several classes drawn together."""

EXAMPLE = "limner meta-train maml classifier --family glyphs --ways 5 --shots 1"


@dataclass(frozen=True)
class Configuration:
    """All that makes a meta-training what it is. Given back as ``--config`` it is the same meta-training again.

    algorithm, learner, options  what learns, and how
    family, goal                 the data spec that tasks are drawn from, and what a task is about
    ways, turns                  classes in a task, and whether turned classes count as classes (``None`` and false
                                 where a task is one class, or a function)
    degradation, alone           what tasks to restore draw theirs from (empty for others), and whether they are adapted
                                 to by damaged images alone
    shots, queries               images (of each class; or points) to learn from, and to be judged on
    start, name, seed            what to go on from, what to call the result, the seed of everything random
    plan                         how the start is learned
    """

    algorithm: str
    learner: str
    options: dict[str, Any]
    family: str
    goal: str
    ways: int | None
    turns: bool
    degradation: str
    alone: bool
    shots: int
    queries: int
    start: str
    name: str
    seed: int
    plan: MetaPlan

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types; what :func:`resolve` takes as ``file``."""
        record = {name: value for name, value in vars(self).items() if name != "plan" and value is not None}
        for name in ("degradation", "alone"):
            if not record[name]:
                record.pop(name)
        return {**record, "plan": {name: value for name, value in self.plan.to_json().items() if name != "algorithm"}}

    def replaced(self, **changes: Any) -> Configuration:
        """A copy with the changes."""
        return replace(self, **changes)


def read(path: str | Path) -> dict[str, Any]:
    """The fields in a configuration file: TOML where it is called so, else JSON; of a start's directory, its own.

    Raises :class:`LimnerError` where it cannot be read, or has a field that is unknown or of another type.
    """
    place = Path(path) / NAME if Path(path).is_dir() else Path(path)
    try:
        text = place.read_text(encoding="utf-8")
        found = tomllib.loads(text) if place.suffix == ".toml" else json.loads(text)
    except OSError as problem:
        raise LimnerError(f"the configuration {place} cannot be read ({str(problem.strerror).lower()})") from problem
    except ValueError as problem:
        kind = "TOML" if place.suffix == ".toml" else "JSON"
        raise LimnerError(f"the configuration {place} is not {kind} ({problem}); see --dry-run for one") from problem
    if not isinstance(found, dict):
        raise LimnerError(f"the configuration {place} has no fields; see --dry-run for one")
    return checked(found, f"configuration {place}")


def checked(found: dict[str, Any], what: str) -> dict[str, Any]:
    """The fields, known and of the right types. Raises :class:`LimnerError`, which speaks of ``what``, otherwise."""
    for name in found:
        if name not in LIKE:
            raise LimnerError(f"the {what} has an unknown field {name!r}; known are: {', '.join(LIKE)}")
    return typed(found, LIKE, what)


def resolve(
    given: dict[str, Any], options: dict[str, Any], fields: dict[str, Any], file: dict[str, Any]
) -> Configuration:
    """The configuration: what was ``given`` goes before the ``file``, that before the recipes, they before defaults.

    given    fields of :data:`LIKE` by name (``None``: not said); ``options`` of the learner and ``fields`` of the plan
    file     what :func:`read` gave

    Raises :class:`LimnerError` where something is missing, unknown, or said twice.
    """
    from limner.learners import CATALOGUE
    from limner.meta import ALGORITHMS
    from limner.meta.recipes import IMAGES, usual_options

    asked = {**file, **{name: value for name, value in given.items() if value is not None}}
    for name in ("algorithm", "learner"):
        if not asked.get(name):
            raise LimnerError(f"{name.upper()} is missing; right would be, for example: {EXAMPLE}")
    algorithm, learner = asked["algorithm"], asked["learner"]
    if algorithm not in ALGORITHMS:
        raise LimnerError(f"there is no algorithm {algorithm!r}; there are: {', '.join(ALGORITHMS)}; and experience")
    if asked.get("name", "").startswith("shipped:") or asked.get("name") in ("scratch", "auto"):
        raise LimnerError(f"the name {asked['name']} would be taken for what comes with Limner; give another --name")
    if learner.startswith(ESTIMATOR):
        raise LimnerError(
            f"{learner} has no parameters to begin from, so no start is learned for it; to learn which strategies suit "
            f"it give: limner meta-train experience {learner}"
        )
    if learner not in CATALOGUE:
        raise LimnerError(f"there is no learner {learner!r}; there are: {', '.join(CATALOGUE)}")
    goal = _goal(learner, asked.get("goal"))
    if goal == "regress":
        asked.setdefault("family", "sinusoid")
    if not asked.get("family"):
        raise LimnerError(f"the family is missing; right would be, for example: {EXAMPLE}")
    for name in ("ways", "turns"):
        if goal not in OF_CLASSES and asked.get(name):
            raise LimnerError(
                f"{name} is for tasks of several classes (to classify or cluster); a task to {goal} has none to choose"
            )
    if goal != "restore" and asked.get("alone"):
        raise LimnerError(f"damaged images alone are for tasks to restore; leave --alone out to {goal}")
    if goal != "restore" and asked.get("degradation"):
        raise LimnerError(f"a task to {goal} takes images as they are, so leave the degradation out")
    start = asked.get("start", "scratch")
    usual = usual_options(algorithm, learner) if start == "scratch" else {}  # a start says itself what its learner is
    chosen = {**usual, **file.get("options", {}), **options}
    ways = _ways(asked.get("ways"), chosen) if goal in OF_CLASSES else None
    shots, queries = IMAGES[goal]
    return Configuration(
        algorithm=algorithm,
        learner=learner,
        options=chosen | ({} if ways is None else {"classes": ways}),
        family=asked["family"],
        goal=goal,
        ways=ways,
        turns=bool(asked.get("turns", False)),
        degradation=asked.get("degradation", ""),
        alone=bool(asked.get("alone", False)),
        shots=asked.get("shots", shots),
        queries=asked.get("queries", queries),
        start=start,
        name=asked.get("name", ""),
        seed=asked.get("seed", 0),
        plan=_plan(algorithm, learner, given.get("budget"), fields, file),
    )


def _goal(learner: str, asked: str | None) -> str:
    """What the learner's tasks are about. Raises :class:`LimnerError` for a goal that it does not serve."""
    from limner.learners import CATALOGUE

    answers = CATALOGUE[learner].answers
    goals = ["generate"] if "sample" in answers else []
    goals += ["classify"] if "logits" in answers else []
    goals += ["cluster"] if learner == "prototypical" else []
    goals += ["regress"] if "values" in answers else []
    goals += ["restore"] if "restore" in answers else []
    if not goals:
        served = [
            name for name, kind in CATALOGUE.items() if {"sample", "logits", "values", "restore"} & set(kind.answers)
        ]
        raise LimnerError(
            f"there are no families of tasks for the learner {learner} to be meta-trained on; there are for: "
            f"{', '.join(served)}"
        )
    if not asked:
        return goals[0]
    if asked not in goals:
        raise LimnerError(f"the learner {learner} does not serve the goal {asked!r}; it serves: {', '.join(goals)}")
    return asked


def _ways(asked: int | None, options: dict[str, Any]) -> int:
    """Classes in a task, which are those of the learner."""
    ways = asked if asked is not None else int(options.get("classes", LIKE["ways"]))
    if asked is not None and options.get("classes", asked) != asked:
        raise LimnerError(f"ways {asked} and the option classes={options['classes']} differ; give only --ways")
    return ways


def _plan(algorithm: str, learner: str, budget: str | None, fields: dict[str, Any], file: dict[str, Any]) -> MetaPlan:
    """Recipe, file, fields and budget in one plan; of a time alone, all is used, however many steps that takes."""
    from limner.meta import MetaPlan
    from limner.meta.recipes import recipe

    in_file = dict(file.get("plan", {}))
    for where, found in (("the configuration's plan", in_file), ("--set", fields)):
        if "algorithm" in found:
            raise LimnerError(f"the algorithm stands beside the plan, not in it; take it out of {where}")
    if budget is not None:
        _refuse_twice(budget, fields)
    elif "budget" in file:
        _refuse_twice(file["budget"], in_file)
        if not {"steps", "seconds"} & set(fields):
            budget = file["budget"]
    limits = budgets.parse(budget)
    ends: dict[str, Any] = {}
    if budget is not None:
        ends = {"steps": 10**9 if limits.steps is None else limits.steps, "seconds": limits.seconds or 0.0}
    like = MetaPlan().to_json()
    said = {**typed(in_file, like, "plan"), **typed(fields, like, "plan"), **ends}
    plan = {**recipe(algorithm, learner), **said}
    if "validate_every" not in said and plan.get("steps", like["steps"]) < 10**9:  # at least twenty looks on the way
        steps = plan.get("steps", like["steps"])
        plan["validate_every"] = max(1, min(plan.get("validate_every", steps), steps // 20))
    return MetaPlan.from_json({"algorithm": algorithm, **plan})


def _refuse_twice(budget: str, fields: dict[str, Any]) -> None:
    for name in ("steps", "seconds"):
        if name in fields:
            raise LimnerError(
                f"the budget {budget} and {name}={fields[name]} both say when to end; give one of them "
                "(a time and a number of steps together are --budget 2m,500steps)"
            )
