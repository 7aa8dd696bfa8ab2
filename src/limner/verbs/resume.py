"""Going on with a run that was stopped or killed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import LimnerError
from limner.verbs.directories import request_of
from limner.verbs.line import Order, carry_out, find_start, prepare

if TYPE_CHECKING:
    from limner.engine import Run


def resume(directory: str | Path, *, memory: str | None = None, progress: bool = False) -> Run:
    """Go on with the run in ``directory`` exactly where it was stopped or killed; the run.

    ``memory`` says where the memory lies now, if it was moved. Raises :class:`LimnerError` where the directory holds no
    run to go on with, the run is finished, or its images are no longer what they were.
    """
    from limner.learners import rebuild
    from limner.memory import Memory

    place = Path(directory)
    record = request_of(place)
    if record.get("verb") not in ("adapt", "train"):
        raise LimnerError(f"{place} holds no run, so there is nothing to resume; give the directory of a stopped run")
    order = Order.from_json(record)
    prepared = prepare(order.spec, order.shots, order.seed, order.goal)
    learner = rebuild(order.learner)
    with Memory.open(memory if memory is not None else order.memory) as remembered:
        known = remembered.resume_run(order.run)
        if known["task"] != prepared.task.sha256:
            remembered.fail_run(order.run, "its images have changed")
            raise LimnerError(
                f"the images of {order.spec} have changed since the run in {place} began; begin a new one"
            )
        start = find_start(order.strategy.start, remembered, prepared.task.support.shape)
        return carry_out(order, prepared, learner, start, place, remembered, resume=True, progress=progress)
