"""Who works on this database: each process has a row, and a heart that beats in it.

A process that opens generations stamps them with its id. While its heart beats, they are its own business; when it
leaves, or its heart has stood still for a whole lease, its row goes, and what it left open is resolved (`recovery.py`).

No clock is compared with another machine's: a beat only counts up, and each process measures by its own monotonic
clock for how long it has seen a neighbour's stand still. So nobody is taken for dead in less than a lease, and a
process knows of itself until when nobody can: a lease after it began its last beat. One that stalled for longer is
not sure of its work any more. It beats before it opens anything new; what others resolved meanwhile it cannot send
any more (`history.mark_sent`), and what it had sent replaces the unknown that they wrote (`history.finish_attempt`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from pictord.store.database import Database
from pictord.store.schema import replica
from pictord.store.statements import insert_new

logger = logging.getLogger(__name__)

BEAT_S = 10.0
"""Between two beats."""
LEASE_S = 30.0
"""How long a heart may stand still: two beats may fail."""

_BEAT = replica.update().where(replica.c.id == bindparam("replica_id")).values(beat=bindparam("new_beat"))
_BURY = replica.delete().where(replica.c.id == bindparam("replica_id"), replica.c.beat == bindparam("seen_beat"))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A neighbour's beat, and since when it has not changed."""

    beat: int
    since: float


class Lease:
    """This process's right to its own work, and its watch over its neighbours.

    Args:
        database: where all of them have their rows.
        replica_id: of this process; no two ever have the same.
        clock: monotonic seconds.
    """

    def __init__(self, database: Database, replica_id: str, *, clock: Callable[[], float]) -> None:
        self.replica_id = replica_id
        self._database = database
        self._clock = clock
        self._beat = 0
        self._valid_until = clock()
        self._seen: dict[str, _Seen] = {}

    async def take(self, predecessor: str | None = None, *, is_alone: bool = False) -> None:
        """Begin, and bury who is known to be dead: `predecessor`, or with `is_alone` all others."""

        def enter(connection: Connection) -> None:
            if is_alone:
                connection.execute(replica.delete())
            elif predecessor is not None:
                connection.execute(replica.delete().where(replica.c.id == predecessor))
            insert_new(connection, replica, {"id": self.replica_id, "beat": self._beat})

        started = self._clock()
        await self._database.write(enter)
        self._valid_until = started + LEASE_S

    async def hold(self) -> None:
        """Return at once while nobody can have taken this process for dead, else after a beat."""
        if self._clock() >= self._valid_until:
            await self.renew()

    async def renew(self) -> None:
        """Beat; who was buried rises again, with a beat that nobody has seen."""
        self._beat += 1
        new_beat = self._beat

        def beat(connection: Connection) -> bool:
            if connection.execute(_BEAT, {"replica_id": self.replica_id, "new_beat": new_beat}).rowcount:
                return True
            insert_new(connection, replica, {"id": self.replica_id, "beat": new_beat})
            return False

        started = self._clock()
        if not await self._database.write(beat):
            logger.warning("stalled for so long that another replica took over: what was not sent is released")
        self._valid_until = started + LEASE_S

    async def bury_dead(self) -> None:
        """Take the rows of those whose hearts have stood still for a whole lease."""
        beats = await self._database.read(_beats)
        now = self._clock()
        self._seen = {
            name: seen if (seen := self._seen.get(name)) and seen.beat == beat else _Seen(beat, now)
            for name, beat in beats.items()
            if name != self.replica_id
        }
        for name, seen in self._seen.items():
            if now - seen.since >= LEASE_S:
                await self._bury(name, seen.beat)

    async def _bury(self, name: str, beat: int) -> None:
        # By the beat: its heart may have begun again meanwhile.
        dead = {"replica_id": name, "seen_beat": beat}
        if await self._database.write(lambda connection: connection.execute(_BURY, dead).rowcount):
            logger.warning("replica %s gave no sign for %.0f s: its work is taken over", name, LEASE_S)

    async def give_back(self) -> None:
        """End: whatever is still open is resolved by the next who looks."""
        mine = replica.delete().where(replica.c.id == self.replica_id)
        await self._database.write(lambda connection: connection.execute(mine))


def _beats(connection: Connection) -> dict[str, int]:
    return {row.id: row.beat for row in connection.execute(select(replica))}
