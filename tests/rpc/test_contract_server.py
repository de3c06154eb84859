"""The server as balancers and operators see it: health, reflection, going down, a port that is taken."""

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway import Gateway, gateway, refusal
from pictor.v1 import history_service_pb2 as history
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
