"""``python -m limner``: the command line, for where the installed command cannot be named, as under ``torchrun``."""

from __future__ import annotations

from limner.cli.main import run

if __name__ == "__main__":
    run()
