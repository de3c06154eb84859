"""Generations, attempts, outputs and pictures in SQL: what each step of an attempt writes, and how it is read again.

Plain functions over a connection: whoever calls them gives them a transaction of their own (`database.py`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import Connection, bindparam, select

from pictord.domain.generation import Attempt, AttemptState, Generation, Image, Output, State
from pictord.domain.money import Cost, CostBasis
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.store import ledger, record, retention, rows
from pictord.store.base import (
    Conflict,
    Ending,
    HoldRefused,
    Joined,
    Opened,
    Opening,
    OwnedImage,
    Replayed,
    SpendLimit,
)
from pictord.store.progress import with_attempts
from pictord.store.schema import attempt as attempts
from pictord.store.schema import claim as claims
from pictord.store.schema import generation as generations
from pictord.store.schema import image as images
from pictord.store.schema import input_picture as inputs
from pictord.store.schema import label as labels
from pictord.store.schema import output as outputs
from pictord.store.schema import tombstone as tombstones
from pictord.store.statements import Written, insert_new, insert_or_update

_INSERT_GENERATIONS = Written(generations.insert())
_INSERT_ATTEMPTS = Written(attempts.insert())
_INSERT_IMAGES = Written(images.insert())
_INSERT_LABELS = labels.insert()
_INSERT_INPUTS = inputs.insert()

# Opening

_CLAIM = select(claims.c.fingerprint, claims.c.generation_id).where(
    claims.c.caller == bindparam("caller"), claims.c.request_id == bindparam("request_id")
)


def claimed(
    connection: Connection, caller: str, request_id: str, fingerprint: str
) -> Joined | Replayed | Conflict | None:
    """See `Store.claimed`."""
    claim = connection.execute(_CLAIM, {"caller": caller, "request_id": request_id}).one_or_none()
    if claim is None:
        return None
    if claim.fingerprint != fingerprint:
        return Conflict(claim.generation_id)
    generation = get(connection, claim.generation_id)
    if generation is None or not generation.state.is_final:
        return Joined(claim.generation_id)
    return Replayed(generation)


def open_generation(
    connection: Connection, opening: Opening, replica: str | None = None
) -> Opened | Joined | Replayed | Conflict | HoldRefused:
    """See `Store.open`; `replica` is the process in which it will run."""
    generation = opening.generation
    if generation.request.request_id:
        answer = _claim(connection, opening, generation.request.request_id)
        if answer is not None:
            return answer
    refused = ledger.reserve(connection, opening.attempts, opening.limits)
    if refused is not None:
        _free_claim(connection, generation.id)
        return refused
    _INSERT_GENERATIONS.run(connection, rows.generation_row(opening, replica))
    first = [rows.first_attempt_row(opening, attempt) for attempt in opening.attempts]
    if first:
        _INSERT_ATTEMPTS.run(connection, *first)
    _insert_details(connection, opening)
    return Opened(with_attempts(generation, opening.attempts))


def _claim(connection: Connection, opening: Opening, request_id: str) -> Joined | Replayed | Conflict | None:
    """Take the request id. Where another transaction is taking it, the database waits for that one's end."""
    caller, generation_id = opening.generation.caller, opening.generation.id
    names = {"caller": caller, "request_id": request_id}
    row = {**names, "fingerprint": opening.fingerprint, "generation_id": generation_id}
    while not insert_new(connection, claims, row):
        answer = claimed(connection, caller, request_id, opening.fingerprint)
        if answer is not None:
            return answer
        # Who had it has just let go of it.
    return None


def _free_claim(connection: Connection, generation_id: str) -> None:
    connection.execute(claims.delete().where(claims.c.generation_id == generation_id))


def _insert_details(connection: Connection, opening: Opening) -> None:
    generation_id, request = opening.generation.id, opening.generation.request
    if request.labels:
        connection.execute(
            _INSERT_LABELS,
            [{"generation_id": generation_id, "key": key, "value": value} for key, value in request.labels.items()],
        )
    if opening.inputs:
        connection.execute(
            _INSERT_INPUTS,
            [
                {"generation_id": generation_id, "sha256": sha256, "size_bytes": size_bytes}
                for sha256, size_bytes in opening.inputs.items()
            ],
        )


