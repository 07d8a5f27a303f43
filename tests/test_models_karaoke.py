"""The karaoke package of a song whose words and their times are known, read back with parsers of its formats."""

import json
import random
import re
from itertools import pairwise

import numpy as np
import pytest
from mutagen.id3 import ID3
from mutagen.mp3 import MP3
from pydantic import ValidationError

from errors import Cancelled, Conflict
from models import audio, karaoke
from tests import render
from tests.test_models_ass import parse as parse_ass
from tests.test_models_ultrastar import parse as parse_ultrastar

ALL_FILES = {
    "karaoke.mp3", "karaoke.lrc", "karaoke_plain.lrc", "karaoke.srt", "karaoke.vtt", "karaoke.ass", "karaoke.json",
    "karaoke.txt",
}  # fmt: skip
TOLERANCE_SECONDS = 0.08  # from the consonant that begins a word to its vowel


def quiet(fraction, message=None):
    """A report that nobody reads."""


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    return render.song(tmp_path_factory.mktemp("song") / "song.flac", 24)


@pytest.fixture(scope="module")
def band_mp3(song):
    return band_part(song, song.band_path.with_suffix(".mp3"), song.duration_seconds)


def band_part(song, path, seconds):
    """The band's first seconds in a file."""
    samples, rate = audio.read(song.band_path)
    with audio.Writer(path, rate, 2, bitrate_kbps=192) as writer:
        writer.write(samples[:, : round(seconds * rate)])
    return path


@pytest.fixture(scope="module")
def transcription(song):
    """The song's words as a transcriber hears them: 0.09 s off at most, one far too early, some invented."""
    dice = random.Random(3)
    heard = [
        {"word": f" {word.text}", "start": max(0.0, word.start_seconds + dice.uniform(-0.09, 0.09)),
         "end": word.end_seconds + dice.uniform(-0.05, 0.05), "probability": dice.uniform(0.6, 1.0)}
        for word in song.words
    ]  # fmt: skip
    second = next(n for n, word in enumerate(song.words) if word.start_seconds >= song.passages[1][0])
    heard[second]["start"] -= 0.9
    middle = (song.passages[0][1] + song.passages[1][0]) / 2
    invented = [{"word": " Thanks", "start": middle, "end": middle + 0.4, "probability": 0.2},
                {"word": " everyone", "start": middle + 0.4, "end": middle + 0.4, "probability": 0.1}]  # fmt: skip
    groups = [heard[:7], heard[7:second], invented, heard[second : second + 9], heard[second + 9 :]]
    return write_transcription(song.path.parent / "transcription_tiny.json", [group for group in groups if group])


def write_transcription(path, groups, **fields):
    segments = [
        {"id": n, "start": group[0]["start"], "end": group[-1]["end"], "text": "".join(w["word"] for w in group),
         "words": group, "avg_logprob": -0.2, "confidence": 0.8}
        for n, group in enumerate(groups)
    ]  # fmt: skip
    text = "".join(segment["text"] for segment in segments)
    body = {"text": text, "language": "en", "model_variant": "tiny", "segments": segments, **fields}
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def package(song, band_mp3, transcription, tmp_path_factory):
    """(result, folder) of the default request."""
    folder = tmp_path_factory.mktemp("package")
    inputs = karaoke.Inputs(
        vocals=song.voice_path, instrumental=band_mp3, transcription=transcription, song_title="Đorđe [live]\n{1}",
        song_artist="Silver & the <Rivers>",
    )
    return karaoke.run(karaoke.load("full", "cpu", None), inputs, song.path, folder, quiet), folder


def make(folder, *, variant="full", report=quiet, **inputs):
    """Run karaoke into that folder."""
    request = karaoke.Inputs(**inputs)
    return karaoke.run(karaoke.load(variant, "cpu", None), request, request.instrumental, folder, report)


def read_sync(folder):
    return json.loads((folder / "karaoke.json").read_text(encoding="utf-8"))


def lrc_seconds(stamp):
    minutes, rest = stamp.split(":")
    return int(minutes) * 60 + float(rest)


