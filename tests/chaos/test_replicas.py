"""Several gateways on one PostgreSQL: each works in peace, and what one leaves when it dies another resolves."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from sqlalchemy import select

from gateway import GPT, NANO, Gateway, gateway, gemini_account, openai_account, refusal
from mortal import Nursery, connected, life, nursery
from oracle.balance import account, lost_pictures, problems
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.generation_pb2 import Generation
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictord.app import Outside
from pictord.jobs.crash_points import CrashPoint
from pictord.sandbox import Sandbox, SandboxSettings, run
from pictord.store.replicas import LEASE_S
from pictord.store.schema import replica

DAILY_CAP_NANOS = 10**15


@pytest.fixture(scope="module")
def born() -> Iterator[Nursery]:
    with nursery() as running:
        yield running


@pytest.fixture
def database(request, databases) -> str:
    where = databases.postgresql(request.getfixturevalue("postgresql"))
    return where.url.render_as_string(hide_password=False).replace("+psycopg", "")


@pytest.fixture
async def engines() -> AsyncIterator[Sandbox]:
    async with run(SandboxSettings(time_scale=0)) as sandbox:
        yield sandbox
        sandbox.release_stalls()


@dataclass
class Heart:
    """A replica's clock, and the pauses between its sweeps: it beats when the test says so."""

    later_s: float = 0.0
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    _rests: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def outside(self) -> Outside:
        return Outside(clock=lambda: time.monotonic() + self.later_s, sweep_pause=self._pause)

    async def _pause(self, _seconds: float) -> None:
        self._rests.set()
        await self._turn.acquire()

    async def beat(self, after_s: float = 0.0) -> None:
        """Sweep once, that much later."""
        self.later_s += after_s
        await self._rests.wait()
        self._rests.clear()
        self._turn.release()
        await self._rests.wait()


@asynccontextmanager
async def replica_of(
    engines: Sandbox, database: str, data_dir: Path, heart: Heart | None = None, **settings
) -> AsyncIterator[Gateway]:
    given = {"openai": openai_account(engines), "gemini": gemini_account(engines)} | settings
    outside = (heart or Heart()).outside
    async with gateway(
        real=True, outside=outside, data_dir=data_dir, database=database, daily_cap_nanos=DAILY_CAP_NANOS, **given
    ) as pictor:
        yield pictor


def wanted(prompt: str = "a fox", **fields) -> service.GenerateRequest:
    small = {"model": NANO, "canvas": image.Canvas(resolution=image.RESOLUTION_512)}
    return service.GenerateRequest(**({"prompt": prompt, "request_id": prompt} | small | fields))


async def of(pictor: Gateway, request_id: str = "a fox") -> Generation:
    return (await pictor.history.GetGeneration(history.GetGenerationRequest(request_id=request_id))).generation


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def balanced(pictor: Gateway, engines: Sandbox):
    await engines.settle()
    books = await account(pictor, engines)
    assert problems(books) == []
    return books


async def test_a_second_replica_disturbs_nothing_of_the_first(engines, database, tmp_path):
    """It starts, and looks for dead ones for a minute, while a call of the first is in flight."""
    one, two = Heart(), Heart()
    engines.faults.add("stall", times=1)
    async with replica_of(engines, database, tmp_path / "1", one) as first:
        call = asyncio.ensure_future(first.images.Generate(wanted()))
        await engines.wait_for_stalls(1)
        async with replica_of(engines, database, tmp_path / "2", two) as second:
            for _ in range(6):
                await one.beat(after_s=10)
                await two.beat(after_s=10)
            meanwhile = await of(second)
            engines.release_stalls()
            made = (await call).generation
            books = await balanced(second, engines)

    assert meanwhile.state == Generation.STATE_RUNNING
    assert (made.state, made.cost.basis) == (Generation.STATE_SUCCEEDED, image.COST_BASIS_REPORTED)
    assert (len(books.generations), len(engines.requests)) == (1, 1)


async def test_a_request_that_another_replica_runs_is_waited_for(engines, database, tmp_path):
    """The same request id at both is drawn and paid once, and both callers get it."""
    engines.faults.add("stall", times=1)
    async with (
        replica_of(engines, database, tmp_path / "1") as first,
        replica_of(engines, database, tmp_path / "2") as second,
    ):
        asked = asyncio.Event()
        claimed = second.app.store.claimed

        async def asks(*arguments):
            answer = await claimed(*arguments)
            asked.set()
            return answer

        second.app.store.claimed = asks
        drawn = asyncio.ensure_future(first.images.Generate(wanted(max_inline_bytes=0)))
        await engines.wait_for_stalls(1)
        joined = asyncio.ensure_future(second.images.Generate(wanted(max_inline_bytes=0)))
        await asked.wait()
        engines.release_stalls()
        made, again = (await drawn).generation, (await joined).generation

    assert (again.id, again.replayed, again.cost) == (made.id, False, made.cost)
    assert len(engines.requests) == 1


