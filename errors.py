"""The errors of the service.

StudioError                     something a caller can be told in one sentence
├── InvalidInput                a parameter, body or file that we do not accept
│   ├── UnsupportedAudio        not audio, not a format we accept, or it does not decode
│   └── TooLarge                more of it than is accepted
├── Unauthorized                no API key, or a wrong one
├── NotFound                    no such model, song, job or file
├── Conflict                    the request contradicts the present state
├── QueueFull                   too much waits already; come back later
├── StorageFull                 no room left where files live
├── StorageBusy                 the database did not answer in time; come back later
├── ModelUnavailable            weights absent, no GPU where one is required, no worker alive
└── JobFailed                   a model started and did not finish
    ├── WorkerDied              its process was killed
    ├── JobTimeout              it ran longer than allowed
    └── OutOfMemory             the device had too little memory

Cancelled is a state, not an error: it unwinds a running model and is never shown as a failure.
HTTP statuses live in routes/errors.py alone; this module imports nothing.
"""


class StudioError(Exception):
    """The root: a sentence for a person, a stable code for a program.

    Parameters
    ----------
    message : str
        One sentence that carries the offending value and says what to do.
    details : str or dict, optional
        More, when there is more to say.
    """

    code = "studio_error"

    def __init__(self, message: str, *, details: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(StudioError):
    """A parameter, body or file that we do not accept."""

    code = "invalid_input"


class UnsupportedAudio(InvalidInput):
    """Not audio, not a format we accept, or it does not decode."""

    code = "unsupported_audio"


class TooLarge(InvalidInput):
    """More of it than is accepted."""

    code = "too_large"


class Unauthorized(StudioError):
    """No API key, or a wrong one."""

    code = "unauthorized"


class NotFound(StudioError):
    """No such model, song, job or file."""

    code = "not_found"


class Conflict(StudioError):
    """The request contradicts the present state."""

    code = "conflict"


class QueueFull(StudioError):
    """Too much waits already; come back later."""

    code = "queue_full"


class StorageFull(StudioError):
    """No room left where files live."""

    code = "storage_full"


class StorageBusy(StudioError):
    """The database did not answer in time; come back later."""

    code = "storage_busy"


class ModelUnavailable(StudioError):
    """Weights absent and not downloadable, no GPU where one is required, or no worker alive."""

    code = "model_unavailable"


class JobFailed(StudioError):
    """A model started and did not finish."""

    code = "job_failed"


class WorkerDied(JobFailed):
    """The process that ran the job was killed."""

    code = "worker_died"


class JobTimeout(JobFailed):
    """The job ran longer than allowed."""

    code = "job_timeout"


class OutOfMemory(JobFailed):
    """The device had too little memory."""

    code = "out_of_memory"


class Cancelled(Exception):
    """Raised by report() in a job that was cancelled; unwinds the running model."""


def from_code(code: str, message: str, details: object = None) -> StudioError:
    """Rebuild the error that a worker stored as plain data.

    Parameters
    ----------
    code : str
        A `code` of this tree; an unknown one gives JobFailed.
    message, details
        As stored.

    Returns
    -------
    StudioError
    """
    return _by_code().get(code, JobFailed)(message, details=details)


def _by_code() -> dict[str, type[StudioError]]:
    """Every class of the tree by its code."""
    classes, found = [StudioError], {}
    while classes:
        cls = classes.pop()
        found[cls.code] = cls
        classes += cls.__subclasses__()
    return found
