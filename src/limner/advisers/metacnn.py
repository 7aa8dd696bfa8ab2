"""The adviser that predicts and looks: as :mod:`.metann`, with the tasks' images in place of their fingerprints."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from limner.advisers.base import Case
from limner.advisers.ensemble import DECAY
from limner.advisers.metann import Described, MetaNN, Rows, fingerprints
from limner.memory.thumbnails import SIDE, pictures
from limner.networks.functional import Template
from limner.networks.set_encoder import SetEncoder
from limner.seeds import derive, generator
from limner.types import Params

WIDTH, CODE, HIDDEN = 4, 4, 16
"""Channels after the first convolution, numbers that a task becomes, and hidden units of what foretells from them."""

STEPS, RATE = 100, 1e-2
"""How the encoder learns: steps, and their size at first."""

SHOWN = 6
"""Images of each task that a step looks at, drawn anew for each."""

LEAST_TASKS = 5
"""Related tasks with images, below which images tell nothing."""

LEAST_SPREAD = 0.05
"""The deviation of codes over tasks that is taken for 1, at the least."""


class MetaCNN(MetaNN):
    """MetaNN, except that a network that reads a set of images says what a task is like.

    The encoder is convolutional and does not depend on the order of a task's images, nor on their number (Deep Sets,
    Zaheer et al. 2017; :class:`~limner.networks.set_encoder.SetEncoder`). It learns, together with a perceptron behind
    it, to foretell score and seconds of the runs on related tasks from their thumbnails and strategies, as Dataset2Vec
    (Jomaa et al. 2021) learns its meta-features. Then it stays as it is, and what it says of tasks takes the place of
    their fingerprints in all that MetaNN does. Which tasks are related, and how much each counts, is still told by
    fingerprints. Where images can tell nothing, it says so and goes by fingerprints.
    """

    name = "metacnn"

    def described(self, rows: list[Rows]) -> Described:
        """The tasks by their images; by their fingerprints, with a remark, where too few have any."""
        seen = [each for each in rows if each.task.thumbnails]
        if not rows:
            return fingerprints(self.case, rows)
        if not self.case.thumbnails:
            return fingerprints(
                self.case, rows, "This task has no images to look at, so fingerprints tell tasks apart."
            )
        if len(seen) < LEAST_TASKS:
            told = f"Images of {len(seen)} related tasks are kept, fewer than {LEAST_TASKS}"
            return fingerprints(self.case, rows, f"{told}, so fingerprints tell tasks apart.")
        left = len(rows) - len(seen)
        remark = f"Left out: {left} of {len(rows)} related tasks, of which no images are kept." if left else ""
        return looked_at(self.case, seen)._replace(remark=remark)


class ImagesToCode:
    """From sets of thumbnails to codes, one for each set; learned from what was tried on them."""

    def __init__(self, strategy: int, seed: int) -> None:
        shape = (3, SIDE, SIDE)
        self.encoder = Template("encoder", lambda: SetEncoder(shape, WIDTH, CODE, "mean"))
        self.params: Params = self.encoder.init(seed)
        random = generator(seed, "metacnn")
        for layer, (given, made) in enumerate([(CODE + strategy, HIDDEN), (HIDDEN, 2)]):
            self.params[f"{layer}.weight"] = torch.randn(given, made, generator=random) / math.sqrt(given)
            self.params[f"{layer}.bias"] = torch.zeros(made)
        self._random = random

    def codes(self, images: Tensor, sets: Tensor, params: Params | None = None) -> Tensor:
        """Of images ``(n, 3, SIDE, SIDE)`` in [0, 1], which :func:`belonging` shares out to sets: ``(sets, CODE)``."""
        params = self.params if params is None else params
        found = self.encoder(params, self.encoder(params, 2 * images - 1, method="body"), method="found")
        codes: Tensor = self.encoder(params, found, sets, method="pool")
        return codes[:, 0]

    def learn(self, images: list[Tensor], rows: list[Rows]) -> None:
        """Fit encoder and perceptron to the runs on each task, of which it has ``images``; more where similar."""
        from limner.engine.optimisers import named

        task = torch.cat([torch.full((len(each.encoded),), place) for place, each in enumerate(rows)])
        encoded, targets = (torch.cat([each[part] for each in rows]) for part in (1, 2))  # type: ignore[misc]
        counts = torch.cat([torch.full((len(each.encoded),), each.task.similarity) for each in rows])
        counts = (counts / counts.sum())[:, None]
        adam = named("adam")
        state = adam.init(self.params)
        for step in range(STEPS):
            drawn = [each[torch.randperm(len(each), generator=self._random)[:SHOWN]] for each in images]
            free = {name: value.requires_grad_(True) for name, value in self.params.items()}
            codes = self.codes(torch.cat(drawn), belonging(drawn), free)
            hidden = torch.cat([codes[task], encoded], dim=1) @ free["0.weight"] + free["0.bias"]
            made = torch.nn.functional.silu(hidden) @ free["1.weight"] + free["1.bias"]
            loss = ((made - targets) ** 2 * counts).sum()
            loss = loss + DECAY * sum((value**2).sum() for name, value in free.items() if "weight" in name)
            found = torch.autograd.grad(loss, list(free.values()))
            rate = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
            fixed = {name: value.detach() for name, value in free.items()}
            self.params, state = adam.quick(fixed, dict(zip(free, found, strict=True)), state, rate, None)


def looked_at(case: Case, rows: list[Rows]) -> Described:
    """The tasks by what a network, learned from ``rows``, makes of their images."""
    images = [in_colour(each.task.thumbnails) for each in rows]
    reader = ImagesToCode(case.space.width, derive(case.seed, "metacnn"))
    reader.learn(images, rows)
    every = [in_colour(case.thumbnails), *images]
    with torch.no_grad():
        codes = reader.codes(torch.cat(every), belonging(every))
    codes = codes / codes[1:].std(0, correction=0).norm().clamp(min=LEAST_SPREAD)
    return Described(codes[0], codes[1:], rows)


def in_colour(strip: str) -> Tensor:
    """The thumbnails of a task in three channels: ``(n, 3, SIDE, SIDE)`` in [0, 1]."""
    return (pictures(strip).float() / 255).expand(-1, 3, -1, -1)


def belonging(sets: list[Tensor]) -> Tensor:
    """Which of all images, one set after the other, are of which set: ``(sets, n)`` of 0 and 1.

    >>> belonging([torch.zeros(1, 3), torch.zeros(2, 3)]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    """
    place = torch.cat([torch.full((len(each),), number) for number, each in enumerate(sets)])
    return (place == torch.arange(len(sets))[:, None]).float()
