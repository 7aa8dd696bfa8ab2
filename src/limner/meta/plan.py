"""What a meta-training is to do: frozen data, as a strategy is for a single task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from limner.config import PRECISIONS
from limner.errors import LimnerError


class Traits(NamedTuple):
    """What tells one algorithm from another.

    outer         what the start moves along: the ``query`` loss after adaptation, the ``displacement`` by it, the
                  query loss's ``implicit`` gradient, or the query loss after a ``closed form`` fit to the support
    second_order  whether the query loss is differentiated through the inner gradients
    adapts        which layers move in the inner loop: ``all``, each player's ``head`` (its last layer), or its ``body``
    rates         what step sizes are learned: none (``""``), one a ``parameter``, or one a ``layer and step``
    multi_step    whether the query loss after every inner step counts, not only the last one's
    """

    outer: str = "query"
    second_order: bool = True
    adapts: str = "all"
    rates: str = ""
    multi_step: bool = False


ALGORITHMS: dict[str, Traits] = {
    "reptile": Traits("displacement", second_order=False),
    "fomaml": Traits(second_order=False),
    "maml": Traits(),
    "anil": Traits(adapts="head"),
    "boil": Traits(adapts="body"),
    "meta-sgd": Traits(rates="parameter"),
    "maml++": Traits(rates="layer and step", multi_step=True),
    "imaml": Traits("implicit", second_order=False),
    "prototypical": Traits("closed form", second_order=False),
    "ridge": Traits("closed form", second_order=False),
}
"""Every algorithm by name. Reptile (Nichol, Achiam & Schulman 2018); MAML and its first-order form (Finn, Abbeel &
Levine 2017); ANIL (Raghu et al. 2020); BOIL (Oh et al. 2021); Meta-SGD (Li et al. 2017); MAML++ (Antoniou, Edwards &
Storkey 2019); iMAML (Rajeswaran et al. 2019); prototypical networks (Snell, Swersky & Zemel 2017); ridge regression of
a last layer (Bertinetto et al. 2019)."""

ADAPTS = ("", "all", "head", "body")
EXECUTIONS = ("auto", "loop", "threads", "vmap")


@dataclass(frozen=True)
class MetaPlan:
    """How a start is learned over a task family.

    algorithm       one of :data:`ALGORITHMS`
    first_order     leave second derivatives out of an algorithm that has them; ``second_order_from`` is the share of
                    the training after which they come in (MAML++'s derivative-order annealing)
    adapts          which layers move in the inner loop: ``all``, ``head`` or ``body`` (empty: as the algorithm says)
    steps           outer steps; ``seconds`` (0 = none) ends them earlier
    tasks           tasks in one outer step (the meta-batch)
    inner_steps     steps of adaptation within a task
    inner_rate      step size of adaptation; ``player_rates`` multiplies it for a named player
    inner_optimiser ``sgd``, ``momentum`` or ``adam``, its state fresh in each task; ``inner_betas`` its decays
    inner_batch     images in an inner step, drawn anew at each (0 = all of them): the support's, for Reptile also the
                    query's
    rate            step size of the outer update, falling linearly to a tenth; ``rates_rate`` that of learned step
                    sizes, which are factors on ``inner_rate`` and begin at 1
    optimiser       outer optimiser: ``adam``, or ``sgd`` for Reptile's plain interpolation; ``betas`` its decays
    clip            largest norm of a player's meta-gradient (0 = unclipped)
    multi_step_until share of the training in which the losses after earlier inner steps fade out, for MAML++
    proximal        λ of iMAML: adaptation lowers the support loss + λ/2 · ‖φ − θ‖²
    conjugate_steps how many steps of conjugate gradients solve for iMAML's meta-gradient
    augmentation    augmentations of support and query images (see ``limner.engine.augment``)
    turns           whether each task is turned by a random multiple of 90 degrees: more classes from the same data
    validate_every  outer steps between validations on held-out classes (0 = at the end only)
    validate_tasks  how many held-out tasks a validation adapts to
    keep            ``best``: the start with the lowest validation loss; ``last``: as it is at the end. With several
                    players the last is kept, for a game's losses rank nothing
    execution       ``loop`` over tasks, ``threads`` (the loop shared by threads, one core each), ``vmap`` over tasks,
                    or ``auto``: the fastest of them, by a short timing at the start
    chunk           most tasks that ``vmap`` does at once (0 = all)
    recompute       keep no graph of the inner loop but make each step's again on the way back: memory of one step
                    instead of all, for nearly twice the time
    channels_last   lay images out with channels innermost
    precision       ``float32``, or ``bfloat16`` for the networks' products (on a GPU), or ``auto``: as of a strategy
    device          ``cpu``, ``cuda``, or ``auto``: the GPU where there is one

    >>> MetaPlan.from_json(MetaPlan(steps=3).to_json()).steps
    3
    """

    algorithm: str = "reptile"
    first_order: bool = False
    second_order_from: float = 0.0
    adapts: str = ""
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
    rates_rate: float = 1e-2
    optimiser: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 0.0
    multi_step_until: float = 0.2
    proximal: float = 1.0
    conjugate_steps: int = 5
    augmentation: tuple[str, ...] = ()
    turns: bool = False
    validate_every: int = 0
    validate_tasks: int = 16
    keep: str = "best"
    execution: str = "auto"
    chunk: int = 0
    recompute: bool = False
    channels_last: bool = False
    precision: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        choices = {
            "algorithm": tuple(ALGORITHMS),
            "adapts": ADAPTS,
            "execution": EXECUTIONS,
            "keep": ("best", "last"),
            "precision": PRECISIONS,
            "device": ("auto", "cpu", "cuda"),
        }
        whole = {"steps": 1, "tasks": 1, "inner_steps": 0, "inner_batch": 0, "validate_every": 0, "validate_tasks": 1}
        whole |= {"chunk": 0, "conjugate_steps": 1}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                self._refuse(name, ", ".join(choice for choice in allowed if choice))
        for name, least in whole.items():
            if getattr(self, name) < least:
                self._refuse(name, f"a whole number from {least}")
        for name in ("inner_rate", "rate", "rates_rate", "proximal"):
            if not 0 < getattr(self, name) < float("inf"):
                self._refuse(name, "a number above 0")
        for name in ("second_order_from", "multi_step_until"):
            if not 0 <= getattr(self, name) <= 1:
                self._refuse(name, "a share from 0 to 1")
        if self.recompute and self.execution == "vmap":
            self._refuse("execution", "loop or threads, where the inner steps are to be recomputed")

    def _refuse(self, name: str, right: str) -> None:
        raise LimnerError(
            f"the meta-training plan's {name} {getattr(self, name)!r} cannot be used; right would be: {right}"
        )

    @property
    def traits(self) -> Traits:
        """The algorithm's, with what the plan says otherwise."""
        found = ALGORITHMS[self.algorithm]
        return found._replace(
            second_order=found.second_order and not self.first_order, adapts=self.adapts or found.adapts
        )

    def at(self, progress: float) -> MetaPlan:
        """The plan in force once a share ``progress`` of the training is over: first order until its share comes."""
        return self if progress >= self.second_order_from else dataclasses.replace(self, first_order=True)

    def step_weights(self, progress: float) -> list[float]:
        """The weight of the query loss after each inner step (MAML++, Antoniou et al. 2019, section 4), summing to 1.

        With N inner steps the earlier ones begin at 1/N and fade to 0 while the last one grows to 1.

        >>> MetaPlan(algorithm="maml++", inner_steps=4, multi_step_until=0.5).step_weights(0.25)
        [0.125, 0.125, 0.125, 0.625]
        """
        if not self.traits.multi_step or not self.inner_steps:
            return [0.0] * (self.inner_steps - 1) + [1.0]
        share = max(0.0, 1 - progress / self.multi_step_until) if self.multi_step_until else 0.0
        early = [share / self.inner_steps] * (self.inner_steps - 1)
        return [*early, 1 - sum(early)]

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
