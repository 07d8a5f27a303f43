"""Which models stay in memory: real objects, and a device whose free memory is counted here."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from errors import Cancelled, JobFailed, ModelUnavailable, OutOfMemory
from models import demucs, weights
from models.checkpoints import loading
from models.memory import LoadedModels, free_memory_bytes, is_out_of_memory

DEVICE_BYTES = 1000
RESERVE_BYTES = 100


class Model:
    """Something that takes memory."""

    def __init__(self, size_bytes: int) -> None:
        self.content = np.zeros(size_bytes, dtype=np.uint8)


class Device:
    """A device of 1000 bytes, of which as many are taken as models are alive."""

    def __init__(self) -> None:
        self._alive: weakref.WeakSet[Model] = weakref.WeakSet()
        self.models = LoadedModels("cpu", RESERVE_BYTES, self.free_bytes)
        self.loads: list[str] = []

    def free_bytes(self) -> int:
        """What no model takes."""
        return DEVICE_BYTES - sum(model.content.size for model in self._alive)

    def loader(self, name: str, size_bytes: int) -> Callable[[], Model]:
        """How a model is loaded here: room first, and out of memory when there is not enough."""

        def load() -> Model:
            self.loads.append(name)
            self.models.make_room(size_bytes)
            if size_bytes > self.free_bytes():
                raise MemoryError(f"tried to allocate {size_bytes} bytes")
            model = Model(size_bytes)
            self._alive.add(model)
            return model

        return load

    def use(self, name: str, size_bytes: int, use: Callable[[Model], Any] = lambda model: model.content.size) -> Any:
        """Run a model of that name and size."""
        return self.models.run((name, "v"), self.loader(name, size_bytes), use)

    def names(self) -> list[str]:
        """Which are loaded, the least recently used first."""
        return [model for model, _variant in self.models.loaded()]


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> Iterator[None]:
    """What earlier tests of this process left is no garbage here; to walk through it takes longer than these tests."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def device() -> Device:
    return Device()


def test_a_model_is_loaded_once(device: Device) -> None:
    assert device.use("a", 200) == 200
    assert device.use("a", 200) == 200
    assert device.loads == ["a"]
    assert device.models.loaded() == [("a", "v")]


def test_models_stay_while_there_is_room(device: Device) -> None:
    for name in "abc":
        device.use(name, 300)
    assert device.names() == ["a", "b", "c"]


def test_the_least_recently_used_leaves_first(device: Device) -> None:
    for name in ("a", "b", "c", "a"):
        device.use(name, 300)
    device.use("d", 200)  # 100 free and 100 in reserve: one has to leave
    assert device.names() == ["c", "a", "d"]
    assert device.free_bytes() == 200


def test_as_many_leave_as_needed(device: Device) -> None:
    for name in "abc":
        device.use(name, 250)
    device.use("d", 650)  # 250 and 650 and the reserve are all there is
    assert device.names() == ["c", "d"]
    assert device.free_bytes() == RESERVE_BYTES


def test_the_reserve_stays_free(device: Device) -> None:
    device.use("a", 450)
    device.use("b", 450)
    assert device.names() == ["a", "b"]
    device.use("c", 1)
    assert device.names() == ["b", "c"]


def test_a_model_that_needs_the_reserve_may_have_it(device: Device) -> None:
    device.use("a", 300)
    assert device.use("b", 950) == 950
    assert device.names() == ["b"]


def test_too_large_a_model_is_refused_after_one_more_try(device: Device) -> None:
    device.use("a", 300)
    with pytest.raises(OutOfMemory, match="b v does not fit on cpu: its weights alone take 5 MiB, and 0 MiB") as caught:
        device.use("b", 5_500_000)
    assert "5500000 bytes" in str(caught.value.details)
    assert device.loads == ["a", "b", "b"]
    assert device.names() == []
    assert device.free_bytes() == DEVICE_BYTES


