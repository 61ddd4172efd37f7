"""Run the processes of compose.yaml on this machine, without containers, from the file itself.

``python -m deploy.run_processes --project nexusflow.yaml`` starts PostgreSQL, MLflow, Dagster, the
API and Prometheus in the order the file says, each when what it depends on is well by the file's
own health check; then it prints their addresses and waits for Ctrl-C. Secrets are made up for one
start. Services whose program is not installed here (Grafana has no Debian package) are left out.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.compose_file import Service, read_compose
from deploy.dockerfile import image_environment
from deploy.local_places import HERE, Places, made_variables
from deploy.local_postgres import LocalPostgres, postgres_programs

PATIENCE_S = 180.0
LOOK_S = 0.3
LONGEST_PAUSE_S = 60.0
ENTRYPOINTS = {
    "prom/prometheus": "prometheus",
    "prom/node-exporter": "prometheus-node-exporter",
    "grafana/grafana": "grafana",
    "postgres": "postgres",
}
PASSED_ON = ("LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "PYTHONWARNINGS")


class ProcessEndedError(Exception):
    """A process ended, or was not well in time; the message has the end of its log."""


def _as_in_a_container() -> None:
    """A shell that runs in the background ignores SIGINT, and so would its children: the code
    location of Dagster then ignores SIGTERM as well.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Processes:
    """The services of compose.yaml as processes; a context manager that stops them all."""

    def __init__(self, project: Path, model: str, state: Path, scraped: str = "15s") -> None:
        self.variables = made_variables(project, model)
        self.compose = read_compose(HERE / "compose.yaml", self.variables)
        self.places = Places(self.compose, self.variables, state, scraped)
        self.image = image_environment(HERE / "Dockerfile")
        self.state, self.running = state, dict[str, subprocess.Popen[bytes]]()
        self.well, self.look_again = set[str](), dict[str, float]()
        self.databases = LocalPostgres(self.places)
        (state / "logs").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def missing(self) -> list[str]:
        """Services whose program is not on this machine."""
        services = self.compose.services.values()
        return [one.name for one in services if self._program(one, self._words(one)[0]) is None]

    def start(self, names: Iterable[str], patience_s: float = PATIENCE_S) -> None:
        """Start services, each when what it depends on is well, and wait until all are well.

        Raises:
            ProcessEndedError: one ended or was not well in time.
        """
        asked, give_up = list(names), time.monotonic() + patience_s
        waiting = [name for name in asked if name not in self.running]
        while not self.well.issuperset(asked):
            for name in [*waiting]:
                if self.well.issuperset(self.compose.services[name].needs):
                    self.begin(name)
                    waiting.remove(name)
            for name in set(asked) - self.well - set(waiting):
                self._look(name)
            if time.monotonic() > give_up:
                late = sorted(set(asked) - self.well)
                told = "\n".join(f"{name}: {self.log(name)[-2000:]}" for name in late)
                raise ProcessEndedError(f"not well after {patience_s:g} s: {told}")
            time.sleep(LOOK_S)

    def is_well(self, name: str) -> bool:
        """Whether the service's own health check says so."""
        service = self.compose.services[name]
        words = [self.places.said(word, service) for word in service.healthcheck[1:]]
        words[0] = self._program(service, words[0]) or words[0]
        done = subprocess.run(  # noqa: S603 - commands of our own file
            words, env=self._environment(service), capture_output=True, timeout=60, check=False
        )
        return done.returncode == 0

    def log(self, name: str) -> str:
        """What the process has said."""
        path = self.state / "logs" / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def tend(self) -> None:
        """Start again what ended, after a pause that doubles, as ``restart`` says; for ever.

        Raises:
            ProcessEndedError: it is PostgreSQL, whose state is gone with it.
        """
        pauses: dict[str, float] = {}
        while True:
            for name, process in [*self.running.items()]:
                if process.poll() is not None:
                    if name == "postgres":
                        raise ProcessEndedError(f"postgres ended:\n{self.log(name)[-2000:]}")
                    pauses[name] = min(2 * pauses.get(name, 2.5), LONGEST_PAUSE_S)
                    sys.stdout.write(f"{name} ended; again in {pauses[name]:g} s\n")
                    time.sleep(pauses[name])
                    self.begin(name)
            time.sleep(1)

    def stop(self, patience_s: float = 30.0) -> dict[str, int]:
        """Stop all: what needs others first, PostgreSQL last. Exit codes by name."""
        codes, names = {}, [*self.running]
        for group in ([name for name in names if name != "postgres"], ["postgres"]):
            for name in group:
                self._signal(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)
            give_up = time.monotonic() + patience_s
            for name in (name for name in group if name in self.running):
                with suppress(subprocess.TimeoutExpired):
                    self.running[name].wait(max(0.1, give_up - time.monotonic()))
                self._signal(name, signal.SIGKILL)
                codes[name] = self.running.pop(name).wait()
        self.databases.clear()
        self.well.clear()
        return codes

    def begin(self, name: str) -> None:
        """Start one service now, whatever it depends on."""
        service = self.compose.services[name]
        self.places.prepare(service)
        folders = self.places.folders(service)
        options: dict[str, Any] = {}
        words = [self.places.said(word, service) for word in self._words(service)]
        if service.name == "postgres":
            words, options = self.databases.command(self.variables["POSTGRES_PASSWORD"])
        else:
            words[0] = self._program(service, words[0]) or words[0]
            options["cwd"] = folders.get("/project", self.state)
        with (self.state / "logs" / f"{service.name}.log").open("ab") as log:
            self.running[service.name] = subprocess.Popen(  # noqa: S603
                words,
                env=self._environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_as_in_a_container,  # noqa: PLW1509 - runs one system call
                **options,
            )

    def _look(self, name: str) -> None:
        if self.running[name].poll() is not None:
            code = self.running[name].returncode
            raise ProcessEndedError(f"{name} ended with {code}:\n{self.log(name)[-4000:]}")
        began = time.monotonic()
        if began < self.look_again.get(name, 0.0):
            return
        well = self.is_well(name)
        # A check that costs seconds is not made all the time.
        self.look_again[name] = time.monotonic() + 2 * (time.monotonic() - began)
        if well:
            if name == "postgres":
                self.databases.make(self._environment(self.compose.services[name]))
            self.well.add(name)

    def _words(self, service: Service) -> Sequence[str]:
        if service.is_ours:
            return service.command
        return [ENTRYPOINTS[service.image.partition(":")[0]], *service.command]

    def _program(self, service: Service, name: str) -> str | None:
        if name == "python":
            return sys.executable
        if service.is_ours:
            place = Path(sys.executable).parent / name
            return str(place) if place.exists() else None
        place = postgres_programs() / name
        return str(place) if place.exists() else shutil.which(name)

    def _environment(self, service: Service) -> Mapping[str, str]:
        image = {name: value for name, value in self.image.items() if name != "PATH"}
        own = self.places.environment(service, image if service.is_ours else {})
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {"PATH": path, **passed, **own}

    def _signal(self, name: str, number: int) -> None:
        if name in self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.running[name].pid, number)


