"""The demo song in static/demo/: one seed, as a tagged mp3 with its lyrics and the times of its words beside it.

python -m training.demo_song
"""

from __future__ import annotations

from pathlib import Path

from models import audio, tags
from training.score import SAMPLE_RATE
from training.song import make_song, write_texts

SEED = 205
SECONDS = 26.0
BITRATE_KBPS = 160
TITLE = ARTIST = "Studio demo"
FOLDER = Path(__file__).parent.parent / "static" / "demo"


def write_demo(folder: Path) -> None:
    """Make the demo song: song.mp3, lyrics.txt, words.json.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    song = make_song(SEED, SECONDS)
    with audio.Writer(folder / "song.mp3", SAMPLE_RATE, 2, bitrate_kbps=BITRATE_KBPS) as writer:
        writer.write(song.mixture)
    tags.write(folder / "song.mp3", title=TITLE, artist=ARTIST, language="en")
    write_texts(song, folder)


if __name__ == "__main__":
    write_demo(FOLDER)
