"""All calls of a run before it begins: when each is due, and what it asks. The same seed gives the same calls."""

import random
from dataclasses import dataclass

from pictor_loadtest.arrivals import Rate, Spacing, arrivals
from pictor_loadtest.mix import Mix, Shape

MOST_CALLS = 1_000_000
"""Each is kept until the report is made."""


@dataclass(frozen=True, slots=True)
class Due:
    """A call that is due."""

    number: int
    """From 0."""
    at_s: float
    """Seconds after the start."""
    shape: Shape
    prompt: str


@dataclass(frozen=True, slots=True)
class Load:
    """What was asked of the generator."""

    mix: Mix
    rate: Rate
    duration_s: float
    spacing: Spacing
    seed: int
    max_in_flight: int

    def schedule(self) -> list[Due]:
        """All calls, in order.

        Times and shapes have dice of their own, so that another mix is called at the same times.

        Raises:
            ValueError: They are too many, or none.
        """
        if self.rate.calls_by(self.duration_s, self.duration_s) > MOST_CALLS:
            raise ValueError(f"that is more than {MOST_CALLS:,} calls; take a lower rate or a shorter time")
        times = arrivals(self.rate, self.duration_s, self.spacing, random.Random(f"{self.seed} times"))
        dice = random.Random(f"{self.seed} shapes")
        calls = [Due(number, at_s, *self.mix.deal(dice)) for number, at_s in enumerate(times)]
        if not calls:
            raise ValueError("no call is due in that time; take a higher rate, a longer time or another seed")
        return calls
