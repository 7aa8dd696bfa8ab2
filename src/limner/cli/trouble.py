"""What goes wrong outside the verbs, told as plainly: mistyped commands, and what the machine refuses."""

from __future__ import annotations

import difflib
import errno
import os
import re

import typer

MISTYPED: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser raises for an unknown command or option, or a missing or unreadable argument."""

SENTENCES = {
    errno.ENOSPC: "there is no space left while writing to {where}; free some, or choose another place with --out",
    errno.EDQUOT: "your disk quota ended while writing to {where}; free some, or choose another place with --out",
    errno.EACCES: "no permission for {where}; choose a place that you may read and write with --out or --memory",
    errno.EPERM: "the system does not allow this at {where}; choose a place of your own with --out or --memory",
    errno.EROFS: "{where} is on a read-only disk; choose a place that you may write to with --out or --memory",
    errno.EFBIG: "the file system cannot hold so large a file at {where}; choose another place with --out",
    errno.ENOENT: "{where} is not there, or went away meanwhile; check the path and try again",
    errno.ENOTDIR: "{where} leads through a file as if it were a folder; check the path, or choose another",
    errno.EISDIR: "{where} is a folder where a file is needed; check the path, or choose another",
    errno.ENAMETOOLONG: "the name {where} is too long for the file system; choose a shorter one",
    errno.ELOOP: "{where} is a link that leads back to itself; remove the link, or choose another path",
    errno.EIO: "the disk failed at {where}; check it, and choose another place with --out or --memory",
    errno.EMFILE: "too many files are open to open {where}; close other programs, or raise the limit with ulimit -n",
}
"""What the machine, not Limner, refuses."""


def refused(problem: OSError) -> str | None:
    """The sentence for what the file system refused; ``None`` for what is not known to be its doing.

    >>> refused(OSError(errno.ELOOP, "", "circle"))
    'circle is a link that leads back to itself; remove the link, or choose another path'
    """
    sentence = SENTENCES.get(problem.errno or 0)
    where = str(problem.filename or "a file or the disk")
    return None if sentence is None else sentence.format(where=where if len(where) < 200 else f"{where[:80]}…")


def exhausted(problem: Exception) -> str | None:
    """The sentence for a memory that is too small; ``None`` for any other trouble.

    >>> exhausted(MemoryError()) == exhausted(RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"))
    True
    >>> exhausted(RuntimeError("shapes do not match")) is None
    True
    """
    told = str(problem).lower()
    if isinstance(problem, MemoryError) or "allocate memory" in told or "out of memory" in told:
        return "the machine has not enough memory for this; ask for fewer or smaller images, or a smaller batch"
    return None


def first_to_tell() -> bool:
    """Whether no other of the processes that ``torchrun`` started has told of its trouble; from now on one has.

    All of them make the same mistake, and one sentence is enough. A process that cannot ask the others tells.
    """
    return _told(1) <= 1


def told_by_another() -> bool:
    """Whether one of the processes that ``torchrun`` started has told of its trouble."""
    return _told(0) > 0


def _told(more: int) -> int:
    """How many processes have told of trouble, ``more`` of them now; 0 where there are no others, or none to ask."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ.get("WORLD_SIZE", "1") == "1":
        return 0
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    where, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(where, port, is_master=False, timeout=timedelta(seconds=10), wait_for_workers=False)
        return int(store.add(f"limner told, {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", more))
    except RuntimeError:  # whoever started them has gone away
        return 0


def mistyped(mistake: Exception) -> str:
    """The sentence for a command that could not be understood, and where its help is."""
    context = getattr(mistake, "ctx", None)
    path = context.command_path if context is not None else "limner"
    said = str(mistake.format_message()) if hasattr(mistake, "format_message") else str(mistake)
    said = re.sub(r"\. Did you mean (.*)\?$", r" (did you mean \1?)", said)
    said = re.sub(r"^Invalid value for '?([^:']*)'?: (\w)", lambda found: f"{found[1]}: {found[2].lower()}", said)
    for kinds, told in (("int|integer", "a whole number"), ("float", "a number")):
        said = re.sub(rf"^Invalid value for '?([^:']*)'?: '.*' is not a valid ({kinds})\b.*", rf"\1 takes {told}", said)
    known = getattr(mistake, "possibilities", None)
    if known:
        typed = str(getattr(mistake, "option_name", ""))
        near = difflib.get_close_matches(typed, known, n=1) or sorted(known)[:1]
        said = f"No such option: {typed} (did you mean {near[0]}?)"
    first = said[:1] if said[1:2].isupper() else said[:1].lower()
    return f"{first}{said[1:].rstrip('.')}; see {path} --help"
