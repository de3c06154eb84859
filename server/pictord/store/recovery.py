"""What processes that died left open, brought to its end: by each attempt's state, never by its age.

An intent was never sent: its hold is released. What was marked sent may have been paid for: it is charged at its
estimate, as unknown, until it is reconciled or its picture turns up after all. Nothing is sent again. The reasons are
those with which jobs end at a shutdown (`jobs/output.py`).

Whose replica has no row (`replicas.py`) is dead. Its generations are taken first, by a stamp, so that a process which
only seemed to be dead, and another one that resolves too, wait for the end of it or have been before.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, bindparam, case, func, select

from pictord.domain.budget import Unit
from pictord.domain.generation import AttemptState, State
from pictord.domain.money import CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.store.schema import attempt, claim, generation, hold, image, output, replica, scope

TEXT = "the gateway was shut down"
_TAKEN = "recovery"
"""The stamp of what is being resolved."""
_OPEN = generation.c.kept_since.is_(None)
_IS_NOBODYS = _OPEN & (generation.c.replica.is_(None) | generation.c.replica.not_in(select(replica.c.id)))
_OURS = select(generation.c.id).where(_OPEN, generation.c.replica == _TAKEN)
_UNFINISHED = (attempt.c.state != AttemptState.FINISHED.value) & attempt.c.generation_id.in_(_OURS)
_SENT = attempt.c.state == AttemptState.SENT.value


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did: attempts released and charged as unknown, generations brought to their end."""

    released: int
    unknown: int
    generations: int


def disown(connection: Connection, ids: Collection[str]) -> None:
    """Let generations that are open be nobody's."""
    connection.execute(generation.update().where(_OPEN, generation.c.id.in_(ids)).values(replica=None))


def is_needed(connection: Connection) -> bool:
    """Whether anything is open that is nobody's."""
    return connection.execute(select(generation.c.id).where(_IS_NOBODYS).limit(1)).first() is not None


def recover(connection: Connection, now: int) -> Recovered:
    """Resolve every attempt and end every generation that is nobody's; `now` in microseconds since 1970."""
    if not connection.execute(generation.update().where(_IS_NOBODYS).values(replica=_TAKEN)).rowcount:
        return Recovered(0, 0, 0)
    columns = attempt.c.generation_id, attempt.c.output_index, attempt.c.state
    unfinished = connection.execute(select(*columns).where(_UNFINISHED).with_for_update()).all()
    sent_outputs = {(each[0], each[1]) for each in unfinished if each[2] == AttemptState.SENT.value}
    sent = sum(each[2] == AttemptState.SENT.value for each in unfinished)
    _resolve_holds(connection)
    _finish_attempts(connection, now)
    ended = _end_generations(connection, sent_outputs, now)
    return Recovered(len(unfinished) - sent, sent, ended)


def _resolve_holds(connection: Connection) -> None:
    # An answer that was lost brought no picture.
    posted = case((_SENT & (hold.c.unit == Unit.USD.value), hold.c.amount), else_=0)
    sums = (
        select(hold.c.scope, func.sum(hold.c.amount).label("freed"), func.sum(posted).label("posted"))
        .join(attempt, attempt.c.id == hold.c.attempt_id)
        .where(_UNFINISHED, ~hold.c.settled)
        .group_by(hold.c.scope)
    )
    # In the order of their names, as everywhere (`ledger.py`).
    found = [
        {"name": row.scope, "freed": int(row.freed), "posted": int(row.posted)}
        for row in sorted(connection.execute(sums), key=lambda each: each.scope)
    ]
    if found:
        connection.execute(
            scope.update()
            .where(scope.c.scope == bindparam("name"))
            .values(
                held=scope.c.held - bindparam("freed"),
                settled=scope.c.settled + bindparam("posted"),
            ),
            found,
        )
    unfinished = select(attempt.c.id).where(_UNFINISHED)
    connection.execute(hold.update().where(hold.c.attempt_id.in_(unfinished)).values(settled=True))


def _finish_attempts(connection: Connection, now: int) -> None:
    connection.execute(
        attempt.update()
        .where(_UNFINISHED)
        .values(
            outcome=case((_SENT, Outcome.SHUTDOWN.value), else_=Outcome.CANCELLED.value),
            cost_nanos=case((_SENT, attempt.c.estimated_nanos), else_=0),
            cost_basis=case((_SENT, CostBasis.UNKNOWN.value), else_=CostBasis.REPORTED.value),
            state=AttemptState.FINISHED.value,
            detail=TEXT,
            finish_time=now,
        )
    )


