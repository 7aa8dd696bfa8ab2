"""The starts that there are: the memory's own, and those that come with Limner."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError

if TYPE_CHECKING:
    from limner.memory import Memory


def listed(memory: Memory) -> list[dict[str, Any]]:
    """A row for each start, the memory's newest first, then the shipped ones; ``origin`` says which it is."""
    from limner.memory.shipped import record_of, shipped_starts

    shipped = [{"origin": "shipped", **record_of(model)} for model in shipped_starts()]
    return own_starts(memory.list("starts")) + shipped


def own_starts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The memory's rows of its starts, told from those shipped."""
    return [{"origin": "memory", **row} for row in rows]


def in_directory(reference: str) -> str:
    """The id of the model in the directory ``reference``, of a meta-training, of a search (what it advises) or of a
    run; ``reference`` itself where it is no directory of Limner's.

    Raises :class:`LimnerError` where what was begun there has not come to a model yet.
    """
    from limner.verbs import directories
    from limner.verbs.load import run_of_search
    from limner.verbs.meta_train import RECORD

    place = Path(reference)
    verb = directories.verb_of(place)
    if verb == "tune":
        return run_of_search(place)
    if verb != "meta-train":
        return directories.run_of(reference)
    if not (place / RECORD).exists():
        raise LimnerError(
            f"the meta-training in {place} is not over; go on with it by: limner meta-train --resume {place}"
        )
    return str(json.loads((place / RECORD).read_text())["sha256"])


def refuse_taken(name: str, memory: Memory) -> None:
    """Raises :class:`LimnerError` where the memory has a start of that name, which would then mean either."""
    known = next((row["sha256"] for row in memory.list("starts") if row["name"] == name), None)
    if known is not None:
        raise LimnerError(
            f"the memory has a start called {name} already; choose another --name, or take that one out of it: "
            f"limner memory forget {known[:12]}"
        )


def refuse_unknown(reference: str, memory: Memory) -> None:
    """Raises :class:`LimnerError`, naming the starts that there are, nearest first, where nothing is called so."""
    things = [(row["id"], row["name"]) for row in memory.list("runs")]
    things += [(row["sha256"], row["name"]) for row in (*memory.list("models"), *memory.list("starts"))]
    if any(key.startswith(reference) or name == reference for key, name in things):
        return
    names = [str(row["name"] or row["sha256"][:12]) for row in listed(memory)]
    names.sort(key=lambda name: -difflib.SequenceMatcher(None, reference, name.removeprefix("shipped:")).ratio())
    raise LimnerError(
        f"there is no start or model {reference!r}; the starts are: {', '.join(names)}; "
        "or give a model or run of the memory, or scratch"
    )
