"""Strategies are data: frozen dataclasses that become JSON and come back equal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from limner.errors import LimnerError

ACTIONS = ("restore-best", "lower-rate", "strengthen-r1", "raise-augmentation")
"""What a guard may do, as the words of ``Strategy.guard``."""

UPDATES = ("full", "modulation", "low-rank")
"""How a start is adapted, as the words of ``Strategy.update``."""

PRECISIONS = ("float32", "bfloat16", "auto")
"""How exact the networks' products are, as the words of ``precision``."""

ENDLESS = 10**9
"""So many steps are no limit: ``Strategy.seconds`` ends the training."""


@dataclass(frozen=True)
class Strategy:
    """How a learner learns. Frozen data, nothing else: every field is plain JSON.

    start           ``scratch``, or the reference of a stored model or meta-learned start (a sha256 or its prefix,
                    a run's id, ``shipped:NAME`` for one in the package)
    optimiser       ``sgd``, ``momentum`` or ``adam``
    learning_rate   step size; ``player_rates`` multiplies it for a named player
    betas           Adam's two decays (the first is momentum's too)
    steps           the budget in steps (0 = none: the start as it is, and what is fitted without steps); ``seconds``
                    (0 = none) ends it earlier, or alone where steps are ``ENDLESS``
    batch           images in a step, drawn without replacement where there are enough (0 = the whole support)
    schedule        ``constant`` or ``cosine`` (to zero over the budget), after ``warmup`` steps of linear rise
    clip            the largest norm of a player's gradient (0 = unclipped)
    ema             decay of the exponential moving average of parameters used for predictions (0 = none)
    augmentation    names of augmentations of the training batch, in order (see ``limner.engine.augment``)
    frozen          parameter names or name prefixes that do not change
    update          how a start is adapted: ``full`` (each number of it), ``modulation`` (channels are scaled) or
                    ``low-rank`` (products of narrow matrices of ``rank`` are added; see ``limner.engine.adapters``)
    anchor          weight of the squared distance to the start's parameters (L2-SP; 0 = none)
    preserve        weight of how differently images lie among each other from those of the start (CDC; 0 = none)
    rehearsal       share of each step that is not the images' own pairs but drawn images under the damage that a
                    restorer's start learned to mend, so that it is not forgotten (Robins 1995; 0 = none)
    precision       ``float32``, or ``bfloat16`` for the networks' products in training: faster where the processor or
                    GPU has it, and enough for most; parameters and losses stay as exact as they were. ``auto`` is
                    ``bfloat16`` where it is the faster one (:func:`limner.engine.step.has_bfloat16`)
    early_stopping  whether held-out shots first tell how many of the steps to take (see ``limner.engine.held_out``)
    evaluate_every  steps between evaluations on the query set (0 = at the end only)
    guard           what is done when a game of several players goes wrong (see ``limner.engine.guard``): one or more of
                    ``restore-best`` (state, by distance to the images learned from), ``lower-rate``, ``strengthen-r1``,
                    ``raise-augmentation`` (adapted to the critic's overfitting); or ``watch`` (tell only), or ``none``

    >>> Strategy(steps=10).to_json()["steps"]
    10
    >>> Strategy.from_json(Strategy(steps=10).to_json()) == Strategy(steps=10)
    True
    """

    start: str = "scratch"
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    player_rates: dict[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.999)
    steps: int = 1000
    seconds: float = 0.0
    batch: int = 32
    schedule: str = "constant"
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0
    augmentation: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    update: str = "full"
    rank: int = 4
    anchor: float = 0.0
    preserve: float = 0.0
    rehearsal: float = 0.0
    precision: str = "float32"
    early_stopping: bool = False
    evaluate_every: int = 0
    guard: tuple[str, ...] = ("restore-best", "lower-rate")

    def __post_init__(self) -> None:
        problems = [
            (self.optimiser not in ("sgd", "momentum", "adam"), f"optimiser {self.optimiser!r}", "sgd, momentum, adam"),
            (self.schedule not in ("constant", "cosine"), f"schedule {self.schedule!r}", "constant, cosine"),
            (not self.learning_rate > 0, f"learning rate {self.learning_rate}", "a number above 0"),
            (self.steps < 0, f"steps {self.steps}", "a whole number from 0 (0 = the start as it is)"),
            (self.seconds < 0, f"seconds {self.seconds}", "a number from 0 (0 = no limit)"),
            (self.batch < 0, f"batch {self.batch}", "a whole number from 0 (0 = all images at once)"),
            (self.warmup < 0, f"warmup {self.warmup}", "a whole number from 0 (0 = none)"),
            (
                self.evaluate_every < 0,
                f"evaluate_every {self.evaluate_every}",
                "a whole number from 0 (0 = at the end only)",
            ),
            (not 0 <= self.ema < 1, f"ema {self.ema}", "a number from 0 (none) to below 1"),
            (self.clip < 0, f"clip {self.clip}", "a number from 0 (0 = unclipped)"),
            (self.update not in UPDATES, f"update {self.update!r}", ", ".join(UPDATES)),
            (self.precision not in PRECISIONS, f"precision {self.precision!r}", ", ".join(PRECISIONS)),
            (self.rank < 1, f"rank {self.rank}", "a whole number from 1"),
            (self.anchor < 0, f"anchor {self.anchor}", "a number from 0 (0 = none)"),
            (not 0 <= self.preserve < float("inf"), f"preserve {self.preserve}", "a number from 0 (0 = none)"),
            (not 0 <= self.rehearsal < 1, f"rehearsal {self.rehearsal}", "a number from 0 (0 = none) to below 1"),
            (
                tuple(self.guard) not in (("none",), ("watch",))
                and not (self.guard and set(self.guard) <= set(ACTIONS)),
                f"guard {self.guard!r}",
                f"none, watch, or one or more of {', '.join(ACTIONS)}",
            ),
        ]
        for wrong, what, right in problems:
            if wrong:
                raise LimnerError(f"the strategy's {what} cannot be used; right would be: {right}")

    def replace(self, **changes: Any) -> Strategy:
        """A copy with some fields changed. Raises :class:`LimnerError` for a field that does not exist."""
        known = {item.name for item in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise LimnerError(f"a strategy has no field {name!r}; it has: {', '.join(sorted(known))}")
        return dataclasses.replace(self, **changes)

    def within(self, steps: int | None, seconds: float | None) -> Strategy:
        """A copy that ends after so many steps, after so many seconds, or whichever is first; as it is without either.

        Seconds alone are all used, however many steps that takes; only a strategy of no steps stays one.

        >>> Strategy(steps=60).within(None, 30.0).steps == ENDLESS
        True
        """
        if steps is None and seconds is None:
            return self
        if steps is None:
            steps = ENDLESS if self.steps else 0
        return self.replace(steps=steps, seconds=float(seconds or 0.0))

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        record = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Strategy:
        """The inverse of :meth:`to_json`; raises :class:`LimnerError` for an unknown field."""
        lists_to_tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        return cls().replace(**lists_to_tuples)
