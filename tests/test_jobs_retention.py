"""Retention: old songs leave with all that was made of them, never one that is worked on or was lately."""

import dataclasses
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from app import create_app
from config import Config
from jobs.job import ACTIVE
from jobs.retention import SONGS_A_ROUND, Retention
from jobs.tables import jobs
from tests.library import Library
from tests.rows import a_job

HOURS = 24.0


def in_hours(library: Library, hours: float, kept_hours: float = HOURS) -> Retention:
    """What removes songs, as if it were so many hours later."""
    clock = lambda: time.time() + 3600 * hours  # noqa: E731
    return Retention(library.store.database, library.studio.files, kept_hours, clock)


def a_worked_song(library: Library) -> str:
    """A song with stems."""
    song = library.add_song()
    library.add_stems(song, vocals=b"la")
    return song


def test_an_old_song_leaves_with_all_that_was_made_of_it(library: Library) -> None:
    nothing = library.contents()
    a_worked_song(library)
    library.fail(library.add_job(file_id=library.add_song()).id)
    made = library.add_job(model="musicgen", stage="generation")
    library.complete(made.id, {"generated_music.wav": b"la"})
    library.add_song()
    full = library.contents()
    in_hours(library, HOURS - 0.1).sweep()
    assert library.contents() == full
    in_hours(library, HOURS + 0.1).sweep()
    assert library.contents() == nothing


@pytest.mark.parametrize("status", ACTIVE)
def test_a_song_that_is_worked_on_stays_however_old(library: Library, status: str) -> None:
    song = a_worked_song(library)
    job = library.add_job(file_id=song, variant="mdx")
    with library.store.database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(status=status))
    before = library.contents()
    in_hours(library, 1000 * HOURS).sweep()
    assert library.contents() == before


def test_the_end_of_the_last_job_counts(library: Library) -> None:
    old = time.time() - 3600 * 2 * HOURS
    song, idle = library.add_song(created_at=old), library.add_song(created_at=old)
    library.add_stems(song, vocals=b"la")
    in_hours(library, 0).sweep()
    assert library.studio.songs.get(song) is not None
    assert library.studio.songs.get(idle) is None


def test_a_song_that_is_asked_for_at_the_last_moment_stays(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    song = a_worked_song(library)
    retention, remove = in_hours(library, 2 * HOURS), Retention._remove

    def asked_for_first(self: Retention, file_id: str, before: float) -> None:
        library.store.create(a_job(file_id=file_id, variant="mdx"))
        remove(self, file_id, before)

    monkeypatch.setattr(Retention, "_remove", asked_for_first)
    retention.sweep()
    assert library.studio.songs.get(song) is not None
    assert library.studio.files.upload(song, "wav").exists()
    assert library.store.count(file_id=song) == 2


def test_songs_are_kept_for_ever_unless_wished_otherwise(library: Library) -> None:
    a_worked_song(library)
    before = library.contents()
    in_hours(library, 1_000_000, kept_hours=0.0).sweep()
    assert library.contents() == before


def test_the_service_does_it_as_it_was_set(config: Config) -> None:
    app = create_app(dataclasses.replace(config, retention_hours=HOURS))
    library = Library(app)
    old, young = library.add_song(created_at=time.time() - 3600 * (HOURS + 1)), library.add_song()
    app.extensions["background"].supervisor._sweeper.sweep()
    assert set(library.studio.songs.among([old, young])) == {young}
    library.studio.jobs.queue.close()
    library.store.database.close()


def test_looks_are_seldom_and_short(library: Library) -> None:
    for _ in range(SONGS_A_ROUND + 1):
        library.add_song()
    retention = in_hours(library, 2 * HOURS)
    retention.sweep()
    retention.sweep()
    assert library.studio.songs.search(limit=500)[1] == 1


def test_files_that_cannot_be_removed_hold_up_no_other_song(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    songs, unlink = [library.add_song() for _ in range(3)], Path.unlink

    def may_fail(self: Path, missing_ok: bool = False) -> None:
        if self.name.startswith(songs[1]):
            raise PermissionError(13, "Permission denied")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", may_fail)
    in_hours(library, 2 * HOURS).sweep()
    assert [library.studio.files.upload(song, "wav").exists() for song in songs] == [False, True, False]
    assert f"song {songs[1]}: files of it are left" in caplog.text
