"""One outer step of meta-learning as others make it: by hand, and with learn2learn, higher and TorchOpt.

Each is written as its authors' own few-shot example is. higher and TorchOpt come with ``pip install -e .[bench-meta]``,
learn2learn with ``tools/install_learn2learn.sh``, for its released sources do not build on Python 3.11 as they are.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

OUTER_RATE = 1e-3
INNER_BETAS = (0.9, 0.999)


class Task(NamedTuple):
    """Inputs and targets to adapt to, and others to be judged on."""

    support: Tensor
    support_targets: Tensor
    query: Tensor
    query_targets: Tensor


class Problem(NamedTuple):
    """What every contender has to make an outer step of.

    module       builds the network
    loss         of its outputs and the targets: a scalar
    order        ``first`` or ``second`` (MAML), both with SGD within a task, or ``reptile``, with Adam
    """

    module: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    tasks: list[Any]
    order: str
    inner_steps: int
    inner_rate: float


class Contender:
    """A way to make an outer step: ``step`` leaves the mean meta-gradient in each parameter's ``grad``.

    Made from the parameters to start from; their precision is that of all that follows. Raises :class:`ImportError`
    where its library cannot be imported.
    """

    called: ClassVar[str]
    package: ClassVar[str] = ""
    orders: ClassVar[tuple[str, ...]] = ("first", "second")

    def __init__(self, problem: Problem, start: dict[str, Tensor]) -> None:
        self.problem = problem
        self.module = problem.module()
        self.module.to(next(iter(start.values())).dtype)
        self.module.load_state_dict(start)
        self.parameters = list(self.module.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, OUTER_RATE)

    def step(self) -> None:
        """One full outer step."""
        self.optimiser.zero_grad(set_to_none=False)
        self.accumulate()
        self.optimiser.step()

    def accumulate(self) -> None:
        """Put the mean meta-gradient into ``grad``."""
        raise NotImplementedError

    def gradient(self) -> dict[str, Tensor]:
        """The mean meta-gradient of the last step."""
        return {name: value.grad.clone() for name, value in self.module.named_parameters() if value.grad is not None}

    def add(self, gradients: Any, share: float) -> None:
        """Add a share of gradients that no ``backward`` has put in their place."""
        for value, gradient in zip(self.parameters, gradients, strict=True):
            value.grad = gradient * share if value.grad is None else value.grad.add_(gradient, alpha=share)


class ByHand(Contender):
    """``torch.func.functional_call``, ``torch.autograd.grad`` and ``backward``, one task after the other."""

    called = "by hand"
    orders = ("first", "second", "reptile")

    def accumulate(self) -> None:
        for task in self.problem.tasks:
            if self.problem.order == "reptile":
                self.reptile(task)
            else:
                self.maml(task)

    def maml(self, task: Task) -> None:
        fast = dict(self.module.named_parameters())
        second = self.problem.order == "second"
        for _ in range(self.problem.inner_steps):
            outputs = torch.func.functional_call(self.module, fast, (task.support,))
            loss = self.problem.loss(outputs, task.support_targets)
            found = torch.autograd.grad(loss, list(fast.values()), create_graph=second)
            fast = {
                name: value - self.problem.inner_rate * gradient
                for (name, value), gradient in zip(fast.items(), found, strict=True)
            }
        outputs = torch.func.functional_call(self.module, fast, (task.query,))
        (self.problem.loss(outputs, task.query_targets) / len(self.problem.tasks)).backward()

    def reptile(self, task: Task) -> None:
        """As in learn2learn's Reptile example, which uses no part of the library for it."""
        fast = copy.deepcopy(self.module)
        optimiser = torch.optim.Adam(fast.parameters(), self.problem.inner_rate, INNER_BETAS)
        for _ in range(self.problem.inner_steps):
            optimiser.zero_grad()
            self.problem.loss(fast(task.support), task.support_targets).backward()
            optimiser.step()
        with torch.no_grad():
            self.problem.loss(fast(task.query), task.query_targets)
            moved = [value - other for value, other in zip(self.parameters, fast.parameters(), strict=True)]
        self.add(moved, 1 / len(self.problem.tasks))


