"""DeleteGenerations through the door: what goes, who may, what runs, and that nothing leads there afterwards."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx2
import pytest

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from idle import Idle
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation
from pictor.v1.image_pb2 import ImageInput
from pictor.v1.usage_service_pb2 import GetUsageRequest
from pictord import app
from pictord.auth.callers import hash_key
from pictord.domain.caller import Role
from pictord.settings import CallerTable, PicturesTable
from pictord.store.base import DELETE_AGAIN
from s3_server import BUCKET, s3_server

KEYS = {name: f"pictor_{name}-key-77aa" for name in ("studio", "shop", "reader", "platform")}
STUDIO, SHOP, READER, OPERATOR = ([("x-api-key", key)] for key in KEYS.values())
CALLERS = tuple(
    CallerTable(
        name,
        keys=(hash_key(key),),
        role=Role.OPERATOR if name == "platform" else Role.CALLER,
        may_read_others=name == "reader",
    )
    for name, key in KEYS.items()
)


@pytest.fixture(params=["memory", None], ids=["memory", "sqlite"])
async def pictor(request, tmp_path) -> AsyncIterator[Gateway]:
    settings = {"database": request.param, "data_dir": tmp_path, "http_listen": "127.0.0.1:0"}
    async with gateway(callers=CALLERS, **settings) as running:
        yield running


async def draw(pictor: Gateway, who=STUDIO, **fields) -> Generation:
    request = service.GenerateRequest(**({"prompt": "a red fox", "model": NANO} | fields))
    return (await pictor.images.Generate(request, metadata=who)).generation


async def edit(pictor: Gateway, image_id: str, **fields) -> Generation:
    request = service.GenerateRequest(prompt="stormy", model=NANO, **fields)
    wanted = service.EditRequest(request=request, image=ImageInput(image_id=image_id))
    return (await pictor.images.Edit(wanted, metadata=STUDIO)).generation


async def upload(pictor: Gateway, data: bytes) -> str:
    async def parts():
        yield history.UploadImageRequest(data=data)

    return (await pictor.history.UploadImage(parts(), metadata=STUDIO)).image.id


async def delete(pictor: Gateway, who=STUDIO, **fields) -> history.DeleteGenerationsResponse:
    return await pictor.history.DeleteGenerations(history.DeleteGenerationsRequest(**fields), metadata=who)


async def refused(call) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def listed(pictor: Gateway, who=STUDIO) -> list[str]:
    answer = await pictor.history.ListGenerations(history.ListGenerationsRequest(), metadata=who)
    return [each.id for each in answer.generations]


def get(pictor: Gateway, generation_id: str, who=STUDIO):
    return pictor.history.GetGeneration(history.GetGenerationRequest(generation_id=generation_id), metadata=who)


async def fetched(url: str) -> int:
    async with httpx2.AsyncClient() as client:
        return (await client.get(url)).status_code


async def test_nothing_leads_to_what_was_deleted(pictor, tmp_path):
    """Record, pictures, events and link are gone, also their bytes; the neighbour is untouched."""
    made, other = await draw(pictor, end_user="ann", request_id="r1"), await draw(pictor, prompt="a blue jay")
    image = made.outputs[0].image
    small = image.download_url + "&size=small"
    assert [await fetched(image.download_url), await fetched(small)] == [200, 200]
    assert [path.name for path in (tmp_path / "thumbnails").iterdir()] == [image.sha256]

    deleted = await delete(pictor, generation_ids=[made.id])

    assert (deleted.generation_count, deleted.upload_count, list(deleted.running_ids)) == (1, 0, [])
    gone = await refused(get(pictor, made.id))
    assert (gone.code, gone.reason) == ("NOT_FOUND", "EXPIRED")
    assert (await refused(get(pictor, made.id, SHOP))).reason == "NOT_FOUND"
    watch = pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=made.id), metadata=STUDIO)
    assert (await refused(anext(aiter(watch)))).reason == "EXPIRED"
    assert pictor.app.jobs.log(made.id) is None
    download = pictor.history.DownloadImage(history.DownloadImageRequest(image_id=image.id), metadata=STUDIO)
    assert (await refused(anext(aiter(download)))).reason == "EXPIRED"
    assert {await fetched(image.download_url), await fetched(small)} <= {404, 410}
    assert await listed(pictor) == [other.id]
    assert [*(tmp_path / "thumbnails").iterdir()] == []
    assert [path.name for path in (tmp_path / "images").glob("*/*")] == [other.outputs[0].image.sha256]


async def test_money_is_counted_as_before(pictor):
    """The provider's bill does not change, so neither does ours."""
    await draw(pictor, end_user="ann")
    await draw(pictor, prompt="a blue jay", model=GPT)
    groups = [1, 2, 5]
    before = await pictor.usage.GetUsage(GetUsageRequest(group_by=groups), metadata=STUDIO)

    deleted = await delete(pictor, everything=True)

    assert deleted.generation_count == 2
    after = await pictor.usage.GetUsage(GetUsageRequest(group_by=groups), metadata=STUDIO)
    assert list(after.rows) == list(before.rows)
    assert len(after.rows) == 2
    assert sum(row.cost.units * 10**9 + row.cost.nanos for row in after.rows) == pictor.charged_nanos()


