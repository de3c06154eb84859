"""A TCP line between client and gateway that a test can break, and plug into another gateway."""

import asyncio
from contextlib import asynccontextmanager


class Cable:
    """Carries bytes both ways; `plug` decides where new connections lead."""

    def __init__(self):
        self.address = ""
        self._target = ""
        self._ends = set()

    def plug(self, target):
        """Lead new connections to `host:port`; those that are open stay as they are."""
        self._target = target

    def cut(self):
        """Break every connection that is open, without a word to either side."""
        for end in self._ends:
            end.transport.abort()

    async def carry(self, reader, writer):
        """Serve one connection until either side is gone."""
        host, _, port = self._target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
        except ConnectionError:
            pass  # cut, or the process at one end was
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _pass(reader, writer):
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
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
