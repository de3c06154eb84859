"""Retention in SQL: what is old, or to be deleted, is dropped with its prompt and pictures; its money rows stay.

A picture is addressed by its content, so records may share one. The transaction that drops the last record of a
picture lists it as unreferenced; only after that transaction is its file deleted, unless a record came meanwhile, and
then the list forgets it. What a crash interrupts goes on from the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, literal_column, or_, select, union, union_all

from pictord.store import ledger, record
from pictord.store.base import Deleted, Deletion
from pictord.store.schema import (
    attempt,
    claim,
    generation,
    hold,
    image,
    input_picture,
    label,
    output,
    rating,
    tombstone,
    unreferenced,
)
from pictord.store.statements import insert_missing

_REMEMBERED_MICROS = 400 * 24 * 3600 * 1_000_000
"""How long `expired` knows what was dropped: somewhat more than a year."""


@dataclass(frozen=True, slots=True)
class SqlRetention:
    """How long finished work is kept.

    `keep_s` must be at least 72 hours where request ids are to be remembered that long (design, section 5): a claim
    goes with its generation. `batch` things at most are dropped in one transaction, so that nobody waits long for it.
    """

    keep_s: float = 30 * 24 * 3600.0
    batch: int = 100


@dataclass(frozen=True, slots=True)
class Retired:
    """What one pass dropped, whether there is more to do, and since when the oldest thing that is kept is there."""

    dropped: int
    is_done: bool
    oldest: int | None


_KEPT = union_all(
    select(generation.c.id, generation.c.kept_since).where(generation.c.kept_since.is_not(None)),
    select(image.c.id, image.c.kept_since).where(image.c.kept_since.is_not(None)),
).subquery()
_OLDEST = select(_KEPT).order_by(_KEPT.c.kept_since, _KEPT.c.id)


def retire(connection: Connection, retention: SqlRetention, oldest_allowed: int, now: int) -> Retired:
    """Drop what is older than allowed, the oldest first; at most one batch."""
    oldest = connection.execute(_OLDEST.limit(retention.batch + 1)).all()
    dropped = [each.id for each in oldest[: retention.batch] if each.kept_since <= oldest_allowed]
    if dropped:
        drop(connection, dropped, now)
    left = oldest[len(dropped) :]
    is_done = not left or len(dropped) < retention.batch
    return Retired(len(dropped), is_done, left[0].kept_since if left else None)


def delete(connection: Connection, deletion: Deletion, batch: int, now: int) -> Deleted:
    """Drop generations that have ended, and uploads, at most one batch of each; nothing dropped means all is done."""
    has_ended = generation.c.kept_since.is_not(None)
    named = select(generation.c.id).where(*_asked(deletion)).order_by(generation.c.id)
    ended = list(connection.execute(named.where(has_ended).limit(batch)).scalars())
    running = list(connection.execute(named.where(~has_ended)).scalars())
    uploads = _uploads_for(connection, ended)
    if deletion.caller is not None and deletion.end_user is None:
        of_caller = select(image.c.id).where(_IS_UPLOAD, image.c.caller == deletion.caller)
        uploads |= set(connection.execute(of_caller.limit(batch)).scalars())
    if ended or uploads:
        drop(connection, [*ended, *uploads], now)
    return Deleted(tuple(ended), len(uploads), tuple(running))


_IS_UPLOAD = image.c.kept_since.is_not(None)


def _asked(deletion: Deletion) -> list[ColumnElement[bool]]:
    if deletion.ids:
        return [generation.c.id.in_(deletion.ids)]
    whose = [generation.c.caller == deletion.caller]
    return whose if deletion.end_user is None else [*whose, generation.c.end_user == deletion.end_user]


def _uploads_for(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Uploads that these generations were made from, and no other of the same caller."""
    theirs = select(input_picture.c.sha256, generation.c.caller).join(
        generation, generation.c.id == input_picture.c.generation_id
    )
    made_from = theirs.where(generation.c.id.in_(ids)).subquery()
    others = theirs.where(generation.c.id.not_in(ids), input_picture.c.sha256 == image.c.sha256)
    others = others.where(generation.c.caller == image.c.caller)
    same = and_(made_from.c.sha256 == image.c.sha256, made_from.c.caller == image.c.caller)
    found = select(image.c.id).join(made_from, same).where(_IS_UPLOAD, ~others.exists())
    return set(connection.execute(found).scalars())


