"""Downloads of weights, through the hub's own client and pooch: checked, and never visible half-done."""

from pathlib import Path
from typing import Any

from models import Report

CONNECT_SECONDS = 10  # before a host that does not answer is given up
PARTS = ["*.json", "*.yaml", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # what models are made of, and no more


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


def repository(name: str, folder: Path | None, report: Report, message: str) -> None:
    """Fetch a repository from the Hugging Face hub.

    Parameters
    ----------
    name : str
        "owner/name".
    folder : Path or None
        Where the files go; None for the hub's own cache.
    report, message
        Called with the fraction done and this message.

    Raises
    ------
    huggingface_hub.errors.HfHubHTTPError, OSError
        When it cannot be fetched, or its licence was not accepted.
    """
    from huggingface_hub import snapshot_download
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

    snapshot_download(name, local_dir=folder, allow_patterns=PARTS, etag_timeout=CONNECT_SECONDS, tqdm_class=Bar)


class _Bar:
    """What pooch takes for a progress bar, as our report."""

    def __init__(self, report: Report, message: str) -> None:
        self.total, self._done, self._report, self._message = 0, 0, report, message

    def update(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        self._report(min(self._done / self.total, 1.0) if self.total else 0.0, self._message)

    def reset(self) -> None:
        """pooch calls this before it closes."""

    def close(self) -> None:
        """There is nothing to close."""
