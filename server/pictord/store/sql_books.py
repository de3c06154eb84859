"""`Books` in SQL: budgets and alerts are rows, what counts are the ledger's scopes, usage is summed from attempts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, literal, select

from pictord.domain.alert import Alert, Delivery
from pictord.domain.budget import EACH, Budget, Span, Subject, Unit, Window, keys, scope_prefix, span
from pictord.domain.budget import Counted as Kind
from pictord.domain.budget import scope as scope_of
from pictord.domain.generation import AttemptState
from pictord.domain.money import CostBasis
from pictord.domain.request import Tier
from pictord.domain.usage import Group, Sums, UsageQuery, UsageRow
from pictord.store import rows
from pictord.store.books import Counted
from pictord.store.database import Database
from pictord.store.schema import alert as alerts
from pictord.store.schema import attempt, hold, scope
from pictord.store.schema import budget as budgets
from pictord.store.statements import insert_new, insert_or_update


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
    """Set what is settled; what is held stays held: those are rows that will be settled.

    The scopes are locked before anything is summed: whatever settles meanwhile waits, and comes on top.
    """
    spent = _spent(connection, budget, moment)
    names = sorted({*_scope_names(connection, budget, moment), *spent})
    for name in names:
        insert_new(connection, scope, {"scope": name, "settled": 0, "held": 0})
    for name in names:
        connection.execute(select(scope.c.scope).where(scope.c.scope == name).with_for_update())
    spent = _spent(connection, budget, moment)
    for name in names:
        connection.execute(scope.update().where(scope.c.scope == name).values(settled=spent.get(name, 0)))


def _spent(connection: Connection, budget: Budget, moment: datetime) -> Counter[str]:
    """What was spent in the window by scope, and what runs there without being held under it."""
    window = span(budget.window, moment)
    whose = (attempt.c.caller, attempt.c.tier, attempt.c.end_user, attempt.c.provider)
    ended = attempt.c.state == AttemptState.FINISHED.value
    is_usd = budget.unit is Unit.USD
    came_to = attempt.c.cost_nanos if is_usd else attempt.c.pictures
    sums = select(*whose, func.sum(came_to).label("amount")).where(ended, *_within(window)).group_by(*whose)
    at_worst = attempt.c.estimated_nanos if is_usd else literal(1)
    open_ones = select(attempt.c.id, *whose, at_worst.label("amount")).where(~ended, *_within(window))
    found: Counter[str] = Counter()
    for row in connection.execute(sums):
        for key in keys(budget, subject(row)):
            found[scope_of(budget, key, moment)] += int(row.amount)
    for running in connection.execute(open_ones):
        for key in keys(budget, subject(running)):
            name = scope_of(budget, key, moment)
            if not _is_held(connection, running.id, name):
                found[name] += int(running.amount)
    return found


def _within(window: Span) -> tuple[ColumnElement[bool], ...]:
    return _between(window.start, window.end)


def _between(since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    """Attempts that began in a time; by day too, for that is what there is an index for."""
    first, last = (each.astimezone(UTC).date().isoformat() for each in (since, until))
    return (
        attempt.c.day.between(first, last),
        attempt.c.create_time >= rows.micros(since),
        attempt.c.create_time < rows.micros(until),
    )


def subject(row: Any) -> Subject:
    """Whose an attempt's row is."""
    return Subject(row.caller, Tier(row.tier), row.end_user, (row.provider,))


def _is_held(connection: Connection, attempt_id: str, name: str) -> bool:
    wanted = select(hold.c.scope).where(hold.c.attempt_id == attempt_id, hold.c.scope == name, ~hold.c.settled)
    return connection.execute(wanted).one_or_none() is not None


def _counted(connection: Connection, budget: Budget, moment: datetime, limit: int) -> list[Counted]:
    amount = (scope.c.settled + scope.c.held).label("amount")
    wanted = select(scope.c.scope, amount, scope.c.held)
    if budget.key != EACH:
        row = connection.execute(wanted.where(scope.c.scope == scope_of(budget, budget.key, moment))).one_or_none()
        return [Counted(budget.key, row.amount, row.held) if row else Counted(budget.key, 0, 0)]
    prefix = scope_prefix(budget, moment)
    most = wanted.where(scope.c.scope.startswith(prefix, autoescape=True))
    most = most.order_by(amount.desc(), scope.c.scope).limit(limit)
    return [Counted(row.scope.removeprefix(prefix), row.amount, row.held) for row in connection.execute(most)]


def _scope_names(connection: Connection, budget: Budget, moment: datetime) -> list[str]:
    if budget.key != EACH:
        return [scope_of(budget, budget.key, moment)]
    prefix = scope_prefix(budget, moment)
    return list(
        connection.execute(select(scope.c.scope).where(scope.c.scope.startswith(prefix, autoescape=True))).scalars()
    )


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
