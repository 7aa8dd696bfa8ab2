"""From a data spec to an image set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.tasks import cache, held
from limner.tasks.arrays import ArraySource, open_digits, open_idx, open_npz
from limner.tasks.convert import Array, Unusable, array_to_bytes, default_size, halved, is_grey, square
from limner.tasks.files import FileSource, Item, open_folder, open_zip, read, size_of
from limner.tasks.image_set import ImageSet
from limner.tasks.select import choose_classes, wanted
from limner.tasks.spec import KINDS, Spec, parse

Progress = Callable[[int, int], None]
"""Called now and then with how many images are done, and of how many."""


def load(spec: str, *, progress: Progress | None = None, **options: Any) -> ImageSet:
    """The image set that a data spec names; keyword ``options`` replace those in the spec.

    ``spec`` is ``KIND[:PATH][,option=value]…``, or the path of a folder, zip archive, npz archive or IDX file. See
    :func:`kinds` for the kinds. Options of all kinds:

    - ``size``: the side in pixels (default: the images' own where all are squares of one side fit to learn, else 32)
    - ``colour``: ``grey`` or ``rgb`` (default: grey where all images are)
    - ``fit``: ``crop`` (default), ``pad`` or ``stretch``
    - ``part``: ``left`` or ``right``, only that half of each image
    - ``classes``: names, patterns with ``*`` or ranges of numbers, as in ``a+b+c`` or ``0-9`` (a number is a name)
    - ``limit``: the first so many images of each class
    - ``memory_limit``: bytes above which the images are mapped from a file in the cache
      (default: ``LIMNER_MEMORY_LIMIT``, or a quarter of the memory)

    Raises :class:`LimnerError` where the spec is wrong or holds no image that can be used. Single files that cannot be
    used are left out and named in the image set's notes.

    >>> images = load("digits,size=16,classes=0-1")
    >>> images.shape, images.class_names, len(images)
    ((1, 16, 16), ('0', '1'), 360)
    """
    known = parse(spec, **options)
    name = str(known) if options else spec.strip()
    if "classes" in known.options:  # a part, held by whoever wants it
        return _load(known, name, progress)
    return held.once(("images", name), lambda: _load(known, name, progress))


def _load(known: Spec, name: str, progress: Progress | None) -> ImageSet:
    """The image set of a spec that has been read."""
    if known.kind == "glyphs":
        from limner.tasks import glyphs

        return glyphs.load(known, name, progress)
    if (opening := _opening(known.kind)) is not None:
        return _from_arrays(_at_hand(known, opening), known, name, progress)
    if known.kind == "hf":
        from limner.tasks.hub import open_dataset

        return _from_files(open_dataset(known), known, name, progress)
    return _from_files((open_folder if known.kind == "folder" else open_zip)(known), known, name, progress)


def _opening(kind: str) -> Callable[[Spec], ArraySource] | None:
    """What opens the arrays of a kind of source; ``None`` where it has files."""
    opening = {"npz": open_npz, "idx": open_idx, "digits": open_digits}
    if kind == "photos":
        from limner.tasks.photos import open_photos

        return open_photos
    if kind == "leaves":
        from limner.tasks.leaves import open_leaves

        return open_leaves
    if kind == "sprites":
        from limner.tasks.sprites import open_sprites

        return open_sprites
    return opening.get(kind)


CHOSEN = ("classes", "limit", "part", "fit", "colour", "memory_limit")
"""Options that say what is made of a source's arrays, not what they are."""


def _at_hand(known: Spec, opening: Callable[[Spec], ArraySource]) -> ArraySource:
    """The source of a spec. Where things are read once, its arrays are shared by specs that choose otherwise of it."""
    if not held.holding():
        return opening(known)

    def read() -> ArraySource:
        found = opening(known)
        if int(np.prod(found.shape)) * found.dtype.itemsize > min(held.LARGEST, cache.memory_limit()):
            return found
        parts = list(found.parts())
        return replace(found, parts=lambda: iter(parts))

    made_of = tuple((name, value) for name, value in sorted(known.options.items()) if name not in CHOSEN)
    found = held.once(("arrays", known.kind, known.path, made_of), read)
    return replace(found, name=str(known), notes=list(found.notes))


def kinds() -> dict[str, str]:
    """Every kind of data and one line of help for it.

    >>> kinds()["digits"]
    'digits: 1,797 handwritten digits in 10 classes (scikit-learn)'
    """
    return {name: f"{name}{':' + kind.path if kind.path else ''}: {kind.help}" for name, kind in KINDS.items()}


def describe(images: ImageSet) -> dict[str, Any]:
    """What there is to say about an image set, as plain JSON.

    >>> described = describe(load("digits,size=16"))
    >>> described["images"], described["classes"]["0"]
    (1797, 178)
    """
    counts: list[int] = []
    if images.labels is not None:
        counts = torch.bincount(images.labels, minlength=len(images.class_names)).tolist()
    # a spread of at most 4,096 images is enough for the intensities, and quick where they are mapped
    some = images.images[:: max(1, len(images) // 4096)].float() / 255
    return {
        "name": images.name,
        "images": len(images),
        "shape": list(images.shape),
        "classes": dict(zip(images.class_names, counts, strict=True)) if counts else {},
        "groups": list(images.group_names),
        "intensity": {"mean": round(some.mean().item(), 4), "deviation": round(some.std().item(), 4)},
        "licence": images.licence,
        "sha256": images.sha256,
        "notes": list(images.notes),
    }


def store(parts: Iterator[Array], total: int, cache_name: str, limit: int | None, record: dict[str, Any]) -> Tensor:
    """Parts of ``total`` bytes in memory, or where that is more than the limit, mapped from a file in the cache."""
    if total > cache.memory_limit(limit):
        return cache.keep(cache_name, parts, record)
    return torch.from_numpy(np.concatenate(list(parts)))


def _from_files(source: FileSource, spec: Spec, name: str, progress: Progress | None) -> ImageSet:
    """Select, decode, resize and store the images of files; those that cannot be used are noted and left out."""
    options, items = spec.options, source.items
    names = tuple(sorted({item.label for item in items})) if source.labelled else ()
    places = {label: place for place, label in enumerate(names)}
    labels = torch.tensor([places[item.label] for item in items]) if names else None
    chosen = choose_classes(options["classes"], names, name) if "classes" in options else None
    keep = wanted(labels, len(items), chosen, options.get("limit")).tolist()
    items = [items[index] for index in keep]
    cache_name = cache.key("files", source.stamp, sorted(options.items()))

    found = cache.find(cache_name)
    if found is None:
        bad: dict[str, str] = {}
        sizes = set() if "size" in options else _sizes(items, bad, "part" in options)
        size = options.get("size") or default_size(sizes)
        record: dict[str, Any] = {
            "what": name,
            "bad": bad,
            "clear": 0,
            "resized": _size_notes(sizes, size),
            "oblong": 0,
        }
        colour = options.get("colour") or "rgb"
        decoded = _decoded([item for item in items if item.name not in bad], size, colour, options, record, progress)
        total = len(items) * size * size * (1 if colour == "grey" else 3)
        images = store(decoded, total, cache_name, options.get("memory_limit"), record)
    else:
        images, record = found
    bad = record["bad"]
    if len(images) == 0:
        first, reason = next(iter(bad.items()))
        raise LimnerError(f"{name} holds no image that can be used: {first}: {reason}")
    if "colour" not in options and _all_grey(images):
        images = images[:, :1]
    good = [index for index, item in enumerate(items) if item.name not in bad]
    made = ImageSet(
        images,
        name,
        labels=None if labels is None else labels[torch.tensor(keep)][torch.tensor(good)],
        class_names=names,
        licence=source.licence,
        notes=(
            *source.notes,
            *_clear_notes(record["clear"]),
            *_bad_notes(bad),
            *record.get("resized", ()),
            *_oblong_notes(record.get("oblong", 0), options),
        ),
        names=tuple(items[index].name for index in good),
    )
    if labels is None:
        return made
    present = torch.bincount(made.labels, minlength=len(names)) if made.labels is not None else torch.zeros(0)
    with_images = [index for index in (range(len(names)) if chosen is None else chosen) if present[index] > 0]
    return made if with_images == list(range(len(names))) else made.restrict(with_images)


def _sizes(items: list[Item], bad: dict[str, str], halved: bool = False) -> set[tuple[int, int]]:
    """The sizes of the pictures, or their halves, from the files' heads; files without a usable one go to ``bad``."""
    sizes = set()
    for item in items:
        try:
            width, height = size_of(item)
            sizes.add((width // 2 if halved else width, height))
        except Unusable as reason:
            bad[item.name] = str(reason)
    return sizes


def _decoded(
    items: list[Item],
    size: int,
    colour: str,
    options: Mapping[str, Any],
    record: dict[str, Any],
    progress: Progress | None,
) -> Iterator[Array]:
    """The pictures as uint8 ``(n, c, size, size)`` in parts; files without a usable picture go to the record."""
    bad: dict[str, str] = record["bad"]
    yield np.empty((0, 1 if colour == "grey" else 3, size, size), dtype=np.uint8)
    for start in range(0, len(items), 256):
        part = []
        for item in items[start : start + 256]:
            try:
                picture = read(item, 4 * size if "part" in options else 2 * size)
                part.append(square(halved(picture, options.get("part")), size, options.get("fit", "crop"), colour))
                record["clear"] += picture.has_transparency_data
                width = picture.width // 2 if "part" in options else picture.width
                record["oblong"] += width != picture.height
            except Unusable as reason:
                bad[item.name] = str(reason)
        if part:
            yield np.stack(part)
        if progress is not None:
            progress(min(start + 256, len(items)), len(items))


def _all_grey(images: Tensor) -> bool:
    """Whether no image ``(n, 3, h, w)`` has a colour; looks at a part at a time."""
    return all(
        bool((images[start : start + 1024] == images[start : start + 1024, :1]).all())
        for start in range(0, len(images), 1024)
    )


def _size_notes(sizes: set[tuple[int, int]], size: int) -> list[str]:
    """One note where images that have other ``sizes`` were brought to ``size`` without being told to."""
    if sizes <= {(size, size)}:
        return []
    some = " and ".join(f"{width}×{height}" for width, height in sorted(sizes)[:: max(1, len(sizes) - 1)])
    which = f"images of {some} pixels" if len(sizes) < 3 else f"images of {len(sizes)} sizes, among them {some} pixels,"
    return [f"{which} are brought to {size}×{size}; size= chooses another side, fit= how"]


def _oblong_notes(count: int, options: Mapping[str, Any]) -> list[str]:
    """One note where the proportions of images had to change, and how was not said."""
    if not count or "fit" in options:
        return []
    images, its = ("1 image is", "its") if count == 1 else (f"{count:,} images are", "their")
    return [
        f"{images} not square: {its} middle was taken (fit=crop); fit=pad keeps all of each within a border, "
        "fit=stretch ignores proportions"
    ]


def _clear_notes(count: int) -> list[str]:
    return [f"{count} {'image has' if count == 1 else 'images have'} transparency, put on white"] if count else []


def _bad_notes(bad: dict[str, str]) -> list[str]:
    """One note that counts the files left out and names the first few."""
    if not bad:
        return []
    named = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    return [f"{len(bad)} {'file is' if len(bad) == 1 else 'files are'} left out: {named}{more}"]


def _from_arrays(source: ArraySource, spec: Spec, name: str, progress: Progress | None) -> ImageSet:
    """Select, resize and store what is an array already."""
    count, options = source.shape[0], spec.options
    labels, names, groups, group_names = classes_of(source, name)
    chosen = choose_classes(options["classes"], names, name) if "classes" in options else None
    keep = wanted(labels, count, chosen, options.get("limit"))
    if len(keep) == 0:
        raise LimnerError(f"{name} holds no images; give some, or other classes")
    if len(source.shape) == 4 and 4 in (source.shape[1], source.shape[3]):
        source.notes += _clear_notes(len(keep))
    channels_first = len(source.shape) == 4 and source.shape[3] not in (1, 3, 4)
    height, width = source.shape[2:] if channels_first else source.shape[1:3]
    width = width // 2 if "part" in options else width
    size = options.get("size") or default_size({(width, height)})
    source.notes += [] if "size" in options else _size_notes({(width, height)}, size)
    source.notes += _oblong_notes(len(keep) if width != height else 0, options)
    colour = options.get("colour") or _colour(source, keep)
    total = len(keep) * size * size * (1 if colour == "grey" else 3)
    parts = _squares(source, keep, size, colour, options, progress)
    cache_name = cache.key("arrays", name, source.stamp)
    found = cache.find(cache_name) if total > cache.memory_limit(options.get("memory_limit")) else None
    images = found[0] if found else store(parts, total, cache_name, options.get("memory_limit"), {"what": name})
    made = ImageSet(
        images,
        name,
        labels=None if labels is None else labels[keep],
        class_names=names,
        class_groups=groups,
        group_names=group_names,
        licence=source.licence,
        notes=tuple(source.notes),
    )
    return made if chosen is None else made.restrict(chosen)


def _colour(source: ArraySource, keep: Tensor) -> str:
    """``grey`` where all images that are kept are."""
    if len(source.shape) == 3 or 1 in (source.shape[1], source.shape[3]):
        return "grey"
    return "grey" if all(is_grey(part) for _, part in _kept(source, keep)) else "rgb"


def _kept(source: ArraySource, keep: Tensor) -> Iterator[tuple[int, Array]]:
    """The images at the sorted places ``keep`` as uint8 ``(n, h, w, c)``, in parts, and how many were read so far."""
    places, start = keep.numpy(), 0
    for part in source.parts():
        here = places[np.searchsorted(places, start) : np.searchsorted(places, start + len(part))] - start
        if len(here):
            whole = part if len(here) == len(part) else part[here]
            yield start + len(part), array_to_bytes(whole, source.name)
        start += len(part)


def _squares(
    source: ArraySource, keep: Tensor, size: int, colour: str, options: Mapping[str, Any], progress: Progress | None
) -> Iterator[Array]:
    """The images that are kept as uint8 ``(n, c, size, size)``, part by part."""
    from PIL import Image

    for done, part in _kept(source, keep):
        channels = 1 if colour == "grey" else 3
        if "part" in options:
            half = part.shape[2] // 2
            part = part[:, :, :half] if options["part"] == "left" else part[:, :, -half:]
        if part.shape[1:] == (size, size, channels):
            yield part.transpose(0, 3, 1, 2)
        elif part.shape[1:3] == (size, size) and channels == 3 and part.shape[3] == 1:
            yield np.repeat(part.transpose(0, 3, 1, 2), 3, axis=1)
        else:
            pictures = (Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in part)
            yield np.stack([square(picture, size, options.get("fit", "crop"), colour) for picture in pictures])
        if progress is not None:
            progress(done, source.shape[0])


def classes_of(source: ArraySource, name: str) -> tuple[Tensor | None, tuple[str, ...], Tensor | None, tuple[str, ...]]:
    """Labels, class names, the group of each class and group names of a source."""
    count = source.shape[0]
    for values, what in ((source.labels, "labels"), (source.groups, "groups")):
        if values is not None and len(values) != count:
            raise LimnerError(f"{name}: {count} images but {len(values)} {what}; there must be one for each image")
    if source.labels is None:
        if source.groups is not None:
            raise LimnerError(f"{name}: groups without labels; name the array of labels with labels=")
        return None, (), None, ()
    values, labels = np.unique(source.labels, return_inverse=True)
    names = tuple(source.names[value] if source.names else str(value) for value in values.tolist())
    if source.groups is None:
        return torch.from_numpy(labels.astype(np.int64)), names, None, ()
    group_values, group = np.unique(source.groups, return_inverse=True)
    group_names = tuple(
        source.group_names[value] if source.group_names else str(value) for value in group_values.tolist()
    )
    pairs, together = np.unique(np.stack([group, labels]), axis=1, return_inverse=True)
    if pairs.shape[1] > len(names):
        source.notes.append("some labels occur in several groups, so a class is a group and a label together")
        names = tuple(f"{group_names[g]}/{names[label]}" for g, label in pairs.T.tolist())
        labels, of_class = together.reshape(-1), pairs[0]
    else:
        of_class = np.empty(len(names), dtype=np.int64)
        of_class[pairs[1]] = pairs[0]
    return torch.from_numpy(labels.astype(np.int64)), names, torch.from_numpy(of_class.astype(np.int64)), group_names
