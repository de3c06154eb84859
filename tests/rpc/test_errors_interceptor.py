# ruff: noqa: N802 - RPCs are named by the contract
"""What surrounds every RPC, seen by a client through a real channel: no leak, no hang, honest telemetry."""

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from pictor.v1 import history_service_pb2 as history
from pictor.v1 import history_service_pb2_grpc as history_grpc
from pictor.v1 import image_service_pb2 as image
from pictor.v1 import image_service_pb2_grpc as image_grpc
from pictord.auth.callers import Callers, KnownCaller, hash_key
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.rpc import call as calls
from pictord.rpc.interceptors import CallInterceptor

SECRET = "sk-secret-detail"


class Scripted(image_grpc.ImageServiceServicer, history_grpc.HistoryServiceServicer):
    """Does what the test says; one method of each arity that the contract has."""

    def __init__(self) -> None:
        self.act = None
        self.cleaned = asyncio.Event()
        self.entered = asyncio.Event()
        self.seen: list[calls.Call] = []

    async def Generate(self, request, context):
        self.seen.append(calls.current())
        self.entered.set()
        try:
            await self.act(context)
        finally:
            self.cleaned.set()
        return image.GenerateResponse()

    async def GenerateStream(self, request, context) -> AsyncIterator[image.GenerateStreamResponse]:
        self.entered.set()
        try:
            yield image.GenerateStreamResponse()
            await self.act(context)
            yield image.GenerateStreamResponse()
        finally:
            self.cleaned.set()

    async def UploadImage(self, request_iterator, context):
        self.entered.set()
        async for _ in request_iterator:
            pass
        await self.act(context)
        return history.UploadImageResponse()


@pytest.fixture
def scripted():
    return Scripted()


class Recorded(SpanProcessor):
    """Real SDK providers of our own, never global, and the spans that have ended."""

    def __init__(self) -> None:
        self.spans: asyncio.Queue[ReadableSpan] = asyncio.Queue()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(self)
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def on_end(self, span):
        self.spans.put_nowait(span)

    async def span(self):
        """The next span to end."""
        return await self.spans.get()


@pytest.fixture
def telemetry():
    recorded = Recorded()
    yield recorded
    recorded.tracers.shutdown()
    recorded.meters.shutdown()


def interceptor(telemetry, callers=None, **options) -> CallInterceptor:
    return CallInterceptor(
        callers or Callers(),
        tracer=telemetry.tracers.get_tracer("test"),
        meter=telemetry.meters.get_meter("test"),
        **({"sandbox": False} | options),
    )


@pytest.fixture
async def serve(scripted, telemetry):
    """Start a server with the interceptor in front of the scripted servicer; gives a channel to it."""
    opened = []

    async def start(callers=None, *, sandbox=False, max_request_bytes=1024 * 1024):
        server = grpc.aio.server(
            interceptors=[interceptor(telemetry, callers, sandbox=sandbox, max_request_bytes=max_request_bytes)]
        )
        image_grpc.add_ImageServiceServicer_to_server(scripted, server)
        history_grpc.add_HistoryServiceServicer_to_server(scripted, server)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        opened.append((server, channel))
        return channel

    yield start
    for server, channel in opened:
        await channel.close()
        await server.stop(0)


async def upload(channel, **kwargs):
    # From an iterator: with write() a refusal that comes first is "Internal error from Core" (grpcio 1.85.1).
    parts = iter([history.UploadImageRequest(data=b"x")])
    return await history_grpc.HistoryServiceStub(channel).UploadImage(parts, **kwargs)


async def unary(channel, **kwargs):
    return await image_grpc.ImageServiceStub(channel).Generate(image.GenerateRequest(prompt="x"), **kwargs)


async def stream(channel, **kwargs):
    return [
        m async for m in image_grpc.ImageServiceStub(channel).GenerateStream(image.GenerateStreamRequest(), **kwargs)
    ]


ARITIES = pytest.mark.parametrize("send", [unary, stream, upload], ids=["unary", "stream", "client stream"])


