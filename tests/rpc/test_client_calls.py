"""The client's other calls on a real channel: joining, downloading, errors, identity."""

import hashlib
import re
import threading
import traceback
from contextlib import nullcontext
from decimal import Decimal

import grpc
import pytest

import pictor
from both_clients import BOTH, connected
from canned_gateway import (
    accepted,
    answers,
    canned_gateway,
    chunks,
    completed,
    download,
    generation,
    image,
    lose,
    picture,
    refuse,
)
from pictor import picture_file
from pictor.channel import Target
from pictor.errors import LOST
from pictor.v1.catalog_service_pb2 import (
    ListModelsResponse,
    Provider,
    SetProviderStateResponse,
)
from pictor.v1.history_service_pb2 import (
    CancelGenerationResponse,
    DownloadImageResponse,
    GetGenerationResponse,
    ListGenerationsResponse,
    UploadImageResponse,
    WatchGenerationResponse,
)
from pictor.v1.image_service_pb2 import EditResponse, GenerateResponse, PlanResponse
from pictord.errors import GatewayError
from pictord.rpc.history_service import MAX_UPLOAD_BYTES, _check_upload
from pictord.rpc.status import CODES

PICTURE = bytes(range(256)) * 20
LOG = [accepted(1), *picture(2, PICTURE), completed(3, generation(image(PICTURE)))]
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")


@pytest.fixture
def gateway():
    with canned_gateway() as running:
        yield running


@pytest.fixture(params=BOTH)
def kind(request):
    return request.param


@pytest.fixture
async def client(gateway, kind):
    async with connected(kind, gateway.address, new_id=lambda: "id-1") as one:
        yield one


def accepted_then(end):
    """A handler whose call is accepted as `gen_1` before it ends."""

    def handle(_, context):
        context.send_initial_metadata((("pictor-generation-id", "gen_1"),))
        end(context)

    return handle


def lose_for_good(_, context):
    """A handler whose call breaks before anything came back; gRPC's own retries stay out of the way."""
    context.set_trailing_metadata((_NO_RETRY,))
    lose(context)


def ended(reason, *, paid=False):
    """A handler that tells how the generation ended."""
    codes = {"CANCELLED": grpc.StatusCode.CANCELLED, "SHUTTING_DOWN": grpc.StatusCode.UNAVAILABLE}
    code = codes.get(reason, grpc.StatusCode.FAILED_PRECONDITION)
    named = {"generation_id": "gen_1"} | ({"paid": "true"} if paid else {})
    return lambda _, context: refuse(context, code, "the end", reason=reason, metadata=named, trailers=(_NO_RETRY,))


def inline(data):
    """A described picture with its bytes."""
    described = image(data)
    described.data = data
    return described


async def test_generate_answers_with_the_picture(gateway, client):
    """One await: the picture's bytes, the row, the cost in exact dollars."""
    gateway.handlers["Generate"] = lambda *_: GenerateResponse(generation=generation(inline(PICTURE), sandbox=True))

    made = await client.generate("a red fox", tier="pro", ratio="16:9")

    assert made.picture.data == PICTURE
    assert made.message.outputs[0].image.data == b""
    assert (made.row, made.cost_usd, made.state, made.is_sandbox) == ("standard", Decimal("0.067"), "succeeded", True)


async def test_pictures_over_the_bound_are_downloaded(gateway, client):
    """A picture that did not fit into the answer is fetched without being asked."""
    gateway.handlers["Edit"] = lambda *_: EditResponse(generation=generation(image(PICTURE)))
    gateway.handlers["DownloadImage"] = download(PICTURE)

    fetched = await client.edit("a blue fox", image=b"png")
    bare = await client.edit("a blue fox", image=b"png", fetch=False)

    assert (fetched.picture.data, bare.picture.data) == (PICTURE, None)


async def test_answers_beyond_the_default_message_limit_arrive(gateway, client):
    """The 4 MiB that gRPC takes by default do not stand in the way of a raised `max_inline_bytes`."""
    data = bytes(6 * 2**20)
    gateway.handlers["Generate"] = lambda *_: GenerateResponse(generation=generation(inline(data)))

    made = await client.generate("a red fox", max_inline_bytes=2**23)

    assert len(made.picture.data) == len(data)


