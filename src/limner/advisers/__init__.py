"""Advisers: each proposes strategies for a task from what was done before, and is told what came of them.

One contract (``base``): a :class:`Case` is what an adviser is asked about; ``propose(left)`` gives a :class:`Proposal`,
``observe(told)`` takes what came of a run, or of a part of one. All can be used alone, and compared.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError

if TYPE_CHECKING:
    from limner.advisers.base import Adviser, Case

CATALOGUE = {
    "default": ("lists", "Default", "always the default"),
    "random": ("lists", "Random", "chance, without a look at the past"),
    "portfolio": ("lists", "Portfolio", "a fixed list that covers what was good on past tasks"),
    "nearest": ("lists", "Nearest", "what did best on the most similar tasks"),
    "search": ("sampled", "Sampled", "what did best on like tasks, then a sampler"),
    "evolution": ("evolution", "Evolution", "a distribution over strategies, moved after every run"),
    "metann": ("metann", "MetaNN", "a network that predicts score and cost from the memory, for whole runs or rungs"),
    "metacnn": ("metacnn", "MetaCNN", "the same, looking at the tasks' images themselves"),
}
"""By name: module, class, and what it goes by."""


def adviser(name: str, case: Case, sampler: str = "tpe") -> Adviser:
    """The adviser of that name for a task; ``sampler`` (of ``limner.spaces.search``) is for ``search`` alone.

    Raises :class:`LimnerError` where there is none of that name.
    """
    made: Any = kind(name)
    found: Adviser = made(case, sampler) if name == "search" else made(case)
    return found


def kind(name: str) -> type[Adviser]:
    """The class of that name. Raises :class:`LimnerError` where there is none.

    >>> kind("metann").by_rungs, kind("nearest").by_rungs
    (True, False)
    """
    check(name)
    module, called, _ = CATALOGUE[name]
    found: type[Adviser] = getattr(import_module(f"limner.advisers.{module}"), called)
    return found


def check(name: str) -> None:
    """Raises :class:`LimnerError`, naming them, where there is no adviser of that name.

    >>> check("metann")
    """
    if name not in CATALOGUE:
        raise LimnerError(f"there is no adviser {name!r}; there are: {', '.join(CATALOGUE)}")
