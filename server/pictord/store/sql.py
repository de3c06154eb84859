"""The store in SQL, embedded or shared: `Store` over a `Database`.

The records of generations that run here are also kept in memory, so that what nobody else changes is not read back at
every step; the database's are the truth, and memory follows only after a commit. What is lost with the process is
found by `recover`, at the next start or by another replica's `sweep`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from pictord.domain.generation import Attempt, Generation, Image, Output
from pictord.errors import GatewayError
from pictord.store import history, ledger, listing, progress, recovery, retention, rows
from pictord.store.base import (
    DELETE_AGAIN,
    Conflict,
    Deleted,
    Deletion,
    Ending,
    HoldRefused,
    Joined,
    ListFilter,
    Opened,
    Opening,
    OwnedImage,
    PictureFiles,
    Replayed,
    SpendLimit,
)
from pictord.store.database import Database, InDoubt, T, Work
from pictord.store.recovery import Recovered
from pictord.store.replicas import Lease
from pictord.store.retention import SqlRetention
from pictord.store.sql_books import SqlBooks
from pictord.store.sql_ratings import SqlRatings

logger = logging.getLogger(__name__)

U = TypeVar("U")

_PAUSE = timedelta(seconds=10)
"""Between two looks for what is due: what comes in one by one also goes one by one."""


@dataclass(frozen=True, slots=True)
class _AttemptEnd:
    """What is recorded of an attempt at its end."""

    generation_id: str
    attempt: Attempt
    image: Image | None
    output: Output | None


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: the generations that had been disowned here, and whether it charged or released anything."""

    disowned: frozenset[str]
    has_recovered: bool


