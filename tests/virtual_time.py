"""An event loop whose clock jumps: whenever every task waits, time moves to the next timer at once.

Whatever sleeps or sets timers through the running loop takes no real time, and runs the same way every time. There is
no network and there are no threads: a loop in which everybody waits for nothing ends with `DeadlockError`.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Every task waits, and no timer will ever wake one of them."""


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting for `timeout` seconds, moves the loop's clock on to the timer it stands for."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise DeadlockError("every task waits, and no timer is set")
        self.loop.jump()
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which starts at `start_s` and only moves when nothing else can."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now = start_s
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def jump(self) -> None:
        """Move to the next timer, exactly (adding the timeout would be off by a rounding error)."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        self._now = max(self._now, scheduled[0].when())


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def now() -> float:
    """The running loop's time, in virtual seconds."""
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let every task run as far as it can without time moving on."""
    for _ in range(10):
        await asyncio.sleep(0)
