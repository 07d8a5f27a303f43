"""Who may connect: clients with an API key, where keys are set. They hear of what is theirs."""

from typing import Any, cast

from flask import current_app, request
from flask_socketio import ConnectionRefusedError
from socketio.packet import CONNECT_ERROR, Packet

from api_keys import KeyRing
from sockets import socketio

MESSAGE = "A valid API key is needed: connect with auth: {api_key: KEY}, or send it as a header."
REASON = {"message": MESSAGE, "data": {"code": "unauthorized"}}
CONNECT = "0"  # Socket.IO's packets of that kind begin with it


def owner_of(auth: Any) -> str | None:
    """Whose key the client that connects has given, None where no keys are set.

    Raises
    ------
    ConnectionRefusedError
        When keys are set and it gave none that is valid.
    """
    ring = cast(KeyRing, current_app.extensions["keys"])
    owner = ring.identify(request.environ, auth)
    if ring and owner is None:
        raise ConnectionRefusedError(MESSAGE, REASON["data"])
    return owner


def refuse_strangers(ring: KeyRing) -> None:
    """Answer who connects without a key that it may not: the library would welcome it first, then drop it unheard."""
    if not ring:
        return
    server = socketio.server
    take_in = server.eio.handlers["message"]

    def on_message(connection: str, message: Any) -> None:
        """See what comes before the library does."""
        if isinstance(message, str) and message.startswith(CONNECT):
            wish = Packet(encoded_packet=message)
            if ring.identify(server.environ[connection], wish.data) is None:
                refusal = Packet(CONNECT_ERROR, data=REASON, namespace=wish.namespace)
                server.eio.send(connection, refusal.encode())
                return
        take_in(connection, message)

    server.eio.on("message", on_message)
