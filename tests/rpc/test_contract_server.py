"""The server as balancers and operators see it: health, reflection, going down, a port that is taken."""

import asyncio
import hashlib

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway import GPT, NO_LIMIT, Gateway, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictord.settings import SettingsError

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def pictor():
    async with gateway() as running:
        yield running


async def test_going_down_is_said_before_it_is_done(pictor: Gateway):
    """While it drains the server says NOT_SERVING to those who watch, refuses new work, and still answers lookups."""
    watch = health_pb2_grpc.HealthStub(pictor.channel).Watch(
        health_pb2.HealthCheckRequest(service="pictor.v1.ImageService")
    )
    before = (await watch.read()).status
    made = (await pictor.images.Generate(service.GenerateRequest(prompt="a fox"))).generation
    await pictor.app.drain()
    after = (await watch.read()).status
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pictor.images.Generate(service.GenerateRequest(prompt="a fox"))
    record = await pictor.history.GetGeneration(history.GetGenerationRequest(generation_id=made.id))
    watch.cancel()

    assert (before, after) == (SERVING, NOT_SERVING)
    found = refusal(caught.value)
    assert (found.code, found.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
    assert "grpc-retry-pushback-ms" not in found.trailers
    assert record.generation.id == made.id


SMALL_WINDOW = [
    *NO_LIMIT,
    ("grpc.use_local_subchannel_pool", 1),
    # The server stalls in the picture; with a large window the client would hold all of it.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
]
LARGE = service.GenerateRequest(
    prompt="a fox in great detail",
    model=GPT,
    quality=image.QUALITY_MEDIUM,
    preview_count=0,
    canvas=image.Canvas(ratio="16:9", resolution=image.RESOLUTION_4K),
)


async def until(call, kind: str) -> bytes:
    """Read a stream up to the first event of this kind; the bytes of pictures on the way."""
    data = b""
    async for message in call:
        data += message.event.image_chunk.data
        if message.event.HasField(kind):
            return data
    raise AssertionError(f"no {kind}")


async def test_going_down_waits_for_readers_as_well_as_for_jobs():
    """A picture that was paid for and is being read is delivered to its end; who watches health is not waited for."""
    async with gateway(options=SMALL_WINDOW, drain_s=60.0) as pictor:
        health = health_pb2_grpc.HealthStub(pictor.channel).Watch(health_pb2.HealthCheckRequest())
        await health.read()
        call = pictor.images.GenerateStream(service.GenerateStreamRequest(request=LARGE))
        data = await until(call, "image_chunk")
        generation_id = dict(await call.initial_metadata())["pictor-generation-id"]
        watch = pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=generation_id))
        await until(watch, "image_chunk")
        await pictor.app.jobs.running_ended()
        stopping = asyncio.ensure_future(pictor.app.drain())
        while not pictor.app.jobs.is_draining:  # noqa: ASYNC110 - turns of the loop, not a wait
            await asyncio.sleep(0)
        data += await until(call, "completed")
        assert not stopping.done()
        await until(watch, "completed")
        await stopping
        record = await pictor.get(generation_id)
        health.cancel()

    assert hashlib.sha256(data).hexdigest() == record.outputs[0].image.sha256


async def test_going_down_does_not_wait_for_readers_for_ever(caplog):
    """Who does not read holds up the end no longer than the drain may take, and it is said."""
    async with gateway(options=SMALL_WINDOW, drain_s=0.0) as pictor:
        call = pictor.images.GenerateStream(service.GenerateStreamRequest(request=LARGE))
        await until(call, "image_chunk")
        await pictor.app.drain()
        call.cancel()

    assert "1 calls are still being read" in caplog.text


async def test_reflection_gives_the_contract(pictor: Gateway):
    """Tools without our files learn every message of the contract from the server."""
    call = reflection_pb2_grpc.ServerReflectionStub(pictor.channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="pictor.v1.ImageService"))
    answer = await call.read()
    await call.done_writing()
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(each)
        for each in answer.file_descriptor_response.file_descriptor_proto
    ]

    (entry,) = [file for file in files if file.name == "pictor/v1/image_service.proto"]
    assert [method.name for method in entry.service[0].method] == [
        "Generate",
        "Edit",
        "GenerateStream",
        "EditStream",
        "GenerateSet",
        "Reroll",
        "Plan",
    ]


async def test_a_port_that_is_taken_is_not_shared(pictor: Gateway):
    """A second server on the same port fails to start instead of silently taking half of the calls."""
    with pytest.raises(SettingsError, match="cannot bind"):
        async with gateway(listen=pictor.app.address):
            pass
