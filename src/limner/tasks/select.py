"""Which images of a source are wanted: classes by name or index, and at most so many of each."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.tasks.spec import nearest


def choose_classes(text: str, names: Sequence[str], where: str) -> list[int]:
    """Indices of the classes that ``text`` names: names, patterns with ``*``, or ranges of numbers, joined by ``+``.

    A number is the name of a class, never a place in the list; ``3-5`` is every class that is called 3, 4 or 5.
    Raises :class:`LimnerError`, which tells what the classes are called, for what is no class.

    >>> choose_classes("cat+0-1", ["0", "1", "cat"], "pets")
    [2, 0, 1]
    """
    if not names:
        raise LimnerError(f"{where} has no classes to choose {text!r} from; leave out the option classes")
    places = {name: index for index, name in enumerate(names)}
    chosen: list[int] = []
    for word in [text] if text in places else text.split("+"):
        span = re.fullmatch(r"(\d+)-(\d+)", word)
        if word in places:
            found = [places[word]]
        elif span:
            numbers = {int(name): index for name, index in places.items() if name.isdecimal()}
            found = [numbers[number] for number in sorted(numbers) if int(span[1]) <= number <= int(span[2])]
        else:
            found = [places[name] for name in fnmatch.filter(names, word)]
        if not found:
            called = ", ".join(names[:6]) + (f" and {len(names) - 6:,} more" if len(names) > 6 else "")
            place = word.isdecimal() and int(word) < len(names)
            hint = " (a number is a name, not a place)" if place else nearest(word, names)
            raise LimnerError(f"{where} has no class {word!r}{hint}; its {len(names):,} classes are called: {called}")
        chosen += [index for index in found if index not in chosen]
    return chosen


def wanted(labels: Tensor | None, count: int, chosen: list[int] | None, limit: int | None) -> Tensor:
    """Indices of the images of the ``chosen`` classes (all where ``None``), the first ``limit`` of each, in order.

    >>> wanted(torch.tensor([1, 0, 1, 1]), 4, [1], 2)
    tensor([0, 2])
    """
    if labels is None:
        return torch.arange(count if limit is None else min(count, limit))
    keep = torch.ones(count, dtype=torch.bool) if chosen is None else torch.isin(labels, torch.tensor(chosen))
    if limit is not None:
        order = torch.argsort(labels, stable=True)
        sizes = torch.bincount(labels)
        rank = torch.arange(count) - (sizes.cumsum(0) - sizes)[labels[order]]
        keep[order[rank >= limit]] = False
    return torch.nonzero(keep).flatten()
