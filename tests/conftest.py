"""What tests share: weights, a running server, an app without workers, rendered songs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Config
from tests import tiny_weights
from tests.serving import Server


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random checkpoints of every model, in the libraries' own formats."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights.build(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Server]:
    """A running service with its workers, shared by the tests that leave it as they found it."""
    running = Server(tmp_path_factory.mktemp("server"), weights_dir).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings for an app in this process, without workers."""
    return Config(upload_folder=tmp_path / "uploads", output_folder=tmp_path / "outputs", async_mode="threading",
                  start_workers=False)  # fmt: skip
