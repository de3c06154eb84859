"""Each picture of an answer has a link that anybody can fetch it from, wherever the picture lies."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
import pytest

from gateway import NANO, gateway
from pictor.v1.history_service_pb2 import DownloadImageRequest, ListGenerationsRequest, UploadImageRequest
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateStreamRequest
from pictord import app
from pictord.settings import PicturesTable, SettingsError
from s3_server import BUCKET, s3_server

PROMPT = GenerateRequest(prompt="a red fox", model=NANO)
ANYWHERE = "127.0.0.1:0"


async def draw(pictor):
    return (await pictor.images.Generate(PROMPT)).generation.outputs[0].image


async def fetch(url, **headers):
    async with httpx2.AsyncClient() as client:
        return await client.get(url, headers=headers)


async def test_the_link_brings_the_picture():
    """Byte for byte what the answer holds, with its type, without any key; a range of it too."""
    async with gateway(http_listen=ANYWHERE) as pictor:
        image = await draw(pictor)
        whole, part = await fetch(image.download_url), await fetch(image.download_url, Range="bytes=-100")

    assert (whole.status_code, whole.content) == (200, image.data)
    assert whole.headers["Content-Type"] == image.mime_type
    assert whole.headers["ETag"] == f'"{image.sha256}"'
    assert (part.status_code, part.content) == (206, image.data[-100:])


async def test_the_link_lasts_an_hour():
    """`expire_time` says when to ask for a new one."""
    async with gateway(http_listen=ANYWHERE) as pictor:
        image = await draw(pictor)

    left = image.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(minutes=70)


async def test_every_answer_with_a_picture_has_its_link():
    """Streams, history, downloads and uploads, too."""
    async with gateway(http_listen=ANYWHERE) as pictor:
        stream = pictor.images.GenerateStream(GenerateStreamRequest(request=PROMPT))
        events = [message.event async for message in stream]
        completed = events[-1].completed.generation
        ready = next(event.image.image for event in events if event.HasField("image"))
        listed = (await pictor.history.ListGenerations(ListGenerationsRequest())).generations[0]
        download = pictor.history.DownloadImage(DownloadImageRequest(image_id=ready.id))
        parts = [part async for part in download]
        data = b"".join(part.chunk.data for part in parts)
        uploaded = (await pictor.history.UploadImage(_upload(data))).image
        got = await pictor.get(completed.id)

        images = [ready, parts[0].image, uploaded, *(each.outputs[0].image for each in (completed, listed, got))]
        fetched = await asyncio.gather(*(fetch(image.download_url) for image in images))

    assert [answer.content for answer in fetched] == [data] * 6


async def _upload(data):
    for start in range(0, len(data), 1_000_000):
        yield UploadImageRequest(data=data[start : start + 1_000_000])


async def test_without_a_listener_there_is_no_link():
    """Both fields stay unset."""
    async with gateway(http_listen=None) as pictor:
        image = await draw(pictor)
        assert pictor.app.http_address is None

    assert image.download_url == ""
    assert not image.HasField("expire_time")


async def test_the_link_leads_to_where_others_reach_the_listener():
    """PICTOR_HTTP_URL stands before the path."""
    async with gateway(http_listen=ANYWHERE, http_url="https://pictures.example/pictor") as pictor:
        image = await draw(pictor)

    assert image.download_url.startswith(f"https://pictures.example/pictor/images/{image.id}?exp=")


async def test_a_link_survives_a_restart(tmp_path):
    """With a configured key the next process takes it: it asks for the record, which is gone with this store."""
    async with gateway(http_listen=ANYWHERE, page_token_key=b"kept") as pictor:
        path = urlsplit((await draw(pictor)).download_url)

    statuses = []
    for key in (b"kept", b"another"):
        async with gateway(http_listen=ANYWHERE, page_token_key=key) as pictor:
            answer = await fetch(f"http://{pictor.app.http_address}{path.path}?{path.query}")
            statuses.append(answer.status_code)

    assert statuses == [404, 403]


async def test_the_object_store_signs_its_own_links():
    """What lies in a bucket is fetched from there, not through us; what waits in the spool is served here."""

    async def for_ever(_seconds):
        await asyncio.Event().wait()

    outside = replace(app.Outside(), sleep=for_ever)
    with s3_server() as s3:
        pictures = PicturesTable(f"s3://{BUCKET}", s3.endpoint, "us-east-1", "key", "secret")
        async with gateway(http_listen=ANYWHERE, pictures=pictures, outside=outside) as pictor:
            stored = await draw(pictor)
            answer = await fetch(stored.download_url)
            s3.stop()
            waiting = await draw(pictor)
            from_spool = await fetch(waiting.download_url)

    assert stored.download_url.startswith(f"{s3.endpoint}/{BUCKET}/")
    assert (answer.content, answer.headers["Content-Type"]) == (stored.data, stored.mime_type)
    assert f"/images/{waiting.id}?exp=" in waiting.download_url
    assert from_spool.content == waiting.data


async def test_a_port_that_is_taken_ends_the_start_with_a_sentence():
    """As for the other listeners, the setting is named."""
    async with gateway(http_listen=ANYWHERE) as pictor:
        taken = pictor.app.http_address
        with pytest.raises(SettingsError, match=rf"http_listen \(PICTOR_HTTP_LISTEN\): cannot bind {taken}: [\w ]+$"):
            async with gateway(http_listen=taken):
                pass
