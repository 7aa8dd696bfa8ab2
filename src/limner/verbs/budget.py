"""Budgets as people write them: seconds, minutes, hours, steps."""

from __future__ import annotations

import re
from typing import NamedTuple

from limner.config import Strategy
from limner.errors import LimnerError

UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Budget(NamedTuple):
    """When to end: after so many steps, after so many seconds, or whichever comes first; ``None`` = not limited.

    A training takes a time without steps for all there is: it goes on until then (see ``Strategy.within``). No steps at
    all are a budget too: then a start answers as it is.
    """

    steps: int | None = None
    seconds: float | None = None


def parse(text: str | int | float | None) -> Budget:
    """The budget in ``text``: ``60s``, ``2m``, ``1h``, ``500steps``, or a time and steps with a comma between.

    A bare number is seconds. Only steps may be 0. Raises :class:`LimnerError` for anything else.

    >>> parse("2m")
    Budget(steps=None, seconds=120.0)
    >>> parse("90s,500steps")
    Budget(steps=500, seconds=90.0)
    """
    if text is None:
        return Budget()
    steps: int | None = None
    seconds: float | None = None
    for part in str(text).split(","):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", part.lower())
        number, unit = (float(found[1]), found[2] or "s") if found else (0.0, "")
        if found and unit in ("step", "steps") and number.is_integer() and steps is None:
            steps = int(number)
        elif number > 0 and unit in UNITS and seconds is None:
            seconds = number * UNITS[unit]
        else:
            raise LimnerError(
                f"the budget {str(text)!r} cannot be read; right would be 60s, 2m, 1h, 500steps or 2m,500steps"
            )
    return Budget(steps, seconds)


def unused(limits: Budget, strategy: Strategy) -> tuple[str, ...]:
    """A sentence where a time was given to a strategy that takes no steps, so that there is nothing for it to end.

    >>> unused(Budget(seconds=3.0), Strategy(steps=0))
    ('no steps are taken, so the budget of 3 s ends nothing; give steps, as in --budget 100steps, to take some',)
    >>> unused(Budget(seconds=3.0), Strategy()), unused(Budget(0, 3.0), Strategy(steps=0))
    ((), ())
    """
    if strategy.steps or limits.seconds is None or limits.steps is not None:
        return ()
    return (
        f"no steps are taken, so the budget of {limits.seconds:g} s ends nothing; give steps, as in "
        "--budget 100steps, to take some",
    )
