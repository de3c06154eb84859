"""Bad input gets a clear error before money: code, reason and the path of the field, through the door."""

import io
import struct
import zlib

import grpc
import pytest
import pytest_asyncio
from PIL import Image as Picture

from gateway import Gateway, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor():
    """One gateway for the whole table: bad input leaves nothing behind."""
    async with gateway() as running:
        yield running


def encoded(width=64, height=64, mode="RGB", kind="PNG") -> bytes:
    file = io.BytesIO()
    Picture.new(mode, (width, height)).save(file, kind)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has nothing to show for it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB\x60\x82"


PNG = encoded()
JPEG = encoded(256, 256, kind="JPEG")


def given(data: bytes) -> image.ImageInput:
    return image.ImageInput(data=data)


def generate(**fields) -> service.GenerateRequest:
    return service.GenerateRequest(**({"prompt": "a fox"} | fields))


def edit(**fields) -> service.EditRequest:
    return service.EditRequest(**({"request": generate(), "image": given(PNG)} | fields))


def money(**fields) -> image.Money:
    return image.Money(**fields)


GENERATE = [
    pytest.param(generate(prompt=""), "PROMPT_EMPTY", "prompt", id="empty prompt"),
    pytest.param(generate(prompt=" \n\t "), "PROMPT_EMPTY", "prompt", id="blank prompt"),
    pytest.param(generate(prompt="x" * 500_000), "PROMPT_TOO_LONG", "prompt", id="over-long prompt"),
    pytest.param(generate(canvas={"ratio": "16"}), "RATIO_INVALID", "canvas.ratio", id="no ratio"),
    pytest.param(generate(canvas={"ratio": "100:1"}), "RATIO_INVALID", "canvas.ratio", id="impossible ratio"),
    pytest.param(generate(canvas={"resolution": 9}), "INVALID_FIELD", "canvas.resolution", id="unknown resolution"),
    pytest.param(generate(canvas={"format": "fax/page"}), "FORMAT_UNKNOWN", "canvas.format", id="unknown format"),
    pytest.param(generate(model="dall-e-2"), "MODEL_UNKNOWN", "model", id="unknown model"),
    pytest.param(
        generate(excluded_models=["gpt-image-2", "x"]), "MODEL_UNKNOWN", "excluded_models[1]", id="unknown exclusion"
    ),
    pytest.param(generate(count=0), "COUNT_OUT_OF_RANGE", "count", id="count 0"),
    pytest.param(generate(count=11), "COUNT_OUT_OF_RANGE", "count", id="count 11"),
    pytest.param(generate(count=-1), "COUNT_OUT_OF_RANGE", "count", id="count -1"),
    pytest.param(generate(preview_count=4), "INVALID_FIELD", "preview_count", id="4 previews"),
    pytest.param(generate(quality=3), "INVALID_FIELD", "quality", id="quality without model"),
    pytest.param(generate(output_compression=50), "INVALID_FIELD", "output_compression", id="compressed PNG"),
    pytest.param(generate(max_cost=money(units=-1)), "INVALID_FIELD", "max_cost", id="negative max_cost"),
    pytest.param(generate(max_cost=money(currency_code="EUR")), "INVALID_FIELD", "max_cost", id="euros"),
    pytest.param(generate(max_inline_bytes=-1), "INVALID_FIELD", "max_inline_bytes", id="negative inline bytes"),
    pytest.param(generate(request_id="x" * 129), "INVALID_FIELD", "request_id", id="long request id"),
    pytest.param(generate(end_user="x" * 257), "INVALID_FIELD", "end_user", id="long end user"),
    pytest.param(generate(labels={str(n): "" for n in range(17)}), "INVALID_FIELD", "labels", id="17 labels"),
    pytest.param(generate(labels={"k" * 65: ""}), "INVALID_FIELD", f"labels[{'k' * 64}]", id="long label key"),
    pytest.param(generate(labels={"k": "v" * 257}), "INVALID_FIELD", "labels[k]", id="long label value"),
    pytest.param(generate(tier=7), "INVALID_FIELD", "tier", id="unknown tier"),
    pytest.param(generate(references=[given(PNG)] * 17), "TOO_MANY_REFERENCES", "references", id="17 references"),
    pytest.param(
        generate(references=[given(PNG), given(b"just words")]), "IMAGE_INVALID", "references[1]", id="text as picture"
    ),
    pytest.param(generate(references=[image.ImageInput()]), "IMAGE_MISSING", "references[0]", id="empty reference"),
    pytest.param(
        generate(references=[given(png_header(60_000, 60_000))]), "IMAGE_TOO_LARGE", "references[0]", id="60,000 px"
    ),
    pytest.param(generate(references=[given(JPEG[:-400])]), "IMAGE_INVALID", "references[0]", id="truncated JPEG"),
]


def reason_and_fields(error: grpc.aio.AioRpcError) -> tuple[str, str, str]:
    found = refusal(error)
    return found.code, found.reason, found.fields[0]


