"""What a meta-training is to do: frozen data, as a strategy is for a single task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch

from limner.errors import LimnerError

ALGORITHMS = ("reptile", "fomaml", "maml")


@dataclass(frozen=True)
class MetaPlan:
    """How a start is learned over a task family.

    algorithm       ``reptile`` (Nichol, Achiam & Schulman 2018), ``maml`` (Finn, Abbeel & Levine 2017, second order)
                    or ``fomaml`` (its first-order form)
    steps           outer steps; ``seconds`` (0 = none) ends them earlier
    tasks           tasks in one outer step (the meta-batch)
    inner_steps     steps of adaptation within a task
    inner_rate      step size of adaptation; ``player_rates`` multiplies it for a named player
    inner_optimiser ``sgd``, ``momentum`` or ``adam``, its state fresh in each task; ``inner_betas`` its decays
    inner_batch     images in an inner step, drawn anew at each (0 = all of them): the support's, for Reptile also the
                    query's
    rate            step size of the outer update, falling linearly to a tenth
    optimiser       outer optimiser: ``adam``, or ``sgd`` for Reptile's plain interpolation; ``betas`` its decays
    clip            largest norm of a player's meta-gradient (0 = unclipped)
    augmentation    augmentations of support and query images (see ``limner.engine.augment``)
    turns           whether each task is turned by a random multiple of 90 degrees: more classes from the same data
    validate_every  outer steps between validations on held-out classes (0 = at the end only)
    validate_tasks  how many held-out tasks a validation adapts to
    execution       ``loop`` over tasks, ``vmap`` over tasks, or ``auto``: the loop on a CPU, vmap on a GPU

    >>> MetaPlan.from_json(MetaPlan(steps=3).to_json()).steps
    3
    """

    algorithm: str = "reptile"
    steps: int = 1000
    seconds: float = 0.0
    tasks: int = 4
    inner_steps: int = 5
    inner_rate: float = 1e-3
    inner_optimiser: str = "adam"
    inner_betas: tuple[float, float] = (0.0, 0.99)
    inner_batch: int = 0
    player_rates: dict[str, float] = field(default_factory=dict)
    rate: float = 1e-3
    optimiser: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 0.0
    augmentation: tuple[str, ...] = ()
    turns: bool = False
    validate_every: int = 0
    validate_tasks: int = 16
    execution: str = "auto"

    def __post_init__(self) -> None:
        problems = [
            (self.algorithm not in ALGORITHMS, f"algorithm {self.algorithm!r}", ", ".join(ALGORITHMS)),
            (self.execution not in ("auto", "loop", "vmap"), f"execution {self.execution!r}", "auto, loop, vmap"),
            (self.steps < 1, f"steps {self.steps}", "a whole number from 1"),
            (self.tasks < 1, f"tasks {self.tasks}", "a whole number from 1"),
            (self.inner_steps < 0, f"inner_steps {self.inner_steps}", "a whole number from 0"),
            (not self.inner_rate > 0, f"inner_rate {self.inner_rate}", "a number above 0"),
            (not self.rate > 0, f"rate {self.rate}", "a number above 0"),
            (self.inner_batch < 0, f"inner_batch {self.inner_batch}", "a whole number from 0 (0 = the whole support)"),
            (self.validate_tasks < 1, f"validate_tasks {self.validate_tasks}", "a whole number from 1"),
        ]
        for wrong, what, right in problems:
            if wrong:
                raise LimnerError(f"the meta-training plan's {what} cannot be used; right would be: {right}")

    @property
    def resolved_execution(self) -> str:
        """``loop`` or ``vmap``: what ``auto`` means on this machine.

        On a CPU, per-task weights turn convolutions into grouped ones and vmap loses in time and in memory.
        """
        if self.execution != "auto":
            return self.execution
        return "vmap" if torch.cuda.is_available() else "loop"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        record = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> MetaPlan:
        """The inverse of :meth:`to_json`; raises :class:`LimnerError` for an unknown field."""
        known = {item.name for item in dataclasses.fields(cls)}
        for name in record:
            if name not in known:
                raise LimnerError(f"a meta-training plan has no field {name!r}; it has: {', '.join(sorted(known))}")
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        return cls(**tuples)