# Who resolves what a dead process left takes the generation's row first, so that either sees what the other did.
_GROUPING = (
    select(
        generations.c.caller,
        generations.c.end_user,
        generations.c.tier,
        generations.c.workflow,
        generations.c.row_name,
        generations.c.limits,
    )
    .where(generations.c.id == bindparam("generation_id"), generations.c.kept_since.is_(None))
    .with_for_update()
)


def open_attempt(
    connection: Connection, generation_id: str, attempt: Attempt, limits: Sequence[SpendLimit]
) -> HoldRefused | None:
    """See `Store.open_attempt`.

    Raises:
        GatewayError: STORE_UNAVAILABLE: another process has ended the generation.
    """
    found = connection.execute(_GROUPING, {"generation_id": generation_id}).mappings().one_or_none()
    if found is None:
        raise _taken_over()
    grouping = dict(found)
    own_limits = record.decode_limits(grouping.pop("limits"))
    refused = ledger.reserve(connection, (attempt,), (*own_limits, *limits))
    if refused is None:
        _INSERT_ATTEMPTS.run(connection, rows.attempt_row(attempt, grouping, generation_id))
    return refused


# Taking its course

_SEND = Written(
    attempts.update()
    .where(attempts.c.id == bindparam("attempt_id"), attempts.c.state == AttemptState.INTENT.value)
    .values(state=AttemptState.SENT.value, sent_time=bindparam("at"))
)
_RUN = Written(
    generations.update()
    .where(generations.c.id == bindparam("generation_id"), generations.c.state == State.PENDING.value)
    .values(state=State.RUNNING.value)
)
_FINISH_ATTEMPT = Written(
    attempts.update()
    .where(attempts.c.id == bindparam("attempt_id"), attempts.c.state != AttemptState.FINISHED.value)
    .values({name: bindparam(f"new_{name}") for name in rows.COURSE})
)


_ASSUMED = (
    select(attempts.c.cost_nanos, attempts.c.cost_basis)
    .where(
        attempts.c.id == bindparam("attempt_id"),
        ledger.MAY_CHANGE,
        attempts.c.pictures == 0,
    )
    .with_for_update()
)
_LEARN = (
    attempts.update()
    .where(attempts.c.id == bindparam("attempt_id"))
    .values({name: bindparam(f"new_{name}") for name in rows.COURSE})
)
_CALLER = select(attempts.c.caller).where(attempts.c.id == bindparam("attempt_id"))
_LIFT = (
    generations.update()
    .where(
        generations.c.id == bindparam("generation_id"),
        generations.c.kept_since.is_not(None),
        generations.c.state != State.SUCCEEDED.value,
    )
    .values(
        state=State.SUCCEEDED.value,
        reason=None,
        text="",
        model=bindparam("drawn_model"),
        served_version=bindparam("drawn_version"),
    )
)
_THERE = select(generations.c.id).where(generations.c.id == bindparam("generation_id"))
_ENDED = _THERE.where(generations.c.kept_since.is_not(None))


def _taken_over() -> GatewayError:
    """This process was away from the database for so long that another one resolved its work."""
    text = "the gateway was cut off from its database for too long; nothing more is sent for this generation"
    return GatewayError(Reason.STORE_UNAVAILABLE, text, retry_after_s=1.0)


class IntentMissing(RuntimeError):
    """An attempt has no row that could be marked sent: nothing may be sent for it."""


def mark_sent(connection: Connection, generation_id: str, attempt_id: str, sent_time: datetime) -> None:
    """See `Store.mark_sent`.

    Raises:
        IntentMissing: the attempt was never opened, was sent before, or has ended.
        GatewayError: STORE_UNAVAILABLE: another process has ended the generation.
    """
    if not _SEND.run(connection, {"attempt_id": attempt_id, "at": rows.micros(sent_time)}).rowcount:
        if connection.execute(_ENDED, {"generation_id": generation_id}).first() is not None:
            raise _taken_over()
        raise IntentMissing(attempt_id)
    _RUN.run(connection, {"generation_id": generation_id})


