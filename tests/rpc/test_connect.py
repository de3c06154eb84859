"""The contract over HTTP: JSON as curl sends it, Connect streams, gRPC-Web, and who may not come in."""

import asyncio
import base64
import hashlib
import json
import struct
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import httpx2
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from gateway import OPENAI_KEY, Gateway, gateway, openai_account
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_service_pb2 as images
from pictor.v1.generation_pb2 import Generation
from pictord import app
from pictord.auth.callers import BindingRefused, hash_key
from pictord.settings import CallerTable, OpenAIAccount, Quota, Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "pictor_a-key-of-the-studio"
GENERATE = "/pictor.v1.ImageService/Generate"
STREAM = "/pictor.v1.ImageService/GenerateStream"
FOX = {"prompt": "a red fox"}
PAGE = "https://studio.example"


@asynccontextmanager
async def door(**settings):
    """A gateway, and an HTTP client at its door."""
    async with AsyncExitStack() as stack:
        pictor = await stack.enter_async_context(gateway(http_listen="127.0.0.1:0", **settings))
        url = f"http://{pictor.app.http_address}"
        yield pictor, await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=30))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both():
    async with door() as (pictor, http):
        yield pictor, http


@pytest.fixture
def http(both) -> httpx2.AsyncClient:
    return both[1]


@pytest.fixture
def pictor(both) -> Gateway:
    return both[0]


def charged(pictor: Gateway) -> list[int]:
    """What each call that reached an engine was billed, in nano-USD."""
    return [charge.nanos for charge in pictor.sandbox.charges]


def framed(message: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(message)) + message


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Flags and payload of each frame."""
    found = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        found.append((flags, body[5 : 5 + size]))
        assert len(found[-1][1]) == size
        body = body[5 + size :]
    return found


async def stream(http: httpx2.AsyncClient, request: dict, **headers) -> tuple[list[dict], dict]:
    """The messages of a Connect stream in JSON, and how it ended."""
    answer = await http.post(
        STREAM,
        content=framed(json.dumps({"request": request}).encode()),
        headers={"content-type": "application/connect+json"} | headers,
    )
    assert answer.status_code == 200
    *messages, (flags, end) = frames(answer.content)
    assert {flags for flags, _ in messages} <= {0}
    assert flags == 2
    return [json.loads(message) for _, message in messages], json.loads(end)


def reason(answer: httpx2.Response) -> str:
    """The reason of an error, as a person reads it."""
    return answer.json()["details"][0]["debug"]["reason"]


# JSON


async def test_a_picture_in_json_is_the_stored_one(pictor, http):
    """Its bytes come in base64, every one of them; id, model and cost beside them, and in the headers."""
    answer = await http.post(GENERATE, json=FOX)

    image = answer.json()["generation"]["outputs"][0]["image"]
    drawn = base64.b64decode(image["data"])
    stored = b"".join(
        [
            part.chunk.data
            async for part in pictor.history.DownloadImage(history.DownloadImageRequest(image_id=image["id"]))
        ]
    )
    assert answer.status_code == 200
    assert drawn == stored
    assert hashlib.sha256(drawn).hexdigest() == image["sha256"]
    assert answer.headers["pictor-generation-id"] == answer.json()["generation"]["id"]
    assert int(answer.headers["trailer-pictor-cost-nanos"]) == charged(pictor)[-1] > 0


async def test_names_of_the_contract_are_taken_too(http):
    """`max_inline_bytes` as the contract calls it."""
    answer = await http.post(GENERATE, json=FOX | {"max_inline_bytes": 0, "tier": "TIER_PRO"})

    assert answer.json()["generation"]["decision"]["row"] == "pro"
    assert "data" not in answer.json()["generation"]["outputs"][0]["image"]


async def test_an_error_says_reason_and_field_in_words(http):
    """Readable without decoding anything, and encoded for clients."""
    answer = await http.post(GENERATE, json={"prompt": ""})

    info, bad = answer.json()["details"]
    packed = error_details_pb2.ErrorInfo.FromString(base64.b64decode(info["value"] + "==="))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    assert answer.json()["message"] == "prompt: must not be empty"
    assert (info["type"], info["debug"]["reason"]) == ("google.rpc.ErrorInfo", "PROMPT_EMPTY")
    assert bad["debug"]["fieldViolations"][0]["field"] == "prompt"
    assert (packed.reason, packed.domain) == ("PROMPT_EMPTY", "pictor")


async def test_a_failure_with_money_spent_says_so_and_forbids_repeating(pictor, http):
    """Generation id and pushback are trailers here too."""
    fault = {"x-sandbox-fault": "openai:truncated_json"}
    answer = await http.post(GENERATE, json=FOX | {"model": "gpt-image-2"}, headers=fault)

    assert answer.json()["code"] == "aborted"
    assert answer.headers["trailer-grpc-retry-pushback-ms"] == "-1"
    assert answer.headers["trailer-pictor-generation-id"] == answer.headers["pictor-generation-id"]
    assert answer.json()["details"][0]["debug"]["metadata"]["paid"] == "true"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"promt": "a fox"}, 'no field named "promt"'),
        ({"prompt": "a fox", "tier": "TIER_GOLD"}, "TIER_GOLD"),
        ({"prompt": 7}, "prompt"),
    ],
)
async def test_what_is_no_request_is_refused_before_money(pictor, http, body, says):
    """A misspelt `max_cost` must not be overlooked."""
    before = charged(pictor)
    answer = await http.post(GENERATE, json=body)

    assert (answer.status_code, reason(answer)) == (400, "INVALID_FIELD")
    assert says in answer.json()["message"]
    assert charged(pictor) == before


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"canvas":' * 5000])
async def test_what_is_no_json_is_refused(http, body):
    """No body, half of one, no text, thousands of brackets."""
    answer = await http.post(GENERATE, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, reason(answer)) == (400, "INVALID_FIELD")
    assert "Traceback" not in answer.text


async def test_a_nested_field_is_named_by_its_path(http):
    """As gRPC names fields."""
    answer = await http.post(GENERATE, json=FOX | {"canvas": {"ratioo": "1:1"}})

    assert answer.json()["details"][1]["debug"]["fieldViolations"][0]["field"] == "canvas"


async def test_a_body_over_the_cap_is_refused_with_what_to_do(http):
    """32 MiB, as on the gRPC port."""
    answer = await http.post(GENERATE, json={"prompt": "x" * (32 * 1024 * 1024)})

    assert (answer.status_code, reason(answer)) == (429, "REQUEST_TOO_LARGE")
    assert "UploadImage" in answer.json()["message"]


async def test_a_deadline_that_is_too_short_costs_nothing(pictor, http):
    """`connect-timeout-ms` is the call's deadline."""
    before = charged(pictor)
    answer = await http.post(GENERATE, json=FOX | {"tier": "TIER_PRO"}, headers={"connect-timeout-ms": "50"})

    assert (answer.status_code, reason(answer)) == (504, "DEADLINE_TOO_SHORT")
    assert charged(pictor) == before