async def test_a_lost_unary_call_is_followed_by_its_id(gateway, client):
    """Once accepted, the generation is watched over as many connections as it takes; its request is sent once."""

    def watched(request, context):
        log = [e for e in LOG if e.sequence > request.after_sequence]
        yield from answers(WatchGenerationResponse, log if len(gateway.requests("WatchGeneration")) == 3 else log[:2])
        lose(context)

    gateway.handlers |= {"Generate": accepted_then(lose), "WatchGeneration": watched}

    made = await client.generate("a red fox")

    assert (made.id, made.picture.data) == ("gen_1", PICTURE)
    assert [request.generation_id for request in gateway.requests("WatchGeneration")] == ["gen_1"] * 3
    assert len(gateway.requests("Generate")) == 1


async def test_pictures_of_a_followed_call_come_as_asked(gateway, client):
    """The bound goes with the call; what is over it is fetched, or left out with `fetch=False`."""
    alone = answers(WatchGenerationResponse, [completed(1, generation(image(PICTURE)))])
    gateway.handlers |= {"Edit": accepted_then(lose), "WatchGeneration": lambda *_: iter(alone)}
    gateway.handlers["DownloadImage"] = download(PICTURE)

    fetched = await client.edit("a blue fox", image=b"png", max_inline_bytes=7)
    bare = await client.edit("a blue fox", image=b"png", fetch=False)

    assert (fetched.picture.data, bare.picture.data) == (PICTURE, None)
    assert gateway.requests("WatchGeneration")[0].max_inline_bytes == 7


async def test_a_generation_that_the_gateway_forgot_is_not_paid_again(gateway, client):
    """NOT_FOUND after a lost connection: the loss is the error, it names the generation, and money may be spent."""
    gateway.handlers["Generate"] = accepted_then(lose)
    gateway.handlers["WatchGeneration"] = lambda _, context: refuse(
        context, grpc.StatusCode.NOT_FOUND, "there is none", reason="NOT_FOUND"
    )

    with pytest.raises(pictor.PictorError, match="the connection was lost, and the gateway that answers now") as caught:
        await client.generate("a red fox")

    error = caught.value
    assert (error.code, error.generation_id, error.paid) == (grpc.StatusCode.UNAVAILABLE, "gen_1", True)
    assert "".join(traceback.format_exception(error)).count("Traceback") == 1
    assert len(gateway.requests("Generate")) == 1


async def test_a_call_lost_before_its_id_came_is_found_by_its_request_id(gateway, client):
    """The gateway is asked what it knows; the request is not sent again."""
    gateway.handlers["Generate"] = lose_for_good
    gateway.handlers["GetGeneration"] = lambda *_: GetGenerationResponse(generation=generation())
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, LOG))

    made = await client.generate("a red fox")

    assert made.picture.data == PICTURE
    assert [request.request_id for request in gateway.requests("GetGeneration")] == ["id-1"]
    assert len(gateway.requests("Generate")) == 1


async def test_a_call_that_nobody_knows_is_not_sent_again(gateway, client):
    """It may have been accepted by a gateway that was restarted: the error says so, and how to look."""
    gateway.handlers["Generate"] = lose_for_good
    gateway.handlers["GetGeneration"] = lambda _, context: refuse(
        context, grpc.StatusCode.NOT_FOUND, "there is none", reason="NOT_FOUND"
    )

    with pytest.raises(
        pictor.PictorError, match="unknown whether the call was accepted: look for its request_id id-1"
    ) as caught:
        await client.generate("a red fox")

    error = caught.value
    assert (error.code, error.paid, error.metadata) == (grpc.StatusCode.UNAVAILABLE, True, {"request_id": "id-1"})
    assert len(gateway.requests("Generate")) == 1