def parse_lrc(text):
    """(tags, [(line start, [(word start, word)], line end)]); a plain line has no words' times."""
    tags, lines = {}, []
    for row in text.splitlines():
        if found := re.fullmatch(r"\[([a-z]+):(.*)\]", row):
            tags[found[1]] = found[2]
            continue
        stamp, rest = re.fullmatch(r"\[(\d{2,}:\d\d\.\d\d)\](.*)", row).groups()
        pieces = re.split(r"<(\d{2,}:\d\d\.\d\d)>", rest)
        words = [(lrc_seconds(time), word) for time, word in zip(pieces[1::2], pieces[2::2], strict=True)]
        lines.append((lrc_seconds(stamp), words[:-1] or rest, words[-1][0] if words else None))
    return tags, lines


def parse_cues(text, point):
    """[(start, end, text)] of SubRip or WebVTT."""
    clock = rf"(\d\d):(\d\d):(\d\d){re.escape(point)}(\d\d\d)"
    found = re.findall(rf"^{clock} --> {clock}\n(.+)\n$", text, flags=re.MULTILINE)
    return [
        (sum(int(n) * f for n, f in zip(row[:4], (3600, 60, 1, 0.001), strict=True)),
         sum(int(n) * f for n, f in zip(row[4:8], (3600, 60, 1, 0.001), strict=True)), row[8])
        for row in found
    ]  # fmt: skip


def test_the_result_names_every_file(package, song):
    result, folder = package
    assert set(result.files) == ALL_FILES == {path.name for path in folder.iterdir()}
    assert (result.audio_file, result.lrc_file, result.sync_file) == ("karaoke.mp3", "karaoke.lrc", "karaoke.json")
    assert result.duration == pytest.approx(song.duration_seconds, abs=0.05)
    assert result.message is None
    assert result.total_lines == len(read_sync(folder)["lines"])


def test_every_word_is_there_at_the_time_it_is_sung(package, song, transcription):
    sync = read_sync(package[1])
    found = [word for line in sync["lines"] for word in line["words"]]
    assert [word["word"] for word in found] == [word.text for word in song.words]
    truth = np.array([word.start_seconds for word in song.words])
    errors = np.abs([word["start"] for word in found] - truth)
    given = json.loads(transcription.read_text(encoding="utf-8"))["segments"]
    before = [w["start"] for s in given for w in s["words"] if w["word"] not in (" Thanks", " everyone")]
    assert np.median(errors) < 0.4 * np.median(np.abs(before - truth))
    assert np.quantile(errors, 0.9) < TOLERANCE_SECONDS
    assert errors.max() < 0.25  # the one that was 0.9 s early too
    assert all(a["end"] <= b["start"] for a, b in pairwise(found))


def test_lines_break_at_the_rest_and_start_with_their_first_word(package, song):
    lines = read_sync(package[1])["lines"]
    assert all(line["start"] == line["words"][0]["start"] and line["end"] == line["words"][-1]["end"] for line in lines)
    assert all(len(line["text"]) <= 48 for line in lines)
    assert all(0.6 <= line["confidence"] <= 1.0 for line in lines)
    starts = np.array([line["start"] for line in lines])
    for passage, _ in song.passages:
        assert np.abs(starts - passage).min() < TOLERANCE_SECONDS
    assert not any(song.passages[0][1] < line["start"] < song.passages[1][0] - 0.1 for line in lines)


def test_sync_file_says_what_it_is(package):
    sync = read_sync(package[1])
    assert (sync["title"], sync["artist"], sync["language"]) == ("Đorđe [live] {1}", "Silver & the <Rivers>", "en")
    assert sync["duration"] == pytest.approx(package[0].duration, abs=0.001)


def test_all_formats_tell_the_same_words_and_times(package):
    folder = package[1]
    lines = read_sync(folder)["lines"]
    text = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("karaoke*") if path.suffix != ".mp3"}
    tags, enhanced = parse_lrc(text["karaoke.lrc"])
    assert tags == {"ti": "Đorđe (live) {1}", "ar": "Silver & the ‹Rivers›", "length": "00:24"}
    _, plain = parse_lrc(text["karaoke_plain.lrc"])
    cues, vtt_cues = parse_cues(text["karaoke.srt"], ","), parse_cues(text["karaoke.vtt"], ".")
    events = parse_ass(text["karaoke.ass"])
    header, phrases = parse_ultrastar(text["karaoke.txt"])
    assert (header["MP3"], header["TITLE"]) == ("karaoke.mp3", "Đorđe [live] {1}")
    for line, lrc, bare, srt, vtt, ass, notes in zip(
        lines, enhanced, plain, cues, vtt_cues, events, phrases, strict=True
    ):
        assert lrc[0] == bare[0] == pytest.approx(line["start"], abs=0.006)
        assert lrc[2] == pytest.approx(line["end"], abs=0.006)
        assert "".join(word for _, word in lrc[1]) == bare[1] == srt[2] == vtt[2] == line["text"]
        assert srt[:2] == vtt[:2] == pytest.approx((line["start"], line["end"]), abs=0.002)
        assert "".join(word[2] for word in ass[2]) == "".join(note[4] for note in notes) == line["text"]
        for word, (time, _), (begin, end, _), note in zip(line["words"], lrc[1], ass[2], notes, strict=True):
            assert time == pytest.approx(word["start"], abs=0.006)
            assert (begin, end) == pytest.approx((word["start"], word["end"]), abs=0.007)
            assert note[1] == pytest.approx(word["start"], abs=0.03)


