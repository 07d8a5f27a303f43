"""Separation of a stream: demucs's overlap-add, a segment at a time, equal to its whole-file result.

The library cuts a song into overlapping segments, each heard with its true surroundings, and adds the outputs with
triangular weights; a bag does so with each of its models, and shifts repeat it on grids moved at random. Here each
model and shift is a lane that takes its segments in order, all lanes add to one sum, and what all are past is done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from models.spool import Place

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
        # In memory of its own, always laid out alike: kernels round differently where it is laid out differently.
        return torch.nn.functional.pad(found, (before, length - before - found.shape[1])).clone(
            memory_format=torch.contiguous_format
        )

    def skip_to(self, position: int, report: Callable[[], None]) -> None:
        """Read to a position and keep nothing before it; `report` is called for every block and may raise."""
        while self._begin < position and (block := next(self._blocks, None)) is not None:
            self._kept, self._begin = block, self._begin + self._kept.shape[1]
            self.forget(position)
            report()

    def forget(self, before: int) -> None:
        """Drop samples before a position."""
        count = min(max(before - self._begin, 0), self._kept.shape[1])
        self._kept = self._kept[:, count:]
        self._begin += count


class Sum:
    """What has been added up so far, from a moving position on.

    Parameters
    ----------
    shape : tuple of int
        (sources, channels)
    device : str
    """

    def __init__(self, shape: tuple[int, int], device: str) -> None:
        import torch

        self._begin, self._kept = 0, torch.zeros(*shape, 0, device=device)

    @property
    def kept(self) -> torch.Tensor:
        """What was not taken yet, (sources, channels, samples)."""
        return self._kept

    def go_to(self, begin: int, kept: torch.Tensor) -> None:
        """Go on from what another sum had not given yet."""
        self._begin, self._kept = begin, kept

    def add(self, begin: int, part: torch.Tensor) -> None:
        """Add samples, (sources, channels, samples); those before position 0 are left out."""
        import torch

        part = part[..., max(-begin, 0) :]
        first = max(begin, 0) - self._begin
        missing = first + part.shape[-1] - self._kept.shape[-1]
        if missing > 0:
            self._kept = torch.nn.functional.pad(self._kept, (0, missing))
        self._kept[..., first : first + part.shape[-1]] += part

    def take(self, until: int) -> torch.Tensor:
        """What lies before a position and was not taken yet, (sources, channels, samples)."""
        count = until - self._begin
        taken, self._kept, self._begin = self._kept[..., :count], self._kept[..., count:], until
        return taken


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

    def __init__(self, model: Any, shares: torch.Tensor, begin: int, length: int, overlap: float) -> None:
        self._model, self._shares = model, shares[:, None, None]
        self._segment = int(model.samplerate * model.segment)
        self._stride = max(int((1 - overlap) * self._segment), 1)
        self._length = length
        self.go_to(begin, 0)

    @property
    def position(self) -> int:
        """Where the next segment begins."""
        return self.begin + self.index * self._stride

    @property
    def steps(self) -> int:
        """How many segments there are in all."""
        return len(range(self.begin, self._length, self._stride))

    def go_to(self, begin: int, index: int) -> None:
        """Be on the grid that begins there, before its segment of that index."""
        self.begin, self.index = begin, index

    @property
    def needs_from(self) -> int:
        """The first position that the next segment will listen to."""
        return self.position - self._surroundings(self._next_length)[0]

    def step(self, source: Source, device: str) -> tuple[int, torch.Tensor]:
        """Separate the next segment.

        Parameters
        ----------
        source : Source
        device : str

        Returns
        -------
        begin : int
        part : torch.Tensor, shape (sources, channels, samples)
            What this segment adds to the whole.
        """
        from demucs.apply import TensorChunk, apply_model

        begin, length = self.position, self._next_length
        before, total = self._surroundings(length)
        window = source.window(begin - before, total)[None].to(device)
        output = apply_model(self._model, TensorChunk(window, before, length), shifts=0, split=False)[0]
        part = output * self._shares.to(device) * self._fade()[:length].to(device)
        self.index += 1
        return begin, part

    @property
    def _next_length(self) -> int:
        """Of the next segment, in samples; the last is shorter."""
        return min(self._segment, max(self._length - self.position, 1))

    def _surroundings(self, length: int) -> tuple[int, int]:
        """Samples before a segment that the model hears too, and how many it hears in all."""
        total = self._model.valid_length(length) if hasattr(self._model, "valid_length") else length
        return (total - length) // 2, total

    def _fade(self) -> torch.Tensor:
        """The next segment's weights: the library's triangle over the sum of all triangles, sample by sample."""
        import torch

        rising = torch.arange(1, self._segment // 2 + 1)
        falling = torch.arange(self._segment - self._segment // 2, 0, -1)
        triangle = torch.cat([rising, falling]) / falling[0]
        rows = torch.nn.functional.pad(triangle, (0, -self._segment % self._stride)).view(-1, self._stride)
        # At a segment's row r its own triangle meets row r + k of the k-th one before it, and the later ones' below r.
        met = (torch.arange(len(rows)) + self.index).clamp(max=len(rows) - 1)
        return triangle / rows.cumsum(0)[met].flatten()[: self._segment]


class Separation:
    """Where the separation of a stream has come to.

    Parameters
    ----------
    models : list of torch.nn.Module
        Of one bag.
    weights : list of list of float
        For each model, its weight for each source.
    length : int
        Of the stream, in samples.
    shifts : int
        0 for none; else so many passes on grids moved at random.
    overlap : float
        Of segments, 0 to below 1.
    seed : int, optional
        Of the shifts: they are then the library's after random.seed(seed).
    device : str
    """

    def __init__(self, models: list[Any], weights: list[list[float]], length: int, *, shifts: int, overlap: float,
                 seed: int | None, device: str) -> None:  # fmt: skip
        self._lanes = _lanes(models, weights, length, shifts, overlap, random.Random(seed))
        self._total = Sum((len(models[0].sources), models[0].audio_channels), device)
        self._length, self._device, self._finished = length, device, 0

    @property
    def fraction(self) -> float:
        """How many of all segments are done."""
        return sum(lane.index for lane in self._lanes) / sum(lane.steps for lane in self._lanes)

    @property
    def needs_from(self) -> int:
        """The first position that is listened to from now on."""
        return min(lane.needs_from for lane in self._lanes)

    def run(self, source: Source, report: Callable[[float], None]) -> Iterator[torch.Tensor]:
        """Separate from here to the end.

        Parameters
        ----------
        source : Source
            Normalised as demucs.api does.
        report : callable
            Gets the fraction done after each segment; may raise, and then place() is after that segment.

        Yields
        ------
        torch.Tensor, shape (sources, channels, samples)
            One after the other, on the device; place() is after it. In all they are as long as the stream.
        """
        while self._finished < self._length:
            lane = min(self._lanes, key=lambda lane: lane.position)
            self._total.add(*lane.step(source, self._device))
            source.forget(self.needs_from)
            until = min(self._length, *(lane.position for lane in self._lanes))
            if until > self._finished:
                self._finished = until
                yield self._total.take(until)
            report(self.fraction)

    def place(self) -> Place:
        """Where it is, to go on from there with go_to()."""
        lanes = [[lane.begin, lane.index] for lane in self._lanes]
        return Place({"lanes": lanes, "finished": self._finished}, self._total.kept.cpu().numpy())

    def go_to(self, place: Place) -> None:
        """Go on from a place of an equal separation, whose shifts these are from now on."""
        import torch

        for lane, (begin, index) in zip(self._lanes, place.facts["lanes"], strict=True):
            lane.go_to(begin, index)
        self._finished = place.facts["finished"]
        self._total.go_to(self._finished, torch.from_numpy(place.samples).to(self._device))


def _lanes(models: list[Any], weights: list[list[float]], length: int, shifts: int, overlap: float,
           draw: random.Random) -> list[Lane]:  # fmt: skip
    """A lane for each model and shift; the random calls come in the library's own order."""
    import torch

    totals = torch.tensor(weights).sum(0)
    lanes = []
    for model, own in zip(models, weights, strict=True):
        shares = torch.tensor(own) / totals / max(shifts, 1)
        max_shift = int(MAX_SHIFT_SECONDS * model.samplerate)
        for _ in range(max(shifts, 1)):
            begin = draw.randint(0, max_shift) - max_shift if shifts else 0
            lanes.append(Lane(model, shares, begin, length, overlap))
            _draw_as_in_forward(model, lanes[-1].steps, draw)
    return lanes


def _draw_as_in_forward(model: Any, times: int, draw: random.Random) -> None:
    """Draw what the library's forward passes draw between two shifts, so that the same seed gives the same shifts."""
    transformer = getattr(model, "crosstransformer", None)
    if transformer is not None and transformer.emb == "sin":
        for _ in range(times):
            draw.randrange(transformer.sin_random_shift + 1)
