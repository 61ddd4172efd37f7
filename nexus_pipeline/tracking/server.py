"""The tracking server as something that may be down: how long it is waited for, and how it fails.

Down are a refused or broken connection, a time-out, and an answer of 429 or 5xx. Any other refusal
of the server is a bug of ours, or of what was asked, and is raised as it is.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from nexus_model.schema import ConfigurationError

# MLflow's own are 120 seconds and 7 retries, which is minutes for every call. Retries are left to
# the replay: a repeated request that was only slow would make a second run.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


class ServerDownError(ConfigurationError):
    """The tracking server does not answer."""

    def __init__(self, uri: str, reason: str, then: str = "") -> None:
        self.reason = reason
        told = f"the MLflow server at {shown_address(uri)} does not answer ({reason})"
        super().__init__(f"{told}; {then}" if then else told)


def be_patient() -> None:
    """Bound MLflow's waiting, unless the environment says otherwise, and send nobody telemetry."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    # Read when the package is imported, so it must be said before.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


@contextmanager
def answering_server(uri: str, then: str) -> Iterator[None]:
    """Inside, a server that is down is a user's error that says what to do ``then``.

    Raises:
        ServerDownError: the server at ``uri`` is down.
    """
    be_patient()
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        reason = why_down(error)
        if reason is None:
            raise
        raise ServerDownError(uri, reason, then) from error


def why_down(error: BaseException) -> str | None:
    """Why this error means that the server is down; None if it means something else."""
    from requests import RequestException
    from sqlalchemy.exc import OperationalError

    for cause in _chain(error):
        if isinstance(cause, RequestException):
            found = _why_request_failed(cause)
            if found:
                return found
        if isinstance(cause, OperationalError) and _is_unreachable(cause):
            return type(cause.orig).__name__
        status = getattr(cause, "get_http_status_code", lambda: 0)()
        if status >= 500 and hasattr(cause, "json"):  # an answer, not an error of the client
            return f"status {status}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _why_request_failed(error: Exception) -> str | None:
    import requests

    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"no answer in {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} s"
    if isinstance(error, requests.exceptions.RetryError):
        status = re.search(r"too many (\d+) error", str(error))
        return f"status {status[1]}" if status else "it fails"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.ConnectionError):
        return "connection refused" if "refused" in str(error) else "no connection"
    response = getattr(error, "response", None)
    if response is not None and response.status_code >= 500:
        return f"status {response.status_code}"
    return None


def _is_unreachable(error: Exception) -> bool:
    """Whether a database, not its content, is what failed; a file may only be locked."""
    from sqlite3 import OperationalError

    cause = getattr(error, "orig", None)
    return not isinstance(cause, OperationalError) or "locked" in str(cause)


def shown_address(uri: str) -> str:
    """An address without what may be a password.

    >>> shown_address("https://ann:secret@mlflow.example:5000/x")
    'https://mlflow.example:5000/x'
    """
    return re.sub(r"//[^/@]*@", "//", uri)