async def refused(call) -> grpc.aio.AioRpcError:
    """The error of a unary call or of a stream."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in call] if hasattr(call, "__aiter__") else await call
    return caught.value


@pytest.mark.parametrize(("request_", "reason", "field"), GENERATE)
async def test_generate_refuses(pictor: Gateway, request_, reason, field):
    """Generate answers INVALID_ARGUMENT with reason and path."""
    error = await refused(pictor.images.Generate(request_))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", reason, field)


@pytest.mark.parametrize(("request_", "reason", "field"), GENERATE)
async def test_generate_stream_refuses(pictor: Gateway, request_, reason, field):
    """A stream ends with the same error before any event, one level deeper."""
    error = await refused(pictor.images.GenerateStream(service.GenerateStreamRequest(request=request_)))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", reason, f"request.{field}")


@pytest.mark.parametrize(("request_", "reason", "field"), GENERATE)
async def test_plan_refuses(pictor: Gateway, request_, reason, field):
    """Plan refuses what Generate would refuse as invalid."""
    error = await refused(pictor.images.Plan(service.PlanRequest(generate=request_)))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", reason, f"generate.{field}")


EDIT = [
    pytest.param(service.EditRequest(request=generate()), "IMAGE_MISSING", "image", id="nothing to edit"),
    pytest.param(
        service.EditRequest(request=generate(), mask=given(PNG)), "MASK_WITHOUT_IMAGE", "mask", id="mask without image"
    ),
    pytest.param(edit(image=given(b"")), "IMAGE_MISSING", "image", id="empty picture"),
    pytest.param(edit(image=given(b"%PDF-1.7 not a picture")), "IMAGE_INVALID", "image", id="a document"),
    pytest.param(edit(image=given(PNG[:-20])), "IMAGE_INVALID", "image", id="truncated PNG"),
    pytest.param(edit(image=given(encoded(kind="GIF"))), "IMAGE_INVALID", "image", id="GIF"),
    pytest.param(edit(image=given(b"x" * (21 * 1024 * 1024))), "IMAGE_INVALID", "image", id="21 MiB of nothing"),
    pytest.param(edit(image=given(encoded(8200, 16))), "IMAGE_TOO_LARGE", "image", id="8,200 px wide"),
    pytest.param(edit(mask=given(PNG)), "MASK_INVALID", "mask", id="mask without alpha"),
    pytest.param(edit(mask=given(JPEG)), "MASK_INVALID", "mask", id="mask as JPEG"),
    pytest.param(edit(mask=given(encoded(32, 64, "RGBA"))), "MASK_INVALID", "mask", id="mask of another size"),
    pytest.param(edit(request=generate(prompt="")), "PROMPT_EMPTY", "request.prompt", id="empty prompt"),
    pytest.param(edit(request=generate(count=11)), "COUNT_OUT_OF_RANGE", "request.count", id="count 11"),
    pytest.param(
        edit(request=generate(references=[given(PNG)] * 17)),
        "TOO_MANY_REFERENCES",
        "request.references",
        id="17 references",
    ),
]


@pytest.mark.parametrize(("request_", "reason", "field"), EDIT)
async def test_edit_refuses(pictor: Gateway, request_, reason, field):
    """Edit answers INVALID_ARGUMENT with reason and path."""
    error = await refused(pictor.images.Edit(request_))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", reason, field)


@pytest.mark.parametrize(("request_", "reason", "field"), EDIT)
async def test_edit_stream_refuses(pictor: Gateway, request_, reason, field):
    """EditStream answers the same, one level deeper."""
    error = await refused(pictor.images.EditStream(service.EditStreamRequest(request=request_)))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", reason, f"request.{field}")


def a_set(**fields) -> service.GenerateSetRequest:
    return service.GenerateSetRequest(**({"brief": generate(), "items": [{"key": "a"}]} | fields))


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        pytest.param(a_set(items=[]), "COUNT_OUT_OF_RANGE", "items", id="no item"),
        pytest.param(a_set(items=[{"key": str(n)} for n in range(41)]), "COUNT_OUT_OF_RANGE", "items", id="41 items"),
        pytest.param(
            a_set(items=[{"key": str(n)} for n in range(21)], models=["gpt-image-2", "gemini-3.1-flash-image"]),
            "COUNT_OUT_OF_RANGE",
            "items",
            id="42 outputs",
        ),
        pytest.param(a_set(items=[{"key": "a"}, {"key": "a"}]), "INVALID_FIELD", "items[1].key", id="same key"),
        pytest.param(a_set(items=[{"key": ""}]), "INVALID_FIELD", "items[0].key", id="no key"),
        pytest.param(
            a_set(items=[{"key": "a", "canvas": {"ratio": "x"}}]), "RATIO_INVALID", "items[0].canvas.ratio", id="ratio"
        ),
        pytest.param(a_set(brief=generate(tier=9)), "INVALID_FIELD", "brief.tier", id="brief's tier"),
        pytest.param(
            a_set(brief=generate(references=[given(b"words")])),
            "IMAGE_INVALID",
            "brief.references[0]",
            id="brief's picture",
        ),
    ],
)
async def test_generate_set_refuses(pictor: Gateway, request_, reason, field):
    """A set that is wrong as a whole is refused before it is accepted."""
    error = await refused(pictor.images.GenerateSet(request_))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", reason, field)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(service.PlanRequest(), "call", id="nothing to plan"),
        pytest.param(service.PlanRequest(generate=generate(), timeout={"seconds": -1}), "timeout", id="negative time"),
    ],
)
async def test_plan_needs_a_call_and_a_sensible_time(pictor: Gateway, request_, field):
    """Plan's own fields are checked too."""
    error = await refused(pictor.images.Plan(request_))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", "INVALID_FIELD", field)


