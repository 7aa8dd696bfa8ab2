"""What a person must be told of a few images and of what was made of them: plain warnings, each with what would help.

Pure: images in, sentences out. These are no scores, which have intervals and floors (see ``limner.metrics.evaluate``).
"""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor

from limner.metrics.distribution import distances, off_diagonal_mean
from limner.metrics.features import extractor, resized
from limner.metrics.few_shot import among, nearest
from limner.tasks.image_set import ImageSet

ENOUGH = 5
"""Fewer different images than this show little of how they vary."""

FEW = 20
"""Of more images than this it is no surprise that they are of many things."""

UNLIKE = {"glyph-net": 0.40, "efficientnet-lite0": 0.65}
"""The mean of 1 − cosine over pairs of images from which on these are of different things, by extractor.

Strokes are told apart nearly always; varied photographs of one class may seem several."""

NEAR_IN_FEATURES, NEAR_IN_PIXELS = 0.5, 0.35
"""A sample nearer to an image learned from than this share of what real images are is a near-copy: in features, which
see through shifts, or in pixels at 16 × 16, which see through noise and blur. What real images do is told beside it."""

COPIED = 0.1
"""The share of near-copies, above that of real images, from which on they are told."""

ALIKE = 0.5
"""Samples that vary less than this share of what real images do lack variety."""

FAR = 0.99
"""The share of samples that are farther from every real image than any of these from the next, from which on they are
unlike the real ones."""

_SIDE = 16


def of_shots(shots: ImageSet, name: str) -> list[str]:
    """What is to be told of the images to learn from, before anything is learned; ``name`` is the extractor.

    >>> blank = ImageSet(torch.zeros(3, 1, 16, 16, dtype=torch.uint8), "blank")
    >>> of_shots(blank, "glyph-net")[0][:48]
    'all 3 images are one and the same, so nothing sh'
    """
    copies = copied(shots)
    different = len(shots) - len(copies)
    if different == 1 and copies:
        return [
            f"all {len(shots)} images are one and the same, so nothing shows how such images vary: expect copies of "
            f"it; give {ENOUGH} or more different ones"
        ]
    told = []
    if copies:
        told.append(
            f"{_are(len(copies))} {_an_exact_copy(copies, shots)}, so only {different} of {len(shots)} images tell "
            "something; give others in their place"
        )
    if different == 1:
        told.append(
            f"one image does not show how such images vary: expect copies of it, or little like it; give "
            f"{ENOUGH} or more"
        )
    elif different < ENOUGH:
        told.append(
            f"{different} images show little of how such images vary: expect new ones close to these, or little like "
            f"them; give {ENOUGH} or more, better 10"
        )
    if different >= 3 and len(shots) <= FEW and _of_one_class(shots) and apart(shots, name) > UNLIKE.get(name, 2.0):
        told.append(
            f"these {len(shots)} images are as unlike each other as images of different things (1 − cosine "
            f"{apart(shots, name):.2f} in {name}; from {UNLIKE[name]:.2f} on), so new ones will be mixtures of them; "
            "give images of one thing, and each other thing a run of its own"
        )
    return told


def of_samples(samples: Tensor, shots: ImageSet, query: ImageSet | None, name: str) -> list[str]:
    """What is to be told of samples, uint8 ``(n, c, h, w)``, beside the images learned from and those held back.

    Where none are held back, the images learned from tell, each left out once, how far real images are apart. Nothing
    where fewer than two of them differ: then nothing tells copies from likeness.
    """
    different = shots.select(_first_of_each(shots))
    if len(different) < 2:
        return []
    features = extractor(name)
    ways = ((features, NEAR_IN_FEATURES), (_small, NEAR_IN_PIXELS))
    near = torch.zeros(len(samples), dtype=torch.bool)
    usual = torch.zeros(len(different) if query is None else len(query), dtype=torch.bool)
    for way, share in ways:
        learned, made = way(different.images).double(), way(samples).double()
        real = among(learned) if query is None else nearest(way(query.images).double(), learned)
        near |= nearest(made, learned) < share * real.mean()
        usual |= real < share * real.mean()
    told = []
    if float(near.double().mean()) >= COPIED + float(usual.double().mean()):
        told.append(
            f"near-copies: {int(near.sum())} of {len(samples)} new images lie much closer to one learned from than "
            f"real ones do ({int(usual.sum())} of {len(usual)} of these); more images help most, else fewer steps "
            "(--set early_stopping=true finds out how many) or augmentation (--set augmentation=shift)"
        )
    made = features(samples).double()
    real = features(query.images if query is not None and len(query) > 1 else different.images).double()
    away = nearest(made, real) > among(real).max()
    if float(away.double().mean()) >= FAR:
        told.append(
            f"unlike the real ones: {int(away.sum())} of {len(samples)} new images lie farther from every real one "
            f"than any of these from the next (in {name}); more steps, another start (--start) or more images may help"
        )
    spread = float(off_diagonal_mean(distances(real, real)))
    if len(samples) > 1 and spread > 0:
        varied = float(off_diagonal_mean(distances(made, made))) / spread
        if varied < ALIKE:
            told.append(
                f"little variety: the new images lie {varied:.2f} times as far from each other as real ones do (in "
                f"{name}); another learner (--learner), more steps, or more and more varied images may help"
            )
    return told


def copied(images: ImageSet) -> list[tuple[int, int]]:
    """The places of images that are exactly like an earlier one, each with that one's place.

    >>> copied(ImageSet(torch.tensor([7, 8, 7], dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 1, 16, 16), "some"))
    [(2, 0)]
    """
    first: dict[bytes, int] = {}
    found = [
        (place, first.setdefault(sha256(image.numpy().tobytes()).digest(), place))
        for place, image in enumerate(images.images)
    ]
    return [(place, earlier) for place, earlier in found if place != earlier]


def apart(images: ImageSet, name: str) -> float:
    """The mean of 1 − cosine over all pairs of images in the features ``name``; 0 = all alike."""
    features = extractor(name)(images.images).double()
    features = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return float(off_diagonal_mean(1 - features @ features.T))


def _first_of_each(images: ImageSet) -> Tensor:
    left_out = {place for place, _ in copied(images)}
    return torch.tensor([place for place in range(len(images)) if place not in left_out])


def _of_one_class(images: ImageSet) -> bool:
    """Not of several that whoever gave them tells apart."""
    return images.labels is None or bool((images.labels == images.labels[0]).all())


def _are(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"


def _an_exact_copy(copies: list[tuple[int, int]], images: ImageSet) -> str:
    words = "an exact copy of another" if len(copies) == 1 else "exact copies of others"
    if not images.names:
        return words
    shown = ", ".join(f"{images.names[place]} of {images.names[earlier]}" for place, earlier in copies[:3])
    return f"{words} ({shown}{', …' if len(copies) > 3 else ''})"


def _small(images: Tensor) -> Tensor:
    height, width = (min(side, _SIDE) for side in images.shape[2:])
    return resized(images.float() / 255, height, width).flatten(1)
