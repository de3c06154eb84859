"""A TCP line between client and gateway that a test can break, and plug into another gateway."""

import asyncio
from contextlib import asynccontextmanager


class Cable:
    """Carries bytes both ways; `plug` decides where new connections lead."""

    def __init__(self):
        self.address = ""
        self.cuts = 0
        self.met_nobody = asyncio.Event()
        """Set once a connection led to where nobody listens."""
        self._target = ""
        self._ends = set()
        self._left = None

    def plug(self, target):
        """Lead new connections to `host:port`; those that are open stay as they are."""
        self._target = target

    def cut(self):
        """Break every connection that is open, without a word to either side."""
        self.cuts += 1
        for end in self._ends:
            end.transport.abort()

    def cut_after(self, size_bytes):
        """Break every connection once so many more bytes have come from the gateway."""
        self._left = size_bytes

    def arrived(self, size_bytes):
        """Count what comes from the gateway."""
        if self._left is not None:
            self._left -= size_bytes
            if self._left <= 0:
                self._left = None
                self.cut()

    async def carry(self, reader, writer):
        """Serve one connection until either side is gone."""
        host, _, port = self._target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            writer.transport.abort()
            self.met_nobody.set()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer, self.arrived))
        except ConnectionError:
            pass  # cut, or the process at one end was
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _pass(reader, writer, count=lambda _: None):
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
        count(len(data))
    raise ConnectionResetError


@asynccontextmanager
async def cable(target):
    """A line that leads to `target`."""
    line = Cable()
    line.plug(target)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    line.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        line.cut()
        await server.wait_closed()
