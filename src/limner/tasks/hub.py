"""Images in a Hugging Face dataset: a folder or parquet file here, or a name on the hub."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from limner.errors import LimnerError
from limner.tasks.files import FileSource, Item
from limner.tasks.spec import Spec, nearest


def open_dataset(spec: Spec) -> FileSource:
    """The rows of one split of a dataset, as files. Options: ``split`` (train, or the only one), and the columns
    ``images`` and ``labels`` where they are not plain to see.

    Raises :class:`LimnerError` where the library ``datasets`` is missing, the hub out of reach, or a name wrong.
    """
    try:
        import datasets
    except ImportError:
        raise LimnerError(f"{spec} needs the library datasets; install it with: pip install 'limner[hub]'") from None
    datasets.disable_progress_bars()
    loaded = _load(datasets, spec)
    table = _split(loaded, spec) if isinstance(loaded, dict) else loaded
    column = _column(table, spec, "images", lambda feature: isinstance(feature, datasets.Image))
    label = _column(table, spec, "labels", lambda feature: isinstance(feature, datasets.ClassLabel))
    if column is None:
        raise LimnerError(f"{spec} has no column of images; its columns are: {', '.join(table.column_names)}")
    if not isinstance(table.features[column], datasets.Image):
        raise LimnerError(
            f"column {column!r} of {spec} does not hold images but {table.features[column]}; name another"
        )
    licence = table.info.license or "unknown"
    rows = table.cast_column(column, datasets.Image(decode=False))
    names = [""] * len(rows) if label is None else _names(table.features[label], rows[label])
    items = [Item(f"row {index}", name, 1, _opener(rows, index, column)) for index, name in enumerate(names)]
    if not items:
        raise LimnerError(f"{spec} has no rows; give another split")
    return FileSource(items, label is not None, str(table._fingerprint), licence=licence)


def _load(datasets: Any, spec: Spec) -> Any:
    """What the library makes of the path or name."""
    path = Path(spec.path).expanduser()
    try:
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            return datasets.load_from_disk(str(path))
        if path.is_file() and path.suffix == ".parquet":
            return datasets.load_dataset("parquet", data_files=str(path))
        if path.is_dir():
            parquet = any(path.rglob("*.parquet"))
            return (
                datasets.load_dataset(str(path))
                if parquet
                else datasets.load_dataset("imagefolder", data_dir=str(path))
            )
        return datasets.load_dataset(spec.path)
    except Exception as error:  # the library's own exceptions are many, and change
        reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
        where = "here" if path.exists() else "here, nor on the hub, or the hub cannot be reached"
        raise LimnerError(f"{spec.path} cannot be read as a dataset {where}: {reason}") from error


def _split(loaded: Any, spec: Spec) -> Any:
    """The split that the spec names, or train, or the only one."""
    wanted = spec.options.get("split") or ("train" if "train" in loaded or len(loaded) > 1 else next(iter(loaded)))
    if wanted not in loaded:
        raise LimnerError(f"{spec.path} has no split {wanted!r}{nearest(wanted, loaded)}; it has: {', '.join(loaded)}")
    return loaded[wanted]


def _column(table: Any, spec: Spec, option: str, fits: Callable[[Any], bool]) -> str | None:
    """The column that the spec names, or the first that fits."""
    named = spec.options.get(option)
    if named == "none" and option == "labels":
        return None
    if named is not None:
        if named not in table.features:
            raise LimnerError(
                f"{spec.path} has no column {named!r}{nearest(named, table.features)}; "
                f"it has: {', '.join(table.features)}"
            )
        return str(named)
    return next((name for name, feature in table.features.items() if fits(feature)), None)


def _names(feature: Any, values: Any) -> list[str]:
    known = getattr(feature, "names", None)
    return [str(value) if known is None or value is None or value < 0 else str(known[value]) for value in values]


def _opener(rows: Any, index: int, column: str) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        cell = rows[index][column]
        if cell is None:
            raise ValueError("the row has no image")
        return io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).open("rb")

    return opened
