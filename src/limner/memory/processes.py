"""Is the process that began a run still alive? Answered without any further package."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path


def here() -> str:
    """The name of the place in which process numbers mean what they mean here: host, and process namespace if any."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {namespace}"


def started(process: int) -> str | None:
    """When the process began, as text that no other process with the same number shares; ``None`` if there is none.

    Process numbers are used again, so a number alone does not prove that a process is alive.

    >>> started(os.getpid()) == started(os.getpid())
    True
    >>> started(2**30) is None
    True
    """
    status = Path(f"/proc/{process}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        if fields[0] in "ZX":  # dead, and only waiting for its parent to notice
            return None
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {fields[19]}"
    if os.name == "posix":
        told = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=False)
        return told.stdout.strip() or None
    return _started_on_windows(process)


def _started_on_windows(process: int) -> str | None:
    query = f"(Get-Process -Id {int(process)} -ErrorAction SilentlyContinue).StartTime.Ticks"
    told = subprocess.run(["powershell", "-NoProfile", "-c", query], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None
