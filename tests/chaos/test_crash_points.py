"""Sudden death at each of the eight crash points: the next start balances the account, and loses no picture."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from gateway import NANO, Gateway, Refusal, gateway, gemini_account, openai_account, refusal
from mortal import Life, Nursery, connected, life, nursery
from oracle.balance import Account, account, lost_pictures, problems
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.generation_pb2 import Attempt, Generation
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictor.v1.usage_service_pb2_grpc import UsageServiceStub
from pictord.jobs.crash_points import CrashPoint
from pictord.sandbox import Sandbox, SandboxSettings, run
from pictord.settings import PicturesTable
from s3_server import BUCKET, s3_server

NEVER_SENT = {CrashPoint.AFTER_OPEN, CrashPoint.BEFORE_MARK_SENT}
UNKNOWN = {CrashPoint.AFTER_MARK_SENT, CrashPoint.AFTER_FIRST_BYTE_SENT, CrashPoint.AFTER_RESPONSE}
ARRIVED = {CrashPoint.BEFORE_ASSET_PUT, CrashPoint.AFTER_ASSET_PUT, CrashPoint.AFTER_FINISH}


@pytest.fixture(scope="module")
def born() -> Iterator[Nursery]:
    with nursery() as running:
        yield running


@pytest.fixture
async def engines() -> AsyncIterator[Sandbox]:
    async with run(SandboxSettings(time_scale=0)) as sandbox:
        yield sandbox


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, databases) -> str | None:
    """The address of a database, None for the file in the data directory."""
    if request.param == "sqlite":
        return None
    where = databases.postgresql(request.getfixturevalue("postgresql"))
    return where.url.render_as_string(hide_password=False).replace("+psycopg", "")


def wanted() -> service.GenerateRequest:
    return service.GenerateRequest(
        prompt="a mortal fox", model=NANO, canvas=image.Canvas(resolution=image.RESOLUTION_512), request_id="r1"
    )


async def ask_and_die(nursery: Nursery, last: Life) -> None:
    """One call to a gateway that dies on it."""
    mortal = await nursery.born(last)
    try:
        async with connected(mortal) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as broken:
                await ImageServiceStub(channel).Generate(wanted())
        await asyncio.wait_for(mortal.dead(), 20)
    finally:
        await mortal.end()
    assert broken.value.code() is grpc.StatusCode.UNAVAILABLE


@asynccontextmanager
async def restarted(engines: Sandbox, data_dir: Path, **settings) -> AsyncIterator[Gateway]:
    """The next process on the same data, here."""
    accounts = {"openai": openai_account(engines), "gemini": gemini_account(engines)}
    async with gateway(real=True, daily_cap_nanos=10**15, data_dir=data_dir, **accounts, **settings) as pictor:
        yield pictor


async def ask_again(pictor: Gateway) -> Generation | Refusal:
    try:
        return (await pictor.images.Generate(wanted())).generation
    except grpc.aio.AioRpcError as error:
        return refusal(error)


async def balanced(pictor: Gateway, engines: Sandbox) -> Account:
    """The account, which agrees with the charge log, and whose pictures are all there."""
    await engines.settle()
    books = await account(pictor, engines)
    assert problems(books) == []
    assert await lost_pictures(pictor, books.generations) == []
    return books


async def made_by(pictor: Gateway, version: str) -> list[Generation]:
    answer = await pictor.history.ListGenerations(history.ListGenerationsRequest(model_version=version))
    return list(answer.generations)


def only_attempt(books: Account) -> Attempt:
    (attempt,) = books.attempts
    return attempt


async def test_what_a_crash_left_unknown_is_told_with_the_budgets_that_it_fills(born, engines, tmp_path, database):
    """By the next start itself: nobody has to draw anything before an operator hears of it."""
    cent = usage.Budget(
        id="cent", counted=usage.Budget.COUNTED_GLOBAL, window=usage.Budget.WINDOW_DAY, usd={"nanos": 10**7}, soft=True
    )
    mortal = await born.born(life(engines, tmp_path, database=database, crash_at=CrashPoint.AFTER_MARK_SENT))
    try:
        async with connected(mortal) as channel:
            await UsageServiceStub(channel).SetBudget(usage.SetBudgetRequest(budget=cent))
            with pytest.raises(grpc.aio.AioRpcError):
                await ImageServiceStub(channel).Generate(wanted())
        await asyncio.wait_for(mortal.dead(), 20)
    finally:
        await mortal.end()

    for _ in range(2):  # again at the next one it is no news
        async with restarted(engines, tmp_path, database=database) as pictor:
            await pictor.app.alerts.look()
            alerts = (await pictor.usage.ListAlerts(usage.ListAlertsRequest())).alerts

        told = sorted((each.kind, each.subject) for each in alerts)
        assert told == [*[("budget", "cent")] * 3, ("unknown_cost", "gemini")]


@pytest.mark.parametrize("point", CrashPoint)
async def test_after_a_crash_the_account_balances_and_no_picture_that_arrived_is_lost(
    born, engines, tmp_path, database, point
):
    """Kill -9, restart: released, or unknown and listed, or the picture itself; the request id as the rules say."""
    await ask_and_die(born, life(engines, tmp_path, database=database, crash_at=point))
    async with restarted(engines, tmp_path, database=database) as pictor:
        books = await balanced(pictor, engines)
        (generation,), attempt = books.generations, only_attempt(books)
        unknown = await pictor.usage.GetUsage(usage.GetUsageRequest(unknown_only=True))
        again = await ask_again(pictor)
        after = await balanced(pictor, engines)
        by_version = [each.id for each in await made_by(pictor, attempt.model_version)]
        estimated = (await pictor.app.store.get(generation.id)).attempts[0].estimated_nanos
        left = [*(tmp_path / "arrived").iterdir()]

    assert left == []
    if point in NEVER_SENT:
        assert (generation.state, generation.cost.amount.nanos) == (Generation.STATE_CANCELLED, 0)
        assert (len(engines.requests), again.state, again.replayed) == (1, Generation.STATE_SUCCEEDED, False)
        return
    assert len(engines.requests) <= 1
    assert len(after.generations) == 1
    if point in UNKNOWN:
        assert (generation.state, generation.reason) == (Generation.STATE_FAILED, "SHUTTING_DOWN")
        assert (attempt.cost.basis, attempt.cost.amount.nanos) == (image.COST_BASIS_UNKNOWN, estimated)
        assert unknown.total.unknown_cost.nanos == attempt.cost.amount.nanos
        assert (again.reason, again.metadata["paid"]) == ("SHUTTING_DOWN", "true")
    else:
        assert (generation.state, attempt.cost.basis) == (Generation.STATE_SUCCEEDED, image.COST_BASIS_REPORTED)
        assert books.ledger_nanos == books.charged_nanos > 0
        assert unknown.total.cost.nanos == 0
        assert (again.id, again.replayed) == (generation.id, True)
        assert again.outputs[0].image.sha256 == generation.outputs[0].image.sha256
        assert by_version == [generation.id]


class Deaf(asyncio.Protocol):
    """A bucket that takes every connection, and never says anything."""

    heard: asyncio.Event

    def data_received(self, data: bytes) -> None:
        self.heard.set()


async def test_a_picture_outlives_a_bucket_that_takes_for_ever(born, engines, tmp_path):
    """Killed while the bucket is still silent: the next process has the picture, and puts it there."""
    Deaf.heard = asyncio.Event()
    deaf = await asyncio.get_running_loop().create_server(Deaf, "127.0.0.1", 0)
    at = f"http://127.0.0.1:{deaf.sockets[0].getsockname()[1]}"
    async with deaf, born.gateway(engines, tmp_path, pictures=bucket(at)) as mortal, connected(mortal) as channel:
        call = asyncio.ensure_future(ImageServiceStub(channel).Generate(wanted()))
        await asyncio.wait_for(Deaf.heard.wait(), 20)
        mortal.kill()
        await mortal.dead()
        with pytest.raises(grpc.aio.AioRpcError):
            await call

    with s3_server() as s3:
        async with restarted(engines, tmp_path, pictures=PicturesTable(**bucket(s3.endpoint))) as pictor:
            books = await balanced(pictor, engines)
            (picture,) = [each.image for each in books.generations[0].outputs]

            assert s3.objects() == [f"p/{picture.sha256[:2]}/{picture.sha256}"]
            assert books.ledger_nanos == books.charged_nanos > 0


def bucket(endpoint: str) -> dict[str, str]:
    return {
        "url": f"s3://{BUCKET}/p",
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key": "secret",
    }
