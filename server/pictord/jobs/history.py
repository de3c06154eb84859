"""What was made: generations side by side, what callers think of them, and their deletion."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pictord.domain.caller import Caller
from pictord.domain.generation import Generation
from pictord.domain.rating import Rated, Rating, Thumb, is_ratable
from pictord.domain.reason import Reason
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.jobs.jobs import Jobs, no_generation
from pictord.store.base import Deleted, Deletion, ListFilter, Store

MAX_FAMILY = 40
"""A lineage is shown up to here; a set has no more outputs."""
MAX_NAMED = 8
MAX_DELETED = 100
"""Generations that may be named to be deleted in one call."""


EVERYBODY = "*"
"""Asks for every caller's history instead of one's own."""


@dataclass(frozen=True, slots=True)
class Page:
    """Generations, the newest first; the next page lies before the id `next_before`, if there is one."""

    generations: tuple[Generation, ...]
    next_before: str | None


@dataclass(frozen=True, slots=True)
class Family:
    """Generations that belong together; `truncated` if there are more."""

    members: tuple[Generation, ...]
    truncated: bool = False


class History:
    """Finds the generations that are to stand side by side, takes ratings of them, and deletes them."""

    def __init__(self, jobs: Jobs, store: Store, now: Callable[[], datetime]) -> None:
        self._jobs = jobs
        self._store = store
        self._now = now

    async def page(self, query: ListFilter) -> Page:
        """The generations that match, at most `query.limit`; `query.caller` is what `whose` allowed."""
        # One more than asked tells whether there is a next page.
        found = await self._store.list(replace(query, limit=query.limit + 1))
        page = found[: query.limit]
        return Page(tuple(page), page[-1].id if len(found) > query.limit else None)

    async def named(self, caller: Caller, ids: Sequence[str]) -> Family:
        """These generations, in this order.

        Raises:
            GatewayError: INVALID_FIELD: not 2 to 8 different ids; NOT_FOUND, EXPIRED: one of them.
        """
        if not 2 <= len(ids) <= MAX_NAMED or len(set(ids)) < len(ids):
            text = f"give 2 to {MAX_NAMED} different ids"
            raise invalid([FieldViolation("generation_ids", text)])
        return Family(tuple([await self._jobs.get(caller, each) for each in ids]))

    async def of_set(self, caller: Caller, set_id: str) -> Family:
        """The generations of a set, the oldest first.

        Raises:
            GatewayError: NOT_FOUND: there is no such set, or nothing of it is kept.
        """
        found = await self._store.list(_of(caller, set_id=set_id, limit=MAX_FAMILY + 1))
        if not found:
            raise GatewayError(Reason.NOT_FOUND, f"there is no set {set_id!r}", {"set_id": set_id})
        return Family(tuple(reversed(found[:MAX_FAMILY])), truncated=len(found) > MAX_FAMILY)

    async def lineage(self, caller: Caller, generation_id: str) -> Family:
        """A generation, what it was re-rolled from, and what was re-rolled from any of them; the oldest first.

        Where an ancestor is no longer kept, or not visible, the lineage begins after it.

        Raises:
            GatewayError: NOT_FOUND, EXPIRED: the generation itself.
        """
        line = await self._ancestry(caller, generation_id)
        family, unread = {each.id: each for each in line}, deque(line)
        while unread and len(family) <= MAX_FAMILY:
            for child in await self._store.list(_of(caller, reroll_of=unread.popleft().id, limit=MAX_FAMILY + 1)):
                if child.id not in family:
                    family[child.id] = child
                    unread.append(child)
        members = sorted([*family.values()][:MAX_FAMILY], key=lambda each: each.id)
        return Family(tuple(members), truncated=len(family) > MAX_FAMILY)

    async def _ancestry(self, caller: Caller, generation_id: str) -> list[Generation]:
        """The generation, then its parent, and so on."""
        line = [await self._jobs.get(caller, generation_id)]
        while (parent_id := line[-1].request.lineage.reroll_of) and len(line) < MAX_FAMILY:
            parent = await self._store.get(parent_id)
            if parent is None or not caller.may_read(parent.caller):
                break
            line.append(parent)
        return line

    async def rate(
        self, caller: Caller, generation_id: str, thumb: Thumb | None, won_over: Sequence[str], text: str
    ) -> Rating:
        """Take what a caller thinks of a generation, instead of what it thought before.

        Raises:
            GatewayError: NOT_FOUND, EXPIRED; NOT_RATABLE: one of the generations still runs, or has no picture.
        """
        subject, *losers = [await self._ratable(caller, each) for each in (generation_id, *won_over)]
        rating = Rating(caller.name, subject, thumb, tuple(losers), text, self._now())
        await self._store.ratings.rate(rating)
        return rating

    async def ratings(self, caller: Caller, family: Family) -> Sequence[Rating]:
        """What this caller said of generations; for who may read others', what everybody said."""
        whose = None if caller.may_read_others else caller.name
        return await self._store.ratings.about([each.id for each in family.members], whose)

    async def delete(self, caller: Caller, ids: Sequence[str]) -> Deleted:
        """Delete these generations; those that are deleted already are no error.

        Raises:
            GatewayError: NOT_FOUND, PERMISSION_DENIED: one of them; nothing was deleted.
        """
        for each in ids:
            await self._check_deletable(caller, each)
        return await self._deleted(Deletion(ids=tuple(ids)))

    async def delete_of(self, whose: str, end_user: str | None) -> Deleted:
        """Delete everything of a caller, or (the name as the caller knows it) of one of its end users."""
        mark = None if end_user is None else self._jobs.end_user_hash(whose, end_user)
        return await self._deleted(Deletion(caller=whose, end_user=mark))

    async def _check_deletable(self, caller: Caller, generation_id: str) -> None:
        generation = await self._store.get(generation_id)
        owner = generation.caller if generation else await self._store.expired(generation_id)
        if owner is None or not caller.may_read(owner):
            raise no_generation(generation_id)
        if owner != caller.name and not caller.is_operator:
            text = (
                f"{caller.name} may read generation {generation_id!r}, but only its caller or an operator may delete it"
            )
            raise GatewayError(Reason.PERMISSION_DENIED, text, {"caller": caller.name})

    async def _deleted(self, deletion: Deletion) -> Deleted:
        deleted = await self._store.delete(deletion)
        self._jobs.forget_logs(deleted.generations)
        return deleted

    async def _ratable(self, caller: Caller, generation_id: str) -> Rated:
        generation = await self._jobs.get(caller, generation_id)
        if is_ratable(generation):
            return Rated.of(generation)
        text = f"generation {generation_id!r} has no picture"
        if not generation.state.is_final:
            text = f"generation {generation_id!r} is still {generation.state}; rate it when it has ended"
        raise GatewayError(Reason.NOT_RATABLE, text, {"generation_id": generation_id, "state": generation.state.value})


def whose(asked: str, caller: Caller) -> str | None:
    """Whose history is read: one's own unless another caller is named; None is everybody's.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    if asked in {"", caller.name}:
        return caller.name
    if not caller.may_read_others:
        text = f"{caller.name} may read its own history only; leave `caller` unset"
        raise GatewayError(Reason.PERMISSION_DENIED, text, {"caller": caller.name})
    return None if asked == EVERYBODY else asked


def _of(caller: Caller, *, limit: int, set_id: str | None = None, reroll_of: str | None = None) -> ListFilter:
    whose = None if caller.may_read_others else caller.name
    return ListFilter(caller=whose, set_id=set_id, reroll_of=reroll_of, limit=limit)
