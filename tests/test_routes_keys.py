"""API keys at the routes: nobody without one, and what is another's is not there, at any route."""

import dataclasses
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

import models
from api_keys import COOKIE, hash_of, new_key
from config import Config
from jobs.job import Job
from tests import contract
from tests.library import NOBODYS, Library, in_background

ALICE, ALICES_SECOND, BOB = new_key(), new_key(), new_key()
OPEN = {"/", "/test_progress.html", "/dashboard.html", "/docs", "/docs/assets/<path:name>", "/openapi.json",
        "/static/<path:filename>", "/health", "/health/health", "/health/status", "/health/live", "/health/ready",
        "/status", "/session"}  # fmt: skip
OF_NOBODY = {"model_name", "filename", "track"}  # arguments that name no one's property
NEEDED = {"musicgen": {"prompt": "rain"}}  # in a body, beside what has defaults


@pytest.fixture
def config(config: Config) -> Config:
    """Settings with keys."""
    keys = {"alice": (ALICE, ALICES_SECOND), "bob": (BOB,)}
    entries = [f"{name}:{hash_of(key)}" for name, held in keys.items() for key in held]
    return dataclasses.replace(config, api_keys=",".join(entries))


@pytest.fixture
def alices(app: OpenAPI) -> Library:
    """What is Alice's."""
    return Library(app, "alice")


@dataclasses.dataclass
class Property:
    """A song of Alice's with results, and a piece of music."""

    song: str
    stems: Job
    package: Job
    music: Job


@pytest.fixture
def hers(alices: Library) -> Property:
    """Alice's song, its results, and music made for her."""
    alices.add_workers()
    song = alices.add_song()
    stems = alices.add_stems(song, vocals=b"la")
    package = alices.add_job(file_id=song, model="karaoke", variant="full", queue="cpu", stage="karaoke")
    alices.complete(package.id, {"karaoke.lrc": b"[00:00]la"})
    music = alices.add_job(model="musicgen", variant="small", stage="generation", parameters={"prompt": "rain"})
    alices.complete(music.id, {"generated_music.wav": b"RIFF"}, {"generated_file": "generated_music.wav"})
    return Property(song, stems, package, music)


def ask(client: FlaskClient, key: str | None, path: str, method: str = "GET", **sent: Any) -> TestResponse:
    """A request with a key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return client.open(path, method=method, headers=headers | sent.pop("headers", {}), **sent)


def rules(app: OpenAPI) -> Iterator[tuple[str, Rule]]:
    """Every route with each method that it has of its own."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield method, rule


def path_of(rule: Rule, file_id: str, job_id: str, filename: str = "vocals.mp3") -> str:
    """A route's path for a song and job."""
    values = {"file_id": file_id, "job_id": job_id, "model_name": "demucs", "filename": filename, "track": "vocals"}
    if "karaoke" in rule.rule:
        values["filename"] = "karaoke.lrc"
    path = rule.rule
    for name in rule.arguments:
        path = path.replace(f"<path:{name}>", f"<{name}>").replace(f"<{name}>", values.get(name, "x"))
    return path


def test_no_route_answers_without_a_key_but_those_that_show_nothing(app: OpenAPI, client: FlaskClient) -> None:
    seen = 0
    for method, rule in rules(app):
        path = path_of(rule, NOBODYS, NOBODYS)
        if rule.rule in OPEN:
            assert ask(client, None, path, method).status_code != 401, rule.rule
            continue
        seen += 1
        for key in (None, new_key(), f"alice:{hash_of(ALICE)}", hash_of(ALICE)):
            answer = ask(client, key, path, method)
            said = contract.error(answer, 401, "unauthorized")["error"]
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert ("needed" in said) == (key is None)
            assert key is None or key not in answer.text
    assert seen > 30
    for path in ("/metrics", "/jobs", "/songs", "/models", "/gpu-status", "/jobs/statistics"):
        assert ask(client, BOB, path).status_code == 200, path
    contract.error(ask(client, None, "/nope"), 401)
    contract.error(ask(client, None, "/upload", "PUT"), 401)
    assert client.options("/upload").status_code == 200, "a browser asks so before it may send a key"


