"""What Limner remembers: tasks, runs, scores and models, and the adviser that learns from them.

The names are imported when first used, so that ``import limner.memory`` alone stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.memory.adviser import Adviser, Recommendation
    from limner.memory.fingerprints import Fingerprint, fingerprint
    from limner.memory.shipped import shipped_starts
    from limner.memory.store import Memory
    from limner.model_file import StoredModel

__all__ = ["Adviser", "Fingerprint", "Memory", "Recommendation", "StoredModel", "fingerprint", "shipped_starts"]

_HOMES = {
    "Adviser": "adviser", "Recommendation": "adviser", "Fingerprint": "fingerprints",
    "fingerprint": "fingerprints", "shipped_starts": "shipped", "Memory": "store",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "StoredModel":
        from limner.model_file import StoredModel

        return StoredModel
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"limner.memory.{_HOMES[name]}"), name)
