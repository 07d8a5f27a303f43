"""Which device models run on, and what there is."""

from typing import Any

from errors import InvalidInput, ModelUnavailable


def choose_device(wanted: str, index: int = 0) -> str:
    """The torch device to use.

    Parameters
    ----------
    wanted : str
        "auto" (CUDA, else Apple's MPS, else CPU), "cpu", "mps", "cuda" or "cuda:N".
    index : int
        Which CUDA device, when `wanted` leaves it open.

    Returns
    -------
    str
        "cpu", "mps" or "cuda:N".

    Raises
    ------
    InvalidInput
        When `wanted` is no device name.
    ModelUnavailable
        When that device is not there.
    """
    import torch

    kind, _, number = wanted.partition(":")
    if kind not in ("auto", "cpu", "mps", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise InvalidInput(f"DEVICE={wanted!r} is not auto, cpu, mps, cuda or cuda:N.")
    if kind == "cpu":
        return "cpu"
    if kind in ("auto", "cuda") and torch.cuda.is_available():
        chosen = int(number) if number else index
        if chosen < torch.cuda.device_count():
            return f"cuda:{chosen}"
    elif kind in ("auto", "mps") and torch.backends.mps.is_available():
        return "mps"
    elif kind == "auto":
        return "cpu"
    raise ModelUnavailable(f"DEVICE={wanted!r}: there is no such device on this machine.")


def describe_device(device: str | None) -> dict[str, Any]:
    """What a worker knows of its device and torch, as `GET /gpu-status` shows it.

    Parameters
    ----------
    device : str or None
        As choose_device() gave it; None when it found none.

    Returns
    -------
    dict
        device, torch_installed, torch_version, cuda_available, gpu_count and devices: a list of
        {index, name, total_memory_bytes}.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    return {
        "device": device,
        "torch_installed": True,
        "torch_version": torch.__version__,
        "cuda_available": count > 0,
        "gpu_count": count,
        "devices": [
            {"index": index, "name": found.name, "total_memory_bytes": found.total_memory}
            for index, found in enumerate(properties)
        ],
    }
