"""The page of a whole memory, written where it is wanted."""

from __future__ import annotations

from pathlib import Path

from limner.errors import LimnerError
from limner.memory import Memory

PAGE = "index.html"
"""What the page is called in a folder."""


def memory_report(out: str | Path, *, memory: str | None = None, force: bool = False) -> Path:
    """Write the page of the memory to ``out``, a file that ends in ``.html`` or a folder; the page's path.

    memory  where the memory lies (``None``: in the user's data folder)
    force   replace a page that Limner wrote

    Raises :class:`LimnerError` where ``out`` exists and is not to be replaced, or is none of Limner's pages.
    """
    from limner.reports.memory_page import write

    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        if path.is_file():
            raise LimnerError(f"{path} is a file, but no page; give --out a folder, or a file that ends in .html")
        path = path / PAGE
    if path.is_dir():
        raise LimnerError(f"{path} is a folder; give --out another file, or a folder without .html in its name")
    if path.exists():
        if not force:
            raise LimnerError(f"{path} exists already; give another --out, or add --force to replace it")
        if "· Limner</title>" not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise LimnerError(f"{path} was not written by Limner, so --force does not replace it; give another --out")
    with Memory.open(memory) as remembered:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write(remembered, path)
