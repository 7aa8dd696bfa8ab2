"""Names of classes as names of folders: safe on every file system, different in all of them, and reversible."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from limner.errors import LimnerError

_PLAIN = frozenset(" _-+=()[]{},;.@#&'!")
"""What may stand in a folder's name beside letters and digits."""

_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
"""Names that one system keeps for its devices, whatever follows after a dot."""

_LONGEST = 240
"""Bytes of a folder's name, at most."""


def folders(names: Sequence[str], kept: Iterable[str] = ()) -> list[str]:
    """The folder of each class, in order; :func:`class_of` gives its name back.

    Letters and digits of any script stay as they are; what some file system refuses is written as the %XX of its UTF-8
    bytes. A name that some file system would take for another's, or for one of ``kept``, is written so altogether.

    Raises :class:`LimnerError` for a name that is empty, too long, or there twice.

    >>> folders(["cat", "Cat", "cat/black", ".", "ñ"])
    ['cat', '%43%61%74', 'cat%2Fblack', '%2E', 'ñ']
    """
    taken = {_alike(name) for name in kept}
    found: list[str] = []
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise LimnerError(f"two classes are called {twice[0]!r}; give each a name of its own")
    for name in names:
        if not name:
            raise LimnerError("a class has an empty name, which no folder can have; give it a name")
        folder = _written(name)
        if _alike(folder) in taken:
            folder = _escaped(name)
        if len(folder.encode()) > _LONGEST:
            raise LimnerError(f"the class {name[:40]!r}… has too long a name for a folder; give it a shorter one")
        taken.add(_alike(folder))
        found.append(folder)
    return found


def class_of(folder: str) -> str:
    """The name of the class in a folder: the inverse of :func:`folders`.

    >>> class_of("cat%2Fblack")
    'cat/black'
    """
    return unquote(folder, errors="strict")


def _written(name: str) -> str:
    last = len(name) - 1
    parts = []
    for place, letter in enumerate(name):
        at_edge = (place == 0 and letter in ". ") or (place == last and letter in ". ")
        safe = (letter.isalnum() or letter in _PLAIN) and not at_edge
        parts.append(letter if safe else _escaped(letter))
    if name.split(".")[0].strip().lower() in _DEVICES:
        parts[0] = _escaped(name[0])
    return "".join(parts)


def _escaped(text: str) -> str:
    try:
        return "".join(f"%{byte:02X}" for byte in text.encode())
    except UnicodeEncodeError as damage:
        raise LimnerError(f"the class {text!r} has a name that is no text; give it another") from damage


def _alike(folder: str) -> str:
    """What file systems that do not tell case or the composition of letters apart take a name for."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", folder).casefold())
