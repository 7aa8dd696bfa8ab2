"""Degradations as text, read here and printed back by ``str``.

    text   = part + part + …                  one after the other, the first one first
    part   = word, or word(value, name=value, …), or one_of(text, text, …)
    value  = 25, or a range 5..50 from which every image draws its own number, or a word, or "a path", whose quotes can
             be left out where there is no comma or bracket in it

``blur(motion,length=9,angle=30)+gaussian(25)`` is motion blur, then Gaussian noise of σ = 25 on the scale 0–255.
``unknown`` stands for a mixture of common damages (:data:`UNKNOWN`), ``nothing`` leaves images as they are.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from limner.degradations import noise, operators
from limner.degradations.base import Chain, Degradation, Field, OneOf, Range, Stage, Value
from limner.errors import LimnerError

STAGES: tuple[type[Stage], ...] = (
    noise.Gaussian, noise.Poisson, noise.PoissonGaussian, noise.Speckle, noise.SaltAndPepper, noise.Stripes,
    operators.GaussianBlur, operators.MotionBlur, operators.DefocusBlur, operators.FileBlur, operators.Downsample,
    operators.Missing, operators.Boxes, operators.Scratches, operators.Text, operators.Mosaic,
    noise.Jpeg, noise.Quantise, noise.Clip,
)  # fmt: skip
"""Every stage that has a word."""

UNKNOWN = (
    "one_of(gaussian(5..50),poisson(20..200),salt_and_pepper(0.01..0.2),blur(gaussian,width=0.5..2)+gaussian(2..10),"
    "jpeg(10..60))"
)
"""What ``unknown`` stands for: Gaussian, Poisson or impulse noise, mild blur, or JPEG, of unknown strength."""

WORDS = (*dict.fromkeys(stage.word for stage in STAGES), "one_of", "unknown", "nothing")
"""Every word that a part may begin with."""

DEEPEST = 20
TOKEN = re.compile(r'\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<word>[A-Za-z_]+)|(?P<path>"[^"]*")'
                   r'|(?P<sign>\.\.|[-+(),=])|(?P<end>$)|(?P<other>.))', re.DOTALL)  # fmt: skip

BARE = re.compile(r'[^,()"]+')
"""A path without quotes."""


class Token(NamedTuple):
    """A piece of the text: what it is, as it is written, and where it begins."""

    what: str
    text: str
    place: int


class Given(NamedTuple):
    """A value between brackets, with its name if it was given one, and where it begins."""

    name: str | None
    value: Value
    place: int


def parse(text: str) -> Degradation:
    """The degradation that ``text`` describes.

    Raises :class:`LimnerError`, with a caret under the place, for what cannot be read, unknown words, values out of
    bounds.

    >>> str(parse("blur(motion, angle=30, length=9.0) + gaussian(sigma=25)"))
    'blur(motion,length=9,angle=30)+gaussian(25)'
    >>> parse("gausian(25)")
    Traceback (most recent call last):
    ...
    limner.errors.LimnerError: there is no degradation 'gausian' (did you mean gaussian?):
      gausian(25)
      ^
    right would be: gaussian, poisson, poisson_gaussian, speckle, salt_and_pepper, stripes, blur, downsample, missing, \