def default_model(project: Path) -> str:
    """The name of the first task's registered model."""
    from nexus_pipeline.project import load_project

    found = load_project(project)
    return f"{found.project_name}-{found.task_names[0]}"


def main() -> None:
    """Start everything, print the addresses, wait."""
    parser = argparse.ArgumentParser(description=re.sub(r"\s+", " ", (__doc__ or "")))
    parser.add_argument("--project", type=Path, default=Path("nexusflow.yaml"))
    parser.add_argument("--model", help="registered model; by default the first task's")
    parser.add_argument("--state", type=Path, help="kept folder; by default a temporary one")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="nexus-state-") as made:
        state = (given.state or Path(made)).resolve()
        model = given.model or default_model(given.project)
        with Processes(given.project.parent, model, state) as processes:
            left_out = processes.missing()
            names = [name for name in processes.compose.services if name not in left_out]
            processes.start(name for name in names if name != "api")
            processes.begin("api")
            for name in names:
                if processes.compose.services[name].published:
                    sys.stdout.write(f"{name:<12}{processes.places.url(name)}\n")
            sys.stdout.write(f"logs and secrets: {state}\nCtrl-C stops all.\n")
            sys.stdout.flush()
            with suppress(KeyboardInterrupt):
                processes.tend()


if __name__ == "__main__":
    main()
