"""ID3 tags of the karaoke track, read back with mutagen and FFmpeg."""

import av
import numpy as np
import pytest
from mutagen.id3 import ID3
from whisper.tokenizer import LANGUAGES

from models import audio, tags
from models.languages import iso639_2
from models.lines import Line
from models.words import Word

LINES = [
    Line((Word(" Über", 1.0, 1.5), Word(" allen", 1.5, 2.0345))),
    Line((Word(" ist", 3.25, 3.5), Word(" 静か", 3.5, 4.0), Word("に", 4.0, 4.5))),
]


@pytest.fixture
def mp3(tmp_path):
    path = tmp_path / "karaoke.mp3"
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100, dtype=np.float32) * 0.5
    with audio.Writer(path, 44100, 1, bitrate_kbps=128) as writer:
        writer.write(tone[None])
    return path


def test_title_artist_and_lyrics_read_back(mp3):
    before = audio.read(mp3)[0]
    tags.write(mp3, title="Đorđe – песма", artist="A [B] {C}", language="de", lines=LINES)
    read = ID3(mp3)
    assert read.version[:2] == (2, 3)
    assert read["TIT2"].text == ["Đorđe – песма"]
    assert read["TPE1"].text == ["A [B] {C}"]
    assert read["USLT::deu"].text == "Über allen\nist 静かに"
    np.testing.assert_array_equal(audio.read(mp3)[0], before)


def test_sylt_has_every_word_at_its_millisecond_and_the_line_breaks(mp3):
    tags.write(mp3, title="t", artist="a", language="de", lines=LINES)
    sylt = ID3(mp3)["SYLT::deu"]
    assert (sylt.format, sylt.type) == (2, 1)
    assert sylt.text == [("Über", 1000), (" allen", 1500), ("\nist", 3250), (" 静か", 3500), ("に", 4000)]
    assert "".join(text for text, _ in sylt.text) == ID3(mp3)["USLT::deu"].text


def test_ffmpeg_reads_the_tags_too(mp3):
    tags.write(mp3, title="Title", artist="Artist", language="en", lines=LINES)
    with av.open(str(mp3)) as container:
        assert (container.metadata["title"], container.metadata["artist"]) == ("Title", "Artist")
        assert container.metadata["lyrics-eng"].splitlines() == ["Über allen", "ist 静かに"]


def test_old_tags_are_gone_and_empty_ones_left_out(mp3):
    tags.write(mp3, title="Old", artist="Old", language="en", lines=LINES)
    tags.write(mp3, title="New", artist="")
    assert sorted(ID3(mp3)) == ["TIT2"]
    assert audio.probe(mp3).duration_seconds == pytest.approx(1.0, abs=0.001)


def test_given_lyrics_keep_their_verses(mp3):
    tags.write(mp3, title="t", artist="a", lines=LINES, text="Über allen\n\nist 静かに")
    assert ID3(mp3)["USLT::und"].text == "Über allen\n\nist 静かに"


def test_every_language_of_whisper_has_its_three_letters():
    assert all(len(iso639_2(code)) == 3 and iso639_2(code) != "und" for code in LANGUAGES)
    assert [iso639_2(code) for code in ("en", "de", "pt-BR", "zh", "JA", None, "", "xx")] == [
        "eng", "deu", "por", "zho", "jpn", "und", "und", "und"
    ]