UNKNOWN = "gen_00000000000000000000000000"


@pytest.mark.parametrize(
    ("send", "reason"),
    [
        pytest.param(
            lambda g: g.history.GetGeneration(history.GetGenerationRequest(generation_id=UNKNOWN)), "NOT_FOUND"
        ),
        pytest.param(lambda g: g.history.GetGeneration(history.GetGenerationRequest(request_id="x")), "NOT_FOUND"),
        pytest.param(
            lambda g: g.history.WatchGeneration(history.WatchGenerationRequest(generation_id=UNKNOWN)), "NOT_FOUND"
        ),
        pytest.param(
            lambda g: g.history.CancelGeneration(history.CancelGenerationRequest(generation_id=UNKNOWN)), "NOT_FOUND"
        ),
        pytest.param(lambda g: g.history.DownloadImage(history.DownloadImageRequest(image_id="img_x")), "NOT_FOUND"),
        pytest.param(lambda g: g.images.Reroll(service.RerollRequest(generation_id=UNKNOWN)), "NOT_FOUND"),
        pytest.param(
            lambda g: g.images.Generate(generate(references=[image.ImageInput(image_id="img_x")])), "NOT_FOUND"
        ),
    ],
    ids=["get", "get by request id", "watch", "cancel", "download", "reroll", "reference"],
)
async def test_unknown_ids_are_not_found(pictor: Gateway, send, reason):
    """An id that never existed is NOT_FOUND everywhere."""
    found = refusal(await refused(send(pictor)))

    assert (found.code, found.reason) == ("NOT_FOUND", reason)


@pytest.mark.parametrize(
    ("send", "field"),
    [
        pytest.param(lambda g: g.history.GetGeneration(history.GetGenerationRequest()), "key"),
        pytest.param(
            lambda g: g.history.GetGeneration(history.GetGenerationRequest(request_id="x", max_inline_bytes=-1)),
            "max_inline_bytes",
        ),
        pytest.param(
            lambda g: g.history.WatchGeneration(history.WatchGenerationRequest(after_sequence=-1)), "after_sequence"
        ),
        pytest.param(lambda g: g.history.ListGenerations(history.ListGenerationsRequest(page_size=-1)), "page_size"),
        pytest.param(lambda g: g.history.ListGenerations(history.ListGenerationsRequest(state=99)), "state"),
        pytest.param(
            lambda g: g.history.ListGenerations(history.ListGenerationsRequest(start_time={"seconds": 2**60})),
            "start_time",
        ),
    ],
    ids=["no key", "inline bytes", "sequence", "page size", "state", "time"],
)
async def test_history_refuses(pictor: Gateway, send, field):
    """Lookups name the field that is wrong."""
    error = await refused(send(pictor))

    assert reason_and_fields(error) == ("INVALID_ARGUMENT", "INVALID_FIELD", field)


async def test_a_deadline_that_is_too_short_is_told_the_time_it_needs(pictor: Gateway):
    """Too little time is refused at once, for nothing, with a text that says what would do."""
    found = refusal(await refused(pictor.images.Generate(generate(tier=image.TIER_PRO), timeout=3)))

    assert (found.code, found.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT")
    assert "needs" in found.text


async def test_an_oversized_request_points_to_uploads(pictor: Gateway):
    """Over 32 MiB the gateway says what to do instead."""
    pictures = [given(b"x" * (12 * 1024 * 1024))] * 3
    found = refusal(await refused(pictor.images.Generate(generate(references=pictures))))

    assert (found.code, found.reason) == ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")
    assert "UploadImage" in found.text


async def test_a_monstrous_request_is_refused_by_grpc_itself(pictor: Gateway):
    """Over 64 MiB gRPC does not even take it in."""
    error = await refused(pictor.images.Generate(generate(prompt="x" * (65 * 1024 * 1024))))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_nothing_was_sent_and_nothing_leaked(pictor: Gateway):
    """After all of the above the engines have seen nothing, and no error was ours."""
    assert len(pictor.sandbox.requests) == 0
    assert pictor.app.jobs.running_count == 0
