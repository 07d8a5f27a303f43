"""A song goes through the whole service: real server, real clients, real workers, files that are opened and heard."""

import io
import json
import re
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutagen.id3
import numpy as np
import psutil
import pytest
import requests

import models
from jobs.worker import NICENESS
from models import audio
from models.stem_files import LIMIT
from tests import render
from tests.serving import Listener, Server

STEMS = ["vocals", "bass", "drums", "other"]  # in the contract's order
SMALL_VARIANTS = [(name, variant) for name in ("demucs", "whisper", "pitch_analysis") for variant in
                  models.REGISTRY[name].variants]  # fmt: skip
# stage: its first and its last percent and message
CONTRACT = {
    "upload": ((100, "Upload complete, starting separation..."), (100, "Upload complete, starting separation...")),
    "separation": ((10, "Separating audio tracks..."), (100, "Audio separation complete")),
    "transcription": ((10, "Transcribing lyrics with AI..."), (100, "Transcription complete")),
    "karaoke": ((10, "Generating karaoke with synced lyrics..."), (100, "Karaoke generation complete")),
    "complete": ((100, "All processing complete!"), (100, "All processing complete!")),
}
STEP = 2**-15  # of 16-bit samples
LRC_LINE = re.compile(r"\[(\d\d):(\d\d\.\d\d)\] ?(.+)")
LRC_WORD = re.compile(r"<(\d\d):(\d\d\.\d\d)> ?([^<]*)")


@dataclass
class Processed:
    """The song, the answer of its upload, what a client saw, and what it downloaded."""

    server: Server
    song: render.Song
    answer: dict[str, Any]
    events: list[dict[str, Any]]
    folder: Path

    @property
    def file_id(self) -> str:
        return str(self.answer["file_id"])

    def download(self, name: str) -> Path:
        """A result file."""
        answer = self.server.get(f"/download/{self.file_id}/{name}")
        assert answer.ok, answer.text
        path = self.folder / name
        path.write_bytes(answer.content)
        return path


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> render.Song:
    """A band with a voice."""
    return render.song(tmp_path_factory.mktemp("song") / "Dusk - Silver River.wav", 12)


@pytest.fixture(scope="module")
def processed(server: Server, song: render.Song, tmp_path_factory: pytest.TempPathFactory) -> Processed:
    """The song uploaded with auto_process and wait; a client listens from before the upload."""
    listener = server.listen()
    answer = server.upload(song.path, auto_process="true", wait="true", output_format="wav")
    listener.wait_for(answer["file_id"], "complete")
    listener.close()
    return Processed(server, song, answer, listener.of(answer["file_id"]), tmp_path_factory.mktemp("downloads"))


