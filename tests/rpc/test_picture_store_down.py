"""An object store that goes away and comes back, and a disk that fills up: seen from a caller."""

import asyncio
from dataclasses import replace

import grpc
import pytest

from gateway import NANO, gateway, refusal
from pictor.v1.history_service_pb2 import DownloadImageRequest, UploadImageRequest
from pictor.v1.image_service_pb2 import GenerateRequest, PlanRequest
from pictord import app
from pictord.assets.spool import Spool
from pictord.settings import PicturesTable
from s3_server import BUCKET, s3_server

PROMPT = GenerateRequest(prompt="a red fox", model=NANO)


@pytest.fixture
def s3():
    with s3_server() as running:
        yield running


def bucket(s3):
    return PicturesTable(f"s3://{BUCKET}/p", s3.endpoint, "us-east-1", "key", "secret")


async def draw(pictor, **changes):
    request = GenerateRequest(prompt=PROMPT.prompt, model=NANO, **changes)
    return (await pictor.images.Generate(request)).generation.outputs[0].image


async def download(pictor, image):
    messages = [each async for each in pictor.history.DownloadImage(DownloadImageRequest(image_id=image.id))]
    return b"".join(each.chunk.data for each in messages)


async def test_pictures_go_into_the_bucket(s3):
    """With PICTOR_PICTURES set, what is drawn lies in the bucket and comes back from there."""
    async with gateway(pictures=bucket(s3)) as pictor:
        image = await draw(pictor)

        assert s3.objects() == [f"p/{image.sha256[:2]}/{image.sha256}"]
        assert await download(pictor, image) == image.data


async def test_a_paid_picture_outlives_its_store(s3, tmp_path, monkeypatch):
    """The store is down when the picture arrives: it is delivered, kept, served, and moved when the store is back."""
    asked, turn, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def pause(_seconds):
        asked.set()
        await turn.wait()

    async def delete(spool, sha256, forget=Spool.delete):
        await forget(spool, sha256)
        left.set()

    monkeypatch.setattr(Spool, "delete", delete)
    outside = replace(app.Outside(), sleep=pause)
    async with gateway(pictures=bucket(s3), outside=outside, data_dir=tmp_path) as pictor:
        s3.stop()
        image = await draw(pictor)

        assert image.data
        assert await download(pictor, image) == image.data
        assert [path.name for path in (tmp_path / "spool").glob("*/*")] == [image.sha256]

        await asked.wait()
        s3.start_again()
        turn.set()
        await left.wait()

        assert s3.objects() == [f"p/{image.sha256[:2]}/{image.sha256}"]
        assert not [*(tmp_path / "spool").glob("*/*")]
        assert await download(pictor, image) == image.data


async def test_a_picture_that_cannot_be_read_now_is_not_called_expired(s3):
    """Whoever asks while the store is down is told to come back."""
    async with gateway(pictures=bucket(s3)) as pictor:
        image = await draw(pictor)
        s3.stop()

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await download(pictor, image)

    refused = refusal(raised.value)
    assert (refused.code, refused.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert "127.0.0.1" not in refused.text


@pytest.fixture
def nearly_full():
    return replace(app.Outside(), free_share=lambda _folder: 0.05)


async def test_a_nearly_full_disk_refuses_before_money(nearly_full):
    """Below a tenth of free disk no engine is called, and the refusal says why."""
    async with gateway(outside=nearly_full) as pictor:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await draw(pictor)

        refused = refusal(raised.value)
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "STORE_FULL")
        assert refused.text == "there is no room for another picture: 5.0% of the disk is free, 10% must be"
        assert "paid" not in refused.metadata
        assert not pictor.sandbox.charges


async def test_a_plan_says_that_there_is_no_room(nearly_full):
    """`Plan` tells what would be refused, this too."""
    async with gateway(outside=nearly_full) as pictor:
        planned = await pictor.images.Plan(PlanRequest(generate=PROMPT))

    assert planned.refusal.reason == "STORE_FULL"


async def test_a_nearly_full_disk_takes_no_upload(nearly_full, tmp_path):
    """What is left of the disk is not for callers' own pictures."""
    async with gateway() as roomy:
        data = (await draw(roomy)).data

    async def messages():
        yield UploadImageRequest(data=data)

    async with gateway(outside=nearly_full) as pictor:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await pictor.history.UploadImage(messages())

    assert refusal(raised.value).reason == "STORE_FULL"


async def test_what_was_drawn_is_replayed_though_the_disk_is_full():
    """A repeated request id needs no room: its picture is there already."""
    free = [1.0]
    async with gateway(outside=replace(app.Outside(), free_share=lambda _folder: free[0])) as pictor:
        first = await draw(pictor, request_id="r-1")
        free[0] = 0.0

        assert (await draw(pictor, request_id="r-1")).data == first.data
