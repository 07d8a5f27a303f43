"""Downloads: right bytes and names; browsers can seek in files and need not fetch twice; archives open."""

import io
import shutil
import subprocess
import uuid
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient
from werkzeug.http import parse_options_header

from tests import contract
from tests.library import NOBODYS, Library
from tests.serving import Server

ORIGINAL = bytes(range(256)) * 40
NAMES = ["Ђорђе – песма.wav", "東京.wav", 'a "quoted" name.wav', "semi;colon, comma.wav", "plain.wav", "%41.wav"]


@pytest.fixture
def file_id(library: Library) -> str:
    """A song with two stems and words."""
    made = library.add_song("Dusk - River.wav", ORIGINAL)
    library.add_stems(made, vocals=ORIGINAL[:1000], drums=b"bum")
    words = library.add_job(file_id=made, model="whisper", variant="tiny", stage="transcription")
    library.complete(words.id, {"transcription_tiny.json": b"{}", "transcription_tiny.txt": "ла".encode()})
    return made


def filename(answer: Any) -> tuple[str, str | None]:
    """Disposition and the name to save as."""
    return parse_options_header(answer.headers["Content-Disposition"])[0], parse_options_header(
        answer.headers["Content-Disposition"])[1].get("filename")  # fmt: skip


@pytest.mark.parametrize("path", ["demucs/{}/vocals.mp3", "{}/vocals", "{}/vocals.mp3"])
def test_a_stem_as_attachment(client: FlaskClient, file_id: str, path: str) -> None:
    answer = client.get("/download/" + path.format(file_id))
    assert (answer.status_code, answer.data) == (200, ORIGINAL[:1000])
    assert filename(answer) == ("attachment", "vocals.mp3")
    assert answer.mimetype == "audio/mpeg"


@pytest.mark.parametrize("path", ["whisper/{}/transcription_tiny.txt", "{}/transcription_tiny.txt"])
def test_any_other_result_by_its_name(client: FlaskClient, file_id: str, path: str) -> None:
    assert client.get("/download/" + path.format(file_id)).text == "ла"


def test_the_original_inline(client: FlaskClient, file_id: str) -> None:
    answer = client.get(f"/download/{file_id}")
    assert (answer.status_code, answer.data) == (200, ORIGINAL)
    assert filename(answer) == ("inline", "Dusk - River.wav")


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_as_they_were(client: FlaskClient, library: Library, name: str) -> None:
    answer = client.get(f"/download/{library.add_song(name)}")
    assert filename(answer) == ("inline", name)


def test_the_newest_result_wins(client: FlaskClient, library: Library, file_id: str) -> None:
    newer = library.add_job(file_id=file_id, parameters={"shifts": 3})
    library.complete(newer.id, {"vocals.mp3": b"newer"})
    assert client.get(f"/download/{file_id}/vocals").data == b"newer"
    assert client.get(f"/download/{file_id}/drums").data == b"bum"
    library.studio.files.remove_results(library.job(newer.id).folder or "")
    assert client.get(f"/download/{file_id}/vocals").data == ORIGINAL[:1000]


def test_every_result_has_an_address_of_its_own(client: FlaskClient, library: Library) -> None:
    library.add_workers()
    file_id = library.add_song()
    made = {"mdx_extra": b"first", "htdemucs": b"second"}
    for variant, content in made.items():
        queued = client.post(f"/process/demucs/{file_id}?async=true", json={"model_variant": variant}).json
        library.complete(queued["job_id"], {"vocals.mp3": content}, {"tracks": ["vocals"]})
    for variant, content in made.items():
        skipped = client.post(f"/process/demucs/{file_id}", json={"model_variant": variant}).json
        assert skipped["skipped"]
        (entry,) = skipped["files"]
        answer = client.get(entry["download_url"])
        assert (answer.data, filename(answer)) == (content, ("attachment", "vocals.mp3"))
        assert client.get(f"/download/{file_id}/vocals?job={skipped['job_id']}").data == content


