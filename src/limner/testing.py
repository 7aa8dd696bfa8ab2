"""The contract suite: what every learner must satisfy. Give each check a learner and a small batch it can learn from.

    from limner.testing import CHECKS
    @pytest.mark.parametrize("check", CHECKS)
    def test_contract(check): check(MyLearner((1, 16, 16)), {"images": torch.rand(4, 1, 16, 16)})

Each check raises ``AssertionError`` with a sentence where the learner breaks the contract. :class:`StopAt` stops a
training as a user would.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine import Listener, fit
from limner.engine.run import Run
from limner.engine.step import dot, gradients, owned
from limner.learners import Learner, describe, rebuild
from limner.learners.base import StraightThrough
from limner.meta.algorithms import parts_of
from limner.meta.checks import suits
from limner.meta.execution import mean_gradient
from limner.meta.inner import Episode, with_rates
from limner.meta.plan import ALGORITHMS, MetaPlan
from limner.seeds import generator
from limner.tasks import Alone, ImageSet, Pairs, Task
from limner.types import Batch, Draws, Params, Request

Check = Callable[[Learner, Batch], None]


class StopAt(Listener):
    """Presses Ctrl-C once, after a given step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Presses, if this is the step."""
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def players_own_every_parameter(learner: Learner, batch: Batch) -> None:
    """Each parameter's name begins with exactly one player's name, and each player has some."""
    params = learner.init(0)
    for name in params:
        owners = [player for player in learner.players if name.startswith(player + ".")]
        assert len(owners) == 1, f"parameter {name} belongs to {owners or 'no player'}"
    for player in learner.players:
        assert owned(params, player), f"player {player} owns no parameter"


def same_seed_same_parameters(learner: Learner, batch: Batch) -> None:
    """``init`` is a function of the seed and leaves the global random state alone."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = learner.init(1), learner.init(1), learner.init(2)
    assert torch.equal(torch.rand(3), expected), "init changed the global random state"
    assert all(torch.equal(first[name], second[name]) for name in first), "the same seed gave other parameters"
    assert any(not torch.equal(first[name], other[name]) for name in first), "another seed gave the same parameters"


def loss_is_pure(learner: Learner, batch: Batch) -> None:
    """``loss`` gives the same for the same arguments, changes none of them, and draws nothing itself."""
    params, draws = learner.init(0), learner.draw(batch, generator(0))
    before = {name: value.clone() for name, value in (params | batch | draws).items()}
    for player in learner.players:
        first = learner.loss(player, params, batch, draws)
        torch.rand(7)
        second = learner.loss(player, params, batch, draws)
        assert first.value.ndim == 0, f"the loss of {player} is no scalar"
        assert torch.equal(first.value, second.value), f"the loss of {player} changed from call to call"
    after = params | batch | draws
    assert all(torch.equal(before[name], after[name]) for name in before), "loss changed its arguments"


def gradient_is_right(learner: Learner, batch: Batch) -> None:
    """In float64 the gradient equals central finite differences along random directions, by autograd and functional.

    Of a :class:`StraightThrough` learner: differences of its loss with what it holds held, which at the same place is
    the loss itself."""
    params, batch, draws = _doubles(learner.init(0)), _doubles(batch), _doubles(learner.draw(batch, generator(0)))
    for player in learner.players:
        plain, _ = gradients(learner, player, params, batch, draws)
        functional, _ = gradients(learner, player, params, batch, draws, functional=True)
        direction = _direction(plain)
        predicted = float(dot(plain, direction))
        held = learner.held(params, batch) if isinstance(learner, StraightThrough) else {}
        losses = [learner.loss(player, params, batch, known).value for known in (draws, draws | held)]
        assert torch.equal(*losses), f"{player}: the loss changes when what it holds is held"

        def value(step: float, player: str = player, direction: Params = direction, held: Draws = held) -> float:
            moved = {name: params[name] + step * direction[name] for name in direction}
            return float(learner.loss(player, {**params, **moved}, batch, draws | held).value)

        measured = (value(1e-6) - value(-1e-6)) / 2e-6
        scale = max(1.0, abs(predicted))
        assert abs(predicted - measured) / scale < 1e-5, f"{player}: gradient {predicted}, finite difference {measured}"
        assert abs(predicted - float(dot(functional, direction))) / scale < 1e-9, (
            f"{player}: functional gradient differs"
        )


def meta_gradients_agree(learner: Learner, batch: Batch) -> None:
    """In float64, for each algorithm, loop over tasks = threads = vmap = recomputed; and where the meta-gradient is one
    of the query loss, it equals finite differences of that loss, in parameters and in learned step sizes."""
    episodes = [_episode(learner, _doubles(batch), seed) for seed in (0, 1)]
    for algorithm, traits in ALGORITHMS.items():
        plan = MetaPlan(algorithm=algorithm, inner_steps=2, inner_rate=1e-3, inner_optimiser="sgd")
        if not suits(learner, plan):
            continue
        start = with_rates(learner, plan, _doubles(learner.init(0)))
        loop = mean_gradient(learner, plan, start, episodes, "loop").gradient
        assert set(loop) == set(start), f"{algorithm}: no meta-gradient for {sorted(set(start) - set(loop))}"
        others = {name: mean_gradient(learner, plan, start, episodes, name).gradient for name in ("threads", "vmap")}
        if traits.second_order:
            again = replace(plan, recompute=True)
            others["recomputed"] = mean_gradient(learner, again, start, episodes, "loop").gradient
        for execution, found in others.items():
            for name, value in loop.items():
                apart, largest = float((value - found[name]).abs().max()), float(value.abs().max())
                assert apart < 1e-7 * largest + 1e-12, f"{algorithm}: {execution} and loop differ by {apart} in {name}"
        if isinstance(learner, StraightThrough):
            continue  # each inner step holds other quantities, so no function has these as its derivatives
        if traits.second_order or traits.outer == "closed form":
            _agrees_with_differences(learner, plan, start, episodes[:1])


