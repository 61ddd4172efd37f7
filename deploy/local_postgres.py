"""PostgreSQL of Debian's package for one start: own folder, unprivileged user, loopback only."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.local_places import HERE, LOOPBACK, Places

PACKAGED = Path("/usr/lib/postgresql")
SUPERUSER = "postgres"


def postgres_programs() -> Path:
    """The folder with initdb and postgres: Debian keeps the newest version's out of PATH."""
    found = sorted(PACKAGED.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    return Path(shutil.which("postgres") or "/nonexistent/postgres").parent


class LocalPostgres:
    """Makes a database cluster, says how to start it, and runs databases.sql in it."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.folder: Path | None = None
        self.password = ""

    def command(self, password: str) -> tuple[list[str], dict[str, Any]]:
        """A new cluster's command, and as whom it must run: root may not."""
        # Not below the state folder: whoever runs the server may not be allowed in there.
        self.folder, self.password = Path(tempfile.mkdtemp(prefix="nexus-pg-")), password
        options = self._unprivileged()
        if "user" in options:
            shutil.chown(self.folder, options["user"], options["group"])
        said = self.folder / "password"
        with os.fdopen(os.open(said, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(password)
        if "user" in options:
            shutil.chown(said, options["user"], options["group"])
        programs, data = postgres_programs(), self.folder / "data"
        subprocess.run(  # noqa: S603 - our own words
            [programs / "initdb", "-D", data, "-U", SUPERUSER, "-A", "scram-sha-256",
             "--pwfile", said, "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"],
            check=True, capture_output=True, cwd="/", **options,
        )  # fmt: skip
        said.unlink()
        port = str(self.places.port("postgres"))
        words = [str(programs / "postgres"), "-D", str(data), "-p", port, "-h", LOOPBACK,
                 "-k", str(self.folder), "-c", "fsync=off"]  # fmt: skip
        return words, {**options, "cwd": "/"}

    def make(self, environment: Mapping[str, str]) -> None:
        """Run databases.sql, as the image does when it starts for the first time."""
        self.run(["-f", str(HERE / "postgres" / "databases.sql")], SUPERUSER, environment)

    def run(
        self, words: list[str], database: str, environment: Mapping[str, str] | None = None
    ) -> str:
        """What psql prints, as the superuser."""
        return self.program(
            "psql", ["-XAt", "-v", "ON_ERROR_STOP=1", *words], database, environment
        )

    def program(
        self,
        name: str,
        words: list[str],
        database: str,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """What one of PostgreSQL's clients prints, as the superuser."""
        port = str(self.places.port("postgres"))
        where = ["-h", LOOPBACK, "-p", port, "-U", SUPERUSER, "-d", database, "-w"]
        done = subprocess.run(  # noqa: S603 - our own words
            [postgres_programs() / name, *where, *words],
            env={**(environment or {}), "PGPASSWORD": self.password},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def clear(self) -> None:
        """Remove the cluster's folder."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _unprivileged(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                found = pwd.getpwnam(name)
                return {"user": name, "group": found.pw_gid, "extra_groups": []}
        return {}
