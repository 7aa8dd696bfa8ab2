"""Tables: rows of numbers with a class or a number to foretell, for learners that are no networks.

A table stands where a task's images stand: it offers what a task and the memory ask of them (name, sha256, length,
shape, rows by their places, classes, licence, notes).
"""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.seeds import derive
from limner.tasks import held
from limner.tasks.image_set import ImageSet
from limner.tasks.spec import nearest
from limner.tasks.task import Task, check_shots

BUILT_IN = ("breast_cancer", "wine", "iris", "digits", "diabetes")
"""Tables that come with scikit-learn."""

MISSING = {"", "?", "na", "nan", "n/a", "null", "none"}
"""What an empty cell is written as, in any case."""

MOST_WORDS, MOST_CLASSES = 30, 100
"""How many words a column of words may have, and how many classes a target."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from.

    inputs   float64 ``(n, columns)``; NaN where a value is missing
    labels   int64 ``(n,)``, places in ``class_names``; ``None`` where the target is no class
    values   float64 ``(n,)``, the target as numbers; ``None`` where it is none
    columns  one name for each column

    >>> table = Table(torch.zeros(3, 2).double(), "small", values=torch.zeros(3).double())
    >>> len(table), table.shape
    (3, (1, 1, 2))
    """

    inputs: Tensor
    name: str
    labels: Tensor | None = None
    values: Tensor | None = None
    class_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    licence: str = "unknown"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2 or not self.inputs.numel():
            raise LimnerError(f"{self.name}: a table needs at least one row and one column to learn from")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, int, int]:
        """1, 1, and how many columns."""
        return 1, 1, int(self.inputs.shape[1])

    @cached_property
    def sha256(self) -> str:
        """Identity of the content."""
        digest = hashlib.sha256(repr(("table", tuple(self.inputs.shape))).encode())
        for part in (self.inputs.nan_to_num(nan=math.inf), self.labels, self.values):
            digest.update(b"-" if part is None else part.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def select(self, indices: Tensor, name: str | None = None) -> Table:
        """The rows at ``indices``."""
        labels = None if self.labels is None else self.labels[indices]
        values = None if self.values is None else self.values[indices]
        return replace(self, inputs=self.inputs[indices], labels=labels, values=values, name=name or self.name)


def is_table(spec: str) -> bool:
    """Whether a data spec names a table.

    >>> is_table("sklearn:wine"), is_table("csv:fruit.csv,target=kind"), is_table("digits")
    (True, True, False)
    """
    return spec.startswith(("sklearn:", "csv:"))


def load_table(spec: str) -> Table:
    """The table that a data spec names: ``sklearn:NAME``, or ``csv:FILE,target=COLUMN``.

    In a CSV file the first line names the columns. Columns of words become one column for each word; a target of words,
    or of a few whole numbers, is classes.

    Raises :class:`LimnerError` where there is no such table, or it cannot be used.

    >>> table = load_table("sklearn:wine")
    >>> len(table), len(table.columns), len(table.class_names)
    (178, 13, 3)
    """
    return held.once(("table", spec), lambda: _load(spec))


def _load(spec: str) -> Table:
    kind, _, rest = spec.strip().partition(":")
    if kind == "sklearn":
        return _built_in(rest, spec)
    if kind == "csv":
        path, found, target = rest.rpartition(",target=")
        return _from_csv(Path(path if found else rest).expanduser(), target if found else "", spec)
    raise LimnerError(f"{spec} names no table; right would be sklearn:wine or csv:file.csv,target=column")


def split_table(table: Table, goal: str, rows: int | None, seed: int, source: str = "") -> Task:
    """A task from a table: ``rows`` to learn from (``None``: three fifths), drawn by ``seed``, the others to judge by.

    Where the goal is to classify, each class gives its share. Raises :class:`LimnerError` where too few rows are left.
    """
    from sklearn.model_selection import train_test_split

    count = rows if rows is not None else len(table) * 3 // 5
    check_shots(count)
    if count >= len(table):
        raise LimnerError(
            f"{table.name} has {len(table)} rows: {count} to learn from leave none to judge by; give fewer"
        )
    if goal == "classify" and table.labels is not None and len(torch.unique(table.labels)) < 2:
        raise LimnerError(f"all rows of {table.name} are of one class, so there is nothing to tell apart; add others")
    by_class = table.labels.numpy() if goal == "classify" and table.labels is not None else None
    if by_class is not None:
        sizes = torch.bincount(table.labels)  # type: ignore[arg-type]
        if int(sizes[sizes > 0].min()) < 2 or min(count, len(table) - count) < int((sizes > 0).sum()):
            by_class = None  # too few to share out
    state = derive(seed, "table") % 2**32
    learned, held = train_test_split(range(len(table)), train_size=count, random_state=state, stratify=by_class)
    parts = (table.select(torch.tensor(learned)), table.select(torch.tensor(held)))
    support, query = (cast(ImageSet, part) for part in parts)
    return Task(goal, f"{table.name}, {count} rows", support, query, seed, source or table.name)


def _built_in(name: str, spec: str) -> Table:
    if name not in BUILT_IN:
        raise LimnerError(f"scikit-learn has no table {name!r} here{nearest(name, BUILT_IN)}; there are: "
                          f"{', '.join(BUILT_IN)}")  # fmt: skip
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    classes = tuple(str(word) for word in found.get("target_names", ())) if name != "diabetes" else ()
    target = torch.as_tensor(found.target)
    return Table(
        inputs=torch.as_tensor(found.data, dtype=torch.float64), name=spec,
        labels=target.long() if classes else None, values=None if classes else target.double(), class_names=classes,
        columns=tuple(str(word) for word in found.feature_names), licence="BSD-3-Clause (scikit-learn)",
    )  # fmt: skip


def load_rows(spec: str, like: Table) -> Table:
    """The rows that a table's spec names, with the columns of ``like`` by their names; other columns are left out.

    They need no target. A word that ``like`` does not have counts as none, and is told in the notes. Raises
    :class:`LimnerError` where there is no such table, or it lacks a column.
    """
    kind, _, rest = spec.strip().partition(":")
    if kind != "csv":
        found = load_table(spec)
        if found.columns != like.columns:
            raise LimnerError(f"{spec} does not have the columns that were learned from, those of {like.name}")
        return found
    path = Path(rest.rpartition(",target=")[0] or rest).expanduser()
    header, rows = _lines(path, least=1)
    inputs, strange = [], {}
    for title in like.columns:
        of_words = [name for name in header if title.startswith(f"{name}=")]
        name = title if title in header else max(of_words, key=len, default="")
        if not name:
            asked = title.partition("=")[0]
            raise LimnerError(f"{path} has no column {asked!r}{nearest(asked, header)}, which was learned from; it "
                              f"has: {', '.join(header)}")  # fmt: skip
        word = title[len(name) + 1 :]
        cells = [row[header.index(name)].strip() for row in rows]
        if word:
            known = {other.removeprefix(f"{name}=") for other in like.columns if other.startswith(f"{name}=")}
            strange[name] = sorted({cell for cell in cells if cell not in known and cell.lower() not in MISSING})
            inputs.append(torch.tensor([float(cell == word) for cell in cells]).double())
            continue
        wrong = next((cell for cell in cells if _number(cell) is None and cell.lower() not in MISSING), None)
        if wrong is not None:
            raise LimnerError(f"{path}: the column {name} was learned from as numbers, but holds {wrong!r}; mend it")
        inputs.append(_numbers(cells))
    notes = [
        f"{name}: {', '.join(words[:5])}{'…' if len(words) > 5 else ''} was not learned from, and counts as no word"
        for name, words in strange.items() if words
    ]  # fmt: skip
    return Table(torch.stack(inputs, 1), spec, columns=like.columns, notes=tuple(notes))


def _lines(path: Path, least: int) -> tuple[list[str], list[list[str]]]:
    """The names of the columns of a CSV file, and its rows, at ``least`` so many."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except FileNotFoundError:
        raise LimnerError(
            f"{path} does not exist; give the path of a CSV file, as in csv:file.csv,target=column"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise LimnerError(f"{path} cannot be read as CSV ({problem}); save it as UTF-8 text with commas") from problem
    if len(lines) <= least:
        many = f"{least} row{'s' if least > 1 else ''}"
        raise LimnerError(f"{path} has too few lines; give the columns' names and at least {many}")
    header, rows = [word.strip() for word in lines[0]], lines[1:]
    if len(header) == 1 and (mark := next((mark for mark in ";\t" if mark in header[0]), None)):
        raise LimnerError(f"{path} parts its cells by {'semicolons' if mark == ';' else 'tabs'}; save it with commas")
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise LimnerError(f"{path} has two columns called {twice!r}; rename one of them")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise LimnerError(
                f"{path}: row {number} has {len(row)} cells, but there are {len(header)} columns; mend or remove it"
            )
    return header, rows


def _from_csv(path: Path, target: str, spec: str) -> Table:
    header, rows = _lines(path, least=2)
    if target not in header:
        asked = f"no column {target!r}{nearest(target, header)}" if target else "no target said"
        raise LimnerError(f"{path} has {asked}; add ,target= and one of: {', '.join(header)}")
    place = header.index(target)
    known = [row for row in rows if row[place].strip().lower() not in MISSING]
    notes = (f"{len(rows) - len(known)} rows without a target were left out",) if len(known) < len(rows) else ()
    if len(known) < 2:
        raise LimnerError(f"{path}: fewer than 2 rows have a {target}; choose another target=")
    inputs: list[Tensor] = []
    columns: list[str] = []
    for index, name in enumerate(header):
        if index != place:
            for title, column in _column(name, [row[index].strip() for row in known], path):
                columns.append(title)
                inputs.append(column)
    if not inputs:
        raise LimnerError(f"{path} has no column beside {target}; give at least one to learn from")
    if twice := next((title for title in columns if columns.count(title) > 1), None):
        raise LimnerError(f"{path}: the column {twice!r} could be taken for a word of another column; rename it")
    labels, values, classes = _target([row[place].strip() for row in known], target, path)
    return Table(torch.stack(inputs, 1), spec, labels, values, classes, tuple(columns), notes=notes)


def _column(name: str, cells: list[str], path: Path) -> list[tuple[str, Tensor]]:
    """A column of numbers as it is, one of words as a column for each word."""
    given = [cell for cell in cells if cell.lower() not in MISSING]
    if all(_number(cell) is not None for cell in given):
        return [(name, _numbers(cells))]
    words = sorted(set(given))
    if len(words) > MOST_WORDS:
        raise LimnerError(
            f"{path}: the column {name} holds {len(words)} different words, too many to learn from; remove it, or make "
            f"it numbers or at most {MOST_WORDS} words"
        )
    return [(f"{name}={word}", torch.tensor([float(cell == word) for cell in cells]).double()) for word in words]


def _target(cells: list[str], name: str, path: Path) -> tuple[Tensor | None, Tensor | None, tuple[str, ...]]:
    """Labels, values and class names of a target: numbers are values, words and few whole numbers are classes."""
    numbers = [_number(cell) for cell in cells]
    found = [number for number in numbers if number is not None]
    all_numbers = len(found) == len(cells)
    values = torch.tensor(found, dtype=torch.float64) if all_numbers else None
    words = sorted(set(cells), key=lambda cell: (_number(cell) or 0.0, cell))
    whole = all_numbers and all(number.is_integer() for number in found) and len(set(found)) <= 20
    if all_numbers and not whole:
        return None, values, ()
    if len(words) > MOST_CLASSES:
        raise LimnerError(
            f"{path}: the target {name} has {len(words)} classes; give at most {MOST_CLASSES}, or numbers"
        )
    places = {word: place for place, word in enumerate(words)}
    return torch.tensor([places[cell] for cell in cells]), values, tuple(words)


def _numbers(cells: list[str]) -> Tensor:
    """The numbers that cells say, float64; NaN where one says none."""
    found = [_number(cell) for cell in cells]
    return torch.tensor([math.nan if number is None else number for number in found], dtype=torch.float64)


def _number(cell: str) -> float | None:
    """The finite number that a cell says; ``None`` where it says none."""
    try:
        found = float(cell)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
