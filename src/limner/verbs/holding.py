"""Where paused runs are held: each with its checkpoint, and with a copy of the best rung that it went on from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.verbs.trials import Outcome

BETTER_BEFORE = "it scored better there than further on"
"""Why a run is kept as it was at an earlier rung."""

_COPY = "rung-"


class Holding:
    """A directory with a folder for each paused run.

    >>> import tempfile
    >>> holding = Holding(Path(tempfile.mkdtemp()) / "paused")
    >>> holding.has(holding.place("a1")), holding.secured(holding.place("a1"))
    (False, None)
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, run: str, lineage: Mapping[str, Any] | None = None) -> Path:
        """The folder of a run; where its lineage tells of another one, that."""
        return Path((lineage or {}).get("held") or self.root / run)

    def has(self, place: Path) -> bool:
        """Whether a run is held there."""
        from limner.engine import checkpoint

        return (place / checkpoint.NAME).exists()

    def secure(self, place: Path, rungs: Mapping[int, float], higher: bool) -> None:
        """Before a run goes on: copy what it has come to, if none of its scores at the ``rungs`` was better than that.

        One that was stopped on its way to a rung has been copied already, if it was to be.
        """
        from limner.engine import checkpoint

        if not rungs:
            return
        sign, last = (1.0 if higher else -1.0), max(rungs)
        copy = place / f"{_COPY}{last}"
        if self.has(copy) or sign * rungs[last] < max(sign * score for score in rungs.values()):
            return
        former = list(place.glob(f"{_COPY}*"))
        copy.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / checkpoint.NAME, copy / "partial")
        os.replace(copy / "partial", copy / checkpoint.NAME)
        for other in former:
            if other != copy:
                shutil.rmtree(other)

    def secured(self, place: Path) -> tuple[int, Path] | None:
        """The newest rung that was copied, and where; ``None`` where there is none."""
        copies = [copy for copy in place.glob(f"{_COPY}*") if self.has(copy)]
        rungs = {int(copy.name.removeprefix(_COPY)): copy for copy in copies}
        return max(rungs.items()) if rungs else None

    def release(self, place: Path) -> None:
        """Hold a run no longer."""
        if place.exists():
            shutil.rmtree(place)

    def close(self) -> None:
        """Hold none any longer."""
        self.release(self.root)


def kept_at(run: Run | Outcome, before: Run | Outcome) -> None:
    """Give a run the parameters and scores that it had ``before``; its curve and cost stay those of all that it did."""
    run.params, run.scores, run.state = before.params, before.scores, "finished"
    run.notes.append(f"kept as it was at step {before.cost.steps:,}: {BETTER_BEFORE}")
    run.lineage |= {"ended_early": before.cost.steps, "why": BETTER_BEFORE}
