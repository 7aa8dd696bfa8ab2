"""The starts that there are: the memory's own, and those that come with Limner."""

from __future__ import annotations

import difflib
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
