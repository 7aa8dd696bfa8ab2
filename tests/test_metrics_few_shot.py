"""Variety and copying, on features whose scores are known."""

from __future__ import annotations

import pytest
import torch

from limner.errors import LimnerError
from limner.metrics.few_shot import diversity, nearest, nearest_training_ratio
from limner.seeds import generator


def normal(label: str, count: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(count, 6, generator=generator(0, label)) * scale


def test_diversity_of_real_images_is_one_and_scales_with_the_spread() -> None:
    real = normal("real", 300)
    assert diversity(normal("other", 300), real) == pytest.approx(1.0, abs=0.05)
    assert diversity(real / 4, real) == pytest.approx(0.25, rel=1e-5)
    assert diversity(real + 100, real) == pytest.approx(1.0, rel=1e-4)


def test_a_collapsed_generator_has_no_diversity() -> None:
    assert diversity(normal("one", 1).repeat(20, 1), normal("real", 15)) == 0.0


def test_a_memoriser_has_ratio_nought_and_a_jittered_one_hardly_more() -> None:
    support, query = normal("support", 5), normal("query", 15)
    copies = support.repeat(8, 1)
    assert nearest_training_ratio(copies, query, support) == 0.0
    assert 0 < nearest_training_ratio(copies + normal("jitter", 40, 0.01), query, support) < 0.02


def test_fresh_real_images_have_ratio_one() -> None:
    support = normal("support", 10)
    assert nearest_training_ratio(normal("a", 400), normal("b", 400), support) == pytest.approx(1.0, abs=0.05)


def test_nearest_is_the_least_distance() -> None:
    features, support = normal("a", 7), normal("b", 4)
    slow = torch.stack([torch.stack([(row - other).norm() for other in support]).min() for row in features])
    assert torch.allclose(nearest(features, support), slow.double(), atol=1e-5)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(LimnerError, match="all equal"):
        diversity(normal("a", 4), torch.ones(5, 6))
    with pytest.raises(LimnerError, match="hold back images"):
        nearest_training_ratio(normal("a", 4), normal("b", 3), normal("b", 3))
    with pytest.raises(LimnerError, match="at least 1"):
        nearest_training_ratio(normal("a", 4), normal("b", 3), torch.zeros(0, 6))
