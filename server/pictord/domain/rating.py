"""What callers think of pictures, and what that says of models: the scorecard.

A rating outlives the generation it is about, so it carries what the scorecard groups by. A verdict is one pair: the
winner of a comparison over one of those it was compared with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import ceil

from pictord.domain.generation import Generation
from pictord.domain.usage import Sums, UsageRow


class Thumb(StrEnum):
    """Good or bad."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Rated:
    """A generation as its ratings remember it; `model` drew its first picture, `workflow` is empty without one."""

    generation_id: str
    owner: str
    workflow: str
    model: str
    create_time: datetime

    @classmethod
    def of(cls, generation: Generation) -> "Rated":
        """What is remembered of a generation that has a picture."""
        workflow = generation.request.workflow
        return cls(
            generation.id,
            generation.caller,
            workflow.value if workflow else "",
            generation.images[0].model,
            generation.create_time,
        )


@dataclass(frozen=True, slots=True)
class Rating:
    """What `caller` thinks of `subject`: a thumb, what it won over, why; the last one of a caller counts."""

    caller: str
    subject: Rated
    thumb: Thumb | None
    losers: tuple[Rated, ...]
    text: str
    rate_time: datetime


def is_ratable(generation: Generation) -> bool:
    """Whether it has ended with a picture."""
    return generation.state.is_final and bool(generation.images)


# The scorecard

Cell = tuple[str, str]
"""Workflow (empty without one) and model."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Verdicts won and lost, and thumbs."""

    wins: int = 0
    losses: int = 0
    thumbs_up: int = 0
    thumbs_down: int = 0

    def plus(self, other: "Votes") -> "Votes":
        """Both together."""
        return Votes(
            self.wins + other.wins,
            self.losses + other.losses,
            self.thumbs_up + other.thumbs_up,
            self.thumbs_down + other.thumbs_down,
        )


def votes_of(rating: Rating) -> Sequence[tuple[Rated, Votes]]:
    """What one rating says, and of whom."""
    thumbs = Votes(thumbs_up=int(rating.thumb is Thumb.UP), thumbs_down=int(rating.thumb is Thumb.DOWN))
    lost = [(loser, Votes(losses=1)) for loser in rating.losers]
    return [(rating.subject, thumbs.plus(Votes(wins=len(rating.losers)))), *lost]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from the first byte sent to the picture: half of the calls, and nine in ten, were done by then."""

    p50_s: float
    p90_s: float


def latency_of(spans_s: Iterable[float]) -> Latency:
    """Percentiles by nearest rank: each is a time that was really measured; at least one is needed."""
    ordered = sorted(spans_s)
    return Latency(ordered[ceil(len(ordered) * 0.5) - 1], ordered[ceil(len(ordered) * 0.9) - 1])


@dataclass(frozen=True, slots=True)
class Score:
    """One workflow drawn by one model: what it cost, how long it took (None without a picture), what people said."""

    workflow: str
    model: str
    sums: Sums
    latency: Latency | None
    votes: Votes


def scorecard(usage: Iterable[UsageRow], latencies: Mapping[Cell, Latency], votes: Mapping[Cell, Votes]) -> list[Score]:
    """Join what was spent (grouped by workflow and model), how long it took and what was said, cell by cell."""
    sums = {(workflow, model): row.sums for row in usage for workflow, model in [row.keys]}
    return [
        Score(*cell, sums.get(cell, Sums()), latencies.get(cell), votes.get(cell, Votes()))
        for cell in sorted({*sums, *latencies, *votes})
    ]