async def fails(awaitable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


def reason(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    assert status is not None, error
    assert status.details[0].Unpack(info)
    return info.reason


@ARITIES
async def test_an_exception_inside_never_leaks(serve, scripted, send, caplog):
    """The client sees INTERNAL with a fixed sentence; the log has the exception."""

    async def act(context):
        raise ValueError(SECRET)

    scripted.act = act
    error = await fails(send(await serve()))

    assert error.code() is grpc.StatusCode.INTERNAL
    assert reason(error) == "INTERNAL"
    assert SECRET not in error.details() + repr(error.trailing_metadata())
    assert ("grpc-retry-pushback-ms", "-1") in tuple(error.trailing_metadata())
    assert SECRET in caplog.text


@ARITIES
async def test_a_cancellation_of_our_own_making_is_answered(serve, scripted, send, caplog):
    """A CancelledError that no client caused ends with INTERNAL; without the guard the client would wait for ever."""

    async def act(context):
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner

    scripted.act = act
    error = await fails(send(await serve()))

    assert error.code() is grpc.StatusCode.INTERNAL
    assert reason(error) == "INTERNAL"
    assert "cancelled itself" in caplog.text


@ARITIES
async def test_our_own_errors_arrive_with_code_and_details(serve, scripted, send):
    """A GatewayError becomes its status."""

    async def act(context):
        raise GatewayError(Reason.DAILY_CAP, "the cap is reached", {"scope": "day"})

    scripted.act = act
    error = await fails(send(await serve()))

    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the cap is reached")
    assert reason(error) == "DAILY_CAP"


@ARITIES
async def test_an_abort_is_left_alone(serve, scripted, send):
    """What a servicer aborts with is what the client gets."""

    async def act(context):
        await context.abort(grpc.StatusCode.NOT_FOUND, "not here")

    scripted.act = act
    error = await fails(send(await serve()))

    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "not here")


async def test_errors_after_acceptance_name_the_generation(serve, scripted):
    """Whatever fails after acceptance, even our own fault, repeats the generation id in the trailers."""

    async def act(context):
        calls.current().generation_id = "gen_1"
        raise ValueError(SECRET)

    scripted.act = act
    error = await fails(unary(await serve()))

    assert ("pictor-generation-id", "gen_1") in tuple(error.trailing_metadata())


async def wait_for_ever(context):
    await asyncio.Event().wait()


@pytest.mark.parametrize("send", [unary, stream], ids=["unary", "stream"])
async def test_a_passed_deadline_cleans_up(serve, scripted, telemetry, send):
    """After the deadline the handler's `finally` runs and the span says DEADLINE_EXCEEDED."""
    scripted.act = wait_for_ever
    error = await fails(send(await serve(), timeout=0.2))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await scripted.cleaned.wait()
    assert (await telemetry.span()).attributes["rpc.status_code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
async def test_a_client_that_goes_away_cleans_up(serve, scripted, telemetry, method):
    """After a cancel the handler's `finally` runs and the span says CANCELLED, which is no error of ours."""
    scripted.act = wait_for_ever
    stub = getattr(image_grpc.ImageServiceStub(await serve()), method)
    call = stub(image.GenerateRequest() if method == "Generate" else image.GenerateStreamRequest())
    await scripted.entered.wait()
    call.cancel()

    await scripted.cleaned.wait()
    span = await telemetry.span()
    assert span.attributes["rpc.status_code"] == "CANCELLED"
    assert span.status.is_unset


async def test_a_client_that_never_reads_and_goes_away_cleans_up(serve, scripted, telemetry, caplog):
    """Cancelled in the middle of a write, the generator is closed there and then; it is no failure of ours."""
    big = image.GenerateStreamResponse()
    big.event.preview_chunk.data = b"x" * (1024 * 1024)

    tasks = []

    async def flood(request, context):
        tasks.append(asyncio.current_task())
        scripted.entered.set()
        try:
            while True:
                yield big
        finally:
            tasks.append(asyncio.current_task())
            scripted.cleaned.set()

    scripted.GenerateStream = flood
    call = image_grpc.ImageServiceStub(await serve()).GenerateStream(image.GenerateStreamRequest())
    await scripted.entered.wait()
    call.cancel()

    await scripted.cleaned.wait()
    assert (await telemetry.span()).attributes["rpc.status_code"] == "CANCELLED"
    assert tasks[0] is tasks[1]
    assert "failed" not in caplog.text


class GoneClient:
    """The context of a call whose client went away: the next write fails, the cancellation is not here yet."""

    def invocation_metadata(self):
        return ()

    def time_remaining(self):
        return None

    def add_done_callback(self, callback):
        self.callback = callback

    async def write(self, message):
        raise grpc.aio.InternalError("Failed execute_batch")


async def test_a_write_that_fails_is_a_client_that_went_away(telemetry, caplog):
    """grpc.aio may report a lost client as a failed write first; that is no failure of ours either."""

    async def answers(request, context):
        yield image.GenerateStreamResponse()

    async def continuation(details):
        return grpc.unary_stream_rpc_method_handler(answers)

    class Details:
        method = "/pictor.v1.ImageService/GenerateStream"

    handler = await interceptor(telemetry).intercept_service(continuation, Details())
    with pytest.raises(asyncio.CancelledError):
        await handler.unary_stream(image.GenerateStreamRequest(), GoneClient())

    assert (await telemetry.span()).attributes["rpc.status_code"] == "CANCELLED"
    assert "failed" not in caplog.text


async def ok(context):
    return None


async def not_found(context):
    raise GatewayError(Reason.NOT_FOUND, "no such thing")


async def boom(context):
    raise ValueError(SECRET)


@ARITIES
@pytest.mark.parametrize(
    "ending",
    [(ok, "OK", False), (not_found, "NOT_FOUND", False), (boom, "INTERNAL", True)],
    ids=["ok", "caller's fault", "our fault"],
)
async def test_every_call_leaves_one_span_and_one_measurement(serve, scripted, telemetry, send, ending):
    """Span and duration carry method and code; only our own faults make it an error, and no text leaks into it."""
    scripted.act, code, is_error = ending
    channel = await serve()
    await asyncio.gather(send(channel), return_exceptions=True)

    span = await telemetry.span()
    assert span.attributes["rpc.status_code"] == code
    assert span.attributes["rpc.method"] == span.name
    assert span.attributes["rpc.system.name"] == "grpc"
    assert span.attributes["pictor.caller"] == "local"
    assert span.status.is_ok is not is_error
    assert span.attributes.get("error.type") == (None if code == "OK" else code)
    assert not span.events
    data = telemetry.reader.get_metrics_data()
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.data.data_points
    assert (metric.name, metric.unit, point.count) == ("rpc.server.call.duration", "s", 1)
    assert point.attributes["rpc.status_code"] == code


async def test_the_span_continues_the_callers_trace(serve, scripted, telemetry):
    """W3C trace context comes in by metadata."""
    scripted.act = ok
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await unary(await serve(), metadata=[("traceparent", f"00-{trace_id}-{parent}-01")])

    span = await telemetry.span()
    assert format(span.context.trace_id, "032x") == trace_id
    assert format(span.parent.span_id, "016x") == parent


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param([("traceparent", "00-zz-garbage")], id="malformed traceparent"),
        pytest.param([("traceparent", "x" * 4000), ("tracestate", "=,=,=")], id="oversized traceparent"),
        pytest.param([("traceparent-bin", b"\x00\xff")], id="binary traceparent"),
        pytest.param([("authorization", "Bearer " + "k" * 4000)], id="an unexpected key"),
        pytest.param([("authorization-bin", b"\xff")], id="binary authorization"),
        pytest.param([("x" * 200, "y")] * 10, id="many unknown entries"),
        pytest.param([("grpc-trace-bin", b"\x00\x01")], id="an old trace header"),
    ],
)
async def test_junk_in_the_metadata_is_ignored(serve, scripted, metadata):
    """Metadata that means nothing to us never fails a call."""
    scripted.act = ok

    await unary(await serve(), metadata=metadata)