# Streams


async def test_a_stream_is_the_log_with_the_picture_in_chunks(pictor, http):
    """The same events in the same order as over gRPC; previews and picture are whole."""
    messages, end = await stream(http, FOX | {"tier": "TIER_PRO"})

    events = [message["event"] for message in messages]
    kinds = [next(iter(event.keys() - {"sequence", "eventTime"})) for event in events]
    chunks = [event["imageChunk"] for event in events if "imageChunk" in event]
    picture = b"".join(base64.b64decode(chunk["data"]) for chunk in chunks)
    (image,) = [event["image"]["image"] for event in events if "image" in event]
    id_ = events[-1]["completed"]["generation"]["id"]
    over_grpc = [
        each.event.WhichOneof("event")
        async for each in pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=id_))
    ]
    assert [kind for kind in kinds if not kind.endswith("Chunk")] == [
        "".join(part.title() if at else part for at, part in enumerate(name.split("_")))
        for name in over_grpc
        if not name.endswith("_chunk")
    ]
    assert kinds.count("preview") == 2
    assert hashlib.sha256(picture).hexdigest() == image["sha256"]
    assert "error" not in end
    assert end["metadata"]["pictor-model"] == ["gpt-image-2"]


async def test_a_stream_that_fails_ends_with_the_error(http):
    """What happened before is sent, and the end says why, with its reason."""
    messages, end = await stream(
        http, FOX | {"model": "gpt-image-2"}, **{"x-sandbox-fault": "openai:moderation_blocked"}
    )

    assert "accepted" in messages[0]["event"]
    assert end["error"]["code"] == "failed_precondition"
    assert end["error"]["details"][0]["debug"]["reason"] == "CONTENT_POLICY"


