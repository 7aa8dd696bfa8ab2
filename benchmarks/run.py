"""Run one benchmark by its name: ``python benchmarks/run.py few-shot-omniglot [--quick] [--data SPEC]``."""

from __future__ import annotations

import importlib
from pathlib import Path

import harness

from limner.errors import LimnerError


def names() -> list[str]:
    """The benchmarks that there are: modules here with a ``main``."""
    here = Path(__file__).parent
    scripts = (path for path in here.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))
    return sorted(path.stem.replace("_", "-") for path in scripts if path.stem != "run")


def main() -> None:
    name = harness.arguments().name
    if name not in names():
        raise LimnerError(f"there is no benchmark {name or 'without a name'}; there are: {', '.join(names())}")
    importlib.import_module(name.replace("-", "_")).main()


if __name__ == "__main__":
    harness.run(main)
