"""The seam for ratings: what is remembered of them, and what the scorecard asks."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pictord.domain.rating import Cell, Latency, Rating, Votes
from pictord.domain.usage import UsageQuery


class Ratings(Protocol):
    """Remembers ratings longer than the generations they are about; memory and SQL keep the same promises.

    In questions the times are those of the generation, or of the attempt, and `caller` is its owner.
    """

    async def rate(self, rating: Rating) -> None:
        """Remember a rating instead of its caller's last one of the same generation.

        Verdicts of the same caller that say the opposite (a loser of this rating over its winner) are withdrawn.
        """
        ...

    async def about(self, generation_ids: Sequence[str], caller: str | None) -> Sequence[Rating]:
        """Ratings of these generations, by one caller or (None) by everybody; the earliest first."""
        ...

    async def votes(self, query: UsageQuery) -> Mapping[Cell, Votes]:
        """Verdicts and thumbs by workflow and model."""
        ...

    async def latencies(self, query: UsageQuery) -> Mapping[Cell, Latency]:
        """How long the calls took that brought a picture, by workflow and model."""
        ...
