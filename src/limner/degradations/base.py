"""What a degradation is: stages, chains of them, one drawn of several; numbers that are fixed or drawn from ranges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from limner.degradations.linear import Composed, Identity, Linear
from limner.errors import LimnerError

Shape = tuple[int, int, int, int]
"""Of images: ``(n, c, h, w)``."""

Parameters = dict[str, Tensor]
"""What was drawn for a batch of images: one row for each image, under the name of the stage's field."""


class Range(NamedTuple):
    """A number to be drawn evenly from ``low`` to ``high``, both included."""

    low: float
    high: float


Value = float | str | Range


@dataclass(frozen=True)
class Field:
    """One thing that a stage has to be told: a number, or where ``words`` are given one of them, or a ``path``.

    default  taken where nothing is said; ``None``: something must be said
    unit     what the number counts, for a reader
    whole    whether the number is whole
    ranges   whether a range may be given, from which every image draws its own number
    """

    name: str
    default: Value | None = None
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    whole: bool = False
    ranges: bool = True
    words: tuple[str, ...] = ()
    path: bool = False

    @property
    def right(self) -> str:
        """What may be given, for a reader."""
        if self.path:
            return f'a path in quotes, as in {self.name}="kernel.npy"'
        if self.words:
            return " or ".join(self.words)
        number = f"a {'whole ' if self.whole else ''}number from {show(self.low)} to {show(self.high)}"
        number += f" {self.unit}" if self.unit else ""
        return f"{number}, or a range a..b of such" if self.ranges else number

    def check(self, value: Value) -> Value:
        """``value``; raises :class:`LimnerError` where it cannot be used."""
        if self.path or self.words:
            if not isinstance(value, str) or '"' in value or (self.words and value not in self.words):
                raise LimnerError(f"{self.name} cannot be {show(value)}; right would be: {self.right}")
            return value
        ends = value if isinstance(value, Range) else (value,)
        for end in ends:
            if isinstance(end, str | bool) or not self.low <= end <= self.high or (self.whole and end != int(end)):
                raise LimnerError(f"{self.name} cannot be {show(value)}; right would be: {self.right}")
        if isinstance(value, Range) and not (self.ranges and value.low <= value.high):
            why = f"runs from {show(value.low)} down to {show(value.high)}" if self.ranges else "cannot be a range"
            raise LimnerError(f"{self.name} {why}; right would be: {self.right}")
        return value

    def draw(self, value: float | Range, count: int, generator: torch.Generator) -> Tensor:
        """``count`` numbers, float64: all of them ``value``, or evenly from it where it is a range."""
        if not isinstance(value, Range):
            return torch.full((count,), float(value), dtype=torch.float64)
        if self.whole:
            return torch.randint(int(value.low), int(value.high) + 1, (count,), generator=generator).double()
        return value.low + (value.high - value.low) * torch.rand(count, generator=generator, dtype=torch.float64)


