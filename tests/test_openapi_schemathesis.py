"""The description against the service, by Schemathesis: thousands of requests made of it, good and bad, and all checks.

EXAMPLES says how many are drawn for each operation, besides those that Schemathesis lays on every rule's edges; `make
schemathesis` draws two hundred. Drawing is seeded: SEED says with what.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from flask_openapi3 import OpenAPI
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import StopReason, events, from_schema

import models
from config import Config
from jobs import pipeline
from jobs.job import CANCELLED, QUEUED
from tests.library import NOBODYS, Library

EXAMPLES = int(os.environ.get("EXAMPLES", "3"))
SEED = int(os.environ.get("SEED", "1"))
LEAST_CASES = 1500
RESULTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "demucs": (["vocals.mp3", "drums.mp3", "instrumental.mp3"],
               {"tracks": ["vocals", "drums"], "sample_rate": 44100, "duration_seconds": 3.0}),
    "whisper": (["transcription_medium.json", "transcription_medium.txt"],
                {"transcription_file": "transcription_medium.json", "text_file": "transcription_medium.txt",
                 "language": "en", "text": "la", "segment_count": 1, "duration_seconds": 3.0}),
    "pitch_analysis": (["pitch_analysis_enhanced_chroma.json"],
                       {"detected_key": "C major", "confidence": 0.5, "dominant_pitches": ["C", "E", "G"],
                        "analysis_file": "pitch_analysis_enhanced_chroma.json", "tempo_bpm": None, "plot_file": None,
                        "key_strength": 0.5, "scale": "major", "harmonic_complexity": 0.5, "chord_changes_count": 3}),
    "karaoke": (["karaoke.mp3", "karaoke.lrc"],
                {"lrc_file": "karaoke.lrc", "audio_file": "karaoke.mp3", "total_lines": 1, "duration": 3.0}),
}  # fmt: skip


def cannot_be_described(*statuses: int) -> dict[str, Any]:
    """What good requests may answer besides, where a rule is none of one field alone."""
    usual = ["2xx", "3xx", "401", "403", "404", "409", "429", "5xx"]
    return {"positive_data_acceptance": {"expected-statuses": [*usual, *map(str, statuses)]}}


def settings(*operations: dict[str, Any], **more: Any) -> SchemathesisConfig:
    """All checks. What two of them expect is widened by what the contract says, none is switched off."""
    uploads = [{"include-name": f"POST {path}", "checks": cannot_be_described(400, 415)}
               for path in ("/upload", "/upload/{model_name}", "/transcribe")]  # fmt: skip
    # A variant has to be one of the model that is chosen, and a file one that decodes; 32 bits need wav; a heading
    # in brackets is no line of lyrics.
    models_own = [{"include-name": f"POST /process/{name}/{{file_id}}", "checks": cannot_be_described(400)}
                  for name in ("demucs", "whisper")]  # fmt: skip
    return SchemathesisConfig.from_dict({
        "seed": SEED, "continue-on-failure": True,
        "generation": {"max-examples": EXAMPLES, "database": "none"},
        # 503 is the contract's word for a model, or a worker, that is not there; 500 and 507 stay what they are.
        "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]}},
        "operations": [*uploads, *models_own, *operations],
    } | more)  # fmt: skip


def run(app: OpenAPI, config: SchemathesisConfig) -> Counter[tuple[str, int]]:
    """Send everything; how often each operation answered which status. Asserts that no check failed."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=config)
    answers, failures, cases = Counter[tuple[str, int]](), set[str](), 0
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.FatalError | events.NonFatalError), vars(event)
        if isinstance(event, events.EngineFinished):
            assert (event.stop_reason, event.failures) == (StopReason.COMPLETED, [])
        if not isinstance(event, events.ScenarioFinished):
            continue
        cases += len(event.recorder.cases)
        for case_id, interaction in event.recorder.interactions.items():
            assert interaction.response is not None
            case = event.recorder.cases[case_id].value
            if case.operation.label.startswith(f"{case.method} "):  # others ask for a method that there is not
                answers[case.operation.label, interaction.response.status_code] += 1
        for case_id, checks in event.recorder.checks.items():
            response = event.recorder.interactions[case_id].response
            said = response.content[:500] if response else None
            failures |= {f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}\n{said!r}"
                         for check in checks if check.failure_info}  # fmt: skip
    assert not failures, f"{len(failures)} failures, seed {SEED}:\n" + "\n\n".join(sorted(failures)[:20])
    statuses = Counter(status for _, status in answers.elements())
    print(f"{cases} requests: {dict(sorted(statuses.items()))}")
    return answers


