"""What a restoration was asked for: the files, the method, and what the user says of the damage."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError

if TYPE_CHECKING:
    import torch

    from limner.degradations import Degradation
    from limner.restoration import Knowledge, Restorer
    from limner.restoration.stripes import Stripes
    from limner.tasks.files import Item

RECORD, PAGE = "restored.json", "report.html"
"""Beside the images: what was found, done and judged of each, and the page that shows it."""


@dataclass(frozen=True)
class Asked:
    """What the user says of the damage, in place of what would be found; ``remarks``: :func:`remarks_on` it."""

    degradation: str | None
    noise: float | None
    masks: Masks | None
    remarks: tuple[str, ...] = ()


def remarks_on(degradation: str | None) -> tuple[str, ...]:
    """What is worth telling of a degradation's text, in sentences: kernels of blurs that have no middle.

    Raises :class:`LimnerError` where a kernel cannot be used.
    """
    from limner.degradations import parse
    from limner.degradations.operators import about_kernels
    from limner.reports.words import sentence

    return () if degradation is None else tuple(sentence(told) for told in about_kernels(parse(degradation)))


@dataclass(frozen=True)
class Masks:
    """The user's masks: one ``file`` for all images, read once, or a folder of such under the images' names.

    seen  of a file 1 where a pixel was seen, ``(1, 1, h, w)``
    """

    place: Path
    seen: torch.Tensor | None

    @property
    def all_white(self) -> bool:
        """Whether the one mask tells of no lost pixel."""
        return self.seen is not None and bool(self.seen.all())

    def of(self, name: str, damaged: torch.Tensor) -> tuple[torch.Tensor | None, list[str]]:
        """The mask of an image and what is to be told of it; ``None`` where it tells of no lost pixel, or is not there.

        Raises :class:`LimnerError` where it has another size, or nothing was seen.
        """
        place, seen = self.place, self.seen
        if seen is None:
            place = of_same_name(self.place, name)
            if not place.is_file():
                return None, [f"There is no mask {place}, so what is lost was left to be found."]
            seen = mask_at(place)
        if seen.shape[2:] != damaged.shape[2:]:
            sizes = [f"{shape[3]}×{shape[2]}" for shape in (seen.shape, damaged.shape)]
            raise LimnerError(f"the mask {place} has {sizes[0]} pixels and the image {sizes[1]}")
        lost = 1 - float(seen.mean())
        if not lost:
            return None, [f"The mask {place} is white all over: it tells of no lost pixel (black is lost)."]
        told = [f"By the mask {100 * lost:.1f}% of the pixels are lost."]
        return seen, told + ["If it is the other way round, invert the mask: black is lost."] * (lost > 0.5)

    def sha256(self) -> str:
        """Of the bytes of all of them."""
        from limner.verbs.restore_again import sha256_of

        if self.seen is not None:
            return sha256_of(self.place)
        found = hashlib.sha256()
        for path in sorted(path for path in self.place.rglob("*") if path.is_file()):
            found.update(f"{path.relative_to(self.place)} {sha256_of(path)} ".encode())
        return found.hexdigest()


def masks_at(path: str | Path) -> Masks:
    """The masks at ``path``. Raises :class:`LimnerError` where there are none, or the one is black all over."""
    place = Path(path).expanduser()
    if not place.exists():
        raise LimnerError(
            f"there is no mask at {path}; give an image, black where pixels are lost, or a folder of such"
        )
    return Masks(place, None if place.is_dir() else mask_at(place))


def of_same_name(folder: Path, name: str) -> Path:
    """The file of an image's name in ``folder``, with whatever ending; that of its own ending where there is none."""
    from limner.tasks.files import EXTENSIONS

    stem = folder / Path(name).with_suffix("")
    choices = [folder / name, *(stem.with_suffix(ending) for ending in EXTENSIONS)]
    return next((path for path in choices if path.is_file()), choices[0])


def check_mask(method: Restorer | None, masks: Masks | None) -> None:
    """Raise :class:`LimnerError` for a mask that is white all over beside a method that does nothing but fill in."""
    from limner.restoration import Knowledge

    if masks is not None and masks.all_white and method is not None and method.handles(Knowledge(0.1)):
        raise LimnerError(
            f"the mask {masks.place} is white all over, so nothing is lost and {method.name} has nothing to fill in; "
            "make it black where pixels are lost"
        )


