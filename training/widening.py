"""A network made wider without changing what it computes, so that a small one's training is not lost.

Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", 2016: channels are repeated, and
what reads a repeated channel shares its weight out among the copies, at random, so that they learn apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST_SHARE = 0.2  # of an even one
INPUT_AXES = {nn.Conv1d: 1, nn.Conv2d: 1, nn.ConvTranspose1d: 0, nn.ConvTranspose2d: 0}


def widen(narrow: nn.Module, wide: nn.Module) -> None:
    """Give a network the function of a narrower one.

    Parameters
    ----------
    narrow : nn.Module
    wide : nn.Module
        The same network but for its channels, of which it has a whole multiple everywhere. Gets new weights.

    Raises
    ------
    ValueError
        When a size is not a multiple.
    """
    modules, weights = dict(wide.named_modules()), wide.state_dict()
    for name, old in narrow.state_dict().items():
        owner, _, kind = name.rpartition(".")
        axis = INPUT_AXES.get(type(modules[owner])) if kind == "weight" else None
        weights[name] = _widened(name, old, weights[name].shape, axis)
    wide.load_state_dict(weights)


def _widened(name: str, values: Tensor, shape: torch.Size, input_axis: int | None) -> Tensor:
    """One tensor, repeated along its axes to a shape; along the input axis the copies share the weight."""
    if values.dim() != len(shape) or any(new % old for new, old in zip(shape, values.shape, strict=True)):
        raise ValueError(f"{name} of the shape {tuple(values.shape)} does not widen to {tuple(shape)}")
    for axis, size in enumerate(shape):
        times = size // values.shape[axis]
        values = values.repeat_interleave(times, axis)
        if axis == input_axis and times > 1:
            values = values * _shares(values.shape, axis, times)
    return values


def _shares(shape: torch.Size, axis: int, times: int) -> Tensor:
    """Random weights that sum to 1 over each run of `times` along an axis, the same for a whole kernel."""
    sizes = [size if index < 2 else 1 for index, size in enumerate(shape)]
    sizes[axis : axis + 1] = [sizes[axis] // times, times]
    shares = LEAST_SHARE + torch.rand(sizes)
    return (shares / shares.sum(axis + 1, keepdim=True)).flatten(axis, axis + 1)
