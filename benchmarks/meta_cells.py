"""What the benchmark meta-speed makes outer steps of: networks, tasks, and the cells of its table."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from peers_meta import GameTask, Problem, Task
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import LimnerError
from limner.networks import Decoder, Encoder
from limner.seeds import generator
from limner.tasks import ImageSet

SEED, WAYS, QUERIES, PATCHES = 0, 5, 15, 16

# ── The networks ──────────────────────────────────────────────────────────────────────────────────────────────────────


def conv4(ways: int = WAYS, width: int = 32) -> nn.Module:
    """Four times convolution, normalisation by the batch's own statistics, ReLU and pooling, then a linear map."""
    layers: list[nn.Module] = []
    for before in (1, width, width, width):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width, track_running_stats=False)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, ways))


def denoiser(width: int = 32) -> nn.Module:
    """Six convolutions with ReLU between them."""
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1)]
    for _ in range(4):
        layers += [nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1))


def players() -> nn.Module:
    """The default GAN's critic and generator."""
    return nn.ModuleDict(
        {"critic": Encoder((1, 28, 28), 1, 16, normalised=False), "generator": Decoder((1, 28, 28), 32, 16)}
    )


# ── The tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def classification(images: ImageSet, count: int, ways: int = WAYS, queries: int = QUERIES) -> list[Task]:
    """Tasks of telling ``ways`` classes apart, from one image each."""
    if images.labels is None:
        raise LimnerError(f"{images.name} has no classes to tell apart; give labelled images")
    members = [(images.labels == label).nonzero()[:, 0] for label in images.labels.unique()]
    members = [own for own in members if len(own) > queries]
    if len(members) < ways:
        raise LimnerError(f"{images.name} has {len(members)} classes of over {queries} images; {ways} are needed")
    chance, tasks = generator(SEED, "classification"), []
    for _ in range(count):
        chosen = [members[index] for index in torch.randperm(len(members), generator=chance)[:ways]]
        drawn = torch.stack([own[torch.randperm(len(own), generator=chance)[: queries + 1]] for own in chosen])
        pixels = images.images[drawn.flatten()].float().div(255).unflatten(0, drawn.shape)
        labels = torch.arange(ways)
        tasks.append(
            Task(pixels[:, 0].contiguous(), labels, pixels[:, 1:].flatten(0, 1), labels.repeat_interleave(queries))
        )
    return tasks


def denoising(count: int, patches: int = PATCHES, side: int = 32) -> list[Task]:
    """Patches of a photograph under Gaussian noise, whose strength is the task's own."""
    from skimage.data import camera

    photograph = torch.from_numpy(camera()).float() / 255
    chance, tasks = generator(SEED, "denoising"), []
    for _ in range(count):
        corners = torch.randint(min(photograph.shape) - side, (2 * patches, 2), generator=chance)
        clean = torch.stack([photograph[row : row + side, column : column + side] for row, column in corners])[:, None]
        strength = 0.05 + 0.15 * torch.rand((), generator=chance)
        noisy = clean + strength * torch.randn(clean.shape, generator=chance)
        tasks.append(Task(noisy[:patches], clean[:patches], noisy[patches:], clean[patches:]))
    return tasks


def games(images: ImageSet, count: int, inner_steps: int, latents: int = 32) -> list[GameTask]:
    """A class each, of which images are to be made."""
    names, tasks = ("critic", "generator"), []
    for task in classification(images, count, ways=1):
        chance = generator(SEED, "latents", len(tasks))
        pixels, queries = task.query[:5], task.query[5:]
        tasks.append(
            GameTask(
                pixels,
                {name: torch.randn(inner_steps, len(pixels), latents, generator=chance) for name in names},
                queries,
                {name: torch.randn(len(queries), latents, generator=chance) for name in names},
            )
        )
    return tasks


def no_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """A game has no loss of outputs and targets; its contenders know each player's own."""
    raise NotImplementedError


# ── The cells ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Cell(NamedTuple):
    """A row of the table; ``tasks`` makes its tasks from labelled images."""

    name: str
    tasks: Callable[[ImageSet], list[Any]]
    module: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    order: str
    inner_steps: int
    inner_rate: float

    def problem(self, images: ImageSet) -> Problem:
        return Problem(self.module, self.loss, self.tasks(images), self.order, self.inner_steps, self.inner_rate)


def cells(quick: bool) -> list[Cell]:
    """Every cell; with ``quick`` a few that do not take long."""
    found = []
    for count, steps, order in itertools.product((8, 32), (1, 5), ("first", "second")):
        if not quick or (count == 8 and (steps == 1 or order == "second")):
            name = f"Conv4, {count} tasks, {steps} inner step{'s' if steps > 1 else ''}, {order} order"
            tasks = functools.partial(classification, count=count)
            found.append(Cell(name, tasks, conv4, functional.cross_entropy, order, steps, 0.1))
    for order in ("first",) if quick else ("first", "second"):
        name = f"denoiser, 8 tasks, 3 inner steps, {order} order"
        found.append(Cell(name, lambda _: denoising(8), denoiser, functional.mse_loss, order, 3, 0.1))
    count = 8 if quick else 32
    tasks = functools.partial(classification, count=count)
    name = f"Conv4, {count} tasks, 5 inner Adam steps, Reptile"
    found.append(Cell(name, tasks, conv4, functional.cross_entropy, "reptile", 5, 1e-3))
    for steps, how, order in (
        (5, "5 inner Adam steps, Reptile", "reptile"),
        (1, "1 inner step, second order", "second"),
    ):
        tasks = functools.partial(games, count=4, inner_steps=steps)
        found.append(
            Cell(f"GAN's two players, 4 tasks, {how}", tasks, players, functional.mse_loss, order, steps, 1e-3)
        )
    return found
