"""Knobs and spaces: what can be chosen about a learner and a strategy, said once as data.

Whoever proposes strategies, reads them from a person or shows them draws on the same space: ranges, scales, defaults
and conditions stand nowhere else.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limner.errors import LimnerError
from limner.seeds import derive
from limner.tasks.spec import nearest

STEP = 0.1
"""How far a neighbour lies on a numeric knob, as a share of its range on its own scale."""


@dataclass(frozen=True)
class Knob:
    """One thing to choose.

    name     as the strategy's field, or the learner's option, is called
    kind     ``float``, ``int`` or ``choice``
    default  what it is without any search
    low, high  the ends of the range, both in it; ``log``: the range is gone through by factors, not by differences
    words    of a choice: the values that there are, plain JSON, in an order that means something where there is one
    when     another knob's name and the values of it with which alone this one plays a part; ``None``: always
    of       what it belongs to: ``option`` (of the learner) or ``strategy``

    >>> rate = Knob("learning_rate", "float", 1e-3, 1e-4, 1e-2, log=True)
    >>> rate.at(0.5), round(rate.place(1e-3), 9)
    (0.001, 0.5)
    """

    name: str
    kind: str
    default: Any
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    words: tuple[Any, ...] = ()
    when: tuple[str, tuple[Any, ...]] | None = None
    of: str = "option"

    @property
    def range(self) -> str:
        """The range in words.

        >>> Knob("depth", "int", 3, 1, 20).range, Knob("loss", "choice", "l2", words=("l2", None, ("a", "b"))).range
        ('a whole number from 1 to 20', 'l2, none or a+b')
        """
        if self.kind == "choice":
            told = [spelt(word) for word in self.words]
            return " or ".join(filter(None, (", ".join(told[:-1]), told[-1])))
        return f"{'a whole' if self.kind == 'int' else 'a'} number from {self.low:g} to {self.high:g}"

    def read(self, value: Any) -> Any:
        """``value`` as the knob holds it, in range or not: a list as a tuple, a whole number as a float of numbers."""
        if isinstance(value, list):
            value = tuple(value)
        if self.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if self.kind == "choice":
            return next((word for word in self.words if _same(word, value)), value)
        return value

    def holds(self, value: Any) -> bool:
        """Whether the value, as :meth:`read` gives it, is in range."""
        if self.kind == "choice":
            return any(_same(word, value) for word in self.words)
        right = (int,) if self.kind == "int" else (int, float)
        return isinstance(value, right) and not isinstance(value, bool) and self.low <= value <= self.high

    def at(self, place: float) -> Any:
        """The value at a place from 0 to 1 along the range; of a choice, each word has an equal share."""
        place = min(max(place, 0.0), 1.0)
        if self.kind == "choice":
            return self.words[min(int(place * len(self.words)), len(self.words) - 1)]
        if self.kind == "int":
            low, high = (self._scaled(end) for end in (self.low - 0.4999, self.high + 0.4999))
            found = low + place * (high - low)
            return int(min(max(round(math.exp(found) if self.log else found), self.low), self.high))
        low, high = self._scaled(self.low), self._scaled(self.high)
        found = low + place * (high - low)
        value = math.exp(found) if self.log else found
        return float(f"{min(max(value, self.low), self.high):.6g}")

    def place(self, value: Any) -> float:
        """Where the value lies along the range, from 0 to 1: what :meth:`at` gives it back from."""
        if self.kind == "choice":
            index = next(place for place, word in enumerate(self.words) if _same(word, value))
            return (index + 0.5) / len(self.words)
        gap = 0.4999 if self.kind == "int" else 0.0
        low, high = self._scaled(self.low - gap), self._scaled(self.high + gap)
        return (self._scaled(value) - low) / (high - low) if high > low else 0.5

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


def spelt(value: Any) -> str:
    """A value as a person writes it.

    >>> spelt(()), spelt(("shift", "flip")), spelt(True), spelt(0.5)
    ('none', 'shift+flip', 'true', '0.5')
    """
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "+".join(spelt(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _same(one: Any, other: Any) -> bool:
    """Equality that tells true from 1, and lets 1 and 1.0 pass as the same."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@dataclass(frozen=True)
