"""Is a process well: an address answers 200, or ``tcp HOST:PORT`` takes a connection.

Standard library only, without site-packages: it is run every half minute in every container.
"""

import socket
import sys
import urllib.request

TIMEOUT_S = 4.0


def is_well(words: list[str]) -> bool:
    """Whether ``http://...`` answers 200, or ``tcp HOST:PORT`` accepts.

    >>> is_well(["tcp", "127.0.0.1:1"])
    False
    """
    try:
        if words[0] == "tcp":
            host, _, port = words[1].rpartition(":")
            with socket.create_connection((host, int(port)), TIMEOUT_S):
                return True
        with urllib.request.urlopen(words[0], timeout=TIMEOUT_S) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not is_well(sys.argv[1:]))
