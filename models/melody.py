"""The tune of a recording as MusicGen's melody variant takes it: at each moment its strongest pitch class."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

N_FFT = 16384  # samples; these three are transformers' MusicgenMelodyFeatureExtractor's
HOP_LENGTH = 4096  # samples
PITCH_CLASSES = 12


def melody(samples: np.ndarray, sample_rate: int) -> torch.Tensor:
    """Strongest pitch class over time.

    As transformers' MusicgenMelodyFeatureExtractor computes it, which itself needs torchaudio.

    Parameters
    ----------
    samples : np.ndarray, shape (samples,), float32
    sample_rate : int
        Hz

    Returns
    -------
    torch.Tensor, shape (1, frames, 12)
        One-hot.
    """
    import torch
    from transformers.audio_utils import chroma_filter_bank

    filters = torch.from_numpy(
        chroma_filter_bank(num_frequency_bins=N_FFT, num_chroma=PITCH_CLASSES, sampling_rate=sample_rate, tuning=0)
    ).float()
    waveform = torch.from_numpy(samples.copy())
    missing = max(N_FFT - len(waveform), 0)
    waveform = torch.nn.functional.pad(waveform, (missing // 2, missing - missing // 2))
    spectrum = torch.stft(waveform, N_FFT, HOP_LENGTH, window=torch.hann_window(N_FFT), return_complex=True).abs() ** 2
    strongest = (filters @ spectrum).argmax(0)
    return torch.nn.functional.one_hot(strongest, PITCH_CLASSES).float()[None]
