"""Which models stay in memory: as many as fit, the least recently used leaves first."""

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from errors import OutOfMemory

Key = tuple[str, str]  # model, variant
T = TypeVar("T")

MEBIBYTE = 1024 * 1024


class LoadedModels:
    """Models on one device, kept between jobs.

    Parameters
    ----------
    device : str
        "cpu", "mps" or "cuda:N".
    reserve_bytes : int
        Memory that shall stay free before a model is loaded; models not used lately leave to keep it so.
    free_bytes : callable, optional
        Reads the device's free memory; the device's own reading by default.
    """

    def __init__(self, device: str, reserve_bytes: int, free_bytes: Callable[[], int] | None = None) -> None:
        self._device, self._reserve_bytes = device, reserve_bytes
        self._free_bytes = free_bytes or (lambda: free_memory_bytes(device))
        self._models: OrderedDict[Key, Any] = OrderedDict()
        self._need_bytes = 0  # of the model that was loaded last
        self._lock = threading.Lock()  # the heartbeat thread reads loaded() meanwhile

    def run(self, key: Key, load: Callable[[], Any], use: Callable[[Any], T]) -> T:
        """Use a model, loading it first if need be.

        When the device runs out of memory, every other model leaves and the whole is tried once more.

        Parameters
        ----------
        key : tuple of (model, variant)
        load : callable
            Returns the model; it calls make_room() once it knows how much that will take.
        use : callable
            Gets the model; its result is returned.

        Raises
        ------
        OutOfMemory
            When it does not fit even alone; says what it needs and what there was.
        """
        self._need_bytes = 0
        try:
            return use(self._get(key, load))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            first = str(error)
        self._drop_all()  # this model too: what it holds may be half-built
        try:
            return use(self._get(key, load))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._drop_all()
            need, free = self._need_bytes // MEBIBYTE, self._free_bytes() // MEBIBYTE
            raise OutOfMemory(
                f"{key[0]} {key[1]} does not fit on {self._device}: its weights alone take {need} MiB, and {free} MiB "
                "are free without any model; use a smaller variant or a shorter song.",
                details=first[:500],
            ) from error

    def loaded(self) -> list[Key]:
        """Which models are in memory, the least recently used first."""
        with self._lock:
            return list(self._models)

    def make_room(self, need_bytes: int) -> None:
        """Drop the least recently used models until so much is free besides the reserve, or none is left.

        Parameters
        ----------
        need_bytes : int
            What is about to be loaded; the size of its weights is a fair guess.
        """
        self._need_bytes = need_bytes
        while (models := self.loaded()) and self._free_bytes() < self._reserve_bytes + need_bytes:
            self._drop(models[0])

    def _get(self, key: Key, load: Callable[[], Any]) -> Any:
        """The model, from memory or loaded."""
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
        model = load()
        with self._lock:
            self._models[key] = model
        return model

    def _drop_all(self) -> None:
        """Drop every model."""
        for key in self.loaded():
            self._drop(key)
        _give_back(self._device)

    def _drop(self, key: Key) -> None:
        """Forget one model and give its memory back to the device."""
        with self._lock:
            del self._models[key]
        _give_back(self._device)


def free_memory_bytes(device: str) -> int:
    """Free memory of a device: a GPU's own, else the machine's.

    Parameters
    ----------
    device : str
        "cpu", "mps" or "cuda:N".
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: Python's, torch's for a GPU, or torch's for the CPU."""
    text = str(error).lower()
    of_torch = isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    return isinstance(error, MemoryError) or of_torch


def _give_back(device: str) -> None:
    """Free what nobody refers to any more."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
