"""The adviser: proposes strategies for a task from what the memory knows, says why, and is told what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from limner.config import ENDLESS, Strategy
from limner.errors import LimnerError
from limner.memory.beginnings import Beginning, beginnings
from limner.memory.evidence import Candidate, Trial, as_tried, configuration, judge, worths
from limner.memory.fingerprints import Fingerprint, fingerprint
from limner.memory.labels import HIGHER_IS_BETTER, META_LABEL
from limner.memory.nearness import UNRELATED, distances, similarity
from limner.memory.portfolio import VARIATIONS, entries, goals_of
from limner.memory.query import on_tasks
from limner.memory.recording import add_all
from limner.memory.schema import (
    EvaluationRow,
    FingerprintRow,
    ImageSetRow,
    LearnerRow,
    ModelRow,
    RecommendationRow,
    RunRow,
    StrategyRow,
    TaskRow,
    content_id,
)
from limner.memory.shipped import shipped_starts
from limner.memory.store import Memory
from limner.meta.plan import ALGORITHMS
from limner.model_file import StoredModel
from limner.tasks.task import Task

BORNE = 8
"""A start bears this times the square of the number of images in steps, before its samples are copies of them."""

NEIGHBOURS = 20
"""The largest number of past tasks that is consulted."""


@dataclass(frozen=True)
class Recommendation:
    """One thing to try on a task.

    learner   kind of learner; ``options`` its keyword arguments
    name      what the strategy is called in the portfolio; empty for one that only the memory knows
    strategy  how it should learn
    reason    why, in one sentence
    expected  the score to expect (kernel distance for generation), from runs on similar tasks that were about as long;
              ``None`` where there are none
    source    ``neighbour`` (it worked on similar tasks), ``default``, or ``portfolio`` (the fixed list)
    id        under which the memory keeps it; ``rank`` its place, from 1
    evidence  ids of the tasks, runs and models that it rests on
    start     what it begins from, as it is called: a name, the beginning of an id, or ``scratch``
    """

    learner: str
    options: dict[str, Any]
    strategy: Strategy
    reason: str
    expected: float | None
    source: str
    name: str = ""
    id: str = ""
    rank: int = 0
    evidence: tuple[str, ...] = ()
    start: str = "scratch"


class Adviser:
    """Recommends strategies from a memory: what worked on similar tasks, the default, and a fixed portfolio.

    On each similar task in the memory, a strategy's worth is the share of the other strategies tried there that it
    beat, among runs about as long as they would be here (see ``evidence``). Its value for the new task is the mean of
    that worth, weighted by each task's similarity, drawn towards the portfolio's order: v = (Σ s·w + P·p) / (Σ s + P),
    with s the similarities exp(−(distance/REACH)²), w the worths, p the prior worth (the default's is one half) and
    P = PRIOR. So unrelated experience leaves the default first. Where no budget is given, what was tried at another
    length than the list has it for, and did well, is proposed as it was tried.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def recommend(
        self,
        task: Task,
        budget_seconds: float | None = None,
        learner: str | None = None,
        extractor: str | None = "auto",
        budget_steps: int | None = None,
        start: StoredModel | None = None,
    ) -> list[Recommendation]:
        """What to try on the task, best first; the default is always among them. All are kept in the memory.

        budget_seconds  strategies end then; how many steps that is is known by what a step took here before, if it did
        budget_steps    strategies take so many steps (fewer where ``budget_seconds`` ends them)
        learner         only this kind of learner
        start           the only model to begin from, beside scratch (default: every start that fits)
        extractor       whose features the fingerprint uses (see :func:`limner.memory.fingerprint`)

        The same memory gives the same list. Raises :class:`LimnerError` where no learner serves the task's goal.
        """
        if not entries(task.goal, learner):
            fits = f"it serves: {', '.join(goals_of(learner))}" if learner and goals_of(learner) else "choose another"
            raise LimnerError(f"there is no way yet to {task.goal} with the learner {learner or 'of any kind'}; {fits}")
        described = fingerprint(task, extractor)
        self.memory.add_task(task, described)
        trials = self._trials(task, described, learner)
        candidates = self._portfolio(task, learner, start)
        known = {item.configuration: item for item in candidates}
        for trial in sorted(trials, key=lambda trial: (-trial.similarity, trial.score, trial.run)):
            item = known.get(trial.configuration)
            if item is None:
                item = Candidate(trial.learner, trial.strategy, 0.4, "neighbour", "")
                known[trial.configuration] = item
            item.trials.append(trial)
        paces = {} if budget_seconds is None else self._seconds_a_step(item.learner for item in known.values())
        for item in known.values():
            if item.source == "neighbour":  # a short trial is no reason for a short run
                item.strategy = item.strategy.within(max(map(_asked, item.trials)), None)
            _planned(item, budget_steps, budget_seconds, paces)
        metric = META_LABEL[task.goal]
        better = "higher" if metric in HIGHER_IS_BETTER else "lower"
        found, tries = list(known.values()), []
        if budget_steps is None and budget_seconds is None:
            tries = [as_tried(item, better) for item in found if item.trials and not item.like]
        every = [*found, *chain(*tries)]
        done = worths([trial for item in every for trial in item.like], better == "higher")
        for item in every:
            judge(item, done, metric.replace("_", " "), better)
        best = (max(lengths, key=lambda item: item.value) for lengths in tries)
        default = found[0]  # a short try is not put before it where it was never tried at its own length
        found += [
            item
            for item in best
            if item.value > 0.5 and (default.like or item.strategy.steps >= default.strategy.steps)
        ]
        found.sort(key=lambda item: (-item.value, -item.prior, item.configuration))
        named = self._names({item.strategy.start for item in found})
        advice = [_advice(item, rank, named) for rank, item in enumerate(found, start=1)]
        self._keep(task, found, advice)
        return advice

    def observe(self, recommendation_id: str, run_id: str) -> None:
        """Tell what came of a recommendation: the run that tried it."""
        self.memory.observe(recommendation_id, run_id)

    @cached_property
    def _shipped(self) -> list[StoredModel]:
        """The starts that come with Limner, read once."""
        return shipped_starts()

    def _portfolio(self, task: Task, learner: str | None, start: StoredModel | None) -> list[Candidate]:
        """The fixed list with the starts that fit filled in; its first entry is the default."""
        from limner.learners import create, describe, for_classes
        from limner.tasks import Alone

        shape, classes = task.support.shape, len(task.support.class_names)
        options = {"classes": classes} if task.goal == "classify" else {}
        found: list[Candidate] = []
        varied: list[Candidate] = []
        begun: dict[str, list[Beginning]] = {}
        for entry in entries(task.goal, learner):
            if entry.options.get("head") and isinstance(task.support, Alone):
                continue  # there is nothing to fit it to
            if not entry.adapted:
                described = describe(create(entry.learner, shape, **{**entry.options, **options}))
                found.append(Candidate(described, entry.strategy, 0.0, "portfolio", entry.why, entry.name))
                continue
            if entry.learner not in begun:
                begun[entry.learner] = beginnings(self.memory, task, entry.learner, start, self._shipped)
            for reference, made_for, about, best in begun[entry.learner]:
                if (description := for_classes(made_for, classes)) is None:
                    continue
                description = {**description, "options": {**entry.options, **description["options"]}}
                name = about["name"] or reference[:12]
                same = _same_source(about.get("family"), task.source)
                words = f"the start {name} was learned from many small tasks on {_shape_words(shape)}"
                if about.get("role", "start") != "start":
                    words = f"the model {name} has learned to make {_shape_words(shape)}"
                elif "degradation" in about and "plan" not in about:
                    words = f"the network {name} has learned to mend common damage of photographs"
                words += " from the same source as these" if same else ""
                when = _when(about.get("plan"))
                words += "".join(
                    f" (on unseen ones its {name.replace('_', ' ')} {when} was {score['value']:.3g})"
                    for name, score in about.get("scores", {}).items()
                )
                evidence = () if reference.startswith("shipped:") else (reference,)
                strategy = _as_in_training(entry.strategy, about.get("plan")).replace(start=reference)
                why = ", and ".join(filter(None, (words, best, entry.why)))
                found.append(Candidate(description, strategy, 0.0, "portfolio", why, entry.name, evidence))
                if task.goal == "generate" and all(item.learner["kind"] != entry.learner for item in varied):
                    varied += _varied(found[-1], name)  # of the first start of a kind only
        found += varied
        for item in found:
            if task.goal == "generate" and item.strategy.start != "scratch":
                steps = min(item.strategy.steps, BORNE * len(task.support) ** 2)
                item.strategy = item.strategy.replace(steps=steps)
        for place, item in enumerate(found):
            item.prior = 0.5 - 0.01 * place
        found[0].source = "default"
        return found

    def _neighbours(self, task: Task, described: Fingerprint) -> dict[str, tuple[str, float]]:
        """The most similar tasks of the same goal and image shape: sha256 to name and similarity, nearest first."""
        query = (
            select(TaskRow.sha256, TaskRow.name, ImageSetRow.image_shape, FingerprintRow.content)
            .join(ImageSetRow, ImageSetRow.sha256 == TaskRow.support_sha256)
            .join(FingerprintRow, FingerprintRow.task_sha256 == TaskRow.sha256)
            .where(TaskRow.goal == task.goal, FingerprintRow.features == described.features)
            .where(select(RunRow.id).where(RunRow.task_sha256 == TaskRow.sha256).exists())
        )
        with self.memory.database.reading() as session:
            alike = [row for row in session.execute(query) if tuple(row[2]) == task.support.shape]
        far = distances(described, [content for *_, content in alike])
        found = [(similarity(distance), sha256, name) for distance, (sha256, name, *_) in zip(far, alike, strict=True)]
        nearest = sorted(found, key=lambda entry: (-entry[0], entry[1]))[:NEIGHBOURS]
        return {sha256: (name, near) for near, sha256, name in nearest if near >= UNRELATED}

    def _trials(self, task: Task, described: Fingerprint, learner: str | None) -> list[Trial]:
        """All runs on the neighbours that were scored, and whose start is still there."""
        neighbours = self._neighbours(task, described)
        query = (
            select(RunRow, EvaluationRow)
            .join(EvaluationRow, EvaluationRow.owner == RunRow.id)
            .where(EvaluationRow.metric == META_LABEL[task.goal], on_tasks(neighbours))
            .where(RunRow.state.in_(("finished", "stopped")))
            .order_by(RunRow.id)
        )
        found: list[Trial] = []
        ways: dict[tuple[str, str, str | None], tuple[dict[str, Any], Strategy, str] | None] = {}
        with self.memory.database.reading() as session:
            tried = [(run, score) for run, score in session.execute(query)]
            kept = [
                *session.scalars(select(LearnerRow).where(LearnerRow.sha256.in_({r.learner_sha256 for r, _ in tried}))),
                *session.scalars(
                    select(StrategyRow).where(StrategyRow.sha256.in_({r.strategy_sha256 for r, _ in tried}))
                ),
            ]  # held, so that to get one of them asks the database nothing
            for run, score in tried:
                key = (run.learner_sha256, run.strategy_sha256, run.start_sha256)
                if key not in ways:
                    ways[key] = self._way(session, task, learner, *key)
                if (way := ways[key]) is not None:
                    name, similarity = neighbours[run.task_sha256]
                    made = (run.steps or 0, score.value, score.extractor)
                    found.append(Trial(run.id, run.task_sha256, name, similarity, *way, *made))
            del kept
        return found

    def _way(
        self, session: Session, task: Task, kind: str | None, learner: str, strategy: str, start: str | None
    ) -> tuple[dict[str, Any], Strategy, str] | None:
        """The learner, strategy and configuration with these ids; ``None`` where they cannot be used here."""
        from limner.learners import CATALOGUE, for_classes

        description = session.get_one(LearnerRow, learner).describe()
        if description["kind"] not in CATALOGUE:  # a black box, which is not adapted
            return None
        classes = len(task.support.class_names)
        how = Strategy.from_json(session.get_one(StrategyRow, strategy).content)
        if start is not None:  # it may have been named otherwise then
            how = how.replace(start=start)
        if how.start == "scratch" and task.goal == "classify":  # made anew, for as many classes as there are
            description["options"] = {**description["options"], "classes": classes}
        shipped = how.start in {model.metadata["reference"] for model in self._shipped}
        described = for_classes(description, classes)
        if described is None:
            return None
        description = described
        if kind not in (None, description["kind"]) or not (start or shipped or how.start == "scratch"):
            return None
        return description, how, configuration(description, how)

    def _names(self, starts: set[str]) -> dict[str, str]:
        """What starts are called, by what strategies call them."""
        query = select(ModelRow.sha256, ModelRow.name).where(ModelRow.sha256.in_(starts))
        with self.memory.database.reading() as session:
            names = {sha256: name or sha256[:12] for sha256, name in session.execute(query)}
        return {start: names.get(start, start) for start in starts}

    def _seconds_a_step(self, learners: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Median seconds a step of each learner, from the newest hundred of its runs made here (not imported)."""
        paces: dict[str, float] = {}
        with self.memory.database.reading() as session:
            for key in {content_id(learner) for learner in learners}:
                rows = session.execute(
                    select(RunRow.seconds, RunRow.steps)
                    .where(RunRow.learner_sha256 == key, RunRow.steps > 0, RunRow.seconds > 0)
                    .where(RunRow.imported.is_(None))
                    .order_by(RunRow.created.desc())
                    .limit(100)
                )
                if values := sorted(seconds / steps for seconds, steps in rows):
                    paces[key] = values[len(values) // 2]
        return paces

    def _keep(self, task: Task, items: list[Candidate], advice: list[Recommendation]) -> None:
        with self.memory.database.writing() as session:
            ids = add_all(session, [item.learner for item in items], [said.strategy for said in advice])
            for said, learner, strategy in zip(advice, *ids, strict=True):
                session.add(
                    RecommendationRow(
                        id=said.id, task_sha256=task.sha256, learner_sha256=learner, strategy_sha256=strategy,
                        rank=said.rank, source=said.source,
                        reason=said.reason, expected=said.expected, evidence=list(said.evidence),
                    )
                )  # fmt: skip


def _asked(trial: Trial) -> int:
    """The steps that a trial was to take; where only time limited it, those that it took."""
    return trial.steps if trial.strategy.steps >= ENDLESS else trial.strategy.steps


def _planned(item: Candidate, steps: int | None, seconds: float | None, paces: dict[str, float]) -> None:
    """Give the candidate its budget, and note how many steps it would take, where that can be known.

    Time is used up from scratch only: a few images wear a start away if they are gone through again and again.
    """
    known = item.strategy
    strategy = known.within(steps, seconds)
    if steps is None and known.start != "scratch":
        strategy = strategy.replace(steps=known.steps)
    item.strategy = strategy
    pace = paces.get(content_id(item.learner))
    item.planned = strategy.steps if seconds is None else None
    if seconds is not None and pace is not None and strategy.steps:
        item.planned = min(strategy.steps, max(1, int(seconds / pace)))
        if item.planned < strategy.steps:
            item.length = f"{seconds:g} s are about {_counted(item.planned)}, as a step took {pace:.2g} s here"


def _varied(item: Candidate, start: str) -> list[Candidate]:
    """The other ways to go on from the start of a candidate."""
    from limner.learners import rebuild

    return [
        replace(
            item,
            strategy=variation.of(rebuild(item.learner), item.strategy),
            reason=f"from the start {start}, and {variation.why}",
            name=variation.name,
            trials=[],
        )
        for variation in VARIATIONS
        if item.learner["kind"] in variation.learners
    ]


def _counted(steps: int) -> str:
    return f"{steps:,} step{'s' if steps != 1 else ''}"


def _advice(item: Candidate, rank: int, named: dict[str, str]) -> Recommendation:
    reason = "; ".join(filter(None, (item.reason, item.length)))
    if item.source == "default":
        reason = f"the default: {reason}"
    return Recommendation(
        learner=item.learner["kind"], options=dict(item.learner["options"]), strategy=item.strategy,
        reason=reason[0].upper() + reason[1:] + ".", name=item.name, expected=item.expected, source=item.source,
        evidence=item.evidence, id=secrets.token_hex(6), rank=rank, start=named[item.strategy.start],
    )  # fmt: skip


def _as_in_training(strategy: Strategy, plan: dict[str, Any] | None) -> Strategy:
    """The strategy with the inner loop that a start was meta-learned with, for it was made to be adapted so."""
    if plan is None:
        return strategy
    if ALGORITHMS[plan["algorithm"]].outer == "closed form":
        return strategy.replace(steps=0, evaluate_every=0)
    return strategy.replace(
        optimiser=plan["inner_optimiser"], learning_rate=plan["inner_rate"], betas=tuple(plan["inner_betas"]),
        player_rates=dict(plan["player_rates"]), batch=plan["inner_batch"] or strategy.batch,
    )  # fmt: skip


def _when(plan: dict[str, Any] | None) -> str:
    """When the score was taken that a start's file tells of."""
    if plan is not None and not plan["inner_steps"] and ALGORITHMS[plan["algorithm"]].outer != "closed form":
        return "before any step"
    return "after adaptation"


def _same_source(family: Any, source: str) -> bool:
    spec = str((family or {}).get("spec", "")).split(",")[0]
    return bool(spec) and spec == source.split(",")[0]


def _shape_words(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{height}×{width} {'grey' if channels == 1 else 'colour'} images"
