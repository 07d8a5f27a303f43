"""Webhooks: who wants to be told by HTTP how a job ended, and whether that has been done."""

import base64
import binascii
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, insert, or_, select, update

from errors import Conflict, InvalidInput, QueueFull
from jobs.job import ACTIVE, CANCELLED, COMPLETED, FAILED, Job
from jobs.outbound import checked_url
from jobs.song_status import job_record
from jobs.store import JobStore
from jobs.tables import jobs, webhooks

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"
PAUSES = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0)  # seconds between attempts, of which there is one more
MOST_WAITING = 20  # webhooks of one job
LEASE_SECONDS = 60.0  # after which an attempt whose process died is made again
SECRET_PREFIX = "whsec_"
SECRET_BYTES = (24, 64)


@dataclass(frozen=True)
class Webhook:
    """One wish to be told. Times are Unix seconds; `pipeline_id` when all of a pipeline is to end before."""

    id: str
    job_id: str
    pipeline_id: str | None
    file_id: str
    url: str
    status: str
    attempts: int
    next_at: float
    error: str | None
    created_at: float


class Webhooks:
    """The table of webhooks.

    Parameters
    ----------
    store : JobStore
    secret : str
        That messages are signed with, "whsec_" and 24 to 64 bytes in base64; empty when no webhooks are accepted.
    allow_private : bool
        Whether addresses of private networks are accepted.

    Raises
    ------
    InvalidInput
        When the secret has another form.
    """

    def __init__(self, store: JobStore, secret: str, allow_private: bool) -> None:
        self.store, self.allow_private = store, allow_private
        self._key = _key(secret)

    @property
    def accepted(self) -> bool:
        """Whether there is a secret to sign with."""
        return bool(self._key)

    def check(self, url: str | None) -> None:
        """Nothing, where no webhook is wished, or this one can be.

        Raises
        ------
        InvalidInput
            When the URL is not one that this service may call.
        Conflict
            When the service signs none.
        """
        if url is None:
            return
        try:
            checked_url(url, allow_private=self.allow_private)
        except InvalidInput as error:
            raise InvalidInput(f"webhook_url: {error.message}", details={"field": "webhook_url"}) from error
        if not self.accepted:
            raise Conflict("webhook_url: this service sends none; it has no WEBHOOK_SECRET to sign them with.")

    def add(self, job: Job, url: str, *, whole_pipeline: bool) -> None:
        """Tell a URL when a job has ended, or all of its pipeline; at once when it has.

        Raises
        ------
        QueueFull
            When as many are to be told of that job as may.
        """
        now = time.time()
        row = Webhook(str(uuid.uuid4()), job.id, job.pipeline_id if whole_pipeline else None, job.file_id, url,
                      WAITING, 0, now, None, now)  # fmt: skip
        waiting = select(func.count()).where(webhooks.c.job_id == job.id, webhooks.c.status == WAITING)
        with self.store.database.writing() as connection:
            if connection.execute(waiting).scalar_one() >= MOST_WAITING:
                raise QueueFull(f"{MOST_WAITING} webhooks wait to be told of job {job.id}, which is as many as may.")
            connection.execute(insert(webhooks).values(asdict(row)))

    def rearm(self, job: Job) -> None:
        """A job begins anew: what was told of its end, or is just now, is to be told again, as a message of its own."""
        told = select(webhooks.c.id).where(_tells_of(job))  # those on their way, too
        fresh = {"status": WAITING, "attempts": 0, "next_at": time.time(), "error": None}
        with self.store.database.writing() as connection:
            for hook_id in connection.execute(told).scalars().all():
                anew = update(webhooks).where(webhooks.c.id == hook_id)
                connection.execute(anew.values(id=str(uuid.uuid4()), **fresh))

    def due(self) -> list[Webhook]:
        """Those that wait for nothing more but to be told now, the longest waiting first."""
        same = or_(jobs.c.id == webhooks.c.job_id, jobs.c.pipeline_id == webhooks.c.pipeline_id)
        active = exists().where(jobs.c.status.in_(ACTIVE), same)
        query = select(webhooks).where(webhooks.c.status == WAITING, webhooks.c.next_at <= time.time(), ~active)
        with self.store.database.reading() as connection:
            return [Webhook(**row._mapping) for row in connection.execute(query.order_by(webhooks.c.next_at))]

    def claim(self, hook: Webhook) -> bool:
        """Take one to tell it, unless another process has."""
        return self._hold(hook, hook.attempts + 1)

    def postpone(self, hook: Webhook) -> None:
        """Look at one later, unless another process has taken it; this is no attempt."""
        self._hold(hook, hook.attempts)

    def _hold(self, hook: Webhook, attempts: int) -> bool:
        """Let one not be due for some time; whether it was as it was read."""
        mine = update(webhooks).where(webhooks.c.id == hook.id, webhooks.c.attempts == hook.attempts,
                                      webhooks.c.next_at == hook.next_at)  # fmt: skip
        held = {"attempts": attempts, "next_at": time.time() + LEASE_SECONDS}
        with self.store.database.writing() as connection:
            return connection.execute(mine.values(held)).rowcount == 1

    def settle(self, hook: Webhook, error: str | None, *, again: bool = True) -> str | None:
        """Note how an attempt at one ended, that was claimed.

        Where it took longer than its lease another attempt may have begun. What was delivered stays so, and of those
        that failed the last one counts.

        Parameters
        ----------
        hook : Webhook
            As it was before the claim.
        error : str or None
            Why it failed; None when it did not.
        again : bool
            Whether a failed one may be tried again.

        Returns
        -------
        str or None
            The status that it has now; None when this attempt does not count, or it is there no more.
        """
        values: dict[str, Any] = {"error": error, "status": DELIVERED}
        mine = update(webhooks).where(webhooks.c.id == hook.id)
        if error is not None:
            mine = mine.where(webhooks.c.attempts == hook.attempts + 1, webhooks.c.status == WAITING)
            values["status"] = WAITING if again and hook.attempts < len(PAUSES) else GIVEN_UP
            if values["status"] == WAITING:
                values["next_at"] = time.time() + PAUSES[hook.attempts]
        with self.store.database.writing() as connection:
            counts = connection.execute(mine.values(values)).rowcount == 1
        return str(values["status"]) if counts else None

    def of_job(self, job: Job) -> list[Webhook]:
        """Those that tell of a job, or of its pipeline, oldest first."""
        with self.store.database.reading() as connection:
            rows = connection.execute(select(webhooks).where(_tells_of(job)).order_by(webhooks.c.created_at))
            return [Webhook(**row._mapping) for row in rows]

    def message(self, hook: Webhook) -> tuple[bytes, dict[str, str]]:
        """The body and the signed headers, after https://www.standardwebhooks.com."""
        told = self.store.find(pipeline_id=hook.pipeline_id) if hook.pipeline_id else self.store.find(id=hook.job_id)
        statuses = {job.status for job in told}
        status = next((each for each in (CANCELLED, FAILED) if each in statuses), COMPLETED)
        now = int(time.time())
        content = {
            "type": f"processing.{status}",
            "timestamp": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
            "data": {
                "file_id": hook.file_id, "job_id": hook.job_id, "status": status,
                "status_url": f"/status/{hook.file_id}", "jobs": [job_record(job) for job in reversed(told)],
            },
        }  # fmt: skip
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        signed = hmac.new(self._key, b"%s.%d.%s" % (hook.id.encode(), now, body), hashlib.sha256).digest()
        return body, {
            "Content-Type": "application/json",
            "User-Agent": "studio-backend",
            "webhook-id": hook.id,
            "webhook-timestamp": str(now),
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }


def _tells_of(job: Job) -> ColumnElement[bool]:
    """Whether a webhook tells of the end of a job, or of its pipeline's."""
    if job.pipeline_id is None:
        return webhooks.c.job_id == job.id
    return or_(webhooks.c.job_id == job.id, webhooks.c.pipeline_id == job.pipeline_id)


def _key(secret: str) -> bytes:
    """The bytes of a secret as text."""
    if not secret:
        return b""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    least, most = SECRET_BYTES
    if not secret.startswith(SECRET_PREFIX) or not least <= len(key) <= most:
        raise InvalidInput(f"WEBHOOK_SECRET must be {SECRET_PREFIX} and {least} to {most} bytes in base64.")
    return key
