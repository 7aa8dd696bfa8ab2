"""Fits in a process of their own, which is ended when one takes too long: a black box cannot be asked to stop.

Run as a module it is that process: it reads what is searched, then the values of one fit after another, each a line of
JSON, and answers each with a line.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.types import Cost, Scores
from limner.verbs.budget import Budget

if TYPE_CHECKING:
    from limner.verbs.trials import Asked, Outcome

PARENT_LOOK = 1.0
"""Seconds between the process's looks whether whoever began it still lives."""


class Limited:
    """The fits of one search, each of which may take ``seconds``.

    The process begins with the first fit, and anew after one that was ended; what it takes to begin does not count.
    """

    def __init__(self, asked: Asked, seconds: float) -> None:
        self.seconds = seconds
        self._asked = json.dumps(asked._replace(each=Budget())._asdict())
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def tried(self, values: dict[str, Any]) -> Outcome:
        """What came of a fit with the values.

        Raises :class:`LimnerError` where it takes too long, or cannot be made.
        """
        from limner.verbs.trials import Outcome

        if self._process is None:
            self._begin()
        told = self._answer(json.dumps(values), self.seconds)
        scores, cost = Scores.from_json(told["scores"]), Cost(**told["cost"])
        return Outcome(scores=scores, cost=cost, lineage=told["lineage"])

    def _begin(self) -> None:
        command = [sys.executable, "-m", "limner.verbs.limited"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._answers = queue.Queue()
        threading.Thread(target=_heard, args=(self._process, self._answers), daemon=True).start()
        self._end = weakref.finalize(self, _ended, self._process)
        self._answer(self._asked, None)

    def _answer(self, line: str, seconds: float | None) -> dict[str, Any]:
        """What the process answers to a line; it is ended where it does not within so many seconds."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = self._answers.get(timeout=seconds)
        except (queue.Empty, BrokenPipeError):
            answer = None
        except BaseException:  # such as Ctrl-C: what goes on there is not wanted any more
            self._stop()
            raise
        if not answer:
            self._stop()
            limit = f"it took longer than {seconds:g} seconds, the most that a fit may take (--each)"
            raise LimnerError(limit if answer is None else "its process ended without a word; was memory short?")
        told: dict[str, Any] = json.loads(answer)
        if "mistake" in told:
            raise LimnerError(told["mistake"])
        if "trouble" in told:
            raise RuntimeError(told["trouble"])
        return told

    def _stop(self) -> None:
        self._end()
        self._process = None


def _heard(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    """Pass on what the process says; an empty line when it has ended."""
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _answering() -> None:
    """What the process does, as long as it is asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    subject: Any = None
    for line in sys.stdin:
        try:
            if subject is None:
                subject, told = _subject(json.loads(line)), {}
            else:
                made = subject.attempt(json.loads(line), lambda rung, score: False, "")
                told = {"scores": made.scores.to_json(), "cost": asdict(made.cost), "lineage": made.lineage}
        except LimnerError as mistake:
            told = {"mistake": str(mistake)}
        except Exception as trouble:
            told = {"trouble": f"{type(trouble).__name__}: {trouble}"}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


def _subject(asked: dict[str, Any]) -> Any:
    from limner.verbs.trials import Asked, BlackBoxes

    return BlackBoxes(Asked(**asked | {"each": Budget(*asked["each"])}))


def _follow(parent: int) -> None:
    """End with whoever began it, also in the middle of a fit."""
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK)
    os._exit(1)


if __name__ == "__main__":
    _answering()
