"""Which way to transfer, and from which source, by what the memory knows of transfers done before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.seeds import generator

if TYPE_CHECKING:
    from limner.memory import Memory
    from limner.memory.fingerprints import Fingerprint

GOAL = "transfer"
"""The goal by which the memory keeps transfers, so that they never count as ordinary runs of classifying."""

MARK = "transfer"
"""Where a run's lineage tells which way it went, from which source."""


LEAST_TARGETS = 2
"""Past targets that were reached from two sources or more, from which on their ranking of sources is followed."""


class Choice(NamedTuple):
    """Something chosen, and why, in one sentence."""

    chosen: str
    why: str


@dataclass(frozen=True)
class Past:
    """A transfer that the memory knows: its target task, how far that is from the one at hand, and what came of it."""

    task: str
    distance: float
    source: str
    way: str
    score: float


def past_transfers(memory: Memory, target: Fingerprint, goal: str) -> list[Past]:
    """The transfers to ``goal`` in the memory, each with the distance of its target from the one at hand.

    Of a goal where lower scores are better, scores are negative.
    """
    distances: dict[str, float] = {}
    found = []
    for run in memory.runs(state="finished"):
        mark = (run["lineage"] or {}).get(MARK)
        if not mark or mark["goal"] != goal or mark["metric"] not in run["scores"]:
            continue
        if run["task"] not in distances:
            distances[run["task"]] = _distance(memory, run["task"], target)
        score = run["scores"][mark["metric"]]["value"]
        sign = 1 if goal == "classify" else -1
        found.append(Past(run["task"], distances[run["task"]], mark["source"], mark["way"], sign * score))
    return found


def _distance(memory: Memory, task: str, target: Fingerprint) -> float:
    from limner.memory.fingerprints import Fingerprint

    known = [Fingerprint.from_json(content) for content in memory.show(task)["fingerprints"]]
    return min((target.distance(each) for each in known), default=math.inf)


def advised_way(past: Sequence[Past], ways: Iterable[str], default: str) -> Choice:
    """The way that beat the largest share of others on targets like this one, drawn towards the default.

    On each past target and source with two ways or more, a way's worth is the share of the others that it beat. Its
    value is (Σ s·w + P·p) / (Σ s + P), as the adviser's (:class:`limner.memory.Adviser`): s the target's similarity, p
    the prior worth, 1/2 of the default and a little less of any other.

    >>> past = [Past("a", 0.1, "s", "partial", 0.6), Past("a", 0.1, "s", "joint", 0.8)]
    >>> advised_way(past, ["partial", "joint", "full"], "partial").chosen
    'joint'
    >>> advised_way([], ["joint", "partial"], "partial").chosen
    'partial'
    """
    from limner.memory.evidence import PRIOR
    from limner.memory.nearness import UNRELATED, similarity

    gain: dict[str, float] = {}
    weight: dict[str, float] = {}
    tasks: dict[str, set[str]] = {}
    for entry, others in _groups(past, lambda one: (one.task, one.source)):
        near = similarity(entry.distance)
        if near < UNRELATED:
            continue
        worth = sum((entry.score > other.score) + 0.5 * (entry.score == other.score) for other in others) / len(others)
        gain[entry.way] = gain.get(entry.way, 0.0) + near * worth
        weight[entry.way] = weight.get(entry.way, 0.0) + near
        tasks.setdefault(entry.way, set()).add(entry.task)
    known = list(dict.fromkeys([default, *ways]))

    def value(way: str) -> float:
        prior = 0.5 if way == default else 0.45
        return (gain.get(way, 0.0) + PRIOR * prior) / (weight.get(way, 0.0) + PRIOR)

    best = max(known, key=value)
    if best not in tasks:
        return Choice(best, "the default way, as the memory knows nothing better for targets like this one")
    share, count = gain[best] / weight[best], len(tasks[best])
    return Choice(
        best,
        f"on {count} past target{'s' if count > 1 else ''} like this one the way {best} beat {100 * share:.0f}% of the "
        "other ways that were tried",
    )


