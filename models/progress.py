"""How models tell progress: as a share of the whole, and from inside transformers' generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

UNFINISHED = 0.99  # what generation tells at most: the model says itself when it is done


def share(report: Callable[[float], None], begin: float, end: float) -> Callable[[float], None]:
    """Make a report for one share of the work.

    Parameters
    ----------
    report : callable
        Of the whole.
    begin, end : float
        Of the whole: what is done before that share and after it.

    Returns
    -------
    callable
        Takes the fraction of the share.
    """
    return lambda fraction: report(begin + (end - begin) * fraction)


class EveryStep:
    """A stopping criterion of transformers that never stops: it tells each step, and the report may raise.

    Parameters
    ----------
    report : callable
        Told the fraction done.
    done, total : int
        Steps before the first, and in all.
    """

    def __init__(self, report: Callable[[float], None], done: int, total: int) -> None:
        self._report, self._done, self._total = report, done, total

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_options: Any) -> torch.Tensor:
        import torch

        self._done += 1
        self._report(min(self._done / self._total, UNFINISHED))
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
