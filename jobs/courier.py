"""Delivers webhooks, again and again with growing pauses, from a thread of the web process."""

import http.client
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from errors import InvalidInput
from jobs import outbound
from jobs.webhooks import DELIVERED, Webhook, Webhooks

AT_ONCE, AT_ONCE_EACH = 8, 2  # in all, and to one host: one that is slow holds up no other
LOOK_SECONDS = 0.5  # between looks at what is due
FAILED_SECONDS = 5.0  # after a look that failed
GONE = 410  # the receiver wants no more
OURS = "The service could not send it; its log says why."

log = logging.getLogger(__name__)


class Courier:
    """One thread that finds what is due, and a few that deliver it.

    Parameters
    ----------
    webhooks : Webhooks
    """

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks, self._stop = webhooks, threading.Event()
        self._under_way: dict[str, str] = {}  # hosts by message

    def start(self) -> None:
        """Begin to deliver, where webhooks are accepted at all."""
        if self._webhooks.accepted:
            threading.Thread(target=self._run, name="courier", daemon=True).start()

    def stop(self) -> None:
        """Begin no further delivery; what is not delivered is when the service starts again."""
        self._stop.set()

    def _run(self) -> None:
        """Deliver until stopped."""
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="courier")
        pause = 0.0
        while not self._stop.wait(pause):
            pause = LOOK_SECONDS
            try:
                for hook in self._webhooks.due():
                    if self._has_place(hook) and not self._stop.is_set():
                        self._begin(hook, pool)
            except Exception:  # the database, in any library's words; those that wait need this thread
                log.exception("courier: a look failed, going on")
                pause = FAILED_SECONDS
        pool.shutdown(wait=False, cancel_futures=True)

    def _has_place(self, hook: Webhook) -> bool:
        """Whether it may be delivered now, to that host; nothing is claimed that would then wait.

        One that is under way is due again when its lease has run out, as in a look-up of a name that takes long.
        """
        hosts = list(self._under_way.values())
        return hook.id not in self._under_way and len(hosts) < AT_ONCE and hosts.count(_host(hook)) < AT_ONCE_EACH

    def _begin(self, hook: Webhook, pool: ThreadPoolExecutor) -> None:
        """Begin an attempt at one; that there is nothing to send yet is no attempt, and nothing the client is told."""
        try:
            message = self._webhooks.message(hook)
        except Exception:  # the database, in any library's words
            log.exception("webhook %s: its message could not be made, going on with the others", hook.id)
            self._webhooks.postpone(hook)
            return
        if self._webhooks.claim(hook):
            self._under_way[hook.id] = _host(hook)
            pool.submit(self._deliver, hook, *message)

    def _deliver(self, hook: Webhook, body: bytes, headers: dict[str, str]) -> None:
        """Make one attempt and leave its place."""
        try:
            self._attempt(hook, body, headers)
        finally:
            self._under_way.pop(hook.id, None)

    def _attempt(self, hook: Webhook, body: bytes, headers: dict[str, str]) -> None:
        """Make one attempt and note how it ended."""
        error, again = None, True
        try:
            status = outbound.post(hook.url, body, headers, allow_private=self._webhooks.allow_private)
            if not 200 <= status < 300:
                error, again = f"The receiver answered {status}.", status != GONE
        except (outbound.Refused, InvalidInput) as refused:  # the settings may have changed since it was accepted
            error = str(refused)
        except (OSError, http.client.HTTPException, UnicodeError) as failed:  # in the words of network and look-up
            error = f"{type(failed).__name__}: {failed}"
        except Exception:  # it counts, too, so that it ends; its words may be of what is none of a client's business
            log.exception("webhook %s: it could not be sent", hook.id)
            error = OURS
        try:
            left_as = self._webhooks.settle(hook, error, again=again)
        except Exception:  # it is then delivered once more, which receivers know by its id
            log.exception("webhook %s: how it went could not be stored", hook.id)
            return
        level = logging.INFO if left_as == DELIVERED else logging.WARNING
        log.log(level, "webhook %s of job %s: attempt %d, %s%s", hook.id, hook.job_id, hook.attempts + 1,
                left_as or "which is no longer its last", f": {error}" if error else "")  # fmt: skip


def _host(hook: Webhook) -> str:
    """Whom it goes to, at whatever port."""
    return str(urlsplit(hook.url).hostname).rstrip(".")
