"""What was read for one task stays at hand for the next: a family is read once, not once for each of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Thing = TypeVar("Thing")

LARGEST = 2**30
"""Bytes above which an array is not held, but read anew."""

_held: ContextVar[dict[Hashable, Any] | None] = ContextVar("held", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Within it, in this thread, what :func:`once` has read is not read again; afterwards nothing is held any more.

    >>> def read():
    ...     print("reading")
    ...     return 7
    >>> with reading_once():
    ...     once("seven", read), once("seven", read)
    reading
    (7, 7)
    """
    outer = _held.get()
    token = _held.set({} if outer is None else outer)
    try:
        yield
    finally:
        _held.reset(token)


def holding() -> bool:
    """Whether things are read once now."""
    return _held.get() is not None


def once(name: Hashable, read: Callable[[], Thing]) -> Thing:
    """What ``read`` gives; within :func:`reading_once` the same again for the same ``name``. Nobody may change it."""
    held = _held.get()
    if held is None:
        return read()
    if name not in held:
        held[name] = read()
    found: Thing = held[name]
    return found