class Space:
    """All knobs of one learner, each after the one that it depends on.

    about  what the knobs are of, for a reader
    """

    about: str
    knobs: tuple[Knob, ...]

    def __post_init__(self) -> None:
        seen: dict[str, Knob] = {}
        for knob in self.knobs:
            if knob.name in seen or not knob.holds(knob.default):
                raise LimnerError(f"{self.about}: the knob {knob.name} is there twice, or its default out of range")
            if knob.when is not None and not all(seen[knob.when[0]].holds(word) for word in knob.when[1]):
                raise LimnerError(f"{self.about}: the knob {knob.name} waits for a value that {knob.when[0]} never has")
            seen[knob.name] = knob

    def __getitem__(self, name: str) -> Knob:
        """The knob of that name. Raises :class:`LimnerError`, with the nearest one, where there is none."""
        names = [knob.name for knob in self.knobs]
        if name not in names:
            told = f"{nearest(name, names)}; it has: {', '.join(names)}" if names else "; it has none"
            raise LimnerError(f"{self.about} has no knob {name!r}{told}")
        return self.knobs[names.index(name)]

    @property
    def default(self) -> dict[str, Any]:
        """The values without any search."""
        return self.complete({})

    def active(self, knob: Knob, values: Mapping[str, Any]) -> bool:
        """Whether the knob plays a part beside the other ``values``."""
        if knob.when is None:
            return True
        name, words = knob.when
        return name in values and any(_same(word, values[name]) for word in words)

    def complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` in the knobs' order, defaults where they say nothing, without those that play no part."""
        made: dict[str, Any] = {}
        for knob in self.knobs:
            if self.active(knob, made):
                made[knob.name] = values.get(knob.name, knob.default)
        return made

    def validate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values``, checked and completed.

        Raises :class:`LimnerError`, naming the knob and its range, for a knob that there is not, a value out of range,
        or one that plays no part beside the others.

        >>> space = Space("a tree", (Knob("depth", "int", 3, 1, 20),))
        >>> space.validate({}), space.validate({"depth": 5})
        ({'depth': 3}, {'depth': 5})
        """
        read = self._in_range(values)
        made = self.complete(read)
        for name in read:
            if name not in made and (condition := self[name].when) is not None:
                words = " or ".join(spelt(word) for word in condition[1])
                raise LimnerError(
                    f"{self.about}: {name} plays a part only where {condition[0]} is {words}; leave it out"
                )
        return made

    def _in_range(self, values: Mapping[str, Any]) -> dict[str, Any]:
        read = {name: self[name].read(value) for name, value in values.items()}
        for name, value in read.items():
            if not self[name].holds(value):
                raise LimnerError(f"{self.about}: {name} cannot be {spelt(value)}; right would be {self[name].range}")
        return read

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether :meth:`validate` would take ``values``."""
        try:
            self.validate(values)
        except LimnerError:
            return False
        return True

    def sample(self, seed: int) -> dict[str, Any]:
        """Values drawn at random, each evenly over its range on its own scale; the same for the same seed."""
        made: dict[str, Any] = {}
        for knob in self.knobs:
            if self.active(knob, made):
                made[knob.name] = knob.at(random.Random(derive(seed, "space", knob.name)).random())
        return made

    @property
    def width(self) -> int:
        """How many numbers :meth:`encode` gives."""
        return sum(_width(knob) for knob in self.knobs)

    def encode(self, values: Mapping[str, Any]) -> list[float]:
        """``values`` as numbers in [0, 1], always as many, for what predicts from them.

        A numeric knob is its place in the range; a choice has one number for each word, 1 for the one chosen. A numeric
        knob with a condition has one number more before it: 1 where it plays a part. What plays none is all 0.

        >>> loss, depth = Knob("loss", "choice", "l2", words=("l2", "l1")), Knob("depth", "int", 3, 1, 5)
        >>> Space("a net", (loss, depth)).encode({"loss": "l1", "depth": 3})
        [0.0, 1.0, 0.5]
        """
        made: list[float] = []
        for knob in self.knobs:
            if knob.name not in values or not self.active(knob, values):
                made += [0.0] * _width(knob)
            elif knob.kind == "choice":
                made += [float(_same(word, values[knob.name])) for word in knob.words]
            else:
                made += [1.0] * (knob.when is not None) + [knob.place(values[knob.name])]
        return made

    def decode(self, vector: Sequence[float]) -> dict[str, Any]:
        """The values nearest to what ``vector`` says: the inverse of :meth:`encode`; any numbers give values in range.

        Raises :class:`LimnerError` where ``vector`` has not :attr:`width` numbers.
        """
        if len(vector) != self.width:
            raise LimnerError(f"{self.about} is told by {self.width} numbers, not {len(vector)}; give what encode gave")
        made: dict[str, Any] = {}
        at = 0
        for knob in self.knobs:
            part = list(vector[at : at + _width(knob)])
            at += len(part)
            if self.active(knob, made):
                word = knob.words[part.index(max(part))] if knob.kind == "choice" else knob.at(part[-1])
                made[knob.name] = word
        return made

    def neighbours(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All that differ from ``values`` in one knob: another word, or a number :data:`STEP` of the range away.

        What then begins to play a part has its default; what no longer does is left out.
        """
        now = self.validate(values)
        found: list[dict[str, Any]] = []
        for knob in self.knobs:
            if knob.name not in now:
                continue
            mine = now[knob.name]
            if knob.kind == "choice":
                others = [word for word in knob.words if not _same(word, mine)]
            else:
                others = [knob.at(knob.place(mine) + step) for step in (-STEP, STEP)]
                if knob.kind == "int":  # a step of a narrow range is at least 1
                    others = [
                        mine - 1 if others[0] == mine else others[0],
                        mine + 1 if others[1] == mine else others[1],
                    ]
            found += [
                self.complete({**now, knob.name: other}) for other in others if other != mine and knob.holds(other)
            ]
        return found

    def without(self, fixed: Mapping[str, Any]) -> Space:
        """The space that is left where the knobs of ``fixed`` have these values, which must be in range.

        What they leave no part to play goes as well; what waited for them plays its part always.
        """
        given, kept = self._in_range(fixed), []
        for knob in self.knobs:
            if knob.name in given:
                continue
            if knob.when is not None and knob.when[0] in given:
                if not self.active(knob, given):
                    continue
                knob = Knob(**{**vars(knob), "when": None})
            kept.append(knob)
        return Space(self.about, tuple(kept))

    def rows(self) -> list[dict[str, str]]:
        """The knobs for a reader: name, range, scale, default, condition."""
        return [
            {
                "name": knob.name,
                "of": knob.of,
                "range": knob.range,
                "scale": "by factors" if knob.log else "",
                "default": spelt(knob.default),
                "when": "" if knob.when is None else f"{knob.when[0]} is {' or '.join(map(spelt, knob.when[1]))}",
            }
            for knob in self.knobs
        ]


def _width(knob: Knob) -> int:
    return len(knob.words) if knob.kind == "choice" else 1 + (knob.when is not None)
