"""A synthesised song sent through the service with the demo models, and how right stems, words and times come out."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import audio
from tests.serving import Server
from training.measures import matched, nearest, sdr
from training.score import SAMPLE_RATE
from training.song import STEMS, Song

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
        The mixture and the stems lie here meanwhile.
    """
    mixture = folder / "mixture.wav"
    with audio.Writer(mixture, SAMPLE_RATE, 2) as writer:
        writer.write(song.mixture)
    done = server.upload(mixture, **DEMO)
    assert done["status"] == "completed", done
    stems = {name: _download(server, f"/download/demucs/{done['file_id']}/{name}.wav", folder) for name in STEMS}
    transcription = server.get(f"/download/whisper/{done['file_id']}/transcription_demo.json").json()
    heard = [word for segment in transcription["segments"] for word in segment.get("words", ())]
    spoken = [_plain(word["word"]) for word in heard]
    true = [_plain(word.text) for word in song.words]
    wrong, pairs = matched(true, spoken)
    shown, lines = _karaoke(server, done["file_id"]) if heard else ([], [])
    _, shown_pairs = matched(true, [_plain(word["word"]) for word in shown])
    starts = [word.start_seconds for word in song.words]
    return Judged(
        {name: sdr(song.stems[name], stems[name]) for name in STEMS},
        {name: sdr(song.stems[name], song.mixture) for name in STEMS},
        len(true), len(spoken), wrong,
        np.array([shown[place]["start"] - starts[truth] for truth, place in shown_pairs]),
        np.array([heard[place]["start"] - starts[truth] for truth, place in pairs]),
        nearest(lines, [line.start_seconds for line in song.lines]) if lines and song.lines else np.array([]),
        np.array([_from_voice(song, word["start"]) for word in heard]),
    )  # fmt: skip


def _from_voice(song: Song, seconds: float) -> float:
    """How far a moment is from the nearest word that is sung."""
    gaps = (max(word.start_seconds - seconds, seconds - word.end_seconds, 0.0) for word in song.words)
    return min(gaps, default=float("inf"))


def _karaoke(server: Server, file_id: str) -> tuple[list[dict[str, float | str]], list[float]]:
    """The karaoke's words, and the times at which the LRC's lines start."""
    sync = server.get(f"/download/karaoke/{file_id}/karaoke.json").json()
    lrc = server.get(f"/download/karaoke/{file_id}/karaoke.lrc").text
    lines = [60 * int(minutes) + float(seconds) for minutes, seconds in LRC_TIME.findall(lrc)]
    return [word for line in sync["lines"] for word in line["words"]], lines


def _download(server: Server, path: str, folder: Path) -> np.ndarray:
    """A wav as samples (2, n)."""
    answer = server.get(path)
    assert answer.ok, answer.text
    (folder / "stem.wav").write_bytes(answer.content)
    return np.concatenate(list(audio.decode(folder / "stem.wav", sample_rate=SAMPLE_RATE, channels=2)), axis=1)


def _plain(word: str) -> str:
    """A word without case and punctuation."""
    return re.sub(r"[^\w']", "", word).lower()
