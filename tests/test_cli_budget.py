"""Budgets as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from limner.errors import LimnerError
from limner.verbs.budget import Budget, parse


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        (None, None, None),
        ("60s", None, 60),
        ("2m", None, 120),
        ("1.5h", None, 5400),
        ("500steps", 500, None),
        ("1 step", 1, None),
        ("2m,500steps", 500, 120),
        ("500steps, 2m", 500, 120),
        ("45", None, 45),
        (45, None, 45),
    ],
)
def test_reads_what_people_write(text, steps, seconds):
    assert parse(text) == Budget(steps, seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "-3s", "0s", "0steps", "1.5steps", "2m,3s", "5steps,6steps", "3 days", "s", "1e3"]
)
def test_refuses_what_it_cannot_read(text):
    with pytest.raises(LimnerError, match=r"budget .* cannot be read; right would be"):
        parse(text)


@given(some.integers(1, 10**6), some.sampled_from([("s", 1), ("m", 60), ("h", 3600)]), some.integers(1, 10**6))
def test_round_trip(number, unit, steps):
    assert parse(f"{number}{unit[0]},{steps}steps") == Budget(steps, number * unit[1])
