"""Money in SQL: reserve, settle, release, in integer nano-USD.

- A scope's row holds what is settled and what is held under it. Reserving is one guarded update per scope, so that no
  number of racing callers passes a cap; all scopes of an opening change in one transaction, or none.
- A hold is a row per attempt and scope, resolved at most once. Settling moves exactly what that row says out of
  `held`, in the scope in which it was reserved, and posts what was really charged, be it more than was held.
- Scopes are updated in the order of their names, whoever comes: two transactions never wait for each other.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, select

from pictord.domain.generation import Attempt
from pictord.store.base import HoldRefused, SpendLimit
from pictord.store.schema import hold, scope
from pictord.store.statements import insert_new

_RESERVE = (
    scope.update()
    .where(scope.c.scope == bindparam("name"))
    .where(scope.c.settled_nanos + scope.c.held_nanos + bindparam("nanos") <= bindparam("cap"))
    .values(held_nanos=scope.c.held_nanos + bindparam("nanos"))
)
_SETTLE = (
    scope.update()
    .where(scope.c.scope == bindparam("name"))
    .values(
        held_nanos=scope.c.held_nanos - bindparam("held"),
        settled_nanos=scope.c.settled_nanos + bindparam("settled"),
    )
)
_OPEN_HOLDS = (
    select(hold.c.scope, hold.c.nanos)
    .where(hold.c.attempt_id == bindparam("attempt_id"), ~hold.c.settled)
    .order_by(hold.c.scope)
)
_CLOSE_HOLDS = hold.update().where(hold.c.attempt_id == bindparam("attempt")).values(settled=True)
_SPENT = select(scope.c.settled_nanos + scope.c.held_nanos).where(scope.c.scope == bindparam("name"))


def reserve(connection: Connection, attempts: Sequence[Attempt], limits: Sequence[SpendLimit]) -> HoldRefused | None:
    """Hold every attempt's estimate under every limit, or nothing at all and say what is left."""
    if not limits:
        return None
    needed = sum(attempt.estimated_nanos for attempt in attempts)
    savepoint = connection.begin_nested()
    for limit in sorted(limits, key=lambda limit: limit.scope):
        if not _take(connection, limit, needed):
            savepoint.rollback()
            return _refused(connection, needed, limits)
    savepoint.commit()
    connection.execute(
        hold.insert(),
        [
            {"attempt_id": attempt.id, "scope": name, "nanos": attempt.estimated_nanos, "settled": False}
            for attempt in attempts
            for name in sorted({limit.scope for limit in limits})
        ],
    )
    return None


def _take(connection: Connection, limit: SpendLimit, needed: int) -> bool:
    taking = {"name": limit.scope, "nanos": needed, "cap": limit.cap_nanos}
    if connection.execute(_RESERVE, taking).rowcount:
        return True
    # No room, or no row: the scope's first spender makes it.
    insert_new(connection, scope, {"scope": limit.scope, "settled_nanos": 0, "held_nanos": 0})
    return bool(connection.execute(_RESERVE, taking).rowcount)


def _refused(connection: Connection, needed: int, limits: Iterable[SpendLimit]) -> HoldRefused:
    room = [(limit.cap_nanos - spent(connection, limit.scope), limit) for limit in limits]
    available, limit = next((each for each in room if each[0] < needed), min(room, key=lambda each: each[0]))
    return HoldRefused(limit, needed, max(available, 0))


def settle(connection: Connection, attempt: Attempt) -> None:
    """Resolve an attempt's holds at its cost; what is resolved already stays as it is."""
    holds = connection.execute(_OPEN_HOLDS, {"attempt_id": attempt.id}).all()
    if not holds:
        return
    for name, nanos in holds:
        connection.execute(_SETTLE, {"name": name, "held": nanos, "settled": attempt.cost.nanos})
    connection.execute(_CLOSE_HOLDS, {"attempt": attempt.id})


def spent(connection: Connection, name: str) -> int:
    """Everything settled and held under a scope."""
    return connection.execute(_SPENT, {"name": name}).scalar_one_or_none() or 0


def forget_scopes(connection: Connection, limits: Iterable[SpendLimit]) -> None:
    """Remove the scopes that end with their generation."""
    names = [limit.scope for limit in limits if limit.ends_with_generation]
    if names:
        connection.execute(scope.delete().where(scope.c.scope.in_(names)))
