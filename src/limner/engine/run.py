"""A run: one learner, on one task, under one strategy; and its directory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
import secrets
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.config import Strategy
from limner.errors import LimnerError
from limner.learners import Learner, describe, rebuild
from limner.model_file import decode, encode, write_atomically
from limner.seeds import generator
from limner.types import Cost, CurvePoint, Params, Request, Scores


@dataclass
class Run:
    """What came of a training.

    params   what predictions use: the last parameters (averaged, where the strategy says so) and what was fitted
    best     the parameters with the best score on the query set on the way, where there was one. Scores are those of
             ``params``: choosing by the query set and then reporting on it flatters
    state    ``finished``, ``stopped`` or ``paused`` (can be resumed), ``failed``, or ``collapsed`` (a game of which the
             guard found nothing left: no result)
    warnings what a person should mind about it (copies, too few images…), with what would help
    lineage  where it came from: start, memory id, directory

    :meth:`save` writes a complete directory and :meth:`load` reads it back.
    """

    learner: Learner
    task_name: str
    source: str
    strategy: Strategy
    seed: int
    params: Params
    best: Params | None = None
    state: str = "finished"
    curve: list[CurvePoint] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    scores: Scores | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lineage: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(6))

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """``count`` new images, uint8 ``(count, c, h, w)``; the same for the same seed."""
        if count < 1:
            raise LimnerError(f"{count} samples cannot be drawn; ask for at least 1")
        return sample_bytes(self.learner, self.params, count, seed)

    def to_json(self) -> dict[str, Any]:
        """All but the parameters and the curve, as plain JSON types."""
        return {
            "id": self.id,
            "state": self.state,
            "task": {"name": self.task_name, "source": self.source, **self.task},
            "learner": describe(self.learner),
            "strategy": self.strategy.to_json(),
            "seed": self.seed,
            "scores": None if self.scores is None else self.scores.to_json(),
            "cost": asdict(self.cost),
            "notes": self.notes,
            "warnings": self.warnings,
            "lineage": self.lineage,
            "versions": {"limner": version("limner"), "torch": torch.__version__, "python": platform.python_version()},
        }

    def save(self, directory: str | Path, force: bool = False) -> Path:
        """Write ``model.safetensors``, ``best.safetensors``, ``curve.csv``, ``samples/`` and, last, ``run.json``.

        Each file is written whole or not at all, and without ``run.json`` the directory does not count as a run, so
        one that was cut short is never taken for whole. The same run may be saved again; another one in that place is
        replaced only with ``force``. Raises :class:`LimnerError` otherwise, and where the disk refuses.
        """
        place = Path(directory)
        if not force and (there := _run_in(place)) not in (None, self.id):
            raise LimnerError(f"{place} holds another run ({there}); choose another directory, or use force=True")
        if force:
            for pattern in ("run.json", "best.safetensors", "samples/sample-*.png", "samples/step-*.png"):
                for former in place.glob(pattern):
                    former.unlink()
        about = {"run": self.id, "task": self.task_name}
        description = describe(self.learner)
        weights = {"model.safetensors": self.params} | ({} if self.best is None else {"best.safetensors": self.best})
        files = {name: encode(params, description, "model", about=about) for name, params in weights.items()}
        for name, data in files.items():
            write_atomically(place / name, data)
        write_atomically(place / "curve.csv", curve_csv(self.curve).encode())
        if self.state == "finished" and "sample" in self.learner.answers:
            for index, image in enumerate(self.sample(16, self.seed)):
                write_atomically(place / "samples" / f"sample-{index:02d}.png", png(image))
        record = self.to_json() | {"sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomically(place / "run.json", text.encode())
        return place

    @classmethod
    def load(cls, directory: str | Path) -> Run:
        """The run in ``directory``. Raises :class:`LimnerError` where it is missing, damaged or incomplete.

        Weights must be, bit by bit, those that were saved: ``run.json`` holds the sha256 of each file.
        """
        place = Path(directory)
        try:
            record = json.loads((place / "run.json").read_text())
            told = record["sha256"].items()
            models = {name: _read_model(place / name, sha256, record["id"]) for name, sha256 in told}
            task = dict(record["task"])
            return cls(
                learner=rebuild(record["learner"]),
                task_name=task.pop("name"),
                source=task.pop("source"),
                strategy=Strategy.from_json(record["strategy"]),
                seed=record["seed"],
                params=models["model.safetensors"],
                best=models.get("best.safetensors"),
                state=record["state"],
                curve=read_curve((place / "curve.csv").read_text()),
                cost=Cost(**record["cost"]),
                scores=None if record["scores"] is None else Scores.from_json(record["scores"]),
                notes=record["notes"],
                warnings=record.get("warnings", []),  # runs of the first version had none
                lineage=record["lineage"],
                task=task,
                id=record["id"],
            )
        except FileNotFoundError as problem:
            missing = Path(str(problem.filename)).name
            raise LimnerError(
                f"{place} is not a complete run directory: {missing} is missing; give the directory of a finished run"
            ) from problem
        except OSError as problem:
            raise LimnerError(
                f"{place} cannot be read ({problem.strerror}); make it readable, then try again"
            ) from problem
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise LimnerError(
                f"{place} is a damaged run: its run.json or curve.csv is not as Limner wrote it; train it again"
            ) from problem


def _read_model(path: Path, sha256: str, run: str) -> Params:
    """The parameters in a run's file, which must be the very bytes that were saved."""
    data = path.read_bytes()
    intact = hashlib.sha256(data).hexdigest() == sha256
    try:
        model = decode(data, str(path))
    except LimnerError:
        intact, of_another = False, False
    else:
        of_another = model.metadata.get("run") != run
    if of_another:
        raise LimnerError(f"{path.parent} holds a run.json and a {path.name} of different runs; train it again")
    if not intact:
        raise LimnerError(f"{path} is damaged: it is not as it was saved; train it again, or take it from a copy")
    return model.params


