"""A synthesised song sent through the service with the demo models, and how right stems, words and times come out."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models import audio
from tests.serving import Server
from training.measures import matched, nearest, sdr
from training.score import SAMPLE_RATE
from training.song import STEMS, Song

LEAST_SDR_DB, LEAST_GAIN_DB = 4.0, 7.0  # of each stem
MOST_WRONG_WORDS = 0.25
LATEST_START_SECONDS = 0.12  # median error
LINE_SECONDS, LEAST_LINES_IN_TIME, LEAST_LINES_FOUND = 0.3, 0.8, 0.7
FAR_SECONDS = 1.0
LRC_TIME = re.compile(r"^\[(\d+):(\d+\.\d+)\]", re.MULTILINE)
DEMO = {
    "auto_process": "true", "wait": "true", "output_format": "wav", "model_variant": "demo",
    "transcription_model": "whisper", "transcription_model_variant": "demo",
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """How right one song came out.

    Attributes
    ----------
    sdr_db, mixture_sdr_db : dict of str to float
        Of each separated stem, and of the mixture in its place; NaN where the true stem is silent.
    true_words, heard_words : int
    wrong_words : int
        To replace, leave out or put in.
    start_errors : np.ndarray
        Of the words that were heard right, in seconds: the karaoke's word starts less the true ones.
    raw_start_errors : np.ndarray
        The same for the transcription's.
    line_errors : np.ndarray
        From each line start of the LRC to the nearest true one, in seconds.
    missed_errors : np.ndarray
        From each true line start to the nearest one of the LRC, in seconds; infinite without any.
    strays : np.ndarray
        From each heard word's start to the nearest moment when a true word is sung, in seconds; infinite without voice.
    """

    sdr_db: dict[str, float]
    mixture_sdr_db: dict[str, float]
    true_words: int
    heard_words: int
    wrong_words: int
    start_errors: np.ndarray
    raw_start_errors: np.ndarray
    line_errors: np.ndarray
    missed_errors: np.ndarray
    strays: np.ndarray

    def heard_far_from_voice(self, seconds: float) -> int:
        """How many words were heard farther than this from any true one."""
        return int((self.strays > seconds).sum())


def judge(server: Server, song: Song, folder: Path) -> Judged:
    """Send a song through the pipeline and compare what comes back with the truth.

    Parameters
    ----------
    server : Server
    song : Song
    folder : Path
        The mixture and the results are written here.
    """
    mixture = folder / "mixture.wav"
    with audio.Writer(mixture, SAMPLE_RATE, 2) as writer:
        writer.write(song.mixture)
    done = server.upload(mixture, **DEMO)
    assert done["status"] == "completed", done
    names = [f"demucs/{name}.wav" for name in STEMS] + ["whisper/transcription_demo.json"]
    names += ["karaoke/karaoke.json", "karaoke/karaoke.lrc"]
    for name in names:
        model, _, file = name.partition("/")
        answer = server.get(f"/download/{model}/{done['file_id']}/{file}")
        assert answer.ok, answer.text
        (folder / file).write_bytes(answer.content)
    return judge_files(song, *(folder / name.partition("/")[2] for name in names))


def heard_without_voice(server: Server, song: Song, folder: Path, seconds: float | None = None) -> dict[str, Any]:
    """Send a song's band alone through the pipeline.

    Parameters
    ----------
    server : Server
    song : Song
    folder : Path
        The music is written here.
    seconds : float, optional
        Of its end; all of it when left out.

    Returns
    -------
    dict
        The transcription's JSON.
    """
    band = song.mixture - song.stems["vocals"]
    with audio.Writer(folder / "band.wav", SAMPLE_RATE, 2) as writer:
        writer.write(band if seconds is None else band[:, -round(seconds * SAMPLE_RATE) :])
    done = server.upload(folder / "band.wav", **DEMO)
    assert done["status"] == "completed", done
    heard: dict[str, Any] = server.get(f"/download/whisper/{done['file_id']}/transcription_demo.json").json()
    return heard


def judge_files(song: Song, *results: Path) -> Judged:
    """Compare what came back for a song with the truth.

    Parameters
    ----------
    song : Song
    *results : Path
        The stems in the order of STEMS, in any format; the transcription's JSON, the karaoke's JSON and its LRC.
    """
    *stem_files, transcribed, sync, lrc = results
    stems = {name: _samples(path, song) for name, path in zip(STEMS, stem_files, strict=True)}
    heard = [word for segment in json.loads(transcribed.read_text())["segments"] for word in segment.get("words", ())]
    spoken = [_plain(word["word"]) for word in heard]
    true = [_plain(word.text) for word in song.words]
    wrong, pairs = matched(true, spoken)
    shown = [word for line in json.loads(sync.read_text())["lines"] for word in line["words"]]
    lines = [60 * int(minutes) + float(seconds) for minutes, seconds in LRC_TIME.findall(lrc.read_text())]
    _, shown_pairs = matched(true, [_plain(word["word"]) for word in shown])
    starts = [word.start_seconds for word in song.words]
    line_starts = [line.start_seconds for line in song.lines]
    return Judged(
        {name: sdr(song.stems[name], stems[name]) for name in STEMS},
        {name: sdr(song.stems[name], song.mixture) for name in STEMS},
        len(true), len(spoken), wrong,
        np.array([shown[place]["start"] - starts[truth] for truth, place in shown_pairs]),
        np.array([heard[place]["start"] - starts[truth] for truth, place in pairs]),
        nearest(lines, line_starts or [np.inf]), nearest(line_starts, lines or [np.inf]),
        np.array([_from_voice(song, word["start"]) for word in heard]),
    )  # fmt: skip


def assert_well_made(judged: Judged) -> None:
    """Assert what the demo models have to reach on every song; bench/demo_models.py measures how far they go.

    Parameters
    ----------
    judged : Judged
        A song with drums and voice.
    """
    for name in STEMS:
        assert judged.sdr_db[name] > LEAST_SDR_DB, (name, judged.sdr_db)
        assert judged.sdr_db[name] - judged.mixture_sdr_db[name] > LEAST_GAIN_DB, (name, judged)
    assert judged.wrong_words <= MOST_WRONG_WORDS * judged.true_words, judged
    for errors in (judged.start_errors, judged.raw_start_errors):
        assert np.median(np.abs(errors)) < LATEST_START_SECONDS, errors
    assert (judged.line_errors <= LINE_SECONDS).mean() >= LEAST_LINES_IN_TIME, judged.line_errors
    assert (judged.missed_errors <= LINE_SECONDS).mean() >= LEAST_LINES_FOUND, judged.missed_errors
    assert judged.heard_far_from_voice(FAR_SECONDS) == 0, judged.strays


def _from_voice(song: Song, seconds: float) -> float:
    """How far a moment is from the nearest word that is sung."""
    gaps = (max(word.start_seconds - seconds, seconds - word.end_seconds, 0.0) for word in song.words)
    return min(gaps, default=float("inf"))


def _samples(path: Path, song: Song) -> np.ndarray:
    """An audio file as samples (2, n), as many as the song has."""
    samples = np.concatenate(list(audio.decode(path, sample_rate=SAMPLE_RATE, channels=2)), axis=1)
    length = song.mixture.shape[1]
    return np.pad(samples[:, :length], ((0, 0), (0, max(0, length - samples.shape[1]))))


def _plain(word: str) -> str:
    """A word without case and punctuation."""
    return re.sub(r"[^\w']", "", word).lower()