async def test_a_reader_who_goes_away_leaves_the_paid_picture_stored(pictor, http):
    """What was sent runs to its end; the id came with the first event."""
    before = charged(pictor)
    pictor.sandbox.faults.add("stall", times=1)
    body = framed(json.dumps({"request": FOX | {"request_id": "left"}}).encode())
    headers = {"content-type": "application/connect+json"}
    async with http.stream("POST", STREAM, content=body, headers=headers) as answer:
        await pictor.sandbox.wait_for_stalls(1)
        assert answer.headers["pictor-generation-id"].startswith("gen_")
    pictor.sandbox.release_stalls()

    request = history.WatchGenerationRequest(generation_id=answer.headers["pictor-generation-id"])
    last = [each async for each in pictor.history.WatchGeneration(request)][-1]

    assert last.event.completed.generation.state == Generation.STATE_SUCCEEDED
    assert len(charged(pictor)) == len(before) + 1


async def test_a_reader_who_goes_away_takes_unsent_work_along():
    """What still waits for its turn is released at once, as over gRPC."""
    one_at_a_time = Quota(max_concurrency=1)
    async with door(real=True, openai=lambda engines: openai_account(engines, quota=one_at_a_time)) as (pictor, http):
        asked = FOX | {"model": "gpt-image-2"}
        await stream(http, asked)  # so that the wait for a slot is predicted to be short
        pictor.sandbox.faults.add("stall", times=1)
        running = asyncio.ensure_future(stream(http, asked))
        await pictor.sandbox.wait_for_stalls(1)
        body = framed(json.dumps({"request": asked}).encode())
        headers = {"content-type": "application/connect+json"}
        async with http.stream("POST", STREAM, content=body, headers=headers) as queued:
            async for part in queued.aiter_bytes():
                if b"queued" in part:
                    break
        asking = history.WatchGenerationRequest(generation_id=queued.headers["pictor-generation-id"])
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            [_ async for _ in pictor.history.WatchGeneration(asking)]
        pictor.sandbox.release_stalls()
        await running

        assert gone.value.code() is grpc.StatusCode.CANCELLED
        assert len(charged(pictor)) == 2


async def test_a_picture_can_be_uploaded_as_a_stream(http):
    """Client streams work too, for those who can send them."""
    drawn = (await http.post(GENERATE, json=FOX)).json()["generation"]["outputs"][0]["image"]
    picture = base64.b64decode(drawn["data"])
    half = len(picture) // 2
    parts = [{"data": base64.b64encode(part).decode()} for part in (picture[:half], picture[half:])]

    answer = await http.post(
        "/pictor.v1.HistoryService/UploadImage",
        content=b"".join(framed(json.dumps(part).encode()) for part in parts),
        headers={"content-type": "application/connect+json"},
    )

    (_, message), (flags, end) = frames(answer.content)
    assert (flags, json.loads(end)) == (2, {})
    assert json.loads(message)["image"]["id"].startswith("img_")


async def test_a_repeat_at_the_other_door_is_paid_once(pictor, http):
    """One application behind both: the id that was used over gRPC replays over HTTP."""
    before = charged(pictor)
    first = await pictor.images.Generate(images.GenerateRequest(prompt="a red fox", request_id="both-doors"))
    again = (await http.post(GENERATE, json=FOX | {"request_id": "both-doors"})).json()["generation"]

    assert (again["id"], again["replayed"]) == (first.generation.id, True)
    assert len(charged(pictor)) == len(before) + 1


async def test_a_deadline_that_passes_loses_nothing():
    """The wait ends with 504; what was sent goes on and can be fetched."""
    async with door(time_scale=0.001) as (pictor, http):
        pictor.sandbox.faults.add("stall", times=1)
        answer = await http.post(GENERATE, json=FOX | {"request_id": "late"}, headers={"connect-timeout-ms": "400"})
        pictor.sandbox.release_stalls()
        late = await http.post(GENERATE, json=FOX | {"request_id": "late"})

        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        assert late.json()["generation"]["state"] == "STATE_SUCCEEDED"
        assert len(charged(pictor)) == 1


async def test_a_stopping_server_delivers_what_runs_and_refuses_what_comes():
    """The drain waits for readers at this door too."""
    async with door(drain_s=30.0) as (pictor, http):
        pictor.sandbox.faults.add("stall", times=1)
        reading = asyncio.ensure_future(stream(http, FOX))
        await pictor.sandbox.wait_for_stalls(1)
        draining = asyncio.ensure_future(pictor.app.drain())
        while not pictor.app.jobs.is_draining:  # noqa: ASYNC110 - a turn of the loop each, not a wait
            await asyncio.sleep(0)
        refused = await http.post(GENERATE, json=FOX)
        pictor.sandbox.release_stalls()
        messages, end = await reading
        await draining

    assert (refused.status_code, reason(refused)) == (503, "SHUTTING_DOWN")
    assert "completed" in messages[-1]["event"]
    assert "error" not in end