def stripes_told(text: str) -> Stripes | None:
    """The stripes that a degradation's text tells of.

    >>> stripes_told("stripes(51,direction=columns)+gaussian(5)")
    Stripes(level=0.2, direction='columns')
    """
    from limner.restoration.stripes import Stripes

    for stage in _stages(text):
        if getattr(stage, "word", "") == "stripes":
            values: dict[str, Any] = getattr(stage, "values", {})
            return Stripes(float(values["sigma"]) / 255, str(values["direction"]))
    return None


def only_stripes(text: str | None) -> bool:
    """Whether a degradation's text, if there is one, tells of stripes alone.

    >>> only_stripes("stripes(10)"), only_stripes("stripes(10)+gaussian(5)"), only_stripes(None)
    (True, False, True)
    """
    return all(getattr(stage, "word", "") in ("stripes", "clip", "quantise") for stage in _stages(text or "nothing"))


def _stages(text: str) -> tuple[Degradation, ...]:
    from limner.degradations import Chain, parse

    whole = parse(text)
    return whole.parts if isinstance(whole, Chain) else (whole,)


def told_by(
    text: str, shape: tuple[int, int, int, int], damaged: torch.Tensor, found: float | None
) -> tuple[Knowledge, bool]:
    """What a degradation's text tells, but for stripes, of images damaged by it, and whether it loses pixels, no one
    knows which."""
    from limner.degradations import Chain
    from limner.degradations.operators import Downsample, LinearStage, Masked, Mosaic
    from limner.restoration import Knowledge
    from limner.seeds import generator

    stages = _stages(text)
    linear, variance, loses = [], 0.0, False
    brightness = float(damaged.clamp(0, 1).median())
    for stage in stages:
        values: dict[str, Any] = getattr(stage, "values", {})
        word = getattr(stage, "word", "")
        if isinstance(stage, LinearStage) and (not isinstance(stage, Masked) or isinstance(stage, Mosaic)):
            linear.append(stage)
        elif isinstance(stage, Masked) or word == "salt_and_pepper":
            loses = True
        if word in ("gaussian", "poisson_gaussian"):
            variance += (float(values["sigma"]) / 255) ** 2
        if word in ("poisson", "poisson_gaussian"):
            variance += brightness / float(values["photons"])
        if word == "speckle":
            variance += (float(values["strength"]) * brightness) ** 2
    factor = 1
    for stage in linear:
        factor *= int(stage.values["factor"]) if isinstance(stage, Downsample) else 1  # type: ignore[arg-type]
    clean = (shape[0], shape[1], factor * shape[2], factor * shape[3])
    chain = Chain(linear)
    known = Knowledge.of(chain, chain.sample(clean, generator(0, "operator")), clean, variance**0.5 or found)
    return Knowledge(known.noise, known.operator, known.mask, text), loses


def files(source: str | Path) -> tuple[list[Item], Path]:
    """The image files of a folder, or the one file, and the folder that they are in.

    What an earlier restoration wrote into a folder below is left out: those are results.
    """
    from limner.tasks.files import Item, open_folder
    from limner.tasks.spec import parse

    given = str(source).removeprefix("folder:")
    path = Path(given).expanduser()
    if path.is_file():
        return [Item(path.name, "", path.stat().st_size, lambda: path.open("rb"))], path.parent
    found = open_folder(parse(f"folder:{given}")).items
    below = [[path / parent for parent in Path(item.name).parents][:-1] for item in found]
    results = {place for places in below for place in places if (place / RECORD).exists()}
    kept = [item for item, places in zip(found, below, strict=True) if results.isdisjoint(places)]
    if not kept:
        raise LimnerError(f"{path} holds only results of earlier restorations; give a folder of damaged images")
    return kept, path