@pytest.mark.parametrize("path", ["demucs/{}/vocals.mp3", "{}/vocals"])
def test_a_file_of_another_job(client: FlaskClient, library: Library, file_id: str, path: str) -> None:
    other = library.add_song()
    jobs = [library.add_stems(other, vocals=b"la").id, library.add_job(file_id=file_id).id, NOBODYS, "x", "", "%00"]
    for job_id in jobs:
        contract.error(client.get(f"/download/{path.format(file_id)}?job={job_id}"), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "demucs/{}/bass.mp3", "whisper/{}/vocals.mp3", "nope/{}/vocals.mp3", "demucs/{other}/vocals.mp3", "{}/bass",
        "{other}/vocals", "{other}", "{other}?archive=zip", "x", "x/vocals", "demucs/x/vocals.mp3",
        "{}/..%2f..%2fstudio.db", "demucs/{}/..%2f..%2f..%2fstudio.db", "{}/%2e%2e", "{}/.", "{}/%00",
        "%2e%2e/studio.db", "demucs/../studio.db",
    ],
)  # fmt: skip
def test_what_is_not_there(client: FlaskClient, file_id: str, path: str) -> None:
    contract.error(client.get("/download/" + path.format(file_id, other=uuid.uuid4())), 404, "not_found")


def test_an_original_that_is_gone(client: FlaskClient, library: Library, file_id: str) -> None:
    library.studio.files.upload(file_id, "wav").unlink()
    contract.error(client.get(f"/download/{file_id}"), 404, "not_found")
    assert client.get(f"/download/{file_id}/drums").data == b"bum"


