"""Starts and models that come with the package: ``src/limner/data/*.safetensors``, referred to as ``shipped:NAME``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from limner.errors import LimnerError
from limner.model_file import StoredModel, decode

DATA = Path(__file__).parent.parent / "data"
"""The package's data folder."""


def shipped_starts(folder: Path = DATA) -> list[StoredModel]:
    """The meta-learned starts among them, by name, with their weights (they are few and small).

    ``metadata["reference"]`` refers to one. The package also holds other models (features, one to compare with), whose
    ``role`` says so: these are no starts.

    >>> [start.metadata["reference"] for start in shipped_starts()]
    ['shipped:glyphs-gan', 'shipped:glyphs-set', 'shipped:glyphs-vae', 'shipped:restorer', 'shipped:sprites-set']
    """
    found = [load_shipped(f"shipped:{path.stem}", folder) for path in sorted(folder.glob("*.safetensors"))]
    return [model for model in found if model.metadata["role"] == "start"]


def record_of(model: StoredModel) -> dict[str, Any]:
    """A shipped model as plain data, as the memory tells of its own.

    >>> record_of(load_shipped("shipped:glyphs-vae"))["name"]
    'shipped:glyphs-vae'
    """
    return {
        "sha256": model.sha256,
        "learner": model.learner_description,
        "bytes": sum(value.numel() * value.element_size() for value in model.params.values()),
        "created": None,
        "scores": {},
        **{name: value for name, value in model.metadata.items() if name != "reference"},
        "name": model.metadata["reference"],
    }


def load_shipped(reference: str, folder: Path = DATA) -> StoredModel:
    """The model ``shipped:NAME``. Raises :class:`LimnerError` where the package has none of that name."""
    name = reference.removeprefix("shipped:")
    names = sorted(path.stem for path in folder.glob("*.safetensors"))
    if name not in names:
        raise LimnerError(f"no model {reference!r} comes with Limner; there are: {', '.join(names) or 'none'}")
    model = decode((folder / f"{name}.safetensors").read_bytes(), f"the shipped model {name}")
    params = {key: value.float() for key, value in model.params.items()}  # some are kept in half precision
    return replace(model, params=params, metadata=model.metadata | {"name": name, "reference": f"shipped:{name}"})
