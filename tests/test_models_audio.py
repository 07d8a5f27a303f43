"""models.audio on files of every kind we accept, made here, and on those we refuse."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import mutagen.id3
import mutagen.mp4
import numpy as np
import pytest

from errors import JobFailed, NotFound, StorageFull, UnsupportedAudio
from models import audio

RATE = 44100
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")


def tone(seconds: float, rate: int = RATE, channels: int = 2) -> np.ndarray:
    """Two-second-periodic chirps, different in each channel: any shift shows."""
    time = np.arange(round(seconds * rate)) / rate
    rows = [0.5 * np.sin(2 * np.pi * (300 + 100 * row + 150 * (time % 2)) * (time % 2)) for row in range(channels)]
    return np.stack(rows).astype(np.float32)


def encode(path: Path, codec: str, samples: np.ndarray, rate: int, layout: str, **options: str) -> Path:
    """A file that our Writer does not make."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".m4a" else {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        encode_all(container, stream, samples)
    return path


def encode_all(container: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray) -> None:
    packed = np.ascontiguousarray(samples.T).reshape(1, -1)  # PyAV cannot fill the planes of eight channels
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=stream.layout)
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, 0, Fraction(1, stream.rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write(path: Path, samples: np.ndarray, rate: int = RATE, **kw: object) -> Path:
    """A file by our Writer, in blocks of an awkward size."""
    with audio.Writer(path, rate, len(samples), **kw) as writer:  # type: ignore[arg-type]
        for start in range(0, samples.shape[1], 10007):
            writer.write(samples[:, start : start + 10007])
    return path


def snr(signal: np.ndarray, other: np.ndarray) -> float:
    """How far the difference lies under the signal, in dB, over the length both have."""
    length = min(signal.shape[1], other.shape[1])
    error = signal[:, :length] - other[:, :length]
    return float(10 * np.log10((signal**2).mean() / ((error**2).mean() + 1e-20)))


@pytest.mark.parametrize(
    ("name", "sample_format", "floor"),
    [("a.wav", "s16", 88), ("a.wav", "s24", 135), ("a.wav", "f32", 190), ("a.flac", "s16", 88), ("a.flac", "s24", 135)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossless_formats_give_back_the_samples(
    tmp_path: Path, name: str, sample_format: audio.SampleFormat, floor: float, channels: int
) -> None:
    samples = tone(1.3, channels=channels)
    path = write(tmp_path / name, samples, sample_format=sample_format)
    got, rate = audio.read(path)
    assert (rate, got.shape, got.dtype) == (RATE, samples.shape, np.float32)
    assert snr(samples, got) > floor


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000])
def test_mp3_is_gapless(tmp_path: Path, rate: int) -> None:
    samples = tone(3.21, rate)
    got, _ = audio.read(write(tmp_path / "a.mp3", samples, rate))
    assert got.shape == samples.shape
    assert snr(samples, got) > 20


def test_mp3_bitrate_is_constant_and_as_asked(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2, RATE * 4)).astype(np.float32)
    noise[:, RATE:] = 0
    for bitrate in (64, 192, 320):
        path = write(tmp_path / "a.mp3", noise, bitrate_kbps=bitrate)
        assert path.stat().st_size * 8 / 4000 == pytest.approx(bitrate, rel=0.04)


def test_mp3_of_a_rate_mp3_does_not_know(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", tone(1, 96000), 96000)
    assert audio.probe(path).sample_rate == 48000
    got, _ = audio.read(path, sample_rate=96000)
    assert got.shape[1] == pytest.approx(96000, abs=2400)
    assert snr(tone(1, 96000), got) > 20


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_too_loud_is_clipped_not_wrapped(tmp_path: Path, name: str) -> None:
    got, _ = audio.read(write(tmp_path / name, 4 * tone(1)))
    expected = np.clip(4 * tone(1), -1, 1)
    assert snr(expected, got) > 15
    if name == "a.wav":
        assert np.abs(got - expected).max() < 1e-4
        loud, _ = audio.read(write(tmp_path / name, 4 * tone(1), sample_format="f32"))
        assert loud.max() == pytest.approx(2.0, abs=1e-3)


def test_writer_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="f32"):
        audio.Writer(tmp_path / "a.flac", RATE, 2, sample_format="f32")
    with pytest.raises(ValueError, match=r"\.xyz"):
        audio.Writer(tmp_path / "a.xyz", RATE, 2)
    with pytest.raises(ValueError, match="3 channels"):
        audio.Writer(tmp_path / "a.wav", RATE, 3)
    with audio.Writer(tmp_path / "a.wav", RATE, 2) as writer:
        with pytest.raises(ValueError, match="shape"):
            writer.write(tone(0.1, channels=1))
        with pytest.raises(JobFailed, match="not finite"):
            writer.write(np.full((2, 10), np.nan, dtype=np.float32))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to("/dev/full")
    with pytest.raises(StorageFull, match=r"a\.wav"):
        write(tmp_path / "a.wav", tone(5))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 48000, 96000, 192000])