def own_names(names: list[str], items: list[Item]) -> list[str]:
    """``names`` for the results of ``items``, each another one. Where two would be the same, a file that was called so
    keeps its name, and the others carry the whole of their old one: of a.png and a.jpg, a.png and a.jpg.png."""
    counts = Counter(name.casefold() for name in names)
    kept = [name == item.name or counts[name.casefold()] == 1 for name, item in zip(names, items, strict=True)]
    taken = {name.casefold() for name, keeps in zip(names, kept, strict=True) if keeps}
    made = []
    for name, item, keeps in zip(names, items, kept, strict=True):
        own = name if keeps else f"{item.name}.png"
        while not keeps and own.casefold() in taken:
            own += ".png"
        taken.add(own.casefold())
        made.append(own)
    return made


def told_once(left_out: dict[str, str], most: int = 20) -> list[str]:
    """Why files were left out, by their names, in sentences: one for each reason, with at most so many names.

    >>> told_once({"a.png": "it is empty", "b.png": "it is damaged", "c.png": "it is empty"}, most=1)
    ['a.png and 1 more are left out: it is empty', 'b.png is left out: it is damaged']
    """
    sentences = []
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        more = f" and {len(names) - most:,} more" if len(names) > most else ""
        sentences.append(f"{', '.join(names[:most])}{more} {'is' if len(names) == 1 else 'are'} left out: {reason}")
    return sentences


def check_tile(method: Restorer | None, tile: int | None) -> None:
    """Raise :class:`LimnerError` for a tile that is too small for the method, or for the starter that ``auto`` takes:
    once, before the first image. What is found in an image may need a larger one still."""
    from limner.restoration import Knowledge, restorer
    from limner.restoration.tiles import margins, spans

    if tile:
        spans(tile + 1, tile, *margins(method or restorer("starter"), Knowledge()))


def settled(text: str | None) -> str | None:
    """The text as it is printed back; raises :class:`LimnerError` where it has ranges or choices."""
    if text is None:
        return None
    from limner.degradations import parse
    from limner.seeds import generator

    found = parse(text)
    settled = found.settle(generator(0, "settle"))
    if settled != found:
        raise LimnerError(
            f"{found} leaves open what was done to an image; give numbers, as in {settled}, or leave --degradation out "
            "to have it estimated"
        )
    return str(found)


def mask_at(path: str | Path) -> torch.Tensor:
    """1 where the image at ``path`` is lighter than middle grey, ``(1, 1, h, w)``."""
    from limner.restoration.picture_file import read
    from limner.tasks.convert import Unusable

    try:
        with Path(path).expanduser().open("rb") as file:
            seen = (read(file).images().mean(1, keepdim=True) >= 0.5).float()
    except Unusable as reason:
        raise LimnerError(f"the mask {path} cannot be used: {reason}") from None
    if not bool(seen.any()):
        raise LimnerError(
            f"the mask {path} is black all over, so no pixel was seen; make it white where the image is whole"
        )
    return seen


def method_of(method: str, options: dict[str, Any], memory: str | None) -> Restorer:
    """The method of the catalogue, or the restorer that a run learned."""
    from limner.restoration import CATALOGUE, restorer
    from limner.restoration.trained import Trained
    from limner.verbs.load import load

    if method in CATALOGUE:
        if isinstance(prior := options.get("prior"), str) and prior not in (*CATALOGUE, "auto"):
            options = {**options, "prior": Trained.of(load(prior, memory=memory))}
        if isinstance(generator := options.get("run"), str):
            options = {**options, "run": load(generator, memory=memory)}
        return restorer(method, **options)
    try:
        run = load(method, memory=memory)
    except LimnerError as mistake:
        near = get_close_matches(method, known := ("auto", *CATALOGUE), n=1)
        if near and not Path(method).exists():
            raise LimnerError(
                f"there is no method {method!r}; did you mean {near[0]}? There are: {', '.join(known)}, and runs"
            ) from None
        raise LimnerError(f"{method!r} is neither a method ({', '.join(known)}) nor a run: {mistake}") from None
    if options:
        raise LimnerError(f"the options of {method} were fixed when it was trained; leave --option out")
    return Trained.of(run)


def by_what_was_found(knowledge: Knowledge, told: bool) -> Restorer:
    """The method of ``auto``: plug-and-play where pixels are lost or an operator is known, the denoiser where the user
    ``told`` how strong the noise is, else the starter, which finds out by itself."""
    from limner.restoration import restorer

    if knowledge.mask is not None or knowledge.operator is not None:
        return restorer("plug-and-play")
    return restorer("denoiser" if told else "starter")
