"""The database under the whole gateway: restarts, a file that is locked, a server that is stopped."""

import asyncio
import sqlite3
from contextlib import closing

import grpc
import pytest

from gateway import gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.generation_pb2 import Adaptation, Generation
from pictord.app import Outside
from pictord.settings import SettingsError
from pictord.store.database import address
from pictord.store.sql import Swept
from pictord.store.upkeep import upgrade
from turn import Turn


def generate(**fields) -> service.GenerateRequest:
    return service.GenerateRequest(prompt="a fox", **fields)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, databases, tmp_path) -> dict[str, object]:
    """The settings of a gateway on either database."""
    if request.param == "sqlite":
        return {"data_dir": tmp_path}
    where = databases.postgresql(request.getfixturevalue("postgresql"))
    return {"data_dir": tmp_path, "database": where.url.render_as_string(hide_password=False).replace("+psycopg", "")}


async def test_a_restart_forgets_nothing(database):
    """Record, picture and request id are there again; the same request costs nothing more."""
    async with gateway(**database) as pictor:
        made = (await pictor.images.Generate(generate(request_id="r1"))).generation
    async with gateway(**database) as pictor:
        again = (await pictor.images.Generate(generate(request_id="r1"))).generation

        assert (again.id, again.replayed, again.cost) == (made.id, True, made.cost)
        assert again.outputs[0].image.data == made.outputs[0].image.data
        assert len(pictor.sandbox.charges) == 0


@pytest.mark.parametrize("first_is_real", [True, False])
async def test_real_money_and_a_sandboxs_never_share_a_ledger(database, first_is_real):
    """The first start says whose it is; the other world is one sentence, and the same one goes on."""
    async with gateway(**database, real=first_is_real) as pictor:
        await pictor.images.Generate(generate())

    with pytest.raises(SettingsError) as error:
        async with gateway(**database, real=not first_is_real):
            pass

    held = "a ledger of real money; a sandbox needs" if first_is_real else "a sandbox's ledger; real engines need"
    assert f"holds {held} a database or data directory of" in str(error.value)
    async with gateway(**database, real=first_is_real):
        pass


