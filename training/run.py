"""What both trainings share: the learning rate over a run, and going on where a run was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn


def set_learning_rate(
    optimiser: torch.optim.Optimizer, highest: float, step: int, steps: int, *, warm_up_steps: int, cool_down: float
) -> None:
    """Set a step's learning rate: a rise, a plateau, and a straight fall to nothing.

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
    highest : float
        On the plateau.
    step, steps : int
        This one from 0, and all.
    warm_up_steps : int
        Of the rise.
    cool_down : float
        Share of all steps in which it falls.
    """
    for group in optimiser.param_groups:
        group["lr"] = highest * min(1.0, (step + 1) / warm_up_steps, (steps - step) / (cool_down * steps))


def save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int, **more: Any) -> None:
    """Keep all that a later run needs to go on.

    Parameters
    ----------
    path : Path
    model : nn.Module
    optimiser : torch.optim.Optimizer
    step : int
        How many are done.
    **more
        What else go_on() shall give back.
    """
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, **more}
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def go_on(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Load what a stopped run has saved.

    Parameters
    ----------
    path : Path
    model : nn.Module
    optimiser : torch.optim.Optimizer

    Returns
    -------
    dict
        What save() was given; step 0 alone where there is no such run.
    """
    if not path.exists():
        return {"step": 0}
    state: dict[str, Any] = torch.load(path, map_location=next(model.parameters()).device)
    model.load_state_dict(state.pop("model"))
    optimiser.load_state_dict(state.pop("optimiser"))
    return state
