"""Randomness that is named, not shared: each use derives its own generator from the seed and a label."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *labels: str | int) -> int:
    """A 63-bit seed for the use named by ``labels``: the first bytes of sha256(seed, labels).

    The same seed and labels always give the same number, on every machine; different labels give independent ones.

    >>> derive(0, "batches") == derive(0, "batches")
    True
    >>> derive(0, "batches") == derive(0, "noise")
    False
    """
    text = "\x1f".join(str(part) for part in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *labels: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh ``torch.Generator`` seeded with :func:`derive`.

    >>> torch.rand(1, generator=generator(7, "demo")).item() == torch.rand(1, generator=generator(7, "demo")).item()
    True
    """
    made = torch.Generator(device=device)
    made.manual_seed(derive(seed, *labels))
    return made