def show(value: Value) -> str:
    """A value as it is written in a degradation.

    >>> show(25.0), show(Range(0.5, 3)), show("motion")
    ('25', '0.5..3', 'motion')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Range):
        return f"{show(value.low)}..{show(value.high)}"
    return str(float(value)).removesuffix(".0")


class Degradation(ABC):
    """How a clean image becomes an observed one: noise ∘ operator, its parameters drawn apart from its application.

    Images are floats ``(n, c, h, w)`` with clean intensities in [0, 1]. Results may leave [0, 1], as in the literature,
    whose figures for Gaussian noise are of images not clipped; the stages ``clip`` and ``quantise(8)`` make what a
    file would hold. Each image has parameters and noise of its own. The same generator state gives the same result.
    Two degradations are equal where their texts are. Generators are those of the CPU; images may lie on any device.
    """

    linear: ClassVar[bool] = False

    @abstractmethod
    def sample(self, shape: Shape, generator: torch.Generator) -> Parameters:
        """Parameters for images of ``shape``: what ranges, kernels and masks come to, not yet the noise."""

    @abstractmethod
    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """The images degraded with ``parameters``, the noise drawn from ``generator``. Images are not changed."""

    @abstractmethod
    def settle(self, generator: torch.Generator) -> Degradation:
        """The same without ranges and choices: each drawn once, numbers rounded to four digits so as to be read."""

    @abstractmethod
    def __str__(self) -> str:
        """The text that gives this degradation again (:func:`limner.degradations.parse`)."""

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of what becomes of images of ``shape``."""
        return shape

    def operator(self, parameters: Parameters, shape: Shape) -> Linear:
        """The linear operator of images of ``shape``: everything before the first stage that is not linear."""
        return Identity(shape)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw parameters for ``images`` and apply them.

        Raises :class:`LimnerError` where these are no finite floating-point images ``(n, c, h, w)``.
        """
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
            raise LimnerError(
                f"a degradation takes floating-point images of shape (n, 1 or 3, h, w) in [0, 1]; these are "
                f"{images.dtype} of shape {tuple(images.shape)}"
            )
        if not bool(torch.isfinite(images).all()):
            raise LimnerError("some intensities are infinite or not a number; mend or leave out those images")
        return self.apply(images, self.sample(shape_of(images), generator), generator)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Degradation) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"


class Stage(Degradation):
    """One kind of damage: a word, and what it has to be told. A subclass names its ``fields`` and applies itself.

    Values are given in the order of the fields or by name.

    :raises LimnerError: for a value that is missing, unknown or out of bounds
    """

    word: ClassVar[str]
    kind: ClassVar[str] = ""
    fields: ClassVar[tuple[Field, ...]] = ()

    def __init__(self, *given: Value, **named: Value) -> None:
        names = [field.name for field in self.fields]
        if len(given) > len(names) or not named.keys() <= set(names[len(given) :]):
            told = ", ".join(names) or "nothing"
            raise LimnerError(
                f"{self.title()} takes {told}, each once; {len(given)} values and {list(named)} were given"
            )
        values = {**dict(zip(names, given, strict=False)), **named}
        self.values: dict[str, Value] = {}
        for field in self.fields:
            value = values.get(field.name, field.default)
            if value is None:
                raise LimnerError(f"{self.title()} needs {field.name}; right would be: {field.right}")
            self.values[field.name] = field.check(value)

    @classmethod
    def title(cls) -> str:
        """The word, and the kind where there are several, as a reader writes them."""
        return f"{cls.word}({cls.kind})" if cls.kind else cls.word

    def sample(self, shape: Shape, generator: torch.Generator) -> Parameters:
        """A number for each image under the name of each field that is a number."""
        return {
            field.name: field.draw(value, shape[0], generator)
            for field in self.fields
            if not isinstance(value := self.values[field.name], str)
        }

    def settle(self, generator: torch.Generator) -> Stage:
        """The same with each range drawn once."""
        drawn = {
            field.name: float(f"{field.draw(value, 1, generator).item():.4g}") if isinstance(value, Range) else value
            for field in self.fields
            if (value := self.values[field.name]) is not None
        }
        return type(self)(**drawn)

    def upper(self, name: str) -> float:
        """The largest number that the field may come to."""
        value = self.values[name]
        assert not isinstance(value, str)
        return value.high if isinstance(value, Range) else float(value)

    def __str__(self) -> str:
        told = [self.kind] if self.kind else []
        for place, field in enumerate(self.fields):
            value = self.values[field.name]
            written = f'"{value}"' if field.path else show(value)
            if field.default is None and place == 0 and not self.kind:
                told.append(written)
            elif value != field.default:
                told.append(f"{field.name}={written}")
        return f"{self.word}({','.join(told)})" if told else self.word


class Chain(Degradation):
    """Degradations one after the other, the first one first. Parameters are those of each, after its place and a dot.

    >>> from limner.degradations import parse
    >>> chain = parse("blur(motion,length=9)+gaussian(25)")
    >>> sorted(chain.sample((2, 1, 8, 8), torch.Generator()))
    ['0.angle', '0.kernel', '0.length', '1.sigma']
    """

    def __init__(self, parts: Sequence[Degradation]) -> None:
        self.parts: tuple[Degradation, ...] = tuple(
            step for part in parts for step in (part.parts if isinstance(part, Chain) else (part,))
        )

    def sample(self, shape: Shape, generator: torch.Generator) -> Parameters:
        """Parameters of all parts; each part's for the shape that the one before leaves."""
        drawn: Parameters = {}
        for place, part in enumerate(self.parts):
            drawn |= {f"{place}.{name}": value for name, value in part.sample(shape, generator).items()}
            shape = part.shape_after(shape)
        return drawn

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """One part after the other."""
        for place, part in enumerate(self.parts):
            images = part.apply(images, under(parameters, place), generator)
        return images

    def settle(self, generator: torch.Generator) -> Degradation:
        """All parts settled."""
        settled = Chain([part.settle(generator) for part in self.parts])
        return settled.parts[0] if len(settled.parts) == 1 else settled

    def shape_after(self, shape: Shape) -> Shape:
        """The shape that the last part leaves."""
        for part in self.parts:
            shape = part.shape_after(shape)
        return shape

    def operator(self, parameters: Parameters, shape: Shape) -> Linear:
        """The linear parts before the first that is not, composed."""
        found: Linear = Identity(shape)
        for place, part in enumerate(self.parts):
            if isinstance(part, OneOf):
                part.operator(parameters, shape)  # raises
            if not part.linear:
                break
            found = Composed(part.operator(under(parameters, place), found.result), found)
        return found

    def __str__(self) -> str:
        return "+".join(map(str, self.parts)) or "nothing"