@pytest.mark.parametrize("wanted", [16000, 44100])
def test_resampling_loses_no_samples_and_moves_nothing(tmp_path: Path, rate: int, wanted: int) -> None:
    path = write(tmp_path / "a.wav", tone(2.5, rate), rate, sample_format="f32")
    got, given = audio.read(path, sample_rate=wanted)
    assert given == wanted
    assert got.shape[1] == pytest.approx(2.5 * wanted, abs=1 + wanted / rate)
    assert snr(tone(2.5, wanted), got) > 35


def test_blocks_are_equal_and_join_to_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(2.35))
    blocks = list(audio.decode(path, sample_rate=16000, block_seconds=0.5))
    assert [block.shape[1] for block in blocks] == [8000] * 4 + [5600]
    assert np.array_equal(np.concatenate(blocks, axis=1), audio.read(path, sample_rate=16000)[0])


def test_channels_are_mixed_without_a_change_of_level(tmp_path: Path) -> None:
    stereo, mono = write(tmp_path / "s.wav", tone(1)), write(tmp_path / "m.wav", tone(1, channels=1))
    assert snr(tone(1).mean(axis=0, keepdims=True), audio.read(stereo, channels=1)[0]) > 80
    assert snr(np.repeat(tone(1, channels=1), 2, axis=0), audio.read(mono, channels=2)[0]) > 80


@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_surround_is_folded_down(tmp_path: Path, layout: str) -> None:
    count = int(layout[0]) + 1
    left_only = np.zeros((count, RATE), dtype=np.float32)
    left_only[0] = 0.5
    everything = np.full((count, RATE), 0.5, dtype=np.float32)
    got, _ = audio.read(encode(tmp_path / "a.wav", "pcm_f32le", left_only, RATE, layout), channels=2)
    assert got[0, 100] > 0.15
    assert got[1, 100] == 0
    got, _ = audio.read(encode(tmp_path / "a.wav", "pcm_f32le", everything, RATE, layout), channels=2)
    assert got[:, 100] == pytest.approx([0.5, 0.5])
    assert audio.probe(tmp_path / "a.wav").channels == count
    assert len(audio.read(tmp_path / "a.wav")[0]) == count


LOSSY: list[tuple[str, str, dict[str, str], int]] = [
    ("a.m4a", "aac", {}, 44100),
    ("a.mp4", "aac", {}, 8000),
    ("a.ogg", "libopus", {}, 48000),
    ("a.ogg", "vorbis", {"strict": "-2"}, 44100),
    ("alac.m4a", "alac", {}, 44100),
]


@pytest.mark.parametrize(("name", "codec", "options", "rate"), LOSSY)
def test_the_other_accepted_formats(tmp_path: Path, name: str, codec: str, options: dict[str, str], rate: int) -> None:
    samples = tone(3, rate)
    if codec == "alac":
        write(tmp_path / "a.wav", samples)
        samples = audio.read(tmp_path / "a.wav")[0]
    path = encode(tmp_path / name, codec, samples, rate, "stereo", **options)
    found = audio.probe(path)
    assert (found.sample_rate, found.channels, found.codec) == (rate, 2, codec.removeprefix("lib"))
    assert found.duration_seconds == pytest.approx(3, abs=0.1)
    got, _ = audio.read(path)
    assert got.shape[1] == pytest.approx(3 * rate, abs=1024)
    assert snr(samples, got) > (5 if codec == "vorbis" else 10)


@pytest.mark.parametrize("header", [True, False])
def test_length_of_a_vbr_mp3(tmp_path: Path, header: bool) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (2, RATE * 20)).astype(np.float32)
    noise[:, RATE * 3 :] = 0  # what a guess from the first frames' bitrate gets wrong
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w", options={"write_xing": str(int(header))}) as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="stereo")
        stream.codec_context.qscale = True
        stream.codec_context.global_quality = 2 * 118
        encode_all(container, stream, noise)
    assert audio.probe(path).duration_seconds == pytest.approx(20, abs=0.06)
    assert audio.read(path)[0].shape[1] / RATE == pytest.approx(20, abs=0.06)


