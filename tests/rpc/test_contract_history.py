"""HistoryService through the door: look up, page, watch again, cancel, fetch and bring pictures."""

import hashlib
import io

import grpc
import pytest
import pytest_asyncio
from PIL import Image as Picture

from gateway import Gateway, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor():
    async with gateway() as running:
        yield running


async def draw(pictor: Gateway, prompt="a fox", **fields) -> Generation:
    answer = await pictor.images.Generate(service.GenerateRequest(prompt=prompt, **fields))
    return answer.generation


async def failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in call] if hasattr(call, "__aiter__") else await call
    return refusal(caught.value)


async def test_a_generation_is_found_by_id_and_by_request_id(pictor: Gateway):
    """Both names lead to the same record, without bytes unless they are asked for."""
    made = await draw(pictor, request_id="mine")
    by_id = await pictor.history.GetGeneration(history.GetGenerationRequest(generation_id=made.id))
    by_request = await pictor.history.GetGeneration(
        history.GetGenerationRequest(request_id="mine", max_inline_bytes=100_000_000)
    )

    assert by_id.generation.outputs[0].image.data == b""
    assert by_request.generation.outputs[0].image.data == made.outputs[0].image.data
    by_request.generation.outputs[0].image.data = b""
    assert by_id == by_request


async def listed(pictor: Gateway, **fields) -> history.ListGenerationsResponse:
    return await pictor.history.ListGenerations(history.ListGenerationsRequest(**fields))


async def test_pages_cover_everything_once_newest_first(pictor: Gateway):
    """Page by page a list gives every generation of the query exactly once."""
    made = [(await draw(pictor, labels={"list": "pages"})).id for _ in range(5)]
    found, token = [], ""
    while True:
        page = await listed(pictor, labels={"list": "pages"}, page_size=2, page_token=token)
        found.append([each.id for each in page.generations])
        token = page.next_page_token
        if not token:
            break

    assert found == [made[:2:-1], made[2:0:-1], made[:1]]


async def test_a_full_last_page_has_no_next(pictor: Gateway):
    """A page that holds the rest exactly says so."""
    for _ in range(2):
        await draw(pictor, labels={"list": "full"})

    assert (await listed(pictor, labels={"list": "full"}, page_size=2)).next_page_token == ""


@pytest.mark.parametrize(
    "tampered",
    [
        pytest.param(lambda token: token[:-4] + "AAAA", id="changed"),
        pytest.param(lambda token: ("A" if token[0] != "A" else "B") + token[1:], id="another signature"),
        pytest.param(lambda token: token[:20], id="cut"),
        pytest.param(lambda _: "not a token", id="words"),
        pytest.param(lambda _: "Z2VuXzE=", id="base64 of an id"),
        pytest.param(lambda token: token + "ü", id="not ASCII"),
    ],
)
async def test_a_page_token_that_is_not_ours_is_refused(pictor: Gateway, tampered):
    """Tokens are signed: nobody makes or changes one."""
    for _ in range(2):
        await draw(pictor, labels={"list": "token"})
    token = (await listed(pictor, labels={"list": "token"}, page_size=1)).next_page_token
    found = await failure(listed(pictor, labels={"list": "token"}, page_token=tampered(token)))

    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ("page_token",))


async def test_a_page_token_belongs_to_its_query(pictor: Gateway):
    """With another filter a token is refused; another page size is fine."""
    for _ in range(3):
        await draw(pictor, labels={"list": "bound"})
    token = (await listed(pictor, labels={"list": "bound"}, page_size=1)).next_page_token
    larger = await listed(pictor, labels={"list": "bound"}, page_size=50, page_token=token)
    found = await failure(listed(pictor, labels={"list": "other"}, page_token=token))

    assert len(larger.generations) == 2
    assert found.reason == "PAGE_TOKEN_INVALID"


async def test_lists_filter_by_state_and_time(pictor: Gateway):
    """State and acceptance time narrow a list."""
    made = await draw(pictor, labels={"list": "filters"})
    query = {"labels": {"list": "filters"}}

    assert len((await listed(pictor, **query, state=Generation.STATE_SUCCEEDED)).generations) == 1
    assert len((await listed(pictor, **query, state=Generation.STATE_FAILED)).generations) == 0
    assert len((await listed(pictor, **query, start_time=made.create_time)).generations) == 1
    assert len((await listed(pictor, **query, end_time=made.create_time)).generations) == 0


async def watched(pictor: Gateway, generation_id: str, **fields) -> list:
    call = pictor.history.WatchGeneration(
        history.WatchGenerationRequest(generation_id=generation_id, max_inline_bytes=0, **fields)
    )
    return [message.event async for message in call]


async def test_watching_resumes_where_a_reader_lost_it(pictor: Gateway):
    """After any sequence the rest comes, the same for every reader; after the last, the end once more."""
    made = await draw(pictor)
    whole = await watched(pictor, made.id)

    for seen in range(len(whole)):
        assert await watched(pictor, made.id, after_sequence=seen) == whole[seen:]
    assert await watched(pictor, made.id, after_sequence=len(whole)) == whole[-1:]
    assert [event.sequence for event in whole] == list(range(1, len(whole) + 1))


async def test_watching_from_the_future_is_refused(pictor: Gateway):
    """A sequence that does not exist yet is a mistake, not an endless wait."""
    made = await draw(pictor)
    found = await failure(
        pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=made.id, after_sequence=99))
    )

    assert (found.reason, found.fields) == ("INVALID_FIELD", ("after_sequence",))