@pytest.mark.parametrize("how", ["watched", "asked for"])
async def test_a_stream_of_what_another_replica_draws_ends_with_it(engines, database, tmp_path, how):
    """`completed` is never said of what still runs."""
    engines.faults.add("stall", times=1)
    async with (
        replica_of(engines, database, tmp_path / "1") as first,
        replica_of(engines, database, tmp_path / "2") as second,
    ):
        drawn = asyncio.ensure_future(first.images.Generate(wanted(max_inline_bytes=0)))
        await engines.wait_for_stalls(1)
        running = await of(second)
        looked, waits = second.app.store.get, asyncio.Event()

        async def looks(*arguments):
            found = await looked(*arguments)
            if looks.times:
                waits.set()  # what it finds from here on comes after `completed` could have been said
            looks.times += 1
            return found

        looks.times, second.app.store.get = 0, looks
        if how == "watched":
            watching = history.WatchGenerationRequest(generation_id=running.id, after_sequence=2)
            answers = second.history.WatchGeneration(watching)
        else:
            asked = service.GenerateStreamRequest(request=wanted(max_inline_bytes=0))
            answers = second.images.GenerateStream(asked)
        first_answer = asyncio.ensure_future(answers.read())
        await waits.wait()
        engines.release_stalls()
        end = (await first_answer).event.completed.generation
        made = (await drawn).generation
        after = await answers.read()

    assert (end.id, end.state, end.cost) == (made.id, Generation.STATE_SUCCEEDED, made.cost)
    assert after is grpc.aio.EOF
    assert len(engines.requests) == 1


async def test_what_a_killed_replica_left_another_resolves_after_the_lease(born, engines, database, tmp_path):
    """Not before; then the sent call is unknown, listed and told, and its request id answers everywhere, unsent."""
    heart = Heart()
    engines.faults.add("stall", times=1)
    async with replica_of(engines, database, tmp_path / "2", heart) as second:
        async with (
            born.gateway(engines, tmp_path / "1", database=database) as first,
            connected(first) as channel,
        ):
            call = asyncio.ensure_future(ImageServiceStub(channel).Generate(wanted()))
            await engines.wait_for_stalls(1)
            await heart.beat()
            first.kill()
            await first.dead()
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        await heart.beat(after_s=LEASE_S - 1)
        before = await of(second)
        await heart.beat(after_s=1)
        after = await of(second)
        again = await refused(second.images.Generate(wanted()))
        await second.app.alerts.look()
        alerts = (await second.usage.ListAlerts(usage.ListAlertsRequest())).alerts
        engines.release_stalls()
        books = await balanced(second, engines)

    assert [(each.kind, each.subject) for each in alerts] == [("unknown_cost", "gemini")]
    assert before.state == Generation.STATE_RUNNING
    assert (after.state, after.reason) == (Generation.STATE_FAILED, "SHUTTING_DOWN")
    assert after.cost.basis == image.COST_BASIS_UNKNOWN
    assert again.reason == "SHUTTING_DOWN"
    assert len(engines.requests) == 1
    assert books.ledger_nanos >= books.charged_nanos > 0


async def test_a_picture_that_its_dead_replica_had_is_found_when_that_one_comes_back(born, engines, database, tmp_path):
    """Another one has called it unknown meanwhile; then what it came to is known, and the picture is there."""
    heart = Heart()
    async with replica_of(engines, database, tmp_path / "2", heart) as second:
        last = life(engines, tmp_path / "1", database=database, crash_at=CrashPoint.BEFORE_ASSET_PUT)
        first = await born.born(last)
        try:
            async with connected(first) as channel:
                await heart.beat()
                with pytest.raises(grpc.aio.AioRpcError):
                    await ImageServiceStub(channel).Generate(wanted())
            await first.dead()
        finally:
            await first.end()
        await heart.beat(after_s=LEASE_S)
        lost = await of(second)
        async with replica_of(engines, database, tmp_path / "1") as back:
            found = await of(second)
            books = await balanced(second, engines)
            missing = await lost_pictures(back, [found])
            again = (await back.images.Generate(wanted())).generation

    assert (lost.state, lost.cost.basis) == (Generation.STATE_FAILED, image.COST_BASIS_UNKNOWN)
    assert (found.state, found.reason, found.text) == (Generation.STATE_SUCCEEDED, "", "")
    assert (found.cost.basis, missing) == (image.COST_BASIS_REPORTED, [])
    assert books.ledger_nanos == books.charged_nanos > 0
    assert (again.id, again.replayed) == (found.id, True)