@pytest.mark.parametrize("reason", ["CANCELLED", "SHUTTING_DOWN"])
async def test_a_lost_call_that_ended_for_nothing_is_sent_again(gateway, client, reason):
    """Unsent work is given up when we seem gone or its server goes away: the gateway says so, and that it is unpaid."""

    def first_lost(request, context):
        if len(gateway.requests("Generate")) == 1:
            return accepted_then(lose)(request, context)
        return GenerateResponse(generation=generation(inline(PICTURE)))

    gateway.handlers |= {"Generate": first_lost, "WatchGeneration": ended(reason)}

    made = await client.generate("a red fox")

    assert made.picture.data == PICTURE
    assert [request.request_id for request in gateway.requests("Generate")] == ["id-1"] * 2


@pytest.mark.parametrize(
    ("reason", "paid", "options"),
    [
        pytest.param("CANCELLED", True, {}, id="cancelled and paid"),
        pytest.param("CANCELLED", False, {"on_disconnect": "finish"}, id="cancelled by somebody"),
        pytest.param("SHUTTING_DOWN", True, {}, id="given up and paid"),
        pytest.param("CONTENT_POLICY", False, {}, id="refused by the engine"),
    ],
)
async def test_a_lost_call_that_ended_otherwise_is_not_sent_again(gateway, client, reason, paid, options):
    """Nothing that may be paid, that somebody stopped, or that was refused, is asked for a second time."""
    gateway.handlers |= {"Generate": accepted_then(lose), "WatchGeneration": ended(reason, paid=paid)}

    with pytest.raises(pictor.PictorError, match="the end"):
        await client.generate("a red fox", **options)

    assert [name for name, _ in gateway.asked] == ["Generate", "WatchGeneration"]


async def test_a_call_that_is_cancelled_is_not_sent_again(gateway, client):
    """Without a lost connection CANCELLED is somebody's wish."""
    gateway.handlers["Generate"] = ended("CANCELLED")

    with pytest.raises(pictor.PictorError, match="the end"):
        await client.generate("a red fox")

    assert [name for name, _ in gateway.asked] == ["Generate"]


async def test_an_error_carries_everything_that_the_gateway_said(gateway, client):
    """Reason, metadata, violations, when to try again, the generation, and whether money may be spent."""
    gateway.handlers["Generate"] = lambda _, context: refuse(
        context,
        grpc.StatusCode.ABORTED,
        "both engines failed",
        reason="PROVIDER_FAILED",
        metadata={"attempts": "2", "paid": "true"},
        violations=[("prompt", "too red")],
        retry_s=1.5,
        trailers=(("pictor-generation-id", "gen_9"), ("grpc-retry-pushback-ms", "-1")),
    )

    with pytest.raises(pictor.PictorError) as caught:
        await client.generate("a red fox")

    error = caught.value
    assert (error.code, error.reason, error.message) == (
        grpc.StatusCode.ABORTED,
        "PROVIDER_FAILED",
        "both engines failed",
    )
    assert error.metadata == {"attempts": "2", "paid": "true"}
    assert error.violations == (pictor.Violation("prompt", "too red"),)
    assert (error.retry_after_s, error.generation_id, error.paid) == (1.5, "gen_9", True)
    assert not error.is_lost


async def test_an_error_from_elsewhere_has_no_reason(gateway, client):
    """A status without our details (a proxy, an older server) is told as it is."""
    with pytest.raises(pictor.PictorError) as caught:
        await client.models()

    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")


