"""`Books` in SQL: budgets and alerts are rows, what counts are the ledger's scopes, usage is summed from attempts."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal_column, select

from pictord.domain.alert import Alert, Delivery
from pictord.domain.budget import EACH, Budget, Subject, Unit, Window, keys, scope_prefix, span
from pictord.domain.budget import Counted as Kind
from pictord.domain.budget import scope as scope_of
from pictord.domain.generation import AttemptState
from pictord.domain.money import CostBasis
from pictord.domain.request import Tier
from pictord.domain.usage import Group, Sums, UsageQuery, UsageRow
from pictord.store import rows
from pictord.store.books import Counted
from pictord.store.database import Database
from pictord.store.ledger import MAY_CHANGE
from pictord.store.schema import alert as alerts
from pictord.store.schema import attempt, hold, scope
from pictord.store.schema import budget as budgets
from pictord.store.statements import insert_missing, insert_new, insert_or_update


class SqlBooks:
    """`Books` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def budgets(self) -> Sequence[Budget]:
        """See `Books.budgets`."""
        return await self._database.read(all_budgets)

    async def set_budget(self, budget: Budget) -> None:
        """See `Books.set_budget`."""
        await self._database.write(lambda connection: insert_or_update(connection, budgets, _budget_row(budget)))

    async def recount(self, budget: Budget, moment: datetime) -> None:
        """See `Books.recount`."""
        await self._database.write(partial(_recount, budget=budget, moment=moment))

    async def delete_budget(self, budget_id: str) -> bool:
        """See `Books.delete_budget`."""
        deletion = budgets.delete().where(budgets.c.id == budget_id)
        return await self._database.write(lambda connection: bool(connection.execute(deletion).rowcount))

    async def counted(self, budget: Budget, moment: datetime, limit: int) -> Sequence[Counted]:
        """See `Books.counted`."""
        return await self._database.read(partial(_counted, budget=budget, moment=moment, limit=limit))

    async def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        """See `Books.usage`."""
        return await self._database.read(partial(_usage, query=query))

    async def add_alert(self, alert: Alert) -> bool:
        """See `Books.add_alert`."""
        return await self._database.write(lambda connection: insert_new(connection, alerts, _alert_row(alert)))

    async def delivered(self, alert_id: str) -> None:
        """See `Books.delivered`."""
        taken = alerts.update().where(alerts.c.id == alert_id).values(delivery=Delivery.DONE.value)
        await self._database.write(lambda connection: connection.execute(taken).rowcount)

    async def give_up(self, alert_id: str) -> bool:
        """See `Books.give_up`."""
        pending = alerts.update().where(alerts.c.id == alert_id, alerts.c.delivery == Delivery.PENDING.value)
        given_up = pending.values(delivery=Delivery.FAILED.value)
        return await self._database.write(lambda connection: bool(connection.execute(given_up).rowcount))

    async def alerts(self, *, since: datetime | None, before: str | None, limit: int) -> Sequence[Alert]:
        """See `Books.alerts`."""
        wanted = select(alerts).order_by(alerts.c.id.desc()).limit(limit)
        if since is not None:
            wanted = wanted.where(alerts.c.create_time >= rows.micros(since))
        if before is not None:
            wanted = wanted.where(alerts.c.id < before)
        return await self._database.read(lambda connection: [_alert(row) for row in connection.execute(wanted)])


# Budgets


def all_budgets(connection: Connection) -> list[Budget]:
    """Those that were set, by id."""
    return [_budget(row) for row in connection.execute(select(budgets).order_by(budgets.c.id))]


def _budget(row: Any) -> Budget:
    return Budget(
        id=row.id,
        counted=Kind(row.counted),
        key=row.key,
        unit=Unit(row.unit),
        window=Window(row.span),
        amount=row.amount,
        is_hard=bool(row.is_hard),
        thresholds=tuple(int(percent) for percent in row.thresholds.split(",")),
        tier=Tier(row.tier) if row.tier else None,
    )


def _budget_row(budget: Budget) -> dict[str, Any]:
    return {
        "id": budget.id,
        "counted": budget.counted.value,
        "key": budget.key,
        "unit": budget.unit.value,
        "span": budget.window.value,
        "amount": budget.amount,
        "is_hard": budget.is_hard,
        "thresholds": ",".join(map(str, budget.thresholds)),
        "tier": budget.tier.value if budget.tier else None,
    }