async def test_a_replica_that_only_stalled_finishes_what_it_had_sent(engines, database, tmp_path):
    """It was taken for dead and its call for unknown: its result replaces that, paid once, in all the sums."""
    one, two = Heart(), Heart()
    engines.faults.add("stall", times=1)
    async with (
        replica_of(engines, database, tmp_path / "1", one) as first,
        replica_of(engines, database, tmp_path / "2", two) as second,
    ):
        call = asyncio.ensure_future(first.images.Generate(wanted()))
        await engines.wait_for_stalls(1)
        await two.beat()
        await two.beat(after_s=LEASE_S)
        lost = await of(second)
        engines.release_stalls()
        made = (await call).generation
        found = await of(second)
        books = await balanced(second, engines)
        missing = await lost_pictures(first, [found])

    assert (lost.state, lost.cost.basis) == (Generation.STATE_FAILED, image.COST_BASIS_UNKNOWN)
    assert (made.state, made.cost.basis) == (Generation.STATE_SUCCEEDED, image.COST_BASIS_REPORTED)
    assert (found.state, found.cost) == (made.state, made.cost)
    assert books.ledger_nanos == books.charged_nanos > 0
    assert missing == []


async def test_a_replica_that_stalled_sends_nothing_that_was_released(engines, database, tmp_path):
    """What waited is released by another, its request id is free and drawn there; the first must not send it too."""
    one, two = Heart(), Heart()
    async with (
        replica_of(engines, database, tmp_path / "1", one) as first,
        replica_of(engines, database, tmp_path / "2", two) as second,
    ):
        mark_sent, is_about_to, may = first.app.store.mark_sent, asyncio.Event(), asyncio.Event()

        async def held_up(*arguments) -> None:
            is_about_to.set()
            await may.wait()
            await mark_sent(*arguments)

        first.app.store.mark_sent = held_up
        waiting = asyncio.ensure_future(first.images.Generate(wanted()))
        await is_about_to.wait()
        await two.beat()
        await two.beat(after_s=LEASE_S)
        elsewhere = (await second.images.Generate(wanted())).generation
        may.set()
        late = await refused(waiting)
        books = await balanced(second, engines)

    assert elsewhere.state == Generation.STATE_SUCCEEDED
    assert (late.code, late.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert "paid" not in late.metadata
    assert len(engines.requests) == 1
    assert books.ledger_nanos == books.charged_nanos


async def test_a_replica_that_stalled_starts_no_fallback(engines, database, tmp_path):
    """Its first engine failed after another replica had ended the generation, and that end is what its caller hears."""
    one, two = Heart(), Heart()
    engines.faults.add("stall", provider="openai", times=1)
    async with (
        replica_of(engines, database, tmp_path / "1", one) as first,
        replica_of(engines, database, tmp_path / "2", two) as second,
    ):
        fields = {"model": GPT, "quality": image.QUALITY_LOW, "allow_fallback": True, "canvas": image.Canvas()}
        call = asyncio.ensure_future(first.images.Generate(wanted(**fields)))
        await engines.wait_for_stalls(1)
        await two.beat()
        await two.beat(after_s=LEASE_S)
        for stalled in engines.stalled:
            stalled.reset()
        failed = await refused(call)
        engines.release_stalls()
        books = await balanced(second, engines)

    assert failed.reason == "SHUTTING_DOWN"
    assert failed.metadata["paid"] == "true"
    assert [request.provider for request in engines.requests] == ["openai"]
    assert books.ledger_nanos >= books.charged_nanos > 0


async def test_after_a_stall_new_work_is_again_its_own(engines, database, tmp_path):
    """A replica that was buried beats before it opens anything: nobody resolves that."""
    one, two = Heart(), Heart()
    async with (
        replica_of(engines, database, tmp_path / "1", one) as first,
        replica_of(engines, database, tmp_path / "2", two) as second,
    ):
        await two.beat()
        await two.beat(after_s=LEASE_S)
        one.later_s += LEASE_S
        engines.faults.add("stall", times=1)
        call = asyncio.ensure_future(first.images.Generate(wanted()))
        await engines.wait_for_stalls(1)
        await two.beat()
        meanwhile = await of(second)
        engines.release_stalls()
        made = (await call).generation

    assert meanwhile.state == Generation.STATE_RUNNING
    assert made.state == Generation.STATE_SUCCEEDED


async def test_who_leaves_gives_its_lease_back(engines, database, tmp_path):
    """After a clean stop nobody has to wait for anything."""
    async with replica_of(engines, database, tmp_path / "2") as second:
        async with replica_of(engines, database, tmp_path / "1"):
            pass
        beats = await second.app.store._database.read(lambda connection: connection.execute(select(replica)).all())

    assert [each.id for each in beats] == [(tmp_path / "2" / "replica").read_text()]
