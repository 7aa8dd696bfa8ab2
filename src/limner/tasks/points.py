"""Tasks that are not images: points of a function, to be regressed on."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.family import SPLITS


@dataclass(frozen=True, eq=False)
class Points:
    """Inputs ``(n, features)`` and targets ``(n, outputs)``, float32.

    >>> len(Points(torch.zeros(3, 1), torch.zeros(3, 1), "nothing"))
    3
    """

    inputs: Tensor
    targets: Tensor
    name: str

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def sha256(self) -> str:
        """Identity of the content."""
        digest = hashlib.sha256(repr((tuple(self.inputs.shape), tuple(self.targets.shape))).encode())
        for part in (self.inputs, self.targets):
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class PointsTask:
    """A function to learn: points of it to learn from, and others to be judged on."""

    name: str
    support: Points
    query: Points
    goal: str = "regress"


class SinusoidFamily:
    """Sine waves y = a·sin(x − p), as in the MAML paper (Finn et al. 2017, section 5.1).

    Amplitudes a are uniform in [0.1, 5], phases p in [0, π], inputs x in [−5, 5]. A task is one wave: ``shots`` points
    to learn from and ``queries`` to be judged on. Train, validation and test tasks are drawn apart.

    >>> task = SinusoidFamily(shots=10).task("test", 0, seed=0)
    >>> task.support.inputs.shape, len(task.query)
    (torch.Size([10, 1]), 100)
    """

    spec, goal = "sinusoid", "regress"
    image_shape = (1, 1, 1)

    def __init__(self, shots: int = 10, queries: int = 100, seed: int = 0) -> None:
        if shots < 1 or queries < 1:
            raise LimnerError(f"a family needs at least 1 shot and 1 query; {shots} and {queries} were given")
        self.shots, self.queries, self.seed = shots, queries, seed
        self.notes: tuple[str, ...] = ()

    def size(self, split: str) -> int:
        """How many tasks can be told apart by number: no end is reached."""
        if split not in SPLITS:
            raise LimnerError(f"a family has no split {split!r}; it has: {', '.join(SPLITS)}")
        return 2**31

    def task(self, split: str, index: int, seed: int) -> PointsTask:
        """The ``index``-th wave of ``split``; ``seed`` chooses its points."""
        self.size(split)
        wave, points = generator(self.seed, "sinusoid", split, index), generator(seed, "points", index)
        amplitude = self._uniform(wave, 1, 0.1, 5.0)
        return self._task(amplitude, self._uniform(wave, 1, 0, math.pi), points, split)

    def sample(self, split: str, generator: torch.Generator) -> PointsTask:
        """A random wave of ``split``. Waves are real numbers, so none comes twice."""
        self.size(split)
        amplitude = self._uniform(generator, 1, 0.1, 5.0)
        return self._task(amplitude, self._uniform(generator, 1, 0, math.pi), generator, split)

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it, as plain JSON."""
        return {
            "kind": "sinusoid",
            "spec": self.spec,
            "shots": self.shots,
            "queries": self.queries,
            "seed": self.seed,
        }

    def _task(self, amplitude: Tensor, phase: Tensor, random: torch.Generator, split: str) -> PointsTask:
        inputs = self._uniform(random, self.shots + self.queries, -5.0, 5.0)
        targets = amplitude * torch.sin(inputs - phase)
        name = f"sinusoid {split} wave, amplitude {float(amplitude):.2f}, phase {float(phase):.2f}"
        support, query = (
            Points(inputs[part], targets[part], name)
            for part in (slice(0, self.shots), slice(self.shots, self.shots + self.queries))
        )
        return PointsTask(f"{name}, {self.shots} shots", support, query)

    @staticmethod
    def _uniform(random: torch.Generator, count: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=random)