def test_out_of_memory_while_running_drops_the_others_and_tries_once_more(device: Device) -> None:
    def needs_500(model: Model) -> str:
        if device.free_bytes() < 500:
            raise RuntimeError("CUDA out of memory. Tried to allocate 500 bytes")
        return "done"

    device.use("a", 300)
    assert device.use("b", 300, needs_500) == "done"
    assert device.names() == ["b"]
    assert device.loads == ["a", "b", "b"]


def test_running_out_of_memory_alone_is_out_of_memory(device: Device) -> None:
    def never_fits(model: Model) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    with pytest.raises(OutOfMemory) as caught:
        device.use("a", 100, never_fits)
    assert isinstance(caught.value, JobFailed)
    assert "9 TiB" in str(caught.value.details)
    assert device.names() == []


@pytest.mark.parametrize("error", [ValueError("a bug"), Cancelled(), RuntimeError("shapes do not match")])
def test_other_errors_pass_and_the_model_stays(device: Device, error: Exception) -> None:
    def fails(model: Model) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        device.use("a", 100, fails)
    assert caught.value is error
    assert device.names() == ["a"]
    assert device.loads == ["a"]


def test_a_model_that_does_not_load_is_not_kept(device: Device) -> None:
    def fails() -> Model:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        device.models.run(("a", "v"), fails, lambda model: None)
    assert device.names() == []


def test_loaded_can_be_read_while_a_model_is_loaded_or_run(device: Device) -> None:
    seen: list[list[str]] = []

    def look() -> None:
        reader = threading.Thread(target=lambda: seen.append(device.names()))
        reader.start()
        reader.join(timeout=5)

    def load() -> Model:
        look()
        return Model(1)

    device.use("a", 100)
    device.models.run(("b", "v"), load, lambda model: look())
    assert seen == [["a"], ["a", "b"]]


def test_real_models_are_freed(weights_dir: Path) -> None:
    models = LoadedModels("cpu", 0, lambda: 0)
    folder = weights.find("demucs", "htdemucs", weights_dir)
    kept = models.run(
        ("demucs", "htdemucs"), lambda: demucs.load("htdemucs", "cpu", folder), lambda model: weakref.ref(model.bag)
    )
    gc.collect()
    assert kept() is not None
    models.make_room(1)
    assert models.loaded() == []
    assert kept() is None


def test_a_model_whose_parts_know_it_is_freed_at_once() -> None:
    models = LoadedModels("cpu", 0, lambda: 0)
    model = Model(1)
    model.content = [model]
    freed = weakref.ref(model)
    models.run(("a", "v"), lambda: freed(), lambda _: None)
    del model
    models.make_room(1)
    assert freed() is None


def test_what_counts_as_out_of_memory() -> None:
    import torch

    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**45)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as from_numpy:
        np.empty(2**45)
    assert is_out_of_memory(from_numpy.value)
    assert not is_out_of_memory(RuntimeError("expected 4 channels"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_weights_that_do_not_load_are_told_from_a_lack_of_memory() -> None:
    with pytest.raises(ModelUnavailable, match="They do not load: ValueError"), loading("They do not load"):
        raise ValueError("not a checkpoint")
    with pytest.raises(RuntimeError, match="allocate"), loading("They do not load"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 20 GiB")


def test_the_machines_free_memory_is_read() -> None:
    import psutil

    assert 0 < free_memory_bytes("cpu") <= psutil.virtual_memory().total


@pytest.mark.gpu
def test_a_gpu_out_of_memory_is_survived() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    models = LoadedModels("cuda:0", 0)
    free = free_memory_bytes("cuda:0")

    def load(share: float) -> Callable[[], Any]:
        return lambda: torch.empty(int(free * share), dtype=torch.uint8, device="cuda:0")

    models.run(("a", "v"), load(0.6), lambda model: None)
    models.run(("b", "v"), load(0.6), lambda model: None)
    assert models.loaded() == [("b", "v")]
    with pytest.raises(OutOfMemory, match="does not fit on cuda:0"):
        models.run(("c", "v"), load(1.5), lambda model: None)
    assert free_memory_bytes("cuda:0") > 0.9 * free