async def test_an_end_users_own_photo_goes_with_what_was_made_from_it(pictor, tmp_path):
    """Uploaded or inline, what they gave and what they got is deleted by their name at this caller alone."""
    photo = (await draw(pictor, prompt="a photo")).outputs[0].image
    uploaded = await upload(pictor, photo.data)
    await edit(pictor, uploaded, end_user="ann")
    shop_ann = await draw(pictor, SHOP, end_user="ann")
    kept = await draw(pictor, end_user="ben", prompt="a blue jay")
    await delete(pictor, generation_ids=[each for each in await listed(pictor) if each != kept.id][-1:])  # the photo's

    deleted = await delete(pictor, end_user="ann")

    assert (deleted.generation_count, deleted.upload_count) == (1, 1)
    assert await listed(pictor) == [kept.id]
    assert await listed(pictor, SHOP) == [shop_ann.id]
    files = {path.name for path in (tmp_path / "images").glob("*/*")}
    assert files == {each.outputs[0].image.sha256 for each in (kept, shop_ann)}


async def test_deleting_again_is_no_error(pictor):
    """A call that may have been cut off is simply repeated."""
    made = await draw(pictor)
    await delete(pictor, generation_ids=[made.id])

    assert (await delete(pictor, generation_ids=[made.id])).generation_count == 0
    assert (await delete(pictor, end_user="nobody")).generation_count == 0


async def test_the_same_request_id_draws_anew(pictor):
    """A replay of what was deleted would bring it back."""
    first = await draw(pictor, request_id="r1")
    await delete(pictor, generation_ids=[first.id])

    again = await draw(pictor, request_id="r1")

    assert (again.id != first.id, again.replayed) == (True, False)
    assert len(pictor.sandbox.charges) == 2


async def test_what_runs_is_left_and_ends_as_it_would_have(pictor):
    """The answer names it; it is paid for, kept, and deleted when it is asked for again."""
    pictor.sandbox.faults.add("stall", times=1)
    request = service.GenerateStreamRequest(request=service.GenerateRequest(prompt="a fox", model=NANO, end_user="ann"))
    stream = pictor.images.GenerateStream(request, metadata=STUDIO)
    running = dict(await stream.initial_metadata())["pictor-generation-id"]
    await pictor.sandbox.wait_for_stalls(1)

    by_name, by_user = await delete(pictor, generation_ids=[running]), await delete(pictor, end_user="ann")
    pictor.sandbox.release_stalls()
    rest = [message.event async for message in stream]

    assert (list(by_name.running_ids), list(by_user.running_ids)) == ([running], [running])
    assert rest[-1].HasField("completed")
    assert (await delete(pictor, end_user="ann")).generation_count == 1


async def test_callers_delete_their_own_and_operators_anybodys(pictor):
    """Another's id is not there; who may read it is told that reading is all."""
    theirs = await draw(pictor, SHOP)

    assert (await refused(delete(pictor, generation_ids=[theirs.id]))).reason == "NOT_FOUND"
    assert (await refused(delete(pictor, READER, generation_ids=[theirs.id]))).reason == "PERMISSION_DENIED"
    for whole in ({"everything": True}, {"end_user": "ann"}):
        assert (await refused(delete(pictor, READER, caller="shop", **whole))).reason == "PERMISSION_DENIED"
    assert await listed(pictor, SHOP) == [theirs.id]

    assert (await delete(pictor, OPERATOR, everything=True)).generation_count == 0, "its own are none"
    assert (await delete(pictor, OPERATOR, everything=True, caller="shop")).generation_count == 1


async def test_one_unknown_id_among_many_deletes_nothing(pictor):
    """A slip of the pen is told before anything is gone."""
    made = await draw(pictor)

    assert (await refused(delete(pictor, generation_ids=[made.id, "gen_none"]))).reason == "NOT_FOUND"
    assert await listed(pictor) == [made.id]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "generation_ids"),
        ({"generation_ids": ["gen_1"], "everything": True}, "generation_ids"),
        ({"end_user": "ann", "everything": True}, "generation_ids"),
        ({"caller": "studio"}, "generation_ids"),
        ({"generation_ids": [f"gen_{number}" for number in range(101)]}, "generation_ids"),
        ({"generation_ids": ["gen_1"], "caller": "studio"}, "caller"),
    ],
)
async def test_what_is_to_be_deleted_is_said_exactly(pictor, fields, field):
    """Nothing is deleted on a guess."""
    found = await refused(delete(pictor, **fields))

    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", (field,))


