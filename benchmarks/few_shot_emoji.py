"""How far the starts that ship with the package carry on emoji: classes are what Unicode puts side by side."""

from __future__ import annotations

import few_shot
import harness
import torch
from few_shot_starter import QUERIES, SEED, SHOTS, Data, measure

from limner.tasks import Family, ImageSet, load

EMOJI = Data("emoji", "npz:{data}/noto_emoji32_rgba.npz,images=x,labels=name,size=32,colour=rgb", "efficientnet-lite0")
CLASSES = {
    "faces": (0x1F600, 0x1F644),
    "animals": (0x1F400, 0x1F43E),
    "plants and food": (0x1F330, 0x1F37F),
    "vehicles and signs": (0x1F680, 0x1F6C5),
    "clocks": (0x1F550, 0x1F567),
    "objects": (0x1F4A0, 0x1F4FC),
    "hands and bodies": (0x1F440, 0x1F450),
}
"""First and last code points; of bodies also those in all colours of skin."""


def class_of(name: str) -> str | None:
    """The class of an emoji by its code points, ``emoji_u1f600``; ``None`` where it is in none of these.

    >>> class_of("emoji_u1f431"), class_of("emoji_u1f44d_1f3fb"), class_of("emoji_u1f431_200d_1f680")
    ('animals', 'hands and bodies', None)
    """
    first, *more = (int(point, 16) for point in name.removeprefix("emoji_u").split("_"))
    if any(not 0x1F3FB <= point <= 0x1F3FF for point in more):
        return None
    return next((name for name, (low, high) in CLASSES.items() if low <= first <= high), None)


def emoji() -> ImageSet:
    """The emoji of these classes."""
    images = load(harness.spec(EMOJI.spec))
    assert images.labels is not None
    found = [class_of(images.class_names[int(label)]) for label in images.labels]
    kept = [place for place, name in enumerate(found) if name]
    labels = torch.tensor([list(CLASSES).index(str(found[place])) for place in kept])
    return ImageSet(images.images[kept], EMOJI.name, labels=labels, class_names=tuple(CLASSES), licence=images.licence)


def main() -> None:
    count = 2 if harness.quick() else len(CLASSES)
    source = Family(emoji(), SHOTS, QUERIES, seed=SEED, fractions=(0.0, 0.0, 1.0), min_images=SHOTS + QUERIES)
    asked = [(EMOJI, task) for task in few_shot.tasks_of(source, "test", count)]
    measure("few-shot-emoji", asked, f"{SHOTS} emoji of each of {count} classes, which are ranges of code points")


if __name__ == "__main__":
    harness.run(main)
