"""What happens during a run, and who listens: a progress bar, a file, anything with these methods."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from limner.types import Params


class Listener:
    """Hears of a run as it goes. Every method may be overridden; here each does nothing.

    ``on_start(steps, seconds, done)`` with the budget and the steps done before a resume; ``on_step(step, values)``
    after each step; ``on_evaluate(step, values, params)`` after each evaluation, with what predictions would use;
    ``on_note(sentence)`` when something worth telling happened; ``on_end(state)``, however the run ended.
    """

    def on_start(self, steps: int, seconds: float, done: int = 0) -> None:
        """The run begins or goes on."""

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """A step was made; ``values`` are its losses."""

    def on_evaluate(self, step: int, values: dict[str, float], params: Params) -> None:
        """The query set was looked at."""

    def on_note(self, sentence: str) -> None:
        """Something worth telling happened."""

    def on_end(self, state: str) -> None:
        """The run ended: ``finished``, ``stopped``, ``paused``, ``failed`` or ``collapsed``."""


class ProgressBar(Listener):
    """Shows steps done, time left, the current loss and the latest score, on standard error.

    On a terminal a bar that renews itself (rich); elsewhere a plain line now and then.
    """

    def __init__(self, label: str = "training", every: float = 10.0) -> None:
        self.label, self.every = label, every
        self._bar: Any = None
        self._steps = self._seconds = 0.0
        self._begun = self._told = 0.0
        self._score = self._line = ""

    def on_start(self, steps: int, seconds: float, done: int = 0) -> None:
        """Draws the empty bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._steps, self._seconds = steps, seconds
        self._begun = self._told = time.monotonic()
        console = Console(stderr=True)
        if console.is_terminal:
            label = TextColumn("{task.description}", markup=False)  # names of files may have brackets
            columns = (label, BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            shown = TextColumn("{task.fields[shown]}", markup=False)
            self._bar = Progress(*columns, TimeRemainingColumn(), shown, console=console)
            self._task = self._bar.add_task(self.label, total=1.0, completed=done / max(steps, 1), shown="")
            self._bar.start()

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Moves the bar."""
        now = time.monotonic()
        if now - self._told < (0.1 if self._bar is not None else self.every):
            return
        self._told = now
        share = step / max(self._steps, 1)
        if self._seconds:
            share = max(share, (now - self._begun) / self._seconds)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items()) + self._score
        if self._bar is not None:
            self._bar.update(self._task, completed=min(share, 1.0), shown=shown)
            return
        line = f"{self.label}: {share:.0%}" + (f", step {step}, {shown}" if shown else "")
        if line != self._line:  # long work on one step tells nothing new
            print(line, file=sys.stderr, flush=True)
        self._line = line

    def on_evaluate(self, step: int, values: dict[str, float], params: Params) -> None:
        """Keeps the latest score for the bar."""
        name = "kernel_distance" if "kernel_distance" in values else next(iter(values), None)
        if name is not None:
            self._score = f"; {name.replace('_', ' ')} {values[name]:.4g}"

    def on_note(self, sentence: str) -> None:
        """Prints the sentence above the bar."""
        if self._bar is not None:
            self._bar.console.print(sentence, markup=False, highlight=False)
        else:
            print(f"{self.label}: {sentence}", file=sys.stderr, flush=True)

    def on_end(self, state: str) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            if state == "finished":
                self._bar.update(self._task, completed=1.0)
            self._bar.stop()
            self._bar = None


class StopOnInterrupt:
    """While it is entered, the first Ctrl-C only sets :attr:`asked`; a second one interrupts at once.

    Does nothing outside the main thread, where signals cannot be caught.
    """

    def __init__(self) -> None:
        self.asked = False
        self._former: Any = None

    def __enter__(self) -> StopOnInterrupt:
        import signal
        import threading

        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        import signal

        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
