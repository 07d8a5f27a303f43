"""The library: list, search, pages, songs with a karaoke package."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from jobs.job import Job
from tests import contract
from tests.library import Library
from tests.queries import asked_here
from tests.serving import Server

SONG = {
    "file_id", "filename", "extension", "size_bytes", "duration_seconds", "sample_rate", "channels", "title", "artist",
    "created_at", "status", "tracks", "download_url",
}  # fmt: skip


def titles(client: FlaskClient, query: dict[str, Any]) -> list[str]:
    """Titles of the songs found."""
    return [song["title"] for song in client.get("/songs", query_string=query).json["songs"]]


def test_an_empty_library(client: FlaskClient) -> None:
    assert client.get("/songs").json == {"songs": [], "total": 0}
    assert client.get("/karaoke/songs").json == {"songs": [], "total": 0}


def test_a_song(client: FlaskClient, library: Library) -> None:
    file_id = library.add_song(content=b"RIFF")
    library.add_stems(file_id, vocals=b"la", drums=b"bum")
    (song,) = client.get("/songs").json["songs"]
    assert song.keys() == SONG
    assert (song["file_id"], song["filename"], song["size_bytes"]) == (file_id, "Dusk - River.wav", 4)
    assert (song["status"], song["tracks"]) == ("completed", ["vocals", "drums"])
    assert client.get(song["download_url"]).data == b"RIFF"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["Night", "Песма", "100%"]), ("night", ["Night"]), ("пЕСМА", ["Песма"]), ("ђорђе", ["Песма"]),
        ("%", ["100%"]), ("_", []), ("three.mp3", ["Night"]), ("nothing", []), ("x" * 200, []),
    ],
)  # fmt: skip
def test_search(client: FlaskClient, library: Library, text: str, found: list[str]) -> None:
    library.add_song("one.mp3", title="100%", artist="", created_at=1)
    library.add_song("two.mp3", title="Песма", artist="Ђорђе", created_at=2)
    library.add_song("three.mp3", title="Night", artist="", created_at=3)
    assert titles(client, {"search": text}) == found


def test_pages(client: FlaskClient, library: Library) -> None:
    for number in range(5):
        library.add_song(title=f"Song {number}", created_at=number)
    assert titles(client, {"limit": 2, "offset": 1, "search": "song"}) == ["Song 3", "Song 2"]
    assert client.get("/songs?limit=2").json["total"] == 5
    assert titles(client, {"offset": 4}) == ["Song 0"]
    assert titles(client, {"offset": 1_000_000_000}) == []


def add_package(library: Library, file_id: str, lines: int = 1) -> Job:
    """A finished karaoke package."""
    job = library.add_job(file_id=file_id, model="karaoke", variant="full", stage="karaoke", queue="cpu",
                          parameters={"number": lines})  # fmt: skip
    return library.complete(job.id, {"karaoke.mp3": b"la" * lines}, {"audio_file": "karaoke.mp3", "total_lines": lines})


def test_pages_of_karaoke_songs(client: FlaskClient, library: Library) -> None:
    ids = [library.add_song(title=f"Song {number}") for number in range(5)]
    for file_id in [*ids, ids[1]]:
        add_package(library, file_id, lines=library.store.count(file_id=file_id) + 1)
    library.studio.songs.remove(ids[2])
    newest_first = ["Song 1", "Song 4", "Song 3", "Song 0"]
    for query, found in (("", newest_first), ("limit=2&offset=1", newest_first[1:3]), ("offset=3", newest_first[3:]),
                         ("offset=4", []), ("limit=1", newest_first[:1])):  # fmt: skip
        answer = client.get(f"/karaoke/songs?{query}").json
        assert ([song["title"] for song in answer["songs"]], answer["total"]) == (found, 4)
    assert client.get("/karaoke/songs?limit=1").json["songs"][0]["total_lines"] == 2


@pytest.mark.parametrize("path", ["/songs", "/karaoke/songs"])
def test_a_longer_list_costs_no_more_queries(client: FlaskClient, library: Library, path: str) -> None:
    asked = asked_here(library.store.database.engine)
    costs = []
    for _ in range(3):
        add_package(library, library.add_song())
        asked.clear()
        assert client.get(path).status_code == 200
        costs.append(sum("SELECT" in statement for statement, _ in asked))
        assert not any("FROM events" in statement for statement, _ in asked)
    assert costs[0] == costs[1] == costs[2] <= 4


def test_a_song_of_a_list_has_the_status_it_has_alone(client: FlaskClient, library: Library) -> None:
    ids = [library.add_song() for _ in range(4)]
    library.add_stems(ids[0], vocals=b"la")
    library.fail(library.add_job(file_id=ids[1]).id)
    library.add_job(file_id=ids[2])
    for song in client.get("/songs").json["songs"]:
        alone = client.get(f"/status/{song['file_id']}").json
        assert (song["status"], song["tracks"]) == (alone["status"], alone["tracks"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=ten", "limit"), ("offset=-1", "offset"),
        ("offset=99999999999999999999", "offset"), ("search=" + "x" * 201, "search"), ("search=a%00b", "search"),
    ],
)  # fmt: skip
def test_a_wrong_query(reader: FlaskClient, query: str, field: str) -> None:
    paths = ["/songs", "/karaoke/songs"] if field != "search" else ["/songs"]
    for path in paths:
        assert contract.error(reader.get(f"{path}?{query}"), 400, "invalid_input")["details"]["field"] == field


def test_karaoke_songs_are_listed_once_with_their_newest_package(client: FlaskClient, library: Library) -> None:
    library.add_song()
    file_id = library.add_song(title="River")
    for number in (1, 2):
        job = add_package(library, file_id, lines=number)
    answer = client.get("/karaoke/songs").json
    assert answer["total"] == 1
    (song,) = answer["songs"]
    assert (song["file_id"], song["title"], song["total_lines"]) == (file_id, "River", 2)
    url = f"/karaoke/{file_id}/karaoke.mp3?job={job.id}"
    assert song["files"] == [{"filename": "karaoke.mp3", "size_bytes": 4, "download_url": url}]
    assert client.get(url).data == b"lala"


def test_a_file_of_no_package(client: FlaskClient, library: Library) -> None:
    file_id = library.add_song()
    library.add_stems(file_id, vocals=b"la")
    for path in (f"{file_id}/vocals.mp3", f"{file_id}/karaoke.mp3", "x/karaoke.mp3", "songs/x", f"{file_id}/..%2fx"):
        contract.error(client.get(f"/karaoke/{path}"), 404, "not_found")


def test_a_package_of_a_running_service(server: Server, finished: dict[str, Any], tone: Path) -> None:
    found = server.get("/songs", params={"search": "river"}).json()["songs"]
    (song,) = [each for each in found if each["file_id"] == finished["file_id"]]
    assert (song["title"], song["artist"], song["status"]) == ("River", "Dusk", "completed")
    assert server.get(song["download_url"]).content == tone.read_bytes()
    packages = {each["file_id"]: each for each in server.get("/karaoke/songs").json()["songs"]}
    for entry in packages[finished["file_id"]]["files"]:
        assert len(server.get(entry["download_url"]).content) == entry["size_bytes"]
