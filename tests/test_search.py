"""The search over a space: each sampler finds what is there, remembers what was tried, and ends what is hopeless."""

import math

import pytest

from limner.errors import LimnerError
from limner.spaces import Knob, Space
from limner.spaces.search import SAMPLERS, SOONEST, Search

SPACE = Space(
    "a hill",
    (
        Knob("x", "float", -0.8, -1.0, 1.0),
        Knob("side", "choice", "left", words=("left", "right")),
        Knob("lift", "int", 1, 1, 5, when=("side", ("right",))),
    ),
)


def height(values):
    return -((values["x"] - 0.3) ** 2) + (0.1 * values["lift"] if values["side"] == "right" else 0.0)


def gone(sampler, runs, seed=0, higher=True):
    search = Search(SPACE, sampler, seed, higher)
    trials = []
    for number in range(runs):
        trial = search.propose(number, SPACE.default if number == 0 else None, "default" if number == 0 else "")
        search.observe(trial, height(trial.values) if higher else -height(trial.values))
        trials.append(trial)
    return trials


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_stays_in_the_space_and_betters_the_default(sampler):
    trials = gone(sampler, 12)
    assert trials[0].values == SPACE.default
    assert trials[0].source == "default"
    assert all(SPACE.holds(trial.values) for trial in trials)
    assert all(trial.source == sampler for trial in trials[1:])
    assert max(height(trial.values) for trial in trials) > height(SPACE.default)
    assert len({str(trial.values) for trial in trials}) == 12


def test_a_sampler_that_learns_is_nearer_to_the_top_than_chance():
    def best(sampler):
        return sum(max(height(trial.values) for trial in gone(sampler, 30, seed)) for seed in range(4)) / 4

    assert best("tpe") > best("random") > height(SPACE.default)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_what_is_recalled_leads_to_the_same_next_proposal(sampler):
    whole = gone(sampler, 8)
    search = Search(SPACE, sampler, 0, True)
    for trial in whole[:7]:
        search.recall(trial.values, height(trial.values), {})
    assert search.propose(7).values == pytest.approx(whole[7].values)


def test_lower_is_better_where_it_is_said():
    trials = gone("tpe", 30, higher=False)
    late = [height(trial.values) for trial in trials[15:]]
    early = [height(trial.values) for trial in trials[:8]]
    assert sum(late) / len(late) > sum(early) / len(early)


def test_nothing_is_tried_twice_and_a_small_space_comes_to_its_end():
    search = Search(Space("a switch", (Knob("on", "choice", False, words=(False, True)),)), "random", 0, True)
    found = []
    while (trial := search.propose(len(found))) is not None:
        found.append(trial.values["on"])
        search.observe(trial, 0.0)
    assert sorted(found) == [False, True]
    assert search.tried({"on": True})


def test_a_run_behind_the_others_is_hopeless_and_one_ahead_is_not():
    search = Search(SPACE, "random", 0, True)
    for number in range(SOONEST):
        trial = search.propose(number)
        assert not search.hopeless(trial, 1, 0.5 + number)
        search.observe(trial, 1.0 + number)
    behind, ahead = search.propose(SOONEST), search.propose(SOONEST + 1)
    assert search.hopeless(behind, 1, 0.1)
    assert not search.hopeless(ahead, 1, 9.0)
    search.observe(behind, 0.1, whole=False)
    search.observe(ahead, None)
    again = Search(SPACE, "random", 0, True)
    for number in range(SOONEST):
        again.recall(SPACE.sample(number), 1.0 + number, {1: 0.5 + number})
    assert again.hopeless(again.propose(SOONEST), 1, 0.1)


def test_a_failed_run_and_one_without_a_number_do_no_harm():
    search = Search(SPACE, "tpe", 0, True)
    for number, score in enumerate((None, math.nan, 1.0)):
        trial = search.propose(number)
        search.observe(trial, score)
    search.recall(SPACE.default, None, {})
    assert SPACE.holds(search.propose(3).values)


def test_a_sampler_that_there_is_not():
    with pytest.raises(LimnerError, match="there is no sampler 'bohb'; there are: tpe, cma-es, gp, random"):
        Search(SPACE, "bohb", 0, True)