def _groups(past: Sequence[Past], key: Any) -> Iterable[tuple[Past, list[Past]]]:
    """Each transfer with the others that can be compared with it."""
    groups: dict[Any, list[Past]] = {}
    for entry in past:
        groups.setdefault(key(entry), []).append(entry)
    for group in groups.values():
        for entry in group:
            others = [other for other in group if other is not entry]
            if others:
                yield entry, others


class Candidate(NamedTuple):
    """A stored model that could be the source: its sha256 and name, its task's distance, its own score."""

    sha256: str
    name: str
    distance: float
    score: float


def candidates(memory: Memory, target: Fingerprint, shape: tuple[int, int, int]) -> list[Candidate]:
    """The classifiers of the memory for images of ``shape`` that were made from scratch, the nearest first.

    Raises :class:`LimnerError` where there is none.
    """
    found: dict[str, Candidate] = {}
    for run in memory.runs(state="finished"):
        learner = run["learner"]
        if learner["kind"] != "classifier" or list(shape) != learner["image_shape"] or run["model"] is None:
            continue
        if (run["lineage"] or {}).get(MARK) or run["start"] is not None or "accuracy" not in run["scores"]:
            continue
        distance, score = _distance(memory, run["task"], target), run["scores"]["accuracy"]["value"]
        if run["model"] not in found or distance < found[run["model"]].distance:
            found[run["model"]] = Candidate(run["model"], run["task_name"], distance, score)
    if not found:
        channels, side, _ = shape
        raise LimnerError(
            f"the memory holds no classifier of {side}×{side} {'grey' if channels == 1 else 'colour'} images to "
            "transfer from; give SOURCE as a data spec, or train some by limner train classifier DATA"
        )
    return sorted(found.values(), key=lambda each: (each.distance, each.sha256))


def chosen_sources(found: Sequence[Candidate], past: Sequence[Past], seed: int) -> dict[str, Choice]:
    """The sources by a static ranking, by the nearest fingerprint, and by chance; the first is the advised one.

    The static ranking is the mean rank, over past targets and ways to which two sources or more were transferred, of
    equal ones the nearest; a source never transferred ranks last. Where there are no such targets, it is the source's
    own accuracy. With ``LEAST_TARGETS`` or more of them it is advised: measured, it was two points ahead of the nearest
    fingerprint, and that no better than chance. With fewer the nearest is.

    >>> two = [Candidate("aa", "letters", 0.2, 0.8), Candidate("bb", "digits", 0.9, 0.9)]
    >>> {name: choice.chosen for name, choice in chosen_sources(two, [], 0).items()}["static"]
    'bb'
    """
    nearest, targets = found[0], set[str]()
    ranks: dict[str, list[float]] = {}
    for entry, others in _groups(past, lambda one: (one.task, one.way)):
        other = [one for one in others if one.source != entry.source]
        if other:
            targets.add(entry.task)
            ranks.setdefault(entry.source, []).append(sum(one.score > entry.score for one in other) / len(other))
    ranked = [each for each in found if each.sha256 in ranks]
    if ranked:
        static = min(ranked, key=lambda each: sum(ranks[each.sha256]) / len(ranks[each.sha256]))
        why = f"best mean rank over {len(ranks[static.sha256])} past transfers"
    else:
        static = max(found, key=lambda each: each.score)
        why = "highest accuracy on its own images, as no past target was reached from two sources"
    place = int(torch.randint(len(found), (1,), generator=generator(seed, "random source")))
    reached = "one past target was" if len(targets) == 1 else f"{len(targets) or 'no'} past targets were"
    known = f"{reached} reached from two sources or more"
    by_fingerprint = Choice(nearest.sha256, f"{nearest.name}: nearest fingerprint, at {nearest.distance:.2f}")
    by_rank = Choice(static.sha256, f"{static.name}: {why}")
    chance = {"random": Choice(found[place].sha256, f"{found[place].name}: drawn at random of {len(found)}")}
    if len(targets) >= LEAST_TARGETS:
        by_rank = by_rank._replace(why=f"{by_rank.why} (followed, as {known})")
        return {"static": by_rank, "nearest": by_fingerprint} | chance
    by_fingerprint = by_fingerprint._replace(why=f"{by_fingerprint.why} (followed, as {known}, too few for a ranking)")
    return {"nearest": by_fingerprint, "static": by_rank} | chance