def _recount(connection: Connection, budget: Budget, moment: datetime) -> None:
    """Let the budget's scopes say what its attempts came to and what is held, and hold what runs without a hold there.

    Attempts are locked before scopes, as where they end, and scopes in the order of their names (`ledger.py`). So
    whatever ends meanwhile either has ended before anything is summed, or waits and finds its hold.
    """
    within = _within(budget, moment)
    everybody = select(*_WHOSE).where(*within).distinct()
    names = {*_stored(connection, budget, moment)}
    names |= {name for name, _ in _charged(connection, everybody, budget, moment)}
    unsettled = select(attempt.c.id, attempt.c.state, attempt.c.estimated_nanos, *_WHOSE)
    unsettled = unsettled.where(~_ENDED | MAY_CHANGE, *within).order_by(attempt.c.id).with_for_update()
    holds = [_hold_row(budget, name, row) for name, row in _charged(connection, unsettled, budget, moment)]
    names |= {row["scope"] for row in holds}
    for name in sorted(names):
        insert_new(connection, scope, {"scope": name, "settled": 0, "held": 0})
        connection.execute(select(scope.c.scope).where(scope.c.scope == name).with_for_update())
    insert_missing(connection, hold, holds)
    settled, held = _settled(connection, budget, moment), _held(connection, budget, moment)
    for name in sorted(names):
        sums = {"settled": settled[name], "held": held.get(name, 0)}
        connection.execute(scope.update().where(scope.c.scope == name).values(sums))


_WHOSE = (attempt.c.caller, attempt.c.tier, attempt.c.end_user, attempt.c.provider)
_ENDED = attempt.c.state == AttemptState.FINISHED.value
_OPEN = attempt.c.state != literal_column(f"'{AttemptState.FINISHED.value}'")
"""In the words of the index of open attempts, which SQLite takes for no others."""


def _charged(connection: Connection, of: Select[Any], budget: Budget, moment: datetime) -> Iterator[tuple[str, Any]]:
    """Rows of attempts, each with the scope under which the budget charges it."""
    for row in connection.execute(of):
        for key in keys(budget, _subject(row)):
            yield scope_of(budget, key, moment), row


def _hold_row(budget: Budget, name: str, row: Any) -> dict[str, Any]:
    return {
        "attempt_id": row.id,
        "scope": name,
        "unit": budget.unit.value,
        "amount": row.estimated_nanos if budget.unit is Unit.USD else 1,
        "settled": row.state == AttemptState.FINISHED.value,
    }


def _settled(connection: Connection, budget: Budget, moment: datetime) -> Counter[str]:
    """What the attempts of the window came to, by scope."""
    came_to = attempt.c.cost_nanos if budget.unit is Unit.USD else attempt.c.pictures
    sums = select(*_WHOSE, func.sum(came_to).label("amount")).where(_ENDED, *_within(budget, moment)).group_by(*_WHOSE)
    found: Counter[str] = Counter()
    for name, row in _charged(connection, sums, budget, moment):
        found[name] += int(row.amount)
    return found


def _held(connection: Connection, budget: Budget, moment: datetime) -> dict[str, int]:
    """What the open holds come to, by scope."""
    of_open = hold.c.attempt_id.in_(select(attempt.c.id).where(_OPEN))
    sums = select(hold.c.scope, func.sum(hold.c.amount).label("amount")).group_by(hold.c.scope)
    sums = sums.where(of_open, ~hold.c.settled, _is_of(hold.c.scope, budget, moment))
    return {row.scope: int(row.amount) for row in connection.execute(sums)}


def _stored(connection: Connection, budget: Budget, moment: datetime) -> dict[str, int]:
    """What is settled under the budget's scopes, as the ledger has it."""
    wanted = select(scope.c.scope, scope.c.settled).where(_is_of(scope.c.scope, budget, moment))
    return {row.scope: row.settled for row in connection.execute(wanted)}


def _is_of(name: ColumnElement[str], budget: Budget, moment: datetime) -> ColumnElement[bool]:
    """Whether a scope is one of the budget's in the window of a moment."""
    if budget.key != EACH:
        return name == scope_of(budget, budget.key, moment)
    return name.startswith(scope_prefix(budget, moment), autoescape=True)


def miscounted(connection: Connection, budget: Budget, moment: datetime) -> dict[str, tuple[int, int]]:
    """The budget's scopes under which something else is settled than their attempts came to: stored and computed."""
    stored, settled = _stored(connection, budget, moment), _settled(connection, budget, moment)
    both = {name: (stored.get(name, 0), settled[name]) for name in stored.keys() | settled.keys()}
    return {name: sums for name, sums in sorted(both.items()) if sums[0] != sums[1]}


