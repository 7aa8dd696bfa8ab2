"""Fields of a strategy or a plan as people give them, checked against the types that they have."""

from __future__ import annotations

import json
from typing import Any

from limner.errors import LimnerError

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", dict: "a JSON object"}


def typed(given: dict[str, Any], like: dict[str, Any], what: str) -> dict[str, Any]:
    """``given``, with each value of the type that it has in ``like``; a list may be written with + between its parts.

    Names that ``like`` does not have are left for whoever takes the fields to refuse. Raises :class:`LimnerError`,
    which speaks of ``what``, for a value of another type.

    >>> typed({"betas": "0+0.9", "clip": 1}, {"betas": [0.9, 0.999], "clip": 0.0}, "strategy")
    {'betas': (0, 0.9), 'clip': 1}
    """
    made: dict[str, Any] = {}
    for name, value in given.items():
        right = like.get(name, value)
        if isinstance(right, (list, tuple)):
            parts = (
                value.split("+") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
            )
            value = tuple(read(part) if isinstance(part, str) else part for part in parts if part != "")
        elif not fits(value, right):
            raise LimnerError(
                f"the {what}'s {name} is {value!r}; right would be {KINDS[type(right)]}, such as {right!r}"
            )
        made[name] = value
    return made


def fits(value: Any, right: Any) -> bool:
    """Whether ``value`` is of the type of ``right``; a whole number is a number, but true and false are none."""
    if isinstance(right, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(right)


def read(text: str) -> Any:
    """A number, true, false or JSON as what it means; any other text as it is.

    >>> read("0.5"), read("adam")
    (0.5, 'adam')
    """
    try:
        return json.loads(text)
    except ValueError:
        return text
