"""Scores: notes in beats, as a standard MIDI file, played by fluidsynth with a General MIDI sound font."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import audio

SAMPLE_RATE = 44100  # Hz; of everything in this folder
TICKS_PER_BEAT = 480
DRUMS = -1  # instead of a program: the drum kit, where the pitch names the drum
DRUM_CHANNEL = 9
SOUNDFONTS = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),  # Debian
    Path("/usr/share/soundfonts/FluidR3_GM.sf2"),  # Fedora, Arch
    Path("/opt/homebrew/share/soundfonts/FluidR3_GM.sf2"),
)


@dataclass(frozen=True)
class Note:
    """A note for one instrument.

    Attributes
    ----------
    beat, beats : float
        When it begins, from the song's first beat, and how long it lasts.
    pitch : int
        MIDI pitch, or the drum's number.
    velocity : int
        1 to 127.
    program : int
        General MIDI program from 0, or DRUMS.
    """

    beat: float
    beats: float
    pitch: int
    velocity: int
    program: int


def play(notes: Sequence[Note], tempo_bpm: float, length: int, *, drum_kit: int = 0) -> np.ndarray:
    """Play notes with fluidsynth, dry: without its reverb and chorus.

    Parameters
    ----------
    notes : sequence of Note
        For at most 15 instruments and the drum kit; none is silence.
    tempo_bpm : float
    length : int
        Samples to return; what sounds later is cut.
    drum_kit : int
        General MIDI program of the kit: 0 standard, 8 room, 16 power, 25 electronic, 32 jazz, 40 brushes.

    Returns
    -------
    np.ndarray [shape=(2, length), dtype=float32]

    Raises
    ------
    FileNotFoundError
        When fluidsynth or its sound font is not installed.
    """
    if not notes:
        return np.zeros((2, length), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "score.mid"), Path(folder, "sound.wav")
        score.write_bytes(midi(notes, tempo_bpm, drum_kit))
        settings = ["-R", "0", "-C", "0", "-r", str(SAMPLE_RATE), "-O", "float", "-o", "synth.dynamic-sample-loading=1"]
        command = ["fluidsynth", "-ni", "-q", *settings, "-F", str(sound), str(_soundfont()), str(score)]
        subprocess.run(command, check=True, capture_output=True)
        samples, _ = audio.read(sound)
    return np.pad(samples[:, :length], ((0, 0), (0, max(0, length - samples.shape[1]))))


def midi(notes: Sequence[Note], tempo_bpm: float, drum_kit: int = 0) -> bytes:
    """Write notes as a standard MIDI file (format 0), a channel for each instrument.

    Parameters
    ----------
    notes : sequence of Note
    tempo_bpm : float
    drum_kit : int

    Returns
    -------
    bytes
    """
    programs = sorted({note.program for note in notes} - {DRUMS})
    free = (channel for channel in range(16) if channel != DRUM_CHANNEL)
    channels = {DRUMS: DRUM_CHANNEL} | dict(zip(programs, free, strict=False))
    events = [(0, 0, bytes([0xC0 | channels[program], program])) for program in programs]
    events.append((0, 0, bytes([0xC0 | DRUM_CHANNEL, drum_kit])))
    for note in notes:
        channel = channels[note.program]
        start, end = round(note.beat * TICKS_PER_BEAT), round((note.beat + note.beats) * TICKS_PER_BEAT)
        events.append((start, 2, bytes([0x90 | channel, note.pitch, note.velocity])))
        events.append((end, 1, bytes([0x80 | channel, note.pitch, 0])))
    track, now = b"\x00\xff\x51\x03" + round(60e6 / tempo_bpm).to_bytes(3, "big"), 0
    for tick, _, message in sorted(events):  # at one instant: programs, ends, beginnings
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_BEAT)
    return header + b"MTrk" + struct.pack(">I", len(track)) + track


def _soundfont() -> Path:
    """The General MIDI sound font, wherever the system keeps it."""
    for path in SOUNDFONTS:
        if path.exists():
            return path
    raise FileNotFoundError("the FluidR3_GM sound font; on Debian: apt-get install fluidsynth fluid-soundfont-gm")


def _variable_length(value: int) -> bytes:
    """MIDI's variable-length number."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | value & 0x7F)
    return bytes(reversed(out))
