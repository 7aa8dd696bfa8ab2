"""Damaged images mended, file by file, and judged without the truth."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.verbs import directories, restore_again, restore_asked
from limner.verbs.restore_asked import PAGE, RECORD, Asked

if TYPE_CHECKING:
    import torch

    from limner.reports.restored import Shown
    from limner.restoration import Knowledge, Restorer
    from limner.restoration.estimate import Found
    from limner.restoration.stripes import Stripes
    from limner.tasks.files import Item

UNDOING = ("wiener", "plug-and-play")
"""Methods that are there to undo blur or loss, and take noise away besides."""

SMALLEST = 16
"""Sides below that have too few pixels to find noise in."""

SHOWN = 40
"""Images on the page, at most."""

JUDGING = 3
"""How many tiles the judgement of an image takes about as long as."""

RECORD_SECONDS = 10.0
"""How often the record is brought up to date, so that little is done again after a crash."""


@dataclass
class Restored:
    """What was written, and how.

    record  what ``restored.json`` holds: the method, what was asked, and of each image what was found and judged
    images  the files written, now or before
    skipped  the names of the images that an earlier run of the same command had done
    left_out  of each file that could not be restored, by its name, why
    state   ``finished`` or ``stopped``
    """

    directory: Path
    record: dict[str, Any]
    images: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    state: str = "running"

    @property
    def page(self) -> Path:
        """The page with each image before and after, and what was removed."""
        return self.directory / PAGE

    def keep(self, told: dict[str, dict[str, Any]], items: Sequence[Item]) -> None:
        """Bring ``restored.json`` up to date with what is ``told`` of each of ``items`` that is done, by its name."""
        images = [told[item.name] for item in items if item.name in told]
        self.images = [self.directory / one["file"] for one in images]
        self.record |= {
            "state": self.state,
            "images": images,
            "left_out": self.left_out,
            "peak_memory": restore_again.peak(),
        }
        directories.write_json(self.directory / RECORD, self.record)


def restore(
    method: str,
    source: str | Path,
    *,
    degradation: str | None = None,
    noise: float | None = None,
    mask: str | Path | None = None,
    truth: str | Path | None = None,
    options: dict[str, Any] | None = None,
    tile: int | None = None,
    check: bool = True,
    out: str | Path | None = None,
    memory: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Restored:
    """Mend a damaged image, or all of a folder, and write each under its own name. They are only read.

    method       ``auto`` (by what is found in each image), a name of :data:`limner.restoration.CATALOGUE`, or a run of
                 ``train restorer`` or ``adapt restore``
    degradation  what was done to the images, as text (:mod:`limner.degradations.text`) without ranges; ``noise`` the
                 standard deviation of their noise on the scale 0–255; ``mask`` an image, black where pixels are lost,
                 or a folder of such under the same names. What is not told is estimated from each image
                 (:mod:`limner.restoration.estimate`)
    truth        a folder (or one file) of the clean images under the same names, to score by
    options      of the method, see :func:`limner.restoration.options_of`
    tile         the side of the parts that a large image is restored in, 0 for none
    check        judge each image (:mod:`limner.restoration.judge`), which takes two restorations of a small part

    ``out`` (``None``: a new directory in ``runs``) gets the images, of the same size, type, alpha, EXIF and colour
    profile (as PNG where the format would lose something), ``restored.json`` and ``report.html``. Stopped by Ctrl-C,
    what is done stays, and the same call with the same ``out`` goes on: an image of the same bytes whose result is
    there is skipped. Raises :class:`LimnerError` where nothing could be restored.
    """
    from limner.reports.restored import write
    from limner.restoration.picture_file import target_name
    from limner.restoration.tiles import TILE
    from limner.tasks.convert import Unusable
    from limner.verbs.line import listeners

    if tile is not None and tile < 0:
        raise LimnerError(f"a tile of {tile} pixels cannot be; give a --tile from 0, which is none")
    if noise is not None and not 0 <= noise <= 255:
        raise LimnerError(f"a noise of {noise:g} cannot be; give --noise from 0 to 255")
    if truth is not None and not Path(truth).expanduser().exists():
        raise LimnerError(f"there is nothing at {truth}; give as truth a folder of clean images of the same names")
    items, root = restore_asked.files(source)
    masks = None if mask is None else restore_asked.masks_at(mask)
    settled = restore_asked.settled(degradation)
    asked = Asked(settled, noise, masks, restore_asked.remarks_on(settled))
    given = None if method == "auto" else restore_asked.method_of(method, options or {}, memory)
    if given is None and options:
        raise LimnerError("auto takes no options; name a method to give it some")
    restore_asked.check_tile(given, tile)
    restore_asked.check_mask(given, masks)
    tile = TILE if tile is None else tile
    request = {
        "verb": "restore", "method": method, "method_sha256": restore_again.method_sha256(given),
        "options": options or {}, "source": str(source), "degradation": asked.degradation, "noise": noise,
        "mask": None if mask is None else str(mask),
        "mask_sha256": None if masks is None else masks.sha256(),
        "truth": None if truth is None else str(truth), "tile": tile, "check": check, "seed": seed,
    }  # fmt: skip
    earlier = restore_again.place(out, f"{Path(source).name}-restored", request, force)
    directory = earlier.directory
    if directory.resolve() == root.resolve():
        raise LimnerError(f"{directory} is where the images are, and these are only read; choose another --out")
    names = restore_asked.own_names([target_name(item.name) for item in items], items)
    if not earlier.began:
        directories.begin(directory, request)
    made = Restored(directory, {"state": "running", "asked": request, "images": []})
    told = dict(earlier.images)
    shown: list[Shown] = []
    bars = listeners(progress, "restoring")
    for bar in bars:
        bar.on_start(100 * len(items), 0.0)
    recorded = float("-inf")
    try:
        for done, (item, name) in enumerate(zip(items, names, strict=True)):
            one = _One(item, directory / name, asked, given, tile, check, seed, truth, done, bars)
            pictures: Shown | None = None
            try:
                source_sha256 = one.source_sha256()
                again = earlier.made(item, name, source_sha256)
                if again is None:
                    found, pictures = one.restore()
                    told[item.name] = {"image": item.name, "file": name, "source_sha256": source_sha256, **found}
                else:
                    made.skipped.append(item.name)
                    if len(shown) < SHOWN:
                        pictures = one.shown(again)
            except (LimnerError, Unusable) as reason:
                made.left_out[item.name] = str(reason)
                told.pop(item.name, None)
                continue
            if pictures is not None and len(shown) < SHOWN:
                shown.append(pictures)
            if again is None and time.monotonic() - recorded > RECORD_SECONDS:
                made.keep(told, items)
                recorded = time.monotonic()
        made.state = "finished"
    except KeyboardInterrupt:
        made.state = "stopped"
    finally:
        for bar in bars:
            bar.on_end(made.state if made.state != "running" else "failed")
    if not told and made.state == "finished":
        if not earlier.began:
            directories.abandon(directory)
        raise LimnerError(f"nothing could be restored; {'; '.join(restore_asked.told_once(made.left_out, most=3))}")
    made.keep(told, items)
    write(made.page, made.record, shown)
    return made


# ── One image ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _One:
    """One file on its way; ``given`` is the method, ``None`` for auto."""

    item: Item
    path: Path
    asked: Asked
    given: Restorer | None
    tile: int
    check: bool
    seed: int
    truth: str | Path | None
    done: int
    bars: tuple[Any, ...]

    def source_sha256(self) -> str:
        """Of the bytes of the damaged file."""
        with self.item.open() as file:
            return hashlib.sha256(file.read()).hexdigest()

    def restore(self) -> tuple[dict[str, Any], Shown]:
        """Read, estimate, restore, judge and write; what ``restored.json`` says of it, and what the page shows."""
        from limner.reports.restored import thumbnails
        from limner.restoration import picture_file, picture_writing, tiles
        from limner.restoration.estimate import estimate
        from limner.restoration.judge import judge, takes_texture
        from limner.restoration.scores import against
        from limner.restoration.stripes import Destriping, without
        from limner.seeds import generator

        begun = time.monotonic()
        with self.item.open() as file:
            picture = picture_file.read(file)
        damaged = picture.images()
        own, about_mask = (None, []) if self.asked.masks is None else self.asked.masks.of(self.item.name, damaged)
        seen = picture.seen()
        mask = seen if own is None else own if seen is None else own * seen
        found = estimate(damaged, mask, self.seed)
        if mask is not None and (own is not None or found.lost <= 1 - float(mask.mean()) + 1e-6):
            found = replace(found, lost=0.0)  # that is told, not found
        told: dict[str, Any] = {
            "size": list(damaged.shape[:0:-1]), "found": found.degradation, "left_as_it_was": False, "tiles": 1,
        }  # fmt: skip
        told["sentences"] = [f"This file {note}." for note in picture.notes] + about_mask
        told["sentences"] += self.asked.remarks
        told["sentences"] += found.sentences(self.asked.noise is not None) if self.asked.degradation is None else []
        plain, stripes = damaged, self._stripes(found)
        if stripes is not None:
            plain = without(damaged, stripes, mask)
            told["stripes"] = {"sigma": 255 * stripes.level, "direction": stripes.direction}
            told["sentences"].append("The stripes were taken away first; what follows is of the rest.")
        knowledge, parts = None, 1
        if why := self._leave(damaged, found, mask, own is not None):
            restored = damaged
            told |= {"method": "none", "left_as_it_was": True}
            told["sentences"] += why
        elif stripes is not None and self.given is None and self._only_striped(found, own):
            restored = plain
            told |= {"method": "destriping", "degradation": found.degradation}
        else:
            knowledge = self._knowledge(mask, own is not None, plain, found, told["sentences"])
            restorer = self.given or restore_asked.by_what_was_found(knowledge, self.asked.noise is not None)
            if refused := restorer.handles(knowledge):
                raise LimnerError(refused)
            if restorer.name in UNDOING and knowledge.operator is None and knowledge.mask is None:
                told["sentences"].append(
                    f"{restorer.name} only took noise away, as no --degradation or --mask told of blur or lost pixels."
                )
            tile = 0 if isinstance(restorer, Destriping) else self.tile  # stripes are of the whole image
            many = tiles.count_of(restorer, plain, knowledge, tile)
            told |= {"method": restorer.name, "degradation": knowledge.degradation, "tiles": many}
            told["noise"] = None if knowledge.noise is None else 255 * knowledge.noise
            parts = many + (JUDGING if self.check else 0)
            restored = self._mended(restorer, plain, knowledge, tile, parts)
            if self.given is None and found.kind == "gaussian" and takes_texture(restorer, plain, restored, knowledge):
                restorer = restore_asked.by_what_was_found(knowledge, told=True)
                restored = self._mended(restorer, plain, knowledge, tile, parts)
                told["method"] = restorer.name
                told["sentences"].append(
                    "The starter would have taken texture for noise, so the denoiser, told the noise, took its place."
                )
        seconds = time.monotonic() - begun
        if self.check and knowledge is not None and not isinstance(restorer, Destriping):
            judged = judge(
                restorer, plain, restored, knowledge, generator(self.seed, "judge", self.item.name),
                apart=found.kind != "coarse" and stripes is None,  # of stripes something stays, no one knows how much
            )  # fmt: skip
            told["judgement"] = {name: value for name, value in vars(judged).items() if value is not None}
            told["sentences"] += judged.sentences()
        clean, missing = self._truth()
        told["sentences"] += missing
        if clean is not None:
            told["scores"], sentences = against(damaged, restored, clean)
            told["sentences"] += sentences
        begun = time.monotonic()
        picture_writing.write(self.path, picture, restored)  # last, so that Ctrl-C leaves no file that no one tells of
        told["sha256"] = restore_again.sha256_of(self.path)
        told["seconds"] = round(seconds + time.monotonic() - begun, 2)
        self._progress(1.0)
        return told, thumbnails(self.item.name, damaged, restored, clean, told)

    def shown(self, told: dict[str, Any]) -> Shown:
        """What the page shows of an image that was done before, from the files."""
        from limner.reports.restored import thumbnails
        from limner.restoration import picture_file

        with self.item.open() as file, self.path.open("rb") as result:
            damaged, restored = (picture_file.read(one).images() for one in (file, result))
        self._progress(1.0)
        return thumbnails(self.item.name, damaged, restored, self._truth()[0], told)

    def _mended(
        self, restorer: Restorer, damaged: torch.Tensor, knowledge: Knowledge, tile: int, parts: int
    ) -> torch.Tensor:
        """What the restorer makes of it; progress is told in ``parts``, tiles and what judging takes."""
        from limner.restoration import tiles
        from limner.seeds import generator

        done = count(1)
        return tiles.restore(
            restorer, damaged, knowledge, generator(self.seed, "restore", self.item.name), tile=tile,
            on_tile=lambda: self._progress(next(done) / parts),
        )  # fmt: skip

    def _progress(self, share: float) -> None:
        for bar in self.bars:
            bar.on_step(100 * self.done + int(100 * share), {})

    def _stripes(self, found: Found) -> Stripes | None:
        """The stripes to take away first: those that the user tells of, or else that were found. None for a method that
        takes them away itself, as one that learned to."""
        from limner.restoration.stripes import Destriping

        if isinstance(self.given, Destriping) or "stripes(" in getattr(self.given, "learned", ""):
            return None
        if self.asked.degradation is not None:
            return restore_asked.stripes_told(self.asked.degradation)
        return found.stripes

    def _only_striped(self, found: Found, mask: torch.Tensor | None) -> bool:
        """Whether nothing but stripes is wrong, as was told, or else found."""
        if self.asked.degradation is not None or self.asked.noise is not None:
            return restore_asked.only_stripes(self.asked.degradation) and not self.asked.noise and mask is None
        return found.clean_without_stripes

    def _leave(self, damaged: torch.Tensor, found: Found, mask: torch.Tensor | None, masked: bool) -> list[str]:
        """Why the image is left as it was, in sentences; none where it is not."""
        whole = mask is None and found.mask is None and found.stripes is None
        if self.asked.noise == 0 and self.asked.degradation is None and whole:
            return ["It was told that there is no noise.", "So it was left as it was."]
        if masked or self.asked.degradation is not None or self.asked.noise is not None:
            return []
        if found.noise is None and mask is None and min(damaged.shape[2:]) < SMALLEST:
            return ["It is too small to tell noise from the picture.", "So it was left as it was."]
        if not found.clean or getattr(self.given, "blind", False):
            return []
        alike = bool((damaged == damaged[..., :1, :1]).all())
        if alike:
            return ["Its intensities are all the same.", "So it was left as it was."]
        return [
            "It looks clean already.", "So it was left as it was.",
            "To restore it all the same, give --noise, or starter as the method.",
        ]  # fmt: skip

    def _knowledge(
        self, given: torch.Tensor | None, masked: bool, damaged: torch.Tensor, found: Found, told: list[str]
    ) -> Knowledge:
        """What the user says of the damage, and beyond that what was found; ``given`` tells which pixels are whole, by
        a mask of the user's where it is ``masked``."""
        from limner.degradations.base import shape_of
        from limner.restoration import Knowledge

        mask, noise = found.mask, found.noise
        knowledge = Knowledge(noise, None, mask, found.degradation)
        if self.asked.degradation is not None:
            knowledge, loses = restore_asked.told_by(self.asked.degradation, shape_of(damaged), damaged, noise)
            mask = found.mask if loses else given
            if knowledge.mask is not None:
                mask = knowledge.mask if mask is None else knowledge.mask * mask
        if masked:
            mask = given
        noise = knowledge.noise
        if self.asked.noise is not None:
            noise = self.asked.noise / 255
            if self.asked.degradation is None:
                knowledge = replace(knowledge, degradation=f"gaussian({self.asked.noise:g})")
        if noise is None:
            noise = 0.0
            told.append("The noise was taken to be none.")
        return replace(knowledge, noise=noise, mask=mask)

    def _truth(self) -> tuple[torch.Tensor | None, list[str]]:
        """The clean image of the same name, with whatever ending; ``None`` and a sentence where it is missing."""
        from limner.restoration import picture_file

        if self.truth is None:
            return None, []
        place = Path(self.truth).expanduser()
        if place.is_dir():
            place = restore_asked.of_same_name(place, self.item.name)
        if not place.is_file():
            return None, [f"There is no true image {place}, so it has no score."]
        with place.open("rb") as file:
            return picture_file.read(file).images(), []
