"""Request and image quotas as a strict log of the last 60 seconds for each API key."""

from collections import deque
from collections.abc import Callable, Mapping

from pictord.sandbox.settings import Quota

WINDOW_S = 60.0


class Quotas:
    """Counts what each key sent; refused calls do not count."""

    def __init__(self, limits: Mapping[str, Quota], clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._sent: dict[tuple[str, str, str], deque[float]] = {}

    def take(self, provider: str, account: str, images: int) -> tuple[float, int] | None:
        """Count one call for `images` pictures.

        Returns:
            None if it is within the quota, else the seconds until it would be, and the limit it hit.
        """
        limit = self._limits.get(provider, Quota())
        now = self._clock()
        asked = [("image", limit.images_per_minute, images), ("request", limit.requests_per_minute, 1)]
        logs = [
            (self._log(provider, account, unit, now), most, count) for unit, most, count in asked if most is not None
        ]
        for log, most, count in logs:
            if len(log) + count > most:
                oldest = log[min(len(log), len(log) + count - most) - 1] if log else now
                return oldest + WINDOW_S - now, most
        for log, _, count in logs:
            log.extend([now] * count)
        return None

    def clear(self) -> None:
        """Forget what was sent."""
        self._sent.clear()

    def _log(self, provider: str, account: str, unit: str, now: float) -> deque[float]:
        log = self._sent.setdefault((provider, account, unit), deque())
        while log and log[0] <= now - WINDOW_S:
            log.popleft()
        return log
