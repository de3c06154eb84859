"""Money in SQL: reserve, settle, release, in integer nano-USD, or in pictures.

- A scope's row holds what is settled and what is held under it. Reserving is one guarded update per scope, so that no
  number of racing callers passes a cap; all scopes of an opening change in one transaction, or none.
- A hold is a row per attempt and scope, resolved at most once. Settling moves exactly what that row says out of
  `held`, in the scope in which it was reserved, and posts what was really charged, be it more than was held.
- Scopes are updated in the order of their names, whoever comes: two transactions never wait for each other. The order
  is Python's: a server's own depends on its language.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, select

from pictord.domain.budget import Unit
from pictord.domain.generation import Attempt
from pictord.domain.money import CostBasis
from pictord.store.base import HoldRefused, SpendLimit, settled_amount
from pictord.store.schema import attempt as attempt_rows
from pictord.store.schema import hold, scope
from pictord.store.statements import Written, insert_new

MAY_CHANGE = attempt_rows.c.cost_basis.in_((CostBasis.UNKNOWN.value, CostBasis.RECONCILED.value))
"""An ended attempt whose charge an invoice, or a late picture, may correct: by its holds, which are kept for that."""

_NO_CAP = 2**63 - 1
_RESERVE = Written(
    scope.update()
    .where(scope.c.scope == bindparam("name"))
    .where(scope.c.settled + scope.c.held + bindparam("amount") <= bindparam("cap"))
    .values(held=scope.c.held + bindparam("amount"))
)
_SETTLE = Written(
    scope.update()
    .where(scope.c.scope == bindparam("name"))
    .values(
        held=scope.c.held - bindparam("freed"),
        settled=scope.c.settled + bindparam("posted"),
    )
)
_INSERT_HOLDS = Written(hold.insert())
_OPEN_HOLDS = Written(
    select(hold.c.scope, hold.c.unit, hold.c.amount).where(
        hold.c.attempt_id == bindparam("attempt_id"), ~hold.c.settled
    )
)
_HOLDS = select(hold.c.scope, hold.c.unit).where(hold.c.attempt_id == bindparam("attempt_id"))
_CLOSE_HOLDS = Written(hold.update().where(hold.c.attempt_id == bindparam("attempt")).values(settled=True))
_SPENT = select(scope.c.settled + scope.c.held).where(scope.c.scope == bindparam("name"))


def reserve(connection: Connection, attempts: Sequence[Attempt], limits: Sequence[SpendLimit]) -> HoldRefused | None:
    """Hold every attempt's estimate under every limit, or nothing at all and say what is left."""
    if not limits:
        return None
    needed = _needed(attempts, limits)
    if not needed:
        return None
    # A single limit is taken or not by itself; of several, none stays taken if one has no room.
    savepoint = connection.begin_nested() if len(needed) > 1 else None
    for limit, amount in needed:
        if not _take(connection, limit, amount):
            if savepoint:
                savepoint.rollback()
            return _refused(connection, needed)
    if savepoint:
        savepoint.commit()
    _INSERT_HOLDS.run(connection, *[row for limit, _ in needed for row in _hold_rows(limit, attempts)])
    return None


def _needed(attempts: Sequence[Attempt], limits: Sequence[SpendLimit]) -> list[tuple[SpendLimit, int]]:
    """The limits that charge one of the attempts, with what all of them need there, in the order of the names."""
    charging = [limit for limit in limits if any(limit.charges(attempt) for attempt in attempts)]
    charging.sort(key=lambda limit: limit.scope)
    return [(limit, sum(limit.hold_for(each) for each in attempts if limit.charges(each))) for limit in charging]


def _hold_rows(limit: SpendLimit, attempts: Iterable[Attempt]) -> list[dict[str, Any]]:
    return [
        {
            "attempt_id": attempt.id,
            "scope": limit.scope,
            "unit": limit.unit.value,
            "amount": limit.hold_for(attempt),
            "settled": False,
        }
        for attempt in attempts
        if limit.charges(attempt)
    ]


def _take(connection: Connection, limit: SpendLimit, needed: int) -> bool:
    cap = _NO_CAP if limit.cap is None else limit.cap
    taking = {"name": limit.scope, "amount": needed, "cap": cap}
    if _RESERVE.run(connection, taking).rowcount:
        return True
    if needed > cap:
        return False
    # No room, or no row: the scope's first spender makes it, and has room.
    insert_new(connection, scope, {"scope": limit.scope, "settled": 0, "held": 0})
    return bool(_RESERVE.run(connection, taking).rowcount)


def _refused(connection: Connection, needed: Sequence[tuple[SpendLimit, int]]) -> HoldRefused:
    """The first limit without room; if room was made meanwhile, the tightest one."""
    capped = [(limit, amount, limit.cap) for limit, amount in needed if limit.cap is not None]
    room = [HoldRefused(limit, amount, cap - spent(connection, limit.scope)) for limit, amount, cap in capped]
    short = [each for each in room if each.available < each.needed]
    refused = short[0] if short else min(room, key=lambda each: each.available - each.needed)
    return replace(refused, available=max(refused.available, 0))


def settle(connection: Connection, attempt: Attempt, pictures: int) -> None:
    """Resolve an attempt's holds at its cost and pictures; what is resolved already stays as it is."""
    holds = _OPEN_HOLDS.run(connection, {"attempt_id": attempt.id}).all()
    if not holds:
        return
    for each in sorted(holds, key=lambda each: each.scope):
        posted = settled_amount(Unit(each.unit), attempt, pictures)
        _SETTLE.run(connection, {"name": each.scope, "freed": each.amount, "posted": posted})
    _CLOSE_HOLDS.run(connection, {"attempt": attempt.id})


def correct(connection: Connection, attempt: Attempt, pictures: int, *, charged_nanos: int) -> None:
    """Charge an attempt at its cost and pictures that was charged at so much, and as no picture, before."""
    holds = connection.execute(_HOLDS, {"attempt_id": attempt.id}).all()
    for name, unit in sorted(holds, key=lambda each: each.scope):
        charged = charged_nanos if Unit(unit) is Unit.USD else 0
        more = settled_amount(Unit(unit), attempt, pictures) - charged
        _SETTLE.run(connection, {"name": name, "freed": 0, "posted": more})


def spent(connection: Connection, name: str) -> int:
    """Everything settled and held under a scope."""
    return connection.execute(_SPENT, {"name": name}).scalar_one_or_none() or 0


def forget_scopes(connection: Connection, names: Sequence[str]) -> None:
    """Remove scopes that nothing can be charged under any more."""
    if names:
        connection.execute(scope.delete().where(scope.c.scope.in_(names)))
