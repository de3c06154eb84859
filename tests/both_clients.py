"""Both Python clients behind one face, so that a test of the client is a test of each.

The blocking one runs in a thread, away from the loop that the test and perhaps the gateway live in.
"""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager

import pictor

BOTH = ("asyncio", "blocking")


@asynccontextmanager
async def connected(kind, address=None, *, waits=None, **options):
    """A client of that kind; it notes in `waits` how long it would wait before trying again, and does not."""
    noted = [] if waits is None else waits
    if kind == "asyncio":

        async def sleep(delay_s):
            noted.append(delay_s)
            await asyncio.sleep(0)

        async with pictor.Client(address, sleep=sleep, **options) as client:
            yield client
    else:
        with pictor.SyncClient(address, sleep=noted.append, **options) as client:
            yield _Awaited(client)


class _Awaited:
    """The blocking client, its calls as coroutines and its iterators as async ones."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        method = getattr(self._client, name)
        if name in ("stream", "stream_reroll", "generate_set", "history", "watch"):
            return lambda *args, **options: _steps(method(*args, **options))
        return lambda *args, **options: asyncio.to_thread(method, *args, **options)


async def _steps(iterator: Iterator):
    try:
        while (step := await asyncio.to_thread(next, iterator, None)) is not None:
            yield step
    finally:
        await asyncio.to_thread(iterator.close)
