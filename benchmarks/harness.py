"""What every benchmark shares: where data lie, how numbers become intervals, where results and tables go.

A full run writes ``benchmarks/results/NAME.json`` and renews the part of ``docs/benchmarks.md`` between the markers
``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->``. A quick run, or one on other data, has a file of its own beside
it and leaves the documentation alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import LimnerError
from limner.model_file import write_atomically
from limner.seeds import derive

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

ROOT = Path(__file__).resolve().parent.parent
HEAVIEST_PICTURE = 300_000
RESAMPLES = 10_000
_used: dict[str, str] = {}


class Interval(NamedTuple):
    """A mean over tasks and its 95% interval (``None`` where one task gives none)."""

    mean: float
    low: float | None
    high: float | None
    n: int


class Picture(NamedTuple):
    """A picture for the documentation, ``docs/pictures/BENCHMARK-name.png``; its caption also tells it to the blind."""

    name: str
    image: Image
    caption: str


def drawn(figure: Figure) -> Image:
    """A matplotlib figure as a picture."""
    from PIL import Image as Images

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=95)
    return Images.open(buffer).convert("RGB")


# ── What was asked for ────────────────────────────────────────────────────────────────────────────────────────────────


def arguments() -> argparse.Namespace:
    """``--quick --data SPEC --data-folder PATH``, or QUICK, DATA and LIMNER_DATA in the environment."""
    told = os.environ.get
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Run a benchmark and write down what came of it.")
    parser.add_argument("name", nargs="?", help="the benchmark, for example few-shot-omniglot (of run.py only)")
    parser.add_argument(
        "--quick", action="store_true", default=told("QUICK", "0") not in ("", "0"), help="a smaller scale"
    )
    parser.add_argument("--data", metavar="SPEC", default=told("DATA") or None, help="other data of the same kind")
    parser.add_argument(
        "--data-folder", metavar="PATH", default=told("LIMNER_DATA") or None, help="where the benchmark data lie"
    )
    parser.add_argument(
        "--minutes", type=float, default=float(told("MINUTES") or 0), help="time in all, where it can be chosen"
    )
    ours = Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent
    return parser.parse_args(sys.argv[1:] if ours else [])


def quick() -> bool:
    """Whether the smaller scale was asked for."""
    return bool(arguments().quick)


def minutes(default: float) -> float:
    """The time in all: what ``MINUTES`` or ``--minutes`` says, else ``default``."""
    return float(arguments().minutes) or default


def spec(default: str) -> str:
    """The data spec to run on: what ``DATA`` says, else ``default``, in which ``{data}`` stands for the data folder."""
    other = arguments().data
    _used["data"] = other or default.replace("{data}", str(data_folder()) if "{data}" in default else "")
    return _used["data"]


def data_folder(given: str | Path | None = None) -> Path:
    """The folder of benchmark data: ``given``, ``--data-folder``, ``LIMNER_DATA``, or ``../shared/data``."""
    folder = Path(given or arguments().data_folder or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        raise LimnerError(
            f"the benchmark data are not in {folder}; give their folder as LIMNER_DATA=PATH, or other data as DATA=SPEC"
        )
    return folder


def run(main: Callable[[], None]) -> None:
    """Call ``main``; a user's mistake is one sentence and exit code 2."""
    try:
        main()
    except LimnerError as mistake:
        print(f"benchmark: {mistake}", file=sys.stderr)
        sys.exit(2)


def on_one_core() -> None:
    """Have this process work in one thread, and its seconds be the processor's: others' work takes nothing from it."""
    import torch

    torch.set_num_threads(1)
    time.perf_counter = time.process_time


