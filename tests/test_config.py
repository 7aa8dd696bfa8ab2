"""A strategy that cannot be carried out is refused when it is made, with what would be right."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from limner.config import ENDLESS, Strategy
from limner.errors import LimnerError


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("steps", -3, "a whole number from 0"),
        ("warmup", -1, "a whole number from 0"),
        ("evaluate_every", -5, "a whole number from 0"),
        ("seconds", -1.0, "a number from 0"),
        ("batch", -1, "a whole number from 0"),
        ("learning_rate", 0.0, "a number above 0"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("ema", 1.0, "below 1"),
        ("clip", -0.1, "a number from 0"),
        ("anchor", -0.1, "a number from 0"),
        ("rehearsal", 1.0, "a number from 0"),
        ("update", "lora", "full, modulation, low-rank"),
        ("rank", 0, "a whole number from 1"),
        ("preserve", float("nan"), "a number from 0"),
        ("optimiser", "rmsprop", "sgd, momentum, adam"),
        ("schedule", "linear", "constant, cosine"),
        ("guard", (), "none, watch"),
        ("guard", ("none", "lower-rate"), "none, watch"),
        ("guard", ("pray",), "restore-best, lower-rate"),
    ],
)
def test_what_cannot_be_is_refused(field: str, value: Any, right: str) -> None:
    named = field.replace("learning_rate", "learning rate")
    with pytest.raises(LimnerError, match=f"the strategy's {named} .*{right}"):
        Strategy(**{field: value})
    with pytest.raises(LimnerError):
        Strategy().replace(**{field: value})


def test_a_strategy_comes_back_from_json_equal() -> None:
    changed = Strategy(
        start="abc", optimiser="sgd", learning_rate=0.5, player_rates={"critic": 2.0}, betas=(0.0, 0.5), steps=1,
        seconds=1.5, batch=0, schedule="cosine", warmup=3, clip=1.0, ema=0.5, augmentation=("shift", "turn"),
        frozen=("net.",), update="low-rank", rank=2, anchor=0.1, preserve=0.3, rehearsal=0.5, precision="bfloat16",
        early_stopping=True, evaluate_every=7, guard=("watch",),
    )  # fmt: skip
    assert all(getattr(changed, item.name) != getattr(Strategy(), item.name) for item in dataclasses.fields(Strategy))
    assert Strategy.from_json(changed.to_json()) == changed


@pytest.mark.parametrize(
    ("steps", "seconds", "ends"),
    [
        (None, None, (70, 9.0)),
        (5, None, (5, 0.0)),
        (None, 60.0, (ENDLESS, 60.0)),
        (5, 60.0, (5, 60.0)),
    ],
)
def test_a_budget_in_time_alone_is_not_cut_by_steps(steps, seconds, ends):
    strategy = Strategy(steps=70, seconds=9.0).within(steps, seconds)
    assert (strategy.steps, strategy.seconds) == ends
