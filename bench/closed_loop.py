"""Many calls, so many at a time, each measured and each picture checked."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.process import cpu_seconds


@dataclass(slots=True)
class Result:
    """What a closed loop saw. Times are seconds; `cpu_s` is that of the process under test."""

    calls: int
    seconds: float = 0.0
    cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    wrong: int = 0
    error: str = ""
    """The first one's text."""
    receipts: list[tuple[str, int, float]] = field(default_factory=list)
    """Of streams: tag, number of the preview from 0, and when it was in hand on the monotonic clock."""

    def as_json(self) -> dict[str, Any]:
        """A dictionary that survives JSON."""
        return asdict(self)


async def closed_loop(call: Callable[[str], Awaitable[None]], tags: list[str], *, concurrency: int, pid: int) -> Result:
    """Call once for each tag, `concurrency` at a time.

    Args:
        call: makes one call and takes its picture to the checker.
        tags: one for each call, never used before.
        concurrency: calls in flight.
        pid: the process whose CPU time counts.
    """
    result = Result(len(tags))
    left = iter(tags)
    started, cpu_before = time.monotonic(), cpu_seconds(pid)
    await asyncio.gather(*(_caller(call, left, result) for _ in range(concurrency)))
    result.cpu_s = cpu_seconds(pid) - cpu_before
    result.seconds = time.monotonic() - started
    return result


async def _caller(call: Callable[[str], Awaitable[None]], left: Iterator[str], result: Result) -> None:
    for tag in left:
        started = time.monotonic()
        try:
            await call(tag)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is counted, and the first is shown
            result.errors += 1
            result.error = result.error or f"{type(error).__name__}: {error}"[:500]
        result.latencies_s.append(time.monotonic() - started)