# ── Intervals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def interval(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of one value a task, and the 2.5% and 97.5% quantiles of its bootstrap over tasks (Efron 1979).

    >>> interval([1.0, 1.0, 1.0])
    Interval(mean=1.0, low=1.0, high=1.0, n=3)
    """
    import numpy as np

    found = np.asarray(values, dtype=np.float64)
    if not found.size:
        raise LimnerError("there is no value to take a mean of; the benchmark measured no task")
    if not np.isfinite(found).all():
        raise LimnerError(f"{int((~np.isfinite(found)).sum())} of {found.size} values are not finite; say what failed")
    mean = float(found.mean())
    if found.size == 1:
        return Interval(mean, None, None, 1)
    random = np.random.default_rng(derive(seed, "benchmark interval"))
    means = found[random.integers(found.size, size=(resamples, found.size))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(mean, float(low), float(high), int(found.size))


def difference(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Interval:
    """The mean of ``first - second`` over the same tasks in the same order, with its interval.

    Above or below 0 with its whole interval, the difference is more than the choice of tasks explains.

    >>> difference([3.0, 5.0], [1.0, 3.0])
    Interval(mean=2.0, low=2.0, high=2.0, n=2)
    """
    if len(first) != len(second):
        raise LimnerError(f"{len(first)} and {len(second)} values cannot be paired; give one of each for every task")
    return interval([one - other for one, other in zip(first, second, strict=True)], seed)


# ── Numbers in words ──────────────────────────────────────────────────────────────────────────────────────────────────


def number(value: float, decimals: int | None = None) -> str:
    """A number with three significant digits, or with ``decimals``; no more than was measured.

    >>> [number(x) for x in (0.012345, 1.5, 98.76, 1234.5, 0.0, -2e-7)]
    ['0.0123', '1.50', '98.8', '1,234', '0', '−2.00e-07']
    """
    if decimals is None:
        if value == 0:
            return "0"
        size = abs(value)
        if size < 1e-4 or size >= 1e7:
            return f"{value:.2e}".replace("-", "−", 1) if value < 0 else f"{value:.2e}"
        decimals = max(0, 2 - math.floor(math.log10(size)))
    shown = f"{value:,.{decimals}f}"
    if float(shown.replace(",", "")) == 0:
        shown = shown.lstrip("-")
    return shown.replace("-", "−")


def told(value: Any) -> str:
    """One cell of a table. An interval decides the digits: two significant ones of its half-width.

    >>> told(Interval(0.12345, 0.1111, 0.1357, 32)), told(7), told(None), told(True)
    ('0.123 [0.111, 0.136]', '7', '–', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Interval):
        if value.low is None or value.high is None:
            return number(value.mean)
        half = (value.high - value.low) / 2
        decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else None
        return f"{number(value.mean, decimals)} [{number(value.low, decimals)}, {number(value.high, decimals)}]"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value) if math.isfinite(value) else str(value)
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | Sequence[str]) -> str:
    """A Markdown table of the fields named by ``columns`` (field, or field to heading); numbers are set right."""
    headings = dict(columns) if isinstance(columns, Mapping) else {name: name.replace("_", " ") for name in columns}
    for name in headings:
        if not any(name in row for row in rows):
            raise LimnerError(
                f"no row has a field {name!r}; there are: {', '.join(sorted({n for r in rows for n in r}))}"
            )

    def numeric(name: str) -> bool:
        return all(isinstance(row.get(name), int | float | Interval | None) for row in rows)

    lines = [
        "| " + " | ".join(headings.values()) + " |",
        "|" + "|".join(" ---: " if numeric(name) else " :--- " for name in headings) + "|",
        *("| " + " | ".join(told(row.get(name)) for name in headings) + " |" for row in rows),
    ]
    return "\n".join(lines)


# ── Results ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def finish(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    columns: Mapping[str, str] | Sequence[str],
    seed: int,
    started: float,
    pictures: Sequence[Picture] = (),
    story: str = "",
    details: Sequence[Mapping[str, Any]] = (),
    threads: int | None = None,
) -> Path:
    """Write down what a benchmark measured; the path of its JSON.

    rows      what the table shows, one mapping a line; values are numbers, words, :class:`Interval` or ``None``
    columns   the fields to show, in order (field, or field to heading)
    started   ``time.perf_counter()`` at the beginning
    pictures  for the documentation, each under 300 kB
    story     Markdown under the table: what it shows, the failures included
    details   rows behind the rows (one for each task), kept in the JSON alone
    threads   processor threads in all, where the benchmark used several processes
    """
    asked = arguments()
    record = _shared(
        {
            "name": name,
            "rows": [_plain(row) for row in rows],
            "seed": seed,
            "seconds": round(time.perf_counter() - started, 1),
            "threads": _threads() if threads is None else threads,
            "quick": bool(asked.quick),
            "data": asked.data or _used.get("data", ""),
            "command": _command(name, asked),
            "versions": _versions(),
            "details": [_plain(row) for row in details],
        }
    )
    shown = _shared(table(rows, columns))
    own = ("." + f"data-{_slug(asked.data)}" if asked.data else "") + (".quick" if asked.quick else "")
    results = ROOT / "benchmarks" / "results"
    path = results / f"{name}{own}.json"
    write_atomically(path, _lines(record).encode())
    if own:
        for picture in pictures:
            _write_picture(results / f"{name}{own}-{picture.name}", picture)
        print(f"\n{shown}\n\n{_shared(story)}\n\n{_footer(record)}\n\nwritten: {path}")
        return path
    page = ROOT / "docs" / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    others = renewed(text, name, "")  # a page without the markers is found out before anything is written
    folder = ROOT / "docs" / "pictures"
    written = [_write_picture(folder / f"{name}-{picture.name}", picture) for picture in pictures]
    for stale in folder.glob(f"{name}-*"):
        if stale not in written and f"(pictures/{stale.name})" not in others:
            stale.unlink()
    parts = [shown, _shared(story).strip()]
    for picture, file in zip(pictures, written, strict=True):
        alt = _shared(picture.caption).replace("[", "(").replace("]", ")").replace("\n", " ")
        parts.append(f"![{alt}](pictures/{file.name})\n\n*{alt}*")
    parts.append(_footer(record))
    text = renewed(page.read_text(encoding="utf-8"), name, "\n\n".join(part for part in parts if part))
    write_atomically(page, text.encode())
    print(f"\n{shown}\n\nwritten: {path}, {page}")
    return path


