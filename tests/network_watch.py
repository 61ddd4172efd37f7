"""What a Python process asks of the network, noted and refused."""

from pathlib import Path

# Variables that forbid telemetry; a watched process must ask nothing without them.
SAYS_NO = (
    "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DAGSTER_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED",
)  # fmt: skip
# Loaded by every Python that starts, also by processes a library starts: it notes what is asked of
# the network, and refuses it.
WATCH = """\
import os, sys
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        asked = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        asked = arguments[1][0]
    else:
        return
    asked = asked.decode() if isinstance(asked, bytes) else asked
    if asked not in (None, "", "127.0.0.1", "::1", "localhost"):
        with open(os.environ["NETWORK_ASKED"], "a") as told:
            told.write(f"{event} {asked}\\n")
        raise OSError("the network is blocked")
sys.addaudithook(refuse)
"""


class NetworkWatch:
    """Variables of processes that are watched, and the file they write to."""

    def __init__(self, folder: Path) -> None:
        (folder / "watch").mkdir(parents=True)
        (folder / "watch" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
        self.before, self._asked = folder / "watch", folder / "asked"

    @property
    def variables(self) -> dict[str, str]:
        """To be set in the environment, beside ``before`` in front of PYTHONPATH."""
        return {"NETWORK_ASKED": str(self._asked)}

    @property
    def asked(self) -> str:
        """What was asked, a line each."""
        return self._asked.read_text("utf-8") if self._asked.exists() else ""
