"""Where weights come from, as small servers here: the Hugging Face hub and plain hosts; their clients are real."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from errors import ModelUnavailable
from models import weights

REVISION = "0" * 40


class Host:
    """A file server that also answers as the Hugging Face hub does for one repository.

    Parameters
    ----------
    folder : Path
        Its files.
    repository : str
        The hub's only repository, "owner/name".
    gated : bool
        Whether its licence was not accepted.
    """

    def __init__(self, folder: Path, repository: str = "", gated: bool = False) -> None:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self.wfile.write(self._answer())

            def _answer(self) -> bytes:
                """Send the headers; the body."""
                host.asked.append(self.path)
                path, status, headers, body = self.path.partition("?")[0], 200, {}, b""
                files = [file.name for file in folder.iterdir() if file.is_file()]
                if gated and path.startswith(f"/{repository}/resolve/"):
                    status, headers = 403, {"X-Error-Code": "GatedRepo"}
                elif path.startswith(f"/api/models/{repository}/tree/"):
                    body = json.dumps([_entry(folder / name) for name in files]).encode()
                elif repository and path.startswith(f"/api/models/{repository}"):
                    info = {"id": repository, "sha": REVISION, "siblings": [{"rfilename": name} for name in files]}
                    body = json.dumps(info).encode()
                elif (name := path.rpartition("/")[2]) in files:
                    body = (folder / name).read_bytes()
                    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": REVISION}
                else:
                    status = 404
                self.send_response(status)
                for key, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(key, value)
                self.end_headers()
                return body

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _entry(file: Path) -> dict[str, Any]:
    """A file as the hub's tree lists it."""
    return {
        "type": "file",
        "path": file.name,
        "size": file.stat().st_size,
        "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
    }


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Point the hub's client to a server and a cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def leave_alone(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Empty caches in a folder, and no host that could be reached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    use_hub(monkeypatch, "http://127.0.0.1:9", folder / "hub_cache")


def copy_bag(demucs: Path, variant: str, folder: Path) -> Path:
    """The files of one demucs bag alone, in a new folder."""
    folder.mkdir()
    shutil.copy(demucs / f"{variant}.yaml", folder)
    for signature in yaml.safe_load((folder / f"{variant}.yaml").read_text())["models"]:
        for file in demucs.glob(f"{signature}-*.th"):
            shutil.copy(file, folder)
    return folder


class Said(list[float]):
    """A report that keeps the fractions."""

    def __call__(self, fraction: float, message: str | None = None) -> None:
        self.append(fraction)


def refused(model: str, variant: str, models_dir: Path | None) -> str:
    """What fetch() says when it cannot."""
    with pytest.raises(ModelUnavailable) as caught:
        weights.fetch(model, variant, models_dir, Said())
    return caught.value.message
