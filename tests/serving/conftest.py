"""A server on loopback in this process, and everything a test asks of it."""

import contextlib
import http.client
import json
import threading
import time
import warnings
from typing import NamedTuple

import pytest
import uvicorn
from tiny import stirred, tiny_model
from tiny_artifact import artifact

from nexus_pipeline.serving.app import Service, create_app
from nexus_pipeline.serving.client import NexusClient
from nexus_pipeline.serving.live_model import FileSource, LiveModel
from nexus_pipeline.serving.settings import ServeSettings

SLOWEST_START_S = 60


class Running(NamedTuple):
    """A server that listens on a free port of this machine."""

    service: Service
    server: uvicorn.Server
    port: int
    token: str | None

    @property
    def client(self):
        return NexusClient(f"http://127.0.0.1:{self.port}", self.token)

    def send(self, method, path, body=None, kind="application/json", **headers):
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = json.dumps(body).encode() if isinstance(body, dict | list) else body
        headers = {"Content-Type": kind} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        try:
            connection.request(method, path, content, headers)
            found = connection.getresponse()
            return found.status, dict(found.getheaders()), found.read()
        finally:
            connection.close()

    def post(self, body, path="/predict", kind="application/json", **headers):
        """Status and parsed body of one question."""
        status, _, content = self.send("POST", path, body, kind, **headers)
        return status, json.loads(content)

    def metrics(self):
        return self.send("GET", "/metrics")[2].decode()


@contextlib.contextmanager
def running(source, token=None, lookup=None, **settings):
    """A server for as long as the block."""
    chosen = ServeSettings(**{"port": 0, "poll_s": 0.05, "timeout_s": 60, "drain_s": 20} | settings)
    service = Service(LiveModel(source, chosen.poll_s), chosen, lookup)
    config = uvicorn.Config(
        create_app(service, token), port=0, log_config=None,
        timeout_graceful_shutdown=int(chosen.drain_s),
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, SLOWEST_START_S)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(service, server, port, token)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()


def until(fact, patience_s=30.0):
    """Wait until something is so."""
    give_up = time.monotonic() + patience_s
    while not fact():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.02)


def other_artifact(seed=5):
    """A model of the same question that answers otherwise."""
    from tiny_artifact import shop

    made = artifact()
    made.weights = stirred(tiny_model(shop(), seed=seed), seed=seed).state_dict()
    return made


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "model.nxf"
    artifact().save(path)
    return path


@pytest.fixture(scope="session")
def served(model_file):
    """A server that tests only ask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with running(FileSource(model_file), most_rows=200_000) as server:
            yield server
