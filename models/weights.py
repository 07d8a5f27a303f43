"""Weights: where they are looked for, whether they are here, and how they are fetched.

Looked for in the models folder (air-gapped installs and tests), then in the library's own cache, then downloaded.

`python -m models.weights pull htdemucs medium` fetches ahead, `python -m models.weights list` shows what is here.
"""

import argparse
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errors import Cancelled, InvalidInput, ModelUnavailable, StorageFull, StudioError
from models import REGISTRY, Report, checkpoints, download
from models.checkpoints import AUDIOCRAFT_PARTS
from models.sources import BUNDLED, SOURCES


def find(model: str, variant: str, models_dir: Path | None) -> Path | None:
    """What `load` takes as weights, if they are on this machine; the network is never asked.

    Parameters
    ----------
    model, variant : str
        As in the table of weights, models.sources.
    models_dir : Path or None
        The folder that is looked in first.

    Returns
    -------
    Path or None
        demucs: a folder with the bag's yaml; whisper: a file; musicgen, gemma_3n: a model folder.
    """
    if model not in SOURCES:
        return None
    for candidate in _candidates(model, variant, models_dir):
        if candidate.is_file() and not checkpoints.missing(candidate):
            return candidate if candidate.suffix == ".pt" else candidate.parent
    return None


def fetch(model: str, variant: str, models_dir: Path | None, report: Report) -> Path | None:
    """Find weights or download them.

    Parameters
    ----------
    model, variant, models_dir
        As for find().
    report : Report
        Called while downloading with the fraction and a message.

    Returns
    -------
    Path or None
        As find(); None for models that have no weights.

    Raises
    ------
    ModelUnavailable
        When they are neither here nor to be had: names the file, the places and the command that fetches it. When
        a file that is here is damaged: names it.
    StorageFull
        When the disk has no room for them.
    """
    if model not in SOURCES:
        return None
    if found := find(model, variant, models_dir):
        _refuse_damage(model, variant, found)
        return found
    source = SOURCES[model][variant]
    if source.bundled:
        raise ModelUnavailable(
            f"The weights of {model} {variant} ({source.filename}) come with this project and are missing from "
            f"{BUNDLED}; restore that folder."
        )
    try:
        message = f"Downloading {model} {variant}..."
        report(0.0, message)
        folder = _target(model, variant, models_dir) if models_dir else None
        if source.repository is None:
            download.whisper_checkpoint(variant, folder or _whisper_cache(), report, message)
        elif model == "demucs":
            download.demucs_bag(variant, source.repository, folder, _torch_cache(), report, message)
        else:
            only = AUDIOCRAFT_PARTS if source.filename in AUDIOCRAFT_PARTS else ()
            download.repository(source.repository, folder, report, message, only)
    except Cancelled:
        raise
    except Exception as error:  # a refused connection, a wrong checksum, a licence not accepted, a full disk
        if _disk_is_full(error):
            raise StorageFull(_no_room(model, variant, models_dir), details=str(error)[:500]) from error
        raise ModelUnavailable(_absent(model, variant, models_dir, error), details=str(error)[:500]) from error
    found = find(model, variant, models_dir)
    if found is None:
        raise ModelUnavailable(_absent(model, variant, models_dir, None))
    return found


def describe(model: str, variant: str, models_dir: Path | None) -> dict[str, Any]:
    """What `GET /models` says of a variant's weights.

    Returns
    -------
    dict
        cached, download_size_bytes, license, note; a model without weights is always cached.
    """
    source = SOURCES.get(model, {}).get(variant)
    return {
        "cached": source is None or find(model, variant, models_dir) is not None,
        "download_size_bytes": source.download_size_bytes if source else None,
        "license": source.license if source else None,
        "note": source.note if source else None,
    }


def size_bytes(model: str, variant: str, path: Path) -> int:
    """How large a variant's weights are on disk, about what they take in memory.

    Parameters
    ----------
    model, variant : str
    path : Path
        As find() gave it.
    """
    return sum(part.stat().st_size for part in _files(model, variant, path))


def _candidates(model: str, variant: str, models_dir: Path | None) -> Iterator[Path]:
    """Where a variant's first file may be, in the order the places are looked in."""
    for folder in _places(model, variant, models_dir):
        if folder.name == "snapshots":
            yield from sorted(folder.glob(f"*/{SOURCES[model][variant].filename}"))
        else:
            yield folder / SOURCES[model][variant].filename


def _places(model: str, variant: str, models_dir: Path | None) -> Iterator[Path]:
    """The folders that are looked in: ours, then the library's own."""
    source = SOURCES[model][variant]
    if source.bundled:
        yield BUNDLED
        return
    if models_dir is not None:
        yield _target(model, variant, models_dir)
    if source.repository is None:
        yield _whisper_cache()
        return
    from huggingface_hub import constants  # this module of it is light

    yield Path(constants.HF_HUB_CACHE) / f"models--{source.repository.replace('/', '--')}" / "snapshots"
    if model == "demucs":
        yield _torch_cache()


def _whisper_cache() -> Path:
    """Where whisper.load_model keeps its downloads."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "whisper"


def _torch_cache() -> Path:
    """Where torch.hub keeps downloads, and demucs those from its older address."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("TORCH_HOME", cache / "torch")) / "hub" / "checkpoints"


