"""`Ratings` in SQL. A rating is a row, and each generation that it won over is a row of `verdict`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select

from pictord.domain.outcome import Outcome
from pictord.domain.rating import Cell, Latency, Rated, Rating, Thumb, Votes
from pictord.domain.usage import UsageQuery
from pictord.store import rows
from pictord.store.database import Database
from pictord.store.schema import attempt, rating, verdict
from pictord.store.statements import insert_or_update

_SECOND = 1_000_000.0


class SqlRatings:
    """`Ratings` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rate(self, given: Rating) -> None:
        """See `Ratings.rate`."""
        await self._database.write(partial(_rate, given=given))

    async def about(self, generation_ids: Sequence[str], caller: str | None) -> Sequence[Rating]:
        """See `Ratings.about`."""
        return await self._database.read(partial(_about, generation_ids=generation_ids, caller=caller))

    async def votes(self, query: UsageQuery) -> Mapping[Cell, Votes]:
        """See `Ratings.votes`."""
        return await self._database.read(partial(_votes, query=query))

    async def latencies(self, query: UsageQuery) -> Mapping[Cell, Latency]:
        """See `Ratings.latencies`."""
        return await self._database.read(partial(_latencies, query=query))


def _rate(connection: Connection, given: Rating) -> None:
    subject = given.subject
    row = {
        **_rated_row(subject),
        "generation_id": subject.generation_id,
        "caller": given.caller,
        "thumb": given.thumb.value if given.thumb else None,
        "text": rows.storable(given.text),
        "rate_time": rows.micros(given.rate_time),
    }
    insert_or_update(connection, rating, row)
    losers = [each.generation_id for each in given.losers]
    opposite = and_(verdict.c.winner_id.in_(losers), verdict.c.loser_id == subject.generation_id)
    replaced = or_(verdict.c.winner_id == subject.generation_id, opposite)
    connection.execute(verdict.delete().where(verdict.c.caller == given.caller, replaced))
    if given.losers:
        pair = {"caller": given.caller, "winner_id": subject.generation_id}
        pairs = [{**_rated_row(each), **pair, "loser_id": each.generation_id} for each in given.losers]
        connection.execute(verdict.insert(), pairs)


def _rated_row(rated: Rated) -> dict[str, Any]:
    return {
        "owner": rated.owner,
        "workflow": rated.workflow,
        "model": rated.model,
        "made_time": rows.micros(rated.create_time),
    }


def _about(connection: Connection, generation_ids: Sequence[str], caller: str | None) -> list[Rating]:
    said = select(rating).where(rating.c.generation_id.in_(generation_ids))
    pairs = select(verdict).where(verdict.c.winner_id.in_(generation_ids)).order_by(verdict.c.loser_id)
    if caller is not None:
        said, pairs = said.where(rating.c.caller == caller), pairs.where(verdict.c.caller == caller)
    losers: defaultdict[tuple[str, str], list[Rated]] = defaultdict(list)
    for row in connection.execute(pairs):
        losers[row.caller, row.winner_id].append(_rated(row, row.loser_id))
    ordered = said.order_by(rating.c.rate_time, rating.c.caller, rating.c.generation_id)
    return [
        Rating(
            row.caller,
            _rated(row, row.generation_id),
            Thumb(row.thumb) if row.thumb else None,
            tuple(losers[row.caller, row.generation_id]),
            row.text,
            rows.time(row.rate_time),
        )
        for row in connection.execute(ordered)
    ]


def _rated(row: Any, generation_id: str) -> Rated:
    return Rated(generation_id, row.owner, row.workflow, row.model, rows.time(row.made_time))


def _votes(connection: Connection, query: UsageQuery) -> dict[Cell, Votes]:
    found: defaultdict[Cell, Votes] = defaultdict(Votes)
    of_ratings = select(
        rating.c.workflow,
        rating.c.model,
        func.sum(case((rating.c.thumb == Thumb.UP.value, 1), else_=0)).label("thumbs_up"),
        func.sum(case((rating.c.thumb == Thumb.DOWN.value, 1), else_=0)).label("thumbs_down"),
    )
    won = and_(verdict.c.caller == rating.c.caller, verdict.c.winner_id == rating.c.generation_id)
    wins = select(rating.c.workflow, rating.c.model, func.count().label("wins")).join_from(rating, verdict, won)
    losses = select(verdict.c.workflow, verdict.c.model, func.count().label("losses"))
    for selected, table in ((of_ratings, rating), (wins, rating), (losses, verdict)):
        for row in connection.execute(_made(selected, table, query)).mappings():
            counts = dict(row)
            cell = (counts.pop("workflow"), counts.pop("model"))
            found[cell] = found[cell].plus(Votes(**counts))
    return {cell: votes for cell, votes in found.items() if votes != Votes()}


def _made(selected: Select[Any], table: Any, query: UsageQuery) -> Select[Any]:
    """By workflow and model, of what was made in the time and by the caller that are asked for."""
    since, until = rows.micros(query.since), rows.micros(query.until)
    wanted = selected.where(table.c.made_time >= since, table.c.made_time < until)
    if query.caller is not None:
        wanted = wanted.where(table.c.owner == query.caller)
    return wanted.group_by(table.c.workflow, table.c.model)


def _latencies(connection: Connection, query: UsageQuery) -> dict[Cell, Latency]:
    """Nearest rank, with what both databases have: numbered rows. The least of those from a rank on is at that rank."""
    cell = (attempt.c.workflow, attempt.c.model)
    span = attempt.c.finish_time - attempt.c.sent_time
    numbered = (
        select(
            *cell,
            span.label("span"),
            func.row_number().over(partition_by=cell, order_by=span).label("place"),
            func.count().over(partition_by=cell).label("count"),
        )
        .where(*_drawn(query))
        .subquery()
    )
    from_p50 = case((numbered.c.place * 2 >= numbered.c.count, numbered.c.span))
    from_p90 = case((numbered.c.place * 10 >= numbered.c.count * 9, numbered.c.span))
    percentiles = select(
        numbered.c.workflow, numbered.c.model, func.min(from_p50).label("p50"), func.min(from_p90).label("p90")
    ).group_by(numbered.c.workflow, numbered.c.model)
    return {
        (row.workflow or "", row.model): Latency(row.p50 / _SECOND, row.p90 / _SECOND)
        for row in connection.execute(percentiles)
    }


def _drawn(query: UsageQuery) -> list[ColumnElement[bool]]:
    """Attempts of the question that brought a picture; the days find them by index, the times are exact."""
    wanted = [
        attempt.c.day >= query.since.astimezone(UTC).date().isoformat(),
        attempt.c.day <= query.until.astimezone(UTC).date().isoformat(),
        attempt.c.create_time >= rows.micros(query.since),
        attempt.c.create_time < rows.micros(query.until),
        attempt.c.outcome == Outcome.IMAGE.value,
        attempt.c.sent_time.is_not(None),
        attempt.c.finish_time.is_not(None),
    ]
    return wanted if query.caller is None else [*wanted, attempt.c.caller == query.caller]
