"""What is asked for again: answered from what is there, unless that was made of something older than there is now."""

from typing import Any

import pytest

from jobs import pipeline
from jobs.job import Job, NewJob
from tests.library import Library

STEMS = {"vocals": b"la", "instrumental": b"lo"}
DEPENDENT = [
    ("karaoke", {}, "upload"), ("karaoke", {"model_variant": "instrumental_only"}, "upload"),
    ("whisper", {}, pipeline.VOCALS), ("gemma_3n", {"task": "analyze"}, "upload"),
    ("gemma_3n", {"task": "transcribe"}, pipeline.VOCALS),
]  # fmt: skip


@pytest.fixture
def song(library: Library) -> str:
    """A song with stems and words, whose jobs are accepted."""
    library.add_workers()
    file_id = library.add_song()
    library.add_stems(file_id, **STEMS)
    hear(library, file_id, "tiny")
    return file_id


def hear(library: Library, file_id: str, variant: str) -> Job:
    """A finished transcription of the upload."""
    heard = library.add_job(file_id=file_id, model="whisper", variant=variant, stage="transcription")
    return library.complete(heard.id, {"words.json": b"{}"}, {"transcription_file": "words.json"})


def separate_anew(library: Library, file_id: str) -> Job:
    """Stems of another variant."""
    job = library.add_job(file_id=file_id, variant="mdx")
    return library.complete(
        job.id, {f"{name}.mp3": content for name, content in STEMS.items()}, {"tracks": list(STEMS)}
    )


def ask(library: Library, file_id: str, model: str, body: dict[str, Any], source: str) -> tuple[Job, bool]:
    """Submit a job; it and whether it was there."""
    parameters = {name: value for name, value in body.items() if name != "model_variant"}
    variant = body.get("model_variant")
    return library.studio.jobs.submit(pipeline.new_job(model, file_id, variant, parameters, source=source))


@pytest.mark.parametrize(("model", "body", "source"), DEPENDENT)
def test_what_was_made_of_older_stems_is_made_again(
    library: Library, song: str, model: str, body: dict[str, Any], source: str
) -> None:
    first, _ = ask(library, song, model, body, source)
    library.complete(first.id, {"made.json": b"{}"}, {"transcription_file": "made.json"})
    assert ask(library, song, model, body, source) == (library.job(first.id), True)
    separate_anew(library, song)
    again, skipped = ask(library, song, model, body, source)
    assert (again.id != first.id, skipped) == (True, False)
    library.complete(again.id, {"made.json": b"{}"}, {"transcription_file": "made.json"})
    assert ask(library, song, model, body, source) == (library.job(again.id), True)


@pytest.mark.parametrize(
    ("model", "body", "made_again"),
    [("karaoke", {}, True), ("gemma_3n", {"task": "analyze"}, True),
     ("karaoke", {"model_variant": "instrumental_only"}, False), ("pitch_analysis", {}, False)],
)  # fmt: skip
def test_newer_words_matter_to_what_reads_words(
    library: Library, song: str, model: str, body: dict[str, Any], made_again: bool
) -> None:
    first, _ = ask(library, song, model, body, "upload")
    library.complete(first.id, {"made.json": b"{}"})
    hear(library, song, "base")
    assert ask(library, song, model, body, "upload")[1] is not made_again


def test_what_ends_while_it_is_looked_for_is_not_done_again(
    library: Library, song: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = ask(library, song, "pitch_analysis", {}, "upload")
    look = library.studio.jobs._finished

    def look_too_early(new: NewJob) -> Job | None:
        """What has just been looked for is there only after this look."""
        found = look(new)
        library.complete(first.id, {"made.json": b"{}"}, {})
        return found

    monkeypatch.setattr(library.studio.jobs, "_finished", look_too_early)
    joined, _ = ask(library, song, "pitch_analysis", {}, "upload")
    assert joined.id == first.id
