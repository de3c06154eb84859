"""What was made, looked at together: the generations that a comparison is about, each caller's own."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pictord.domain.caller import Caller
from pictord.domain.generation import Generation
from pictord.domain.reason import Reason
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.jobs.jobs import Jobs
from pictord.store.base import ListFilter, Store

MAX_FAMILY = 40
"""A lineage is shown up to here; a set has no more outputs."""
MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class Family:
    """Generations that belong together; `truncated` if there are more."""

    members: tuple[Generation, ...]
    truncated: bool = False


class History:
    """Finds the generations that are to stand side by side."""

    def __init__(self, jobs: Jobs, store: Store) -> None:
        self._jobs = jobs
        self._store = store

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


def _of(caller: Caller, *, limit: int, set_id: str | None = None, reroll_of: str | None = None) -> ListFilter:
    whose = None if caller.may_read_others else caller.name
    return ListFilter(caller=whose, set_id=set_id, reroll_of=reroll_of, limit=limit)
