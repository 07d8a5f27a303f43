"""The database: one engine, tables that others declare on METADATA, short transactions."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import DDL, Connection, MetaData, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.schema import CreateColumn

from errors import InvalidInput

LOOK_SECONDS = 0.1  # between looks at a database that is busy
BUSY_SECONDS = 10  # how long SQLite waits for another writer
PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # of drivers
METADATA = MetaData()


class Database:
    """Any database SQLAlchemy speaks; SQLite runs in WAL mode so that readers never wait for the writer.

    Parameters
    ----------
    url : str
        SQLAlchemy URL. A SQLite file's folder is made.

    Raises
    ------
    InvalidInput
        When the URL does not parse, or the package that speaks to such a database is not installed: names it.
    """

    def __init__(self, url: str) -> None:
        self._shown = _check(url)
        self.sqlite_file = _sqlite_file(url)
        if self.sqlite_file:
            self.sqlite_file.parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "isolation_level": None})
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = create_engine(url, pool_pre_ping=True)

    def create_tables(self) -> None:
        """Make the tables and columns that are not there yet.

        So a database of an earlier version goes on; what it has is never changed. New columns have to be nullable, and
        only new tables get their indices.

        Raises
        ------
        InvalidInput
            When the database cannot be opened.
        """
        try:
            with self.writing() as connection:
                METADATA.create_all(connection)
                _add_missing(connection)
        except DBAPIError as error:
            raise InvalidInput(f"DATABASE_URL={self._shown!r}: that database cannot be used: {error.orig}") from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries."""
        with self.engine.connect().execution_options(read_only=True) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back when the block raises."""
        with self.engine.begin() as connection:
            yield connection

    def takes_writes(self, patience_seconds: float) -> bool:
        """Whether something could be written within a time.

        To wait for SQLite's lock in SQLite would stop whoever shares our thread, so it is asked again and again.
        """
        deadline = time.monotonic() + patience_seconds
        while not self._can_write():
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _can_write(self) -> bool:
        """Whether something could be written at once."""
        try:
            if not self.sqlite_file:
                with self.writing():
                    return True
            with closing(sqlite3.connect(self.sqlite_file, timeout=0, isolation_level=None)) as connection:
                for statement in ("BEGIN IMMEDIATE", "PRAGMA user_version = 0", "COMMIT"):  # a write that says nothing
                    connection.execute(statement)
        except (DBAPIError, sqlite3.OperationalError):
            return False
        return True

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def is_busy(error: Exception) -> bool:
    """Whether SQLite says by an error that another writer kept it for longer than BUSY_SECONDS."""
    return isinstance(error, OperationalError) and "database is locked" in str(error)


def _add_missing(connection: Connection) -> None:
    """Add the columns that tables of an earlier version lack."""
    known = inspect(connection)
    for table in METADATA.sorted_tables:
        there = {column["name"] for column in known.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                name = connection.dialect.identifier_preparer.format_table(table)
                connection.execute(DDL(f"ALTER TABLE {name} ADD COLUMN {CreateColumn(column).compile(connection)}"))


def _check(url: str) -> str:
    """Raise InvalidInput when nothing here can speak to such a database; the URL without its password."""
    shown = url
    try:
        parsed = make_url(url)
        shown = parsed.render_as_string(hide_password=True)
        parsed.get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        package = PACKAGES.get(error.name or "", error.name)
        raise InvalidInput(f"DATABASE_URL={shown!r} needs the package {package}: pip install '{package}'.") from error
    except (ArgumentError, ValueError) as error:
        raise InvalidInput(f"DATABASE_URL={shown!r} is not a database's URL that SQLAlchemy knows.") from error
    return shown


def _sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL, None for other databases."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """WAL keeps readers and the writer apart; NORMAL survives a killed process; search knows every script."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(text: str | None) -> str | None:
    """SQLite's own lower() knows no letters but A to Z."""
    return None if text is None else str(text).lower()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once: a reader that turns writer midway could not wait for it."""
    if not connection.get_execution_options().get("read_only"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