def test_length_of_streamed_files_whose_header_has_none(tmp_path: Path) -> None:
    wav, flac = write(tmp_path / "a.wav", tone(4)), write(tmp_path / "a.flac", tone(4))
    raw = bytearray(wav.read_bytes())
    raw[4:8] = raw[raw.index(b"data") + 4 : raw.index(b"data") + 8] = b"\xff" * 4
    wav.write_bytes(raw)
    raw = bytearray(flac.read_bytes())
    raw[21] &= 0xF0
    raw[22:26] = bytes(4)  # STREAMINFO's total samples: unknown
    flac.write_bytes(raw)
    for path in (wav, flac):
        assert audio.probe(path).duration_seconds == pytest.approx(4, abs=0.05)
        assert snr(tone(4), audio.read(path)[0]) > 80


def test_a_long_file_needs_no_more_memory(tmp_path: Path) -> None:
    silence = np.zeros((1, 16000 * 600), dtype=np.float32)
    with audio.Writer(tmp_path / "long.flac", 16000, 1) as writer:
        writer.write(silence)
    script = f"""
import resource, sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from models import audio
first = None
for block in audio.decode(Path({str(tmp_path / "long.flac")!r}), sample_rate=44100, channels=2):
    first = first or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first)
"""
    grown = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert grown < 7_000  # KiB; the ten minutes themselves are 207 MiB


def test_probe_needs_no_numpy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(1), sample_format="f32")
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from models import audio
audio.probe(Path({str(path)!r}))
print("numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "name", ["Ђорђе – песма.mp3", "a b'\"$(x)%d.mp3", "http:x.mp3", "-i.mp3", "a#?.mp3", "UPPER.MP3"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, tone(0.5))
    assert audio.probe(path).duration_seconds == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.flac"])
def test_a_very_short_clip_and_silence(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, tone(0.05))
    assert audio.probe(path).duration_seconds == pytest.approx(0.05, abs=0.03)
    assert audio.read(path, sample_rate=16000, channels=1)[0].shape[1] == pytest.approx(800, abs=450)
    path = write(tmp_path / name, np.zeros((2, RATE), dtype=np.float32))
    assert audio.probe(path).duration_seconds == pytest.approx(1, abs=0.03)
    assert np.abs(audio.read(path)[0]).max() < 1e-4


def test_tags_and_cover_art(tmp_path: Path) -> None:
    mp3, m4a = write(tmp_path / "a.mp3", tone(2)), encode(tmp_path / "a.m4a", "aac", tone(2), RATE, "stereo")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=3, text="Песма 🎵"))
    tags.add(mutagen.id3.TPE1(encoding=1, text="Ђорђе"))
    tags.add(mutagen.id3.APIC(encoding=3, mime="image/jpeg", type=3, desc="", data=JPEG))
    tags.save(mp3)
    box = mutagen.mp4.MP4(m4a)
    box["\xa9nam"], box["\xa9ART"] = "Песма 🎵", "Ђорђе"
    box["covr"] = [mutagen.mp4.MP4Cover(JPEG)]
    box.save()
    for path in (mp3, m4a):
        found = audio.probe(path)
        assert (found.title, found.artist) == ("Песма 🎵", "Ђорђе")
        assert found.duration_seconds == pytest.approx(2, abs=0.06)
        assert snr(tone(2), audio.read(path)[0]) > 10


def test_empty_tags_are_none_and_ogg_tags_are_found(tmp_path: Path) -> None:
    mp3 = write(tmp_path / "a.mp3", tone(1))
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=3, text="  "))
    tags.save(mp3)
    assert (audio.probe(mp3).title, audio.probe(mp3).artist) == (None, None)
    ogg = encode(tmp_path / "a.ogg", "libopus", tone(1, 48000), 48000, "stereo")
    file = mutagen.File(ogg)
    file["TITLE"], file["ARTIST"] = "Тест", "Ана"
    file.save()
    assert (audio.probe(ogg).title, audio.probe(ogg).artist) == ("Тест", "Ана")


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "hello" * 1000)


def avi(path: Path) -> None:
    encode(path, "pcm_s16le", tone(1), RATE, "stereo")


def adts(path: Path) -> None:
    encode(path, "aac", tone(1), RATE, "stereo")


