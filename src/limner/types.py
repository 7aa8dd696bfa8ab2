"""The shared nouns: what flows between rooms. Nothing here computes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Params = dict[str, "Tensor"]
"""A model: flat mapping from name to tensor. A player owns the keys that begin with its name and a dot; keys that
begin with ``fitted.`` belong to no player (they are computed after training, e.g. a latent mixture)."""

Batch = dict[str, "Tensor"]
"""``images``: float32 ``(n, c, h, w)`` in [0, 1]; ``labels``: int64 ``(n,)`` where the task has classes. Of points:
``inputs`` ``(n, features)`` and ``targets`` ``(n, outputs)``, float32. Of images to be made from others: ``images`` are
the targets, ``inputs`` the images that they are made from, of the same side; of damaged images alone only
``inputs``."""

Draws = dict[str, "Tensor"]
"""All randomness of one training step, drawn beforehand, so that a loss is a pure function."""

FITTED = "fitted."
"""The prefix of keys that are fitted after training and owned by no player."""


class Loss(NamedTuple):
    """A scalar to minimise and its named parts (scalars, for the log only)."""

    value: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Request:
    """What is asked of a trained learner.

    ``sample``: ``count`` new images. ``reconstruct``: each of ``images`` through the model. ``features`` and
    ``logits``: one row for each of ``images``. Images are float ``(n, c, h, w)`` in [0, 1], in and out. ``values``:
    predicted targets, one row for each of ``images``, which may then be inputs ``(n, features)``. ``translate``: the
    target of each of ``images``, which are inputs; ``translate back``: the input of each, which are targets.
    ``restore``: each of ``images``, which are damaged, mended; ``noise`` is the standard deviation of theirs, ``(n,)``
    or of each pixel ``(n, 1, h, w)``, of intensities in [0, 1], where it is known; 1 says that a pixel was lost.
    """

    what: Literal["sample", "reconstruct", "features", "logits", "values", "translate", "translate back", "restore"]
    count: int = 0
    images: Tensor | None = None
    labels: Tensor | None = None
    noise: Tensor | None = None


@dataclass(frozen=True)
class Score:
    """One number that claims quality, with its 95% bootstrap interval and its real-against-real floor.

    ``floor`` is what real held-out images score against other real images of the same class at the same sizes;
    a generator can hardly be expected to do better. ``None`` where there were too few images to measure it.
    """

    value: float
    low: float | None = None
    high: float | None = None
    floor: float | None = None


class Mistake(NamedTuple):
    """An image, uint8 ``(c, h, w)``, that a classifier put in the wrong class."""

    image: Tensor
    true: str
    taken_for: str


@dataclass(frozen=True)
class Scores:
    """All scores of one set of samples, with what they were measured by.

    ``values`` maps a metric's name (see :data:`METRICS`) to its :class:`Score`. ``extractor`` names the features,
    ``samples``, ``query`` and ``support`` count the images on each side. ``notes`` says in plain words what could
    not be measured and why.
    """

    values: dict[str, Score]
    extractor: str
    samples: int
    query: int
    support: int
    seed: int = 0
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return asdict(self) | {"notes": list(self.notes)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Scores:
        """The inverse of :meth:`to_json`."""
        values = {name: Score(**entry) for name, entry in record["values"].items()}
        return cls(**{**record, "values": values, "notes": tuple(record["notes"])})

    def plain(self) -> dict[str, float]:
        """Name to value, for logs and tables."""
        return {name: score.value for name, score in self.values.items()}


METRICS: dict[str, tuple[str, str]] = {
    "kernel_distance": ("lower", "unbiased squared maximum mean discrepancy in features; 0 = same distribution"),
    "frechet_distance": ("lower", "Fréchet distance between Gaussians fitted in features; biased at small n"),
    "precision": ("higher", "share of samples that fall among the real images"),
    "recall": ("higher", "share of real images that fall among the samples"),
    "density": ("higher", "how deep among the real images the samples lie; 1 = as real ones"),
    "coverage": ("higher", "share of real images with a sample in their neighbourhood"),
    "diversity": ("near real", "mean pairwise feature distance of samples over that of real images; 1 = as real"),
    "nearest_training_ratio": ("near one", "distance of samples to the nearest support image, over that of held-out "
                               "real images; well under 1 = copies"),
    "absolute_error": ("lower", "mean distance of a pixel's intensity, 0 to 1, from what it should be (L1)"),
    "psnr": ("higher", "peak signal-to-noise ratio against what it should be, in decibels"),
    "hidden_error": ("lower", "root mean square error, of intensities 0 to 1, in foretelling pixels that were hidden; "
                     "their own noise is in it"),
    "ssim": ("higher", "structural similarity to what it should be (Wang et al. 2004); 1 = the same"),
}  # fmt: skip
"""Every metric by name: which way is better, and one line that explains it."""


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    seconds: float = 0.0
    steps: int = 0
    threads: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class CurvePoint:
    """One row of a run's curve: step, seconds since its start, and named values (losses, learning rate, scores)."""

    step: int
    seconds: float
    values: dict[str, float] = field(default_factory=dict)
