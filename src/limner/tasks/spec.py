"""The data spec: one line of text that names images, understood by every verb.

``KIND[:PATH][,option=value]…`` or simply the path of something that exists:

>>> parse("glyphs,script=greek,size=28").options
{'script': 'greek', 'size': 28}
>>> parse("npz:pack.npz,images=x,labels=char").path
'pack.npz'
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from limner.errors import LimnerError


class Option(NamedTuple):
    """How one option is read from text, and what would be right."""

    read: Callable[[str], Any]
    right: str


def _whole(low: int, high: int = 2**63 - 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read


OPTIONS: dict[str, Option] = {
    "size": Option(_whole(8, 1024), "the side in pixels, from 8 to 1024"),
    "colour": Option(_one_of("grey", "rgb"), "grey or rgb"),
    "fit": Option(_one_of("crop", "pad", "stretch"), "crop, pad or stretch"),
    "part": Option(_one_of("left", "right"), "left or right, a half of each image"),
    "classes": Option(str, "names of classes, as in a+b+c, cat* or 0-9"),
    "limit": Option(_whole(1), "the most images of a class, from 1"),
    "memory_limit": Option(_whole(0), "bytes above which images are mapped from a file, from 0"),
    "images": Option(str, "the name of the array or column of images"),
    "labels": Option(str, "the name of the array or column of labels (for idx, the path of the label file)"),
    "groups": Option(str, "the name of the array with the group of each image"),
    "split": Option(str, "the name of a split, as in train"),
    "per_class": Option(_whole(1, 100_000), "images of each class, from 1"),
    "script": Option(str, "names of scripts, as in greek+cyrillic"),
    "kinds": Option(_whole(2, 100_000), "how many kinds, from 2"),
    "characters": Option(_whole(1), "the most classes, from 1"),
    "seed": Option(_whole(0), "a whole number from 0"),
}
"""Every option of every kind."""

COMMON = ("size", "colour", "fit", "classes", "limit", "memory_limit")
"""Options that every kind understands."""


class Kind(NamedTuple):
    """One kind of source: a line of help, what stands after the colon, and its own options."""

    help: str
    path: str
    options: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "glyphs": Kind(
        "characters of many scripts, drawn as by many hands; options script, per_class, characters, seed",
        "",
        ("script", "per_class", "characters", "seed"),
    ),
    "digits": Kind("1,797 handwritten digits in 10 classes (scikit-learn)", ""),
    "sprites": Kind(
        "small coloured things drawn from random fields; options kinds, per_class, seed",
        "",
        ("kinds", "per_class", "seed"),
    ),
    "leaves": Kind(
        "patches of random scenes, much as photographs, each scene a class; options kinds, per_class, seed",
        "",
        ("kinds", "per_class", "seed"),
    ),
    "photos": Kind("patches of photographs, each photograph a class (scikit-image)", "", ("per_class", "seed")),
    "folder": Kind("a folder of images; sub-folders, where there are any, are the classes", "PATH", ("part",)),
    "zip": Kind("a zip archive of images, read as a folder without unpacking it", "PATH", ("part",)),
    "npz": Kind(
        "a NumPy archive; options images, labels, groups name its arrays",
        "PATH",
        ("images", "labels", "groups", "part"),
    ),
    "idx": Kind(
        "an IDX file (MNIST's format), plain or .gz; option labels is the label file", "PATH", ("labels", "part")
    ),
    "hf": Kind(
        "a Hugging Face dataset: a folder here or a name on the hub; options split, images, labels",
        "NAME-or-PATH",
        ("split", "images", "labels", "part"),
    ),
}
"""Every kind of source."""


@dataclass(frozen=True)
class Spec:
    """A data spec taken apart: its kind, its path (empty where the kind has none), and its options, checked."""

    kind: str
    path: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The text that gives this spec again.

        >>> str(parse("digits,size=16", colour="grey"))
        'digits,size=16,colour=grey'
        """
        head = f"{self.kind}:{self.path}" if self.path else self.kind
        return ",".join([head, *(f"{name}={value}" for name, value in self.options.items())])


