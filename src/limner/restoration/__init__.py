"""Damaged images mended: restorers behind one contract, and what is known of the damage."""

from __future__ import annotations

from limner.restoration.base import Knowledge, Restorer, check

__all__ = ["Knowledge", "Restorer", "check"]
