"""Many Socket.IO clients in one process: `python -m bench.crowd URL COUNT`, until standard input closes.

They speak just enough of the protocol to listen, in one select() loop: a full client costs so much that a hundred of
them would measure themselves. Prints "ready" once all are connected, and at the end one JSON list of
[sequence number, Unix time of receipt].
"""

import json
import selectors
import sys
import time
from typing import Any

import websocket

PING, PONG, CONNECT, EVENT = "2", "3", "40", "42"  # packets of Engine.IO and Socket.IO


def connect(url: str) -> websocket.WebSocket:
    """A client of the default namespace."""
    address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    client = websocket.create_connection(address, timeout=30)
    client.recv()
    client.send(CONNECT)
    while not str(client.recv()).startswith(CONNECT):
        pass
    return client


def listen(clients: list[websocket.WebSocket]) -> list[tuple[str, float]]:
    """Every packet with an event, and when it was there to be read, until standard input closes."""
    received: list[tuple[str, float]] = []
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
        while True:
            ready = selector.select()
            now = time.time()
            for key, _ in ready:
                if key.data is None:
                    return received
                packet = str(key.data.recv())
                if packet == PING:
                    key.data.send(PONG)
                elif packet.startswith(EVENT):
                    received.append((packet, now))


def main() -> None:
    """Connect, listen, print."""
    url, count = sys.argv[1], int(sys.argv[2])
    clients = [connect(url) for _ in range(count)]
    print("ready", flush=True)
    times: list[Any] = []
    for packet, at in listen(clients):
        _, body = json.loads(packet.removeprefix(EVENT))
        times.append((body["seq"], at))
    print(json.dumps(times))


if __name__ == "__main__":
    main()