class SqlStore:
    """`Store` in SQLite or PostgreSQL."""

    def __init__(
        self,
        database: Database,
        pictures: PictureFiles,
        *,
        now: Callable[[], datetime],
        retention: SqlRetention | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Prepare.

        Args:
            database: where everything is written.
            pictures: what retention deletes from.
            now: UTC.
            retention: how long finished work is kept.
            lease: this process's right to its work; without one, its work is anybody's to resolve.
        """
        self.books = SqlBooks(database)
        self.ratings = SqlRatings(database)
        self._database = database
        self._pictures = pictures
        self._now = now
        self._retention = retention or SqlRetention()
        self._lease = lease
        self._running: dict[str, Generation] = {}
        self._disowned: set[str] = set()
        self._retire_at: datetime | None = None
        self._delete_from = now()
        self._naming: Counter[str] = Counter()
        self._named: set[str] = set()
        self._retiring = asyncio.Lock()
        self._is_scrubbed = True

    async def recover(self) -> Recovered:
        """Bring to an end what processes that died left open."""
        recovered = await self._database.write(partial(recovery.recover, now=self._micros()))
        if recovered.generations or recovered.released or recovered.unknown:
            logger.warning(
                "recovered: %d generations ended, %d unsent attempts released, %d sent ones charged as unknown",
                recovered.generations,
                recovered.released,
                recovered.unknown,
            )
        return recovered

    async def sweep(self) -> Swept:
        """Show that this process lives, and resolve the work of those that have not shown it for a lease.

        What was disowned here is resolved too.
        """
        if self._lease is not None:
            await self._lease.renew()
            await self._lease.bury_dead()
        disowned = frozenset(self._disowned)
        if disowned:
            await self._database.write(lambda connection: recovery.disown(connection, disowned))
        is_needed = await self._database.read(recovery.is_needed)
        if is_needed:
            await self.recover()
        self._disowned -= disowned
        return Swept(disowned, is_needed)

    async def claimed(self, caller: str, request_id: str, fingerprint: str) -> Joined | Replayed | Conflict | None:
        """See `Store.claimed`."""
        await self._retire()
        return await self._database.read(
            lambda connection: history.claimed(connection, caller, request_id, fingerprint)
        )

    async def open(self, opening: Opening) -> Opened | Joined | Replayed | Conflict | HoldRefused:
        """See `Store.open`."""
        with self._names(*opening.inputs):
            await self._retire()
            replica = None
            if self._lease is not None:
                await self._lease.hold()
                replica = self._lease.replica_id
            answer = await self._once(
                lambda connection: history.open_generation(connection, opening, replica),
                lambda connection: history.has_generation(connection, opening.generation.id),
                Opened(progress.with_attempts(opening.generation, opening.attempts)),
            )
        if isinstance(answer, Opened):
            self._running[answer.generation.id] = answer.generation
        return answer

    async def open_attempt(
        self, generation_id: str, attempt: Attempt, limits: Sequence[SpendLimit] = ()
    ) -> HoldRefused | None:
        """See `Store.open_attempt`."""
        refused = await self._once(
            lambda connection: history.open_attempt(connection, generation_id, attempt, limits),
            lambda connection: history.has_attempt(connection, attempt.id),
            None,
        )
        if refused is None:
            self._follow(generation_id, lambda record: progress.with_attempts(record, (*record.attempts, attempt)))
        return refused

    async def mark_sent(self, generation_id: str, attempt_id: str, sent_time: datetime) -> None:
        """See `Store.mark_sent`."""
        await self._database.write(
            lambda connection: history.mark_sent(connection, generation_id, attempt_id, sent_time)
        )
        self._follow(generation_id, lambda record: progress.sent(record, attempt_id, sent_time))

    async def finish_attempt(
        self, generation_id: str, attempt: Attempt, image: Image | None, output: Output | None = None
    ) -> None:
        """See `Store.finish_attempt`."""
        await self._settle(_AttemptEnd(generation_id, attempt, image, output))

    async def finish_drawn(
        self, generation_id: str, attempt: Attempt, image: Image, output: Output, ending: Ending
    ) -> Generation:
        """See `Store.finish_drawn`."""
        end = _AttemptEnd(generation_id, attempt, image, output)
        before, now = await self._record(generation_id), self._micros()

        def ended(known: Generation | None) -> Generation:
            return progress.ended(known or progress.with_attempt(before, attempt, output), ending)

        def finish(connection: Connection, known: Generation | None) -> None:
            history.finish(connection, ended(known), ending, keep=True, now=now)

        known = await self._settle(end, finish)
        self._running.pop(generation_id, None)
        await self._retire()
        return ended(known)

    async def finish_output(self, generation_id: str, output: Output) -> None:
        """See `Store.finish_output`."""
        await self._again(lambda connection: history.finish_output(connection, generation_id, output))
        self._follow(generation_id, lambda record: progress.with_output(record, output))

    async def finish(self, generation_id: str, ending: Ending, *, keep: bool) -> Generation:
        """See `Store.finish`."""
        ended = progress.ended(await self._record(generation_id), ending)
        now = self._micros()
        await self._again(
            lambda connection: history.finish(
                connection,
                ended,
                ending,
                keep=keep,
                now=now,
            )
        )
        self._running.pop(generation_id, None)
        await self._retire()
        return ended

    def disown(self, generation_id: str) -> None:
        """See `Store.disown`."""
        self._running.pop(generation_id, None)
        self._disowned.add(generation_id)

    async def get(self, generation_id: str) -> Generation | None:
        """See `Store.get`; what runs here is known though the database is away."""
        running = self._running.get(generation_id)
        if running is not None:
            return running
        await self._retire()
        return await self._database.read(lambda connection: history.get(connection, generation_id))

    async def find(self, caller: str, request_id: str) -> Generation | None:
        """See `Store.find`."""
        await self._retire()
        return await self._database.read(lambda connection: history.find(connection, caller, request_id))

    async def add_upload(self, caller: str, image: Image) -> None:
        """See `Store.add_upload`."""
        now = self._micros()
        with self._names(image.sha256):
            await self._database.write(lambda connection: history.add_upload(connection, caller, image, now))
        await self._retire()

    async def image(self, image_id: str) -> OwnedImage | None:
        """See `Store.image`."""
        await self._retire()
        return await self._database.read(lambda connection: history.image(connection, image_id))

    async def expired(self, record_id: str) -> str | None:
        """See `Store.expired`."""
        return await self._database.read(lambda connection: history.expired(connection, record_id))

    async def delete(self, deletion: Deletion) -> Deleted:
        """See `Store.delete`; others get between two batches."""
        generations, uploads = list[str](), 0
        while True:
            one = partial(retention.delete, deletion=deletion, batch=self._retention.batch, now=self._micros())
            part = await self._database.write(one)
            generations += part.generations
            uploads += part.uploads
            if not part.generations and not part.uploads:
                break
            self._is_scrubbed = False
        async with self._retiring:
            while not await self._delete_unreferenced():
                pass
        if self._delete_from > self._now():
            self._retire_at = self._delete_from
        await self._scrub()
        return Deleted(tuple(generations), uploads, part.running)

    async def retire(self) -> None:
        """See `Store.retire`; others get between two batches."""
        while self._is_due and not self._retiring.locked():
            await self._retire()
        await self._scrub()

    async def list(self, query: ListFilter) -> list[Generation]:
        """See `Store.list`."""
        await self._retire()
        return await self._database.read(lambda connection: listing.page(connection, query))

    async def spent(self, scope: str) -> int:
        """See `Store.spent`."""
        return await self._database.read(lambda connection: ledger.spent(connection, scope))

    async def close(self) -> None:
        """See `Store.close`."""
        if self._lease is not None:
            with suppress(GatewayError):  # then it runs out
                await self._lease.give_back()
        await self._database.close()

    # Within

    async def _once(self, work: Work[T], is_written: Work[bool], answer: U) -> T | U:
        """Write; if nobody knows whether that was committed, look, and write it only if it was not."""
        try:
            return await self._database.write(work)
        except InDoubt:
            return await self._database.write(lambda connection: answer if is_written(connection) else work(connection))

    async def _again(self, work: Work[T]) -> T:
        """Write what may be written twice; once more, if nobody knows whether it was committed."""
        try:
            return await self._database.write(work)
        except InDoubt:
            return await self._database.write(work)

    async def _settle(
        self, end: _AttemptEnd, also: Callable[[Connection, Generation | None], None] = lambda *_: None
    ) -> Generation | None:
        """Record an attempt's end, and `also` something in the same transaction.

        Returns:
            The record, if the attempt had ended before: an earlier try was committed after all, or somebody else ended
            it. The database knows how. `also` is told of it too.
        """
        running = self._running.get(end.generation_id)
        caller = running.caller if running else None

        def settle(connection: Connection) -> tuple[history.Effect, Generation | None]:
            effect = history.finish_attempt(connection, (end.generation_id, caller), end.attempt, end.image, end.output)
            known = history.get(connection, end.generation_id) if effect is history.Effect.NONE else None
            also(connection, known)
            return effect, known

        with self._names(*(() if end.image is None else (end.image.sha256,))):
            effect, known = await self._again(settle)
        if known is None:
            self._follow(end.generation_id, lambda record: progress.with_attempt(record, end.attempt, end.output))
        else:
            self._follow(end.generation_id, lambda _: known)
        if effect is history.Effect.DROPPED:
            self._retire_at = None
            await self._retire()
        return known

    def _micros(self) -> int:
        return rows.micros(self._now())

    async def _record(self, generation_id: str) -> Generation:
        running = self._running.get(generation_id)
        if running is not None:
            return running
        found = await self._database.read(lambda connection: history.get(connection, generation_id))
        if found is None:
            raise LookupError(generation_id)
        return found

    def _follow(self, generation_id: str, step: Callable[[Generation], Generation]) -> None:
        running = self._running.get(generation_id)
        if running is not None:
            self._running[generation_id] = step(running)

    # Retention

    @property
    def _is_due(self) -> bool:
        return self._retire_at is None or self._now() >= self._retire_at

    async def _retire(self) -> None:
        """Drop what is due, one batch; nobody waits for another's pass, and nobody fails because it does."""
        if not self._is_due or self._retiring.locked():
            return
        async with self._retiring:
            try:
                await self._drop_due()
            except GatewayError as error:
                self._retire_at = self._now() + _PAUSE
                logger.warning("retention: nothing was dropped, the next try is soon: %s", error)

    async def _drop_due(self) -> None:
        now, span = self._now(), timedelta(seconds=self._retention.keep_s)
        pass_ = partial(
            retention.retire,
            retention=self._retention,
            oldest_allowed=rows.micros(now - span),
            now=rows.micros(now),
        )
        retired = await self._database.write(pass_)
        if retired.dropped:
            self._is_scrubbed = False
        is_all_deleted = await self._delete_unreferenced()
        if self._delete_from > now:
            self._retire_at = self._delete_from
        elif retired.is_done and is_all_deleted:
            oldest = now if retired.oldest is None else rows.time(retired.oldest)
            self._retire_at = max(oldest + span, now + _PAUSE)

    async def _scrub(self) -> None:
        """Leave nothing on the disk of what was dropped; while somebody reads, that waits for the next look."""
        if self._is_scrubbed:
            return
        self._is_scrubbed = True  # what is dropped meanwhile says otherwise
        is_done = False
        try:
            is_done = await self._database.scrub()
        except GatewayError as error:
            logger.warning("deleted words may still be on the disk, until the next try: %s", error)
        finally:
            if not is_done:
                self._is_scrubbed = False

    async def _delete_unreferenced(self) -> bool:
        """Delete the files that nobody refers to, one batch; whether that was all that can be done now.

        One that cannot be deleted is not the caller's trouble: it stays listed, and is tried again after a while.
        """
        if self._now() < self._delete_from:
            return True
        # What is named from here on is not asked of the database again.
        self._named = set(self._naming)
        batch = 2 * self._retention.batch
        shas, is_all = await self._database.write(lambda connection: retention.deletable(connection, batch))
        deleted = []
        try:
            for sha256 in shas:
                await self._pictures.delete(sha256, unless=self._named.__contains__)
                deleted.append(sha256)
        except OSError as error:
            self._delete_from = self._now() + DELETE_AGAIN
            logger.warning("picture %s is not needed, but cannot be deleted yet: %s", shas[len(deleted)], error)
        gone = [sha256 for sha256 in deleted if sha256 not in self._named]
        if gone:
            await self._database.write(lambda connection: retention.forget_deleted(connection, gone))
        return is_all

    @contextmanager
    def _names(self, *shas: str) -> Iterator[None]:
        """Pictures that a record is about to name: said before anything is awaited, so no deletion comes between."""
        self._naming.update(shas)
        self._named.update(shas)
        try:
            yield
        finally:
            self._naming.subtract(shas)
            self._naming = +self._naming
