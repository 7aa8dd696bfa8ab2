"""Where tests put memories: a SQLite file, and a schema of its own on a PostgreSQL that the tests start themselves."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from private_postgres import Server, binaries
from sqlalchemy.engine import make_url

GIVEN = "LIMNER_TEST_POSTGRES"
"""The environment's URL of a database to test on, where no server is to be started."""


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
