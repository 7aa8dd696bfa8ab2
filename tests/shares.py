"""Shares of work for the tests of crews: they must be found by name in other processes."""

import os
import time
from pathlib import Path

from limner.errors import LimnerError


def numbers(number, of):
    return number, of


def dying(number, of):
    """The second worker dies without a word."""
    if number == 1:
        os._exit(7)
    return number


def mistaken(number, of):
    if number == 0:
        raise LimnerError("the memory is full; give another")
    return number


def patient(place, number, of):
    """Works until it is stopped by hand, and says so."""
    Path(place, f"begun-{number}").touch()
    try:
        for _ in range(3000):
            time.sleep(0.02)
    except KeyboardInterrupt:
        return "stopped"
    return "never stopped"
