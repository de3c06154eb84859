"""Requests that were really sent, with what became of them: read beside a gateway that serves, for replays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from pictord.domain.generation import Generation
from pictord.store import listing, upkeep
from pictord.store.base import ListFilter
from pictord.store.database import Address
from pictord.store.schema import input_picture


@dataclass(frozen=True, slots=True)
class Sent:
    """A generation that has ended and of which something was sent; `sizes` are its input pictures' bytes by SHA-256."""

    generation: Generation
    sizes: Mapping[str, int]


def sent(address: Address, query: ListFilter) -> Iterator[Sent]:
    """All that match, newest first; `query.limit` are read at a time, so that no transaction stays open for long.

    Raises:
        DatabaseRefused: the database cannot be opened, or its tables are not this program's.
    """
    with upkeep.connected(address, read_only=True) as connection:
        upkeep.require_current(connection, address)
        while page := listing.page(connection, query):
            sizes = _sizes(connection, page)
            connection.rollback()
            for each in page:
                if each.state.is_final and any(attempt.sent_time for attempt in each.attempts):
                    yield Sent(each, sizes)
            query = replace(query, before=page[-1].id)


def _sizes(connection: Connection, page: list[Generation]) -> dict[str, int]:
    wanted = select(input_picture.c.sha256, input_picture.c.size_bytes)
    found = connection.execute(wanted.where(input_picture.c.generation_id.in_([each.id for each in page])))
    return {row.sha256: row.size_bytes for row in found}
