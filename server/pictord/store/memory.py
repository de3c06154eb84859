"""The store of one process without a database: everything but the pictures lives in memory and dies with it.

Nothing here awaits, so each method is one transaction. Retention keeps disk and memory bounded: a finished generation
or an upload is dropped after `keep_s` seconds, or earlier, oldest first, when all pictures and records together are
over `keep_bytes`. A picture that several records share counts once; a record counts for its prompt and `record_bytes`.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pictord.domain.generation import Attempt, Generation, Image, Output
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
from pictord.store.memory_ledger import MemoryLedger
from pictord.store.memory_ratings import MemoryRatings
from pictord.store.progress import ended, sent, with_attempt, with_attempts, with_output
from pictord.store.references import References

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much finished work is kept."""

    keep_s: float = 3600.0
    keep_bytes: int = 512 * 1024 * 1024
    """What still runs counts too, but is never dropped."""
    record_bytes: int = 4096
    """What a record takes in memory beside its prompt (3 KB with one attempt, measured 2026-11-22)."""
    remember_expired: int = 100_000


@dataclass(slots=True)
class _Kept:
    """One thing that retention may drop: a finished generation, or an upload.

    `assets` are the pictures that it refers to, by SHA-256; `record_bytes` is what it takes beside them.
    """

    id: str
    caller: str
    since: datetime
    images: tuple[Image, ...]
    assets: tuple[str, ...]
    record_bytes: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """The assets that a generation was made from; they come first."""
        return self.assets[: len(self.assets) - len(self.images)]