def _agrees_with_differences(learner: Learner, plan: MetaPlan, start: Params, episodes: list[Episode]) -> None:
    found = mean_gradient(learner, plan, start, episodes, "loop").gradient
    for player in learner.players:
        direction = _direction(parts_of(found, player))

        def query_loss(step: float, player: str = player, direction: Params = direction) -> float:
            moved = {**start, **{name: start[name] + step * direction[name] for name in direction}}
            return float(mean_gradient(learner, plan, moved, episodes, "loop").losses[player])

        measured = (query_loss(1e-6) - query_loss(-1e-6)) / 2e-6
        predicted = float(dot(found, direction))
        assert abs(predicted - measured) / max(1.0, abs(predicted)) < 1e-5, (
            f"{plan.algorithm}, {player}: meta-gradient {predicted}, finite difference {measured}"
        )


def same_seed_same_run(learner: Learner, batch: Batch) -> None:
    """Two trainings with one seed end at the same parameters."""
    first, second = (fit(learner, _task(learner, batch), Strategy(steps=3, batch=2), seed=4) for _ in range(2))
    assert all(torch.equal(first.params[name], second.params[name]) for name in first.params)


def saved_run_predicts_the_same(learner: Learner, batch: Batch) -> None:
    """Save, load, predict: the same answer as before; and a description rebuilds the learner."""
    run = fit(learner, _task(learner, batch), Strategy(steps=2, batch=2))
    with TemporaryDirectory() as folder:
        loaded = Run.load(run.save(Path(folder) / "run"))
    assert describe(rebuild(describe(learner))) == describe(learner), "the description does not rebuild the learner"
    request = _request(learner, batch)
    before = learner.predict(run.params, request, generator(1))
    after = loaded.learner.predict(loaded.params, request, generator(1))
    assert torch.equal(before, after), "the loaded run predicts something else"
    if request.what == "sample":
        shape = (request.count, *learner.image_shape)
        assert before.shape == shape, f"samples have shape {tuple(before.shape)}, not {shape}"
        assert torch.equal(before, before.clamp(0, 1)), "samples leave [0, 1]"


def nan_is_not_trained_on(learner: Learner, batch: Batch) -> None:
    """Parameters that are not finite give a failed run with a note, and no update."""
    spoilt = {name: torch.full_like(value, float("nan")) for name, value in learner.init(0).items()}
    run = fit(learner, _task(learner, batch), Strategy(steps=2, batch=2), start=spoilt)
    assert run.state == "failed", "a training on not-a-number did not fail"
    assert any("not finite" in note for note in run.notes), "the failure was not noted"
    assert run.cost.steps == 0, "a step with a loss that is not finite was taken"


CHECKS: tuple[Check, ...] = (
    players_own_every_parameter,
    same_seed_same_parameters,
    loss_is_pure,
    gradient_is_right,
    meta_gradients_agree,
    same_seed_same_run,
    saved_run_predicts_the_same,
    nan_is_not_trained_on,
)
"""All checks, in the order in which a new learner best meets them."""


def _doubles(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}


def _direction(like: Params) -> Params:
    random = generator(3, "direction")
    return {name: torch.randn(value.shape, generator=random, dtype=value.dtype) for name, value in like.items()}


def _episode(learner: Learner, batch: Batch, seed: int) -> Episode:
    random = generator(seed, "episode")
    order = torch.randperm(len(next(iter(batch.values()))), generator=random)
    query: Batch = {name: value[order] for name, value in batch.items()}
    inner: Batch = {name: torch.stack([value, value.flip(0)]) for name, value in batch.items()}
    draws: list[Draws] = [_doubles(learner.draw(batch, random)) for _ in range(2)]
    stacked = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
    return Episode(inner, stacked, query, _doubles(learner.draw(query, random)))


def _task(learner: Learner, batch: Batch) -> Task:
    if "images" not in batch:
        alone = Alone(ImageSet(batch["inputs"].mul(255).to(torch.uint8), "contract"))
        return Task("restore", "contract", alone, alone)
    labels = batch.get("labels")
    names = tuple(str(index) for index in range(int(labels.max()) + 1)) if labels is not None else ()
    images = ImageSet(batch["images"].mul(255).to(torch.uint8), "contract", labels, names)
    if "inputs" in batch:
        pairs = Pairs(ImageSet(batch["inputs"].mul(255).to(torch.uint8), "inputs"), images, "contract")
        goal = "restore" if "restore" in learner.answers else "translate"
        return Task(goal, "contract", pairs, pairs)
    return Task("classify" if labels is not None else "generate", "contract", images, images)


def _request(learner: Learner, batch: Batch) -> Request:
    what: Any = learner.answers[0]
    return Request(what, count=3, images=batch["inputs" if what in ("translate", "restore") else "images"])


def tiny_batch(image_shape: tuple[int, int, int], classes: int = 0, count: int = 4, input_channels: int = 0) -> Batch:
    """A small random batch, the same every time: images in [0, 1], labels where there are ``classes``, and inputs that
    the images are to be made from where those have channels.

    >>> tiny_batch((1, 16, 16), classes=2)["labels"].tolist()
    [0, 1, 0, 1]
    """
    batch: dict[str, Any] = {"images": torch.rand(count, *image_shape, generator=generator(0, "tiny batch"))}
    if classes:
        batch["labels"] = torch.arange(count) % classes
    if input_channels:
        shape = (count, input_channels, *image_shape[1:])
        batch["inputs"] = torch.rand(shape, generator=generator(0, "tiny inputs"))
    return batch
