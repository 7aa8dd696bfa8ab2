"""Distances between distributions, against closed forms, independent packages and invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limner.errors import LimnerError
from limner.metrics import distribution
from limner.metrics.distribution import frechet_distance, kernel_distance, neighbours, precision_recall_density_coverage
from limner.seeds import generator


def normal(label: str, count: int, features: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return torch.randn(count, features, generator=generator(0, label), dtype=torch.float64) * scale + shift


class Passing(nn.Module):
    """Features as torchmetrics wants them: whatever is given, flattened."""

    num_features = 6

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.mark.parametrize(("count", "features"), [(10, 40), (40, 40), (200, 12), (41, 40)])
def test_frechet_distance_is_the_one_with_the_matrix_root(count: int, features: int) -> None:
    from scipy.linalg import sqrtm

    x, y = normal("x", count, features), normal("y", count + 5, features, 0.3, 1.4)
    first, second = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = np.real(sqrtm(first @ second))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(first + second - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=2e-4)


def test_frechet_distance_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    x, y = normal("x", 60, 6), normal("y", 80, 6, 0.5, 0.7)
    other = FrechetInceptionDistance(feature=Passing(), input_img_size=(6, 1, 1)).set_dtype(torch.float64)
    other.update(x.reshape(-1, 6, 1, 1), real=False)
    other.update(y.reshape(-1, 6, 1, 1), real=True)
    assert frechet_distance(x, y) == pytest.approx(other.compute().item(), rel=1e-4)


def test_frechet_distance_of_known_gaussians() -> None:
    """On a line: (μ − ν)² + (σ − τ)², exactly, with the fitted moments."""
    x, y = normal("x", 50, 1), normal("y", 70, 1, 3.0, 2.0)
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected.item())


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_are_symmetric_and_know_no_order(distance) -> None:
    x, y = normal("x", 20, 8), normal("y", 13, 8, 0.5)
    assert distance(x, y) == pytest.approx(distance(y, x))
    assert distance(x, y) == pytest.approx(distance(x.flip(0), y.roll(4, 0)))


def test_frechet_distance_knows_no_rotation() -> None:
    x, y = normal("x", 20, 8), normal("y", 13, 8, 0.5)
    turn = torch.linalg.qr(normal("turn", 8, 8)).Q
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y))
    assert kernel_distance(x @ turn, y @ turn) == pytest.approx(kernel_distance(x, y))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * frechet_distance(x, y))


def test_kernel_distance_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = normal("x", 30, 6), normal("y", 30, 6, 0.5, 0.7)
    other = KernelInceptionDistance(feature=Passing(), subsets=1, subset_size=30)
    other.update(x.reshape(-1, 6, 1, 1), real=False)
    other.update(y.reshape(-1, 6, 1, 1), real=True)
    assert kernel_distance(x, y) == pytest.approx(other.compute()[0].item(), rel=1e-4)


def test_kernel_distance_is_what_the_definition_says() -> None:
    x, y = normal("x", 5, 3), normal("y", 4, 3)

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    among = sum(k(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
    between = sum(k(a, b) for a in x for b in y) / 20
    assert kernel_distance(x, y) == pytest.approx(within + among - 2 * between)


def test_kernel_distance_has_no_bias() -> None:
    """Over many draws of one distribution at tiny sizes its mean is 0, within four standard errors."""
    drawn = torch.tensor([kernel_distance(normal(f"x{i}", 5, 4), normal(f"y{i}", 7, 4)) for i in range(400)])
    assert drawn.mean().abs() < 4 * drawn.std() / 20
    assert drawn.min() < 0


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbourhoods_agree_with_prdc(k: int) -> None:
    from prdc import compute_prdc

    x, y = normal("x", 40, 8, 0.9, 0.8), normal("y", 30, 8)
    expected = compute_prdc(real_features=y.numpy(), fake_features=x.numpy(), nearest_k=k)
    found = precision_recall_density_coverage(x, y, k=k)._asdict()
    assert found.pop("k") == k
    assert found == pytest.approx(expected)
    assert 0.05 < found["coverage"] < 0.99, "the comparison must be able to fail"


def test_neighbourhoods_of_equal_and_of_far_images() -> None:
    x = normal("x", 20, 4)
    same = precision_recall_density_coverage(x, x)
    assert (same.precision, same.recall, same.coverage) == (1.0, 1.0, 1.0)
    far = precision_recall_density_coverage(x + 1000, x)
    assert far[:4] == (0.0, 0.0, 0.0, 0.0)


def test_a_collapsed_generator_has_precision_but_neither_recall_nor_coverage() -> None:
    real = normal("real", 60, 4)
    collapsed = real.mean(0) + 1e-3 * normal("jitter", 60, 4)
    found = precision_recall_density_coverage(collapsed, real)
    assert found.precision > 0.9
    assert found.recall < 0.1
    assert found.coverage < 0.7 < precision_recall_density_coverage(normal("more", 60, 4), real).coverage


@pytest.mark.parametrize(("samples", "real"), [(64, 15), (200, 200), (15, 15), (100, 120)])
def test_k_is_the_least_that_fresh_real_images_cover(samples: int, real: int) -> None:
    """With the chosen k other real images cover 95% in expectation (a hundredth left for chance), with one less not."""
    k = neighbours(samples, real)

    def covered(k: int) -> float:
        rounds = [
            precision_recall_density_coverage(normal(f"s{i}", samples, 3), normal(f"r{i}", real, 3), k).coverage
            for i in range(60)
        ]
        return sum(rounds) / len(rounds)

    assert covered(k) > 0.94
    assert k == 1 or covered(k - 1) < 0.96


def test_k_is_bounded() -> None:
    assert neighbours(30, 1000) == distribution.LARGEST_K
    assert [neighbours(2, 50), neighbours(50, 2), neighbours(3, 3)] == [1, 1, 2]


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, precision_recall_density_coverage])
def test_what_cannot_be_compared_is_refused(distance) -> None:
    with pytest.raises(LimnerError, match=r"same d"):
        distance(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(LimnerError, match=r"at least 2"):
        distance(torch.zeros(1, 3), torch.zeros(4, 3))
    with pytest.raises(LimnerError, match=r"same d"):
        distance(torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize("k", [0, 4, 9])
def test_k_beyond_the_images_is_refused(k: int) -> None:
    with pytest.raises(LimnerError, match="k from 1 to 3"):
        precision_recall_density_coverage(torch.zeros(9, 2), torch.zeros(4, 2), k=k)
