"""The seam between jobs and durability: what must be remembered before, during and after money is spent.

Order of an attempt, each step durable before the next begins: intent (with its hold) → sent → finished (settled, with
the image) → generation finished. A hold belongs to one attempt and is resolved at most once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from pictord.domain.budget import Unit
from pictord.domain.generation import Attempt, Generation, Image, Output, State, Timings
from pictord.domain.reason import Reason
from pictord.domain.request import Tier, Workflow
from pictord.store.books import Books
from pictord.store.ratings import Ratings

DELETE_AGAIN = timedelta(minutes=1)
"""A disk that refused to delete a picture is left alone this long: asking it on every call would help nobody."""


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """A cap on everything charged or held under `scope`; `reason` is what a refusal says.

    Scopes are opaque names such as `generation:<id>`, `set:<id>`, `usd/2026-11-22/global`; no two limits of one
    generation have the same. A scope that ends with its generation, or with the last of them, is remembered as long as
    a record of one: until then a set may be sent again.

    `cap` is in nano-USD or pictures, as `unit` says; None only counts. An attempt is held at its estimate, or as one
    picture, and settled at its cost, or by whether there is a picture. With a `provider`, attempts elsewhere are not
    charged. `budget` is the id of the budget that sets the cap.
    """

    scope: str
    cap: int | None
    reason: Reason
    ends_with_generation: bool = False
    unit: Unit = Unit.USD
    provider: str | None = None
    budget: str = ""

    def charges(self, attempt: Attempt) -> bool:
        """Whether an attempt is charged under this scope."""
        return self.provider in {None, attempt.provider}

    def hold_for(self, attempt: Attempt) -> int:
        """What an attempt that is charged is held at."""
        return attempt.estimated_nanos if self.unit is Unit.USD else 1


def settled_amount(unit: Unit, attempt: Attempt, pictures: int) -> int:
    """What an attempt that has ended is charged at, with so many pictures kept."""
    return attempt.cost.nanos if unit is Unit.USD else pictures


@dataclass(frozen=True, slots=True)
class Opening:
    """Everything that `Store.open` writes in one transaction.

    `attempts` are the first intents, one for each output; each is held under all `limits` that charge it.
    `fingerprint` identifies the request for idempotency; it matters only if `generation.request.request_id` is set.
    `inputs` are the pictures the request was made from, by SHA-256 with their size in bytes: assets that live as long
    as the record, whose request has no bytes. `end_user` is the keyed hash under which the end user's usage is counted.
    """

    generation: Generation
    fingerprint: str
    attempts: tuple[Attempt, ...]
    limits: tuple[SpendLimit, ...]
    inputs: Mapping[str, int] = field(default_factory=dict)
    end_user: str | None = None

    @property
    def own_limits(self) -> tuple[SpendLimit, ...]:
        """Those that end with the generation: they bind its further attempts too, as they were at the opening."""
        return tuple(limit for limit in self.limits if limit.ends_with_generation)


@dataclass(frozen=True, slots=True)
class Opened:
    """The generation is new and its holds are in place."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Joined:
    """The same request is in flight."""

    generation_id: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same request has finished; this is its result."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Conflict:
    """The request id was used for a different request."""

    generation_id: str


@dataclass(frozen=True, slots=True)
class HoldRefused:
    """A cap leaves no room; `limit` says which, `available` what is left under it; both in the limit's unit."""

    limit: SpendLimit
    needed: int
    available: int


@dataclass(frozen=True, slots=True)
class ListFilter:
    """What `list` returns: newest first; `caller` None means all callers. `before` is the last page's final id.

    `model` and `served_version` are those of the first picture; until a generation has ended with one, `model` is that
    of its first candidate. `end_user` is the keyed hash.
    """

    caller: str | None = None
    state: State | None = None
    model: str | None = None
    served_version: str | None = None
    tier: Tier | None = None
    workflow: Workflow | None = None
    row: str | None = None
    end_user: str | None = None
    set_id: str | None = None
    reroll_of: str | None = None
    request_id: str | None = None
    provider_request_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Deletion:
    """What `delete` drops: the generations with these `ids`, or else all of a caller's, or of one of its end users.

    `end_user` is the keyed hash. Everything of a caller includes what it uploaded.
    """

    ids: tuple[str, ...] = ()
    caller: str | None = None
    end_user: str | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What `delete` dropped: generations, by id, and so many uploads. `running` were left: they have not ended."""

    generations: tuple[str, ...]
    uploads: int
    running: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation ended; `reason` and `text` are set unless it succeeded."""

    state: State
    reason: Reason | None
    text: str
    timings: Timings
    finish_time: datetime


