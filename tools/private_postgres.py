"""A PostgreSQL of one's own, for tests and benchmarks: in a temporary folder, gone when it is done with."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class Server:
    """A private PostgreSQL in a temporary folder, heard on a socket there only; it can go away and come back."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="limner-postgres-"))
        self._user: dict[str, Any] = {}
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # the server refuses to be run by root
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self._folder, "nobody", "nogroup")
        self._call("initdb", "--username=limner", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8")
        self.come_back()

    @property
    def url(self) -> str:
        return f"postgresql://limner@/postgres?host={self._folder}"

    def come_back(self) -> None:
        settings = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        self._call("pg_ctl", "--wait", f"--options={settings}", f"--log={self._folder}/log", "start")

    def go_away(self) -> None:
        self._call("pg_ctl", "--wait", "--mode=immediate", "stop")

    def remove(self) -> None:
        self.go_away()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, program: str, *arguments: str) -> None:
        """Output goes to a file: the server keeps it open, and a pipe would never end."""
        command = [str(self._binaries / program), f"--pgdata={self._folder}/data", *arguments]
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(command, cwd=self._folder, stdout=said, stderr=said, check=False, **self._user)
            said.seek(0)
            assert done.returncode == 0, said.read().decode()


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them out of the path."""
    found = [Path(path).resolve().parent for path in filter(None, [shutil.which("initdb")])]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(found) if (folder / "pg_ctl").exists()), None)
