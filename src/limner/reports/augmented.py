"""The page of an augmented training set, and what the check of it says in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from limner.metrics.gain import ARMS, NETWORK, REGRESSION
from limner.reports import words
from limner.types import Score

if TYPE_CHECKING:
    from limner.verbs.augment_check import Gain

MOST_CLASSES = 30
"""Classes that the page shows, at most."""

JUDGES = {NETWORK: "a small network", REGRESSION: "logistic regression"}


class Class(NamedTuple):
    """A class on the page: its name, some real and some made images, uint8 ``(n, c, h, w)``, and how many are real."""

    name: str
    real: Tensor
    made: Tensor
    total: int


def points(score: Score) -> str:
    """A difference of shares in points of a hundred, with its interval.

    >>> points(Score(0.021, 0.004, 0.039))
    '2.1 points [0.4, 3.9]'
    """
    value, low, high = (f"{100 * (end or 0):.1f}" for end in (score.value, score.low, score.high))
    return f"{_signed(value)} points [{_signed(low)}, {_signed(high)}]"


def _signed(number: str) -> str:
    return (number.lstrip("-") if float(number) == 0 else number).replace("-", "−")


def side(score: Score) -> int:
    """1 where the whole interval lies above 0, −1 where it lies below, 0 where it holds 0.

    >>> side(Score(0.1, 0.05, 0.2)), side(Score(0.1, -0.05, 0.2)), side(Score(-0.1, -0.2, -0.05))
    (1, 0, -1)
    """
    return int((score.low or 0) > 0) - int((score.high or 0) < 0)


def verdict(gain: Gain) -> str:
    """Whether to use the made images, in a sentence or two: by the network, with the regression as second opinion."""
    found = gain.gains[NETWORK]
    helped, usual, more = (found[name] for name in ("made less plain", "ordinary less plain", "made less ordinary"))
    names = ", ".join(gain.plan.ordinary)
    ordinary = f"ordinary augmentation ({names})"
    if side(helped) > 0 and side(more) > 0:
        told = (
            f"The made images raise accuracy by {points(helped)}, and by {points(more)} more than {ordinary}: use them."
        )
    elif side(helped) > 0 and side(more) < 0:
        told = (
            f"The made images raise accuracy by {points(helped)}, but {ordinary} raises it by "
            f"{points(usual)}: use that instead."
        )
    elif side(helped) > 0:
        told = (
            f"The made images raise accuracy by {points(helped)}: use them, or {ordinary}, which cannot be told apart "
            f"from them ({points(usual)})."
        )
    else:
        told = (
            f"The made images lower accuracy, by {points(helped)}: leave them out"
            if side(helped) < 0
            else f"No clear gain: the made images change accuracy by {points(helped)}"
        )
        told += (
            f"; {ordinary} raises it by {points(usual)}: use that instead."
            if side(usual) > 0
            else f", and {ordinary} by {points(usual)}: don't bother."
        )
    return told + _second(gain, side(helped))


def _second(gain: Gain, first: int) -> str:
    """What the regression says of the same; nothing where there is none."""
    if REGRESSION not in gain.gains:
        return ""
    other = gain.gains[REGRESSION]["made less plain"]
    judge = f" Logistic regression on features of {gain.plan.features}"
    if side(other) == first:
        return f"{judge} says the same ({points(other)})."
    said = {1: "a gain", 0: "no clear difference", -1: "a loss"}[side(other)]
    return f"{judge} sees {said} ({points(other)})."


def rows(gain: Gain) -> list[dict[str, str]]:
    """The table of the check: for each judge and arm its accuracy, and what it is more than from real images alone."""
    made = []
    for judge, arms in gain.accuracy.items():
        for arm, score in arms.items():
            difference = "" if arm == "plain" else points(gain.gains[judge][f"{arm} less plain"])
            ends = f"{100 * (score.low or 0):.1f} to {100 * (score.high or 0):.1f}%"
            made.append(
                {
                    "judge": JUDGES[judge], "arm": ARMS[arm], "accuracy": f"{100 * score.value:.1f}%",
                    "interval": ends, "difference": difference,
                }
            )  # fmt: skip
    return made


def write(
    path: Path, record: dict[str, Any], classes: Sequence[Class], gain: Gain | None, notes: Sequence[str]
) -> Path:
    """Write the page at ``path``: what the check says, and real and made images of each class; its path.

    record  what ``augment.json`` holds
    """
    from limner.config import Strategy
    from limner.learners import rebuild
    from limner.model_file import write_atomically
    from limner.reports.page import environment, gallery, versions

    strategy = Strategy.from_json(record["strategy"])
    page = (
        environment()
        .get_template("augmented.html")
        .render(
            title=words.title(record["data"]),
            record=record,
            made=sum(each["made"] for each in record["classes"]),
            classes=[
                {
                    "name": one.name,
                    "total": one.total,
                    "real": gallery(one.real, f"real images of {one.name}"),
                    "made": gallery(one.made, f"made images of {one.name}"),
                }
                for one in classes[:MOST_CLASSES]
            ],
            gain=gain,
            verdict="" if gain is None else verdict(gain),
            rows=[] if gain is None else rows(gain),
            learner=words.learner_in_words(rebuild(record["learner"])),
            strategy=words.strategy_in_words(strategy),
            notes=notes,
            versions=versions(),
        )
    )
    write_atomically(path, page.encode())
    return path