def _end_generations(connection: Connection, sent_outputs: set[tuple[str, int]], now: int) -> int:
    columns = generation.c.id, generation.c.output_count
    found = connection.execute(select(*columns).where(generation.c.id.in_(_OURS))).all()
    outputs = _ended_outputs(connection)
    costs, refused = _costs(connection)
    missing: list[dict[str, Any]] = []
    endings: list[dict[str, Any]] = []
    freed: list[dict[str, str]] = []
    for row in found:
        whole = dict(outputs[row.id])
        for index in range(row.output_count):
            if index not in whole:
                whole[index] = _lost_output(row.id, index, costs, was_sent=(row.id, index) in sent_outputs)
                missing.append(whole[index])
        ending = _ending(whole, now)
        endings.append({"generation": row.id, **ending})
        spent = any(costs[row.id].values())
        if ending["new_state"] != State.SUCCEEDED.value and not spent and row.id not in refused:
            freed.append({"generation": row.id})
    _write(connection, missing, endings, freed)
    return len(found)


def _ended_outputs(connection: Connection) -> defaultdict[str, dict[int, dict[str, Any]]]:
    of_open = output.c.generation_id.in_(_OURS)
    outputs: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in connection.execute(select(output).where(of_open)).mappings():
        outputs[row["generation_id"]][row["output_index"]] = dict(row)
    return outputs


def _costs(connection: Connection) -> tuple[defaultdict[str, dict[int, int]], set[str]]:
    """Nano-USD by generation and output, and the generations of which an attempt was refused."""
    of_open = attempt.c.generation_id.in_(_OURS)
    columns = attempt.c.generation_id, attempt.c.output_index, attempt.c.cost_nanos, attempt.c.outcome
    costs: defaultdict[str, dict[int, int]] = defaultdict(dict)
    refused = set()
    for generation_id, index, nanos, outcome in connection.execute(select(*columns).where(of_open)):
        costs[generation_id][index] = costs[generation_id].get(index, 0) + nanos
        if outcome == Outcome.REFUSED.value:
            refused.add(generation_id)
    return costs, refused


def _lost_output(
    generation_id: str,
    index: int,
    costs: defaultdict[str, dict[int, int]],
    *,
    was_sent: bool,
) -> dict[str, Any]:
    if was_sent:
        state, reason = State.FAILED, Reason.SHUTTING_DOWN
    elif costs[generation_id].get(index):
        state, reason = State.FAILED, Reason.PROVIDER_FAILED
    else:
        state, reason = State.CANCELLED, Reason.CANCELLED
    return {
        "generation_id": generation_id,
        "output_index": index,
        "state": state.value,
        "image_id": None,
        "reason": reason.value,
        "text": TEXT,
    }


def _ending(outputs: dict[int, dict[str, Any]], now: int) -> dict[str, Any]:
    ordered = [outputs[index] for index in sorted(outputs)]
    worst = next((each for each in ordered if each["state"] == State.FAILED.value), ordered[0])
    is_success = any(each["state"] == State.SUCCEEDED.value for each in ordered)
    return {
        "new_state": State.SUCCEEDED.value if is_success else worst["state"],
        "new_reason": None if is_success else worst["reason"],
        "new_text": "" if is_success else worst["text"],
        "now": now,
    }


def _write(
    connection: Connection,
    missing: list[dict[str, Any]],
    endings: list[dict[str, Any]],
    freed: list[dict[str, str]],
) -> None:
    if missing:
        connection.execute(output.insert(), missing)
    # There are few ways to end, and a round trip for each of many generations takes a server seconds.
    alike: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for each in endings:
        alike[each["new_state"], each["new_reason"], each["new_text"], each["now"]].append(each["generation"])
    for (state, reason, text, now), ids in alike.items():
        values = {"state": state, "reason": reason, "text": text, "finish_time": now, "kept_since": now}
        if state == State.SUCCEEDED.value:
            values |= {"model": _drawn(image.c.model), "served_version": _drawn(image.c.served_version)}
        for some in _batches(ids):
            connection.execute(generation.update().where(generation.c.id.in_(some)).values(values))
    for some in _batches([each["generation"] for each in freed]):
        connection.execute(claim.delete().where(claim.c.generation_id.in_(some)))


def _drawn(fact: Column[str]) -> Any:
    """What a generation's first picture says."""
    first = select(fact).where(image.c.generation_id == generation.c.id).order_by(image.c.output_index).limit(1)
    return first.scalar_subquery()


def _batches(ids: list[str]) -> Iterator[list[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


_BATCH = 1000
