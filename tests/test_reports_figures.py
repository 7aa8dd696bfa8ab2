"""Figures: grids keep every pixel, plots say what they show, and what cannot be shown is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from limner.errors import LimnerError
from limner.reports.figures import curve_plot, grid, score_plot
from limner.reports.nearest import nearest
from limner.types import CurvePoint, Score

CURVE = [CurvePoint(step, step / 10, {"net loss": 5.0 / step, "kernel_distance": 1 / step}) for step in (1, 2, 4)]


def noise(count: int, channels: int = 1, side: int = 16, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, side, side), dtype=torch.uint8, generator=random)


@pytest.mark.parametrize(
    ("count", "columns", "scale", "gutter", "size"),
    [(1, 1, 1, 2, (16, 16)), (5, 3, 2, 2, (100, 66)), (4, 8, 1, 0, (64, 16)), (9, 4, 3, 5, (207, 154))],
)
def test_a_grid_has_the_size_it_says(count, columns, scale, gutter, size):
    assert grid(noise(count), columns, scale, gutter).size == size


def test_a_grid_keeps_every_pixel_and_leaves_gutters_empty():
    images = noise(5, channels=3, side=16)
    pixels = np.asarray(grid(images, columns=2, scale=3, gutter=4, background=200))
    rebuilt = np.full_like(pixels, 200)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = index // 2 * 52, index % 2 * 52
        rebuilt[top : top + 48, left : left + 48] = np.kron(image, np.ones((3, 3, 1), np.uint8))
    assert np.array_equal(pixels, rebuilt)


def test_captions_stand_under_their_image():
    plain, told = grid(noise(2), 2, scale=3), grid(noise(2), 2, scale=3, captions=["a", "a long one that is cut"])
    assert told.width == plain.width
    assert np.array_equal(np.asarray(told)[:48], np.asarray(plain))
    under = np.asarray(told)[48:]
    assert (under[:, :48] < 200).any()
    assert (under[:, 50:] < 200).any()


@pytest.mark.parametrize(
    ("images", "options"),
    [
        (noise(2).float(), {}),
        (noise(0), {}),
        (noise(2)[0], {}),
        (noise(2), {"columns": 0}),
        (noise(2), {"captions": ["one"]}),
    ],
)
def test_a_grid_refuses_what_it_cannot_show(images, options):
    with pytest.raises(LimnerError, match=r"grid|captions"):
        grid(images, **options)


def test_nearest_finds_the_source_of_a_slight_change():
    others = noise(8, side=28)
    shuffled = torch.tensor([3, 1, 7])
    changed = (others[shuffled].int() + 5).clamp(0, 255).to(torch.uint8)
    found = nearest(changed, others)
    assert found.place.tolist() == [3, 1, 7]
    assert (found.distance < 6 / 255).all()


def test_curves_of_several_runs_share_a_plot():
    plot = curve_plot({"one & only": CURVE, "$two_2$": CURVE}, "kernel_distance", floor=0.05)
    svg = plot.svg()
    assert "one &amp; only" in svg
    assert "$two_2$" in svg
    assert "real images" in svg
    assert svg == plot.svg()
    assert "0.250" in plot.words
    assert plot.image(72).size == (324, 208)
    with pytest.raises(LimnerError, match="coverage"):
        curve_plot({"one": CURVE}, "coverage")


def test_score_plot_tells_interval_and_floor():
    plot = score_plot({"one": Score(0.3, 0.2, 0.4, 0.1), "two": Score(0.5)}, "Kernel distance")
    assert plot.words == "Kernel distance: one 0.300 (0.200 to 0.400), two 0.500. Real images score 0.100."
    assert plot.svg().count("<svg") == 1


def test_no_axis_counts_parts_of_a_step():
    short = [CurvePoint(step, step / 9, {"loss": 1.0 / (step + 1)}) for step in range(4)]
    labels = re.findall(r">(\d+(?:\.\d+)?)</text>", curve_plot({"one": short}, "loss").svg())
    assert {"0", "1", "2", "3"} <= set(labels)
    assert "1.5" not in labels
