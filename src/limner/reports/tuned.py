"""The page of a search: score by run, what each tried, and how default and winner do on what no search has seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.reports import words
from limner.reports.figures import INK, MUTED, SERIES, Plot, score_plot
from limner.reports.page import environment, versions
from limner.types import Score

if TYPE_CHECKING:
    from limner.verbs.searching import Tried
    from limner.verbs.tune import Tuned

SOURCES = {"default": "the default", "past": "best of a similar task"}


def write(made: Tuned) -> Path:
    """Write ``index.html`` into the search's directory; its path."""
    from limner.model_file import write_atomically

    score = words.label(made.metric)
    rows = [
        {
            "number": trial.number + 1,
            "source": SOURCES.get(trial.source, trial.source),
            "told": made.told(trial),
            "score": "–" if trial.score is None else words.short_number(trial.score),
            "interval": interval(trial.low, trial.high),
            "steps": f"{trial.steps:,}" if trial.steps else "–",
            "seconds": words.short_number(trial.seconds),
            "remark": remark(trial),
            "best": trial.number == made.winner,
        }
        for trial in made.trials
    ]
    plots = [trial_plot(made).svg()]
    if len(made.test) > 1:
        plots.append(score_plot(made.test, f"{score} on what no search has seen").svg())
    page = (
        environment()
        .get_template("tuned.html")
        .render(
            title=f"{words.title(made.task)}: {made.learner.removeprefix('estimator:')}",
            made=made,
            score=score,
            meaning=words.MEANINGS[made.metric][1],
            stepped=any(trial.steps for trial in made.trials),
            rows=rows,
            plots=plots,
            verdict=verdict(made),
            test=[
                {"name": name, "value": words.short_number(one.value), "interval": interval(one.low, one.high)}
                for name, one in made.test.items()
            ],
            versions=versions(),
        )
    )
    write_atomically(made.page, page.encode())
    return made.page


def interval(low: float | None, high: float | None) -> str:
    """An interval in words; empty where there is none."""
    return "" if low is None or high is None else f"{words.short_number(low)} to {words.short_number(high)}"


def remark(trial: Tried) -> str:
    """What was out of the ordinary with a run."""
    if trial.state == "paused":
        return f"paused at step {trial.steps:,}"
    if trial.ended_early:
        step = f"{trial.ended_early:,}"
        return f"kept as at step {step}: {trial.reason}" if trial.reason else f"ended early, at step {step}"
    return trial.reason or ("" if trial.state == "finished" else trial.state)


def verdict(made: Tuned) -> str:
    """What the part that no search has seen says of the winner against the default, in one sentence.

    The runs' intervals are of the same rows or images, so that touching ones do not prove the two alike; nor does one
    search prove them different.
    """
    label, better = words.label(made.metric), made.better
    score = label if label.isupper() else label.lower()
    if made.winner == 0:
        return f"Nothing that was tried did better than the default ({score} on the part that the search judged by)."
    if "default" not in made.test:
        return "The default could not be scored, so there is nothing to hold the winner against."
    default, winner = made.test["default"], made.test["winner"]
    told = f"{score} {words.short_number(winner.value)} against the default's {words.short_number(default.value)}"
    if made.keeps_default:
        return f"On what no search has seen the winner does no better than the default: {told}. Keep the default."
    clear = _clear(default, winner, better)
    return f"On what no search has seen: {told}; {'their intervals do not touch' if clear else 'it could be chance'}."


def _clear(default: Score, winner: Score, better: str) -> bool:
    if None in (default.low, default.high, winner.low, winner.high):
        return False
    higher, lower = (winner, default) if better == "higher" else (default, winner)
    return float(higher.low or 0.0) > float(lower.high or 0.0)


def trial_plot(made: Tuned) -> Plot:
    """The score of each run, and the best so far as a line; crosses ended early."""
    score = words.label(made.metric)
    scored = [trial for trial in made.trials if trial.score is not None]
    whole = [trial for trial in scored if not trial.ended_early]
    sources = list(dict.fromkeys(trial.source for trial in made.trials))
    best: list[float] = []
    for trial in scored:
        value = float(trial.score or 0.0)
        best.append(value if not best else max(best[-1], value) if made.better == "higher" else min(best[-1], value))
    at = [trial.number + 1 for trial in scored]

    def draw(axes: Any) -> None:
        axes.step(
            [*at, len(made.trials)], [*best, best[-1]], where="post", color=MUTED, linewidth=1.4, label="best so far"
        )
        for place, source in enumerate(sources):
            of_it = [trial for trial in whole if trial.source == source]
            colour = SERIES[place % len(SERIES)]
            label = SOURCES.get(source, source)
            places, scores = [trial.number + 1 for trial in of_it], [trial.score for trial in of_it]
            axes.plot(places, scores, "o", color=colour, markersize=5, label=label, linestyle="none")
        early = [trial for trial in scored if trial.ended_early]
        if early:
            axes.plot([trial.number + 1 for trial in early], [trial.score for trial in early], "x", color=INK,
                      markersize=5, label="ended early", linestyle="none")  # fmt: skip
        axes.set_title(f"{score} by run ({words.ARROWS[made.better]})", loc="left", fontsize=10.5)
        axes.set_xlabel("run")
        axes.margins(x=0.04)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8.5, labelspacing=0.3)

    told = f"the best is run {made.winner + 1} with {words.short_number(best[-1])}"
    return Plot(f"{score} of {len(made.trials)} runs: {told}.", (6.2, 3.2), draw)