async def test_a_watcher_sees_a_failure_as_its_submitter_did(pictor: Gateway):
    """Watching a failed generation ends with the same error."""
    found = await failure(
        pictor.images.Generate(
            service.GenerateRequest(prompt="refused"),
            metadata=[("x-sandbox-fault", "gemini:finish_reason;reason=IMAGE_SAFETY")],
        )
    )
    generation_id = found.trailers["pictor-generation-id"]
    again = await failure(pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=generation_id)))

    assert (again.code, again.reason, again.text) == (found.code, found.reason, found.text)
    assert again.trailers["pictor-generation-id"] == generation_id


async def test_cancelling_what_has_ended_changes_nothing(pictor: Gateway):
    """Cancel answers how the generation stands."""
    made = await draw(pictor)
    answer = await pictor.history.CancelGeneration(history.CancelGenerationRequest(generation_id=made.id))

    assert answer.generation.state == Generation.STATE_SUCCEEDED


async def downloaded(pictor: Gateway, image_id: str, offset: int = 0) -> list:
    call = pictor.history.DownloadImage(history.DownloadImageRequest(image_id=image_id, offset_bytes=offset))
    return [message async for message in call]


async def test_a_picture_is_downloaded_whole_and_from_any_offset(pictor: Gateway):
    """Header first, then chunks of 256 KiB; a broken download goes on where it stopped."""
    drawn = (await draw(pictor)).outputs[0].image
    whole = await downloaded(pictor, drawn.id)
    rest = await downloaded(pictor, drawn.id, offset=300_000)
    data = b"".join(message.chunk.data for message in whole[1:])

    assert (whole[0].image.id, whole[0].image.sha256, whole[0].image.data) == (drawn.id, drawn.sha256, b"")
    assert data == drawn.data
    assert [message.chunk.last for message in whole[1:]] == [False] * (len(whole) - 2) + [True]
    assert {len(message.chunk.data) for message in whole[1:-1]} == {256 * 1024}
    assert rest[1].chunk.offset_bytes == 300_000
    assert b"".join(message.chunk.data for message in rest[1:]) == data[300_000:]


async def test_a_download_from_the_end_has_nothing_to_send(pictor: Gateway):
    """Resuming a download that was complete gives the header alone."""
    drawn = (await draw(pictor)).outputs[0].image

    assert len(await downloaded(pictor, drawn.id, offset=drawn.size_bytes)) == 1


@pytest.mark.parametrize("beyond", [lambda size: size + 1, lambda _: -1], ids=["past the end", "negative"])
async def test_an_offset_outside_the_picture_is_refused(pictor: Gateway, beyond):
    """Offsets lie within the picture."""
    drawn = (await draw(pictor)).outputs[0].image
    found = await failure(
        pictor.history.DownloadImage(
            history.DownloadImageRequest(image_id=drawn.id, offset_bytes=beyond(drawn.size_bytes))
        )
    )

    assert (found.reason, found.fields) == ("INVALID_FIELD", ("offset_bytes",))


def photo(side=512) -> bytes:
    file = io.BytesIO()
    Picture.effect_noise((side, side), 90).save(file, "PNG")
    return file.getvalue()


async def uploaded(pictor: Gateway, *pieces: bytes) -> history.UploadImageResponse:
    call = pictor.history.UploadImage()
    for piece in pieces:
        await call.write(history.UploadImageRequest(data=piece))
    await call.done_writing()
    return await call


async def test_an_uploaded_picture_is_used_by_its_id(pictor: Gateway):
    """What is uploaded in pieces is stored byte for byte, has one id however often it comes, and can be edited."""
    data = photo()
    first = (await uploaded(pictor, data[:1000], data[1000:])).image
    again = (await uploaded(pictor, data)).image
    answer = await pictor.images.Edit(
        service.EditRequest(request=service.GenerateRequest(prompt="a hat"), image={"image_id": first.id})
    )

    assert first == again
    assert (first.sha256, first.width_px, first.mime_type) == (hashlib.sha256(data).hexdigest(), 512, "image/png")
    assert answer.generation.request.image_sha256 == first.sha256
    assert b"".join(message.chunk.data for message in (await downloaded(pictor, first.id))[1:]) == data


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        pytest.param([], "IMAGE_MISSING", id="nothing"),
        pytest.param([b""], "IMAGE_MISSING", id="empty message"),
        pytest.param([b"words"], "IMAGE_INVALID", id="no picture"),
        pytest.param([b"x" * (1024 * 1024 + 1)], "INVALID_FIELD", id="a message over 1 MiB"),
        pytest.param([b"x" * (1024 * 1024)] * 21, "IMAGE_TOO_LARGE", id="21 MiB"),
    ],
)
async def test_a_bad_upload_is_refused(pictor: Gateway, pieces, reason):
    """Uploads are bounded while they come, and checked before they are kept."""
    call = pictor.history.UploadImage()
    try:
        for piece in pieces:
            await call.write(history.UploadImageRequest(data=piece))
        await call.done_writing()
    except grpc.aio.AioRpcError:
        pass  # refused while it was still coming; the call itself has the details
    except grpc.aio.UsageError:
        pass  # the same
    found = await failure(call)

    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", reason, ("data",))