class MemoryStore:
    """`Store` in memory."""

    def __init__(
        self, pictures: PictureFiles, *, now: Callable[[], datetime], retention: Retention | None = None
    ) -> None:
        self._pictures = pictures
        self._now = now
        self._retention = retention or Retention()
        self._generations: dict[str, Generation] = {}
        self.books = MemoryLedger()
        self.ratings = MemoryRatings(self.books)
        self._claims: dict[tuple[str, str], tuple[str, str]] = {}
        self._images: dict[str, OwnedImage] = {}
        self._inputs: dict[str, tuple[str, ...]] = {}
        self._end_users: dict[str, str] = {}
        self._references = References()
        self._kept: dict[str, _Kept] = {}
        self._record_bytes = 0
        self._expired: dict[str, str] = {}
        self._unneeded: dict[str, None] = {}
        self._delete_from = now()

    async def claimed(self, caller: str, request_id: str, fingerprint: str) -> Joined | Replayed | Conflict | None:
        """See `Store.claimed`."""
        await self.retire()
        claim = self._claims.get((caller, request_id))
        return self._answer_claim(*claim, fingerprint) if claim else None

    async def open(self, opening: Opening) -> Opened | Joined | Replayed | Conflict | HoldRefused:
        """See `Store.open`."""
        await self.retire()
        generation = opening.generation
        claim = self._claim_of(generation)
        if claim is not None and claim in self._claims:
            return self._answer_claim(*self._claims[claim], opening.fingerprint)
        refused = self.books.open(opening)
        if refused is not None:
            return refused
        if claim is not None:
            self._claims[claim] = (opening.fingerprint, generation.id)
        self._inputs[generation.id] = tuple(opening.inputs)
        for sha256, size_bytes in opening.inputs.items():
            self._references.add(sha256, size_bytes)
        if opening.end_user is not None:
            self._end_users[generation.id] = opening.end_user
        record = with_attempts(generation, opening.attempts)
        self._generations[generation.id] = record
        return Opened(record)

    async def open_attempt(
        self, generation_id: str, attempt: Attempt, limits: Sequence[SpendLimit] = ()
    ) -> HoldRefused | None:
        """See `Store.open_attempt`."""
        refused = self.books.open_attempt(generation_id, attempt, limits)
        if refused is not None:
            return refused
        generation = self._generations[generation_id]
        self._generations[generation_id] = with_attempts(generation, (*generation.attempts, attempt))
        return None

    async def mark_sent(self, generation_id: str, attempt_id: str, sent_time: datetime) -> None:
        """See `Store.mark_sent`."""
        generation = sent(self._generations[generation_id], attempt_id, sent_time)
        self._generations[generation_id] = generation
        self.books.mark_sent(next(each for each in generation.attempts if each.id == attempt_id))

    async def finish_attempt(
        self, generation_id: str, attempt: Attempt, image: Image | None, output: Output | None = None
    ) -> None:
        """See `Store.finish_attempt`."""
        if not self.books.settle(attempt, int(image is not None)):
            return
        generation = with_attempt(self._generations[generation_id], attempt, output)
        self._generations[generation_id] = generation
        if image is not None:
            self._add_image(OwnedImage(generation.caller, image))

    async def finish_output(self, generation_id: str, output: Output) -> None:
        """See `Store.finish_output`."""
        self._generations[generation_id] = with_output(self._generations[generation_id], output)

    async def finish(self, generation_id: str, ending: Ending, *, keep: bool) -> Generation:
        """See `Store.finish`."""
        generation = ended(self._generations[generation_id], ending)
        self._generations[generation_id] = generation
        claim = self._claim_of(generation)
        if claim is not None and not keep:
            self._claims.pop(claim, None)
        images = generation.images
        assets = self._inputs.pop(generation_id, ()) + tuple(image.sha256 for image in images)
        prompt_bytes = len(generation.request.prompt.encode())
        record_bytes = self._retention.record_bytes + prompt_bytes
        self._keep(_Kept(generation_id, generation.caller, self._now(), images, assets, record_bytes))
        await self.retire()
        return generation

    async def finish_drawn(
        self, generation_id: str, attempt: Attempt, image: Image, output: Output, ending: Ending
    ) -> Generation:
        """See `Store.finish_drawn`."""
        await self.finish_attempt(generation_id, attempt, image, output)
        return await self.finish(generation_id, ending, keep=True)

    def disown(self, generation_id: str) -> None:
        """See `Store.disown`; here everything can be recorded."""

    async def get(self, generation_id: str) -> Generation | None:
        """See `Store.get`."""
        await self.retire()
        return self._generations.get(generation_id)

    async def find(self, caller: str, request_id: str) -> Generation | None:
        """See `Store.find`."""
        await self.retire()
        claimed = self._claims.get((caller, request_id))
        return self._generations.get(claimed[1]) if claimed else None

    async def add_upload(self, caller: str, image: Image) -> None:
        """See `Store.add_upload`."""
        known = self._kept.pop(image.id, None)
        if known is None:
            self._add_image(OwnedImage(caller, image))
        else:
            self._record_bytes -= known.record_bytes
        record_bytes = self._retention.record_bytes
        self._keep(_Kept(image.id, caller, self._now(), (image,), (image.sha256,), record_bytes))
        await self.retire()

    async def image(self, image_id: str) -> OwnedImage | None:
        """See `Store.image`."""
        await self.retire()
        return self._images.get(image_id)

    async def expired(self, record_id: str) -> str | None:
        """See `Store.expired`."""
        return self._expired.get(record_id)

    async def delete(self, deletion: Deletion) -> Deleted:
        """See `Store.delete`."""
        asked = [each.id for each in self._generations.values() if self._is_asked(deletion, each)]
        ended = [each for each in asked if each in self._kept]
        gone = [self._kept[each] for each in ended]
        for kept in gone:
            self._drop(kept)
        is_everything = deletion.caller is not None and deletion.end_user is None
        made_from = {(kept.caller, sha256) for kept in gone for sha256 in kept.inputs} - self._made_from()
        uploads = [
            each
            for each in self._kept.values()
            if each.id not in self._generations
            and ((is_everything and each.caller == deletion.caller) or (each.caller, each.assets[0]) in made_from)
        ]
        for upload in uploads:
            self._drop(upload)
        await self._delete_unneeded()
        return Deleted(tuple(ended), len(uploads), tuple(each for each in asked if each not in ended))

    def _is_asked(self, deletion: Deletion, generation: Generation) -> bool:
        if deletion.ids:
            return generation.id in deletion.ids
        is_theirs = deletion.end_user is None or self._end_users.get(generation.id) == deletion.end_user
        return generation.caller == deletion.caller and is_theirs

    def _made_from(self) -> set[tuple[str, str]]:
        """Callers with the pictures that their generations were made from."""
        ended = {(kept.caller, sha256) for kept in self._kept.values() for sha256 in kept.inputs}
        running = {(self._generations[id_].caller, each) for id_, shas in self._inputs.items() for each in shas}
        return ended | running

    async def retire(self) -> None:
        """See `Store.retire`."""
        oldest_allowed = self._now() - timedelta(seconds=self._retention.keep_s)
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.since > oldest_allowed and self._kept_bytes <= self._retention.keep_bytes:
                break
            self._drop(oldest)
        # Deleting comes last: it may yield, and the records are gone by then.
        await self._delete_unneeded()

    async def list(self, query: ListFilter) -> list[Generation]:
        """See `Store.list`."""
        await self.retire()
        found = []
        # Ids sort by age, and insertion order is age order here.
        for generation in reversed(self._generations.values()):
            end_user = self._end_users.get(generation.id)
            if (query.before is None or generation.id < query.before) and _matches(generation, end_user, query):
                found.append(generation)
                if len(found) == query.limit:
                    break
        return found

    async def spent(self, scope: str) -> int:
        """See `Store.spent`."""
        return self.books.spent(scope)

    async def close(self) -> None:
        """See `Store.close`."""

    # Claims and retention

    @staticmethod
    def _claim_of(generation: Generation) -> tuple[str, str] | None:
        request_id = generation.request.request_id
        return (generation.caller, request_id) if request_id else None

    def _answer_claim(
        self, fingerprint: str, generation_id: str, asked_fingerprint: str
    ) -> Joined | Replayed | Conflict:
        if fingerprint != asked_fingerprint:
            return Conflict(generation_id)
        generation = self._generations[generation_id]
        return Replayed(generation) if generation.state.is_final else Joined(generation_id)

    def _add_image(self, owned: OwnedImage) -> None:
        self._images[owned.image.id] = owned
        self._references.add(owned.image.sha256, owned.image.size_bytes)

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.id] = kept
        self._record_bytes += kept.record_bytes

    @property
    def _kept_bytes(self) -> int:
        return self._references.size_bytes + self._record_bytes

    async def _delete_unneeded(self) -> None:
        """Delete the files that nobody refers to; one that cannot be deleted is not the caller's trouble."""
        while self._unneeded and self._now() >= self._delete_from:
            sha256 = next(iter(self._unneeded))
            del self._unneeded[sha256]
            is_done = False
            try:
                await self._pictures.delete(sha256, unless=self._references.__contains__)
                is_done = True
            except OSError as error:
                self._delete_from = self._now() + DELETE_AGAIN
                logger.warning("picture %s is not needed, but cannot be deleted yet: %s", sha256, error)
            finally:
                if not is_done:
                    self._unneeded[sha256] = None

    def _drop(self, kept: _Kept) -> None:
        del self._kept[kept.id]
        self._record_bytes -= kept.record_bytes
        self.books.forget(kept.id)
        self._end_users.pop(kept.id, None)
        self.ratings.forget_words([kept.id])
        generation = self._generations.pop(kept.id, None)
        claim = self._claim_of(generation) if generation else None
        if claim is not None and self._claims.get(claim, ("", ""))[1] == kept.id:
            del self._claims[claim]
        self._remember_expired(kept.caller, [kept.id, *(image.id for image in kept.images)])
        for image in kept.images:
            del self._images[image.id]
        for sha256 in kept.assets:
            if self._references.remove(sha256):
                self._unneeded[sha256] = None

    def _remember_expired(self, caller: str, ids: Iterable[str]) -> None:
        for record_id in ids:
            self._expired[record_id] = caller
        while len(self._expired) > self._retention.remember_expired:
            del self._expired[next(iter(self._expired))]