class Learn2Learn(Contender):
    """``learn2learn.algorithms.MAML``: ``clone``, ``adapt``, ``backward``."""

    called = "learn2learn"
    package = "learn2learn"

    def __init__(self, problem: Problem, start: dict[str, Tensor]) -> None:
        maml = learn2learn_part("learn2learn.algorithms.maml")
        super().__init__(problem, start)
        self.maml = maml.MAML(self.module, lr=problem.inner_rate, first_order=problem.order == "first")

    def accumulate(self) -> None:
        for task in self.problem.tasks:
            learner = self.maml.clone()
            for _ in range(self.problem.inner_steps):
                learner.adapt(self.problem.loss(learner(task.support), task.support_targets))
            self.problem.loss(learner(task.query), task.query_targets).backward()
        for value in self.parameters:
            value.grad.mul_(1 / len(self.problem.tasks))


class Higher(Contender):
    """``higher.innerloop_ctx``; to first order without its graph, the gradient at the last fast weights."""

    called = "higher"
    package = "higher"

    def __init__(self, problem: Problem, start: dict[str, Tensor]) -> None:
        self.higher = imported("higher")
        super().__init__(problem, start)
        self.inner = torch.optim.SGD(self.parameters, problem.inner_rate)

    def accumulate(self) -> None:
        share, second = 1 / len(self.problem.tasks), self.problem.order == "second"
        for task in self.problem.tasks:
            with self.higher.innerloop_ctx(
                self.module, self.inner, copy_initial_weights=False, track_higher_grads=second
            ) as (fast, inner):
                for _ in range(self.problem.inner_steps):
                    inner.step(self.problem.loss(fast(task.support), task.support_targets))
                loss = self.problem.loss(fast(task.query), task.query_targets)
                if second:
                    (loss * share).backward()
                else:
                    self.add(torch.autograd.grad(loss, list(fast.parameters())), share)


class TorchOpt(Contender):
    """``torchopt.MetaSGD``, one ``backward`` for all tasks. It has no first-order form."""

    called = "TorchOpt"
    package = "torchopt"
    orders = ("second",)

    def __init__(self, problem: Problem, start: dict[str, Tensor]) -> None:
        self.torchopt = imported("torchopt")
        super().__init__(problem, start)
        self.inner = self.torchopt.MetaSGD(self.module, lr=problem.inner_rate)

    def accumulate(self) -> None:
        begun = self.torchopt.extract_state_dict(self.module, by="reference", detach_buffers=True)
        inner_begun = self.torchopt.extract_state_dict(self.inner, by="reference")
        losses = []
        for task in self.problem.tasks:
            for _ in range(self.problem.inner_steps):
                self.inner.step(self.problem.loss(self.module(task.support), task.support_targets))
            losses.append(self.problem.loss(self.module(task.query), task.query_targets))
            self.torchopt.recover_state_dict(self.module, begun)
            self.torchopt.recover_state_dict(self.inner, inner_begun)
        torch.stack(losses).mean().backward()


class GameTask(NamedTuple):
    """Images for each turn of the two players and, by player, the latents: ``(steps, n, latents)`` and ``(n, …)``."""

    support: Tensor
    support_latents: dict[str, Tensor]
    query: Tensor
    query_latents: dict[str, Tensor]


