"""What a start's page shows: the numbers that were measured, the pictures that belong to them, and nothing else."""

from __future__ import annotations

import math
import re

import pytest
import torch

from limner.errors import LimnerError
from limner.learners import create
from limner.meta import MetaPlan, Trajectory, learn
from limner.reports import start_page, start_words
from limner.reports.start_figures import bar_plot, function_plot, rates_plot, trajectory_plot, validation_plot
from limner.tasks import Family, ImageSet, SinusoidFamily
from limner.types import CurvePoint


def found(rows, name="net accuracy", **more):
    return Trajectory({name: rows, **more}, {"net.0": 0.25}, "test")


def test_a_trajectory_is_told_as_it_was_measured():
    plot = trajectory_plot(found([[0.2, 0.5, 0.8], [0.4, 0.7, 0.8]]), ["net accuracy"], learned=1)
    assert plot.words == "Net accuracy, mean of 2 test tasks: Net accuracy from 0.300 to 0.800 (± 0) in 2 steps."
    assert "steps it was learned for" in plot.svg()
    assert plot.image().size[0] > 300
    with pytest.raises(LimnerError, match="there are: net accuracy"):
        trajectory_plot(found([[0.2, 0.5]]), ["critic gap"])


@pytest.mark.parametrize("far", [1e30, math.inf, math.nan])
def test_what_diverges_does_not_hide_what_was_learned(far):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    trajectory_plot(found([[4.0, 2.0, far], [5.0, 2.5, far]]), ["net accuracy"], learned=1).draw(axes)
    low, high = axes.get_ylim()
    assert low < 2.0 < 5.0 < high < 20.0


def test_the_band_is_the_interval():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    rows = torch.rand(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trajectory_plot(found(rows.tolist()), ["net accuracy"]).draw(axes)
    edges = axes.collections[0].get_paths()[0].vertices
    for step in range(3):
        reach = 1.96 * float(rows[:, step].std()) / math.sqrt(20)
        at = edges[edges[:, 0] == step][:, 1]
        assert at.min() == pytest.approx(float(rows[:, step].mean()) - reach, abs=1e-6)
        assert at.max() == pytest.approx(float(rows[:, step].mean()) + reach, abs=1e-6)


def test_bars_are_as_long_as_their_values():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    bar_plot({"net.a": 0.5, "net.b": -0.25}, "Moved", "share").draw(axes)
    assert [bar.get_width() for bar in axes.patches] == [0.5, -0.25]
    many = bar_plot({f"layer {place}": float(place) for place in range(40)}, "Moved", "share", mark=0.0)
    assert "layer 39" in many.words
    assert "layer 3 " not in many.words
    with pytest.raises(LimnerError, match="nothing to draw"):
        bar_plot({}, "Moved", "share")


def test_rates_by_layer_and_step_and_by_parameter():
    by_step = rates_plot({"net.0": torch.tensor([1.0, 2.0]), "net.2": torch.tensor([0.5, 1.0])}, "layer and step")
    assert "net.0 1.00 2.00, net.2 0.500 1.00" in by_step.words
    by_parameter = rates_plot({"net.0.weight": torch.ones(3), "net.0.bias": torch.full((1,), 3.0)}, "parameter")
    assert "net.0 1.50" in by_parameter.words


def test_a_validation_that_spans_a_hundredfold_is_logarithmic():
    from matplotlib.figure import Figure

    for last, scale in ((0.5, "linear"), (1e-3, "log")):
        axes = Figure().add_subplot()
        points = [CurvePoint(step, 1.0, {"net query loss after": value}) for step, value in ((1, 1.0), (2, last))]
        validation_plot(points, ["net query loss after"], "Query loss").draw(axes)
        assert axes.get_yscale() == scale


def test_a_function_plot_tells_both_errors():
    plot = function_plot(([0.0, 1.0], [0.0, 0.0]), ([0.5], [0.0]), [2.0, 2.0], [1.0, 0.0], "Task 1")
    assert plot.words == "Task 1: mean squared error 4.00 before adaptation, 0.500 after."


def test_the_headline_ranks_and_a_game_has_none():
    assert start_words.headline(["net query loss", "net kl"]) == "net query loss"
    assert start_words.headline(["critic query loss", "generator query loss"]) is None
    same = [[1.0, 2.0]]
    assert start_words.chosen({"net query loss": same, "net squared_error": same}) == ["net squared_error"]


@pytest.fixture(scope="module")
def family():
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (100, 1, 16, 16), generator=random, dtype=torch.uint8)
    return Family(ImageSet(pictures, "noise", torch.arange(100) // 10, tuple("abcdefghij")), shots=3, queries=4)


def test_examples_of_a_generative_learner_differ_after_adaptation(family):
    plan = MetaPlan("reptile", steps=1, tasks=1, inner_steps=4, inner_rate=0.05, validate_tasks=1, execution="loop")
    made = learn(create("vae", (1, 16, 16), width=4, latents=2), family, plan)
    shown = list(start_page.examples(made, family))
    assert len(shown) == family.size("validation")
    before, after = (start_page.samples(made, shown[0], params) for params in (shown[0].before, shown[0].after))
    assert before.shape == after.shape == (16, 1, 16, 16)
    assert not torch.equal(before, after)
    support = shown[0].task.support.images
    learned = start_page.as_bytes(start_page._first(shown[0].episode, made.plan))
    assert torch.equal(learned, support)  # Reptile too adapts to the support alone here


def test_the_wave_is_drawn_with_the_error_that_adaptation_leaves():
    plan = MetaPlan("maml", steps=1, tasks=1, inner_steps=3, inner_optimiser="sgd", inner_rate=0.003, execution="loop")
    family = SinusoidFamily(5, 5)
    made = learn(create("regressor", (1, 1, 1), width=8), family, plan)
    shown = next(iter(start_page._shown(made, family, "regress")))
    before, after = map(float, re.findall(r"error ([\d.]+) before adaptation, ([\d.]+) after", shown["plot"])[0])
    assert after < before


def test_the_verdict_says_what_was_measured(family):
    plan = MetaPlan("fomaml", steps=1, tasks=1, inner_steps=1, validate_tasks=1, execution="loop")
    made = learn(create("vae", (1, 16, 16), width=4, latents=2), family, plan)
    seen = found([[0.2, 0.5, 0.8], [0.4, 0.7, 0.8]])
    assert start_page.verdict(made.plan, seen) == (
        "On 2 unseen tasks 1 step of adaptation takes the accuracy from 30.0% to 60.0% (± 19.6%)."
    )
    assert start_page.verdict(made.plan, None) == ""
    rows = start_page._rows(made.plan, seen)
    assert (rows[0]["before"], rows[0]["after"], rows[0]["longest"]) == (
        "30.0% ± 19.6%",
        "60.0% ± 19.6%",
        "80.0% ± 0.0%",
    )
    scores = start_words.scores_of(made, seen, 3, 4)
    assert scores.values["accuracy"].value == pytest.approx(0.6)
    assert (scores.samples, scores.support, scores.query) == (2, 3, 4)
