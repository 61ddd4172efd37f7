"""A real MLflow server behind a door that can be closed, slow, or closed for a moment."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Requests that meet nobody while the server is restarted; longer than a client waits.
RESTART_REQUESTS, SLOW_S, PATIENCE_S, START_S = 3, 3.0, 1, 180


class Door(ThreadingHTTPServer):
    """Forwards requests as the file ``mode`` says: up, down, slow, or restarting."""

    daemon_threads = True

    def __init__(self, mode: Path, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode, self.port, self.missed = mode, port, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """The door's address."""
        return f"http://127.0.0.1:{self.server_port}"

    def is_closed(self) -> bool:
        """Whether this request meets nobody; may take its time to say so."""
        mode = self.mode.read_text() if self.mode.is_file() else "up"
        if mode == "slow":
            time.sleep(SLOW_S)
        if mode == "restarting":
            self.missed += 1
            if self.missed >= RESTART_REQUESTS:
                self.mode.write_text("up")
                self.missed = 0
            return True
        return mode == "down"


class _Handler(BaseHTTPRequestHandler):
    server: Door

    def handle(self) -> None:
        """A client that left meanwhile is nobody's fault."""
        with suppress(ConnectionError):
            super().handle()

    def forward(self) -> None:
        """Ask the server behind the same."""
        if self.server.is_closed():
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        length = int(self.headers.get("Content-Length") or 0)
        behind = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        body = self.rfile.read(length) if length else None
        told = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        behind.request(self.command, self.path, body, told)
        answer = behind.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        behind.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server:
    """One MLflow server on a database and a folder of its own."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.database = place / "server.db"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1",
            "--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.database}",
            "--artifacts-destination", str(place / "artifacts"),
        ]  # fmt: skip
        quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        with (place / "server.log").open("w") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, env=quiet, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            try:
                asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                asked.request("GET", "/health")
                if asked.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError("the MLflow server did not start")

    def stop(self) -> None:
        """End it and what it started."""
        import signal

        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=30)
