"""The demo models on songs they have never met, through the service: `python -m bench.demo_models`.

Songs of the seeds that training leaves alone (training.corpus.EVALUATION_SEEDS) are made, uploaded with the demo
variants, and what comes back is compared with the truth that the synthesiser knows.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.machine import machine
from tests.judging import Judged, heard_without_voice, judge
from tests.serving import Server
from training.corpus import EVALUATION_SEEDS
from training.song import STEMS, make_song

SDR_GOALS_DB = {"drums": 6.0, "bass": 8.0, "other": 8.0, "vocals": 8.0}
GAIN_GOAL_DB = 10.0
WORD_ERROR_GOAL, START_GOAL_SECONDS = 0.10, 0.08
LINE_GOAL_SECONDS, LINE_GOAL_SHARE = 0.3, 0.95
FAR_SECONDS = 1.0
UNSUNG_SONGS = 6  # whose band is sent alone


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo_models", description="Judge the demo models.")
    parser.add_argument("--songs", type=int, default=len(EVALUATION_SEEDS))
    parser.add_argument("--seconds", type=float, help="their length; drawn from each seed if not given")
    arguments = parser.parse_args()
    where, judged, unsung, seconds = machine(), [], [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "service", Path(folder) / "no_weights").start()
        try:
            for seed in EVALUATION_SEEDS[: arguments.songs]:
                song = make_song(seed, arguments.seconds)
                began = time.monotonic()
                judged.append(judge(server, song, Path(folder)))
                seconds += time.monotonic() - began
                if len(unsung) < UNSUNG_SONGS:
                    unsung.append(len(heard_without_voice(server, song, Path(folder))["text"].split()))
        finally:
            server.stop()
    first = EVALUATION_SEEDS[0]
    print(f"{where}\n\n{len(judged)} songs of seeds {first} and on, {seconds / len(judged):.0f} s each.\n")
    print("| what | measured | goal |\n|---|---|---|")
    for row in (*_stems(judged), *_words(judged), _unsung(judged, unsung)):
        print(f"| {' | '.join(row)} |")


def _stems(judged: Sequence[Judged]) -> list[tuple[str, str, str]]:
    """Rows on separation."""
    rows = []
    for name in STEMS:
        ratios = np.array([song.sdr_db[name] for song in judged])
        gains = ratios - [song.mixture_sdr_db[name] for song in judged]
        rows.append((f"SDR of {name}, mean", f"{np.nanmean(ratios):.1f} dB", f"{SDR_GOALS_DB[name]:g} dB"))
        rows.append((f"better than the mixture: {name}", f"{np.nanmean(gains):.1f} dB", f"{GAIN_GOAL_DB:g} dB"))
    return rows


def _words(judged: Sequence[Judged]) -> list[tuple[str, str, str]]:
    """Rows on words and their times."""
    sung = [song for song in judged if song.true_words]
    words = sum(song.true_words for song in sung)
    starts, raw = (np.abs(np.concatenate([getattr(song, name) for song in sung]))
                   for name in ("start_errors", "raw_start_errors"))  # fmt: skip
    lines, missed = (np.concatenate([getattr(song, name) for song in sung])
                     for name in ("line_errors", "missed_errors"))  # fmt: skip
    rates = [song.wrong_words / song.true_words for song in sung]
    error = sum(song.wrong_words for song in sung) / words
    return [
        (f"word error rate over {words} words", f"{error:.1%}", f"{WORD_ERROR_GOAL:.0%}"),
        ("word error rate of the median and the worst song", f"{np.median(rates):.1%}, {max(rates):.1%}", ""),
        ("karaoke's word starts, median error", f"{np.median(starts):.3f} s", f"{START_GOAL_SECONDS} s"),
        ("transcription's word starts, median error", f"{np.median(raw):.3f} s", ""),
        (f"LRC lines that start within {LINE_GOAL_SECONDS} s of a true line",
         f"{np.mean(lines <= LINE_GOAL_SECONDS):.1%}", f"{LINE_GOAL_SHARE:.0%}"),
        (f"true lines within {LINE_GOAL_SECONDS} s of which one of the LRC starts",
         f"{np.mean(missed <= LINE_GOAL_SECONDS):.1%}", ""),
        (f"words heard more than {FAR_SECONDS:g} s from any that is sung",
         f"{sum(song.heard_far_from_voice(FAR_SECONDS) for song in sung)}", "0"),
    ]  # fmt: skip


def _unsung(judged: Sequence[Judged], unsung: Sequence[int]) -> tuple[str, str, str]:
    """The row on songs without voice: those that have none, and bands alone, by the words that were heard."""
    heard = [song.heard_words for song in judged if not song.true_words] + list(unsung)
    return f"words heard in {len(heard)} songs without voice", f"{sum(heard)}", "0"


if __name__ == "__main__":
    main()