def _within(budget: Budget, moment: datetime) -> tuple[ColumnElement[bool], ...]:
    window = span(budget.window, moment)
    return _between(window.start, window.end)


def _between(since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    """Attempts that began in a time; by day too, for that is what there is an index for."""
    first, last = (each.astimezone(UTC).date().isoformat() for each in (since, until))
    return (
        attempt.c.day.between(first, last),
        attempt.c.create_time >= rows.micros(since),
        attempt.c.create_time < rows.micros(until),
    )


def _subject(row: Any) -> Subject:
    """Whose an attempt's row is."""
    return Subject(row.caller, Tier(row.tier), row.end_user, (row.provider,))


def _counted(connection: Connection, budget: Budget, moment: datetime, limit: int) -> list[Counted]:
    amount = (scope.c.settled + scope.c.held).label("amount")
    wanted = select(scope.c.scope, amount, scope.c.held)
    if budget.key != EACH:
        row = connection.execute(wanted.where(scope.c.scope == scope_of(budget, budget.key, moment))).one_or_none()
        return [Counted(budget.key, row.amount, row.held) if row else Counted(budget.key, 0, 0)]
    prefix = scope_prefix(budget, moment)
    most = wanted.where(_is_of(scope.c.scope, budget, moment)).order_by(amount.desc(), scope.c.scope).limit(limit)
    return [Counted(row.scope.removeprefix(prefix), row.amount, row.held) for row in connection.execute(most)]


# Usage

_GROUPS: Mapping[Group, ColumnElement[Any]] = {
    Group.PROVIDER: attempt.c.provider,
    Group.MODEL: attempt.c.model,
    Group.VERSION: attempt.c.served_version,
    Group.CALLER: attempt.c.caller,
    Group.END_USER: attempt.c.end_user,
    Group.TIER: attempt.c.tier,
    Group.WORKFLOW: attempt.c.workflow,
    Group.ROW: attempt.c.row_name,
    Group.DAY: attempt.c.day,
    Group.GENERATION: attempt.c.generation_id,
}


def _usage(connection: Connection, query: UsageQuery) -> list[UsageRow]:
    groups = [_GROUPS[each] for each in query.group_by]
    wanted = select(*groups, *_SUMS).where(*_between(query.since, query.until)).group_by(*groups)
    if query.caller is not None:
        wanted = wanted.where(attempt.c.caller == query.caller)
    if query.unknown_only:
        wanted = wanted.where(attempt.c.cost_basis == CostBasis.UNKNOWN.value)
    if query.most is not None:
        wanted = wanted.order_by(func.sum(attempt.c.cost_nanos).desc(), *groups).limit(query.most)
    found = [_usage_row(row, len(groups)) for row in connection.execute(wanted) if row.entries]
    return sorted(found, key=lambda row: (-row.sums.nanos, row.keys))


def _cost(basis: CostBasis) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((attempt.c.cost_basis == basis.value, attempt.c.cost_nanos), else_=0)), 0)


_SUMS = (
    _cost(CostBasis.REPORTED).label("reported"),
    _cost(CostBasis.RECONCILED).label("reconciled"),
    _cost(CostBasis.ESTIMATED).label("estimated"),
    _cost(CostBasis.UNKNOWN).label("unknown"),
    func.count(attempt.c.sent_time).label("attempts"),
    func.coalesce(func.sum(attempt.c.pictures), 0).label("pictures"),
    func.count().label("entries"),
)


def _usage_row(row: Any, groups: int) -> UsageRow:
    # PostgreSQL sums integers as decimals.
    reported, reconciled, estimated, unknown = map(int, (row.reported, row.reconciled, row.estimated, row.unknown))
    sums = Sums(reported, estimated, unknown, int(row.attempts), int(row.pictures), reconciled)
    return UsageRow(tuple(key or "" for key in row[:groups]), sums)


# Alerts


def _alert_row(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "occasion": alert.occasion,
        "kind": alert.kind,
        "subject": alert.subject,
        "text": rows.storable(alert.text),
        "create_time": rows.micros(alert.create_time),
        "delivery": alert.delivery.value,
    }


def _alert(row: Any) -> Alert:
    return Alert(
        id=row.id,
        occasion=row.occasion,
        kind=row.kind,
        subject=row.subject,
        text=row.text,
        create_time=rows.time(row.create_time),
        delivery=Delivery(row.delivery),
    )