@pytest.mark.parametrize(
    ("wish", "first", "last"),
    [("0-9", 0, 9), ("100-", 100, 999), ("-10", 990, 999), ("0-5000", 0, 999), ("999-999", 999, 999), ("0-", 0, 999)],
)
@pytest.mark.parametrize("path", ["/download/{}/vocals", "/download/demucs/{}/vocals.mp3"])
def test_a_part(client: FlaskClient, file_id: str, path: str, wish: str, first: int, last: int) -> None:
    answer = client.get(path.format(file_id), headers={"Range": f"bytes={wish}"})
    assert (answer.status_code, answer.data) == (206, ORIGINAL[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/1000"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.content_length == last - first + 1


def test_a_part_of_the_original(client: FlaskClient, file_id: str) -> None:
    answer = client.get(f"/download/{file_id}", headers={"Range": "bytes=1000-1999"})
    assert (answer.status_code, answer.data) == (206, ORIGINAL[1000:2000])


@pytest.mark.parametrize("wish", ["1000-", "5000-6000"])
def test_a_part_beyond_the_end(client: FlaskClient, file_id: str, wish: str) -> None:
    answer = client.get(f"/download/{file_id}/vocals", headers={"Range": f"bytes={wish}"})
    contract.error(answer, 416, "requested_range_not_satisfiable")
    assert answer.headers["Content-Range"] == "bytes */1000"


def test_no_need_to_fetch_twice(client: FlaskClient, file_id: str) -> None:
    for path in (f"/download/{file_id}", f"/download/{file_id}/vocals"):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        unchanged = {"Range": "bytes=0-3", "If-Range": first.headers["ETag"]}
        assert client.get(path, headers=unchanged).status_code == 206
        changed = client.get(path, headers={"Range": "bytes=0-3", "If-Range": '"other"'})
        assert (changed.status_code, changed.data) == (200, first.data)


def test_another_attempt_has_another_tag(client: FlaskClient, library: Library, file_id: str) -> None:
    tag = client.get(f"/download/{file_id}/vocals").headers["ETag"]
    library.complete(library.add_job(file_id=file_id, parameters={"shifts": 3}).id, {"vocals.mp3": ORIGINAL[1:1001]})
    assert client.get(f"/download/{file_id}/vocals", headers={"If-None-Match": tag}).status_code == 200


def test_a_look_without_the_file(client: FlaskClient, file_id: str) -> None:
    for path, size in ((f"/download/{file_id}", 10240), (f"/download/{file_id}/vocals", 1000)):
        answer = client.head(path)
        assert (answer.status_code, answer.content_length, answer.data) == (200, size, b"")


def test_an_archive_of_all_results(client: FlaskClient, library: Library, file_id: str) -> None:
    (older,) = library.store.find(file_id=file_id, model="demucs")
    newer = library.add_job(file_id=file_id, variant="mdx_extra")
    library.complete(newer.id, {"vocals.mp3": b"newer"})
    answer = client.get(f"/download/{file_id}?archive=zip")
    assert (answer.status_code, answer.mimetype) == (200, "application/zip")
    assert answer.content_length == len(answer.data)
    assert filename(answer) == ("attachment", "Dusk - River.zip")
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "demucs/vocals.mp3": b"newer", f"demucs/htdemucs-{older.id[:8]}-1/vocals.mp3": ORIGINAL[:1000],
            f"demucs/htdemucs-{older.id[:8]}-1/drums.mp3": b"bum", "whisper/transcription_tiny.json": b"{}",
            "whisper/transcription_tiny.txt": "ла".encode(),
        }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_is_named_as_the_song(client: FlaskClient, library: Library, name: str) -> None:
    file_id = library.add_song(name)
    library.add_stems(file_id, vocals=b"la")
    answer = client.get(f"/download/{file_id}?archive=zip")
    assert filename(answer) == ("attachment", name.replace(".wav", ".zip"))


@pytest.mark.parametrize(
    ("name", "plain"),
    [("песма.wav", "{}.zip"), ("東京 – 夜.wav", "{}.zip"), ("Café.wav", "Cafe.zip"), ("a b.wav", "a b.zip")],
)
def test_an_archive_has_a_name_for_clients_that_read_ascii_only(
    client: FlaskClient, library: Library, name: str, plain: str
) -> None:
    file_id = library.add_song(name)
    library.add_stems(file_id, vocals=b"la")
    header = client.get(f"/download/{file_id}?archive=zip").headers["Content-Disposition"]
    _, options = parse_options_header(header.partition("; filename*")[0])
    assert options == {"filename": plain.format(file_id)}


def test_curl_saves_an_archive_as_a_zip(server: Server, finished: dict[str, Any], tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    url = f"{server.url}/download/{finished['file_id']}?archive=zip"
    subprocess.run([curl, "-sSOJ", url], cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["Dusk - River.zip"]
    assert zipfile.is_zipfile(tmp_path / "Dusk - River.zip")


def test_an_archive_comes_whole_and_is_described_so(client: FlaskClient, file_id: str) -> None:
    answer = client.get(f"/download/{file_id}?archive=zip", headers={"Range": "bytes=0-9"})
    assert answer.status_code == 200
    assert "Accept-Ranges" not in answer.headers
    assert zipfile.is_zipfile(io.BytesIO(answer.data))
    described = client.get("/openapi.json").json["paths"]["/download/{file_id}"]["get"]
    assert "Range" in described["description"]
    assert "always comes whole" in described["description"]


def test_an_archive_of_nothing(client: FlaskClient, library: Library) -> None:
    file_id = library.add_song()
    contract.error(client.get(f"/download/{file_id}?archive=zip"), 404, "not_found")
    contract.error(client.get(f"/download/{file_id}?archive=rar"), 400, "invalid_input")


def test_a_running_service(server: Server, finished: dict[str, Any], tone: Path) -> None:
    file_id, original = finished["file_id"], tone.read_bytes()
    assert server.get(f"/download/{file_id}").content == original
    part = server.get(f"/download/{file_id}", headers={"Range": "bytes=70000-200000"})
    assert (part.status_code, part.content) == (206, original[70000:200001])
    for track in finished["tracks"]:
        stem = server.get(track["download_url"])
        (stored,) = (server.outputs / file_id / "demucs").glob(f"*/{track['name']}.mp3")
        assert stem.content == stored.read_bytes() == server.get(f"/download/{file_id}/{track['name']}").content
        assert track["download_url"] == f"/download/demucs/{file_id}/{track['name']}.mp3?job={finished['job_id']}"
    whole = server.get(f"/download/{file_id}?archive=zip")
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    jobs = server.get(f"/status/{file_id}").json()["jobs"]
    listed = [f"{job['model']}/{entry['filename']}" for job in jobs for entry in job["files"]]
    assert len(names) == len(listed)
    assert set(listed) >= {name for name in names if name.count("/") == 1}
    assert {"demucs/vocals.mp3", "demucs/instrumental.mp3", "karaoke/karaoke.mp3"} <= names


def test_a_name_on_a_running_service(server: Server, tone: Path) -> None:
    song = server.upload(tone, name="Ђорђе – песма.wav")
    try:
        assert (song["filename"], song["artist"], song["title"]) == ("Ђорђе – песма.wav", "Ђорђе", "песма")
        disposition = server.get(f"/download/{song['file_id']}").headers["Content-Disposition"]
        assert unquote(disposition.rpartition("''")[2]) == "Ђорђе – песма.wav"
    finally:
        assert server.delete(f"/cleanup/{song['file_id']}").status_code == 200
