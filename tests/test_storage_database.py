"""The database: transactions that hold, readers that do not wait, writers that wait for each other."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import JSON, Connection, Float, inspect, text

import jobs.tables  # noqa: F401  (declares them)
from storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty SQLite database with one counter at 0."""
    database = Database(f"sqlite:///{tmp_path / 'not' / 'yet' / 'there.db'}")
    with database.writing() as connection:
        connection.execute(text("create table counter (n integer)"))
        connection.execute(text("insert into counter values (0)"))
    return database


def count(connection: Connection) -> int:
    """The counter's value."""
    return int(connection.execute(text("select n from counter")).scalar_one())


def test_file_and_folder_are_made(database: Database, tmp_path: Path) -> None:
    assert database.sqlite_file == tmp_path / "not" / "yet" / "there.db"
    assert database.sqlite_file.exists()


def test_the_journal_is_written_ahead(database: Database) -> None:
    with database.reading() as connection:
        assert connection.execute(text("pragma journal_mode")).scalar() == "wal"


def test_a_block_that_raises_changes_nothing(database: Database) -> None:
    def write() -> None:
        with database.writing() as connection:
            connection.execute(text("update counter set n = 7"))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write()
    with database.reading() as connection:
        assert count(connection) == 0


def test_a_reader_sees_the_last_commit_while_a_writer_writes(database: Database) -> None:
    with database.writing() as writer:
        writer.execute(text("update counter set n = 7"))
        with database.reading() as reader:
            assert count(reader) == 0
    with database.reading() as reader:
        assert count(reader) == 7


def test_writers_that_read_first_lose_no_update(database: Database) -> None:
    def increase() -> None:
        for _ in range(25):
            with database.writing() as connection:
                connection.execute(text("update counter set n = :n"), {"n": count(connection) + 1})

    threads = [threading.Thread(target=increase) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as connection:
        assert count(connection) == 200


def test_a_letter_is_the_same_in_either_case_in_every_script(database: Database) -> None:
    with database.reading() as connection:
        assert connection.execute(text("select lower('ЂОРЂЕ É')")).scalar() == "ђорђе é"
        assert connection.execute(text("select lower(null)")).scalar() is None


def test_a_database_of_an_earlier_version_gets_what_it_lacks(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studio.db'}"
    Database(url).create_tables()
    earlier = Database(url)
    with earlier.writing() as connection:
        connection.execute(text("insert into workers values ('w', 'gpu', 1.0, '{}')"))
        connection.execute(text("alter table jobs drop column error"))
        connection.execute(text("alter table jobs drop column started_at"))
    newer = Database(url)
    newer.create_tables()
    newer.create_tables()
    known = inspect(newer.engine)
    added = {column["name"]: column for column in known.get_columns("jobs")}
    assert isinstance(added["error"]["type"], JSON)
    assert isinstance(added["started_at"]["type"], Float)
    with newer.reading() as connection:
        assert connection.execute(text("select id from workers")).scalars().all() == ["w"]


def test_whether_it_takes_writes(database: Database) -> None:
    assert database.takes_writes(0.0)
    with database.writing():
        assert not database.takes_writes(0.2)
    assert database.takes_writes(0.0)
