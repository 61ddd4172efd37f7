"""What a server is told when it starts; secrets come from the environment or a file."""

import os
from pathlib import Path

from pydantic import Field

from nexus_model.schema import ConfigurationError, Record

TOKEN_VARIABLE = "NEXUS_SERVE_TOKEN"  # noqa: S105 - the name of a variable
SHORTEST_TOKEN = 16
LOOPBACK = "127.0.0.1"


class ServeSettings(Record):
    """Limits and timings of a server; every one has a bound."""

    host: str = LOOPBACK
    port: int = Field(8000, ge=0, le=65535, description="0 takes any free port")
    max_body_bytes: int = Field(32 * 2**20, gt=0)
    timeout_s: float = Field(10.0, gt=0, description="from the first byte to the answer")
    most_together: int = Field(64, ge=1, description="requests answered in one pass; 1: each alone")
    most_waiting: int = Field(512, ge=1, description="requests waiting before 503 is answered")
    most_rows: int = Field(1_000_000, ge=1, description="rows of all tables of a request")
    longest_text: int = Field(1_000_000, ge=1, description="characters of one text value")
    deepest_json: int = Field(16, ge=4, description="nesting of a JSON body")
    poll_s: float = Field(5.0, gt=0, description="between looks for a new model")
    drain_s: float = Field(20.0, gt=0, description="for requests under way when told to stop")


def read_token(file: Path | None) -> str | None:
    """The bearer token clients must send: the file's, else the environment's; None asks for none.

    Raises:
        ConfigurationError: the file cannot be read, or the token is too short or has spaces.
    """
    if file is None:
        found = os.environ.get(TOKEN_VARIABLE)
    else:
        try:
            found = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"token file {file} cannot be read: {error}") from error
    if found is None:
        return None
    if (
        len(found) < SHORTEST_TOKEN
        or not found.isascii()
        or not found.isprintable()
        or " " in found
    ):
        raise ConfigurationError(
            f"the token must be at least {SHORTEST_TOKEN} visible ASCII characters; make one with "
            '`python -c "import secrets; print(secrets.token_urlsafe(32))"`'
        )
    return found


def check_exposure(settings: ServeSettings, token: str | None) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        ConfigurationError: it would.
    """
    if token is None and settings.host not in {LOOPBACK, "localhost", "::1"}:
        raise ConfigurationError(
            f"host {settings.host} is reachable from outside: set {TOKEN_VARIABLE} or --token-file"
        )