async def test_a_bucket_that_is_down_loses_no_deletion(tmp_path):
    """The record is gone at once; the next process deletes the bytes, though the first never reached the bucket."""

    async def for_ever(_seconds):
        await asyncio.Event().wait()

    with s3_server() as s3:
        pictures = PicturesTable(f"s3://{BUCKET}", s3.endpoint, "us-east-1", "key", "secret")
        settings = {"pictures": pictures, "data_dir": tmp_path, "callers": CALLERS}
        async with gateway(**settings, outside=replace(app.Outside(), sleep=for_ever)) as pictor:
            made = await draw(pictor)
            assert len(s3.objects()) == 1
            s3.stop()
            assert (await delete(pictor, generation_ids=[made.id])).generation_count == 1
        s3.start_again()
        assert len(s3.objects()) == 1

        async with gateway(**settings) as pictor:
            assert await listed(pictor) == []

        assert s3.objects() == []


async def test_an_idle_gateway_drops_what_is_old(tmp_path):
    """Record and picture go after their time, though nobody calls any more."""
    now, idle = [datetime.now(UTC)], Idle()
    outside = app.Outside(now=lambda: now[0], tidy_pause=idle.pause)
    async with gateway(data_dir=tmp_path, callers=CALLERS, outside=outside) as pictor:
        await draw(pictor)
        now[0] += timedelta(days=31)
        await idle.turn()
        left = records(tmp_path), [*(tmp_path / "images").glob("*/*")]

    assert left == (0, [])


async def test_an_idle_gateway_deletes_what_its_bucket_could_not(tmp_path):
    """Deleted while the bucket was down, by a process that is gone too: the next one needs no call to finish it."""
    now, idle = [datetime.now(UTC)], Idle()
    with s3_server() as s3:
        pictures = PicturesTable(f"s3://{BUCKET}", s3.endpoint, "us-east-1", "key", "secret")
        settings = {"pictures": pictures, "data_dir": tmp_path, "callers": CALLERS}
        async with gateway(**settings, outside=app.Outside(tidy_pause=Idle().pause)) as pictor:
            made = await draw(pictor)
            s3.stop()
            await delete(pictor, generation_ids=[made.id])
        async with gateway(**settings, outside=app.Outside(now=lambda: now[0], tidy_pause=idle.pause)):
            await idle.turn()
            s3.start_again()
            assert len(s3.objects()) == 1
            now[0] += DELETE_AGAIN

            await idle.turn()

            assert s3.objects() == []


def records(data_dir: Path) -> int:
    """How many generations the database holds, read beside the gateway."""
    with closing(sqlite3.connect(data_dir / "pictor.db")) as connection:
        return connection.execute("SELECT count(*) FROM generation").fetchone()[0]


async def test_no_word_of_it_is_left_in_the_database(tmp_path):
    """Not the prompt, not the labels, not what somebody said: whoever opens the file finds only money."""
    async with gateway(data_dir=tmp_path, callers=CALLERS) as pictor:
        made = await draw(pictor, prompt="CANARY prompt", labels={"who": "CANARY label"}, request_id="CANARY-id")
        rating = history.RateGenerationRequest(generation_id=made.id, thumb=1, text="CANARY rating")
        await pictor.history.RateGeneration(rating, metadata=STUDIO)
        await delete(pictor, generation_ids=[made.id])
        words = words_in(tmp_path)

    assert made.id.encode() in words
    assert b"CANARY" not in words, "not even in pages that are free, or in the log of the last writes"


@pytest.mark.parametrize("how", ["deleted while somebody reads", "too old"])
async def test_no_word_is_left_in_the_database_of_an_idle_gateway(tmp_path, how):
    """What cannot be wiped out at once is by the next look, though nobody calls or ends anything."""
    now, idle = [datetime.now(UTC)], Idle()
    outside = app.Outside(now=lambda: now[0], tidy_pause=idle.pause)
    async with gateway(data_dir=tmp_path, callers=CALLERS, outside=outside) as pictor:
        made = await draw(pictor, prompt="CANARY prompt", request_id="CANARY-id")
        if how == "too old":
            now[0] += timedelta(days=31)
        else:
            with closing(sqlite3.connect(tmp_path / "pictor.db", isolation_level=None)) as other:
                other.execute("BEGIN")
                other.execute("SELECT * FROM generation").fetchall()
                await delete(pictor, generation_ids=[made.id])
        before = words_in(tmp_path)
        await idle.turn()
        after = words_in(tmp_path)

    assert (b"CANARY" in before, b"CANARY" in after) == (True, False)


def words_in(data_dir: Path) -> bytes:
    return b"".join(file.read_bytes() for file in data_dir.glob("pictor.db*"))
