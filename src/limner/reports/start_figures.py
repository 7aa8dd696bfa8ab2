"""Figures of a start: what adaptation does step by step, which layers move, learned step sizes, functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.reports.figures import DASHES, INK, MUTED, SERIES, Plot, curve_plot
from limner.reports.words import label, short_number
from limner.types import CurvePoint, Params

if TYPE_CHECKING:
    from limner.meta import Trajectory

MOST_LAYERS = 24
STEPS_MARKED = 30


def trajectory_plot(found: Trajectory, names: Sequence[str], learned: int | None = None, title: str = "") -> Plot:
    """Values after each step of adaptation: the mean over tasks, and its 95% interval as a band.

    names    which of ``found.values``; one line for each
    learned  a dotted upright line after so many steps: as many as the start was learned for
    Raises :class:`LimnerError` where the trajectory has none of them.
    """
    steps = {name: found.mean(name) for name in names if name in found.values}
    if not steps:
        raise LimnerError(
            f"no value {' or '.join(map(repr, names))} was measured; there are: {', '.join(found.values)}"
        )
    title = title or ", ".join(label(name) for name in steps)

    def draw(axes: Any) -> None:
        for place, (name, pairs) in enumerate(steps.items()):
            at, colour = list(range(len(pairs))), SERIES[place % len(SERIES)]
            means = [mean for mean, _ in pairs]
            axes.fill_between(
                at, [mean - reach for mean, reach in pairs], [mean + reach for mean, reach in pairs], color=colour,
                alpha=0.2, linewidth=0,
            )  # fmt: skip
            axes.plot(
                at, means, color=colour, linestyle=DASHES[place % len(DASHES)], linewidth=1.9, label=label(name),
                marker="o" if len(pairs) <= STEPS_MARKED else None, markersize=3.6,
            )  # fmt: skip
        last = max(len(pairs) for pairs in steps.values()) - 1
        if learned is not None and 0 < learned < last:
            axes.axvline(learned, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="steps it was learned for")
        axes.set_title(title, loc="left", fontsize=10.5)
        axes.set_ylim(*_within(list(steps.values()), learned))
        axes.set_xlabel("steps of adaptation")
        axes.set_xticks(range(0, last + 1, max(1, last // 8)))
        if len(steps) > 1 or (learned is not None and 0 < learned < last):
            axes.legend(fontsize=8.5, handlelength=2.6, labelspacing=0.3)

    tasks = len(next(iter(found.values.values())))
    told = "; ".join(
        f"{label(name)} from {short_number(pairs[0][0])} to {short_number(pairs[-1][0])} "
        f"(± {short_number(pairs[-1][1])}) in {len(pairs) - 1} steps"
        for name, pairs in steps.items()
    )
    return Plot(f"{title}, mean of {tasks} {found.split} tasks: {told}.", (4.5, 2.9), draw)


def validation_plot(curve: Sequence[CurvePoint], keys: Sequence[str], what: str) -> Plot:
    """Values on validation tasks as a start was learned; on a logarithmic axis where they differ a hundredfold."""
    told = {key: f"{key.rpartition(' ')[2]} adaptation" for key in keys}
    renamed = [
        CurvePoint(point.step, point.seconds, {told[key]: point.values[key] for key in keys if key in point.values})
        for point in curve
    ]
    drawn = curve_plot({"": renamed}, list(told.values()), title=f"{what} on validation tasks")
    sizes = [value for point in renamed for value in point.values.values() if math.isfinite(value)]

    def draw(axes: Any) -> None:
        drawn.draw(axes)
        axes.set_xlabel("outer step")
        if sizes and 0 < 100 * min(sizes) < max(sizes):
            axes.set_yscale("log")

    return Plot(drawn.words, drawn.size, draw)


def _within(steps: list[list[tuple[float, float]]], learned: int | None) -> tuple[float, float]:
    """What to show of the upright axis: everything, but of steps beyond those learned for only what is not far off."""
    steps = [[pair for pair in pairs if all(map(math.isfinite, pair))] for pairs in steps]
    near = [pair for pairs in steps for pair in pairs[: 1 + (learned or len(pairs))]]
    if not near:
        return 0.0, 1.0
    low, high = (sign(mean + side * reach for mean, reach in near) for sign, side in ((min, -1), (max, 1)))
    every = [pair for pairs in steps for pair in pairs]
    low = max(min(mean - reach for mean, reach in every), low - 2 * (high - low))
    high = min(max(mean + reach for mean, reach in every), high + 2 * (high - low))
    edge = 0.04 * (high - low) or 1.0
    return low - edge, high + edge


def bar_plot(values: Mapping[str, float], title: str, across: str, mark: float | None = None) -> Plot:
    """A bar for each name, top to bottom as they come; of more than two dozen those that are furthest from ``mark``.

    mark  where a dotted upright line is drawn (``None``: nowhere)

    >>> bar_plot({"net.head": 0.5, "net.body": 0.1}, "Moved", "share").words
    'Moved: net.head 0.500, net.body 0.100.'
    """
    if not values:
        raise LimnerError(f"{title}: there is nothing to draw")
    far = sorted(values, key=lambda name: -abs(values[name] - (mark or 0.0)))[:MOST_LAYERS]
    shown = {name: value for name, value in values.items() if name in far}

    def draw(axes: Any) -> None:
        places = range(len(shown))
        axes.barh(places, list(shown.values()), color=SERIES[0], height=0.65)
        for place, value in zip(places, shown.values(), strict=True):
            beyond = 4 if value >= 0 else -4
            axes.annotate(
                short_number(value), (value, place), (beyond, 0), textcoords="offset points", va="center",
                ha="left" if value >= 0 else "right", fontsize=8, color=INK,
            )  # fmt: skip
        if mark is not None:
            axes.axvline(mark, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)))
        axes.set_yticks(places, list(shown), color=INK, fontsize=8.5)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.16)
        axes.set_xlabel(across)
        axes.set_title(title, loc="left", fontsize=10.5)

    told = ", ".join(f"{name} {short_number(value)}" for name, value in shown.items())
    return Plot(f"{title}: {told}.", (4.5, 1.0 + 0.24 * len(shown)), draw)


def rates_plot(rates: Params, by: str, title: str = "Learned step sizes") -> Plot:
    """Learned step sizes: ``by`` ``layer and step`` lines over steps, by ``parameter`` a bar of each layer's mean.

    >>> import torch
    >>> rates_plot({"net.0.weight": torch.full((2, 3), 1.5), "net.0.bias": torch.ones(2)}, "parameter").words
    'Learned step sizes, mean of each layer: net.0 1.38.'
    """
    from limner.meta.inner import layer_of

    if by == "parameter":
        layers: dict[str, list[float]] = {}
        for name, value in rates.items():
            total = layers.setdefault(layer_of(name), [0.0, 0.0])
            total[0] += float(value.sum())
            total[1] += value.numel()
        means = {layer: total / count for layer, (total, count) in layers.items()}
        return bar_plot(means, f"{title}, mean of each layer", "factor on the step size (begun at 1)", mark=1.0)
    lines = {name: [float(factor) for factor in value] for name, value in rates.items()}
    far = sorted(lines, key=lambda name: -max(abs(factor - 1) for factor in lines[name]))[: len(SERIES)]
    shown = {name: line for name, line in lines.items() if name in far}

    def draw(axes: Any) -> None:
        for place, (name, line) in enumerate(shown.items()):
            axes.plot(
                range(1, len(line) + 1), line, color=SERIES[place % len(SERIES)],
                linestyle=DASHES[place % len(DASHES)], linewidth=1.7, marker="o", markersize=3.6, label=name,
            )  # fmt: skip
        axes.axhline(1.0, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)))
        axes.set_xticks(range(1, max(map(len, shown.values())) + 1))
        axes.set_xlabel("step of adaptation")
        axes.set_title(title, loc="left", fontsize=10.5)
        axes.legend(fontsize=8, handlelength=2.6, labelspacing=0.3, loc="best")

    told = ", ".join(f"{name} {' '.join(map(short_number, line))}" for name, line in shown.items())
    return Plot(f"{title} by step: {told}.", (4.5, 2.9), draw)


def function_plot(
    true: tuple[Sequence[float], Sequence[float]],
    points: tuple[Sequence[float], Sequence[float]],
    before: Sequence[float],
    after: Sequence[float],
    title: str,
) -> Plot:
    """A function to be learned, the points it was learned from, and what was predicted before and after adaptation.

    true    inputs in ascending order and targets; ``before`` and ``after`` are predictions at the same inputs
    points  inputs and targets of the support
    """

    def draw(axes: Any) -> None:
        axes.plot(true[0], true[1], color=MUTED, linewidth=1.4, linestyle=DASHES[2], label="the function")
        axes.plot(true[0], before, color=SERIES[0], linewidth=1.5, linestyle=DASHES[1], label="before adaptation")
        axes.plot(true[0], after, color=SERIES[1], linewidth=1.9, label="after")
        axes.plot(points[0], points[1], "o", color=INK, markersize=4.5, label="its points")
        axes.set_title(title, loc="left", fontsize=10.5)
        axes.legend(fontsize=8.5, handlelength=2.6, labelspacing=0.3)

    wrong = [
        sum((guess - value) ** 2 for guess, value in zip(line, true[1], strict=True)) / len(true[1])
        for line in (before, after)
    ]
    told = f"mean squared error {short_number(wrong[0])} before adaptation, {short_number(wrong[1])} after"
    return Plot(f"{title}: {told}.", (4.5, 2.9), draw)