class GameByHand(Contender):
    """Both players of the relativistic GAN with R1 and R2, without the engine.

    ``problem.module`` builds an ``nn.ModuleDict`` of ``critic`` and ``generator``, which move in this order. Each
    player's meta-loss is its own query loss, differentiated in its own start; in its turn the other is a constant.
    """

    called = "by hand"
    orders = ("second", "reptile")
    players = ("critic", "generator")

    def accumulate(self) -> None:
        for task in self.problem.tasks:
            if self.problem.order == "reptile":
                self.reptile(task)
            else:
                self.maml(task)

    def loss(self, player: str, params: dict[str, Tensor], images: Tensor, latents: Tensor) -> Tensor:
        def call(which: str, inputs: Tensor) -> Tensor:
            weights = {
                name.removeprefix(which + "."): value for name, value in params.items() if name.startswith(which)
            }
            return torch.func.functional_call(self.module[which], weights, (inputs,))

        fake = torch.sigmoid(call("generator", latents))
        if player == "generator":
            real_scores, fake_scores = call("critic", 2 * images - 1)[:, 0], call("critic", 2 * fake - 1)[:, 0]
            return functional.softplus(real_scores - fake_scores).mean()
        with torch.enable_grad():
            both = torch.cat([images, fake])
            both = both if both.requires_grad else both.requires_grad_()
            scores = call("critic", 2 * both - 1)[:, 0]
            (slopes,) = torch.autograd.grad(scores.sum(), both, create_graph=True)
        real_scores, fake_scores = scores.chunk(2)
        return functional.softplus(fake_scores - real_scores).mean() + slopes.square().sum((1, 2, 3)).mean()

    def owned(self, params: dict[str, Tensor], player: str) -> dict[str, Tensor]:
        return {name: value for name, value in params.items() if name.startswith(player)}

    def maml(self, task: GameTask) -> None:
        start = dict(self.module.named_parameters())
        fast = dict(start)
        for index in range(self.problem.inner_steps):
            for player in self.players:
                # A view is a node of its own: what the other player made of these weights in its turn stays out.
                own = {name: value.view_as(value) for name, value in self.owned(fast, player).items()}
                loss = self.loss(player, fast | own, task.support, task.support_latents[player][index])
                found = torch.autograd.grad(loss, list(own.values()), create_graph=True)
                for (name, value), gradient in zip(own.items(), found, strict=True):
                    fast[name] = value - self.problem.inner_rate * gradient
        losses = [self.loss(player, fast, task.query, task.query_latents[player]) for player in self.players]
        found = []
        for player, loss in zip(self.players, losses, strict=True):
            found += torch.autograd.grad(loss, list(self.owned(start, player).values()), retain_graph=True)
        self.add(found, 1 / len(self.problem.tasks))

    def reptile(self, task: GameTask) -> None:
        fast = copy.deepcopy(self.module)
        optimisers = {
            player: torch.optim.Adam(fast[player].parameters(), self.problem.inner_rate, INNER_BETAS)
            for player in self.players
        }
        values = dict(fast.named_parameters())
        for index in range(self.problem.inner_steps):
            for player in self.players:
                for other in self.players:
                    fast[other].requires_grad_(other == player)
                optimisers[player].zero_grad()
                self.loss(player, values, task.support, task.support_latents[player][index]).backward()
                optimisers[player].step()
        with torch.no_grad():
            for player in self.players:
                self.loss(player, values, task.query, task.query_latents[player])
            moved = [value - other for value, other in zip(self.parameters, fast.parameters(), strict=True)]
        self.add(moved, 1 / len(self.problem.tasks))


def learn2learn_part(name: str) -> Any:
    """A module of learn2learn, without what its packages import besides: gym, torchvision and requests are not needed.

    The packages on the way to it are entered without their ``__init__``. Raises :class:`ImportError` where it is not
    installed.
    """
    if "learn2learn" not in sys.modules:
        found = importlib.util.find_spec("learn2learn")
        if found is None or not found.submodule_search_locations:
            raise ImportError("learn2learn is not installed; tools/install_learn2learn.sh installs it")
        place = found.submodule_search_locations[0]
        for package in ("learn2learn", "learn2learn.vision", "learn2learn.vision.models"):
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = [place + package.removeprefix("learn2learn").replace(".", "/")]
    return imported(name)


def imported(name: str) -> Any:
    """The module of this name; :class:`ImportError` for whatever goes wrong in it, as old code may."""
    try:
        return importlib.import_module(name)
    except Exception as problem:
        raise ImportError(f"{type(problem).__name__}: {problem}") from problem


CONTENDERS: tuple[type[Contender], ...] = (ByHand, Learn2Learn, Higher, TorchOpt)
