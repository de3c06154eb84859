"""The child's end: a service that is opened once and then does what the parent's JSON lines say, one by one."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

_MOST_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Service:
    """What a child tells its parent when it is ready (`facts`), and what it can be asked to do."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    handlers: Mapping[str, Callable[..., Awaitable[Any]]] = field(default_factory=dict)


def serve(
    opened: Callable[..., AbstractAsyncContextManager[Service]],
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
) -> None:
    """Open the service with the options of the command line, and serve until the parent closes our input."""
    run(_serve(opened))


async def _serve(opened: Callable[..., AbstractAsyncContextManager[Service]]) -> None:
    async with opened(**json.loads(sys.argv[1])) as service:
        lines = asyncio.StreamReader(limit=_MOST_LINE_BYTES)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        _say(service.facts)
        while line := await lines.readline():
            asked = json.loads(line)
            _say(await service.handlers[asked.pop("do")](**asked))


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
