"""Runs on the Hugging Face Hub: uploaded with their model card, and loaded again as ``hf:NAME/NAME``."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from limner.errors import LimnerError

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.memory import Memory
    from limner.model_file import StoredModel

PREFIX = "hf:"
FILES = ("run.json", "model.safetensors", "best.safetensors", "curve.csv", "README.md", "samples/*.png")
"""All that is ever uploaded or downloaded: weights as safetensors, words and pictures; nothing that can be executed."""

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?")
Answer = TypeVar("Answer")


class Pushed(NamedTuple):
    """What loads the run again, its page on the hub, and the files that were uploaded."""

    reference: str
    address: str
    files: list[str]


def push(
    model: str, repository: str, *, private: bool = False, licence: str = "unknown", memory: str | None = None
) -> Pushed:
    """Upload a run to ``repository`` (``NAME/NAME``) on the Hugging Face Hub; it is made where it is not there yet.

    The token is that of ``hf auth login`` or ``HF_TOKEN``. Of the run goes its directory without what tells of this
    machine: no data, no report, no folder names.

    licence  of the weights, as the hub names it (``mit``, ``cc0-1.0``…), for the card

    Raises :class:`LimnerError` where huggingface_hub is missing, there is no token, or the hub refuses or cannot be
    reached.
    """
    from limner.verbs.load import load

    name = checked(repository)
    if "@" in name:
        raise LimnerError(f"a revision is the hub's to give, so push to {name.partition('@')[0]}, without {name}'s")
    hub = _library()
    run = load(model, memory=memory)
    with tempfile.TemporaryDirectory() as folder:
        stage(run, Path(folder), f"{PREFIX}{name}", licence)
        files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
        api = hub.HfApi(library_name="limner")
        _asked(name, "push to", lambda: api.create_repo(name, private=private, exist_ok=True, repo_type="model"))
        _asked(
            name,
            "push to",
            lambda: api.upload_folder(
                repo_id=name,
                folder_path=folder,
                allow_patterns=list(FILES),
                commit_message=f"Limner run {run.id}",
                repo_type="model",
            ),
        )
    return Pushed(f"{PREFIX}{name}", f"https://huggingface.co/{name}", files)


def stage(run: Run, folder: Path, place: str, licence: str) -> None:
    """Write into ``folder`` what is uploaded: the run and its card, without the folders of this machine."""
    from dataclasses import replace

    from limner.reports import card, words

    lineage = {name: value for name, value in run.lineage.items() if name not in ("directory", "hub")}
    source, task = words.without_folders(run.source), words.without_folders(run.task_name)
    shown = replace(run, source=source, task_name=task, lineage=lineage)
    shown.save(folder)
    card.write(folder, shown, shown.scores, licence, place)


def fetch(reference: str) -> Path:
    """The directory of the run ``hf:NAME/NAME[@REVISION]``, downloaded, or as it was downloaded before.

    Raises :class:`LimnerError` where huggingface_hub is missing, or the hub has no such run or cannot be reached.
    """
    name, _, revision = checked(reference.removeprefix(PREFIX)).partition("@")
    hub = _library()
    found = _asked(
        name,
        "load from",
        lambda: hub.snapshot_download(
            name, revision=revision or None, allow_patterns=list(FILES), library_name="limner"
        ),
    )
    return Path(found)


def load(reference: str) -> Run:
    """The run ``hf:NAME/NAME[@REVISION]``; its lineage tells where it was found."""
    from limner.engine import Run

    place = fetch(reference)
    if not (place / "run.json").is_file():
        raise LimnerError(f"{reference} holds no run of Limner: it has no run.json; give one that limner push uploaded")
    run = Run.load(place)
    run.lineage |= {"hub": reference, "directory": str(place)}
    return run


def start(reference: str, memory: Memory) -> StoredModel:
    """The model of the run ``hf:NAME/NAME[@REVISION]``, to start from; the memory keeps it under that name."""
    from limner.learners import describe

    found = load(reference)
    sha256 = memory.put_model(found.params, describe(found.learner), name=reference, about={"run": found.id})
    return memory.get_model(sha256)


def checked(name: str) -> str:
    """``name``, if a repository can be called so: ``NAME/NAME``, perhaps with ``@REVISION``.

    >>> checked("someone/digits@main")
    'someone/digits@main'
    """
    if not _NAME.fullmatch(name):
        raise LimnerError(f"{name!r} is no repository on the hub; give NAME/NAME, for example someone/digits")
    return name


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise LimnerError(
            "the Hugging Face Hub needs the library huggingface_hub; install it with: pip install 'limner[hub]'"
        ) from None
    return huggingface_hub


def _asked(name: str, what: str, ask: Callable[[], Answer]) -> Answer:
    """What the hub answers. Raises :class:`LimnerError`, with its reason, where it refuses or is out of reach."""
    from huggingface_hub import errors

    try:
        return ask()
    except (errors.RepositoryNotFoundError, errors.LocalTokenNotFoundError, errors.GatedRepoError) as problem:
        raise LimnerError(
            f"the hub has no {name} that you may {what}; check the name, and log in with: hf auth login "
            "(or set HF_TOKEN)"
        ) from problem
    except errors.RevisionNotFoundError as problem:
        raise LimnerError(f"{name} has no such revision on the hub; leave @REVISION out for the newest") from problem
    except errors.HfHubHTTPError as problem:
        if getattr(problem.response, "status_code", None) in (401, 403):
            raise LimnerError(
                f"the hub does not let you {what} {name}; log in with: hf auth login (or set HF_TOKEN)"
            ) from problem
        raise LimnerError(f"the hub refused: {_first_line(problem)}; try again later") from problem
    except _unreachable() as problem:
        raise LimnerError(
            f"the hub cannot be reached to {what} {name} ({_first_line(problem)}); check the connection and try again"
        ) from problem


def _unreachable() -> tuple[type[Exception], ...]:
    """What the hub's client raises without a connection; which client it is depends on its version."""
    found: list[type[Exception]] = [OSError]
    for name in ("httpx", "httpx2"):
        try:
            found.append(__import__(name).HTTPError)
        except ImportError:
            continue
    return tuple(found)


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0][:200]
