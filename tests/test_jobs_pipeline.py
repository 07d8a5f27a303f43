"""The pipeline: what follows what, and what clients are told when a stage ends well, badly or on request."""

import uuid
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from errors import InvalidInput, NotFound
from jobs import pipeline
from jobs.job import CANCELLED, COMPLETED, FAILED, Job, Outcome
from jobs.store import JobStore
from tests.rows import running

SONG, PIPELINE = str(uuid.uuid4()), str(uuid.uuid4())


def the_pipeline() -> pipeline.NewJob:
    """Stems as flac, words by whisper tiny, karaoke."""
    return pipeline.song_pipeline(
        SONG, PIPELINE, "request-1",
        {"model": "demucs", "variant": "htdemucs", "parameters": {"output_format": "flac"}},
        {"model": "whisper", "variant": "tiny", "parameters": {}},
    )  # fmt: skip


def stages(store: JobStore) -> list[Job]:
    """The pipeline's three jobs, each as a worker gets it."""
    found = [running(store, the_pipeline())]
    for _ in range(2):
        store.finish(found[-1], Outcome(COMPLETED, then=pipeline.followers(found[-1])))
        job = store.claim(store.find(status="queued")[0].id, "worker-1")
        assert job is not None
        found.append(job)
    return found


def told(job: Job, status: str, error: str | None = None) -> list[tuple[str, int, str, str | None]]:
    """What clients are told when a job ends."""
    return [(e.stage, e.progress, e.message, e.error) for e in pipeline.closing_events(job, status, error)]


def test_a_job_is_checked_and_completed_with_defaults() -> None:
    job = pipeline.new_job("demucs", SONG, None, {"output_format": "wav"})
    assert (job.model, job.variant, job.queue, job.stage) == ("demucs", "htdemucs", "gpu", "separation")
    assert job.parameters["output_format"] == "wav"
    assert {"shifts", "overlap", "two_stems"} <= job.parameters.keys()
    spelled_out = pipeline.new_job("demucs", SONG, "htdemucs", dict(job.parameters))
    assert spelled_out.parameters_hash == job.parameters_hash
    with pytest.raises(ValidationError):
        pipeline.new_job("demucs", SONG, None, {"output_format": "exe"})
    with pytest.raises(InvalidInput, match="htdemucs_ft"):
        pipeline.new_job("demucs", SONG, "nope", {})
    with pytest.raises(NotFound, match="karaoke"):
        pipeline.new_job("nope", SONG, None, {})


def test_stems_then_words_of_the_voice_then_karaoke(store: JobStore) -> None:
    jobs = stages(store)
    assert [(j.model, j.variant, j.queue, j.stage, j.source) for j in jobs] == [
        ("demucs", "htdemucs", "gpu", "separation", "upload"),
        ("whisper", "tiny", "gpu", "transcription", "vocals"),
        ("karaoke", "full", "cpu", "karaoke", "upload"),
    ]
    assert {(j.file_id, j.pipeline_id, j.request_id) for j in jobs} == {(SONG, PIPELINE, "request-1")}
    assert [len(j.following) for j in jobs] == [2, 1, 0]
    assert pipeline.followers(jobs[-1]) == []
    assert jobs[0].parameters["output_format"] == "flac"


def test_a_follower_equals_what_a_client_would_ask_for(store: JobStore) -> None:
    karaoke = stages(store)[2]
    assert karaoke.parameters_hash == pipeline.new_job("karaoke", SONG, None, {}).parameters_hash


def test_a_chain_of_one_ends_with_itself() -> None:
    new = pipeline.chain([pipeline.new_job("pitch_analysis", SONG, None, {})], PIPELINE, "r")
    assert (new.following, new.pipeline_id, new.request_id) == ((), PIPELINE, "r")
    assert pipeline.upload_event(new).message == "Upload complete, starting analysis..."


def test_the_upload_event_is_the_contracts() -> None:
    event = pipeline.upload_event(the_pipeline())
    assert (event.stage, event.progress, event.message) == ("upload", 100, "Upload complete, starting separation...")


def test_success_closes_the_stage_and_at_the_end_the_whole(store: JobStore) -> None:
    separation, transcription, karaoke = stages(store)
    assert told(separation, COMPLETED) == [("separation", 100, "Audio separation complete", None)]
    assert told(transcription, COMPLETED) == [("transcription", 100, "Transcription complete", None)]
    assert told(karaoke, COMPLETED) == [
        ("karaoke", 100, "Karaoke generation complete", None), ("complete", 100, "All processing complete!", None),
    ]  # fmt: skip


def test_failure_closes_every_stage_that_needs_this_one(store: JobStore) -> None:
    separation, transcription, karaoke = stages(store)
    assert told(separation, FAILED, "disk full") == [
        ("separation", 100, "Separation failed", "disk full"),
        ("transcription", 100, "Transcription failed", "Not started: it needs the separation, which failed."),
        ("karaoke", 100, "Karaoke failed", "Not started: it needs the separation, which failed."),
        ("complete", 100, "Processing failed", "Separation failed: disk full"),
    ]
    assert [row[0] for row in told(transcription, FAILED, "no")] == ["transcription", "karaoke", "complete"]
    assert [row[0] for row in told(karaoke, FAILED, "no")] == ["karaoke", "complete"]


def test_cancelling_closes_the_rest_too(store: JobStore) -> None:
    assert told(stages(store)[1], CANCELLED) == [
        ("transcription", 100, "Transcription cancelled", "Cancelled on request."),
        ("karaoke", 100, "Karaoke failed", "Not started: it needs the transcription, which was cancelled."),
        ("complete", 100, "Processing was cancelled", "Transcription was cancelled: Cancelled on request."),
    ]


def test_a_job_of_its_own_closes_only_its_stage(store: JobStore) -> None:
    job = running(store)
    assert told(job, COMPLETED) == [("separation", 100, "Audio separation complete", None)]
    assert told(job, FAILED, "no") == [("separation", 100, "Separation failed", "no")]
    assert [row[0] for row in told(job, CANCELLED)] == ["separation"]


def test_steps_carry_only_what_is_theirs() -> None:
    step = the_pipeline().following[0]
    assert not step.keys() & {"file_id", "following", "pipeline_id", "request_id"}
    assert asdict(the_pipeline())["following"][1]["model"] == "karaoke"
