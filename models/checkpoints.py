"""Checkpoint files on disk: which belong together, and whether they are whole."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from errors import ModelUnavailable
from models.memory import is_out_of_memory

LARGEST_HEADER_BYTES = 100 * 1024 * 1024  # of a safetensors file, as its library has it
ZIP_MAGIC = b"PK\x03\x04"
AUDIOCRAFT_PARTS = ("state_dict.bin", "compression_state_dict.bin")  # language model, audio codec
KINDS = ("model.safetensors", "pytorch_model.bin")  # how transformers names checkpoints, the preferred one first


def parts(first: Path) -> dict[str, Path | None]:
    """The files with the numbers themselves that go with a variant's first file.

    Parameters
    ----------
    first : Path
        A demucs bag's yaml, a model folder's config.json, or a checkpoint, which is its own only part.

    Returns
    -------
    dict of str to Path or None
        By name, or by a demucs model's signature; None where one is missing.
    """
    folder = first.parent
    if first.suffix == ".yaml":
        import yaml

        signatures = yaml.safe_load(first.read_text(encoding="utf-8"))["models"]
        return {signature: next(_of_signature(folder, signature), None) for signature in signatures}
    if first.name in AUDIOCRAFT_PARTS:
        names = list(AUDIOCRAFT_PARTS)
    elif first.suffix == ".json":
        names = next((found for kind in KINDS if (found := _named_by(folder, kind))), [KINDS[0]])
    else:
        names = [first.name]
    return {name: folder / name if (folder / name).exists() else None for name in names}


def missing(first: Path) -> list[str]:
    """What an interrupted download or copy left out, by name or signature."""
    return [name for name, path in parts(first).items() if path is None]


def damage(path: Path) -> str | None:
    """What is wrong with a file of weights: one cut off, or one that is not what its name claims.

    Parameters
    ----------
    path : Path
        A .th (its name may carry the start of its SHA-256, as demucs's do), .pt, .bin or .safetensors file.

    Returns
    -------
    str or None
        A clause like "it is cut off", None when nothing is wrong that can be seen without loading it.
    """
    if path.suffix == ".safetensors":
        return None if _safetensors_bytes(path) == path.stat().st_size else "it is cut off"
    claimed = path.stem.rpartition("-")[2] if path.suffix == ".th" and "-" in path.stem else ""
    if claimed and not sha256(path).startswith(claimed):
        return f"its SHA-256 does not begin with {claimed}"
    with path.open("rb") as file:
        magic = file.read(len(ZIP_MAGIC))
    # torch writes zip files, whose directory comes last: one that was cut off begins as one and is none.
    return "it is cut off" if not magic or (magic == ZIP_MAGIC and not zipfile.is_zipfile(path)) else None


def sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def loading(complaint: str) -> Iterator[None]:
    """Let whatever a library raises on weights that it cannot load be a ModelUnavailable.

    Parameters
    ----------
    complaint : str
        A clause like "The weights in DIR do not load"; the library's own words follow it.

    Raises
    ------
    ModelUnavailable
        For every exception but those that say that memory ran out.
    """
    try:
        yield
    except ModelUnavailable:
        raise
    except Exception as error:  # no such file, another model's sizes, a header that makes no sense: none is documented
        if is_out_of_memory(error):
            raise
        raise ModelUnavailable(f"{complaint}: {error!r}.") from error


def _named_by(folder: Path, kind: str) -> list[str]:
    """The parts of a transformers checkpoint of one kind: those its index names, or itself; none when it is absent."""
    index = folder / f"{kind}.index.json"
    if index.exists():
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    return [kind] if (folder / kind).exists() else []


def _of_signature(folder: Path, signature: str) -> Iterator[Path]:
    """Files of one demucs model: its own repositories have .th files, the hub's safetensors."""
    for pattern in (f"{signature}-*.th", f"{signature}.th", f"{signature}.safetensors"):
        yield from folder.glob(pattern)


def _safetensors_bytes(path: Path) -> int:
    """How long a safetensors file says that it is; -1 where it cannot say.

    The file is the header's length in 8 bytes, the header as JSON, then the tensors at the offsets that it gives.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_HEADER_BYTES:
            return -1
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return -1
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return 8 + length + max(ends, default=0)