class OneOf(Degradation):
    """One of several degradations for each image, all equally likely: an unknown mixture.

    Parameters are ``choice``, int64 ``(n,)``, and those of every alternative, after its place and a dot.

    >>> from limner.degradations import parse
    >>> mixture = parse("one_of(gaussian(25),poisson(30),nothing)")
    >>> str(mixture.settle(torch.Generator().manual_seed(0)))
    'nothing'
    """

    def __init__(self, alternatives: Sequence[Degradation]) -> None:
        if len(alternatives) < 2:
            raise LimnerError("one_of leaves nothing to choose; give two degradations or more")
        self.alternatives = tuple(alternatives)

    def sample(self, shape: Shape, generator: torch.Generator) -> Parameters:
        """The choices, and the parameters of all alternatives for all images."""
        self.shape_after(shape)
        drawn = {"choice": torch.randint(len(self.alternatives), (shape[0],), generator=generator)}
        for place, part in enumerate(self.alternatives):
            drawn |= {f"{place}.{name}": value for name, value in part.sample(shape, generator).items()}
        return drawn

    def apply(self, images: Tensor, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Each image by the alternative that was chosen for it."""
        choice = parameters["choice"]
        results, places = [], []
        for place, part in enumerate(self.alternatives):
            chosen = (choice == place).nonzero().flatten()
            if len(chosen):
                own = {name: value[chosen] for name, value in under(parameters, place).items()}
                results.append(part.apply(images[chosen.to(images.device)], own, generator))
                places.append(chosen)
        back = torch.cat(places).argsort()
        return torch.cat(results)[back.to(images.device)]

    def settle(self, generator: torch.Generator) -> Degradation:
        """One alternative, settled."""
        drawn = int(torch.randint(len(self.alternatives), (), generator=generator))
        return self.alternatives[drawn].settle(generator)

    def shape_after(self, shape: Shape) -> Shape:
        """The shape that all alternatives leave. Raises :class:`LimnerError` where they differ."""
        found = {part.shape_after(shape) for part in self.alternatives}
        if len(found) > 1:
            sizes = " and ".join(f"{width}×{height}" for _, _, height, width in sorted(found))
            raise LimnerError(f"{self} gives images of different sizes ({sizes}) in one batch; settle it first")
        return found.pop()

    def operator(self, parameters: Parameters, shape: Shape) -> Linear:
        """Raises :class:`LimnerError`: images of one batch have different operators."""
        raise LimnerError(f"{self} has no operator before it is settled")

    def __str__(self) -> str:
        return f"one_of({','.join(map(str, self.alternatives))})"


def under(parameters: Parameters, place: int) -> Parameters:
    """The parameters of the part at ``place``, without its prefix."""
    prefix = f"{place}."
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


def shape_of(images: Tensor) -> Shape:
    """The four sides of a batch of images."""
    count, channels, height, width = images.shape
    return int(count), int(channels), int(height), int(width)


def each(parameter: Tensor, images: Tensor) -> Tensor:
    """A number for each image, ``(n,)``, as ``(n, 1, 1, 1)`` of the images' type and device."""
    return parameter.to(images).view(-1, 1, 1, 1)


def normal(images: Tensor, generator: torch.Generator, shape: Sequence[int] | None = None) -> Tensor:
    """Standard normal numbers like ``images``, or of ``shape``, drawn on the generator's device."""
    wanted = tuple(images.shape if shape is None else shape)
    return torch.randn(wanted, generator=generator, dtype=images.dtype, device=generator.device).to(images.device)


def uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers from 0 up to 1 like ``images``, drawn on the generator's device."""
    drawn = torch.rand(prod(images.shape), generator=generator, dtype=images.dtype, device=generator.device)
    return drawn.view(images.shape).to(images.device)
