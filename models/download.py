"""Downloads of weights, through the hub's own client and pooch: checked, and never visible half-done."""

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errors import Cancelled
from models import Report

CONNECT_SECONDS = 10  # before a host that does not answer is given up
# What models are made of, and no more; repositories of MusicGen hold audiocraft's copies besides.
PARTS = ["*.json", "*.yaml", "*.safetensors", "*.model", "*.txt", "*.jinja"]
OLD_PARTS = ["pytorch_model*.bin"]  # where a repository has no safetensors


def whisper_checkpoint(variant: str, folder: Path, report: Report, message: str) -> None:
    """Fetch a checkpoint from the library's own address, which holds its SHA-256.

    Parameters
    ----------
    variant : str
        As in whisper._MODELS.
    folder : Path
        Where the file goes, under the library's name for it.
    report, message
        Called with the fraction done and this message.

    Raises
    ------
    requests.RequestException, ValueError
        When it cannot be fetched, or its checksum is wrong.
    """
    import pooch
    from whisper import _MODELS

    url = _MODELS[variant]
    digest, name = url.split("/")[-2:]
    downloader = pooch.HTTPDownloader(progressbar=_Bar(report, message), timeout=CONNECT_SECONDS)
    pooch.retrieve(url, f"sha256:{digest}", fname=name, path=folder, downloader=downloader)


def demucs_bag(variant: str, name: str, folder: Path | None, older_cache: Path, report: Report, message: str) -> None:
    """Fetch a demucs bag from the hub, or from its older address where that fails, as demucs does.

    Parameters
    ----------
    variant : str
        As demucs names the bag.
    name, folder, report, message
        As for repository().
    older_cache : Path
        Where files from the older address go when there is no folder.

    Raises
    ------
    huggingface_hub.errors.HfHubHTTPError, requests.RequestException, OSError, ValueError
        When it can be had from neither, or a checksum is wrong.
    """
    try:
        repository(name, folder, report, message)
    except Cancelled:
        raise
    except Exception as error:  # whatever the hub's client raises: the other address may still have it
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        _older_demucs_bag(variant, folder or older_cache, report, message)


def _older_demucs_bag(variant: str, folder: Path, report: Report, message: str) -> None:
    """Fetch a bag's .th files, whose names end with the first digits of their SHA-256; the yaml comes with demucs."""
    import pooch
    import yaml
    from demucs.pretrained import REMOTE_ROOT, _parse_remote_files

    from models.checkpoints import damage

    folder.mkdir(parents=True, exist_ok=True)
    bag = REMOTE_ROOT / f"{variant}.yaml"
    addresses, signatures = _parse_remote_files(REMOTE_ROOT / "files.txt"), yaml.safe_load(bag.read_text())["models"]
    for index, signature in enumerate(signatures):
        target = folder / addresses[signature].rpartition("/")[2]
        if target.exists() and damage(target) is None:
            continue
        bar = _Bar(report, message, done=index / len(signatures), share=1 / len(signatures))
        with pooch.utils.temporary_file(path=folder) as temporary:
            pooch.HTTPDownloader(progressbar=bar, timeout=CONNECT_SECONDS)(addresses[signature], temporary, None)
            checksum = target.stem.rpartition("-")[2]
            if not pooch.file_hash(temporary).startswith(checksum):
                raise ValueError(f"{addresses[signature]} came with a SHA-256 that does not begin with {checksum}")
            Path(temporary).replace(target)
    shutil.copyfile(bag, folder / bag.name)  # last: it is what shows that the bag is here


def repository(name: str, folder: Path | None, report: Report, message: str, only: Sequence[str] = ()) -> None:
    """Fetch a repository from the Hugging Face hub.

    Parameters
    ----------
    name : str
        "owner/name".
    folder : Path or None
        Where the files go; None for the hub's own cache.
    report, message
        Called with the fraction done and this message.
    only : sequence of str
        Names of the files wanted; empty for what transformers loads.

    Raises
    ------
    huggingface_hub.errors.HfHubHTTPError, OSError
        When it cannot be fetched, or its licence was not accepted.
    """
    from huggingface_hub import HfApi, snapshot_download
    from tqdm import tqdm

    class Bar(tqdm):
        """The hub's progress bar, told to our report instead of drawn."""

        def update(self, n: float | None = 1) -> bool | None:
            drawn = super().update(n)
            if self.unit == "B" and self.total:
                report(min(self.n / self.total, 1.0), message)
            return drawn

        def display(self, *_args: Any, **_options: Any) -> None:
            """Draw nothing."""

    files = HfApi().model_info(name, timeout=CONNECT_SECONDS).siblings or []
    newer = any(file.rfilename.endswith(".safetensors") for file in files)
    wanted = list(only) or (PARTS if newer else PARTS + OLD_PARTS)
    snapshot_download(name, local_dir=folder, allow_patterns=wanted, etag_timeout=CONNECT_SECONDS, tqdm_class=Bar)


class _Bar:
    """What pooch takes for a progress bar, as our report."""

    def __init__(self, report: Report, message: str, *, done: float = 0.0, share: float = 1.0) -> None:
        self.total = 0  # bytes; pooch sets it
        self._bytes, self._report, self._message = 0, report, message
        self._done, self._share = done, share

    def update(self, count: int) -> None:
        """So many bytes more."""
        self._bytes += count
        fraction = min(self._bytes / self.total, 1.0) if self.total else 0.0
        self._report(self._done + self._share * fraction, self._message)

    def reset(self) -> None:
        """pooch calls this before it closes."""

    def close(self) -> None:
        """There is nothing to close."""
