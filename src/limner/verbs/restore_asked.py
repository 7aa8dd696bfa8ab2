"""What a restoration was asked for: the files, the method, and what the user says of the damage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError

if TYPE_CHECKING:
    import torch

    from limner.restoration import Knowledge, Restorer
    from limner.tasks.files import Item

RECORD, PAGE = "restored.json", "report.html"
"""Beside the images: what was found, done and judged of each, and the page that shows it."""


@dataclass(frozen=True)
class Asked:
    """What the user says of the damage, in place of what would be found."""

    degradation: str | None
    noise: float | None
    mask: torch.Tensor | None
    mask_name: str = ""

    @property
    def anything(self) -> bool:
        """Whether something was said."""
        return self.degradation is not None or self.noise is not None or self.mask is not None


def told_by(
    text: str, shape: tuple[int, int, int, int], damaged: torch.Tensor, found: float | None
) -> tuple[Knowledge, bool]:
    """What a degradation's text tells of images damaged by it, and whether it loses pixels, no one knows which."""
    from limner.degradations import Chain, parse
    from limner.degradations.operators import Downsample, LinearStage, Masked, Mosaic
    from limner.restoration import Knowledge
    from limner.seeds import generator

    whole = parse(text)
    stages = whole.parts if isinstance(whole, Chain) else (whole,)
    linear, variance, loses = [], 0.0, False
    brightness = float(damaged.clamp(0, 1).median())
    for stage in stages:
        values: dict[str, Any] = getattr(stage, "values", {})
        word = getattr(stage, "word", "")
        if isinstance(stage, LinearStage) and (not isinstance(stage, Masked) or isinstance(stage, Mosaic)):
            linear.append(stage)
        elif isinstance(stage, Masked) or word == "salt_and_pepper":
            loses = True
        if word in ("gaussian", "poisson_gaussian", "stripes"):
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
        raise LimnerError(f"the mask {path} is black all over, so no pixel was seen; white is what is left")
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
        known = ", ".join(("auto", *CATALOGUE))
        raise LimnerError(f"{method!r} is neither a method ({known}) nor a run: {mistake}") from None
    if options:
        raise LimnerError(f"the options of {method} were fixed when it was trained; leave --option out")
    return Trained.of(run)
