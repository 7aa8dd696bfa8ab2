"""Model files: parameters as safetensors, what they are as JSON in its header. Nothing in them can be executed."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limner.errors import LimnerError
from limner.types import Params

RATES = "rates."
"""The prefix, inside a file, of a start's learned step sizes."""


@dataclass(frozen=True)
class StoredModel:
    """A model as the memory keeps it.

    sha256               of the artifact's bytes
    params               its parameters (empty in listings, which load no weights)
    learner_description  what ``limner.learners.rebuild`` takes
    metadata             role, name, parent, family, runs, scores…: plain JSON
    rates                a start's learned step sizes, one tensor for each parameter; ``None`` where there are none
    """

    sha256: str
    params: Params
    learner_description: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    rates: Params | None = None


def encode(
    params: Params,
    learner_description: dict[str, Any],
    role: str,
    rates: Params | None = None,
    about: dict[str, Any] | None = None,
) -> bytes:
    """The bytes of a model's file: the same model always gives the same bytes.

    The header's one entry ``limner`` is JSON with ``role``, ``learner`` and all of ``about`` (a start's ``family`` and
    ``plan``), so that the file alone tells what it is: one from a memory can be shipped as it is.

    >>> import torch
    >>> data = encode({"net.a": torch.ones(2)}, {"kind": "vae"}, "start", rates={"net.a": torch.full((2,), 0.1)})
    >>> decode(data).metadata["role"], decode(data).params["net.a"].tolist()
    ('start', [1.0, 1.0])
    """
    import torch
    from safetensors.torch import save

    tensors = dict(params) | {RATES + name: value for name, value in (rates or {}).items()}
    owned = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    header = json.dumps({**(about or {}), "role": role, "learner": learner_description}, sort_keys=True)
    return bytes(save(owned, metadata={"limner": header}))


def decode(data: bytes, origin: str = "this file") -> StoredModel:
    """The inverse of :func:`encode`. Raises :class:`LimnerError` for bytes that are not a model of Limner."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
        told = json.loads(header["limner"])
        learner, told["role"] = told.pop("learner"), told["role"]
    except (SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise LimnerError(f"{origin} is not a model of Limner; give a safetensors file that Limner wrote") from problem
    rates = {name.removeprefix(RATES): value for name, value in tensors.items() if name.startswith(RATES)}
    params = {name: value for name, value in tensors.items() if not name.startswith(RATES)}
    return StoredModel(hashlib.sha256(data).hexdigest(), params, learner, told, rates or None)


def write_atomically(path: Path, data: bytes) -> None:
    """Write all of ``data`` to ``path`` or nothing. Raises :class:`LimnerError` where the disk refuses."""
    temporary = path.with_name(f".writing-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(problem, FileExistsError | NotADirectoryError):
            raise LimnerError(f"{path.parent} cannot be made, a file is in its place; choose another") from problem
        raise LimnerError(
            f"{path.parent} cannot take {len(data):,} more bytes ({problem.strerror}); nothing was changed: "
            "free space or choose another place"
        ) from problem
