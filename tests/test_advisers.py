"""Advisers: each betters the default where the past tells of the task, and begins with it where the past does not."""

import math
import random

import numpy as np
import pytest
import torch
from made_up import VAE, a_run, a_task, some_scores

from limner.advisers import CATALOGUE, adviser
from limner.advisers.base import Case, Told, key
from limner.advisers.ensemble import expected_improvement
from limner.advisers.evolution import Evolution
from limner.advisers.history import PastRun, PastTask, Regrets, past_tasks, pooled, regrets
from limner.advisers.lists import nearest, portfolio
from limner.advisers.metann import MetaNN
from limner.advisers.sampled import Sampled
from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Fingerprint, Memory
from limner.spaces import Knob, Space

SPACE = Space(
    "a hill",
    (
        Knob("x", "float", -0.8, -1.0, 1.0),
        Knob("side", "choice", "left", words=("left", "right")),
        Knob("lift", "int", 1, 1, 5, when=("side", ("right",))),
    ),
)
HERE = Fingerprint({"intensity": {"mean": 0.5}})
LEARNING = [name for name in CATALOGUE if name not in ("default", "random")]


def height(values, top=0.3):
    return -((values["x"] - top) ** 2) + (0.1 * values["lift"] if values["side"] == "right" else 0.0)


def a_past(name, similarity, top=0.3, higher=True, count=24):
    sign = 1.0 if higher else -1.0
    tried = [SPACE.default, *(SPACE.sample(1000 * len(name) + seed) for seed in range(count))]
    runs = tuple(
        PastRun(f"{name}{place}", values, sign * height(values, top), 1.0) for place, values in enumerate(tried)
    )
    return PastTask(name, name, similarity, HERE, runs)


def a_case(*past, seed=0, higher=True):
    return Case(SPACE, higher, seed, HERE, tuple(past))


def gone(name, case, runs, top=0.3):
    """What an adviser proposes, told what came of it."""
    advising, found = adviser(name, case), []
    for place in range(runs):
        proposal = advising.propose(runs - place)
        if proposal is None:
            break
        score = height(proposal.values, top) if case.higher else -height(proposal.values, top)
        advising.observe(Told(proposal.values, score, 1.0))
        found.append(proposal)
    return found


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("past", [(), (a_past("other", 0.04, top=-0.9), a_past("another", 0.01))])
def test_on_an_unrelated_task_the_default_comes_first(name, past):
    found = gone(name, a_case(*past), 4)
    assert found[0].values == SPACE.default
    assert found[0].source == "default"
    assert len({key(proposal.values) for proposal in found}) == len(found) == (1 if name == "default" else 4)
    assert all(SPACE.holds(proposal.values) for proposal in found)
    assert all(proposal.reason.endswith(".") for proposal in found)


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("higher", [True, False])
def test_on_a_task_like_those_of_the_past_few_runs_are_far_ahead_of_the_default(name, higher):
    past = [a_past(f"past{'s' * place}", 0.9, 0.3 + 0.05 * place, higher) for place in range(3)]
    found = gone(name, a_case(*past, higher=higher), 3)
    assert height(found[0].values) > height(SPACE.default) + 0.5
    assert max(height(proposal.values) for proposal in found) > 0.2  # the top is at 0.5, the default at -1.21


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_same_case_and_the_same_told_lead_to_the_same_proposal(name):
    case = a_case(a_past("like", 0.8))
    first = gone(name, case, 5)
    again = adviser(name, case)
    for proposal in first[:-1]:
        again.observe(Told(proposal.values, height(proposal.values), 1.0))
    if name != "default":
        assert again.propose(1).values == first[-1].values


@pytest.mark.parametrize("name", CATALOGUE)
def test_runs_without_a_score_and_ones_ended_early_do_no_harm(name):
    advising = adviser(name, a_case(a_past("like", 0.5)))
    for told in (Told(SPACE.default, None), Told(SPACE.sample(1), 9.0, whole=False, rungs={1: 9.0})):
        advising.observe(told)
    assert advising.best is None
    proposal = advising.propose(5)
    assert proposal is None if name == "default" else SPACE.holds(proposal.values)


def test_a_small_space_comes_to_its_end():
    space = Space("a switch", (Knob("on", "choice", False, words=(False, True)),))
    for name in CATALOGUE:
        advising, found = adviser(name, Case(space, True, 0, HERE)), []
        while (proposal := advising.propose(3)) is not None:
            found.append(proposal.values["on"])
            advising.observe(Told(proposal.values, float(len(found)), 1.0))
        assert sorted(found) == ([False] if name == "default" else [False, True]), name