async def test_sandbox_metadata_needs_sandbox_mode(serve, scripted):
    """Outside sandbox mode `x-sandbox-*` is refused: silently ignoring it would send a paid call."""
    scripted.act = ok
    error = await fails(unary(await serve(), metadata=[("x-sandbox-fault", "rate_limited")]))

    assert reason(error) == "METADATA_INVALID"
    assert "sandbox mode" in error.details()


async def test_sandbox_metadata_reaches_the_engines(serve, scripted):
    """In sandbox mode exactly the `x-sandbox-*` entries are handed on."""
    scripted.act = ok
    await unary(
        await serve(sandbox=True),
        metadata=[("x-sandbox-fault", "rate_limited"), ("x-sandbox-latency", "0"), ("y", "z")],
    )

    assert dict(scripted.seen[0].headers) == {"x-sandbox-fault": "rate_limited", "x-sandbox-latency": "0"}


async def test_binary_sandbox_metadata_is_refused(serve, scripted):
    """A -bin entry cannot become an HTTP header."""
    error = await fails(unary(await serve(sandbox=True), metadata=[("x-sandbox-fault-bin", b"\xff")]))

    assert reason(error) == "METADATA_INVALID"


async def test_an_oversized_request_says_what_would_work(serve, scripted):
    """A message over our limit is refused before it is parsed, and points to UploadImage."""
    scripted.act = ok
    channel = await serve(max_request_bytes=1000)
    error = await fails(image_grpc.ImageServiceStub(channel).Generate(image.GenerateRequest(prompt="x" * 1000)))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(error) == "REQUEST_TOO_LARGE"
    assert "UploadImage" in error.details()


