"""Separation of a stream: demucs's overlap-add, a segment at a time, equal to its whole-file result.

The library cuts a song into overlapping segments, each heard with its true surroundings, and adds the outputs with
triangular weights; a bag does so for each of its models, and shifts repeat it on a grid moved at random. Here each
model and shift is a lane that takes its segments in order, and whatever all lanes are past is done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MAX_SHIFT_SECONDS = 0.5  # as in demucs.apply.apply_model


class Source:
    """Samples of a stream from a moving position on; silence before its begin and after its end.

    Parameters
    ----------
    blocks : iterator of torch.Tensor, shape (channels, samples)
    channels : int
    """

    def __init__(self, blocks: Iterator[torch.Tensor], channels: int) -> None:
        import torch

        self._blocks, self._begin = blocks, 0
        self._kept = torch.zeros(channels, 0)

    def window(self, begin: int, length: int) -> torch.Tensor:
        """Samples from a position on, (channels, length); reads as far as needed."""
        import torch

        while self._begin + self._kept.shape[1] < begin + length:
            block = next(self._blocks, None)
            if block is None:
                break
            self._kept = torch.cat([self._kept, block], dim=1)
        first, last = max(begin - self._begin, 0), max(begin + length - self._begin, 0)
        found = self._kept[:, first:last]
        before = max(self._begin - begin, 0)
        return torch.nn.functional.pad(found, (before, length - before - found.shape[1]))

    def forget(self, before: int) -> None:
        """Drop samples before a position."""
        count = min(max(before - self._begin, 0), self._kept.shape[1])
        self._kept = self._kept[:, count:].clone() if count else self._kept
        self._begin += count


class Lane:
    """One model's pass over the stream, on one grid of segments.

    Parameters
    ----------
    model : torch.nn.Module
        Demucs, HDemucs or HTDemucs.
    shares : torch.Tensor, shape (sources,)
        How much of the whole its output is, source by source.
    begin : int
        Where its first segment begins, in samples; may be negative.
    length : int
        Of the stream.
    overlap : float
    """

    def __init__(self, model: Any, shares: torch.Tensor, begin: int, length: int, overlap: float, device: str) -> None:
        import torch

        self._model, self._shares, self._device = model, shares, device
        self._length, self.position = length, begin
        self._segment = int(model.samplerate * model.segment)
        self._stride = int((1 - overlap) * self._segment)
        half = torch.arange(1, self._segment // 2 + 1)
        rest = torch.arange(self._segment - self._segment // 2, 0, -1)
        self._weight = torch.cat([half, rest]) / rest.max()
        self._sum = torch.zeros(len(model.sources), model.audio_channels, 0)
        self._weights = torch.zeros(0)
        self._done = begin  # position of the first sample in _sum

    @property
    def steps_left(self) -> int:
        """How many segments are still to come."""
        return len(range(self.position, self._length, self._stride))

    @property
    def needs_from(self) -> int:
        """The first position that the next segment will listen to."""
        return self.position - self._surroundings(min(self._segment, max(self._length - self.position, 1)))[0]

    def step(self, source: Source, call: Callable[..., torch.Tensor]) -> None:
        """Separate the next segment; `call(model, window, offset, length)` is the library's own."""
        import torch

        length = min(self._segment, self._length - self.position)
        before, total = self._surroundings(length)
        window = source.window(self.position - before, total)[None].to(self._device)
        output = call(self._model, window, before, length)[0].cpu()
        grown = self.position + length - self._done - self._weights.shape[0]
        self._sum = torch.nn.functional.pad(self._sum, (0, max(grown, 0)))
        self._weights = torch.nn.functional.pad(self._weights, (0, max(grown, 0)))
        place = slice(self.position - self._done, self.position - self._done + length)
        self._sum[..., place] += self._weight[:length] * output
        self._weights[place] += self._weight[:length]
        self.position += self._stride

    def finished(self) -> int:
        """The position up to which nothing changes any more."""
        return min(self.position, self._length)

    def take(self, until: int) -> torch.Tensor:
        """This lane's part of the result from where it was last taken, (sources, channels, samples)."""
        count = until - self._done
        begin = max(-self._done, 0)  # a shifted grid begins before the stream does
        taken = self._sum[..., begin:count] / self._weights[begin:count] * self._shares[:, None, None]
        self._sum, self._weights = self._sum[..., count:].clone(), self._weights[count:].clone()
        self._done = until
        return taken

    def _surroundings(self, length: int) -> tuple[int, int]:
        """Samples before a segment that the model hears too, and how many it hears in all."""
        total = self._model.valid_length(length) if hasattr(self._model, "valid_length") else length
        return (total - length) // 2, total


def separate(models: list[Any], weights: list[list[float]], source: Source, length: int, *, shifts: int,
             overlap: float, device: str, report: Callable[[float], None]) -> Iterator[torch.Tensor]:  # fmt: skip
    """Separate a stream.

    Parameters
    ----------
    models : list
        Of one bag.
    weights : list of list of float
        For each model, its weight for each source.
    source : Source
        Normalised as demucs.api does.
    length : int
        Of the stream, in samples.
    shifts : int
        0 for none; else so many passes on grids moved at random, as the library moves them.
    overlap : float
        Of segments, 0 to below 1.
    device : str
    report : callable
        Gets the fraction done after each segment; may raise.

    Yields
    ------
    torch.Tensor, shape (sources, channels, samples)
        One after the other, `length` samples in all.
    """
    import torch

    lanes = _lanes(models, weights, length, shifts, overlap, device)
    total, emitted = sum(lane.steps_left for lane in lanes), 0
    while emitted < length:
        lane = min(lanes, key=lambda lane: lane.position)
        lane.step(source, _call)
        report(1 - sum(lane.steps_left for lane in lanes) / total)
        source.forget(min(lane.needs_from for lane in lanes))
        finished = min(lane.finished() for lane in lanes)
        if finished > emitted:
            yield torch.stack([lane.take(finished) for lane in lanes]).sum(0)
            emitted = finished


def _lanes(models: list[Any], weights: list[list[float]], length: int, shifts: int, overlap: float,
           device: str) -> list[Lane]:  # fmt: skip
    """A lane for each model and shift; the random calls come in the library's own order."""
    import torch

    totals = torch.tensor(weights).sum(0)
    lanes = []
    for model, own in zip(models, weights, strict=True):
        shares = torch.tensor(own) / totals / max(shifts, 1)
        max_shift = int(MAX_SHIFT_SECONDS * model.samplerate)
        for _ in range(max(shifts, 1)):
            begin = random.randint(0, max_shift) - max_shift if shifts else 0
            lanes.append(Lane(model, shares, begin, length, overlap, device))
            _draw_as_in_forward(model, lanes[-1].steps_left)
    return lanes


def _draw_as_in_forward(model: Any, times: int) -> None:
    """Draw what the library's forward passes draw between two shifts, so that the same seed gives the same shifts."""
    transformer = getattr(model, "crosstransformer", None)
    if transformer is not None:
        for _ in range(times):
            random.randrange(transformer.sin_random_shift + 1)


def _call(model: Any, window: torch.Tensor, offset: int, length: int) -> torch.Tensor:
    """The library's own call of a model on one segment with its surroundings."""
    from demucs.apply import TensorChunk, apply_model

    return apply_model(model, TensorChunk(window, offset, length), shifts=0, split=False)
