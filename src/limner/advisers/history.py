"""What was done on other tasks, in the terms of one space: runs, how similar their tasks are, what they would have made
of values that were not tried there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select

from limner.advisers.rungs import Looks, looks
from limner.config import Strategy
from limner.memory import Memory
from limner.memory.evidence import LIKE_LENGTH
from limner.memory.fingerprints import Fingerprint
from limner.memory.labels import META_LABEL
from limner.memory.nearness import distances, similarity
from limner.memory.query import on_tasks
from limner.memory.schema import (
    CurveRow,
    EvaluationRow,
    FingerprintRow,
    LearnerRow,
    RunRow,
    StrategyRow,
    TaskRow,
    ThumbnailRow,
)
from limner.spaces import Space

TASKS = 60
"""Past tasks that are looked at, at most: the most similar."""

WIDTH = 0.25
"""How far, on each knob's range, a run tells of values near its own."""

MIDDLING = 0.3
"""How much it weighs, against one run with the very values, what the runs on all tasks together foretell of them."""

RIDGE = 1.0
"""How much the squares of the pooled line's slopes count, against the error of one run."""

TREES, LEAF, SHARE, DRAWN = 100, 8, 0.6, 2000
"""Of the forest that learns from the runs on all tasks together: its trees, the least runs in a leaf, the share of what
a strategy is encoded as that each branching is chosen from, and the most runs that a tree is drawn."""

WORST = 2.0
"""The largest regret that is counted."""

Read = Callable[[dict[str, Any], Strategy], dict[str, Any]]
"""From a learner's options and a strategy to the values of a space; ``{}`` where they have no place in it."""


@dataclass(frozen=True)
class PastRun:
    """A whole run on another task; ``looks``: its scores on the way, where they were asked for."""

    run: str
    values: dict[str, Any]
    score: float
    seconds: float
    looks: Looks = ()


@dataclass(frozen=True)
class PastTask:
    """Another task with its runs. ``similarity`` to the task at hand: exp(−(distance of fingerprints / REACH)²);
    ``thumbnails``: its images (see ``limner.memory.thumbnails``), empty where it has none."""

    sha256: str
    name: str
    similarity: float
    fingerprint: Fingerprint
    runs: tuple[PastRun, ...]
    thumbnails: str = ""

    def best(self, higher: bool) -> PastRun:
        """The run with the best score; of equal ones the first."""
        return min(self.runs, key=lambda run: -run.score if higher else run.score)


def past_tasks(
    memory: Memory,
    goal: str,
    described: Fingerprint,
    learner: str,
    space: Space,
    read: Read,
    *,
    steps: int | None = None,
    but: str = "",
    curves: bool = False,
) -> tuple[PastTask, ...]:
    """The tasks of a goal with the whole, scored runs of the kind ``learner`` on them, the most similar first.

    steps  only runs that were asked for about so many steps (a factor of 2); ``None``: of any length
    but    runs whose name begins so are left out
    curves  whether the runs' scores on the way are wanted as well

    Of one task only runs that were scored on the same features are taken: those of which there are most.
    """
    made_with = select(RunRow.id).join(LearnerRow, LearnerRow.sha256 == RunRow.learner_sha256)
    tasks = (
        select(TaskRow.sha256, TaskRow.name, FingerprintRow.content)
        .join(FingerprintRow, FingerprintRow.task_sha256 == TaskRow.sha256)
        .where(TaskRow.goal == goal, FingerprintRow.features == described.features)
        .where(made_with.where(RunRow.task_sha256 == TaskRow.sha256, LearnerRow.kind == learner).exists())
    )
    with memory.database.reading() as session:
        known = [(sha256, name, content) for sha256, name, content in session.execute(tasks)]
        far = distances(described, [content for *_, content in known])
        nearest = sorted(zip(far, known, strict=True), key=lambda pair: (pair[0], pair[1][0]))[:TASKS]
        query = (
            select(RunRow, EvaluationRow.value, EvaluationRow.extractor, LearnerRow.options, StrategyRow.content)
            .join(EvaluationRow, EvaluationRow.owner == RunRow.id)
            .join(LearnerRow, LearnerRow.sha256 == RunRow.learner_sha256)
            .join(StrategyRow, StrategyRow.sha256 == RunRow.strategy_sha256)
            .where(on_tasks(sha256 for _, (sha256, *_) in nearest))
            .where(LearnerRow.kind == learner, RunRow.state == "finished", EvaluationRow.metric == META_LABEL[goal])
            .order_by(RunRow.created, RunRow.name, RunRow.id)
        )
        if but:
            query = query.where(RunRow.name.not_like(f"{but}%"))
        strips: dict[str, str] = {
            row.task_sha256: row.strip
            for row in session.scalars(
                select(ThumbnailRow).where(ThumbnailRow.task_sha256.in_([sha256 for _, (sha256, *_) in nearest]))
            )
        }
        owners = made_with.where(
            RunRow.task_sha256.in_([sha256 for _, (sha256, *_) in nearest]), LearnerRow.kind == learner
        )
        wanted = select(CurveRow).where(CurveRow.owner.in_(owners))
        on_way = {row.owner: row.points for row in session.scalars(wanted)} if curves else {}
        metric, runs = META_LABEL[goal], dict[str, list[tuple[str, PastRun]]]()
        for run, score, extractor, options, strategy in session.execute(query):
            how = Strategy.from_json(strategy)
            if (run.lineage or {}).get("ended_early"):
                continue
            if steps and not (how.steps and max(steps, how.steps) <= LIKE_LENGTH * min(steps, how.steps)):
                continue
            values = read(dict(options), how)
            if (values or not space.knobs) and space.holds(values):
                looked = looks(on_way.get(run.id, ()), metric, how)
                past = PastRun(run.id, space.validate(values), float(score), run.seconds, looked)
                runs.setdefault(run.task_sha256, []).append((extractor, past))
    found = []
    for distance, (sha256, name, content) in nearest:
        if of_task := runs.get(sha256):
            usual = Counter(extractor for extractor, _ in of_task).most_common(1)[0][0]
            kept = tuple(past for extractor, past in of_task if extractor == usual)
            described, strip = Fingerprint.from_json(content), strips.get(sha256, "")
            found.append(PastTask(sha256, name, similarity(distance), described, kept, strip))
    return tuple(found)