def seconds(minutes: str, rest: str) -> float:
    """A time of an LRC file."""
    return int(minutes) * 60 + float(rest)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two recordings below 8 kHz, above which MP3 keeps little of what random weights make."""
    below = round(8000 * one.shape[1] / 44100)
    a, b = (np.fft.rfft(samples.mean(axis=0))[1:below] for samples in (one, other))
    return float(np.abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b))


def test_events_come_in_the_contracts_order_with_its_words(processed: Processed) -> None:
    stages = list(dict.fromkeys(event["stage"] for event in processed.events if event["stage"] != "loading"))
    assert stages == list(CONTRACT)
    for stage, (first, last) in CONTRACT.items():
        shown = [(event["progress"], event["message"]) for event in processed.events if event["stage"] == stage]
        assert (shown[0], shown[-1]) == (first, last)
    assert all(event["error"] is None for event in processed.events)


def test_progress_comes_from_inside_the_models_and_never_goes_back(processed: Processed) -> None:
    for stage in CONTRACT:
        percents = [event["progress"] for event in processed.events if event["stage"] == stage]
        assert percents == sorted(set(percents))
    separation = [event for event in processed.events if event["stage"] == "separation"]
    assert len(separation) > 2
    numbers = [event["seq"] for event in processed.events]
    assert numbers == [seq for seq, _, _ in processed.server.stored_events(processed.file_id)]
    for event in processed.events:
        assert len(json.dumps(event, separators=(",", ":"))) <= 300


def test_the_answer_has_the_contracts_shape(processed: Processed) -> None:
    answer = processed.answer
    facts = {"filename": "Dusk - Silver River.wav", "title": "Silver River", "artist": "Dusk", "sample_rate": 44100,
             "channels": 2, "duration_seconds": processed.song.duration_seconds, "status": "completed"}  # fmt: skip
    assert {name: answer[name] for name in facts} == facts
    assert [track["name"] for track in answer["tracks"]] == STEMS
    words, package = answer["transcription"], answer["karaoke"]
    assert (words["status"], words["model"], words["model_variant"]) == ("completed", "whisper", "medium")
    assert words["text"]
    assert (package["status"], package["lrc_file"], package["audio_file"]) == (
        "completed", "karaoke.lrc", "karaoke.mp3",
    )  # fmt: skip
    assert package["duration"] == pytest.approx(processed.song.duration_seconds, abs=0.1)
    urls = [track["download_url"] for track in answer["tracks"]] + [words["download_url"], package["download_url"]]
    for url in urls:
        assert processed.server.get(url).ok


def test_stems_sum_to_the_instrumental_at_the_songs_length_and_rate(processed: Processed) -> None:
    stems = {}
    for name in (*STEMS, "instrumental"):
        samples, rate = audio.read(processed.download(f"{name}.wav"))
        assert (rate, samples.shape) == (44100, (2, round(processed.song.duration_seconds * 44100)))
        stems[name] = samples
    rest = stems["drums"] + stems["bass"] + stems["other"]
    # Where a stem or their sum is louder than demucs lets a stem be, it was cut.
    loud = np.any([np.abs(samples) >= LIMIT - STEP for samples in (rest, *stems.values())], axis=0)
    error = np.where(loud, 0, rest - stems["instrumental"])
    assert np.abs(error).max() < 4 * STEP  # three stems and their sum are each rounded to 16 bits
    assert np.abs(stems["vocals"]).max() > 0.001
    assert np.abs(stems["instrumental"]).max() > 0.001


def test_words_have_times_within_the_song(processed: Processed) -> None:
    heard = json.loads(processed.download("transcription_medium.json").read_text())
    assert heard["text"].strip() == processed.answer["transcription"]["text"]
    spoken = [word for segment in heard["segments"] for word in segment["words"]]
    assert spoken
    assert all(0 <= word["start"] <= word["end"] <= processed.song.duration_seconds + 0.1 for word in spoken)
    starts = [word["start"] for word in spoken]
    assert starts == sorted(starts)


def test_the_karaoke_package_agrees_with_itself(processed: Processed) -> None:
    sync = json.loads(processed.download("karaoke.json").read_text())
    assert (sync["title"], sync["artist"]) == ("Silver River", "Dusk")
    lines = sync["lines"]
    assert len(lines) == processed.answer["karaoke"]["total_lines"] > 0
    lrc = processed.download("karaoke.lrc").read_text()
    assert "[ti:Silver River]" in lrc
    assert "[ar:Dusk]" in lrc
    timed = [match for row in lrc.splitlines() if (match := LRC_LINE.fullmatch(row))]
    assert len(timed) == len(lines)
    for match, line in zip(timed, lines, strict=True):
        assert seconds(match[1], match[2]) == pytest.approx(line["start"], abs=0.011)
        words = [(seconds(m[1], m[2]), m[3].strip()) for m in LRC_WORD.finditer(match[3]) if m[3].strip()]
        assert [text for _, text in words] == [word["word"] for word in line["words"]]
        assert [at for at, _ in words] == pytest.approx([word["start"] for word in line["words"]], abs=0.011)


def test_the_karaoke_track_is_the_instrumental_with_its_lyrics(processed: Processed) -> None:
    path = processed.download("karaoke.mp3")
    tags = mutagen.id3.ID3(path)
    lines = json.loads(processed.download("karaoke.json").read_text())["lines"]
    assert (str(tags["TIT2"]), str(tags["TPE1"])) == ("Silver River", "Dusk")
    (plain,), (timed,) = tags.getall("USLT"), tags.getall("SYLT")
    assert plain.text.splitlines() == [line["text"] for line in lines]
    words = [word for line in lines for word in line["words"]]
    assert [text.strip() for text, _ in timed.text] == [word["word"] for word in words]
    assert [at for _, at in timed.text] == [round(word["start"] * 1000) for word in words]
    track, instrumental, vocals = (
        audio.read(processed.download(name))[0] for name in ("karaoke.mp3", "instrumental.wav", "vocals.wav")
    )
    assert track.shape == instrumental.shape
    assert likeness(track, instrumental) > 0.99
    assert likeness(track, vocals) < 0.9


def test_the_archive_holds_everything_once(processed: Processed) -> None:
    answer = processed.server.get(f"/download/{processed.file_id}?archive=zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert archive.read("karaoke/karaoke.json") == processed.download("karaoke.json").read_bytes()
    assert len(names) == len(set(names))
    jobs = processed.server.get(f"/status/{processed.file_id}").json()["jobs"]
    made = {f"{job['model']}/{file['filename']}" for job in jobs for file in job["files"]}
    assert set(names) == made
    assert {f"demucs/{stem}.wav" for stem in STEMS} < made


def test_the_original_comes_back_as_it_was_sent(processed: Processed) -> None:
    assert processed.server.get(f"/download/{processed.file_id}").content == processed.song.path.read_bytes()


def test_the_status_says_that_all_is_done(processed: Processed) -> None:
    status = processed.server.get(f"/status/{processed.file_id}").json()
    assert (status["status"], status["tracks"]) == ("completed", STEMS)
    assert {stage: status["stages"][stage]["progress"] for stage in CONTRACT} == dict.fromkeys(CONTRACT, 100)


@pytest.fixture(scope="module")
def progression(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Chords in C major, uploaded."""
    path = render.progression(tmp_path_factory.mktemp("progression") / "chords.wav", 0, "major")
    return str(server.upload(path)["file_id"])


