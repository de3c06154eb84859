"""No gateway at the address, on real sockets: nothing was sent, so nothing is paid; which address, and what to do."""

import traceback
from contextlib import contextmanager

import grpc
import pytest

import pictor
from both_clients import BOTH, connected
from canned_gateway import answers, canned_gateway, lose, started
from pictor.v1.catalog_service_pb2 import ListModelsResponse
from pictor.v1.image_service_pb2 import GenerateStreamResponse
from strangers import certificate, grpc_server, hanging_up, http_server

START = "start it with `make serve`, or set PICTOR_ADDRESS"


@pytest.fixture(params=BOTH)
def kind(request):
    return request.param


def assert_one_traceback(error):
    """Uncaught, it is told by itself: no other error above it, least of all gRPC's fifty lines."""
    told = "".join(traceback.format_exception(error))
    assert told.count("Traceback") == 1
    assert "RpcError" not in told


@contextmanager
def nobody():
    """An address where somebody was, and nobody is."""
    with canned_gateway() as gone:
        port = gone.port
    yield port


@contextmanager
def secure():
    private, chain = certificate()
    with grpc_server(grpc.ssl_server_credentials([(private, chain)])) as port:
        yield port


async def _one(client):
    await client.generate("a red fox")


async def _stream(client):
    async for _ in client.stream("a red fox"):
        pass


async def _set(client):
    async for _ in client.generate_set("a red fox", {"a": "at dawn"}):
        pass


async def _reroll(client):
    await client.reroll("gen_1")


async def _watch(client):
    async for _ in client.watch("gen_1"):
        pass


async def _models(client):
    await client.models()


@pytest.mark.parametrize("call", [_one, _stream, _set, _reroll, _watch, _models])
async def test_nobody_at_the_address(kind, call):
    """Whatever was wanted, at once: no waiting for somebody who never was there."""
    waits = []
    with nobody() as port:
        async with connected(kind, f"127.0.0.1:{port}", waits=waits) as client:
            with pytest.raises(pictor.Unavailable) as caught:
                await call(client)

    error = caught.value
    assert error.message == f"nothing answers at 127.0.0.1:{port}; {START}"
    assert (error.reason, error.paid, error.generation_id, waits) == ("UNREACHABLE", False, None, [])
    assert str(port) in str(error)
    assert_one_traceback(error)


@pytest.mark.parametrize(
    ("place", "scheme", "options", "says"),
    [
        (secure, "", {}, "something answers at {address}, and hangs up; if it speaks TLS, say https://{address}"),
        (
            secure,
            "https://",
            {},
            "something answers at {address}, but TLS with it fails; if its certificate is of your",
        ),
        (grpc_server, "https://", {}, "something answers at {address}, but without TLS; leave out https://"),
        (grpc_server, "", {"tls": True}, "something answers at {address}, but without TLS; leave out tls"),
        (
            hanging_up,
            "https://",
            {},
            "something answers at {address}, and hangs up; if it speaks no TLS, leave out https://",
        ),
        (http_server, "", {}, "something answers at {address}, but it does not speak gRPC; look at the port in PICTOR"),
    ],
    ids=[
        "TLS is missing",
        "an unknown authority",
        "TLS in the address",
        "TLS by argument",
        "TLS is too much",
        "a web server",
    ],
)
async def test_somebody_else_at_the_address(kind, place, scheme, options, says):
    """What answers there, and what to write instead."""
    with place() as port:
        async with connected(kind, f"{scheme}localhost:{port}", **options) as client:
            with pytest.raises(pictor.Unavailable) as caught:
                await client.generate("a red fox")

    assert caught.value.message.startswith(says.format(address=f"localhost:{port}"))
    assert (caught.value.reason, caught.value.paid) == ("UNREACHABLE", False)


async def test_an_address_that_cannot_be_reached_for_another_reason(kind):
    """What it is gRPC alone knows; it is not said that nobody is there."""
    with canned_gateway() as gateway:
        text = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:50051: No route to host"
        gateway.handlers["ListModels"] = lambda _, context: context.abort(grpc.StatusCode.UNAVAILABLE, text)
        async with connected(kind, gateway.address) as client:
            with pytest.raises(pictor.Unavailable) as caught:
                await client.models()

    assert caught.value.message == f"{gateway.address} cannot be reached (No route to host); {START}"


async def test_a_name_that_nobody_has(kind):
    """A typing mistake in the host."""
    async with connected(kind, "nobody.invalid:50051") as client:
        with pytest.raises(pictor.Unavailable) as caught:
            await client.generate("a red fox")

    assert caught.value.message == f"nothing answers at nobody.invalid:50051 (nobody knows its name); {START}"
    assert not caught.value.paid


async def test_a_grpc_service_that_is_no_gateway(kind):
    """It says itself that it has no such method; the client says what that means."""
    with grpc_server() as port:
        async with connected(kind, f"localhost:{port}") as client:
            with pytest.raises(pictor.PictorError) as caught:
                await client.generate("a red fox")

    says = f"something else than a gateway of this version answers at localhost:{port} (Method not found!)"
    assert caught.value.message == f"{says}; look at PICTOR_ADDRESS"
    assert (caught.value.reason, caught.value.paid) == ("UNIMPLEMENTED", False)


async def test_a_gateway_that_went_away_before_the_call_was_sent_nothing(kind):
    """A client that has worked long: a call that finds nobody any more is not paid either."""
    with canned_gateway() as gateway:
        gateway.handlers["ListModels"] = lambda *_: ListModelsResponse()
        async with connected(kind, gateway.address) as client:
            await client.models()
            gateway.stop()
            with pytest.raises(pictor.Unavailable, match="nothing answers at") as caught:
                await client.generate("a red fox")
        gateway.start()

    assert not caught.value.paid


async def test_a_gateway_that_goes_away_during_a_call_may_have_been_paid(kind):
    """What was accepted goes on somewhere, or does not: the same words, with the generation, and `paid`."""
    waits = []
    with canned_gateway() as gateway:

        def broken(_, context):
            yield from answers(GenerateStreamResponse, [started(1)])
            lose(context)

        gateway.handlers["GenerateStream"] = broken
        async with connected(kind, gateway.address, waits=waits) as client:
            stream = client.stream("a red fox")
            await anext(stream)
            gateway.stop()
            with pytest.raises(pictor.Unavailable) as caught:
                await anext(stream)
        gateway.start()

    assert caught.value.paid
