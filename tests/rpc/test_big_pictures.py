"""4K pictures reach clients as they come, with their 4 MiB limit: in chunks, byte for byte what the engine made."""

import base64
import hashlib

import aiohttp
import grpc
import pytest
import pytest_asyncio

from gateway import GPT, NANO, NO_LIMIT, Gateway, gateway
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.image_service_pb2_grpc import ImageServiceStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNK, CLIENTS_LIMIT, MB = 256 * 1024, 4 * 1024 * 1024, 1_000_000


def wide(**fields) -> service.GenerateRequest:
    """The same payload each time, so that with the request id of the first call nothing is drawn again."""
    return service.GenerateRequest(
        prompt="a wide sea",
        canvas={"ratio": "16:9", "resolution": image.RESOLUTION_4K},
        model=GPT,
        preview_count=0,
        request_id="the-big-one",
        **fields,
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor():
    """A gateway whose client is as it comes."""
    async with gateway(options=()) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def big(pictor: Gateway) -> image.Image:
    """A picture of 3840 x 2160, drawn by a unary call that asks for no bytes in particular."""
    return (await pictor.images.Generate(wide())).generation.outputs[0].image


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def made(pictor: Gateway, big: image.Image) -> bytes:
    """What the engine itself answers to the very request that the gateway sent."""
    url, key = f"{pictor.sandbox.openai_base_url}/images/generations", {"authorization": "Bearer sandbox"}
    async with (
        aiohttp.ClientSession(headers=key) as session,
        session.post(url, json=pictor.sandbox.requests[0].params) as answer,
    ):
        return base64.b64decode((await answer.json())["data"][0]["b64_json"])


async def test_a_unary_answer_leaves_out_what_a_client_could_not_take(big: image.Image, made: bytes):
    """Over 3 MiB the picture is described, measured and hashed, and its bytes are left to be fetched."""
    assert 8 * MB < big.size_bytes == len(made) < 20 * MB
    assert (big.data, big.width_px, big.height_px, big.mime_type) == (b"", 3840, 2160, "image/png")
    assert big.sha256 == hashlib.sha256(made).hexdigest()


async def downloaded(pictor: Gateway, image_id: str, offset: int = 0) -> list[history.DownloadImageResponse]:
    call = pictor.history.DownloadImage(history.DownloadImageRequest(image_id=image_id, offset_bytes=offset))
    return [message async for message in call]


async def test_the_whole_picture_is_downloaded_in_chunks(pictor: Gateway, big: image.Image, made: bytes):
    """Chunks of 256 KiB, in order, the last one marked: together the engine's bytes."""
    messages = await downloaded(pictor, big.id)

    chunks = [message.chunk for message in messages[1:]]
    assert max(message.ByteSize() for message in messages) < CHUNK + 1024
    assert [chunk.offset_bytes for chunk in chunks] == list(range(0, big.size_bytes, CHUNK))
    assert [number for number, chunk in enumerate(chunks) if chunk.last] == [len(chunks) - 1]
    assert b"".join(chunk.data for chunk in chunks) == made


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
async def test_a_download_that_broke_off_goes_on_anywhere(pictor: Gateway, big: image.Image, made: bytes, share):
    """From any byte on the rest comes, and only the rest."""
    offset = int(big.size_bytes * share)
    messages = await downloaded(pictor, big.id, offset)

    assert messages[1].chunk.offset_bytes == offset
    assert b"".join(message.chunk.data for message in messages[1:]) == made[offset:]


async def test_a_stream_brings_it_whole(pictor: Gateway, big: image.Image, made: bytes):
    """GenerateStream needs no setting at the client: every message is small, the picture is complete."""
    call = pictor.images.GenerateStream(service.GenerateStreamRequest(request=wide()))
    events = [message.event async for message in call]

    assert max(event.ByteSize() for event in events) < CHUNK + 1024
    assert b"".join(event.image_chunk.data for event in events if event.HasField("image_chunk")) == made
    assert events[-1].completed.generation.outputs[0].image.data == b""


async def test_a_stream_from_the_cheap_engine_brings_4k_too(pictor: Gateway):
    """A landing page is 4K by itself; Nano Banana 2's JPEG arrives whole."""
    request = service.GenerateRequest(prompt="a landing page", workflow=image.WORKFLOW_LANDING_PAGE, preview_count=0)
    call = pictor.images.GenerateStream(service.GenerateStreamRequest(request=request))
    events = [message.event async for message in call]

    picture = events[-1].completed.generation.outputs[0].image
    data = b"".join(event.image_chunk.data for event in events if event.HasField("image_chunk"))
    assert (picture.model, picture.width_px, picture.height_px) == (NANO, 4096, 4096)
    assert len(data) == picture.size_bytes > CLIENTS_LIMIT
    assert hashlib.sha256(data).hexdigest() == picture.sha256


@pytest.mark.parametrize(("bound", "whole"), [(0, False), (1, False), (2**40, True)], ids=["0", "1", "huge"])
async def test_a_client_that_takes_more_says_so(pictor: Gateway, big: image.Image, made: bytes, bound, whole):
    """`max_inline_bytes` is obeyed both ways: nothing, or all of it in one message for a client without limit."""
    async with grpc.aio.insecure_channel(pictor.app.address, options=NO_LIMIT) as channel:
        answer = await ImageServiceStub(channel).Generate(wide(max_inline_bytes=bound))

    picture = answer.generation.outputs[0].image
    assert (answer.generation.replayed, picture.id) == (True, big.id)
    assert picture.data == (made if whole else b"")


async def test_a_client_that_asks_for_more_than_it_takes_still_has_its_picture(pictor: Gateway, big: image.Image):
    """The client's own limit refuses the answer; the record and the download are there all the same."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pictor.images.Generate(wide(max_inline_bytes=2**40))
    found = await pictor.history.GetGeneration(history.GetGenerationRequest(request_id="the-big-one"))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert found.generation.outputs[0].image.id == big.id


async def test_all_of_this_was_paid_once(pictor: Gateway, big: image.Image, made: bytes):
    """However often the big picture was fetched, the gateway had it drawn once; the second was this test itself."""
    assert sum(request.prompt == "a wide sea" for request in pictor.sandbox.requests) == 2