def renewed(text: str, name: str, block: str) -> str:
    """``text`` with ``block`` between the markers of ``name``, and all else as it was."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise LimnerError(f"docs/benchmarks.md needs the markers {begin} and {end}, once each and in this order")
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{block}\n\n{end}{rest.split(end)[1]}"


def _footer(record: Mapping[str, Any]) -> str:
    versions = record["versions"]
    parts = [
        f"`{record['command']}`",
        f"{told(round(record['seconds']))} seconds on {record['threads']} threads ({versions['processor']})",
        f"seed {record['seed']}",
        ", ".join(f"{name} {versions[name]}" for name in ("limner", "python", "torch", "numpy")),
    ]
    return "<sub>" + " · ".join(parts) + "</sub>"


def _command(name: str, asked: argparse.Namespace) -> str:
    parts = [f"make bench NAME={name}"]
    if asked.quick:
        parts.append("QUICK=1")
    if asked.minutes:
        parts.append(f"MINUTES={asked.minutes:g}")
    if asked.data:
        parts.append(f'DATA="{asked.data}"')
    return " ".join(parts)


def _versions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "limner")},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": f"{platform.machine()}, {os.cpu_count()} processors",
        "processors": os.cpu_count(),
    }


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _slug(text: str) -> str:
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[-40:].strip("-")
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _plain(value: Any) -> Any:
    """Plain JSON types; an interval by its field names; what is not finite is refused by :func:`json.dumps`."""
    if isinstance(value, Interval):
        return value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _lines(record: Mapping[str, Any]) -> str:
    """JSON with one field a line, and one row a line, so that a change of results reads well."""

    def dump(value: Any) -> str:
        if isinstance(value, list) and value:
            return (
                "[\n  "
                + ",\n  ".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in value)
                + "\n ]"
            )
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    return "{\n" + ",\n".join(f" {json.dumps(name)}: {dump(value)}" for name, value in record.items()) + "\n}\n"


def _shared(value: Any) -> Any:
    """The same with this machine's data folder called ``$LIMNER_DATA``, so that results read the same everywhere."""
    if isinstance(value, str):
        folder = str(arguments().data_folder or ROOT.parent / "shared" / "data")
        return value.replace(folder, "$LIMNER_DATA")
    if isinstance(value, dict):
        return {key: _shared(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_shared(entry) for entry in value]
    return value


def _write_picture(stem: Path, picture: Picture) -> Path:
    """PNG where it is small enough, else WebP. Raises :class:`LimnerError` where neither is."""
    attempts: list[tuple[str, dict[str, Any]]] = [
        (".png", {"format": "PNG", "optimize": True}),
        (".webp", {"format": "WEBP", "lossless": True, "method": 6}),
        (".webp", {"format": "WEBP", "quality": 85, "method": 6}),
    ]
    sizes = []
    for suffix, options in attempts:
        buffer = io.BytesIO()
        picture.image.save(buffer, **options)
        sizes.append(buffer.tell())
        if buffer.tell() < HEAVIEST_PICTURE:
            path = stem.with_name(stem.name + suffix)
            write_atomically(path, buffer.getvalue())
            return path
    raise LimnerError(
        f"the picture {picture.name!r} takes {min(sizes) // 1000} kB; show fewer images, to keep it under "
        f"{HEAVIEST_PICTURE // 1000} kB"
    )
