"""A database full of history: as many generations as are asked for, with attempts, outputs, pictures and labels.

The requests are the 5,000 of `pictord simulate`, planned by the real router and written by the store's own row
functions; each is repeated under new ids, callers, end users, labels and times, which is plain copying and fast. Rows
go in by COPY or `executemany`, and the indexes are made at the end. A million generations take 4.5 GB.

    python -m bench.seeding sqlite:///tmp/history.db --generations 1000000
"""

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, create_engine

from pictord.catalog import catalog
from pictord.domain.generation import Attempt, AttemptState, Generation, Image, Output, State, Timings
from pictord.domain.ids import Ids
from pictord.domain.money import Cost, Usage
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.routing import policy, router
from pictord.routing.availability import Availability
from pictord.store import rows, schema
from pictord.store.base import Ending, Opening
from pictord.store.database import Address, address
from pictord.store.upkeep import upgrade
from pictord.whatif import workload

SPAN = timedelta(days=29)
"""All of it was made within this time, the newest just now: inside retention's 30 days."""

CALLERS = tuple(f"team-{number:02}" for number in range(20))
TEAMS = ("ads", "blog", "brand", "crm", "growth", "help", "labs", "mail", "press", "shop", "social", "web")
END_USERS, CAMPAIGNS = 50_000, 2_000
STILL_RUNNING = 40
"""The newest have not ended."""

_BATCH = 10_000
_TABLES = (schema.generation, schema.attempt, schema.output, schema.image, schema.label, schema.claim)
_USAGE = Usage(text_in_tokens=60, image_in_tokens=0, text_out_tokens=0, image_out_tokens=1_120)

_Rows = Mapping[Table, list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class _Template:
    """The rows of one generation that ended well, but for what each copy has for itself."""

    generation: Mapping[str, Any]
    attempts: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    images: Sequence[Mapping[str, Any]]
    ended: Mapping[str, Any]


def seed(where: Address, generations: int, now: datetime, told: Callable[[int], None] = lambda _: None) -> None:
    """Make the tables and fill them; `told` hears how many generations are in.

    Raises:
        DatabaseRefused: the database cannot be opened.
    """
    upgrade(where)
    engine = create_engine(where.url)
    with engine.begin() as connection:
        indexes = [index for table in _TABLES for index in table.indexes]
        for index in indexes:
            index.drop(connection)
        done = 0
        for batch in _batches(generations, now):
            for table, tuples in batch.items():
                _write(connection, table, tuples)
            done += len(batch[schema.generation])
            told(done)
        for index in indexes:
            index.create(connection)
    if not where.is_sqlite:  # what autovacuum would have done by itself
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def _write(connection: Connection, table: Table, tuples: list[tuple[Any, ...]]) -> None:
    names = [column.name for column in table.columns]
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})", tuples)  # noqa: S608 - our own name
        return
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:  # type: ignore[attr-defined]
        for each in tuples:
            copy.write_row(each)


def _batches(generations: int, now: datetime) -> Iterator[_Rows]:
    chance = random.Random(generations)
    templates = _templates(now)
    clock_ms = 0
    new_id = Ids(lambda: clock_ms, chance.getrandbits)
    batch: defaultdict[Table, list[tuple[Any, ...]]] = defaultdict(list)
    earlier: list[str] = []
    set_id, left_in_set = "", 0
    for number in range(generations):
        created = now - SPAN + SPAN * (number + 1) / generations
        clock_ms = int(created.timestamp() * 1000)
        template = templates[chance.randrange(len(templates))]
        own: dict[str, Any] = {
            "id": new_id("gen"),
            "caller": CALLERS[min(int(chance.expovariate(0.3)), len(CALLERS) - 1)],
            "request_id": f"r-{number}" if chance.random() < 0.7 else None,
            "end_user": f"{chance.randrange(END_USERS):064x}" if chance.random() < 0.6 else None,
            "reroll_of": chance.choice(earlier) if earlier and chance.random() < 0.08 else None,
            "set_id": None,
        }
        if left_in_set or chance.random() < 0.01:
            set_id, left_in_set = (set_id, left_in_set - 1) if left_in_set else (new_id("set"), 7)
            own["set_id"] = set_id
        labels = {"team": chance.choice(TEAMS)} if chance.random() < 0.8 else {}
        if labels and chance.random() < 0.5:
            labels["campaign"] = f"c-{chance.randrange(CAMPAIGNS)}"
        fate = chance.random()
        state = State.SUCCEEDED if fate < 0.95 else State.FAILED if fate < 0.99 else State.CANCELLED
        if number >= generations - STILL_RUNNING:
            state = State.RUNNING
        _add(batch, template, own, labels, state=state, created=rows.micros(created), new_id=new_id)
        earlier.append(own["id"])
        if len(earlier) > 1_000:
            earlier = earlier[500:]
        if len(batch[schema.generation]) == _BATCH:
            yield batch
            batch = defaultdict(list)
    if batch:
        yield batch


