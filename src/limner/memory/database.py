"""Where a memory lies and how it is reached: location, engine, transactions, migrations."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from limner.errors import LimnerError
from limner.memory.schema import REVISION

PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""

_LOCK = 0x6C696D6E  # "limn": the advisory lock that serialises writers on PostgreSQL


@dataclass(frozen=True)
class Location:
    """The database's URL, the folder of its artifacts, and what to call it in a message."""

    url: URL
    artifacts: Path
    label: str


def locate(location: str | Path | None = None) -> Location:
    """Where a memory lies: a folder (``memory.db`` inside), a ``.db`` file, or a SQLAlchemy URL.

    ``None`` means the environment's ``LIMNER_MEMORY``, else the platform's user data folder. The artifacts lie beside
    a SQLite file; for a server they lie in the URL's ``?artifacts=FOLDER``, else ``LIMNER_ARTIFACTS``, else the
    platform's user data folder.

    >>> locate("/tmp/here").url.database, str(locate("/tmp/here.db").artifacts)
    ('/tmp/here/memory.db', '/tmp/here.artifacts')
    """
    from platformdirs import user_data_path

    chosen = location or os.environ.get("LIMNER_MEMORY") or user_data_path("limner")
    if "://" in str(chosen):
        try:
            url = make_url(str(chosen))
        except exc.ArgumentError as problem:
            raise LimnerError(
                f"{chosen} is not a database URL; right would be a folder, or postgresql://…"
            ) from problem
        folder = url.query.get("artifacts") or os.environ.get("LIMNER_ARTIFACTS")
        url = url.difference_update_query(["artifacts"])
        if url.get_backend_name() == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
            return Location(url, Path(str(folder or user_data_path("limner") / "artifacts")), url.render_as_string())
        if url.get_backend_name() != "sqlite":
            raise LimnerError(
                f"a memory cannot lie in {url.get_backend_name()}; right would be a folder, or postgresql://…"
            )
        if not url.database or url.database == ":memory:":
            raise LimnerError("a memory must outlive the process; give a folder or a .db file")
        path = Path(url.database).expanduser()
        return Location(url, Path(str(folder)) if folder else path.with_suffix(".artifacts"), str(path))
    path = Path(chosen).expanduser().absolute()
    if path.suffix != ".db" and not path.is_file():
        path = path / "memory.db"
    return Location(URL.create("sqlite", database=str(path)), path.with_suffix(".artifacts"), str(path))


class Database:
    """An engine whose writers take turns: SQLite in WAL mode with BEGIN IMMEDIATE, PostgreSQL with an advisory lock."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.is_sqlite = location.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            try:
                Path(str(location.url.database)).parent.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise LimnerError(
                    f"the memory {location.label} cannot be made there ({problem.strerror}); give another --memory"
                ) from problem
        try:
            self._engine = self._make_engine()
        except ImportError as problem:
            raise LimnerError(
                "a memory in PostgreSQL needs psycopg; install it with: pip install 'limner[postgres]'"
            ) from (problem)
        self._writing = self._engine.execution_options(limner_writes=True)
        with self.told():
            self._migrate()

    def _make_engine(self) -> Engine:
        if not self.is_sqlite:
            return create_engine(self.location.url)
        engine = create_engine(self.location.url, connect_args={"timeout": PATIENCE, "check_same_thread": False})

        @event.listens_for(engine, "connect")
        def on_connect(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # SQLAlchemy's begin event below opens each transaction instead
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten, too
            _use_wal(connection)

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("limner_writes")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing."""
        with self.told(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that no other writer overlaps; all of it is kept, or on any error nothing."""
        with self.told(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            self._take_turn(session.connection())
            yield session

    def _take_turn(self, connection: Connection) -> None:
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn the database's own complaints into a sentence."""
        label = self.location.label
        try:
            yield
        except exc.DBAPIError as problem:
            said = str(problem.orig).strip().splitlines()[0]
            remedies = {
                "locked": "another process has been writing for a minute; try again when it is done",
                "full": "the disk is full; free space or give another --memory",
                "readonly": "it may only be read; change its permissions or give another --memory",
                "unable to open": "it cannot be opened; check the path and its permissions",
                "not a database": "the file is not a memory of Limner; give a folder or another .db file",
                "malformed": "the file is damaged; restore it from a copy, or import an export into a new one",
                "I/O error": "the disk refuses; check its space and its health",
                "onnection": "the server does not answer; check the URL and that it runs",
            }
            remedy = next((remedy for sign, remedy in remedies.items() if sign in said), None)
            if remedy is None:
                raise
            raise LimnerError(f"the memory {label} could not be used ({said}): {remedy}") from problem

    def revision(self, connection: Connection) -> str | None:
        """The migration that the database is at; ``None`` for an empty database."""
        tables = inspect(connection).get_table_names()
        if "alembic_version" in tables:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if tables:
            raise LimnerError(f"{self.location.label} is a database, but not a memory of Limner; give another --memory")
        return None

    def _migrate(self) -> None:
        with self._engine.connect() as connection:
            if self.revision(connection) == REVISION:
                return
        with self._writing.begin() as connection:  # one process migrates; the others wait here and find it done
            self._take_turn(connection)
            found = self.revision(connection)
            if found != REVISION:
                upgrade(connection, found, self.location.label)

    def settle(self) -> None:
        """Move the write-ahead log into the database and empty it, where no reader is in the way."""
        if self.is_sqlite:
            with self.told(), self._engine.connect() as connection:
                connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead logging: readers and one writer at once. The switch itself ignores SQLite's own timeout."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            if "locked" not in str(problem) or time.monotonic() > last:
                raise
            time.sleep(0.01)


def upgrade(connection: Connection, found: str | None, label: str) -> None:
    """Bring the database from the migration ``found`` to the newest, within the connection's transaction.

    Raises :class:`LimnerError` where ``found`` is unknown, which means that a newer Limner made it.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in known:
        raise LimnerError(
            f"the memory {label} was made by a newer version of Limner (schema {found}, this one knows up to "
            f"{REVISION}); upgrade Limner, or give another --memory"
        )
    with EnvironmentContext(
        config, scripts, fn=lambda now, _context: scripts._upgrade_revs("head", now)
    ) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