def test_an_adviser_that_there_is_not():
    with pytest.raises(LimnerError, match="there is no adviser 'oracle'; there are: default, random, portfolio"):
        adviser("oracle", a_case())


def test_regret_is_nothing_for_the_best_and_one_for_the_middle_and_does_not_mind_units():
    assert regrets([3.0, 1.0, 2.0], higher=True).tolist() == [0.0, 2.0, 1.0]
    assert regrets([3.0, 1.0, 2.0], higher=False).tolist() == [2.0, 0.0, 1.0]
    assert (
        regrets([-1000.0, 2.0, 2.5, 3.0, 1.0], True).tolist() == regrets([0.0, 20.0, 25.0, 30.0, 10.0], True).tolist()
    )
    assert regrets([5.0, 5.0], True).tolist() == [0.0, 0.0]


def test_regret_of_what_was_not_tried_is_like_that_of_its_neighbours():
    task = a_past("task", 1.0, count=60)
    known = Regrets(SPACE, [task], True)
    near, far = known.of([{"x": 0.3, "side": "right", "lift": 5}, {"x": -1.0, "side": "left"}])[:, 0]
    assert 0 <= near < 0.7 < 1.0 < far <= 2


@pytest.mark.parametrize("listed", [nearest, portfolio])
def test_what_one_of_many_knobs_decides_comes_first_though_no_two_tasks_tried_the_same(listed):
    words = ("low", "middle", "high")
    space = Space("many knobs", tuple(Knob(f"k{place}", "choice", "low", words=words) for place in range(8)))

    def a_task_of(name):
        chance = random.Random(name)
        tried = [space.default, *(space.sample(chance.randrange(10**6)) for _ in range(24))]
        scores = [(values["k3"] == "high") + 0.3 * chance.random() for values in tried]
        runs = (PastRun(f"{name}{place}", values, scores[place], 1.0) for place, values in enumerate(tried))
        return PastTask(name, name, 0.8, HERE, tuple(runs))

    case = Case(space, True, 0, HERE, tuple(a_task_of(name) for name in "abcdef"))
    assert listed(case)[0].values["k3"] == "high"
    known = Regrets(space, case.past, True)
    high, low = ({**space.sample(9), "k3": word} for word in ("high", "low"))
    of_high, of_low = known.of([high, low])
    assert (of_low - of_high).min() > 0.2


def test_what_two_knobs_decide_together_is_foretold_where_no_line_tells_it():
    chance = np.random.default_rng(0)
    places = chance.random((400, 6))
    unlike = (places[:, 0] > 0.5) != (places[:, 1] > 0.5)
    told = pooled(places, unlike - unlike.mean(), np.ones(400))
    others = chance.random((200, 6))
    wanted = (others[:, 0] > 0.5) != (others[:, 1] > 0.5)
    assert ((told(others) > 0) == wanted).mean() > 0.85
    few = pooled(places[:10], unlike[:10] - unlike[:10].mean(), np.ones(10))
    slopes = np.diff(few(np.linspace(0, 1, 5)[:, None] * np.ones(6)))
    assert slopes == pytest.approx(slopes[:1].repeat(4)), "of few runs a line is all that is told"


def test_the_portfolio_covers_tasks_of_two_kinds():
    past = [a_past(f"low{'s' * place}", 0.5, -0.9) for place in range(2)]
    past += [a_past(f"high{'s' * place}", 0.5, 0.9) for place in range(2)]
    first, second = portfolio(a_case(*past))[:2]
    reached = [[height(each.values, top) for each in (first, second)] for top in (-0.9, 0.9)]
    assert all(max(pair) > 0.2 for pair in reached)
    alone = max(min(pair[place] for pair in reached) for place in (0, 1))
    assert min(max(pair) for pair in reached) > alone


def test_the_default_is_always_among_the_nearest_and_ahead_of_what_little_speaks_for():
    assert SPACE.default in [each.values for each in nearest(a_case(a_past("like", 0.9)))]
    runs = (PastRun("a", SPACE.default, 1.0, 1.0), PastRun("b", SPACE.sample(1), 1.01, 1.0))
    good = PastTask("good", "good", 0.06, HERE, runs)
    found = nearest(a_case(good))
    assert [each.source for each in found] == ["default", "past"]


