"""Child process under test: the store by itself, over a database full of history (`seeding.py`) or an empty one."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import Connection

from bench.seeding import CALLERS, END_USERS, TEAMS
from bench.worker import Service, serve
from pictord.domain.generation import Attempt, AttemptState, Generation, Output, State
from pictord.domain.money import Cost
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Plan
from pictord.domain.reason import Reason
from pictord.domain.request import Fidelity, GenerationRequest, Tier, Workflow
from pictord.store import ledger, rows, schema
from pictord.store.base import ListFilter, Opened, Opening, SpendLimit
from pictord.store.database import Database, address, sqlite_address
from pictord.store.sql import SqlStore
from pictord.store.upkeep import World, ready

PAGE = 50
_HOLD, _CHARGE = 60_000_000, 53_000_000


class _NoPictures:
    """There are none to delete: nothing is old enough."""

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:  # noqa: ARG002 - it is asked so
        raise AssertionError(sha256)


async def _queries(store: SqlStore, now: datetime) -> dict[str, ListFilter]:
    """Each filter alone, each with a caller, and some that are often asked together; from the middle of the history."""
    middle = await store.list(ListFilter(until=now - timedelta(days=14), limit=200))
    rerolled = next(each for each in middle if each.request.lineage.reroll_of is None)
    provider_id = next(attempt.provider_request_id for each in middle for attempt in each.attempts)
    labels = {"team": TEAMS[0]}
    alone: dict[str, dict[str, Any]] = {
        "state": {"state": State.FAILED},
        "open": {"state": State.RUNNING},
        "model": {"model": "gpt-image-2"},
        "version": {"served_version": middle[0].images[0].served_version if middle[0].images else "none"},
        "tier": {"tier": Tier.PRO},
        "workflow": {"workflow": Workflow.HERO},
        "row": {"row": "pro"},
        "end user": {"end_user": f"{END_USERS // 2:064x}"},
        "lineage": {"reroll_of": rerolled.id},
        "set": {
            "set_id": next((each.request.lineage.set_id for each in middle if each.request.lineage.set_id), "none")
        },
        "request id": {"request_id": "r-1000"},
        "provider's id": {"provider_request_id": provider_id},
        "label": {"labels": labels},
        "rare label": {"labels": {"campaign": "c-7"}},
        "labels": {"labels": labels | {"campaign": "c-7"}},
        "since": {"since": now - timedelta(days=7)},
        "until": {"until": now - timedelta(days=20)},
        "a day": {"since": now - timedelta(days=9), "until": now - timedelta(days=8)},
    }
    together = {
        "tier and state": {"tier": Tier.PRO, "state": State.FAILED},
        "workflow and label": {"workflow": Workflow.HERO, "labels": labels},
        "row and time": {"row": "pro", "since": now - timedelta(days=7)},
        "model and tier": {"model": "gpt-image-2", "tier": Tier.PRO},
        "nothing together": {"tier": Tier.FREE, "row": "pro"},
    }
    asked = {"everything": {}, **alone, "caller": {"caller": CALLERS[0]}, "rare caller": {"caller": CALLERS[-2]}}
    asked |= {f"caller and {name}": {"caller": CALLERS[0], **each} for name, each in (alone | together).items()}
    return {name: ListFilter(**each, limit=PAGE + 1) for name, each in asked.items()}


@asynccontextmanager
async def history(database: str | None) -> AsyncIterator[Service]:
    """Offer `lists` over a database by its URL, and `settling` and `recovery` over an empty SQLite file."""
    if database is None:
        with tempfile.TemporaryDirectory(prefix="pictor-bench-") as folder:
            empty = ready(sqlite_address(Path(folder) / "pictor.db"), World.SANDBOX)
            store = SqlStore(empty, _NoPictures(), now=lambda: datetime.now(UTC))
            handlers = {
                "settling": lambda **how: settling(store, **how),
                "recovery": lambda **how: recovery(empty, store, **how),
            }
            yield Service(handlers=handlers)
            await store.close()
        return
    now = datetime.now(UTC)
    store = SqlStore(ready(address(database), World.SANDBOX), _NoPictures(), now=lambda: now)
    queries = await _queries(store, now)
    places = [None, *[await _id_at(store, now - timedelta(days=days)) for days in (14, 28)]]
    yield Service(handlers={"lists": lambda: lists(store, queries, places)})
    await store.close()


async def _id_at(store: SqlStore, time: datetime) -> str:
    (one,) = await store.list(ListFilter(until=time, limit=1))
    return one.id


async def lists(store: SqlStore, queries: dict[str, ListFilter], places: list[str | None]) -> dict[str, Any]:
    """Milliseconds of the first page, of one in the middle and of a very deep one, of each query."""
    took: dict[str, list[float]] = {}
    for name, query in queries.items():
        for place in places:
            started = time.perf_counter()
            await store.list(replace(query, before=place))
            took.setdefault(name, []).append((time.perf_counter() - started) * 1e3)
    return took


_LIMITS = tuple(SpendLimit(f"usd/bench/{name}", None, Reason.BUDGET_EXHAUSTED) for name in ("global", "tier", "caller"))


async def settling(store: SqlStore, pairs: int, in_flight: int) -> float:
    """Seconds in which so many requests are held under three limits and settled, some at a time."""
    now = datetime.now(UTC)

    async def one(number: str) -> None:
        opening = _opening(number, now)
        opened = await store.open(opening)
        assert isinstance(opened, Opened)  # noqa: S101 - no limit has a cap
        done = {"state": AttemptState.FINISHED, "outcome": Outcome.IMAGE, "cost": Cost(_CHARGE), "finish_time": now}
        await store.finish_attempt(opening.generation.id, replace(opening.attempts[0], **done), None)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        waiting = iter([f"{started}-{number}" for number in range(pairs)])
        for _ in range(in_flight):
            group.create_task(_each(waiting, one))
    return time.perf_counter() - started


def _opening(number: str, now: datetime, outputs: int = 1) -> Opening:
    plan = Plan("standard", (), (), Fidelity.ADAPT, "", "")
    drawn = tuple(Output(index) for index in range(outputs))
    made = Generation(f"gen_{number}", "bench", GenerationRequest("a fox"), plan, now, outputs=drawn)
    attempts = tuple(
        Attempt(f"att_{number}_{index}", index, 0, "openai", "gpt-image-2", None, _HOLD, create_time=now)
        for index in range(outputs)
    )
    return Opening(made, "", attempts, _LIMITS)


async def recovery(database: Database, store: SqlStore, generations: int) -> float:
    """Seconds in which what a killed process left is resolved: of each generation one attempt of two was sent."""
    started = time.perf_counter()
    left = [_opening(f"{started}-{number}", datetime.now(UTC), outputs=2) for number in range(generations)]

    def leave(connection: Connection) -> None:
        attempts = [(opening, attempt) for opening in left for attempt in opening.attempts]
        connection.execute(schema.generation.insert(), [rows.generation_row(opening) for opening in left])
        connection.execute(schema.attempt.insert(), [rows.first_attempt_row(*each) for each in attempts])
        ledger.reserve(connection, [attempt for _, attempt in attempts], _LIMITS)
        is_sent = (schema.attempt.c.output_index == 0) & (schema.attempt.c.state != AttemptState.FINISHED.value)
        connection.execute(schema.attempt.update().where(is_sent).values(state=AttemptState.SENT.value))

    await database.write(leave)
    started = time.perf_counter()
    recovered = await store.recover()
    took_s = time.perf_counter() - started
    assert (recovered.released, recovered.unknown) == (generations, generations)  # noqa: S101 - or it measured nothing
    return took_s


async def _each(waiting: Iterator[str], one: Callable[[str], Awaitable[None]]) -> None:
    for number in waiting:
        await one(number)


if __name__ == "__main__":
    serve(history, run=uvloop.run)