async def test_details_that_cannot_be_read_do_not_hide_the_error(gateway, client):
    """Damaged details leave code and text."""

    def damaged(_, context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    gateway.handlers["GetGeneration"] = damaged

    with pytest.raises(pictor.PictorError, match="no such thing"):
        await client.get("gen_1")


async def test_a_download_goes_on_where_it_broke(gateway, client):
    """After a lost connection only the rest is asked for."""
    whole = download(PICTURE)

    def broken(request, context):
        for number, message in enumerate(whole(request, context)):
            if number == 3:
                lose(context)
            yield message

    gateway.handlers["DownloadImage"] = broken

    got = await client.download("img_1")

    assert got.data == PICTURE
    assert [request.offset_bytes for request in gateway.requests("DownloadImage")] == [0, 2000, 4000]


async def test_a_download_may_break_after_every_chunk(gateway, client):
    """Only tries that bring nothing are counted."""
    data = bytes(range(256)) * 60
    whole = download(data)

    def one_chunk(request, context):
        header, chunk, *rest = whole(request, context)
        yield from (header, chunk)
        if rest:
            lose(context)

    gateway.handlers["DownloadImage"] = one_chunk

    assert (await client.download("img_1")).data == data


async def test_a_download_with_another_hash_is_refused(gateway, client):
    """Bytes that are not those of the header are DATA_LOSS."""

    def wrong(*_):
        yield DownloadImageResponse(image=image(PICTURE))
        for event in chunks(0, "image_chunk", PICTURE[::-1]):
            yield DownloadImageResponse(chunk=event.image_chunk)

    gateway.handlers["DownloadImage"] = wrong

    with pytest.raises(pictor.PictorError, match="damaged") as caught:
        await client.download("img_1")

    assert caught.value.code is grpc.StatusCode.DATA_LOSS


async def test_a_picture_that_is_gone_is_not_asked_for_again(gateway, client):
    """NOT_FOUND is an answer, not a lost connection."""
    gateway.handlers["DownloadImage"] = lambda _, context: refuse(
        context, grpc.StatusCode.NOT_FOUND, "removed", reason="EXPIRED"
    )

    with pytest.raises(pictor.PictorError) as caught:
        await client.download("img_1")

    assert (caught.value.reason, len(gateway.asked)) == ("EXPIRED", 1)


async def test_an_upload_travels_in_pieces(gateway, client, tmp_path):
    """A file of any size arrives byte for byte, no message over 1 MiB."""
    data = bytes(range(256)) * 10_000
    file = tmp_path / "cat.png"
    file.write_bytes(data)
    gateway.handlers["UploadImage"] = lambda parts, _: UploadImageResponse(
        image=image(b"".join(part.data for part in parts), "img_7")
    )

    uploaded = await client.upload(file)

    assert (uploaded.id, uploaded.sha256) == ("img_7", hashlib.sha256(data).hexdigest())
    assert max(len(part.data) for part in gateway.requests("UploadImage")[0]) <= 2**20


async def test_a_picture_over_the_limit_is_not_sent(gateway, client, tmp_path):
    """The refusal is the one that the gateway would give, word for word; file or bytes, it hears nothing of them."""
    file = tmp_path / "big.bin"
    with file.open("wb") as opened:
        opened.truncate(MAX_UPLOAD_BYTES + 1)

    with pytest.raises(pictor.PictorError) as of_file:
        await client.upload(file)
    with pytest.raises(pictor.PictorError) as of_bytes:
        await client.upload(bytes(MAX_UPLOAD_BYTES + 1))
    with pytest.raises(GatewayError) as of_gateway:
        _check_upload(1, MAX_UPLOAD_BYTES)

    theirs = of_gateway.value
    for ours in (of_file.value, of_bytes.value):
        assert (ours.reason, ours.message, ours.code) == (theirs.reason.name, theirs.text, CODES[theirs.reason])
        assert ours.metadata == theirs.metadata
    assert (gateway.asked, picture_file.MAX_BYTES) == ([], MAX_UPLOAD_BYTES)


async def test_listing_goes_through_all_pages(gateway, client):
    """The iterator asks for the next page until there is none."""
    pages = {"": ("gen_1", "more"), "more": ("gen_2", "")}

    def page(request, _):
        name, token = pages[request.page_token]
        answer = ListGenerationsResponse(next_page_token=token)
        answer.generations.add(id=name)
        return answer

    gateway.handlers["ListGenerations"] = page

    assert [each.id async for each in client.history(state="succeeded", labels={"a": "b"})] == ["gen_1", "gen_2"]
    assert gateway.requests("ListGenerations")[1].labels == {"a": "b"}


async def test_plan_get_and_cancel_pass_the_request_on(gateway, client):
    """Thin calls: what is asked arrives, what is answered comes back."""
    gateway.handlers["Plan"] = lambda *_: PlanResponse()
    gateway.handlers["GetGeneration"] = lambda *_: GetGenerationResponse(generation=generation())
    gateway.handlers["CancelGeneration"] = lambda *_: CancelGenerationResponse(generation=generation())

    await client.plan("a red fox", timeout=1.5)
    await client.plan("a red fox", mask=b"mask")
    found = await client.get(request_id="mine")
    cancelled = await client.cancel("gen_1")

    asked = gateway.requests("Plan")
    assert (asked[0].WhichOneof("call"), asked[0].timeout.nanos) == ("generate", 500_000_000)
    assert (asked[1].WhichOneof("call"), asked[1].edit.HasField("image")) == ("edit", False)
    assert gateway.requests("GetGeneration")[0].request_id == "mine"
    assert found.id == cancelled.id == "gen_1"


async def test_a_provider_is_disabled_for_a_while(gateway, client):
    """State by short name, span in seconds."""
    gateway.handlers["SetProviderState"] = lambda *_: SetProviderStateResponse(provider=Provider(name="openai"))

    await client.set_provider_state("openai", "disabled", reason="bad pictures", for_s=1800)

    asked = gateway.requests("SetProviderState")[0]
    assert (asked.state, asked.reason, asked.duration.seconds) == (2, "bad pictures", 1800)


async def test_the_key_and_metadata_travel_with_every_call(gateway, monkeypatch, kind):
    """PICTOR_API_KEY is sent as bearer token, beside metadata of one's own, on unary calls, streams and uploads."""
    monkeypatch.setenv("PICTOR_API_KEY", "pictor_secret")
    gateway.handlers["ListModels"] = lambda *_: ListModelsResponse()
    gateway.handlers["DownloadImage"] = download(PICTURE)
    gateway.handlers["UploadImage"] = lambda *_: UploadImageResponse()

    async with connected(kind, gateway.address, metadata=[("x-sandbox-fault", "429")]) as client:
        await client.models()
        await client.download("img_1")
        await client.upload(b"png")

    seen = [(sent["authorization"], sent["x-sandbox-fault"]) for sent in gateway.metadata]
    assert seen == [("Bearer pictor_secret", "429")] * 3


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("recvmsg:Connection reset by peer", LOST),
        ("no healthy upstream", "no healthy upstream"),
    ],
)
async def test_what_grpc_says_is_told_in_plain_words(gateway, client, text, plain):
    """Nobody has to read gRPC's own text; a proxy's words stay; the reason is never empty."""

    def end(_, context):
        context.set_trailing_metadata((_NO_RETRY,))
        context.abort(grpc.StatusCode.UNAVAILABLE, text)

    gateway.handlers["ListModels"] = end

    with pytest.raises(pictor.PictorError) as caught:
        await client.models()

    assert (caught.value.reason, caught.value.message) == ("UNREACHABLE", plain)