def _matches(generation: Generation, end_user: str | None, query: ListFilter) -> bool:
    request, (model, served_version) = generation.request, _drawn_by(generation)
    wanted = (
        (query.caller, generation.caller),
        (query.state, generation.state),
        (query.model, model),
        (query.served_version, served_version),
        (query.tier, request.tier),
        (query.workflow, request.workflow),
        (query.row, generation.plan.row),
        (query.end_user, end_user),
        (query.set_id, request.lineage.set_id),
        (query.reroll_of, request.lineage.reroll_of),
        (query.request_id, request.request_id),
    )
    provider_ids = {attempt.provider_request_id for attempt in generation.attempts}
    return (
        all(asked is None or asked == fact for asked, fact in wanted)
        and (query.provider_request_id is None or query.provider_request_id in provider_ids)
        and all(request.labels.get(key) == value for key, value in query.labels.items())
        and (query.since is None or generation.create_time >= query.since)
        and (query.until is None or generation.create_time < query.until)
    )


def _drawn_by(generation: Generation) -> tuple[str | None, str | None]:
    """Model and version of the first picture; until it has ended with one, the model of the first candidate."""
    if generation.state.is_final and generation.images:
        return generation.images[0].model, generation.images[0].served_version
    return next((candidate.model for candidate in generation.plan.candidates), None), None
