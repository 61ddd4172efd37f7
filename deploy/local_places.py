"""What a text of compose.yaml means on this machine: free ports for ports, folders for volumes.

Four rules, and nothing else differs from the containers: an address of a service becomes
127.0.0.1 with a free port; a port that stands alone becomes that free port; a path inside a
container becomes the folder that stands for it; what listens everywhere listens on 127.0.0.1.
"""

import os
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from deploy.compose_file import Compose, Service, read_variables

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
LOOPBACK = "127.0.0.1"
SECRETS = "/run/secrets"
_ADDRESS = re.compile(
    r"(?:(?<=//)|(?<=@)|(?<=^)|(?<==)|(?<=\"))(?P<host>[a-z][a-z-]*|127\.0\.0\.1|0\.0\.0\.0)"
    r":(?P<port>\d+)(?=$|[/\"])"
)
_SCRAPED = re.compile(r"(scrape_interval|evaluation_interval): \w+")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def made_variables(project: Path, model: str) -> dict[str, str]:
    """The variables of .env.example with secrets made up now."""
    example = read_variables((HERE / ".env.example").read_text(encoding="utf-8"))
    made = {
        name: value or (secrets.token_urlsafe(24) if name.endswith(("PASSWORD", "TOKEN")) else "")
        for name, value in example.items()
    }
    return made | {"NEXUS_PROJECT_DIR": str(project.resolve()), "NEXUS_MODEL": model}


class Places:
    """Folders and ports of one start; ``state`` holds volumes, secrets, logs and configuration."""

    def __init__(
        self, compose: Compose, variables: Mapping[str, str], state: Path, scraped: str
    ) -> None:
        self.compose, self.state, self.scraped = compose, state, scraped
        pairs = [(name, port) for name, one in compose.services.items() for port in one.ports]
        self.ports = dict(zip(pairs, map(str, free_ports(len(pairs))), strict=True))
        self._write_secrets(variables)

    def port(self, name: str) -> int:
        """Where a service listens here."""
        return int(self.ports[name, self.compose.services[name].ports[0]])

    def url(self, name: str) -> str:
        """A service's address here."""
        return f"http://{LOOPBACK}:{self.port(name)}"

    def said(self, text: str, service: Service) -> str:
        """A word of the service's command, health check or configuration, for this machine."""
        if (service.name, text) in self.ports:
            return self.ports[service.name, text]
        text = _ADDRESS.sub(lambda match: self._address(match, service), text)
        if text == "0.0.0.0":  # noqa: S104 - replaced, not listened on
            return LOOPBACK
        for target, place in sorted(self.folders(service).items(), key=lambda pair: -len(pair[0])):
            text = re.sub(rf"(?<![\w/]){re.escape(target)}(?=/|$|\s|\])", str(place), text)
        return text

    def environment(self, service: Service, image: Mapping[str, str]) -> dict[str, str]:
        """The variables of the service, over those of its image."""
        found = {}
        for name, value in {**image, **service.environment}.items():
            if name.endswith("_HOST"):
                found[name] = LOOPBACK
            elif name.endswith("_PORT"):
                host = service.environment[name.removesuffix("PORT") + "HOST"]
                found[name] = self.ports[host, value]
            else:
                found[name] = self.said(value, service)
        return found

    def folders(self, service: Service) -> dict[str, Path]:
        """The folder or file that stands for each path inside the container."""
        own = self.state / "containers" / service.name
        found = {SECRETS: self.state / "secrets"}
        if service.is_ours:
            found |= {
                "/opt/nexus": REPOSITORY,
                "/var/lib/nexus": own / "home",
                "/project": own / "project",
            }
        for mount in service.mounts:
            source = HERE / mount.source
            if mount.is_named:
                found[mount.target] = self.state / "volumes" / mount.source
            elif source.is_file():
                found[mount.target] = own / mount.target.lstrip("/")
            else:
                found[mount.target] = source.resolve()
        return found

    def prepare(self, service: Service) -> None:
        """Make the folders, and copies of mounted files that say this machine's places."""
        folders = self.folders(service)
        for mount in service.mounts:
            source, copy = HERE / mount.source, folders[mount.target]
            if not mount.is_named and source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                lines = source.read_text(encoding="utf-8").splitlines()
                text = "\n".join(self.said(line, service) for line in lines)
                copy.write_text(_SCRAPED.sub(rf"\1: {self.scraped}", text) + "\n", encoding="utf-8")
        for place in folders.values():
            if not place.exists():
                place.mkdir(parents=True)

    def _address(self, match: re.Match[str], service: Service) -> str:
        own = match["host"] in {LOOPBACK, "0.0.0.0"}  # noqa: S104 - replaced, not listened on
        port = self.ports.get((service.name if own else match["host"], match["port"]))
        return f"{LOOPBACK}:{port}" if port else match[0]

    def _write_secrets(self, variables: Mapping[str, str]) -> None:
        folder = self.state / "secrets"
        folder.mkdir(parents=True, exist_ok=True)
        for name, variable in self.compose.secrets.items():
            path = folder / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                f.write(variables[variable])