@pytest.mark.parametrize(
    ("address", "is_whole"),
    [
        ("127.0.0.1:50051", True),
        ("[::1]:50051", True),
        ("https://pictor.example", True),
        ("unix:///run/pictor", True),
        ("http://host:1/", True),
        ("127.0.0.1", False),
        ("http://host", False),
        ("host:", False),
    ],
)
def test_an_address_has_a_port(address, is_whole):
    """Without one gRPC would try 443 in silence; only https has that as its own."""
    with nullcontext() if is_whole else pytest.raises(ValueError, match="an address is host:port"):
        Target.parse(address)


async def test_a_deadline_that_passes_names_the_generation(gateway, client):
    """The wait ends, the generation does not: its id is in the error."""

    def slow(_, context):
        context.send_initial_metadata((("pictor-generation-id", "gen_1"),))
        over = threading.Event()
        context.add_callback(over.set)
        over.wait()
        return GenerateResponse()

    gateway.handlers["Generate"] = slow

    with pytest.raises(pictor.PictorError) as caught:
        await client.generate("a red fox", timeout=0.3)

    assert (caught.value.code, caught.value.generation_id) == (grpc.StatusCode.DEADLINE_EXCEEDED, "gen_1")
    assert re.fullmatch(r"no answer within \d\.\d s", caught.value.message)
    assert (caught.value.reason, caught.value.request_id) == (
        "DEADLINE_EXCEEDED",
        gateway.requests("Generate")[0].request_id,
    )
