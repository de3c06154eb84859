"""How long the event loop was busy with one thing: the lateness of a timer that is due every millisecond."""

import asyncio

_INTERVAL_S = 0.001


class LagProbe:
    """Watches the running loop between `start` and `stop`."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to watch."""
        self._longest_s = 0.0
        self._arm()

    async def stop(self) -> float:
        """The longest lag since `start`, in seconds."""
        if self._timer is not None:
            self._timer.cancel()
        return self._longest_s

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + _INTERVAL_S
        self._timer = loop.call_at(due, self._fire, due)

    def _fire(self, due: float) -> None:
        self._longest_s = max(self._longest_s, asyncio.get_running_loop().time() - due)
        self._arm()