class Regrets:
    """How far values stay behind the best on past tasks: 0 = as good, 1 = as far as the median run, at most 2.

    Of values that were tried on a task it is what they did there, r = (best − score) / (best − median). Of others it is
    the mean of the runs there, weighted by nearness in the encoded space (Nadaraya 1964; Watson 1964), drawn towards
    what all tasks together tell: r̂(x) = (Σ k(x, xᵢ) rᵢ + m·g(x)) / (Σ k(x, xᵢ) + m), with k = exp(−|x − xᵢ|² / 2h²),
    h = WIDTH·√knobs, m = MIDDLING and g(x) = r̄ + f(x), r̄ the mean regret there and f(x) what the runs of all tasks,
    weighted by similarity, foretell of r − r̄: a ridge regression (Hoerl and Kennard 1970) and a random forest (Breiman
    2001) of what it leaves. Few runs in many knobs are seldom near each other: without g, all that was not tried there
    would look the same.

    >>> from limner.spaces import Knob
    >>> space = Space("a line", (Knob("x", "float", 0.0, 0.0, 1.0),))
    >>> runs = tuple(PastRun(str(x), {"x": x}, x, 1.0) for x in (0.0, 0.5, 1.0))
    >>> regrets = Regrets(space, [PastTask("a", "a", 1.0, Fingerprint({}), runs)], higher=True)
    >>> best, median, between = regrets.of([{"x": 1.0}, {"x": 0.5}, {"x": 0.9}])[:, 0].tolist()
    >>> best, median, 0 < between < 1
    (0.0, 1.0, True)
    """

    def __init__(self, space: Space, tasks: Sequence[PastTask], higher: bool) -> None:
        self.space, self.tasks = space, tasks
        self._regrets = [regrets([run.score for run in task.runs], higher) for task in tasks]
        self._places = [np.array([space.encode(run.values) for run in task.runs]) for task in tasks]
        self._width = 2 * WIDTH**2 * max(len(space.knobs), 1)
        likeness = np.array([task.similarity for task in tasks]) + np.finfo(float).eps
        counts = np.repeat(likeness / likeness.mean(), [len(each) for each in self._places])
        apart = np.concatenate([each - each.mean() for each in self._regrets])
        self._pooled = pooled(np.concatenate(self._places), apart, counts)

    def of(self, values: Sequence[Mapping[str, Any]]) -> Any:
        """The regret of each of the values on each task, ``(values, tasks)``."""
        places = np.array([self.space.encode(each) for each in values])
        foretold = self._pooled(places)
        return np.stack([self._on(task, values, places, foretold) for task in range(len(self.tasks))], axis=1)

    def _on(self, task: int, values: Sequence[Mapping[str, Any]], places: Any, foretold: Any) -> Any:
        """The regret of each of the values on one task, ``(values,)``."""
        mine = self._regrets[task]
        squares = ((places[:, None] - self._places[task]) ** 2).sum(2)
        near = np.exp(-squares / self._width)
        together = np.clip(mine.mean() + foretold, 0.0, WORST)
        found = (near @ mine + MIDDLING * together) / (near.sum(1) + MIDDLING)
        tried = [[run.values == each for run in self.tasks[task].runs] for each in values]
        return np.array([mine[same].mean() if any(same) else other for same, other in zip(tried, found, strict=True)])


def pooled(places: Any, wanted: Any, counts: Any) -> Callable[[Any], Any]:
    """What foretells ``wanted``, (n,), anywhere, from those at ``places``, (n, width); each row as often as ``counts``
    says: a line of slopes w = (XᵀCX + λ1)⁻¹ XᵀCy, and a forest that learns what the line leaves.

    >>> told = pooled(np.array([[0.0], [1.0]] * 500), np.array([-1.0, 1.0] * 500), np.ones(1000))
    >>> told(np.array([[0.0], [1.0]])).round(1).tolist()
    [-1.0, 1.0]
    """
    centre = np.average(places, axis=0, weights=counts)
    apart = places - centre
    weighed = apart.T * counts
    slopes = np.linalg.solve(weighed @ apart + RIDGE * np.eye(apart.shape[1]), weighed @ wanted)
    if len(places) < 2 * LEAF:  # a forest would not branch
        return lambda others: (others - centre) @ slopes
    from sklearn.ensemble import RandomForestRegressor

    drawn = min(len(places), DRAWN)
    forest = RandomForestRegressor(
        TREES, min_samples_leaf=LEAF, max_features=SHARE, max_samples=drawn, random_state=0
    )  # fmt: skip
    forest.fit(places, wanted - apart @ slopes, counts)
    return lambda others: (others - centre) @ slopes + forest.predict(others)


def regrets(scores: Sequence[float], higher: bool) -> Any:
    """The regret of each of the scores of one task, ``(n,)``, as :class:`Regrets` has it."""
    behind = np.array(scores, dtype=float) * (-1.0 if higher else 1.0)
    behind = behind - behind.min()
    scale = float(np.median(behind)) or float(behind.mean())
    return np.minimum(behind / scale, WORST) if scale > 0 else np.zeros(len(behind))
