"""Karaoke package: the instrumental with tags, and the words timed by the voice, in every format players read.

Word times come from the transcription and are corrected by the vocal stem: words where nobody sings are dropped, a word
that reaches into silence is cut back to the voice, and its start is moved to the vocal onset near it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from errors import Conflict
from models import Report, alignment, ass, audio, lines, onsets, singing, subtitles, sync, tags, ultrastar, voice, words
from models.lines import Line
from models.progress import share
from models.singing import Singing
from models.words import Transcript

AUDIO_FILE, LRC_FILE, SYNC_FILE = "karaoke.mp3", "karaoke.lrc", "karaoke.json"
PLAIN_LRC_FILE, SRT_FILE, VTT_FILE, ASS_FILE = "karaoke_plain.lrc", "karaoke.srt", "karaoke.vtt", "karaoke.ass"
ULTRASTAR_FILE = "karaoke.txt"
DEFAULT_BITRATE_KBPS = 320
COPY_BYTES = 1 << 20
GATED, LISTENED, ENCODED = 0.1, 0.6, 0.98  # fraction done after each step

INSTRUMENTAL_ONLY = "Only the instrumental was asked for, so the package has no lyrics."
NO_VOICE = "No voice was found, so the package has no lyrics."


class Request(BaseModel):
    """What a caller may ask of karaoke."""

    model_config = ConfigDict(extra="forbid")

    lyrics: str | None = Field(
        default=None, pattern=r"\S", max_length=20_000,
        description="The song's words when they are known, one lyric line per line; they are timed instead of heard.",
    )
    title: str | None = Field(default=None, max_length=300, description="Title for the tags, if not the song's own.")
    artist: str | None = Field(default=None, max_length=300, description="Artist for the tags, if not the song's own.")
    mp3_bitrate: int | None = Field(
        default=None, ge=32, le=320,
        description="Of the track, in kbit/s. Without it an MP3 instrumental is taken as it is; others get 320.",
    )
    snap_to_onsets: bool = Field(True, description="Correct word times by the onsets and rests of the voice.")
    max_line_characters: int = Field(
        48, ge=10, le=200,
        description="Longest lyric line; wide characters count twice. Given lyrics keep their own lines.",
    )


class Inputs(Request):
    """A request with the files that the song has by now.

    Attributes
    ----------
    vocals, transcription : Path or None
        Vocal stem and `whisper` JSON; `instrumental_only` needs neither. When `lyrics` were given, the transcription is
        the alignment of those: `"aligned": true` and one segment for each lyric line.
    instrumental : Path
    song_title, song_artist : str
        What the song itself is called.
    """

    vocals: Path | None = None
    instrumental: Path
    transcription: Path | None = None
    song_title: str = ""
    song_artist: str = ""


class Result(BaseModel):
    """The package; file names are relative to its folder."""

    lrc_file: str | None = Field(default=None, description="Enhanced LRC, with a time for every word.")
    audio_file: str
    sync_file: str | None = None
    total_lines: int = 0
    duration: float = Field(description="Of the track, in seconds.")
    files: list[str]
    message: str | None = None


@dataclass(frozen=True)
class Lyrics:
    """The timed lines and the voice they were timed by, None when there are no words."""

    lines: list[Line]
    language: str | None
    singing: Singing | None


@dataclass(frozen=True)
class Karaoke:
    """Nothing is loaded: karaoke has no weights."""

    variant: str


def load(variant: str, device: str, weights: Path | None) -> Karaoke:
    """What run() takes; karaoke needs no device and no weights."""
    return Karaoke(variant)


def run(model: Karaoke, request: Inputs, audio_path: Path, out_dir: Path, report: Report) -> Result:
    """Make the package.

    Parameters
    ----------
    model : Karaoke
        Of load().
    request : Inputs
    audio_path : Path
        The song as uploaded; the package is made from its stems.
    out_dir : Path
    report : Report
        Follows the audio that was measured and written.

    Returns
    -------
    Result

    Raises
    ------
    Conflict
        When the vocal stem or the transcription that the variant needs is missing, or given lyrics are not aligned.
    InvalidInput
        When the transcription is not one.
    UnsupportedAudio, NotFound
        When a stem does not decode, or is gone.
    """
    title, artist = (
        words.clean(text).strip()
        for text in (request.title or request.song_title, request.artist or request.song_artist)
    )
    if model.variant == "instrumental_only":
        duration = _track(request, out_dir / AUDIO_FILE, report)
        tags.write(out_dir / AUDIO_FILE, title=title, artist=artist)
        return Result(audio_file=AUDIO_FILE, duration=duration, files=[AUDIO_FILE], message=INSTRUMENTAL_ONLY)
    lyrics = _lyrics(request, report)
    duration = _track(request, out_dir / AUDIO_FILE, share(report, LISTENED, ENCODED))
    tags.write(
        out_dir / AUDIO_FILE, title=title, artist=artist, language=lyrics.language, lines=lyrics.lines,
        text="\n".join(words.clean(row).strip() for row in request.lyrics.splitlines()) if request.lyrics else None,
    )
    texts = _texts(lyrics, title, artist, duration)
    for name, text in texts.items():
        (out_dir / name).write_text(text, encoding="utf-8", newline="\n")
    report(1.0)
    return Result(
        lrc_file=LRC_FILE, audio_file=AUDIO_FILE, sync_file=SYNC_FILE, total_lines=len(lyrics.lines),
        duration=duration, files=[AUDIO_FILE, *texts], message=None if lyrics.lines else NO_VOICE,
    )


def _lyrics(request: Inputs, report: Report) -> Lyrics:
    """The lines of the transcription, timed by the voice."""
    if request.vocals is None or request.transcription is None:
        missing = "vocal stem" if request.vocals is None else "transcription"
        raise Conflict(f"The song has no {missing} yet; ask for instrumental_only or make it first.")
    heard = words.read(request.transcription)
    if request.lyrics and not _is_alignment(heard, request.lyrics):
        raise Conflict("These lyrics are not aligned to the voice yet; run whisper with them on the song first.")
    loudness = voice.listen(request.vocals, share(report, 0.0, GATED))
    sung = heard.words if heard.aligned else words.voiced(heard.words, voice.passages(loudness))
    if not sung:
        return Lyrics([], heard.language, None)
    measured = singing.listen(request.vocals, loudness, sung, share(report, GATED, LISTENED))
    if request.snap_to_onsets:
        sung = words.fit(sung, singing.sounding(loudness))
        sung = onsets.snap(sung, *onsets.peaks(measured.onset))
    broken = lines.by_segment(sung) if heard.aligned else lines.split(sung, request.max_line_characters)
    return Lyrics(broken, heard.language, measured)


def _is_alignment(heard: Transcript, lyrics: str) -> bool:
    """Whether a transcription times these lyrics; one without words found no voice to time them by."""
    given = "".join(alignment.sung_lines(lyrics.splitlines()))
    timed = "".join(word.text for word in heard.words)
    return heard.aligned and (not timed or words.clean(timed).replace(" ", "") == words.clean(given).replace(" ", ""))


def _track(request: Inputs, path: Path, report: Callable[[float], None]) -> float:
    """Write the instrumental as MP3; its length in seconds."""
    source = request.instrumental
    known = audio.probe(source)
    if source.suffix.lower() == ".mp3" and request.mp3_bitrate is None:
        _copy(source, path, report)
        return known.duration_seconds
    channels, done = min(known.channels, 2), 0
    bitrate = request.mp3_bitrate or DEFAULT_BITRATE_KBPS
    with audio.Writer(path, known.sample_rate, channels, bitrate_kbps=bitrate) as writer:
        for block in audio.decode(source, sample_rate=known.sample_rate, channels=channels):
            writer.write(block)
            done += block.shape[1]
            report(min(done / known.sample_rate / max(known.duration_seconds, 1.0), 1.0))
    return done / known.sample_rate


def _copy(source: Path, target: Path, report: Callable[[float], None]) -> None:
    """Copy a file piece by piece."""
    size = source.stat().st_size
    with source.open("rb") as file, target.open("wb") as out:
        while piece := file.read(COPY_BYTES):
            out.write(piece)
            report(out.tell() / size)


def _texts(lyrics: Lyrics, title: str, artist: str, duration: float) -> dict[str, str]:
    """Every text file of the package by its name."""
    head = {"ti": title, "ar": artist, "length": f"{int(duration) // 60:02}:{int(duration) % 60:02}"}
    texts = {
        LRC_FILE: subtitles.enhanced_lrc(lyrics.lines, head),
        PLAIN_LRC_FILE: subtitles.lrc(lyrics.lines, head),
        SRT_FILE: subtitles.srt(lyrics.lines),
        VTT_FILE: subtitles.vtt(lyrics.lines),
        ASS_FILE: ass.script(lyrics.lines, title),
        SYNC_FILE: sync.document(lyrics.lines, title, artist, lyrics.language, duration),
    }
    if lyrics.lines and lyrics.singing:
        texts[ULTRASTAR_FILE] = ultrastar.song(
            lyrics.lines, title=title, artist=artist, audio_file=AUDIO_FILE, semitones=lyrics.singing.semitones
        )
    return texts
