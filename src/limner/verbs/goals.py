"""The goals of tasks of images, and the learners that serve them."""

from __future__ import annotations

from limner.errors import LimnerError

GOALS = ("generate", "classify", "translate", "restore")
"""What can be learned to do by a task of images."""


def check_goal(goal: str) -> None:
    """Raises :class:`LimnerError`, naming the choices, for a goal that there is not.

    >>> check_goal("restore")
    """
    if goal not in GOALS:
        raise LimnerError(f"there is no goal {goal!r} yet; there are: {', '.join(GOALS)}")


def check_learner(learner: str | None, goal: str) -> None:
    """Raises :class:`LimnerError`, naming the choices, for a learner that is not known to serve the goal."""
    from limner.memory.portfolio import entries

    check_goal(goal)
    fit = list(dict.fromkeys(entry.learner for entry in entries(goal)))
    if learner is not None and learner not in fit:
        raise LimnerError(f"there is no learner {learner!r} to {goal} with; there are: {', '.join(fit)}")