def parse(text: str, **overrides: Any) -> Spec:
    """Take a data spec apart; ``overrides`` replace options of the same name in the text.

    Only trailing ``name=value`` parts are options, so that a path may hold commas. Raises :class:`LimnerError` for an
    unknown kind or option, with the nearest right word, and for a value that cannot be used.
    """
    text = text.strip()
    kind, path, written = _divide(text)
    known = (*COMMON, *KINDS[kind].options)
    options = {}
    for name, value in {**written, **overrides}.items():
        if value is None:
            continue
        if name not in known:
            raise LimnerError(f"{kind} has no option {name!r}{nearest(name, known)}; it has: {', '.join(known)}")
        try:
            options[name] = OPTIONS[name].read(str(value))
        except ValueError:
            raise LimnerError(
                f"{name}={value} cannot be used in {text!r}; right would be: {OPTIONS[name].right}"
            ) from None
    if KINDS[kind].path and not path:
        raise LimnerError(f"{kind} needs a path, as in {kind}:{KINDS[kind].path}")
    return Spec(kind, path, options)


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that names the known word nearest to ``word``, or nothing where none is near.

    >>> nearest("sise", ["size", "fit"])
    ' (did you mean size?)'
    """
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def _divide(text: str) -> tuple[str, str, dict[str, str]]:
    """Kind, path and written options of a spec."""
    if not text:
        raise LimnerError(f"a data spec is empty; give a path, or one of: {', '.join(KINDS)}")
    kind, colon, rest = text.partition(":")
    if kind in KINDS and colon:
        if not KINDS[kind].path:
            raise LimnerError(f"{kind} takes no path; write {kind}, or {kind},option=value, instead of {text!r}")
        path, options = _options(rest, KINDS[kind])
        return kind, path, options
    word, *parts = text.split(",")
    if word in KINDS and not Path(text).exists():
        pairs = [part.partition("=") for part in parts]
        for name, equals, _ in pairs:
            if not equals:
                raise LimnerError(f"{name!r} in {text!r} is not an option; options are written name=value")
        return word, "", {name.strip(): value.strip() for name, _, value in pairs}
    path, options = _options(text, None)
    if Path(path).expanduser().exists():
        return _kind_of(Path(path).expanduser()), path, options
    if re.fullmatch(r"[A-Za-z]+", kind) and len(kind) > 1 and (colon or not re.search(r"[/\\.]", text)):
        raise LimnerError(f"there is no kind of data {kind!r}{nearest(kind, KINDS)}; there are: {', '.join(KINDS)}")
    raise LimnerError(
        f"{path} does not exist; give the path of a folder, .zip, .npz or idx file, or one of: {', '.join(KINDS)}"
    )


def _options(text: str, kind: Kind | None) -> tuple[str, dict[str, str]]:
    """Split the trailing options from a path."""
    options: dict[str, str] = {}
    known = OPTIONS if kind is None else (*COMMON, *kind.options)
    while not Path(text).expanduser().exists():
        path, comma, last = text.rpartition(",")
        name, equals, value = last.partition("=")
        if not comma or not equals or not re.fullmatch(r"\s*[a-z_]+\s*", name):
            break
        if name.strip() not in known and not any(Path(path[:end]).expanduser().exists() for end in _ends(path)):
            break
        options = {name.strip(): value.strip(), **options}
        text = path
    return text, options


def _ends(path: str) -> list[int]:
    """Where a path that holds commas may end."""
    return [place.start() for place in re.finditer(",", path)] + [len(path)]


def _kind_of(path: Path) -> str:
    """The kind of data at a path that exists, by what it is."""
    if path.is_dir():
        saved = any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json"))
        return "hf" if saved else "folder"
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix.lower() in (".npz", ".zip"):
        return path.suffix.lower()[1:]
    if start == b"PK\x03\x04":
        return "zip"
    if start[:3] == b"\x00\x00\x08" or (start[:2] == b"\x1f\x8b" and re.search(r"idx\d|ubyte", path.name)):
        return "idx"
    if path.suffix.lower() == ".parquet":
        return "hf"
    raise LimnerError(f"{path} is not a folder, .zip, .npz or idx file; give a folder of images, or name its kind")