def test_the_track_is_the_instrumental_with_tags(package, band_mp3):
    folder = package[1]
    np.testing.assert_array_equal(audio.read(folder / "karaoke.mp3")[0], audio.read(band_mp3)[0])
    tags, sync = ID3(folder / "karaoke.mp3"), read_sync(folder)
    assert (tags["TIT2"].text, tags["TPE1"].text) == (["Đorđe [live] {1}"], ["Silver & the <Rivers>"])
    assert tags["USLT::eng"].text.split("\n") == [line["text"] for line in sync["lines"]]
    timed = [(text.strip(), time) for text, time in tags["SYLT::eng"].text]
    assert timed == [(w["word"], round(w["start"] * 1000)) for line in sync["lines"] for w in line["words"]]
    assert "".join(text for text, _ in tags["SYLT::eng"].text) == tags["USLT::eng"].text


def test_another_format_or_a_bitrate_is_encoded(song, tmp_path):
    wav, mp3 = band_part(song, tmp_path / "band.wav", 12), band_part(song, tmp_path / "band.mp3", 4)
    for source, seconds, bitrate, expected in ((wav, 12, None, 320), (wav, 12, 128, 128), (mp3, 4, 96, 96)):
        result = make(tmp_path, variant="instrumental_only", instrumental=source, mp3_bitrate=bitrate)
        made, original = audio.read(tmp_path / "karaoke.mp3")[0], audio.read(source)[0]
        assert round(MP3(tmp_path / "karaoke.mp3").info.bitrate / 1000) == expected
        assert result.duration == pytest.approx(seconds, abs=0.01)
        assert made.shape == original.shape
        assert np.square(made - original).mean() < 0.01 * np.square(original).mean()


def test_the_instrumental_alone_needs_nothing_else(band_mp3, tmp_path):
    result = make(tmp_path, variant="instrumental_only", instrumental=band_mp3, title="T", artist="A", song_title="no")
    assert result.files == ["karaoke.mp3"] == [path.name for path in tmp_path.iterdir()]
    assert (result.lrc_file, result.sync_file, result.total_lines) == (None, None, 0)
    assert result.message
    tags = ID3(tmp_path / "karaoke.mp3")
    assert sorted(tags) == ["TIT2", "TPE1"]
    assert tags["TIT2"].text == ["T"]


@pytest.mark.parametrize("silent", [False, True], ids=["no words heard", "words over a silent stem"])
def test_without_voice_the_package_has_no_lyrics_and_says_so(song, band_mp3, transcription, tmp_path, silent):
    vocals = song.voice_path
    if silent:
        vocals = tmp_path / "vocals.wav"
        with audio.Writer(vocals, 44100, 2) as writer:
            writer.write(np.zeros((2, 44100 * 24), np.float32))
    else:
        transcription = write_transcription(tmp_path / "transcription_tiny.json", [])
    out = tmp_path / "out"
    out.mkdir()
    result = make(out, vocals=vocals, instrumental=band_mp3, transcription=transcription)
    assert result.message == "No voice was found, so the package has no lyrics."
    assert result.total_lines == 0
    assert set(result.files) == ALL_FILES - {"karaoke.txt"} == {path.name for path in out.iterdir()}
    assert read_sync(out)["lines"] == []
    assert parse_lrc((out / "karaoke.lrc").read_text(encoding="utf-8")) == ({"length": "00:24"}, [])
    assert not ID3(out / "karaoke.mp3").getall("USLT")


