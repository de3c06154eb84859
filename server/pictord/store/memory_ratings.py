"""Ratings in memory, dying with the process."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pictord.domain.rating import Cell, Latency, Rating, Votes, latency_of, votes_of
from pictord.domain.usage import UsageQuery
from pictord.store.memory_ledger import MemoryLedger

_MOST = 100_000
"""Ratings beyond these push out the oldest."""


class MemoryRatings:
    """`Ratings` beside the ledger that knows the attempts. Nothing here awaits."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self._ratings: dict[tuple[str, str], Rating] = {}

    async def rate(self, rating: Rating) -> None:
        """See `Ratings.rate`."""
        self._ratings.pop((rating.caller, rating.subject.generation_id), None)
        for loser in rating.losers:
            self._withdraw(rating.caller, loser.generation_id, over=rating.subject.generation_id)
        self._ratings[rating.caller, rating.subject.generation_id] = rating
        while len(self._ratings) > _MOST:
            del self._ratings[next(iter(self._ratings))]

    async def about(self, generation_ids: Sequence[str], caller: str | None) -> Sequence[Rating]:
        """See `Ratings.about`."""
        found = (
            rating
            for (who, generation_id), rating in self._ratings.items()
            if generation_id in generation_ids and caller in {None, who}
        )
        return sorted(found, key=lambda rating: (rating.rate_time, rating.caller, rating.subject.generation_id))

    async def votes(self, query: UsageQuery) -> Mapping[Cell, Votes]:
        """See `Ratings.votes`."""
        found: defaultdict[Cell, Votes] = defaultdict(Votes)
        for rating in self._ratings.values():
            for rated, votes in votes_of(rating):
                if query.since <= rated.create_time < query.until and query.caller in {None, rated.owner}:
                    found[rated.workflow, rated.model] = found[rated.workflow, rated.model].plus(votes)
        return {cell: votes for cell, votes in found.items() if votes != Votes()}

    async def latencies(self, query: UsageQuery) -> Mapping[Cell, Latency]:
        """See `Ratings.latencies`."""
        spans: defaultdict[Cell, list[float]] = defaultdict(list)
        for workflow, model, span_s in self._ledger.drawing_times(query):
            spans[workflow, model].append(span_s)
        return {cell: latency_of(each) for cell, each in spans.items()}

    def forget_words(self, generation_ids: Iterable[str]) -> None:
        """Drop what people wrote about generations whose records go; what they chose stays."""
        gone = set(generation_ids)
        for key, rating in self._ratings.items():
            if key[1] in gone:
                self._ratings[key] = replace(rating, text="")

    def _withdraw(self, caller: str, winner_id: str, *, over: str) -> None:
        earlier = self._ratings.get((caller, winner_id))
        if earlier is not None:
            left = tuple(each for each in earlier.losers if each.generation_id != over)
            self._ratings[caller, winner_id] = replace(earlier, losers=left)
