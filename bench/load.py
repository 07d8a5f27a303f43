"""A thousand Socket.IO clients listen for a minute while jobs run: `python -m bench.load` prints a Markdown table.

The clients share one process on this machine. One that is hung up on ends the measurement with an error; so does, after
the table, an event that did not reach everyone once, or a time that is far from its goal.
"""

import argparse
import tempfile
from pathlib import Path

from bench.machine import machine
from bench.web import SONG_SECONDS, noise, percentile, percentiles, table, under_load
from tests import tiny_weights
from tests.serving import Server, wait_until

CLIENTS = 1000
SECONDS = 60.0
HEALTH_GOAL_MS, EVENT_GOAL_MS = 100.0, 500.0  # p99
FAR = 4.0  # times a goal: machines differ, and have other things to do


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
        ("`/health`, p50 / p99", percentiles(answers), f"p99 {HEALTH_GOAL_MS:g} ms"),
        ("event, worker to client, p50 / p99", percentiles(ways), f"p99 {EVENT_GOAL_MS:g} ms"),
        ("events that reached every client", f"{reached} of {len(deliveries)}", "all"),
    ]), flush=True)  # fmt: skip
    check(answers, deliveries, options.clients)


def check(answers: list[float], deliveries: dict[int, list[float]], clients: int) -> None:
    """Nothing, when every event reached everyone and the times are not far from their goals.

    Parameters
    ----------
    answers, deliveries
        As under_load() gives them.
    clients : int
        How many listened.

    Raises
    ------
    RuntimeError
        When it is not so, or there was no event at all.
    """
    wrong = {seq: len(ways) for seq, ways in deliveries.items() if len(ways) != clients}
    if wrong or not deliveries:
        raise RuntimeError(f"of {len(deliveries)} events {len(wrong)} did not reach {clients} clients once each; "
                           f"how many each reached, by its number: {dict(list(wrong.items())[:20])}")  # fmt: skip
    ways = [way for ways in deliveries.values() for way in ways]
    for what, times, goal in (("/health", answers, HEALTH_GOAL_MS), ("events", ways, EVENT_GOAL_MS)):
        if (p99 := percentile(times, 0.99)) > FAR * goal:
            raise RuntimeError(f"{what}: the p99 is {p99:.0f} ms, more than {FAR:g} times its goal of {goal:g} ms")


if __name__ == "__main__":
    main()
