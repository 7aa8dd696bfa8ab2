"""Objectives of transfer against known answers, and the learner of two domains."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from limner.config import Strategy
from limner.engine import fit
from limner.engine.step import gradients
from limner.errors import LimnerError
from limner.learners import create
from limner.learners.layered import Layered
from limner.objectives import transfer
from limner.tasks import ImageSet, Task
from limner.testing import tiny_batch

SHAPE, SMALL = (1, 16, 16), {"classes": 2, "source_classes": 2, "features": 4, "width": 4}


@pytest.fixture
def features():
    return torch.randn(9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def shares(count, of_source):
    source = (torch.arange(count) < of_source).double()
    return source, 1 - source


def test_correlation_alignment_is_what_numpy_says(features):
    source, target = np.cov(features[:4].T.numpy()), np.cov(features[4:].T.numpy())
    expected = ((source - target) ** 2).sum() / (4 * 9)
    assert float(transfer.correlation_alignment(features, *shares(9, 4))) == pytest.approx(expected, rel=1e-9)


def test_kernel_discrepancy_is_the_double_sum_and_does_not_mind_scale_or_place(features):
    source, target = shares(9, 4)
    distances = torch.cdist(features, features) ** 2
    kernel = sum(torch.exp(-distances / (width * distances.mean())) for width in transfer.WIDTHS) / len(transfer.WIDTHS)
    expected = kernel[:4, :4].mean() + kernel[4:, 4:].mean() - 2 * kernel[:4, 4:].mean()
    found = transfer.kernel_discrepancy(features, source, target)
    assert float(found) == pytest.approx(float(expected), rel=1e-9)
    moved = transfer.kernel_discrepancy(100 * features + 7, source, target)
    assert float(moved) == pytest.approx(float(found), rel=1e-6)


def test_kernel_discrepancy_of_the_same_images_is_nothing(features):
    twice = torch.cat([features, features])
    assert abs(float(transfer.kernel_discrepancy(twice, *shares(18, 9)))) < 1e-12


@pytest.mark.parametrize("compare", [transfer.kernel_discrepancy, transfer.correlation_alignment])
@pytest.mark.parametrize("of_source", [0, 1, 8, 9])
def test_a_domain_that_a_batch_lacks_pulls_nothing_and_breaks_nothing(compare, of_source, features):
    moving = features.requires_grad_()
    value = compare(moving, *shares(9, of_source))
    (gradient,) = torch.autograd.grad(value, moving)
    assert gradient.isfinite().all()
    if of_source in (0, 9):
        assert float(value.detach()) == 0
        assert not gradient.any()


def test_confusion_weighs_domains_alike_however_many_images_they_have():
    logits = torch.tensor([-2.0, 1.0, 1.0, 1.0])
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    assert float(transfer.domain_confusion(logits, *shares(4, 1))) == pytest.approx(expected, rel=1e-6)


def test_learned_weights_have_their_least_where_the_paper_says():
    losses = torch.tensor([0.3, 2.0], dtype=torch.float64)
    scales = (2 * losses).log().requires_grad_()
    (gradient,) = torch.autograd.grad(transfer.weighed_by_uncertainty(losses, scales), scales)
    assert gradient.abs().max() < 1e-12


def batch():
    found = tiny_batch(SHAPE, 4, 8)
    found["labels"] = torch.tensor([0, 1, 2, 3, 4, 4, 0, 2])
    return found


def test_images_without_a_known_class_count_for_alignment_alone():
    given = batch()
    others = given | {"images": given["images"].clone()}
    others["images"][4:6] = 0.5
    for alignment, same in (("none", True), ("kernel", False), ("correlation", False)):
        learner = create("two-domains", SHAPE, **SMALL, alignment=alignment, schedule="constant")
        params = learner.init(0)
        values = [float(learner.loss("net", params, each, {}).value) for each in (given, others)]
        assert (abs(values[0] - values[1]) < 1e-7) == same


def test_players_of_the_adversarial_game_pull_the_features_apart_and_together():
    learner = create("two-domains", SHAPE, **SMALL, alignment="adversarial", schedule="constant", weight=0.7)
    plain = create("two-domains", SHAPE, **SMALL)
    params, given = learner.init(0), batch()
    found, _ = gradients(learner, "net", params, given, {})
    without, _ = gradients(plain, "net", {k: v for k, v in params.items() if k.startswith("net.")}, given, {})
    name = "net.encoder.head.weight"
    moving = params[name].clone().requires_grad_()
    confusion = learner.loss("discriminator", params | {name: moving}, given, {}).value
    (reversed_,) = torch.autograd.grad(confusion, moving)
    assert torch.allclose(found[name], without[name] - 0.7 * reversed_, atol=1e-6)


def test_the_schedule_goes_by_the_steps_that_were_taken():
    learner = create("two-domains", SHAPE, **SMALL, alignment="kernel", weight=2.0, steps=4)
    params, given = learner.init(0), batch()
    values = []
    for _ in range(6):
        loss = learner.loss("net", params, given, {})
        base = loss.terms["source_cross_entropy"] + loss.terms["target_cross_entropy"]
        values.append(float((loss.value - base) / loss.terms["apart"]))
        given = given | learner.remember(params, given, {})
    expected = [2 * (2 / (1 + math.exp(-10 * min(taken / 4, 1))) - 1) for taken in range(6)]
    assert values == pytest.approx(expected, abs=1e-3)


def test_a_stopped_training_keeps_its_place_in_the_schedule(tmp_path):
    from limner.testing import StopAt

    learner = create("two-domains", SHAPE, **SMALL, alignment="adversarial", steps=6)
    given = batch()
    names = tuple("abcde")
    images = ImageSet(given["images"].mul(255).to(torch.uint8), "both", given["labels"], names)
    task, strategy = Task("classify", "both", images, None), Strategy(steps=6, batch=4, guard=("none",))
    whole = fit(learner, task, strategy)
    fit(learner, task, strategy, directory=tmp_path, listeners=[StopAt(3)])
    resumed = fit(learner, task, strategy, directory=tmp_path, resume=True)
    assert all(torch.equal(whole.params[name], value) for name, value in resumed.params.items())


def test_learned_balance_moves_and_is_told():
    learner = create("two-domains", SHAPE, **SMALL, balance="learned")
    given = batch()
    images = ImageSet(given["images"].mul(255).to(torch.uint8), "both", given["labels"], tuple("abcde"))
    run = fit(learner, Task("classify", "both", images, None), Strategy(steps=5, batch=0, learning_rate=0.05))
    assert run.params["net.balance.log_variances"].abs().min() > 0
    assert run.curve[-1].values["net target_weight"] != 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alignment": "both"}, "none, correlation, kernel, adversarial"),
        ({"heads": "shared", "source_classes": 3}, "cannot share a head"),
        ({"classes": 1}, "at least 2 classes"),
        ({"balance": "guessed"}, "given, rising, learned"),
    ],
)
def test_mistakes_are_told(options, told):
    with pytest.raises(LimnerError, match=told):
        create("two-domains", SHAPE, **(SMALL | options))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_each_layer_moves_at_its_own_rate(optimiser):
    plain = create("classifier", SHAPE, classes=2, features=4, width=4)
    start, given = plain.init(0), tiny_batch(SHAPE, 2)
    images = ImageSet(given["images"].mul(255).to(torch.uint8), "two", given["labels"], ("a", "b"))
    strategy = Strategy(steps=1, batch=0, optimiser=optimiser, learning_rate=1e-3)
    task = Task("classify", "two", images, None)
    usual = fit(plain, task, strategy, start=start).params
    layered = Layered(plain, start, 0.5, optimiser)
    found = layered.merged(fit(layered, task, strategy, start=start).params)
    names = ["net.head.weight", "net.encoder.head.weight", "net.encoder.body.0.weight"]
    parts = [float((found[n] - start[n]).norm() / (usual[n] - start[n]).norm()) for n in names]
    assert parts == pytest.approx([1, 0.5, 0.125], rel=0.02)
