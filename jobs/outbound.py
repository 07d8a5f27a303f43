"""Requests that leave: a POST to an address that a client named, which must not lead into the network around us."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from errors import InvalidInput

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0  # from the connection to the answer's head
MAX_URL_CHARACTERS = 2000
PORT = r":([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
PATTERN = rf"^https?://[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*({PORT})?([/?][!-~]*)?$"  # of most URLs that are accepted
PORTS = {"http": 80, "https": 443}
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last four bytes
GIVEN_OUT = ipaddress.ip_network("2000::/3")  # all that the public Internet has of IPv6


class Refused(Exception):
    """The address leads where requests of ours must not go."""


def checked_url(url: str, *, allow_private: bool) -> SplitResult:
    """The parts of a URL that may be asked, as far as can be told without a look-up of its host's name.

    Parameters
    ----------
    url : str
    allow_private : bool
        Whether addresses of this host and of private networks are allowed.

    Raises
    ------
    InvalidInput
        When it is no http or https URL, holds a name and password, or names a private address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"{url[:100]!r} is not a URL.") from error
    printable = all("!" <= character <= "~" for character in url)
    if parts.scheme not in PORTS or not parts.hostname or port == 0 or not printable or len(url) > MAX_URL_CHARACTERS:
        raise InvalidInput(f"{url[:100]!r} is not a URL like https://example.com/path, in ASCII and of at most "
                           f"{MAX_URL_CHARACTERS} characters.")  # fmt: skip
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("A URL with a name or password in it is not accepted.")
    if not allow_private and (parts.hostname.rstrip(".").lower() == "localhost" or _is_private(parts.hostname)):
        raise InvalidInput(f"{parts.hostname!r} is an address of a private network, which this service does not call.")
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> int:
    """Send a body, follow no redirection and read no more of the answer than its head.

    The host's name is looked up once, and the connection goes to the address that was checked.

    Parameters
    ----------
    url : str
    body : bytes
    headers : mapping of str to str
    allow_private : bool
        As in checked_url().

    Returns
    -------
    int
        The answer's HTTP status.

    Raises
    ------
    Refused
        When the host has an address in a private network.
    InvalidInput
        As checked_url().
    OSError
        When there is no such host, no connection, no valid certificate, or no answer in time.
    http.client.HTTPException
        When the answer is not HTTP.
    """
    parts = checked_url(url, allow_private=allow_private)
    host = str(parts.hostname)
    address = _address(host, parts.port or PORTS[parts.scheme], allow_private)
    connected = socket.create_connection(address, timeout=CONNECT_SECONDS)
    if parts.scheme == "https":
        connected = ssl.create_default_context().wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False
        )
    # The socket's own time-out begins anew with each byte, and a host may send one at a time.
    late = threading.Event()
    watch = threading.Timer(ANSWER_SECONDS, _shut, [connected, late])
    watch.daemon = True
    watch.start()
    try:
        if parts.scheme == "https":
            connected.do_handshake()  # type: ignore[attr-defined]
        connection = http.client.HTTPConnection(host, parts.port or PORTS[parts.scheme])
        connection.default_port = PORTS[parts.scheme]  # left out of the Host header
        connection.sock = connected
        target = parts.path or "/"
        connection.request("POST", f"{target}?{parts.query}" if parts.query else target, body, dict(headers))
        return connection.getresponse().status
    except Exception as error:  # what a reader gets whose socket is shut depends on the server's ASYNC_MODE
        if late.is_set():
            raise TimeoutError(f"No answer within {ANSWER_SECONDS:g} s.") from error
        raise
    finally:
        watch.cancel()
        connected.close()


def _address(host: str, port: int, allow_private: bool) -> tuple[str, int]:
    """Where to connect to."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not allow_private and (private := [address for address in found if _is_private(address)]):
        raise Refused(f"{host} is {private[0]}, an address of a private network, which this service does not call.")
    return found[0], port


def _is_private(host: str) -> bool:
    """Whether a host is a literal address that is not of the public Internet."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in TRANSLATED:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return _is_private(str(inner))
        if address not in GIVEN_OUT:  # Python takes some others for public, in which an IPv4 address may be hidden
            return True
    return not address.is_global or address.is_multicast


def _shut(connected: socket.socket, late: threading.Event) -> None:
    """End a connection that another thread waits for."""
    late.set()
    with contextlib.suppress(OSError):  # it has just ended
        connected.shutdown(socket.SHUT_RDWR)
