"""Back-off: how long to hold off after a 429 that does not say so itself.

1, 2, 4 … 60 s, each times a random share (full jitter). Only a call that was sent after the last 429 makes it longer:
calls that are refused together are one piece of news. A call that was sent after the last 429 and came back well starts
it afresh.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffSettings:
    """Spans in seconds."""

    first_s: float = 1.0
    longest_s: float = 60.0


class Backoff:
    """The back-off of one provider account; `clock` in seconds, `random` uniform in [0, 1)."""

    def __init__(self, settings: BackoffSettings, *, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._step = 0
        self._last_refusal = float("-inf")

    def refused(self, sent_at: float) -> float:
        """Seconds to hold off after the 429 of a call sent at `sent_at`; 0 if an earlier 429 has said it already."""
        if sent_at <= self._last_refusal:
            return 0.0
        self._last_refusal = self._clock()
        # The exponent is bounded only to keep the float finite.
        span_s = min(self._settings.longest_s, self._settings.first_s * 2.0 ** min(self._step, 64))
        self._step += 1
        return span_s * self._random()

    def succeeded(self, sent_at: float) -> None:
        """A call sent at `sent_at` was not refused."""
        if sent_at > self._last_refusal:
            self._step = 0
