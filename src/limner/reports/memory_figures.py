"""Plots of the whole memory: advice against the default, knobs that matter, what learners cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limner.memory.scoring import DEFAULT
from limner.reports.figures import DASHES, INK, MUTED, SERIES, Plot
from limner.reports.memory_facts import Followed
from limner.reports.memory_knobs import Importance
from limner.reports.memory_map import short_kind
from limner.reports.words import short_number

MOST_RUNS = 30
"""Runs that the curves of advice go to, at most."""

MOST_KNOBS = 10

RESAMPLES = 500
"""Bootstrap samples of tasks behind the intervals of the curves."""


@dataclass(frozen=True)
class Gain:
    """Of an adviser after 1, 2, 3… runs: how much better than the default the best of them is, in the mean over
    ``tasks``, in deviations of the scores there, with its 95% interval (``None`` on one task)."""

    source: str
    tasks: int
    mean: list[float]
    low: list[float] | None
    high: list[float] | None


def gains(rows: Sequence[Followed]) -> list[Gain]:
    """What following each adviser was worth, on the tasks where the default was tried as well.

    On each task and learner g(k) = (d − min over the first k runs of sᵢ) / σ, for scores s of which lower is better, d
    the mean of the default's and σ the deviation of all that were followed there. The default itself is none of the k
    runs, so that advice worse than it counts below 0. Runs that could not be scored leave one with the default, 0; a
    search that ended keeps its best.
    """
    import numpy as np

    places: dict[tuple[str, str], list[Followed]] = {}
    for row in rows:
        places.setdefault(row.where, []).append(row)
    curves: dict[str, list[list[float]]] = {}
    for there in places.values():
        usual = [row for row in there if row.source == DEFAULT and row.worse is not None]
        if not usual:
            continue
        same = [row for row in there if row.worse is not None and row.extractor == usual[-1].extractor]
        scores = [float(row.worse or 0.0) for row in same]
        deviation = float(np.std(scores))
        default = float(np.mean([row.worse for row in usual if row.extractor == usual[-1].extractor]))
        for source in dict.fromkeys(row.source for row in there if row.source != DEFAULT):
            best, curve = np.inf, list[float]()
            for row in there:
                if row.source == source:
                    if row.worse is not None and row.extractor == usual[-1].extractor:
                        best = min(best, row.worse)
                    known = np.isfinite(best) and deviation > 0
                    curve.append((default - best) / deviation if known else 0.0)
            curves.setdefault(source, []).append(curve[:MOST_RUNS])
    return [_gain(source, found) for source, found in sorted(curves.items(), key=lambda pair: (-len(pair[1]), pair[0]))]


def _gain(source: str, curves: list[list[float]]) -> Gain:
    import numpy as np

    longest = max(map(len, curves))
    whole = np.array([[*curve, *[curve[-1]] * (longest - len(curve))] for curve in curves])
    if len(whole) == 1:
        return Gain(source, 1, whole[0].tolist(), None, None)
    drawn = np.random.default_rng(0).integers(0, len(whole), (RESAMPLES, len(whole)))
    low, high = np.quantile(whole[drawn].mean(1), [0.025, 0.975], axis=0)
    return Gain(source, len(whole), whole.mean(0).tolist(), low.tolist(), high.tolist())


def gain_plot(found: Sequence[Gain]) -> Plot:
    """The gain of each adviser over the default by the number of runs."""

    def draw(axes: Any) -> None:
        for place, one in enumerate(found):
            at, colour = range(1, len(one.mean) + 1), SERIES[place % len(SERIES)]
            tasks = "1 task" if one.tasks == 1 else f"{one.tasks:,} tasks"
            axes.plot(
                at, one.mean, color=colour, linewidth=1.9, marker="o" if len(one.mean) <= 12 else None, markersize=3.6,
                linestyle=DASHES[place % len(DASHES)] if len(one.mean) > 1 else "-", label=f"{one.source} ({tasks})",
            )  # fmt: skip
            if one.low is not None and one.high is not None:
                if len(one.mean) > 1:
                    axes.fill_between(at, one.low, one.high, color=colour, alpha=0.14, linewidth=0)
                else:
                    axes.vlines(1, one.low, one.high, color=colour, linewidth=1.6)
        axes.axhline(0, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="the default")
        axes.set_title("Best of the advised runs, over the default", loc="left", fontsize=10.5)
        axes.set_xlabel("advised runs")
        axes.set_ylabel("deviations of a task's scores")
        axes.margins(x=0.04)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8.5, labelspacing=0.3)

    ends = "; ".join(
        f"{one.source} {short_number(one.mean[0])} after one run and {short_number(one.mean[-1])} after {len(one.mean)}"
        for one in found
    )
    return Plot(f"Gain of advice over the default, in deviations of a task's scores: {ends}.", (6.2, 3.4), draw)


def knob_plot(one: Importance) -> Plot:
    """How much each knob of a learner tells of scores."""
    shown = one.knobs[:MOST_KNOBS]

    def draw(axes: Any) -> None:
        names, means, offs = zip(*shown, strict=True)
        axes.barh(range(len(shown)), means, color=SERIES[0], height=0.62)
        axes.errorbar(means, range(len(shown)), xerr=offs, fmt="none", ecolor=MUTED, elinewidth=1.2)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(shown)), names, color=INK)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{one.kind}: what matters", loc="left", fontsize=10.5)
        axes.set_xlabel("loss in R² where the knob is shuffled")

    told = ", ".join(f"{name} {short_number(mean)}" for name, mean, _ in shown)
    return Plot(f"Importance of the knobs of {one.kind}: {told}.", (4.8, 1.2 + 0.27 * len(shown)), draw)


def cost_plot(rows: Sequence[dict[str, Any]]) -> Plot:
    """The time that each learner took, all runs together."""
    shown = [(short_kind(row["kind"]), float(row["seconds"] or 0.0)) for row in rows[:MOST_KNOBS]]
    longest = max(seconds for _, seconds in shown)
    unit, each = ("hours", 3600.0) if longest >= 7200 else ("minutes", 60.0) if longest >= 120 else ("seconds", 1.0)

    def draw(axes: Any) -> None:
        axes.barh(range(len(shown)), [seconds / each for _, seconds in shown], color=SERIES[2], height=0.62)
        for place, (_, seconds) in enumerate(shown):
            axes.annotate(
                short_number(seconds / each), (seconds / each, place), (4, 0), textcoords="offset points", va="center",
                fontsize=8.5, color=INK,
            )  # fmt: skip
        axes.set_yticks(range(len(shown)), [name for name, _ in shown], color=INK)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.14)
        axes.set_title("Time by learner", loc="left", fontsize=10.5)
        axes.set_xlabel(unit)

    told = ", ".join(f"{name} {short_number(seconds / each)}" for name, seconds in shown)
    return Plot(f"Time by learner in {unit}: {told}.", (4.8, 1.2 + 0.3 * len(shown)), draw)