def test_what_is_anothers_is_not_there_at_any_route(
    app: OpenAPI, client: FlaskClient, hers: Property, alices: Library
) -> None:
    before, seen = alices.contents(), set()
    for method, rule in rules(app):
        private = rule.arguments - OF_NOBODY
        if rule.rule in OPEN or not private:
            continue
        assert private <= {"file_id", "job_id"}, f"{rule.rule}: what is {private}? Check whose it is, then say so here."
        seen.add(rule.rule)
        made_up = NEEDED.get(rule.rule.split("/")[2], {}) if method == "POST" else None
        theirs = ask(client, BOB, path_of(rule, hers.song, hers.stems.id), method, json=made_up)
        told = contract.error(theirs, 404, "not_found")
        if "musicgen" in rule.rule:
            continue  # music may be made under an id that is new
        nobodys = ask(client, BOB, path_of(rule, NOBODYS, NOBODYS), method, json=made_up)
        unknown = contract.error(nobodys, 404, "not_found")
        for id_ in (hers.song, hers.stems.id):
            told["error"] = told["error"].replace(id_, NOBODYS)
        assert told["error"] == unknown["error"], rule.rule
        if method == "GET":
            file_id = hers.music.file_id if "generate" in rule.rule else hers.song
            assert ask(client, ALICE, path_of(rule, file_id, hers.stems.id)).status_code == 200, rule.rule
    assert len(seen) > 15
    assert alices.contents() == before
    music = f"/download/musicgen/{hers.music.file_id}/generated_music.wav"
    assert [ask(client, key, music).status_code for key in (ALICES_SECOND, BOB, None)] == [200, 404, 401]
    by_job = f"/download/demucs/{hers.song}/vocals.mp3?job={hers.stems.id}"
    assert [ask(client, key, by_job).status_code for key in (ALICE, BOB)] == [200, 404]
    zipped = f"/download/{hers.song}?archive=zip"
    assert [ask(client, key, zipped).status_code for key in (ALICE, BOB)] == [200, 404]


def test_lists_and_numbers_are_ones_own(client: FlaskClient, hers: Property) -> None:
    for path, count in (("/songs", 1), ("/songs?search=River", 1), ("/karaoke/songs", 1), ("/jobs", 3),
                        (f"/jobs?file_id={hers.song}", 2), ("/jobs?status=completed", 3)):  # fmt: skip
        assert [ask(client, key, path).json["total"] for key in (ALICE, BOB)] == [count, 0], path
    told = [ask(client, key, "/jobs/statistics").json for key in (ALICE, BOB)]
    assert [answer["total"]["completed"] for answer in told] == [3, 0]
    assert [len(answer["stages"]) for answer in told] == [3, 0]


def test_all_wait_in_the_same_queues(client: FlaskClient, alices: Library) -> None:
    alices.add_job()
    told = ask(client, BOB, "/jobs/statistics").json
    assert (told["queue_depth"], told["total"]["queued"], told["queues"][0]["queued"]) == (1, 0, 1)
    assert client.get("/health").json["queue_depth"] == ask(client, BOB, "/health").json["queue_depth"] == 1


def test_uploads_and_music_belong_to_who_asked(
    client: FlaskClient, alices: Library, tone: Path, app: OpenAPI
) -> None:
    alices.add_workers()
    sent = {"file": (io.BytesIO(tone.read_bytes()), "a.wav"), "auto_process": "true"}
    uploaded = ask(client, ALICE, "/upload", "POST", data=sent).json
    alices.complete(uploaded["job_id"], {"vocals.mp3": b"la"}, {"tracks": ["vocals"]})
    assert [job.model for job in alices.store.find(file_id=uploaded["file_id"])] == ["whisper", "demucs"]
    assert ask(client, BOB, uploaded["status_url"]).status_code == 404
    rain = {"prompt": "rain", "seed": 1}
    music = [ask(client, key, "/generate/text-to-music?async=true", "POST", json=rain).json for key in (ALICE, BOB)]
    assert music[0]["job_id"] != music[1]["job_id"], "equal wishes of two are two jobs"
    assert [job.id for job in Library(app, "bob").store.find()] == [music[1]["job_id"]]
    new = f"/process/musicgen/{NOBODYS}?async=true"
    assert [ask(client, key, new, "POST", json=rain).status_code for key in (ALICE, BOB, ALICE)] == [202, 404, 202]


def test_in_a_batch_anothers_song_is_unknown_and_fails_no_other(
    client: FlaskClient, hers: Property, app: OpenAPI
) -> None:
    bobs = Library(app, "bob")
    his = bobs.add_song()
    body = {"file_ids": [hers.song, his, NOBODYS]}
    answering = in_background(lambda: ask(client, BOB, "/analyze/batch", "POST", json=body))
    found = {"detected_key": "A major", "tempo_bpm": 100.0, "harmonic_complexity": 0.5}
    bobs.complete(bobs.queued(model="pitch_analysis").id, {}, found)
    results = answering.result(20).json["results"]
    assert [result["success"] for result in results] == [False, True, False]
    assert results[0]["error"].replace(hers.song, NOBODYS) == results[2]["error"]


