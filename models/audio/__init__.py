"""Audio files in and out, through PyAV: probe, streamed decode, streamed encode.

Samples are float32 arrays of shape (channels, samples) with full scale at ±1. Everything streams: a file of any length
needs the memory of one block. Decoding releases the GIL, so it can run beside a model in a thread.
"""

from models.audio.confined import confined_probe
from models.audio.decoding import decode, read
from models.audio.encoding import SampleFormat, Writer
from models.audio.probing import Probe, probe
from models.audio.wholeness import whole_size

__all__ = ["Probe", "SampleFormat", "Writer", "confined_probe", "decode", "probe", "read", "whole_size"]