async def test_an_oversized_message_of_an_upload_is_refused(serve, scripted):
    """The limit holds for every message of a client stream."""
    scripted.act = ok
    call = history_grpc.HistoryServiceStub(await serve(max_request_bytes=1000)).UploadImage()
    await call.write(history.UploadImageRequest(data=b"x" * 1001))
    error = await fails(call)

    assert reason(error) == "REQUEST_TOO_LARGE"


async def test_bytes_that_are_no_message_are_refused(serve):
    """Garbage instead of a protobuf message is the caller's fault, said in our words."""
    channel = await serve()
    error = await fails(channel.unary_unary("/pictor.v1.ImageService/Generate")(b"\xff\xff\xff"))

    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_an_unknown_method_is_unimplemented(serve):
    """Grpc's own answer for methods that do not exist stays as it is."""
    channel = await serve()
    error = await fails(channel.unary_unary("/pictor.v1.ImageService/Nothing")(b""))

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


KEYED = Callers([KnownCaller("content-tool", (hash_key("pictor_key"),))])


@ARITIES
async def test_without_a_key_no_rpc_of_ours_answers(serve, scripted, send):
    """With callers configured every arity needs a key, and the servicer is not reached without one."""
    scripted.act = ok
    error = await fails(send(await serve(KEYED)))

    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert not scripted.entered.is_set()


@ARITIES
@pytest.mark.parametrize(
    "metadata", [[("authorization", "Bearer pictor_key")], [("x-api-key", "pictor_key")]], ids=["bearer", "x-api-key"]
)
async def test_a_key_lets_in(serve, scripted, send, metadata):
    """Either form of the key works on every arity."""
    scripted.act = ok

    await send(await serve(KEYED), metadata=metadata)

    assert scripted.entered.is_set()


async def test_health_needs_no_key(serve):
    """Balancers ask for health without a key, once and as a stream."""
    stub = health_pb2_grpc.HealthStub(await serve(KEYED))
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    first = await watch.read()
    watch.cancel()

    assert answer.status == first.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_log_names_method_and_generation(serve, scripted, caplog):
    """An operator finds the failed call in the log."""

    async def act(context):
        calls.current().generation_id = "gen_1"
        raise ValueError(SECRET)

    scripted.act = act
    with caplog.at_level(logging.ERROR):
        await fails(unary(await serve()))

    assert "pictor.v1.ImageService/Generate failed (generation gen_1)" in caplog.text