class Effect(Enum):
    """What came of recording the end of an attempt."""

    RECORDED = "recorded"
    NONE = "none"
    """It was recorded before."""
    DROPPED = "dropped"
    """Its generation was deleted while it was taken for lost: its money counts, its picture goes the same way."""


def finish_attempt(
    connection: Connection,
    generation: tuple[str, str | None],
    attempt: Attempt,
    image: Image | None,
    output: Output | None,
) -> Effect:
    """See `Store.finish_attempt`; `generation` is its id, and its caller if that is at hand."""
    generation_id, caller = generation
    is_late = not _FINISH_ATTEMPT.run(connection, _course(attempt, image)).rowcount
    if not is_late:
        ledger.settle(connection, attempt, int(image is not None))
    elif _learn(connection, attempt, image):
        _lift(connection, generation_id, image)
    else:
        return Effect.NONE
    if image is not None:
        if caller is None:
            caller = connection.execute(_CALLER, {"attempt_id": attempt.id}).scalar_one()
        row = rows.image_row(caller, image, generation_id=generation_id, kept_since=None)
        _INSERT_IMAGES.run(connection, row)
    if output is not None:
        _write_output(connection, generation_id, output)
    if is_late and connection.execute(_THERE, {"generation_id": generation_id}).first() is None:
        retention.drop(connection, [generation_id], _course(attempt, image)["new_finish_time"])
        return Effect.DROPPED
    return Effect.RECORDED


def _course(attempt: Attempt, image: Image | None) -> dict[str, Any]:
    row = rows.finished_row(attempt, image)
    return {name if name == "attempt_id" else f"new_{name}": value for name, value in row.items()}


def _learn(connection: Connection, attempt: Attempt, image: Image | None) -> bool:
    """Replace what was assumed of an attempt that was taken for lost by what it came to; whether there was any.

    Once the provider's invoice has settled it, its cost stays: that is part of a sum that agrees. The picture is new.
    """
    assumed = connection.execute(_ASSUMED, {"attempt_id": attempt.id}).one_or_none()
    if assumed is None or attempt.cost.basis is CostBasis.UNKNOWN:
        return False
    if assumed.cost_basis == CostBasis.RECONCILED.value:
        if image is None:
            return False
        attempt = replace(attempt, cost=Cost(assumed.cost_nanos, CostBasis.RECONCILED))
    connection.execute(_LEARN, _course(attempt, image))
    ledger.correct(connection, attempt, int(image is not None), charged_nanos=assumed.cost_nanos)
    return True


def _lift(connection: Connection, generation_id: str, image: Image | None) -> None:
    """A generation that was ended without a picture has one after all."""
    if image is not None:
        drawn = {"drawn_model": image.model, "drawn_version": rows.name(image.served_version)}
        connection.execute(_LIFT, {"generation_id": generation_id, **drawn})


def finish_output(connection: Connection, generation_id: str, output: Output) -> None:
    """See `Store.finish_output`; of what was deleted meanwhile no word is written."""
    if has_generation(connection, generation_id):
        _write_output(connection, generation_id, output)


def _write_output(connection: Connection, generation_id: str, output: Output) -> None:
    insert_or_update(connection, outputs, rows.output_row(generation_id, output))


_FINISH = Written(
    generations.update()
    .where(generations.c.id == bindparam("generation_id"))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("state", "reason", "text", "queue_s", "provider_s", "store_s", "overhead_s")
        }
        | {
            "finish_time": bindparam("new_finish_time"),
            "kept_since": bindparam("new_kept_since"),
            "served_version": bindparam("new_served_version"),
        }
    )
)
_DREW = (
    generations.update()
    .where(generations.c.id == bindparam("generation_id"), generations.c.model != bindparam("drawn_model"))
    .values(model=bindparam("drawn_model"))
)