@pytest.fixture(autouse=True)
def hypothesis_home(pytestconfig: pytest.Config) -> None:
    """Hypothesis keeps what it makes beside what pytest keeps."""
    set_hypothesis_home_dir(pytestconfig.cache.mkdir("hypothesis"))


@pytest.fixture
def config(config: Config) -> Config:
    """Settings by which workers that do nothing are alive to the end."""
    return replace(config, silence_seconds=3600)


@pytest.fixture
def full(library: Library) -> Iterator[dict[str, list[str]]]:
    """Songs with results, jobs of every kind, workers of which nobody runs a job; values for parameters by name.

    Whoever waits for a job need not wait long: it is cancelled.
    """
    library.add_workers()
    songs = [library.add_song(title=title) for title in ("River", "Ωδή", "")]
    doomed = [library.add_song() for _ in range(20)]
    for name, (names, result) in RESULTS.items():
        for song in songs[:2]:
            new = pipeline.new_job(name, song, None, {})
            job, _ = library.store.create(new)
            library.complete(job.id, dict.fromkeys(names, b"ID3"), {"model": new.variant, **result, "files": names})
    failed = library.fail(library.add_job(file_id=songs[2]).id)
    waiting = library.add_job(file_id=songs[2], model="whisper", variant="tiny", stage="transcription")
    generated = library.store.create(pipeline.new_job("musicgen", NOBODYS, None, {"prompt": "rain"}))[0]
    library.claim(generated.id)
    jobs = [job.id for job in library.store.find(file_id=tuple(songs[:2]))]
    stopping = threading.Event()

    def cancel_all() -> None:
        while not stopping.is_set():
            for job in library.store.find(status=QUEUED):
                library.store.request_cancel(job.id, pipeline.closing_events(job, CANCELLED))
            library.studio.jobs.tail.wait_for_change(0.5)

    canceller = threading.Thread(target=cancel_all)
    canceller.start()
    yield {
        "file_id": [*songs, NOBODYS], "doomed": doomed, "job_id": [*jobs[:3], failed.id, waiting.id, generated.id],
        "model_name": list(models.REGISTRY), "filename": ["vocals.mp3", "karaoke.lrc"],
        "track": ["vocals", "drums.mp3"],
    }  # fmt: skip
    stopping.set()
    canceller.join()


def test_an_empty_service_answers_as_described(app: OpenAPI) -> None:
    answers = run(app, settings(phases={"coverage": {"enabled": False}}))  # it is the same for what there is not
    assert answers["POST /generate/text-to-music", 503] > 0, "no worker is alive"


def test_a_full_library_answers_as_described(app: OpenAPI, full: dict[str, list[str]]) -> None:
    known = {name: {"dictionary": name, "probability": 0.7} for name in full if name != "doomed"}
    named = {f"path.{name}": binding for name, binding in known.items()}
    config = settings(
        {"include-method": "DELETE", "parameters": {"path.file_id": {"dictionary": "doomed"}}},
        dictionaries={name: {"values": values} for name, values in full.items()},
        parameters=named | {"query.job": known["job_id"], "query.file_id": known["file_id"]},
    )
    answers = run(app, config)
    assert sum(answers.values()) >= LEAST_CASES
    for operation in ("GET /download/{file_id}/{track}", "POST /process/demucs/{file_id}", "GET /jobs/{job_id}",
                      "POST /analyze/chroma/{file_id}", "DELETE /songs/{file_id}"):  # fmt: skip
        assert answers[operation, 200] > 0, "what is there was found"
