"""Events: the contract's stages and messages, and a payload that stays small whatever is in it."""

import json
import random
import uuid
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from jobs.events import MAX_PAYLOAD_BYTES, STAGES, Event, failed, first, last, payload

CONTRACT = {
    "separation": ("Separating audio tracks...", "Audio separation complete"),
    "transcription": ("Transcribing lyrics with AI...", "Transcription complete"),
    "karaoke": ("Generating karaoke with synced lyrics...", "Karaoke generation complete"),
}
ALPHABETS = {
    "ascii": "the quick brown fox ", "cyrillic": "ђорђе песма ", "japanese": "東京事変", "emoji": "🎵🎤",
    "escapes": '\\"\n\t\x01',
}  # fmt: skip


def stored(event: Event) -> SimpleNamespace:
    """An event as its row, with numbers as large as they get."""
    return SimpleNamespace(seq=2**31, job_id=str(uuid.uuid4()), file_id=str(uuid.uuid4()), created_at=1763718000.123456,
                           **asdict(event))  # fmt: skip


def size(event: Event) -> int:
    """Bytes of the payload on the wire."""
    return len(json.dumps(payload(stored(event)), separators=(",", ":")).encode())


def test_limit() -> None:
    assert MAX_PAYLOAD_BYTES == 300


@pytest.mark.parametrize("stage", CONTRACT)
def test_stages_begin_and_end_with_their_fixed_words(stage: str) -> None:
    begins, ends = CONTRACT[stage]
    assert (first(stage).stage, first(stage).progress, first(stage).message) == (stage, 10, begins)
    assert (last(stage).stage, last(stage).progress, last(stage).message) == (stage, 100, ends)
    assert first(stage).error is last(stage).error is None


def test_upload_and_complete_have_only_a_last_word() -> None:
    assert (last("upload").progress, last("upload").message) == (100, "Upload complete, starting separation...")
    assert (last("complete").progress, last("complete").message) == (100, "All processing complete!")


@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_says_which_stage_and_why(stage: str) -> None:
    event = failed(stage, "the disk is full")
    assert (event.stage, event.progress, event.error) == (stage, 100, "the disk is full")
    assert event.message == f"{STAGES[stage].title} failed"


def test_payload_has_the_contracts_fields() -> None:
    row = stored(Event("separation", 42, "Separating audio tracks...", eta_seconds=12.3456))
    assert payload(row) == {
        "file_id": row.file_id, "stage": "separation", "progress": 42, "message": "Separating audio tracks...",
        "error": None, "job_id": row.job_id, "seq": 2**31, "timestamp": 1763718000.12, "eta_seconds": 12.3,
    }  # fmt: skip


def test_an_unknown_remaining_time_is_left_out() -> None:
    assert "eta_seconds" not in payload(stored(first("separation")))


@pytest.mark.parametrize("stage", STAGES)
def test_ordinary_payloads_are_whole(stage: str) -> None:
    for event in (first(stage), last(stage), Event(stage, 99, STAGES[stage].first, eta_seconds=86400.0)):
        assert payload(stored(event))["message"] == event.message
        assert size(event) <= MAX_PAYLOAD_BYTES


@pytest.mark.parametrize("letters", ALPHABETS.values(), ids=ALPHABETS)
@pytest.mark.parametrize("stage", STAGES)
def test_payload_stays_small_whatever_the_error_says(letters: str, stage: str) -> None:
    dice = random.Random(stage)
    for length in (*range(60), 300, 5000):
        text = "".join(dice.choices(letters, k=length))
        for event in (failed(stage, text), Event(stage, 50, text, eta_seconds=86400.0), Event(stage, 100, text, text)):
            assert size(event) <= MAX_PAYLOAD_BYTES


def test_a_reason_that_fits_is_whole_and_one_that_does_not_keeps_its_beginning() -> None:
    fits = payload(stored(failed("separation", "The disk is full.")))
    assert fits["error"] == "The disk is full."
    reason = "The model needs 16 GB of memory, there were 3 GB. " * 20
    cut = payload(stored(failed("separation", reason)))["error"]
    assert cut.endswith("...")
    assert reason.startswith(cut[:-3].rstrip())
    assert len(cut) > 30
    assert MAX_PAYLOAD_BYTES - 10 < size(failed("separation", reason)) <= MAX_PAYLOAD_BYTES