# gRPC-Web


async def grpc_web(
    http: httpx2.AsyncClient, path: str, message: bytes, **headers
) -> tuple[list[bytes], dict[str, str]]:
    """Messages and trailers."""
    answer = await http.post(
        path, content=framed(message), headers={"content-type": "application/grpc-web+proto"} | headers
    )
    assert answer.status_code == 200
    if not answer.content:
        return [], dict(answer.headers)
    *messages, (flags, last) = frames(answer.content)
    assert flags == 0x80
    return [message for _, message in messages], dict(
        line.split(": ", 1) for line in last.decode().split("\r\n") if line
    )


async def test_grpc_web_brings_the_picture_in_the_wire_format(pictor, http):
    """The message of the contract, then the trailers in a frame of their own."""
    request = images.GenerateRequest(prompt="a red fox")
    (message,), trailers = await grpc_web(http, GENERATE, request.SerializeToString())

    image = images.GenerateResponse.FromString(message).generation.outputs[0].image
    assert hashlib.sha256(image.data).hexdigest() == image.sha256
    assert trailers["grpc-status"] == "0"
    assert int(trailers["pictor-cost-nanos"]) == charged(pictor)[-1] > 0


async def test_grpc_web_streams_and_fails_like_grpc(http):
    """Status, message and details are where gRPC-Web clients look for them."""
    request = images.GenerateStreamRequest(request=images.GenerateRequest(prompt="a fox", model="gpt-image-2"))
    fault = {"x-sandbox-fault": "openai:moderation_blocked"}
    messages, trailers = await grpc_web(http, STREAM, request.SerializeToString(), **fault)

    first = images.GenerateStreamResponse.FromString(messages[0])
    status = status_pb2.Status.FromString(base64.b64decode(trailers["grpc-status-details-bin"] + "==="))
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert first.event.accepted.generation_id
    assert (trailers["grpc-status"], info.reason) == ("9", "CONTENT_POLICY")
    assert trailers["pictor-generation-id"] == first.event.accepted.generation_id


async def test_bytes_that_are_no_message_are_refused_with_a_reason(http):
    """Before anything is done."""
    _, trailers = await grpc_web(http, GENERATE, b"\xff\xff\xff")

    assert trailers["grpc-status"] == "3"


# Who may come in

STUDIO = CallerTable(name="studio", keys=(hash_key(KEY),))


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer pictor_wrong"}, {"authorization": f"Basic {KEY}"}])
async def test_without_a_key_nobody_gets_in(headers):
    """Refused as over gRPC, with the same reason, in all three tongues."""
    async with door(callers=(STUDIO,)) as (pictor, http):
        answer = await http.post(GENERATE, json=FOX, headers=headers)
        _, trailers = await grpc_web(http, GENERATE, b"", **headers)
        _, end = await stream(http, FOX, **headers)

        assert (answer.status_code, reason(answer)) == (401, "UNAUTHENTICATED")
        assert trailers["grpc-status"] == "16"
        assert end["error"]["code"] == "unauthenticated"
        assert charged(pictor) == []


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
async def test_with_a_key_one_is_its_caller(headers):
    """And not an operator."""
    async with door(callers=(STUDIO,)) as (_, http):
        drawn = await http.post(GENERATE, json=FOX | {"max_inline_bytes": 0}, headers=headers)
        switched = await http.post(
            "/pictor.v1.CatalogService/SetProviderState",
            json={"provider": "openai", "state": "PROVIDER_STATE_DISABLED", "reason": "x"},
            headers=headers,
        )

    assert drawn.json()["generation"]["caller"] == "studio"
    assert (switched.status_code, reason(switched)) == (403, "PERMISSION_DENIED")


async def test_a_stranger_is_refused_before_the_body_is_read():
    """Who announces 60 MiB and has no key is answered at once."""
    async with door(callers=(STUDIO,)) as (pictor, _):
        host, port = pictor.app.http_address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST {GENERATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60000000\r\n\r\n"
        )
        writer.write(head.encode() + b'{"prompt"')
        status = await asyncio.wait_for(reader.readline(), 10)
        writer.close()

    assert b" 401 " in status


