"""Key, tempo and harmony of one song or many."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests import contract
from tests.library import NOBODYS, Library, in_background
from tests.serving import Server

CHROMA = {
    "file_id", "analysis_type", "status", "key_info", "tempo_info", "harmonic_complexity", "chord_changes_count",
    "detailed_analysis_file", "message",
}  # fmt: skip
RESULT = {
    "model": "enhanced_chroma", "detected_key": "A major", "confidence": 0.9, "analysis_file": "analysis.json",
    "dominant_pitches": ["A", "C#", "E"], "tempo_bpm": None, "plot_file": None, "key_strength": 0.8, "scale": "major",
    "harmonic_complexity": 0.1, "chord_changes_count": 2,
}  # fmt: skip


def test_one_song(library: Library) -> None:
    library.add_workers()
    file_id = library.add_song()
    waiting = in_background(lambda: library.app.test_client().post(f"/analyze/chroma/{file_id}"))
    library.complete(library.queued(model="pitch_analysis").id, {"analysis.json": b"{}"}, RESULT)
    body = waiting.result(10).json
    assert body.keys() == CHROMA
    assert body == body | {
        "file_id": file_id, "analysis_type": "enhanced_chroma", "status": "completed",
        "key_info": {"detected_key": "A major", "key_strength": 0.8, "scale": "major"},
        "tempo_info": {"tempo_bpm": None}, "harmonic_complexity": 0.1, "chord_changes_count": 2,
        "detailed_analysis_file": "analysis.json",
    }  # fmt: skip


def test_another_variant(library: Library) -> None:
    library.add_workers()
    file_id = library.add_song()
    fields = {"model_variant": "librosa_chroma", "plot": False}
    waiting = in_background(lambda: library.app.test_client().post(f"/analyze/chroma/{file_id}", json=fields))
    job = library.complete(library.queued(model="pitch_analysis").id, {"analysis.json": b"{}"}, RESULT)
    assert (job.variant, job.parameters["plot"]) == ("librosa_chroma", False)
    assert waiting.result(10).json["analysis_type"] == "librosa_chroma"


def test_one_bad_id_never_fails_the_rest(library: Library) -> None:
    library.add_workers()
    good, broken, ids = library.add_song(), library.add_song(), ["x", str(uuid.uuid4()), "../../etc/passwd", ""]
    asked = [ids[0], good, *ids[1:3], broken, ids[3]]
    waiting = in_background(lambda: library.app.test_client().post("/analyze/batch", json={"file_ids": asked}))
    library.complete(library.queued(file_id=good).id, {"analysis.json": b"{}"}, RESULT)
    library.fail(library.queued(file_id=broken).id, "It is noise.")
    body = waiting.result(10).json
    counts = {"batch_analysis": True, "total_files": 6, "successful_analyses": 1, "failed_analyses": 5}
    assert {name: body[name] for name in counts} == counts
    assert body.keys() == {*counts, "results"}
    assert [result["file_id"] for result in body["results"]] == asked
    for result in body["results"]:
        if result["file_id"] == good:
            assert result == {"file_id": good, "success": True, "key": "A major", "tempo": None,
                              "harmonic_complexity": 0.1}  # fmt: skip
        else:
            assert (result.keys(), result["success"]) == ({"file_id", "success", "error"}, False)
    assert {result.get("error") for result in body["results"] if result["file_id"] == broken} == {"It is noise."}


def test_all_are_queued_before_the_first_is_waited_for(library: Library) -> None:
    library.add_workers()
    songs = [library.add_song() for _ in range(3)]
    waiting = in_background(lambda: library.app.test_client().post("/analyze/batch", json={"file_ids": songs}))
    for song in reversed(songs):
        library.complete(library.queued(file_id=song).id, {"analysis.json": b"{}"}, RESULT)
    assert waiting.result(10).json["successful_analyses"] == 3


def test_one_song_twice_is_analysed_once(library: Library) -> None:
    library.add_workers()
    song = library.add_song()
    waiting = in_background(lambda: library.app.test_client().post("/analyze/batch", json={"file_ids": [song, song]}))
    library.complete(library.queued(file_id=song).id, {"analysis.json": b"{}"}, RESULT)
    assert waiting.result(10).json["successful_analyses"] == 2
    assert library.store.count() == 1


def test_nobody_to_do_it(client: FlaskClient, library: Library) -> None:
    song = library.add_song()
    contract.error(client.post(f"/analyze/chroma/{song}"), 503, "model_unavailable")
    (result,) = client.post("/analyze/batch", json={"file_ids": [song]}).json["results"]
    assert (result["success"], "worker" in result["error"]) == (False, True)


@pytest.mark.parametrize(
    "body",
    [{}, {"file_ids": []}, {"file_ids": "x"}, {"file_ids": [1]}, {"file_ids": None}, {"file_ids": ["x"] * 101},
     {"file_ids": ["x"], "model": "y"}, {"file_id": "x"}],
)  # fmt: skip
def test_a_wrong_batch(reader: FlaskClient, body: dict[str, Any]) -> None:
    contract.error(reader.post("/analyze/batch", json=body), 400, "invalid_input")


@pytest.mark.parametrize("file_id", ["x", NOBODYS])
def test_an_unknown_song(reader: FlaskClient, file_id: str) -> None:
    contract.error(reader.post(f"/analyze/chroma/{file_id}"), 404, "not_found")


def test_a_running_service(server: Server, finished: dict[str, Any], tone: Path) -> None:
    body = server.post(f"/analyze/chroma/{finished['file_id']}").json()
    assert (body["status"], body["key_info"]["detected_key"], body["key_info"]["scale"]) == (
        "completed", "A major", "major")  # fmt: skip
    details = server.get(f"/download/{finished['file_id']}/{body['detailed_analysis_file']}")
    assert details.headers["Content-Type"].startswith("application/json")
    gone = server.upload(tone)["file_id"]
    (server.uploads / f"{gone}.wav").unlink()
    batch = server.post("/analyze/batch", file_ids=[gone, finished["file_id"], "x"]).json()
    assert [result["success"] for result in batch["results"]] == [False, True, False]
    assert batch["results"][1]["key"] == "A major"
    assert gone in batch["results"][0]["error"]
    assert server.delete(f"/cleanup/{gone}").status_code == 200