def _add(
    batch: Mapping[Table, list[tuple[Any, ...]]],
    template: _Template,
    own: Mapping[str, Any],
    labels: Mapping[str, str],
    *,
    state: State,
    created: int,
    new_id: Ids,
) -> None:
    """One copy of a template, under its own names and at its own time."""
    generation_id, taken = own["id"], 1_000_000 * (5 + created % 60)
    said = template.generation["record"]
    said = said.replace('"labels":{}', f'"labels":{json.dumps(labels)}', 1)
    said = said.replace('"request_id":null', f'"request_id":{json.dumps(own["request_id"])}', 1)
    is_over, is_drawn = state is not State.RUNNING, state is State.SUCCEEDED
    ended = {"state": state.value}
    if is_over:
        ended = dict(template.ended) | ended | {"finish_time": created + taken, "kept_since": created + taken}
    if is_over and not is_drawn:
        ended |= {"reason": Reason.PROVIDER_FAILED.value, "text": "gpt-image-2: server_error", "served_version": None}
    _append(batch, schema.generation, {**template.generation, **own, "record": said, "create_time": created, **ended})
    grouping = {name: own[name] for name in ("caller", "end_user")}
    day = rows.time(created).date().isoformat()
    for each in template.attempts:
        changes = {"id": new_id("att"), "generation_id": generation_id, "day": day, "create_time": created}
        times = {"sent_time": created + 1_000, "finish_time": created + taken, "provider_request_id": new_id("req")}
        spent = times if is_over else times | {"state": AttemptState.SENT.value, "finish_time": None, "outcome": None}
        failed = {"outcome": Outcome.SERVER_ERROR.value, "pictures": 0} if is_over and not is_drawn else {}
        _append(batch, schema.attempt, {**each, **grouping, **changes, **spent, **failed})
    if is_over:
        for output, image in zip(template.outputs, template.images, strict=True):
            image_id = new_id("img") if is_drawn else None
            _append(
                batch,
                schema.output,
                {**output, "generation_id": generation_id, "image_id": image_id, "state": state.value},
            )
            if is_drawn:
                names = {"id": image_id, "generation_id": generation_id, "caller": own["caller"]}
                _append(batch, schema.image, {**image, **names, "sha256": f"{created:x}{output['output_index']}" * 4})
    for key, value in labels.items():
        _append(batch, schema.label, {"generation_id": generation_id, "key": key, "value": value})
    if own["request_id"] is not None:
        claim = {"caller": own["caller"], "request_id": own["request_id"], "fingerprint": "0" * 64}
        _append(batch, schema.claim, {**claim, "generation_id": generation_id})


def _append(batch: Mapping[Table, list[tuple[Any, ...]]], table: Table, row: Mapping[str, Any]) -> None:
    batch[table].append(tuple(row.get(column.name) for column in table.columns))


def _templates(now: datetime) -> list[_Template]:
    """Everything of the shipped workload that the policy in force serves."""
    models = catalog.load().at(now.date())
    table, world = policy.load(models, None), Availability({"openai": "openai", "gemini": "developer"})
    made = []
    for each in workload.deal(workload.shipped()):
        request = each.request.with_pictures(lambda _: b"")
        decided = router.plan(each.request, table, models, world)
        if decided.candidates:
            outputs = tuple(Output(index) for index in range(request.count))
            made.append(_template(Generation("", "", request, decided, now, outputs=outputs)))
    return made


def _template(generation: Generation) -> _Template:
    first = generation.plan.candidates[0]
    attempts = tuple(
        Attempt("", output.index, 0, first.provider, first.model, first.quality, first.worst_case_nanos)
        for output in generation.outputs
    )
    opening = Opening(generation, "", attempts, ())
    image = Image("", 0, "image/png", *first.size_px, 1_500_000, "", first.model, first.model, first.snapshot, False)  # noqa: FBT003 - has_c2pa
    cost = Cost(first.expected_nanos)
    done = {"state": AttemptState.FINISHED, "outcome": Outcome.IMAGE, "served_model": first.model}
    finished = [replace(each, usage=_USAGE, cost=cost, served_version=first.snapshot, **done) for each in attempts]
    ending = Ending(State.SUCCEEDED, None, "", Timings(0.0, 20.0, 0.01, 0.01), generation.create_time)
    ended = rows.ending_row("", ending, [image], 0)
    return _Template(
        rows.generation_row(opening) | {"model": first.model},
        [rows.first_attempt_row(opening, each) | {"pictures": 1} for each in finished],
        [rows.output_row("", replace(each, state=State.SUCCEEDED)) for each in generation.outputs],
        [
            rows.image_row("", replace(image, output_index=each.index), generation_id="", kept_since=None)
            for each in generation.outputs
        ],
        {name: value for name, value in ended.items() if name in schema.generation.c},
    )


def main() -> None:
    """Fill the database that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.seeding", description=__doc__.partition("\n")[0])
    parser.add_argument("database", help="sqlite:///FILE or postgresql://user@host/name, empty")
    parser.add_argument("--generations", type=int, default=1_000_000)
    options = parser.parse_args()

    def tell(done: int) -> None:
        sys.stderr.write(f"\r{done:,} generations")

    seed(address(options.database), options.generations, datetime.now(UTC), tell)
    sys.stderr.write("\n")


if __name__ == "__main__":
    main()