def finish(connection: Connection, ended: Generation, ending: Ending, *, keep: bool, now: int) -> None:
    """Record the end of a generation, whose record at the end is `ended`."""
    row = rows.ending_row(ended.id, ending, ended.images, now)
    generation_id, drawn_model = row.pop("generation_id"), row.pop("drawn_model")
    values = {f"new_{name}": value for name, value in row.items()}
    _FINISH.run(connection, {"generation_id": generation_id, **values})
    if drawn_model is not None and drawn_model != ended.plan.candidates[0].model:
        connection.execute(_DREW, {"generation_id": generation_id, "drawn_model": drawn_model})
    if not keep:
        _free_claim(connection, generation_id)


# Reading

_HAS_GENERATION = select(generations.c.id).where(generations.c.id == bindparam("generation_id"))
_HAS_ATTEMPT = select(attempts.c.id).where(attempts.c.id == bindparam("attempt_id"))
_GENERATION = select(generations).where(generations.c.id == bindparam("generation_id"))
_IDS: Any = bindparam("ids", expanding=True)
_ATTEMPTS = select(attempts).where(attempts.c.generation_id.in_(_IDS)).order_by(attempts.c.create_time, attempts.c.id)
_OUTPUTS = select(outputs).where(outputs.c.generation_id.in_(_IDS))
_IMAGES = select(images).where(images.c.generation_id.in_(_IDS))
_IMAGE = select(images).where(images.c.id == bindparam("image_id"))
_EXPIRED = select(tombstones.c.caller).where(tombstones.c.id == bindparam("record_id"))


def has_generation(connection: Connection, generation_id: str) -> bool:
    """Whether there is a record."""
    return connection.execute(_HAS_GENERATION, {"generation_id": generation_id}).first() is not None


def has_attempt(connection: Connection, attempt_id: str) -> bool:
    """Whether its intent is recorded."""
    return connection.execute(_HAS_ATTEMPT, {"attempt_id": attempt_id}).first() is not None


def get(connection: Connection, generation_id: str) -> Generation | None:
    """See `Store.get`."""
    found = connection.execute(_GENERATION, {"generation_id": generation_id}).all()
    return next(iter(whole(connection, found)), None)


def find(connection: Connection, caller: str, request_id: str) -> Generation | None:
    """See `Store.find`."""
    claim = connection.execute(_CLAIM, {"caller": caller, "request_id": request_id}).one_or_none()
    return None if claim is None else get(connection, claim.generation_id)


def whole(connection: Connection, found: Sequence[Any]) -> list[Generation]:
    """The records of these rows, in their order, with attempts, outputs and pictures."""
    if not found:
        return []
    ids = {"ids": [row.id for row in found]}
    made: defaultdict[str, list[Attempt]] = defaultdict(list)
    for row in connection.execute(_ATTEMPTS, ids):
        made[row.generation_id].append(rows.attempt(row))
    pictures = {row.id: rows.image(row) for row in connection.execute(_IMAGES, ids)}
    ended: defaultdict[str, dict[int, Output]] = defaultdict(dict)
    for row in connection.execute(_OUTPUTS, ids):
        ended[row.generation_id][row.output_index] = rows.output(row, pictures)
    return [rows.generation(row, made[row.id], ended[row.id]) for row in found]


# Pictures


def add_upload(connection: Connection, caller: str, image: Image, now: int) -> None:
    """See `Store.add_upload`."""
    row = rows.image_row(caller, image, generation_id=None, kept_since=now)
    again = images.update().where(images.c.id == image.id).values(kept_since=now)
    # Retention may drop it between the two.
    while not insert_new(connection, images, row) and not connection.execute(again).rowcount:
        pass


def image(connection: Connection, image_id: str) -> OwnedImage | None:
    """See `Store.image`."""
    row = connection.execute(_IMAGE, {"image_id": image_id}).one_or_none()
    return None if row is None else OwnedImage(row.caller, rows.image(row))


def expired(connection: Connection, record_id: str) -> str | None:
    """See `Store.expired`."""
    caller: str | None = connection.execute(_EXPIRED, {"record_id": record_id}).scalar_one_or_none()
    return caller
