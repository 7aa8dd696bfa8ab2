"""Images at their own sizes, and patches cut from them: what restoration learns from, as scaling would mend them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.tasks import cache, held
from limner.tasks.arrays import open_idx, open_npz
from limner.tasks.convert import Unusable, array_to_bytes, halved, whole
from limner.tasks.files import FileSource, open_folder, open_zip, read
from limner.tasks.image_set import ImageSet
from limner.tasks.load import load
from limner.tasks.select import choose_classes, wanted
from limner.tasks.spec import Spec, parse

PATCH = 64
"""The side of patches where no size is given and images are at least as large."""

FILES, ARRAYS = ("folder", "zip", "hf"), ("npz", "idx")


class Pictures(NamedTuple):
    """Images of any sizes, uint8 ``(c, h, w)`` each, all of them grey or all in colour.

    name     the data spec
    names    what each is called; numbers where they are no files
    size     the side of patches that the spec asks for, if it does
    """

    name: str
    images: list[Tensor]
    names: list[str]
    size: int | None
    licence: str
    notes: tuple[str, ...]

    def patch(self) -> int:
        """The side of the patches to be cut: as asked for, or as large as the smallest image has, up to 64."""
        return self.size or min(PATCH, *(side for image in self.images for side in image.shape[1:]))

    def coloured(self, channels: int) -> Pictures:
        """The same with so many channels, where they have one."""
        return self._replace(images=[image.expand(channels, -1, -1) for image in self.images])


def pictures(spec: str) -> Pictures:
    """The images of a data spec at their own sizes: files, arrays. Its ``size`` is that of the patches to be cut.

    Where it says how to ``fit`` them, and of data that come with Limner, they are those that ``load`` gives.
    Raises :class:`LimnerError` where there are none, or more than fit in the memory.
    """
    return held.once(("pictures", spec), lambda: _pictures(spec))


def _pictures(spec: str) -> Pictures:
    known = parse(spec)
    colour, size = known.options.get("colour"), known.options.get("size")
    if "fit" in known.options or known.kind not in (*FILES, *ARRAYS) or _chosen_arrays(known):
        images = load(spec)
        names = list(images.names) or [str(place) for place in range(len(images))]
        return Pictures(spec, list(images.images), names, images.shape[1], images.licence, images.notes)
    if known.kind in ARRAYS:
        found, names, licence, notes = _of_arrays(known, spec)
    else:
        found, names, licence, notes = _of_files(_opened(known), known, spec)
    grey = colour == "grey" or (colour is None and all(map(_is_grey, found)))
    return Pictures(spec, [_channelled(image, grey) for image in found], names, size, licence, tuple(notes))


def patches(found: Pictures, size: int) -> tuple[ImageSet, Tensor]:
    """Patches of ``size`` pixels that cover the images evenly, and the place of the image that each was cut from.

    Images smaller than that are left out, and noted. Raises :class:`LimnerError` where none is left.

    >>> picture = torch.zeros(1, 20, 33, dtype=torch.uint8)
    >>> cut, places = patches(Pictures("one", [picture], ["a.png"], None, "", ()), 16)
    >>> cut.shape, places.tolist()
    ((1, 16, 16), [0, 0, 0, 0, 0, 0])
    """
    cut, places, small = [], [], []
    for place, image in enumerate(found.images):
        if min(image.shape[1:]) < size:
            small.append(f"{found.names[place]} ({image.shape[2]}×{image.shape[1]})")
            continue
        parts = [
            image[:, top : top + size, left : left + size]
            for top in _offsets(image.shape[1], size)
            for left in _offsets(image.shape[2], size)
        ]
        cut += parts
        places += [place] * len(parts)
    if not cut:
        raise LimnerError(f"{found.name}: no image has {size}×{size} pixels, such as {small[0]}; give a smaller size=")
    notes = found.notes
    if small:
        notes += (f"{_counted(len(small))} smaller than {size}×{size} left out: {', '.join(small[:5])}",)
    names = tuple(found.names[place] for place in places)
    return ImageSet(torch.stack(cut), found.name, licence=found.licence, notes=notes, names=names), torch.tensor(places)


def clean_patches(spec: str, size: int) -> ImageSet:
    """Patches of ``size`` pixels of the images of a data spec, those of one image being a class; of as the
    spec says, or as many as the smallest image has where that is less. Images that come with Limner are as they are.
    """
    if parse(spec).kind not in (*FILES, *ARRAYS):
        return load(spec)
    found = pictures(spec)
    least = min(side for image in found.images for side in image.shape[1:])
    cut, places = patches(found, found.size or min(size, least))
    kept = torch.unique(places)
    labels = torch.searchsorted(kept, places)
    names = tuple(found.names[place] for place in kept.tolist())
    return ImageSet(cut.images, spec, labels, names, licence=cut.licence, notes=cut.notes, names=cut.names)


def _opened(known: Spec) -> FileSource:
    if known.kind == "hf":
        from limner.tasks.hub import open_dataset

        return open_dataset(known)
    return (open_folder if known.kind == "folder" else open_zip)(known)


def _of_files(source: FileSource, known: Spec, spec: str) -> tuple[list[Tensor], list[str], str, list[str]]:
    items, options = source.items, known.options
    names = sorted({item.label for item in items}) if source.labelled else []
    labels = torch.tensor([names.index(item.label) for item in items]) if names else None
    chosen = choose_classes(options["classes"], tuple(names), spec) if "classes" in options else None
    limit = cache.memory_limit(options.get("memory_limit"))
    found, called, bad, total = [], [], [], 0
    for place in wanted(labels, len(items), chosen, options.get("limit")).tolist():
        item = items[place]
        try:
            image = torch.from_numpy(whole(halved(read(item, 1 << 30), options.get("part"))))
        except Unusable as reason:
            bad.append(f"{item.name}: {reason}")
            continue
        total += image.numel()
        if total > limit:
            raise LimnerError(f"the images of {spec} take more than {limit:,} bytes; give fewer of them with limit=")
        found.append(image)
        called.append(item.name)
    if not found:
        raise LimnerError(f"{spec} holds no image that can be used{': ' + bad[0] if bad else ''}")
    told = [f"{_counted(len(bad))} left out: {'; '.join(bad[:5])}"] if bad else []
    return found, called, source.licence, [*source.notes, *told]


def _of_arrays(known: Spec, spec: str) -> tuple[list[Tensor], list[str], str, list[str]]:
    source = (open_npz if known.kind == "npz" else open_idx)(known)
    images = [
        torch.from_numpy(image.transpose(2, 0, 1).copy())
        for part in source.parts()
        for image in array_to_bytes(part, source.name)
    ]
    keep = wanted(None, len(images), None, known.options.get("limit")).tolist()
    if not keep:
        raise LimnerError(f"{spec} holds no images; give some")
    return [images[place] for place in keep], [str(place) for place in keep], source.licence, list(source.notes)


def _offsets(length: int, size: int) -> list[int]:
    """Where pieces of ``size`` begin that cover ``length`` with as little overlap as can be."""
    count = -(-length // size)
    return [round(place * (length - size) / max(count - 1, 1)) for place in range(count)]


def _chosen_arrays(known: Spec) -> bool:
    return known.kind in ARRAYS and "classes" in known.options


def _is_grey(image: Tensor) -> bool:
    return image.shape[0] == 1 or bool((image == image[:1]).all())


def _channelled(image: Tensor, grey: bool) -> Tensor:
    """The image with one channel or three; the luma of Rec. 601 where colour is to become grey."""
    if not grey:
        return image.expand(3, -1, -1)
    if image.shape[0] == 1 or bool((image == image[:1]).all()):
        return image[:1]
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return (image * luma).sum(0, keepdim=True).round().to(torch.uint8)


def _counted(images: int) -> str:
    return "1 image is" if images == 1 else f"{images:,} images are"