def test_given_lyrics_keep_their_lines_and_all_their_words(song, band_mp3, tmp_path):
    rows = [song.words[:3], song.words[3:4], song.words[4:14]]
    groups = [[{"word": f" {w.text.title()}", "start": w.start_seconds + 0.05, "end": w.end_seconds} for w in row]
              for row in rows]  # fmt: skip
    groups.append([{"word": " Unsung", "start": 11.0, "end": 11.5}])
    path = write_transcription(tmp_path / "transcription_tiny.json", groups, aligned=True)
    lyrics = "Silver River Carry\n\n Me \r\nHome Over The Mountain\0 Under The Moon Every Morning Sing\nUnsung\n"
    make(tmp_path, vocals=song.voice_path, instrumental=band_mp3, transcription=path, lyrics=lyrics)
    lines = read_sync(tmp_path)["lines"]
    assert [line["text"] for line in lines] == [
        "Silver River Carry", "Me", "Home Over The Mountain Under The Moon Every Morning Sing", "Unsung"
    ]  # fmt: skip
    for line, row in zip(lines, rows, strict=False):
        assert line["start"] == pytest.approx(row[0].start_seconds, abs=TOLERANCE_SECONDS)
    assert ID3(tmp_path / "karaoke.mp3")["USLT::eng"].text == (
        "Silver River Carry\n\nMe\nHome Over The Mountain Under The Moon Every Morning Sing\nUnsung"
    )


def test_without_snapping_heard_times_stay(song, band_mp3, transcription, tmp_path):
    make(tmp_path, vocals=song.voice_path, instrumental=band_mp3, transcription=transcription, snap_to_onsets=False,
         max_line_characters=20)  # fmt: skip
    lines = read_sync(tmp_path)["lines"]
    found = [word["start"] for line in lines for word in line["words"]]
    given = json.loads(transcription.read_text(encoding="utf-8"))["segments"]
    before = [w["start"] for s in given for w in s["words"] if w["word"] not in (" Thanks", " everyone")]
    assert found == pytest.approx(before, abs=0.001)
    assert max(len(line["text"]) for line in lines) <= 20


@pytest.mark.parametrize("missing", ["vocals", "transcription"])
def test_what_is_missing_is_named(song, band_mp3, transcription, tmp_path, missing):
    inputs = {"vocals": song.voice_path, "transcription": transcription, "instrumental": band_mp3, missing: None}
    with pytest.raises(Conflict, match={"vocals": "vocal stem", "transcription": "transcription"}[missing]):
        make(tmp_path, **inputs)


def test_lyrics_that_were_not_aligned_are_refused(song, band_mp3, transcription, tmp_path):
    other = write_transcription(tmp_path / "other.json", [[{"word": " Other", "start": 2.0, "end": 2.4}]], aligned=True)
    heard = " ".join(word.text for word in song.words)
    for path, lyrics in ((transcription, heard), (other, "Some words")):
        with pytest.raises(Conflict, match="not aligned"):
            make(tmp_path, vocals=song.voice_path, instrumental=band_mp3, transcription=path, lyrics=lyrics)
    make(tmp_path, vocals=song.voice_path, instrumental=band_mp3, transcription=other, lyrics="[Verse]\n Other ")
    assert [line["text"] for line in read_sync(tmp_path)["lines"]] == ["Other"]


def test_progress_follows_the_work_and_cancelling_ends_it(song, transcription, tmp_path):
    instrumental = band_part(song, tmp_path / "band.wav", 12)  # two blocks
    inputs = {"vocals": song.voice_path, "transcription": transcription, "instrumental": instrumental}
    seen = []
    make(tmp_path, report=lambda fraction, message=None: seen.append(fraction), **inputs)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 8
    assert seen[-1] == 1.0
    for stop in (0.0, 0.3, 0.7):

        def cancel(fraction, message=None, stop=stop):
            seen.append(fraction)
            if fraction >= stop:
                raise Cancelled

        seen.clear()
        with pytest.raises(Cancelled):
            make(tmp_path, report=cancel, **inputs)
        assert sum(fraction >= stop for fraction in seen) == 1


@pytest.mark.parametrize("bad", [
    {"lyrics": ""}, {"lyrics": " \n "}, {"lyrics": "a" * 20_001}, {"lyrics": "\ud800"}, {"title": "t" * 301},
    {"artist": 3}, {"mp3_bitrate": 31}, {"mp3_bitrate": 321}, {"max_line_characters": 9}, {"model": "full"},
])  # fmt: skip
def test_requests_out_of_range_are_refused(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        karaoke.Request.model_validate(bad)
    assert karaoke.Request().snap_to_onsets