def _target(model: str, variant: str, models_dir: Path) -> Path:
    """A variant's folder below the models folder; demucs and whisper keep all theirs in one."""
    return models_dir / model if model in ("demucs", "whisper") else models_dir / model / variant


def _files(model: str, variant: str, path: Path) -> Iterator[Path]:
    """The files with the numbers themselves, of weights as find() gave them."""
    first = path if path.is_file() else path / SOURCES[model][variant].filename
    yield from (part for part in checkpoints.parts(first).values() if part is not None)


def _refuse_damage(model: str, variant: str, path: Path) -> None:
    """Raise ModelUnavailable when weights as find() gave them are not whole."""
    for part in _files(model, variant, path):
        if trouble := checkpoints.damage(part):
            remedy = f"Delete that file and fetch it again with: {_command(model, variant)}."
            if SOURCES[model][variant].bundled:
                remedy = "It comes with this project; restore it from there."
            raise ModelUnavailable(f"The weights of {model} {variant} are damaged: {part}: {trouble}. {remedy}")


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, is a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        error = error.__cause__ or error.__context__
    return False


def _no_room(model: str, variant: str, models_dir: Path | None) -> str:
    """One sentence: what does not fit, and where."""
    size, place = SOURCES[model][variant].download_size_bytes, next(_places(model, variant, models_dir))
    weights = f"the weights of {model} {variant} ({size / 1e9:.1f} GB)"
    return f"The disk is full: {weights} do not fit into {place}; make room there."


def _command(model: str, variant: str) -> str:
    """What fetches a variant."""
    return f"python -m models.weights pull {model} {variant}"


def _absent(model: str, variant: str, models_dir: Path | None, error: Exception | None) -> str:
    """One sentence or three: what is missing, where it was looked for, what to do."""
    source = SOURCES[model][variant]
    places = ", ".join(str(folder) for folder in _places(model, variant, models_dir))
    sentence = (
        f"The weights of {model} {variant} ({source.filename}) are not here and could not be downloaded: looked in "
        f"{places}. Fetch them where there is a network with: {_command(model, variant)}"
    )
    candidates = [path for path in _candidates(model, variant, models_dir) if path.is_file()]
    half = [f"{path.parent} lacks {', '.join(checkpoints.missing(path))}" for path in candidates]
    if half:
        sentence += f". An incomplete copy was found: {'; '.join(half)}"
    if source.gated:
        sentence += (
            f". They are gated: accept the licence at https://huggingface.co/{source.repository} and set HF_TOKEN to a "
            "token from https://huggingface.co/settings/tokens"
        )
    return sentence + "."


def _wanted(names: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of model and variant from a mixture of both: a model alone means its default variant."""
    model = ""
    for name, following in zip(names, [*names[1:], ""], strict=True):
        owners = [owner for owner, variants in SOURCES.items() if name in variants]
        if name in SOURCES:
            model = name
            if following not in SOURCES[model]:
                yield model, _default_variant(model)
        elif owners:
            yield model if model in owners else owners[0], name
        else:
            raise ModelUnavailable(f"{name!r} is neither a model nor a variant; see python -m models.weights list.")


def _default_variant(model: str) -> str:
    """The variant that a model's name alone means, on whichever engine."""
    return next(s.default_variant for s in REGISTRY.values() if model in (s.name, *map(s.wrapper, s.engines)))


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    from config import Config  # this is an entry point, as app.py is

    try:
        models_dir = Config.from_environment().models_dir
    except InvalidInput as error:
        print(error.message, file=sys.stderr)
        return 1
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--models-dir", type=Path, default=models_dir, help="else MODELS_DIR")
    parser = argparse.ArgumentParser(prog="python -m models.weights", description="Fetch weights ahead.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[where], help="show which weights are here")
    pull = commands.add_parser("pull", parents=[where], help="download weights")
    pull.add_argument("names", nargs="+", metavar="MODEL|VARIANT")
    options = parser.parse_args(arguments)
    try:
        return _list(options.models_dir) if options.command == "list" else _pull(options.names, options.models_dir)
    except StudioError as error:
        print(error.message, file=sys.stderr)
        return 1


def _list(models_dir: Path | None) -> int:
    """Print every variant with where its weights are."""
    for model, variants in SOURCES.items():
        for variant in variants:
            print(f"{model:19} {variant:16} {find(model, variant, models_dir) or '-'}")
    return 0


def _pull(names: list[str], models_dir: Path | None) -> int:
    """Fetch what is named, with a bar each."""
    from tqdm import tqdm

    for model, variant in list(_wanted(names)):
        with tqdm(total=100, unit="%", desc=f"{model} {variant}") as bar:
            path = fetch(model, variant, models_dir, _show_on(bar))
            bar.update(100 - bar.n)
        print(f"{model} {variant}: {path}")
    return 0


def _show_on(bar: Any) -> Report:
    """A report that moves a tqdm bar of 100."""

    def show(fraction: float, message: str | None = None) -> None:
        bar.update(int(fraction * 100) - bar.n)

    return show


if __name__ == "__main__":
    sys.exit(main())