@pytest.fixture(scope="module")
def clip(server: Server, song: render.Song, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three seconds of the song, uploaded."""
    samples, _ = audio.read(song.path)
    path = render.save(tmp_path_factory.mktemp("clip") / "clip.wav", samples[:, 2 * render.RATE : 5 * render.RATE])
    return str(server.upload(path)["file_id"])


@pytest.mark.parametrize(("model", "variant"), SMALL_VARIANTS)
def test_every_variant_answers(server: Server, clip: str, progression: str, model: str, variant: str) -> None:
    file_id = progression if model == "pitch_analysis" else clip
    answer = server.post(f"/process/{model}/{file_id}", model_variant=variant)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model"], body["model_variant"], body["status"], body["skipped"]) == (
        model, variant, "completed", False,
    )  # fmt: skip
    for file in body["files"]:
        content = server.get(file["download_url"]).content
        assert len(content) == file["size_bytes"] > 0 or file["filename"].endswith((".txt", ".srt", ".lrc"))
    result = body["result"]
    if model == "demucs":
        tracks = [*STEMS, "guitar", "piano"] if variant == "htdemucs_6s" else STEMS
        assert result["tracks"] == tracks
        assert {f"{track}.mp3" for track in tracks} <= {file["filename"] for file in body["files"]}
    elif model == "whisper":
        assert (result["transcription_file"], result["text_file"]) == (
            f"transcription_{variant}.json", f"transcription_{variant}.txt",
        )  # fmt: skip
    else:
        assert result["analysis_file"] == f"pitch_analysis_{variant}.json"
        assert result["detected_key"] == "C major"


def test_what_is_asked_twice_is_done_once(server: Server, clip: str) -> None:
    body = {"output_format": "wav"}
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(server.post(f"/process/demucs/{clip}", **body)))
               for _ in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 4
    (job_id,) = {answer.json()["job_id"] for answer in answers}
    again = server.post(f"/process/demucs/{clip}", **body).json()
    assert (again["job_id"], again["skipped"]) == (job_id, True)
    forced = server.post(f"/process/demucs/{clip}", **body, force=True).json()
    assert forced["skipped"] is False
    assert forced["job_id"] != job_id


def test_workers_step_back_behind_those_who_are_waited_for(server: Server) -> None:
    assert server.process is not None
    own = psutil.Process(server.process.pid).nice()
    workers = [psutil.Process(pid).nice() for queue in ("gpu", "cpu") for pid in server.worker_pids(queue)]
    assert len(workers) == 2
    assert set(workers) == {max(own, NICENESS)} != {own}


def test_who_asks_for_a_stage_of_a_running_pipeline_gets_that_stage(server: Server, song: render.Song) -> None:
    listener: Listener = server.listen()
    upload = server.upload(song.path, auto_process="true", output_format="wav")
    listener.wait_for(upload["file_id"], "separation", 10)
    answer = server.post(f"/process/demucs/{upload['file_id']}", output_format="wav").json()
    assert (answer["model"], answer["job_id"], answer["result"]["tracks"]) == ("demucs", upload["job_id"], STEMS)
    assert listener.of(upload["file_id"], "complete") == [], "it need not wait for the rest"
    server.delete(f"/cleanup/{upload['file_id']}")
    listener.close()
