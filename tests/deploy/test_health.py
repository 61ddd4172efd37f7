"""The health check of every container: no site-packages, exit code 0 only for what answers."""

import http.server
import socket
import subprocess
import sys
import threading

import pytest

from deploy.local_places import HERE


def well(*words: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-SE", str(HERE / "health.py"), *words], timeout=30, check=False
    )
    return done.returncode == 0


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address():
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False), (404, False)])
def test_only_200_is_well(address: str, status: int, is_well: bool) -> None:
    assert well(f"http://{address}/{status}") is is_well


def test_a_port_is_well_while_somebody_listens(address: str) -> None:
    assert well("tcp", address)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    assert not well("tcp", f"127.0.0.1:{port}")
    assert not well(f"http://127.0.0.1:{port}/")
