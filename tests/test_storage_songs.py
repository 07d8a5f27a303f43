"""Songs: the table, the ids, the names that can be shown, title and artist."""

import time
import uuid
from pathlib import Path

import pytest

from storage.database import Database
from storage.songs import MAX_NAME_CHARACTERS, Song, Songs, display_name, is_file_id, title_and_artist


@pytest.fixture
def songs(tmp_path: Path) -> Songs:
    """An empty table."""
    database = Database(f"sqlite:///{tmp_path / 'studio.db'}")
    database.create_tables()
    return Songs(database)


def a_song(title: str = "Song", artist: str = "", filename: str = "song.mp3", created_at: float = 0.0) -> Song:
    """A song of 3 min."""
    return Song(str(uuid.uuid4()), filename, "mp3", 5_000_000_000, 180.5, 44100, 2, title, artist,
                created_at or time.time())  # fmt: skip


def test_a_song_comes_back_as_it_was(songs: Songs) -> None:
    song = a_song("Песма", "Ђорђе", "Ђорђе – Песма.mp3")
    songs.add(song)
    assert songs.get(song.file_id) == song
    assert songs.get(str(uuid.uuid4())) is None


def test_a_removed_song_is_gone(songs: Songs) -> None:
    song, other = a_song(), a_song()
    songs.add(song)
    songs.add(other)
    songs.remove(song.file_id)
    songs.remove(song.file_id)
    assert songs.get(song.file_id) is None
    assert songs.get(other.file_id) == other


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["Blue_Moon", "100% Love", "Ђорђе"]),
        ("moon", ["Blue_Moon"]),
        ("NINA", ["100% Love"]),
        ("third.mp3", ["Ђорђе"]),
        ("ђОРЂЕ", ["Ђорђе"]),
        ("%", ["100% Love"]),
        ("_", ["Blue_Moon"]),
        ("e_M", ["Blue_Moon"]),
        ("\\", []),
        ("'; drop table songs", []),
    ],
)
def test_search_is_by_title_artist_and_file_name_in_any_case(songs: Songs, text: str, found: list[str]) -> None:
    songs.add(a_song("Ђорђе", filename="Third.mp3", created_at=1))
    songs.add(a_song("100% Love", "Nina", created_at=2))
    songs.add(a_song("Blue_Moon", created_at=3))
    matching, total = songs.search(text, limit=10)
    assert ([song.title for song in matching], total) == (found, len(found))


def test_search_comes_in_parts_newest_first_with_the_whole_count(songs: Songs) -> None:
    for n in range(5):
        songs.add(a_song(f"Song {n}", created_at=1000 + n))
    part, total = songs.search("song", limit=2, offset=1)
    assert ([song.title for song in part], total) == (["Song 3", "Song 2"], 5)


@pytest.mark.parametrize(
    "text",
    [
        "", "..", "../../etc/passwd", "AAAAAAAA-0000-4000-8000-000000000000", "aaaaaaaa-0000-1000-8000-000000000000",
        "aaaaaaaa-0000-4000-c000-000000000000", "aaaaaaaa00004000800000000000000a", "every-file",
        "aaaaaaaa-0000-4000-8000-000000000000\n", "{aaaaaaaa-0000-4000-8000-000000000000}",
    ],
)  # fmt: skip
def test_only_a_lower_case_uuid4_is_an_id(text: str) -> None:
    assert not is_file_id(text)
    assert is_file_id(str(uuid.uuid4()))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("song.mp3", "song.mp3"),
        ("../../x.mp3", "x.mp3"),
        ("C:\\Users\\me\\x.mp3", "x.mp3"),
        ("a\0b.mp3", "ab.mp3"),
        (" tab\tand\nline .mp3 ", "tabandline .mp3"),
        ("Ђорђе – песма.mp3", "Ђорђе – песма.mp3"),
        ("東京.flac", "東京.flac"),
        ("", ""),
        ("/", ""),
    ],
)
def test_names_are_shown_without_folders_and_control_characters(given: str, shown: str) -> None:
    assert display_name(given) == shown


@pytest.mark.parametrize("given", ["x" * 300 + ".mp3", "x" * 300, "x." + "y" * 300, "." * 300, "x" * 255 + ".m4a"])
def test_long_names_are_cut_and_keep_their_ending(given: str) -> None:
    shown = display_name(given)
    assert len(shown) == MAX_NAME_CHARACTERS
    if given.endswith((".mp3", ".m4a")):
        assert shown[-4:] == given[-4:]


@pytest.mark.parametrize(
    ("filename", "tags", "expected"),
    [
        ("Nina Simone - Feeling Good.mp3", (None, None), ("Feeling Good", "Nina Simone")),
        ("Ђорђе – песма.mp3", (None, None), ("песма", "Ђорђе")),
        ("A — B - C.mp3", (None, None), ("B - C", "A")),
        ("Jay-Z.mp3", (None, None), ("Jay-Z", "")),
        ("Feeling Good.mp3", (None, None), ("Feeling Good", "")),
        ("A - B.mp3", ("Title", "Artist"), ("Title", "Artist")),
        ("A - B.mp3", ("Title", None), ("Title", "A")),
        ("A - B.mp3", (None, "Artist"), ("B", "Artist")),
        ("A - B.mp3", ("", ""), ("B", "A")),
        ("A - .mp3", (None, None), ("A -", "")),
        ("03. A - B.live.mp3", (None, None), ("B.live", "03. A")),
    ],
)
def test_title_and_artist_come_from_tags_else_from_the_name(
    filename: str, tags: tuple[str | None, str | None], expected: tuple[str, str]
) -> None:
    assert title_and_artist(filename, *tags) == expected
