"""A real S3 API on loopback: moto's server, in a thread of this process, on a port of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
from moto.server import ThreadedMotoServer

BUCKET = "pictures"


@dataclass(frozen=True)
class S3:
    """A running server with one empty bucket; any keys are good."""

    endpoint: str
    _server: ThreadedMotoServer

    def stop(self) -> None:
        """Go away, as a store does that is down."""
        self._server.stop()

    def start_again(self) -> None:
        """Come back at the same address, with what was there before."""
        self._server._thread = None
        self._server._port = int(self.endpoint.rpartition(":")[2])
        self._server.start()

    def make_bucket(self) -> None:
        """Make the bucket; a second time it changes nothing."""
        httpx2.put(f"{self.endpoint}/{BUCKET}").raise_for_status()

    def objects(self) -> list[str]:
        """What lies in the bucket."""
        text = httpx2.get(f"{self.endpoint}/{BUCKET}?list-type=2").raise_for_status().text
        return [part.partition("</Key>")[0] for part in text.split("<Key>")[1:]]


@contextmanager
def s3_server() -> Iterator[S3]:
    """Start it, and end it with the block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    running = S3(f"http://{host}:{port}", server)
    try:
        httpx2.post(f"{running.endpoint}/moto-api/reset").raise_for_status()
        running.make_bucket()
        yield running
    finally:
        server.stop()