def test_what_was_there_before_keys_is_nobodys_and_without_keys_everybodys(
    client: FlaskClient, app: OpenAPI, hers: Property, config: Config
) -> None:
    from app import create_app

    old = Library(app).add_song()
    for key in (ALICE, BOB):
        assert ask(client, key, f"/status/{old}").status_code == 404
    without = create_app(dataclasses.replace(config, api_keys="")).test_client()
    assert {song["file_id"] for song in without.get("/songs").json["songs"]} == {old, hers.song}
    assert without.get(f"/download/{hers.song}/vocals", headers={"X-API-Key": "any"}).status_code == 200
    assert without.delete(f"/cleanup/{hers.song}").status_code == 200
    assert ask(client, ALICE, "/songs").json["total"] == 0


def test_what_is_removed_is_gone_with_its_owner(client: FlaskClient, hers: Property, app: OpenAPI) -> None:
    for file_id in (hers.song, hers.music.file_id):
        assert ask(client, ALICE, f"/cleanup/{file_id}", "DELETE").status_code == 200
    with app.extensions["studio"].store.database.reading() as connection:
        assert connection.exec_driver_sql("select count(*) from owners").scalar() == 0


def test_a_browser_signs_in_and_out(client: FlaskClient, hers: Property) -> None:
    assert client.get("/session").json == {"keys_required": True, "name": None}
    for wrong in (BOB[:-1], "", 7, None, [ALICE]):
        answer = client.post("/session", json={"api_key": wrong})
        contract.error(answer, 401, "unauthorized")
        assert ALICE not in answer.text
    contract.error(client.post("/session", json={"api_key": ALICE, "name": "x"}), 400)
    at_home = {"Origin": "https://studio.example", "Host": "studio.example"}
    answer = client.post("/session", json={"api_key": ALICE}, headers=at_home)
    assert answer.json == {"keys_required": True, "name": "alice"}
    assert ALICE not in answer.text
    cookie = answer.headers["Set-Cookie"]
    assert {part.strip() for part in cookie.split(";")[1:]} == {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"}
    plain = client.post("/session", json={"api_key": ALICE})
    assert "Secure" not in plain.headers["Set-Cookie"], "over HTTP a browser would not take it"
    heard = client.get(f"/download/{hers.song}")
    assert heard.status_code == 200
    assert heard.cache_control.private
    foreign = {"Origin": "http://localhost:8080"}
    assert client.post(f"/jobs/{hers.stems.id}/retry", headers=foreign).status_code == 401
    contract.error(client.get("/songs", headers={"Sec-Fetch-Site": "same-site"}), 401)
    assert client.delete("/session").json["name"] is None
    assert client.get_cookie(COOKIE) is None
    contract.error(client.get("/songs"), 401)


@pytest.mark.parametrize("sender", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_no_other_page_signs_a_browser_in(config: Config, sender: dict[str, str]) -> None:
    from app import create_app

    client = create_app(config).test_client()
    answer = client.post("/session", data={"api_key": ALICE}, headers=sender)
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
    assert client.get_cookie(COOKIE) is None
    assert client.post("/session", data={"api_key": ALICE}).status_code == 200


def test_rates_count_keys_and_who_tries_keys(config: Config) -> None:
    from app import create_app

    client = create_app(dataclasses.replace(config, rate_limit=2)).test_client()
    assert [ask(client, key, "/songs").status_code for key in (ALICE, ALICES_SECOND, ALICE)] == [200, 200, 429]
    elsewhere = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}
    assert ask(client, ALICE, "/songs", **elsewhere).status_code == 429, "the key counts, not the address"
    assert [ask(client, BOB, "/songs").status_code for _ in range(2)] == [200, 200]
    assert [ask(client, new_key(), "/songs").status_code for _ in range(3)] == [401, 401, 429]


def test_no_key_reaches_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for key in (ALICE, "studio_wrong"):
            ask(client, key, "/songs")
            ask(client, None, "/songs", headers={"X-API-Key": key})
            client.post("/session", json={"api_key": key})
    assert "GET /songs 401" in caplog.text
    assert "studio_" not in caplog.text
    assert hash_of(ALICE) not in caplog.text


def test_the_description_tells_of_keys_where_there_are_some(client: FlaskClient, reader: FlaskClient) -> None:
    told, without = client.get("/openapi.json").json, reader.get("/openapi.json").json
    assert told["components"]["securitySchemes"].keys() == {"bearer", "header", "cookie"} == {
        name for each in told["security"] for name in each}  # fmt: skip
    for path, item in told["paths"].items():
        for operation in item.values():
            assert (operation.get("security") == []) == (path in OPEN), path
            assert ("401" in operation["responses"]) >= (path not in OPEN), path
    assert "security" not in without
    assert len(models.REGISTRY) <= sum(path.startswith("/process/") for path in told["paths"])
