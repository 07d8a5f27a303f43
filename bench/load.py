"""A thousand Socket.IO clients listen for a minute while jobs run: `python -m bench.load` prints a Markdown table.

The clients share one process on this machine. One that is hung up on ends the measurement with an error.
"""

import argparse
import tempfile
from pathlib import Path

from bench.machine import machine
from bench.web import SONG_SECONDS, noise, percentiles, table, under_load
from tests import tiny_weights
from tests.serving import Server, wait_until

CLIENTS = 1000
SECONDS = 60.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="Measure the service with many clients.")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    heading = machine()
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        tiny_weights.build_demucs(folder / "weights")
        server = Server(folder / "service", folder / "weights", MAX_CONNECTIONS_PER_CLIENT=0).start()
        try:
            wait_until(lambda: server.get("/gpu-status").json()["torch_version"], 60)  # every worker is up
            song = noise(folder / "song.wav", SONG_SECONDS)
            answers, deliveries = under_load(server, song, options.seconds, options.clients)
        finally:
            server.stop()
    reached = sum(len(ways) == options.clients for ways in deliveries.values())
    ways = [way for ways in deliveries.values() for way in ways]
    print(f"{heading}\n")
    print(f"{options.clients} clients for {options.seconds:g} s, while one separation after another runs.\n")
    print(table([
        ("`/health`, p50 / p99", percentiles(answers), ""),
        ("event, worker to client, p50 / p99", percentiles(ways), ""),
        ("events that reached every client; the last may be on their way", f"{reached} of {len(deliveries)}", ""),
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