boxes, scratches, text, mosaic, jpeg, quantise, clip, one_of, unknown, nothing
    """
    reader = _Reader(text)
    made = reader.chain(0)
    reader.expect("", "+ and another degradation, or the end")
    return made


class _Reader:
    """Goes through the tokens of a text from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        place = 0
        while not self.tokens or self.tokens[-1].what != "end":
            found = TOKEN.match(text, place)
            assert found is not None  # the pattern takes anything
            what = str(found.lastgroup)
            self.tokens.append(Token(what, found[what], found.start(what)))
            place = found.end()
        self.at = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, text: str) -> bool:
        """Go past ``text`` if it is next."""
        found = self.next.text == text and self.next.what != "path"
        self.at += found and text != ""
        return found

    def expect(self, text: str, right: str) -> None:
        if not self.accept(text):
            self.unexpected(right)

    def unexpected(self, right: str) -> NoReturn:
        what = "the text ends too early" if self.next.what == "end" else f"{self.next.text!r} cannot stand here"
        self.fault(self.next.place, what, right)

    def fault(self, place: int, wrong: str, right: str) -> NoReturn:
        shown = re.sub(r"\s", " ", self.text)
        raise LimnerError(f"{wrong}:\n  {shown}\n  {' ' * place}^\nright would be: {right}")

    def chain(self, depth: int) -> Degradation:
        """part + part + …"""
        parts = [self.part(depth)]
        while self.accept("+"):
            parts.append(self.part(depth))
        return parts[0] if len(parts) == 1 else Chain(parts)

    def part(self, depth: int) -> Degradation:
        """A word with what stands in brackets after it."""
        if self.next.what != "word":
            self.unexpected(", ".join(WORDS))
        word = self.take()
        if word.text not in WORDS:
            self.fault(word.place, f"there is no degradation {word.text!r}{_near(word.text, WORDS)}", ", ".join(WORDS))
        if word.text in ("unknown", "nothing"):
            return parse(UNKNOWN) if word.text == "unknown" else Chain([])
        if word.text == "one_of":
            return self.one_of(word, depth)
        bracket = self.next
        given = self.given() if self.accept("(") else []
        kinds = {stage.kind: stage for stage in STAGES if stage.word == word.text}
        if "" in kinds:
            return self.stage(kinds[""], word, given)
        if not given or given[0].name is not None or given[0].value not in kinds:
            place = given[0].place if given else bracket.place
            self.fault(place, f"{word.text} has to be told its kind first", ", ".join(kinds))
        return self.stage(kinds[str(given[0].value)], word, given[1:])

    def one_of(self, word: Token, depth: int) -> Degradation:
        if depth == DEEPEST:
            self.fault(word.place, f"one_of stands within {DEEPEST} others", "fewer, one in the other")
        self.expect("(", "one_of(…,…), with two degradations or more")
        alternatives = [self.chain(depth + 1)]
        while self.accept(","):
            alternatives.append(self.chain(depth + 1))
        if len(alternatives) == 1 and self.next.text == ")":
            self.fault(self.next.place, "one_of leaves nothing to choose", ", and another degradation")
        self.expect(")", "+ or , and another degradation, or )")
        return OneOf(alternatives)

    def given(self) -> list[Given]:
        """Values with and without names, up to the closing bracket."""
        found: list[Given] = []
        while not (not found and self.accept(")")):
            name = None
            if self.next.what == "word" and self.tokens[self.at + 1].text == "=":
                name = self.take().text
                self.take()
            place = self.next.place
            value = self.path() if name == "path" else self.value()
            found.append(Given(name, value, place if name is None else place - len(name) - 1))
            if self.accept(")"):
                break
            self.expect(",", ", and another value, or )")
        return found

    def value(self) -> Value:
        """A number, a range, a word, or a path in quotes."""
        if self.next.what not in ("number", "word", "path"):
            self.unexpected('a number such as 0.5, a range such as 5..50, a word, or a path in quotes ("…")')
        taken = self.take()
        if taken.what != "number":
            return taken.text.strip('"')
        if not self.accept(".."):
            return float(taken.text)
        if self.next.what != "number":
            self.unexpected("the number that the range ends at")
        return Range(float(taken.text), float(self.take().text))

    def path(self) -> Value:
        """A path, in quotes or bare: a shell takes quotes away that are not within others."""
        bare = BARE.match(self.text, self.next.place)
        if self.next.what == "path" or bare is None:
            return self.value()
        while self.next.place < bare.end() and self.next.what != "end":
            self.take()
        return bare[0].strip()

    def stage(self, kind: type[Stage], word: Token, given: list[Given]) -> Stage:
        """The stage of ``kind`` with the values given, each checked at its place."""
        fields = {field.name: field for field in kind.fields}
        values: dict[str, Value] = {}
        for number, one in enumerate(given):
            name = one.name
            if name is None:
                if number >= len(fields) or any(other.name for other in given[:number]):
                    self.fault(one.place, f"{kind.title()} cannot take this value here", _takes(kind))
                name = kind.fields[number].name
            if name not in fields:
                self.fault(one.place, f"{kind.title()} has no {name!r}{_near(name, fields)}", _takes(kind))
            if name in values:
                self.fault(one.place, f"{name} is given twice", _takes(kind))
            values[name] = self.checked(fields[name], one)
        for field in kind.fields:
            if field.default is None and field.name not in values:
                self.fault(word.place, f"{kind.title()} needs {field.name}", _takes(kind))
        return kind(**values)

    def checked(self, field: Field, given: Given) -> Value:
        try:
            return field.check(given.value)
        except LimnerError as mistake:
            wrong, _, right = str(mistake).partition("; right would be: ")
            self.fault(given.place, wrong, right)


def _takes(kind: type[Stage]) -> str:
    """All that a stage may be told."""
    told = [f"{field.name} ({field.right})" for field in kind.fields]
    return f"{kind.title()} with " + ", ".join(told) if told else f"{kind.title()} alone"


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
