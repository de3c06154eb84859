"""Pages of history: which rows, and by which index they are found.

Pages go by id, which sorts by age, and each filter has an index that ends with the id: one filter alone is a walk along
its index that ends with the page. Of several filters the databases would have to guess the best index, and they guess
badly: SQLite has no statistics, and PostgreSQL's know no two columns together. So what matches each filter is counted
first, up to a bound, which reads nothing but indexes:

- Few match one of them: those are looked up by their ids, the newest first, whatever else is asked.
- Many match each: the caller leads, whose index holds the other columns too, so that what does not match is passed over
  without being read. Without a caller a label leads, or else the database chooses.

What is slow is to find out that nothing matches two filters of which each matches many, of all callers together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, literal_column, select

from pictord.domain.generation import Generation
from pictord.store import history, rows
from pictord.store.base import ListFilter
from pictord.store.schema import attempt, generation, label

_FEW = 1_000
_LOOKED_UP = 200
"""Ids that are looked up in one statement."""

_SKEW_MICROS = 600 * 1_000_000
"""How far the clocks of replicas may be apart: ids sort by age up to this."""


@dataclass(frozen=True, slots=True)
class _Filter:
    """One thing that is asked: `where`, with the column `ids` of that table that says which generations match."""

    ids: ColumnElement[Any]
    where: ColumnElement[bool]
    is_caller: bool = False
    hidden: ColumnElement[bool] | None = None
    """The same of a column of the generation's own, so that no index is seen that it could be walked along."""

    @property
    def is_label(self) -> bool:
        return self.ids is label.c.generation_id


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The ids between which everything lies that is asked; None is open."""

    first: str | None
    last: str | None

    def of(self, ids: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        after = [] if self.first is None else [ids > self.first]
        return after if self.last is None else [*after, ids < self.last]


def page(connection: Connection, query: ListFilter) -> list[Generation]:
    """See `Store.list`."""
    filters, bounds = _filters(query), _bounds(connection, query)
    few = _fewest(connection, filters, bounds) if len(filters) + bool(_made(query)) > 1 else None
    if few is None:
        found = connection.execute(_walk(connection, query, filters, bounds)).all()
    else:
        found = list(islice(_looked_up(connection, query, filters, few), query.limit))
    return history.whole(connection, found)


# What is asked


def _filters(query: ListFilter) -> list[_Filter]:
    equal = {
        generation.c.caller: query.caller,
        generation.c.state: query.state.value if query.state else None,
        generation.c.model: query.model,
        generation.c.served_version: query.served_version,
        generation.c.tier: query.tier.value if query.tier else None,
        generation.c.workflow: query.workflow.value if query.workflow else None,
        generation.c.row_name: query.row,
        generation.c.end_user: query.end_user,
        generation.c.set_id: query.set_id,
        generation.c.reroll_of: query.reroll_of,
        generation.c.request_id: query.request_id,
    }
    found = [
        _Filter(generation.c.id, column == value, column is generation.c.caller, column.concat("") == value)
        for column, value in equal.items()
        if value is not None
    ]
    for key, value in query.labels.items():
        found.append(_Filter(label.c.generation_id, and_(label.c.key == key, label.c.value == value)))
    if query.provider_request_id is not None:
        # The index is of attempts that have such an id, and is taken only where that is said.
        named = and_(attempt.c.provider_request_id == query.provider_request_id, attempt.c.provider_request_id != "")
        found.append(_Filter(attempt.c.generation_id, named))
    return found


def _made(query: ListFilter) -> list[ColumnElement[bool]]:
    """The asked time, exactly; the sum keeps its index, which does not end with the id, out of the plan."""
    made = generation.c.create_time + 0
    since = [] if query.since is None else [made >= rows.micros(query.since)]
    return since if query.until is None else [*since, made < rows.micros(query.until)]


_LAST_BEFORE = (
    select(generation.c.id)
    .where(generation.c.create_time < bindparam("time"))
    .order_by(generation.c.create_time.desc())
    .limit(1)
)
_FIRST_SINCE = (
    select(generation.c.id)
    .where(generation.c.create_time >= bindparam("time"))
    .order_by(generation.c.create_time)
    .limit(1)
)


def _bounds(connection: Connection, query: ListFilter) -> _Bounds:
    """Of the asked time, and of the page: every index ends with the id, none but one has the time."""
    first = last = None
    if query.since is not None:
        time = rows.micros(query.since) - _SKEW_MICROS
        first = connection.execute(_LAST_BEFORE, {"time": time}).scalar_one_or_none()
    if query.until is not None:
        time = rows.micros(query.until) + _SKEW_MICROS
        last = connection.execute(_FIRST_SINCE, {"time": time}).scalar_one_or_none()
    ends = [each for each in (last, query.before) if each is not None]
    return _Bounds(first, min(ends, default=None))


# How it is found


def _fewest(connection: Connection, filters: Sequence[_Filter], bounds: _Bounds) -> list[str] | None:
    """The ids that match the filter that the fewest match, the newest first.

    None if those are many, or the caller's own: along its index most is known without looking anything up.
    """
    if not filters:
        return None
    asked = [select(each.ids).where(each.where, *bounds.of(each.ids)) for each in filters]
    counts = [select(func.count()).select_from(each.limit(_FEW).subquery()).scalar_subquery() for each in asked]
    counted = connection.execute(select(*counts)).one()
    fewest = min(range(len(filters)), key=lambda place: counted[place])
    if counted[fewest] >= _FEW or filters[fewest].is_caller:
        return None
    return sorted(set(connection.execute(asked[fewest]).scalars()), reverse=True)


def _looked_up(
    connection: Connection, query: ListFilter, filters: Sequence[_Filter], ids: Sequence[str]
) -> Iterator[Any]:
    conditions = [_condition(each) for each in filters]
    for start in range(0, len(ids), _LOOKED_UP):
        some = generation.c.id.in_(ids[start : start + _LOOKED_UP])
        wanted = select(generation).where(some, *_made(query), *conditions).order_by(generation.c.id.desc())
        yield from connection.execute(wanted)


def _walk(connection: Connection, query: ListFilter, filters: Sequence[_Filter], bounds: _Bounds) -> Select[Any]:
    """Along the index of the filter that leads, which is left to the database if that is neither caller nor label."""
    by_rank = sorted(filters, key=lambda each: (not each.is_caller, not each.is_label))
    lead = by_rank[0] if by_rank and (by_rank[0].is_caller or by_rank[0].is_label) else None
    wanted, ids = select(generation), generation.c.id
    if lead is not None and lead.is_label:
        wanted = wanted.join(label, and_(label.c.generation_id == generation.c.id, lead.where))
        ids = label.c.generation_id
        filters = [each for each in filters if each is not lead]
    hide = connection.dialect.name == "sqlite" and lead is not None
    conditions = [_condition(each, hide=hide and each is not lead) for each in filters]
    wanted = wanted.where(*conditions, *_made(query)).order_by(ids.desc()).limit(query.limit)
    for each in dict.fromkeys((generation.c.id, ids)):  # PostgreSQL takes no bound from one table to the other
        wanted = wanted.where(*bounds.of(each))
    return wanted


def _condition(asked: _Filter, *, hide: bool = False) -> ColumnElement[bool]:
    """What a generation must fulfil; see `_Filter.hidden`."""
    if asked.is_label:
        has: Select[Any] = select(literal_column("1")).select_from(label)
        return exists(has.where(label.c.generation_id == generation.c.id, asked.where).correlate(generation))
    if asked.hidden is None:
        return generation.c.id.in_(select(asked.ids).where(asked.where))
    return asked.hidden if hide else asked.where