def test_the_sampler_is_lent_only_what_was_done_on_tasks_much_alike():
    lent, not_lent = Sampled(a_case(a_past("same", 0.75))), Sampled(a_case(a_past("like", 0.65)))
    for advising in (lent, not_lent):
        while (proposal := advising.propose(9)).source in ("default", "past"):
            advising.observe(Told(proposal.values, height(proposal.values), 1.0))
    assert "and 25 on tasks much like this one" in lent.propose(9).reason
    assert "on tasks" not in not_lent.propose(9).reason
    tried = a_past("same", 0.75).runs[7].values
    assert lent.search.tried(tried)
    assert not not_lent.search.tried(tried)


def test_lent_scores_are_moved_to_where_scores_are_here():
    task = a_past("same", 0.9)
    advising = Sampled(a_case(task))
    for run in task.runs[:4]:
        advising.observe(Told(run.values, run.score + 7.0, 1.0))
    scale = max(run.score for run in task.runs) - sorted(run.score for run in task.runs)[len(task.runs) // 2]
    assert advising._shifts() == [pytest.approx(7.0, abs=scale)]  # regrets are cut off at 2


def test_reinforce_moves_the_distribution_along_the_gradient_of_its_log_likelihood():
    advising = Evolution(Case(Space("a line", (Knob("x", "float", 0.5, 0.0, 1.0),)), True, 0, HERE))
    mean, deviation, place, rate, advantage = 0.5, 0.25, 0.6, 0.3, 1.5

    def log_likelihood(mean, deviation):
        return -((place - mean) ** 2) / (2 * deviation**2) - math.log(deviation)

    tiny = 1e-6
    slope = (log_likelihood(mean + tiny, deviation) - log_likelihood(mean - tiny, deviation)) / (2 * tiny)
    advising._move({"x": place}, advantage)
    assert advising.means["x"] == pytest.approx(mean + rate * advantage * deviation**2 * slope, rel=1e-4)
    of_log = (log_likelihood(mean, deviation * math.exp(tiny)) - log_likelihood(mean, deviation * math.exp(-tiny))) / (
        2 * tiny
    )
    assert math.log(advising.deviations["x"] / deviation) == pytest.approx(rate / 2 * advantage * of_log, rel=1e-4)
    choosing = Evolution(Case(Space("a word", (Knob("w", "choice", "a", words=("a", "b", "c")),)), True, 0, HERE))
    before, logits = choosing.probabilities("w"), list(choosing.logits["w"])
    choosing._move({"w": "b"}, advantage)
    slopes = [(place == 1) - share for place, share in enumerate(before)]
    moved = [new - old for new, old in zip(choosing.logits["w"], logits, strict=True)]
    assert moved == pytest.approx([rate * advantage * each for each in slopes])
    assert choosing.probabilities("w")[1] > before[1]


def test_the_distribution_gathers_where_scores_are_high():
    space = Space("a hill", (Knob("x", "float", 0.2, 0.0, 1.0), Knob("w", "choice", "a", words=("a", "b"))))
    advising = Evolution(Case(space, True, 0, HERE))
    chance = random.Random(0)
    for _ in range(150):
        values = advising._drawn(chance)
        advising.observe(Told(values, -((values["x"] - 0.8) ** 2) + 0.3 * (values["w"] == "b"), 1.0))
    assert abs(advising.means["x"] - 0.8) < 0.15
    assert advising.probabilities("w")[1] > 0.8


def test_expected_improvement_is_what_drawing_says():
    mean, deviation = torch.tensor([0.2, -1.0]), torch.tensor([0.5, 2.0])
    drawn = mean + deviation * torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    simulated = (drawn - 0.4).clamp(min=0).mean(0)
    assert torch.allclose(expected_improvement(mean, deviation, 0.4), simulated, atol=0.01)


def test_the_network_foretells_scores_and_costs_and_what_costs_less_goes_first():
    space = Space("a line", (Knob("x", "float", 0.5, 0.0, 1.0),))
    runs = tuple(
        PastRun(str(place), {"x": place / 40}, -((place / 40 - 0.5) ** 2), 10.0 if place > 20 else 0.1)
        for place in range(41)
    )
    case = Case(space, True, 0, HERE, (PastTask("same", "same", 1.0, HERE, runs),))
    advising = MetaNN(case)
    ensemble = advising._learned().ensemble
    found = advising.predicted(ensemble, [{"x": 0.5}, {"x": 0.0}, {"x": 1.0}])
    assert found.mean[0] > found.mean[1] + 1
    assert found.mean[0] > found.mean[2] + 1
    assert found.log_seconds[2] - found.log_seconds[1] > 3
    assert (found.deviation > 0).all()
    for place in (0.1, 0.9, 0.25):
        advising.observe(Told({"x": place}, -((place - 0.5) ** 2), 10.0 if place > 0.5 else 0.1))
    assert 0.25 < advising.propose(5).values["x"] <= 0.55


def test_the_past_of_a_memory_is_that_of_one_learner_and_goal_on_the_same_features(tmp_path):
    rate = Knob("learning_rate", "float", 1e-3, 1e-4, 1e-2, of="strategy")
    space = Space("the vae", (Knob("latents", "int", 16, 2, 128), rate))

    def read(options, strategy):
        return {"latents": options["latents"], "learning_rate": strategy.learning_rate}

    with Memory.open(tmp_path) as memory:
        for seed, score in ((1, 0.5), (2, 0.1)):
            task = memory.add_task(a_task(seed), HERE)
            for name, strategy, lineage in (
                ("one", Strategy(steps=100), {}), ("two", Strategy(steps=150, learning_rate=5e-3), {}),
                ("far", Strategy(learning_rate=0.5), {}), ("long", Strategy(steps=5000), {}),
                ("early", Strategy(steps=100), {"ended_early": 3}),
            ):  # fmt: skip
                run = memory.begin_run(task, VAE, strategy, 0, name)
                memory.finish_run(run, a_run(lineage=lineage), some_scores(score))
        asked = (memory, "generate", HERE, "vae", space, read)
        (first, second) = past_tasks(*asked, steps=120)
        assert first.similarity == second.similarity == 1.0
        assert sorted(run.values["learning_rate"] for run in first.runs) == [1e-3, 5e-3]
        assert first.best(higher=False).score in (0.1, 0.5)
        assert [len(task.runs) for task in past_tasks(*asked)] == [3, 3]
        assert past_tasks(*asked, but="t")[0].runs != past_tasks(*asked)[0].runs
        assert past_tasks(memory, "classify", *asked[2:]) == ()
        far = Fingerprint({"intensity": {"mean": 0.9}})
        assert past_tasks(memory, "generate", far, *asked[3:])[0].similarity < 0.01


def test_advice_is_scored_against_the_default_on_the_same_task(tmp_path):
    with Memory.open(tmp_path) as memory:
        for seed, usual, found in ((1, 0.5, 0.2), (2, 0.4, 0.5)):
            task = memory.add_task(a_task(seed), HERE)
            for source, score in (("default", usual), ("metann", found)):
                said = memory.advise(task, VAE, Strategy(), source=source, reason="Why not.", evidence=(task,))
                run = memory.begin_run(task, VAE, Strategy(), 0)
                memory.observe(said, run)
                memory.finish_run(run, a_run(), some_scores(score))
        alone = memory.add_task(a_task(3), HERE)
        said = memory.advise(alone, VAE, Strategy(), source="metann", reason="Why not.")
        run = memory.begin_run(alone, VAE, Strategy(), 0)
        memory.observe(said, run)
        memory.finish_run(run, a_run(), some_scores(0.01))
        for reason in ("", "stopped by hand", "too little memory"):  # what was not judged, or stopped, has not failed
            said = memory.advise(alone, VAE, Strategy(), source="metann", reason="Why not.")
            run = memory.begin_run(alone, VAE, Strategy(), 0)
            memory.observe(said, run)
            if reason:
                memory.fail_run(run, reason)
            else:
                memory.finish_run(run, a_run(), None)
        memory.advise(alone, VAE, Strategy(), source="metann", reason="Never followed.")
        rows = {row["adviser"]: row for row in memory.advice()}
        assert rows["metann"] == {
            "adviser": "metann", "metric": "kernel_distance", "followed": 3, "failed": 1, "compared": 2,
            "better": 0.5, "regret": pytest.approx((-0.3 + 0.1) / 2),
        }  # fmt: skip
        assert (rows["default"]["followed"], rows["default"]["regret"], rows["default"]["better"]) == (2, None, None)
        assert memory.show(said)["outcome_run"] == run