def _run_in(place: Path) -> str | None:
    """The id of the run in a directory, ``None`` where there is none; a run.json that tells none is ``unreadable``."""
    try:
        return str(json.loads((place / "run.json").read_text())["id"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, KeyError, TypeError, ValueError):
        return "unreadable"


def sample_bytes(learner: Learner, params: Params, count: int, seed: int) -> Tensor:
    """``count`` new images, uint8 ``(count, c, h, w)``; the same for the same seed."""
    return as_bytes(learner.predict(params, Request("sample", count=count), generator(seed, "samples")))


def as_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as uint8, rounded.

    >>> as_bytes(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)


def grid_png(images: Tensor, columns: int = 0) -> bytes:
    """uint8 images ``(n, c, h, w)`` as one PNG, a light line between them, in rows of ``columns`` (0: near a square).

    >>> grid_png(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))[1:4]
    b'PNG'
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = torch.full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), 200, dtype=torch.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * (height + 1), place % columns * (width + 1)
        sheet[:, top : top + height, left : left + width] = image
    return png(sheet)


def png(image: Tensor) -> bytes:
    """A uint8 image ``(c, h, w)`` as the bytes of a PNG file."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def curve_csv(curve: list[CurvePoint]) -> str:
    """The curve as a table: step, seconds, then a column for each value; empty where a row lacks it."""
    names = list(dict.fromkeys(name for point in curve for name in point.values))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["step", "seconds", *names])
    for point in curve:
        writer.writerow([point.step, f"{point.seconds:.3f}", *(point.values.get(name, "") for name in names)])
    return buffer.getvalue()


def read_curve(text: str) -> list[CurvePoint]:
    """The inverse of :func:`curve_csv`.

    >>> read_curve(curve_csv([CurvePoint(1, 0.5, {"loss": 2.0})]))
    [CurvePoint(step=1, seconds=0.5, values={'loss': 2.0})]
    """
    points = []
    for row in csv.DictReader(io.StringIO(text)):
        step, seconds = int(row.pop("step")), float(row.pop("seconds"))
        points.append(CurvePoint(step, seconds, {name: float(value) for name, value in row.items() if value}))
    return points
