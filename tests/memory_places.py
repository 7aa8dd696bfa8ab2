"""Where tests put memories: a SQLite file, and a schema of its own on a PostgreSQL that the tests start themselves."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

GIVEN = "LIMNER_TEST_POSTGRES"
"""The environment's URL of a database to test on, where no server is to be started."""


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


@pytest.fixture(scope="session")
def private_server() -> Iterator[Server]:
    """The server, started when the first test asks for it."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'limner[postgres]'")
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (no initdb): apt-get install postgresql")
    server = Server(folder)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database that exists."""
    return os.environ.get(GIVEN) or request.getfixturevalue("private_server").url


@pytest.fixture(params=["sqlite", "postgresql"])
def memory_at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """``memory_at(NAME)`` is where a memory of that name may lie: the same for the same name, in one test."""
    if request.param == "sqlite":
        yield lambda name: str(tmp_path / name)
        return
    url = request.getfixturevalue("postgres_url")
    prefix = f"test_{secrets.token_hex(6)}_"
    asked: set[str] = set()

    def at(name: str) -> str:
        asked.add(prefix + name)
        told = {"schema": prefix + name, "artifacts": str(tmp_path / f"{name}.artifacts")}
        return make_url(url).update_query_dict(told).render_as_string(hide_password=False)

    yield at
    drop(url, asked)


def drop(url: str, schemas: set[str]) -> None:
    """Remove the schemas with all that is in them."""
    import psycopg

    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        for schema in schemas:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
