"""The contract of advisers: what they are asked about, what they propose, and what they are told came of it."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from limner.advisers.history import PastTask
from limner.memory.fingerprints import Fingerprint
from limner.memory.nearness import UNRELATED
from limner.seeds import derive
from limner.spaces import Space

TRIES = 200
"""How often values are drawn anew where they have been tried before."""


@dataclass(frozen=True)
class Case:
    """A task as an adviser sees it: what can be chosen, and what has been done on other tasks.

    higher       whether a higher score is the better one
    fingerprint  what the task looks like
    past         other tasks with their runs of the same learner, the most similar first
    rungs        parts of a run after which it can be looked at, and paused; 1: only whole runs
    thumbnails   the task's images (see ``limner.memory.thumbnails``); empty where it has none
    """

    space: Space
    higher: bool
    seed: int
    fingerprint: Fingerprint
    past: tuple[PastTask, ...] = ()
    thumbnails: str = ""
    rungs: int = 1

    @property
    def related(self) -> tuple[PastTask, ...]:
        """The past tasks that can say something of this one: without any, every adviser begins with the default."""
        return tuple(task for task in self.past if task.similarity >= UNRELATED)


@dataclass(frozen=True)
class Proposal:
    """Values of the space to try.

    source    ``default``, ``past`` (what did best on another task), or where else they came from
    reason    why, in one sentence; ``evidence``: ids of the tasks and runs that it rests on
    expected  the score to expect; ``None`` where nothing tells
    rung      how far to take the run, from 1; ``None``: to its end. Values of a paused run go on from where it is
    drops     values of paused runs that need be held no longer
    """

    values: dict[str, Any]
    source: str
    reason: str
    expected: float | None = None
    evidence: tuple[str, ...] = ()
    rung: int | None = None
    drops: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Told:
    """What came of a run: its values, its score (``None`` where it had none), what it took.

    whole  it was not ended early; ``rungs``: its scores on the way, by their number
    paused  it can be gone on with; ``seconds`` are those so far
    """

    values: dict[str, Any]
    score: float | None
    seconds: float = 0.0
    whole: bool = True
    rungs: Mapping[int, float] = field(default_factory=dict)
    paused: bool = False


class Adviser(ABC):
    """Proposes strategies for one task, and is told what came of them.

    The same case, and the same runs told, lead to the same next proposal. Where no past task is related to the case,
    the default comes first.
    """

    name = ""
    by_rungs = False
    """Whether it can propose parts of runs, where runs can be paused."""
    remark = ""
    """What is to be known of how it advises on this task, in one sentence; empty where it is as always."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.told: list[Told] = []
        self._tried: set[str] = set()

    def propose(self, left: float | None = None, seconds: float | None = None) -> Proposal | None:
        """What to try next; ``None`` where there is nothing left.

        left  how many runs there will still be, of which a part of one is a part; ``seconds``: how much time
        """
        default = self.case.space.default
        if not self.case.related and self._is_new(default):
            return Proposal(default, "default", "The default: nothing that was done before is like this task.")
        return self._next(left, seconds)

    def observe(self, told: Told) -> None:
        """What came of a run, whoever proposed it; of a paused one the newest is all that counts."""
        paused = [place for place, former in enumerate(self.told) if former.paused and former.values == told.values]
        if paused:
            self.told[paused[0]] = told
        else:
            self.told.append(told)
        self._tried.add(key(told.values))

    @abstractmethod
    def _next(self, left: float | None, seconds: float | None) -> Proposal | None:
        """The proposal where something is known, or the default has been tried."""

    # what the advisers share

    @property
    def whole(self) -> list[tuple[Told, float]]:
        """The whole runs that were scored, each with its score."""
        return [(told, told.score) for told in self.told if told.whole and told.score is not None]

    @property
    def best(self) -> Told | None:
        """The best whole run so far; of equal ones the first."""
        scored = [(told, score) for told, score in self.whole if math.isfinite(score)]
        sign = -1.0 if self.case.higher else 1.0
        return min(scored, key=lambda pair: sign * pair[1])[0] if scored else None

    def _is_new(self, values: Mapping[str, Any]) -> bool:
        return key(values) not in self._tried

    def _new(self, proposals: Iterable[Proposal]) -> Proposal | None:
        """The first of the proposals that has not been tried."""
        return next((proposal for proposal in proposals if self._is_new(proposal.values)), None)

    def _chance(self, reason: str) -> Proposal | None:
        """Values drawn at random that have not been tried; ``None`` where all seem to have been."""
        for again in range(TRIES):
            values = self.case.space.sample(derive(self.case.seed, "chance", len(self.told), again))
            if self._is_new(values):
                return Proposal(values, "random", reason)
        return None


def key(values: Mapping[str, Any]) -> str:
    """A text that equal values share."""
    return json.dumps(dict(values), sort_keys=True)


def runs_here(count: int) -> str:
    """How many runs were made on a task, in words.

    >>> runs_here(1), runs_here(2)
    ('1 run here', '2 runs here')
    """
    return f"{count} run{'' if count == 1 else 's'} here"