@dataclass(frozen=True, slots=True)
class OwnedImage:
    """An image with the caller it belongs to."""

    caller: str
    image: Image


class PictureFiles(Protocol):
    """What retention needs of the asset store."""

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
        """Forget a picture, unless it is needed by then."""
        ...


class Store(Protocol):
    """Remembers generations, attempts, holds and images; `memory` and `sql` keep the same promises.

    Every method may raise STORE_UNAVAILABLE or STORE_FULL; each that records an end may then be called again.
    """

    @property
    def books(self) -> Books:
        """Budgets, usage and alerts over the same money."""
        ...

    @property
    def ratings(self) -> Ratings:
        """What callers think of what was made."""
        ...

    async def claimed(self, caller: str, request_id: str, fingerprint: str) -> Joined | Replayed | Conflict | None:
        """What a repeated request id means; None if it is new."""
        ...

    async def open(self, opening: Opening) -> Opened | Joined | Replayed | Conflict | HoldRefused:
        """Claim the request id, record plan and first intents, and reserve, all or nothing."""
        ...

    async def open_attempt(
        self, generation_id: str, attempt: Attempt, limits: Sequence[SpendLimit] = ()
    ) -> HoldRefused | None:
        """Record the intent of a further attempt (fallback or retry) with its own hold.

        It is held under the generation's own limits and under these: what else bounds spending by now.
        """
        ...

    async def mark_sent(self, generation_id: str, attempt_id: str, sent_time: datetime) -> None:
        """Record that the attempt is about to be sent; returns before the first provider byte may leave."""
        ...

    async def finish_attempt(
        self, generation_id: str, attempt: Attempt, image: Image | None, output: Output | None = None
    ) -> None:
        """Record the end of an attempt: settle its hold at `attempt.cost` (zero releases it) and attach the image.

        If it brought its output to an end, that is recorded in the same transaction. With basis UNKNOWN the amount
        stays charged until it is reconciled. A second call for the same attempt changes nothing, unless the first was
        made for a process that was taken for dead: what its attempt really came to then replaces the unknown. One that
        an invoice has settled meanwhile keeps that cost, and still gets its picture.
        """
        ...

    async def finish_output(self, generation_id: str, output: Output) -> None:
        """Record how one output ended."""
        ...

    async def finish(self, generation_id: str, ending: Ending, *, keep: bool) -> Generation:
        """Record the end of the generation and return the whole record.

        `keep` False frees the request id for another try: a refusal of our own that cost nothing is not replayed.
        """
        ...

    async def finish_drawn(
        self, generation_id: str, attempt: Attempt, image: Image, output: Output, ending: Ending
    ) -> Generation:
        """`finish_attempt` and `finish` in one transaction, for a generation that ends well with this picture."""
        ...

    def disown(self, generation_id: str) -> None:
        """Leave the end of a generation, which could not be recorded now, to whoever can write again."""
        ...

    async def get(self, generation_id: str) -> Generation | None:
        """The record as it stands; None if it never existed or was dropped (see `expired`)."""
        ...

    async def find(self, caller: str, request_id: str) -> Generation | None:
        """The record of a caller's request id, as long as it is kept."""
        ...

    async def add_upload(self, caller: str, image: Image) -> None:
        """Remember an uploaded picture; the same id again changes nothing but its age."""
        ...

    async def image(self, image_id: str) -> OwnedImage | None:
        """An image by id, drawn or uploaded."""
        ...

    async def expired(self, record_id: str) -> str | None:
        """The caller whose generation or image this was, if it was dropped; None if there was none."""
        ...

    async def delete(self, deletion: Deletion) -> Deleted:
        """Drop records as retention does, however young: prompts, pictures, words and request ids go, money stays.

        An upload goes with the last generation that its caller made from it. What has not ended stays: money is on its
        way. May be interrupted and repeated; the files of the pictures go as soon as the disk lets them.
        """
        ...

    async def retire(self) -> None:
        """Drop all that retention keeps no longer, and the files of what was dropped; other calls do some of it."""
        ...

    async def list(self, query: ListFilter) -> list[Generation]:
        """Generations that match, newest first, at most `query.limit`."""
        ...

    async def spent(self, scope: str) -> int:
        """Everything settled and held under a scope, in its unit."""
        ...

    async def close(self) -> None:
        """Flush and release."""
        ...
