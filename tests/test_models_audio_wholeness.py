"""Files that lose a part while they are written, or just after, are no results."""

import os
from pathlib import Path

import numpy as np
import pytest

from errors import JobFailed
from models import audio

RATE = 44100
NAMES = ("x.wav", "float.wav", "x.mp3", "x.flac")


def writer(path: Path) -> audio.Writer:
    """For such a file."""
    return audio.Writer(path, RATE, 2, sample_format="f32" if path.stem == "float" else "s16")


def block(seconds: float) -> np.ndarray:
    """Noise."""
    return np.random.default_rng(0).normal(0, 0.1, (2, round(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.01, 1.3])
@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_whole_and_less_is_not(tmp_path: Path, name: str, seconds: float) -> None:
    with writer(tmp_path / name) as file:
        file.write(block(seconds))
    content = (tmp_path / name).read_bytes()
    size = audio.whole_size(tmp_path / name)
    assert size == len(content)
    for part in (0, 100, size // 2, size * 3 // 4) if seconds >= 1 else ():
        (tmp_path / name).write_bytes(content[:part])
        with pytest.raises(JobFailed, match=f"{name} was cut short"):
            audio.whole_size(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", [True, False])
def test_a_file_that_loses_its_beginning_while_it_is_written(tmp_path: Path, name: str, cut: bool) -> None:
    with pytest.raises(JobFailed, match="cut short" if cut else "was removed"), writer(tmp_path / name) as file:  # noqa: PT012
        for _ in range(2):
            file.write(block(4))  # FFmpeg keeps a quarter of a megabyte to itself
        os.truncate(tmp_path / name, 1000) if cut else (tmp_path / name).unlink()
        file.write(block(1))


def test_other_files_need_only_be_there(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text("{}")
    assert audio.whole_size(tmp_path / "words.json") == 2
    for name in ("words.txt", "x.wav"):
        with pytest.raises(JobFailed, match=f"{name} was removed"):
            audio.whole_size(tmp_path / name)


def test_a_wav_of_64_bits(tmp_path: Path) -> None:
    with writer(tmp_path / "x.wav") as file:
        file.write(block(1))
    whole = (tmp_path / "x.wav").read_bytes()
    sizes = (len(whole) + 36 - 8).to_bytes(8, "little") + (len(whole) - 44).to_bytes(8, "little") + bytes(12)
    long = b"RF64\xff\xff\xff\xffWAVEds64" + (28).to_bytes(4, "little") + sizes + whole[12:]
    (tmp_path / "x.wav").write_bytes(long)
    assert audio.whole_size(tmp_path / "x.wav") == len(long)
    os.truncate(tmp_path / "x.wav", len(long) - 1000)
    with pytest.raises(JobFailed):
        audio.whole_size(tmp_path / "x.wav")
