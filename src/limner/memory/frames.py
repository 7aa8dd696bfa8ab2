"""What the memory lists, as a table of pandas or Arrow: one column for each leaf of a record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from limner.errors import LimnerError


def flat(record: dict[str, Any], above: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries, named by their way there.

    >>> flat({"id": "a", "learner": {"kind": "vae", "options": {}}, "scores": {"psnr": {"value": 30.0}}})
    {'id': 'a', 'learner.kind': 'vae', 'scores.psnr.value': 30.0}
    """
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found


def frame(records: Iterable[dict[str, Any]]) -> Any:
    """A ``pandas.DataFrame``, one row for each record."""
    try:
        import pandas
    except ImportError as missing:
        raise LimnerError("a frame needs pandas; install it with: pip install 'limner[frame]'") from missing
    return pandas.DataFrame([flat(record) for record in records])


def arrow(records: Iterable[dict[str, Any]]) -> Any:
    """A ``pyarrow.Table``, one row for each record; a column whose values are of several types is JSON text."""
    try:
        import pyarrow
    except ImportError as missing:
        raise LimnerError("an Arrow table needs pyarrow; install it with: pip install 'limner[frame]'") from missing
    made = [flat(record) for record in records]
    names = dict.fromkeys(name for record in made for name in record)
    columns: dict[str, Any] = {}
    for name in names:
        values = [record.get(name) for record in made]
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            columns[name] = pyarrow.array([None if value is None else json.dumps(value) for value in values])
    return pyarrow.table(columns)