def drop(connection: Connection, ids: Sequence[str], now: int) -> None:
    """Drop generations and uploads with prompts, labels, claims and pictures; attempts and ratings lose their words."""
    of_generation = image.c.generation_id.in_(ids)
    records = union_all(
        select(generation.c.id, generation.c.caller).where(generation.c.id.in_(ids)),
        select(image.c.id, image.c.caller).where(or_(of_generation, image.c.id.in_(ids))),
    )
    gone_now = [{"id": each.id, "caller": each.caller, "time": now} for each in connection.execute(records)]
    shas, scopes = _pictures_of(connection, ids), _ending_scopes(connection, ids)
    insert_missing(connection, tombstone, gone_now)
    connection.execute(tombstone.delete().where(tombstone.c.time < now - _REMEMBERED_MICROS))
    connection.execute(image.delete().where(or_(of_generation, image.c.id.in_(ids))))
    for table in (input_picture, output, label, claim):
        connection.execute(table.delete().where(table.c.generation_id.in_(ids)))
    connection.execute(hold.delete().where(hold.c.settled, hold.c.attempt_id.in_(_finally_charged(ids))))
    connection.execute(attempt.update().where(attempt.c.generation_id.in_(ids)).values(detail="", adaptations=None))
    connection.execute(rating.update().where(rating.c.generation_id.in_(ids)).values(text=""))
    connection.execute(generation.delete().where(generation.c.id.in_(ids)))
    ledger.forget_scopes(connection, [name for name, set_id in scopes.items() if not _has_record(connection, set_id)])
    gone = [sha256 for sha256 in shas if not _is_referenced(connection, sha256)]
    if gone:
        insert_missing(connection, unreferenced, [{"sha256": sha256} for sha256 in gone])


def _finally_charged(ids: Sequence[str]) -> Select[str]:
    """Attempts whose cost nobody will correct: an invoice, or a late picture, corrects the others by their holds."""
    return select(attempt.c.id).where(attempt.c.generation_id.in_(ids), ~ledger.MAY_CHANGE)


def _ending_scopes(connection: Connection, ids: Sequence[str]) -> dict[str, str | None]:
    """The scopes that end with one of these generations, with the set whose last record must go for it, if any."""
    found = connection.execute(select(generation.c.limits, generation.c.set_id).where(generation.c.id.in_(ids)))
    return {
        limit.scope: each.set_id
        for each in found
        for limit in record.decode_limits(each.limits)
        if limit.ends_with_generation
    }


def _has_record(connection: Connection, set_id: str | None) -> bool:
    if set_id is None:
        return False
    of_set: Any = select(literal_column("1")).select_from(generation).where(generation.c.set_id == set_id).limit(1)
    return connection.execute(of_set).first() is not None


def _pictures_of(connection: Connection, ids: Sequence[str]) -> list[str]:
    drawn = select(image.c.sha256).where(or_(image.c.generation_id.in_(ids), image.c.id.in_(ids)))
    given = select(input_picture.c.sha256).where(input_picture.c.generation_id.in_(ids))
    return list(connection.execute(union(drawn, given)).scalars())


def _is_referenced(connection: Connection, sha256: str) -> bool:
    either = or_(
        exists(select(literal_column("1")).select_from(image).where(image.c.sha256 == sha256)),
        exists(select(literal_column("1")).select_from(input_picture).where(input_picture.c.sha256 == sha256)),
    )
    return bool(connection.execute(select(either)).scalar_one())


def deletable(connection: Connection, limit: int) -> tuple[list[str], bool]:
    """Pictures whose files may be deleted now, and whether these are all.

    Those that found a new record are taken off the list.
    """
    listed = connection.execute(select(unreferenced.c.sha256).limit(limit)).scalars().all()
    saved = [sha256 for sha256 in listed if _is_referenced(connection, sha256)]
    forget_deleted(connection, saved)
    return [sha256 for sha256 in listed if sha256 not in saved], len(listed) < limit


def forget_deleted(connection: Connection, shas: Sequence[str]) -> None:
    """Take pictures off the list, whose files are gone or have a record again."""
    if shas:
        connection.execute(unreferenced.delete().where(unreferenced.c.sha256.in_(shas)))