async def test_sandbox_metadata_is_refused_by_real_engines():
    """The rules of metadata are those of gRPC."""
    async with door(real=True) as (_, http):
        answer = await http.post(GENERATE, json=FOX, headers={"x-sandbox-fault": "openai:stall"})

    assert reason(answer) == "METADATA_INVALID"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:8080", "null", "https://studio.example.evil"]
)
async def test_no_page_may_call_unless_it_is_listed(origin):
    """Neither straight away nor by asking before: no page on the internet spends money at a gateway on loopback."""
    async with door(http_origins=(PAGE,)) as (pictor, http):
        asked = await http.options(GENERATE, headers={"origin": origin, "access-control-request-method": "POST"})
        answer = await http.post(GENERATE, json=FOX, headers={"origin": origin})

        assert (asked.status_code, answer.status_code) == (403, 403)
        assert "http_origins" in answer.text
        assert not [name for name in {**asked.headers, **answer.headers} if name.startswith("access-control")]
        assert charged(pictor) == []


async def test_by_default_no_origin_is_listed(http):
    """CORS is off."""
    assert (await http.post(GENERATE, json=FOX, headers={"origin": PAGE})).status_code == 403


async def test_a_listed_page_may_call_and_read_everything():
    """Preflight with its own headers, the answer, and the ids in it."""
    async with door(http_origins=(PAGE,)) as (_, http):
        wish = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
        asked = await http.options(GENERATE, headers={"origin": PAGE} | wish)
        answer = await http.post(GENERATE, json=FOX | {"max_inline_bytes": 0}, headers={"origin": PAGE})

    assert asked.status_code == 200
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert asked.headers["access-control-allow-origin"] == answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["access-control-expose-headers"] == "*"


@pytest.mark.parametrize(
    ("called", "kind", "status", "says"),
    [
        (("POST", GENERATE), "text/plain", 415, "application/json"),
        (("POST", GENERATE), "application/x-www-form-urlencoded", 415, "application/json"),
        (("POST", STREAM), "application/json", 415, "application/connect+json"),
        (("POST", GENERATE), "application/grpc", 415, "gRPC port"),
        (("GET", f"{GENERATE}?message={{}}&encoding=json"), "application/json", 405, "POST"),
        (("POST", "/pictor.v1.ImageService/Paint"), "application/json", 404, "there is no RPC"),
        (("POST", "/pictor.v1."), "application/json", 404, "there is no RPC"),
    ],
)
async def test_what_cannot_be_meant_is_answered_in_a_sentence(http, called, kind, status, says):
    """The caller is shown what to change."""
    answer = await http.request(*called, content=b"{}", headers={"content-type": kind})

    assert answer.status_code == status
    assert says in answer.text


async def test_a_header_that_is_no_text_is_refused(http):
    """Instead of failing over it."""
    answer = await http.post(GENERATE, json=FOX, headers={"x-odd": b"\xff"})

    assert (answer.status_code, answer.text) == (400, "a header holds bytes that are no text\n")


async def test_pictures_are_still_fetched_beside_the_rpcs(http):
    """The site keeps every other path."""
    answer = await http.post(GENERATE, json=FOX | {"max_inline_bytes": 0})
    link = answer.json()["generation"]["outputs"][0]["image"]["downloadUrl"]

    assert (await http.get(link)).status_code == 200
    assert (await http.get("/")).status_code != 501


async def test_calls_are_counted_like_those_of_grpc():
    """One histogram for both doors."""
    async with door(admin_listen="127.0.0.1:0") as (pictor, http):
        await http.post(GENERATE, json={"prompt": ""})
        page = (await http.get(f"http://{pictor.app.admin_address}/metrics")).text

    assert any(
        "rpc_server_call_duration_seconds_count" in line and "Generate" in line and "INVALID_ARGUMENT" in line
        for line in page.splitlines()
    )


async def test_without_the_extra_the_door_says_so(monkeypatch):
    """The other port works without it."""
    for name in [name for name in sys.modules if name.startswith(("connectrpc.", "pictord.rpc.connect"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "connectrpc", None)
    async with door() as (pictor, http):
        answer = await http.post(GENERATE, json=FOX)
        drawn = await pictor.images.Generate(images.GenerateRequest(prompt="a red fox"))

    assert (answer.status_code, "pictord[connect]" in answer.text) == (501, True)
    assert drawn.generation.state == Generation.STATE_SUCCEEDED


async def test_http_on_all_addresses_needs_callers_too():
    """The port spends money, as the gRPC port does."""
    with pytest.raises(BindingRefused, match=r"0\.0\.0\.0:8080"):
        app.check(Settings(http_listen="0.0.0.0:8080", http_url="http://x", openai=OpenAIAccount(OPENAI_KEY)))
