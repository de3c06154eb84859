"""Reconciling in SQL: what the ledger has of some days, and what lost attempts turn out to have cost, written down.

An attempt belongs to the UTC day on which it was sent, as it does on the invoice. What settles it changes its row,
every scope that it is counted under, and the trail (`reconciliation`, `reconciled`) in one transaction.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from pictord.domain.budget import Unit
from pictord.domain.generation import AttemptState
from pictord.domain.money import CostBasis
from pictord.domain.reconciliation import Booked, Key, Reconciliation
from pictord.store import rows
from pictord.store.schema import attempt, hold, reconciled, reconciliation, scope

_DAY_MICROS = 24 * 3600 * 1_000_000
_SENT_DAY = attempt.c.sent_time // _DAY_MICROS
_UNKNOWN = attempt.c.cost_basis == CostBasis.UNKNOWN.value


Ledger = Mapping[Key, Booked]
"""What the ledger has, by day and model."""


@dataclass(frozen=True, slots=True)
class Trail:
    """Who reconciled what with which file, and when."""

    id: str
    provider: str
    time: datetime
    who: str
    file_name: str
    file_sha256: str


def apply(
    connection: Connection,
    trail: Trail,
    days: Sequence[date],
    compare: Callable[[Ledger], Reconciliation],
) -> Reconciliation:
    """Compare with the ledger as it stands, and settle what the comparison settles; nothing to settle, no trail."""
    # Whoever else reconciles waits here, and then finds nothing unknown any more.
    connection.execute(select(attempt.c.id).where(_UNKNOWN, *_of(trail.provider, days)).with_for_update())
    found = compare(booked(connection, trail.provider, days))
    if found.settlements:
        _settle(connection, trail, found.settlements)
    return found


def booked(connection: Connection, provider: str, days: Sequence[date]) -> dict[Key, Booked]:
    """What the ledger has of a provider from the first to the last of these days."""
    ended = attempt.c.state == AttemptState.FINISHED.value
    where = _of(provider, days)
    day = _SENT_DAY.label("sent_day")
    sums = select(day, attempt.c.model, attempt.c.cost_basis, func.sum(attempt.c.cost_nanos).label("nanos"))
    sums = sums.where(ended, *where).group_by(day, attempt.c.model, attempt.c.cost_basis)
    lost = select(day, attempt.c.model, attempt.c.id, attempt.c.cost_nanos).where(ended, _UNKNOWN, *where)
    running = select(day, attempt.c.model, func.count().label("running")).where(~ended, *where)
    running = running.group_by(day, attempt.c.model)
    known: defaultdict[Key, dict[CostBasis, int]] = defaultdict(dict)
    for row in connection.execute(sums):
        known[_key(row)][CostBasis(row.cost_basis)] = int(row.nanos)
    unknown: defaultdict[Key, dict[str, int]] = defaultdict(dict)
    for row in connection.execute(lost):
        unknown[_key(row)][row.id] = row.cost_nanos
    still_open = {_key(row): row.running for row in connection.execute(running)}
    return {
        key: Booked(
            reported_nanos=known[key].get(CostBasis.REPORTED, 0),
            reconciled_nanos=known[key].get(CostBasis.RECONCILED, 0),
            estimated_nanos=known[key].get(CostBasis.ESTIMATED, 0),
            unknown=unknown[key],
            open_attempts=still_open.get(key, 0),
        )
        for key in known.keys() | still_open.keys()
    }


def _key(row: Any) -> Key:
    return (_EPOCH + timedelta(days=row.sent_day), row.model)


_EPOCH = date(1970, 1, 1)


def _of(provider: str, days: Sequence[date]) -> tuple[Any, ...]:
    first, last = min(days), max(days)
    start, end = (rows.micros(datetime.combine(day, time(), UTC)) for day in (first, last + timedelta(days=1)))
    # There is an index by the day of creation, on which or before which nothing is sent.
    created = attempt.c.day.between((first - timedelta(days=1)).isoformat(), last.isoformat())
    return (attempt.c.provider == provider, created, attempt.c.sent_time >= start, attempt.c.sent_time < end)


def _settle(connection: Connection, trail: Trail, settlements: Mapping[str, int]) -> None:
    connection.execute(
        reconciliation.insert(),
        {
            "id": trail.id,
            "provider": trail.provider,
            "time": rows.micros(trail.time),
            "who": rows.storable(trail.who),
            "file_name": rows.storable(trail.file_name),
            "file_sha256": trail.file_sha256,
        },
    )
    settled = _attempts(connection, settlements)
    connection.execute(
        reconciled.insert(),
        [
            {
                "attempt_id": row.id,
                "reconciliation_id": trail.id,
                "unknown_nanos": row.cost_nanos,
                "settled_nanos": settlements[row.id],
            }
            for row in settled
        ],
    )
    connection.execute(
        attempt.update()
        .where(attempt.c.id == bindparam("attempt_id"))
        .values(cost_nanos=bindparam("nanos"), cost_basis=CostBasis.RECONCILED.value),
        [{"attempt_id": row.id, "nanos": settlements[row.id]} for row in settled],
    )
    _give_back(connection, {row.id: settlements[row.id] - row.cost_nanos for row in settled})


def _attempts(connection: Connection, ids: Iterable[str]) -> list[Any]:
    return [
        row for some in _batches(ids) for row in connection.execute(select(attempt).where(attempt.c.id.in_(some))).all()
    ]


def _give_back(connection: Connection, changes: Mapping[str, int]) -> None:
    """Change what is settled wherever an attempt has a hold, in the order of the scopes' names (`ledger.py`)."""
    sums: Counter[str] = Counter()
    for some in _batches(changes):
        held = select(hold.c.attempt_id, hold.c.scope).where(hold.c.attempt_id.in_(some), hold.c.unit == Unit.USD.value)
        for row in connection.execute(held):
            sums[row.scope] += changes[row.attempt_id]
    changed = scope.update().where(scope.c.scope == bindparam("name"))
    changed = changed.values(settled=scope.c.settled + bindparam("nanos"))
    for name, nanos in sorted(sums.items()):
        connection.execute(changed, {"name": name, "nanos": nanos})


def _batches(ids: Iterable[str]) -> Iterable[list[str]]:
    every = list(ids)
    return (every[start : start + _BATCH] for start in range(0, len(every), _BATCH))


_BATCH = 1000
