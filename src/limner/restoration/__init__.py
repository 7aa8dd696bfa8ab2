"""Damaged images mended: restorers behind one contract, and what is known of the damage."""

from __future__ import annotations

from limner.restoration.base import Knowledge, Restorer, check
from limner.restoration.catalogue import CATALOGUE, options_of, restorer

__all__ = ["CATALOGUE", "Knowledge", "Restorer", "check", "options_of", "restorer"]