def not_finite(path: Path) -> None:
    encode(path, "pcm_f32le", np.full((2, RATE), np.nan, dtype=np.float32), RATE, "stereo")


def infinite(path: Path) -> None:
    encode(path, "pcm_f64le", np.full((1, RATE), -np.inf, dtype=np.float32), RATE, "mono")


def no_moov(path: Path) -> None:
    encode(path.with_suffix(".mp4"), "aac", tone(3), RATE, "stereo")  # its index is at the end
    path.write_bytes(path.with_suffix(".mp4").read_bytes()[:20000])


def header_only(path: Path) -> None:
    path.write_bytes(write(path, tone(1)).read_bytes()[:44])


def video_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))


def many_streams(path: Path) -> None:
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=8000, layout="mono") for _ in range(33)]
        for stream in streams:
            encode_all(container, stream, tone(0.3, 8000, 1))


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    ("a.mp3", lambda path: path.write_bytes(b""), "empty"),
    ("a.mp3", lambda path: path.write_text("Текст, не песма.\n" * 5000), "text"),
    ("a.mp3", lambda path: path.write_text("#EXTM3U\nhttp://localhost/x.mp3\n"), "text"),
    ("a.wav", zipped, "ZIP"),
    ("a.avi", avi, "AVI"),
    ("a.mkv", avi, "Matroska"),
    ("a.aiff", avi, "AIFF"),
    ("a.aac", adts, "not mp3, wav"),
    ("a.wav", not_finite, "not finite"),
    ("a.wav", infinite, "not finite"),
    ("a.m4a", no_moov, "too damaged to open"),
    ("a.wav", header_only, "too damaged to open"),
    ("a.mp4", video_only, "no audio stream"),
    ("a.mp4", many_streams, "more than 32 streams"),
    ("a.mp3", lambda path: path.write_bytes(np.random.default_rng(1).bytes(300_000)), "does not decode"),
    ("a.mp3", lambda path: path.write_bytes(bytes(300_000)), "does not decode"),
    ("a.flac", lambda path: path.write_bytes(b"fLaC" + bytes(5000)), "too damaged|does not decode"),
    ("a.wav", lambda path: path.write_bytes(b"RIFF\x00\x00\x00\x00WAVE"), "too damaged"),
]


@pytest.mark.parametrize(("name", "make", "word"), REFUSED)
def test_refused(tmp_path: Path, name: str, make: Callable[[Path], object], word: str) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(UnsupportedAudio, match=word):
        audio.probe(path)
    with pytest.raises(UnsupportedAudio):
        list(audio.decode(path))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.mp3"):
        audio.probe(tmp_path / "gone.mp3")


def test_a_late_nan_is_named_by_its_time(tmp_path: Path) -> None:
    samples = tone(4)
    samples[1, round(2.5 * RATE)] = np.nan
    path = encode(tmp_path / "a.wav", "pcm_f32le", samples, RATE, "stereo")
    audio.probe(path)
    with pytest.raises(UnsupportedAudio, match=r"2\.500 s"):
        audio.read(path)


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.wav", "a.ogg", "a.m4a"])
def test_truncated_files_give_what_is_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.ogg":
        encode(path, "libopus", tone(10, 48000), 48000, "stereo")
    elif name == "a.m4a":
        encode(path, "aac", tone(10), RATE, "stereo")
    else:
        write(path, tone(10))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 6 // 10])
    found = audio.probe(path)
    got, rate = audio.read(path)
    assert 4 < got.shape[1] / rate < 7.5
    assert found.duration_seconds == pytest.approx(got.shape[1] / rate, abs=0.15)
    assert snr(tone(10, rate)[:, : got.shape[1] - rate], got) > 10


def test_damage_in_the_middle_is_stepped_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", tone(10))
    raw = bytearray(path.read_bytes())
    raw[100_000:105_000] = bytes(5000)
    path.write_bytes(raw)
    assert audio.read(path)[0].shape[1] / RATE == pytest.approx(10, abs=0.5)


def test_a_chained_file_keeps_the_first_rate_and_channels(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.mp3", tone(2)), write(tmp_path / "2.mp3", tone(2, 22050, 1), 22050)
    both = tmp_path / "both.mp3"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    got, rate = audio.read(both)
    assert (rate, len(got)) == (RATE, 2)
    assert got.shape[1] / RATE == pytest.approx(4, abs=0.2)
    assert np.abs(got[:, -RATE // 2 : -RATE // 4]).max() > 0.2
