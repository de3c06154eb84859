"""When calls are due: a rate that stays or climbs, and how evenly the calls keep to it.

Both kinds of spacing are made at a rate of one a second first, and then moved to where the wanted rate has seen as many
calls go by. So a ramp is random in the same way as a steady rate.
"""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?")


class Spacing(StrEnum):
    """How calls keep to the rate."""

    POISSON = "poisson"
    """Independently of each other, as many users do: gaps are exponential."""
    EVEN = "even"
    """Like a clock."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second: from the first second to the last in a straight line."""

    first: float
    last: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read `20`, or `5..50` for a ramp.

        Raises:
            ValueError: It is neither, or nothing would ever be called.
        """
        found = _RATE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"a rate is calls a second such as 20, or 5..50 for a ramp; this is `{text}`")
        rate = cls(float(found[1]), float(found[2] or found[1]))
        if rate.first + rate.last == 0:
            raise ValueError("a rate of nothing is no load")
        return rate

    def __str__(self) -> str:
        return f"{self.first:g}" if self.is_steady else f"{self.first:g}..{self.last:g}"

    @property
    def is_steady(self) -> bool:
        """Whether it stays."""
        return self.first == self.last

    def calls_by(self, time_s: float, duration_s: float) -> float:
        """How many calls are due by then."""
        return self.first * time_s + (self.last - self.first) * time_s**2 / (2 * duration_s)

    def time_of(self, calls: float, duration_s: float) -> float:
        """When so many calls are due: the inverse of `calls_by`."""
        slope = (self.last - self.first) / duration_s
        # The smaller root, in the form that does not cancel when the slope is small.
        under = max(0.0, self.first**2 + 2 * slope * calls)
        return 2 * calls / (self.first + math.sqrt(under)) if calls else 0.0


def arrivals(rate: Rate, duration_s: float, spacing: Spacing, dice: random.Random) -> Iterator[float]:
    """The seconds after the start at which calls are due, in order, all before `duration_s`."""
    all_calls = rate.calls_by(duration_s, duration_s)
    calls = 0.0
    while True:
        calls += dice.expovariate(1.0) if spacing is Spacing.POISSON else (1.0 if calls else 0.5)
        if calls >= all_calls:
            return
        time_s = rate.time_of(calls, duration_s)
        if time_s >= duration_s:  # by a rounding error
            return
        yield time_s
