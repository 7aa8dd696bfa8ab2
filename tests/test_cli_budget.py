"""Budgets as people write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from limner.cli.main import main
from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import portfolio
from limner.memory.portfolio import Entry
from limner.verbs.budget import Budget, parse


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        (None, None, None),
        ("60s", None, 60),
        ("2m", None, 120),
        ("1.5h", None, 5400),
        ("500steps", 500, None),
        ("0steps", 0, None),
        ("2m,0steps", 0, 120),
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
    "text", ["", "soon", "-3s", "0s", "1.5steps", "-1steps", "2m,3s", "5steps,6steps", "3 days", "s", "1e3"]
)
def test_refuses_what_it_cannot_read(text):
    with pytest.raises(LimnerError, match=r"budget .* cannot be read; right would be"):
        parse(text)


@given(some.integers(1, 10**6), some.sampled_from([("s", 1), ("m", 60), ("h", 3600)]), some.integers(1, 10**6))
def test_round_trip(number, unit, steps):
    assert parse(f"{number}{unit[0]},{steps}steps") == Budget(steps, number * unit[1])


@pytest.mark.parametrize("how", [["train", "vae"], ["adapt", "generate"]])
@pytest.mark.parametrize("ends", [["--budget", "0.4s"], ["--set", "seconds=0.4"]])
def test_a_time_alone_is_all_used(how, ends, tmp_path, monkeypatch, capsys):
    quick = Strategy(steps=2, batch=4, schedule="cosine")
    usual = {"generate": (Entry("scratch", "vae", False, quick, "it is quick"),)}
    monkeypatch.setattr(portfolio, "PORTFOLIO", usual)
    monkeypatch.chdir(tmp_path)
    small = ["--shots", "5", "--option", "width=4", "--option", "latents=2"]
    assert main([*how, "digits,size=16,classes=3", *small, *ends, "--out", "made", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)["cost"]
    assert cost["steps"] > 2
    assert 0.4 <= cost["seconds"] < 20