async def test_a_locked_database_is_a_clear_status_and_nothing_is_sent(tmp_path):
    """Another process that holds the file's lock stops new work, before money; once it lets go, all is well."""
    async with gateway(data_dir=tmp_path) as pictor:
        pictor.app.store._database._lock_timeout_s = 0.05
        with closing(sqlite3.connect(tmp_path / "pictor.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            found = await refused(pictor.images.Generate(generate(request_id="r1")))
            other.execute("ROLLBACK")
        made = (await pictor.images.Generate(generate(request_id="r1"))).generation

        assert (found.code, found.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert "paid" not in found.metadata
        assert "pictor.db" not in found.text
        assert made.state == Generation.STATE_SUCCEEDED
        assert len(pictor.sandbox.charges) == 1


async def test_nothing_is_sent_without_its_record(tmp_path):
    """A database that goes away between intent and sending: the call ends unpaid, and the engine hears nothing."""
    async with gateway(data_dir=tmp_path) as pictor:
        database = pictor.app.store._database
        database._lock_timeout_s = 0.05
        with closing(sqlite3.connect(tmp_path / "pictor.db", isolation_level=None, timeout=5)) as other:
            mark_sent = pictor.app.store.mark_sent

            async def locked(*arguments) -> None:
                other.execute("BEGIN IMMEDIATE")
                try:
                    await mark_sent(*arguments)
                finally:
                    other.execute("ROLLBACK")

            pictor.app.store.mark_sent = locked
            found = await asyncio.wait_for(refused(pictor.images.Generate(generate())), timeout=20)

        assert (found.code, found.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert "paid" not in found.metadata
        assert len(pictor.sandbox.charges) == 0
        record = await pictor.get(found.trailers["pictor-generation-id"])
        assert (record.state, record.reason) == (Generation.STATE_FAILED, "STORE_UNAVAILABLE")
        assert record.cost.amount.nanos == 0


async def test_a_paid_picture_waits_for_a_database_that_comes_back(tmp_path):
    """The engine has drawn, the file is locked: the record is written as soon as it can be."""
    waited, third = [], asyncio.Event()

    async def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            third.set()

    async def let_go() -> None:
        await third.wait()
        other.execute("ROLLBACK")

    async with gateway(data_dir=tmp_path, outside=Outside(sleep=wait)) as pictor:
        with closing(sqlite3.connect(tmp_path / "pictor.db", isolation_level=None, timeout=5)) as other:
            locks_at_the_end(pictor, other)
            answer, _ = await asyncio.gather(_generation(pictor.images.Generate(generate())), let_go())

        assert len(waited) == 3
        assert answer.state == Generation.STATE_SUCCEEDED
        assert not answer.adaptations
        assert len(pictor.sandbox.charges) == 1


async def test_a_paid_picture_outlives_a_database_that_is_away_for_long(tmp_path):
    """Its caller gets it, and hears that it is not kept yet; once the file can be written, it is, at its real cost."""
    turn = Turn()
    async with gateway(data_dir=tmp_path, outside=Outside(sleep=turn.wait)) as pictor:
        with closing(sqlite3.connect(tmp_path / "pictor.db", isolation_level=None, timeout=5)) as other:
            locks_at_the_end(pictor, other)
            told = (await pictor.images.Generate(generate(request_id="r1"))).generation
            joined = (await pictor.images.Generate(generate(request_id="r1"))).generation
            running = await pictor.get(told.id)
            other.execute("ROLLBACK")
        turn.comes.set()
        await pictor.app.jobs.running_ended()
        found = (await pictor.images.Generate(generate(request_id="r1"))).generation

        assert [each.kind for each in told.adaptations] == [Adaptation.KIND_NOT_STORED]
        assert (joined.id, joined.outputs[0].image.data) == (told.id, told.outputs[0].image.data)
        assert running.state == Generation.STATE_RUNNING
        assert (found.id, found.replayed, found.state) == (told.id, True, Generation.STATE_SUCCEEDED)
        assert not found.adaptations
        assert found.cost.amount.nanos == told.cost.amount.nanos == pictor.charged_nanos() > 0
        assert found.outputs[0].image.data == told.outputs[0].image.data != b""
        assert [*(tmp_path / "arrived").iterdir()] == []
        assert len(pictor.sandbox.charges) == 1


async def test_a_failure_that_may_be_paid_is_told_and_then_recorded_as_what_it_was(tmp_path):
    """Not as a shutdown that never was; and nothing more is sent for who was told that it failed."""
    turn = Turn()
    async with gateway(data_dir=tmp_path, outside=Outside(sleep=turn.wait)) as pictor:
        pictor.sandbox.faults.add("server_error", provider="openai", times=1)
        with closing(sqlite3.connect(tmp_path / "pictor.db", isolation_level=None, timeout=5)) as other:
            locks_at_the_end(pictor, other, "finish_attempt")
            told = await refused(
                pictor.images.Generate(generate(request_id="r1", model="gpt-image-2", allow_fallback=True))
            )
            other.execute("ROLLBACK")
        turn.comes.set()
        await pictor.app.jobs.running_ended()
        found = await pictor.get(told.metadata["generation_id"])

        assert (told.reason, told.metadata["paid"]) == ("STORE_UNAVAILABLE", "true")
        assert (found.state, found.reason) == (Generation.STATE_FAILED, "PROVIDER_FAILED")
        assert [each.outcome for each in found.attempts] == ["server_error"]
        assert len(pictor.sandbox.requests) == 1


def locks_at_the_end(pictor, other, last: str = "finish_drawn") -> None:
    """Have somebody else lock the database when what has happened is to be written down for the first time."""
    store = pictor.app.store
    store._database._lock_timeout_s = 0.02
    write = getattr(store, last)

    async def locked(*arguments) -> None:
        setattr(store, last, write)
        other.execute("BEGIN IMMEDIATE")
        await write(*arguments)

    setattr(store, last, locked)


async def test_nobody_else_may_read_the_database(tmp_path):
    """Nor what SQLite keeps beside it: there are prompts in it."""
    async with gateway(data_dir=tmp_path) as pictor:
        await pictor.images.Generate(generate())
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.glob("pictor.db*")}

    assert modes == dict.fromkeys(("pictor.db", "pictor.db-wal", "pictor.db-shm"), "0o600")


async def test_a_folder_that_cannot_be_read_once_does_not_stop_the_heart(tmp_path):
    """Whoever stopped beating for it would be taken for dead by the other replicas."""
    sweeps, rests = asyncio.Semaphore(0), asyncio.Event()

    async def pause(_seconds: float) -> None:
        rests.set()
        await sweeps.acquire()

    async with gateway(data_dir=tmp_path, outside=Outside(sweep_pause=pause)) as pictor:
        store, swept = pictor.app.store, 0

        async def sweep() -> Swept:
            nonlocal swept
            swept += 1
            (tmp_path / "arrived").rename(tmp_path / "away")
            return Swept(frozenset({"gen_1"}), has_recovered=True)

        store.sweep = sweep
        await rests.wait()
        rests.clear()
        sweeps.release()
        await asyncio.wait_for(rests.wait(), 10.0)
        (tmp_path / "away").rename(tmp_path / "arrived")

    assert swept == 1


async def test_a_server_without_tables_refuses_the_start(postgresql):
    """One sentence says what to do, without the password."""
    url = postgresql.url(postgresql.new_database(), password="canary")

    with pytest.raises(SettingsError, match=r"PICTOR_DATABASE.*run `pictord db upgrade`") as refused_start:
        async with gateway(database=url):
            pass

    assert "canary" not in str(refused_start.value)


async def test_a_server_that_is_not_there_refuses_the_start(tmp_path):
    """One sentence, without the password."""
    with pytest.raises(SettingsError, match="PICTOR_DATABASE") as refused_start:
        async with gateway(database=f"postgresql://pictor:canary@/pictor?host={tmp_path}"):
            pass

    assert "canary" not in str(refused_start.value)


async def test_tables_of_a_newer_pictord_refuse_the_start(tmp_path):
    """An older program would not know what it overwrites."""
    upgrade(address(f"sqlite:///{tmp_path}/pictor.db"))
    with closing(sqlite3.connect(tmp_path / "pictor.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SettingsError, match="newer pictord"):
        async with gateway(data_dir=tmp_path):
            pass


async def test_text_that_a_server_cannot_hold_is_no_fault_of_ours(database):
    """NUL in an id finds nothing, in a filter matches nothing, in what is kept is refused with its field."""
    odd = "a\0b"
    async with gateway(**database) as pictor:
        made = (await pictor.images.Generate(generate())).generation
        lookups = [
            pictor.history.GetGeneration(history.GetGenerationRequest(generation_id=odd)),
            pictor.history.GetGeneration(history.GetGenerationRequest(request_id=odd)),
            pictor.history.CancelGeneration(history.CancelGenerationRequest(generation_id=odd)),
            pictor.history.CompareGenerations(history.CompareGenerationsRequest(set_id=odd)),
            pictor.history.RateGeneration(
                history.RateGenerationRequest(generation_id=made.id, won_over_ids=[odd], text=odd)
            ),
            pictor.usage.DeleteBudget(usage.DeleteBudgetRequest(budget_id=odd)),
            pictor.images.Edit(service.EditRequest(request=generate(), image=image.ImageInput(image_id=odd))),
        ]
        assert [(await refused(each)).reason for each in lookups] == ["NOT_FOUND"] * len(lookups)

        filters = {"model": odd, "set_id": odd, "request_id": odd, "labels": {odd: odd}, "provider_request_id": odd}
        for name, value in filters.items():
            listed = await pictor.history.ListGenerations(history.ListGenerationsRequest(**{name: value}))
            assert not listed.generations, name
        assert not (await pictor.usage.GetUsage(usage.GetUsageRequest(caller=odd))).rows

        kept = [({"request_id": odd}, "request_id"), ({"labels": {"k": odd}}, "labels[k]")]
        for fields, where in kept:
            told = await refused(pictor.images.Generate(generate(**fields)))
            assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
            assert where in told.text
        assert len(pictor.sandbox.charges) == 1


async def test_a_list_is_narrowed_by_no_more_labels_than_a_request_has(database):
    """A join of a hundred tables is none that a database takes, and says nothing of the caller's mistake."""
    async with gateway(**database) as pictor:
        labels = {f"key-{number}": "value" for number in range(100)}

        told = await refused(pictor.history.ListGenerations(history.ListGenerationsRequest(labels=labels)))

        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert told.text == "labels: at most 16, these are 100"


async def test_who_asks_another_replica_the_same_again_gets_what_the_first_one_draws(databases, postgresql):
    """Unary or as a stream: the second waits for the first, and nothing is paid twice."""
    where = databases.postgresql(postgresql).url.render_as_string(hide_password=False).replace("+psycopg", "")
    async with gateway(database=where) as first, gateway(database=where) as second:
        has_come, go_on, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
        mark_sent, claimed = first.app.store.mark_sent, second.app.store.claimed

        async def waits(*arguments) -> None:
            has_come.set()
            await go_on.wait()
            await mark_sent(*arguments)

        async def is_heard(*arguments):
            answer = await claimed(*arguments)
            asked.set()
            return answer

        first.app.store.mark_sent, second.app.store.claimed = waits, is_heard
        same = generate(request_id="r1", max_inline_bytes=0)  # each has pictures of its own here
        drawing = asyncio.create_task(_generation(first.images.Generate(same)))
        await asyncio.wait_for(has_come.wait(), 10)
        joined = asyncio.create_task(_generation(second.images.Generate(same)))
        await asyncio.wait_for(asked.wait(), 10)
        asked.clear()
        streamed = asyncio.create_task(_last(second, same))
        await asyncio.wait_for(asked.wait(), 10)
        go_on.set()

        made, again, end = await asyncio.wait_for(asyncio.gather(drawing, joined, streamed), 20)

        assert made.id == again.id == end.completed.generation.id
        assert again.outputs[0].image.sha256 == made.outputs[0].image.sha256
        assert end.completed.generation.state == Generation.STATE_SUCCEEDED
        assert (len(first.sandbox.charges), len(second.sandbox.charges)) == (1, 0)


async def _generation(call) -> Generation:
    return (await call).generation


async def _last(pictor, request):
    """The last event of a stream."""
    async for response in pictor.images.GenerateStream(service.GenerateStreamRequest(request=request)):
        last = response.event
    return last
