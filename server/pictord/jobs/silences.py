"""Streams that also say when nothing happens, so that whoever sends them on can give a sign of life."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar, cast

T = TypeVar("T")


async def with_silences(source: AsyncGenerator[T], silence_s: float) -> AsyncGenerator[T | None]:
    """Yield what `source` yields, and None whenever it has been silent for `silence_s` seconds."""
    coming: asyncio.Task[T | _End] | None = None
    try:
        while True:
            coming = asyncio.create_task(_next(source))
            while not (await asyncio.wait({coming}, timeout=silence_s))[0]:
                yield None
            item = coming.result()
            if isinstance(item, _End):
                return
            yield item
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
        await source.aclose()


def closable(source: AsyncIterator[T]) -> AsyncGenerator[T]:
    """The same iterator; all of ours are generators, which must be closed where they are used."""
    return cast("AsyncGenerator[T]", source)


class _End:
    """The source has ended."""


async def _next(source: AsyncGenerator[T]) -> T | _End:
    try:
        return await anext(source)
    except StopAsyncIteration:
        return _End()
