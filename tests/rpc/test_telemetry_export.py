"""OTLP really leaves, by gRPC and by HTTP, and a collector that is not there is nobody's trouble."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import grpc
import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from gateway import Gateway, gateway
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord import settings
from pictord.console.log_lines import SELDOM_S, Seldom
from pictord.settings import TelemetryTable

CALL = "generate_content gemini-3.1-flash-image"


@dataclass
class Received:
    """What a collector got."""

    endpoint: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """Of the last export."""
    came: dict[str, asyncio.Event] = field(
        default_factory=lambda: {"traces": asyncio.Event(), "metrics": asyncio.Event()}
    )
    traces: list[trace_service_pb2.ExportTraceServiceRequest] = field(default_factory=list)
    metrics: list[metrics_service_pb2.ExportMetricsServiceRequest] = field(default_factory=list)

    @property
    def spans(self) -> set[str]:
        return {
            span.name for each in self.traces for r in each.resource_spans for s in r.scope_spans for span in s.spans
        }

    @property
    def metric_names(self) -> set[str]:
        return {
            m.name for each in self.metrics for r in each.resource_metrics for s in r.scope_metrics for m in s.metrics
        }

    @property
    def services(self) -> set[str]:
        return self.resource("service.name")

    def resource(self, key: str) -> set[str]:
        """What an attribute of the service says."""
        attributes = [a for each in self.traces for r in each.resource_spans for a in r.resource.attributes]
        return {a.value.string_value for a in attributes if a.key == key}


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self.received = received

    async def Export(self, request, context):  # noqa: N802 - OTLP's name
        self.received.headers = dict(context.invocation_metadata())
        self.received.traces.append(request)
        self.received.came["traces"].set()
        return trace_service_pb2.ExportTraceServiceResponse()


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, received: Received) -> None:
        self.received = received

    async def Export(self, request, context):  # noqa: N802 - OTLP's name
        self.received.metrics.append(request)
        self.received.came["metrics"].set()
        return metrics_service_pb2.ExportMetricsServiceResponse()


@asynccontextmanager
async def grpc_collector() -> AsyncIterator[Received]:
    received = Received()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(received), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(received), server)
    received.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield received
    await server.stop(0)


@asynccontextmanager
async def http_collector() -> AsyncIterator[Received]:
    received = Received()

    async def traces(request: web.Request) -> web.Response:
        received.headers = {name.lower(): value for name, value in request.headers.items()}
        received.traces.append(trace_service_pb2.ExportTraceServiceRequest.FromString(await request.read()))
        received.came["traces"].set()
        return web.Response()

    async def metrics(request: web.Request) -> web.Response:
        received.metrics.append(metrics_service_pb2.ExportMetricsServiceRequest.FromString(await request.read()))
        received.came["metrics"].set()
        return web.Response()

    site = web.Application()
    site.router.add_post("/v1/traces", traces)
    site.router.add_post("/v1/metrics", metrics)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    received.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield received
    await runner.cleanup()


COLLECTORS = {"grpc": grpc_collector, "http": http_collector}


async def draw(pictor: Gateway) -> None:
    await pictor.images.Generate(GenerateRequest(prompt="a red fox"))


@pytest.mark.parametrize("protocol", COLLECTORS)
async def test_spans_and_metrics_reach_the_collector(protocol):
    """What `[telemetry]` names gets the call's spans and the metrics, at the latest when the gateway ends."""
    async with (
        COLLECTORS[protocol]() as collector,
        gateway(telemetry=TelemetryTable(collector.endpoint, protocol, "pics")) as pictor,
    ):
        await draw(pictor)

    assert {"pictor.v1.ImageService/Generate", CALL} <= collector.spans
    assert {"pictor.cost", "pictor.attempts", "rpc.server.call.duration"} <= collector.metric_names
    assert collector.services == {"pics"}


@pytest.mark.parametrize(("protocol", "said"), [("grpc", "grpc"), ("http", "http/protobuf")])
async def test_the_standard_variables_lead_there_too(protocol, said):
    """Started with the variables of any other service, the gateway reports to the same collector."""
    async with COLLECTORS[protocol]() as collector:
        environ = {
            "PICTOR_SANDBOX": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": said,
            "OTEL_SERVICE_NAME": "pictures",
        }
        async with gateway(telemetry=settings.load(environ).telemetry) as pictor:
            await draw(pictor)

    assert CALL in collector.spans
    assert collector.services == {"pictures"}


@pytest.mark.parametrize("protocol", COLLECTORS)
async def test_the_collectors_key_and_the_services_attributes_are_taken(protocol, monkeypatch):
    """OpenTelemetry's own variables for them count; our settings for name and address go before."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging,service.name=other")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=collectors-key")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9")
    async with COLLECTORS[protocol]() as collector:
        async with gateway(telemetry=TelemetryTable(collector.endpoint, protocol, "pics")) as pictor:
            await draw(pictor)

        assert CALL in collector.spans
        assert (collector.resource("deployment.environment.name"), collector.services) == ({"staging"}, {"pics"})
        assert collector.headers["x-api-key"] == "collectors-key"
        if protocol == "http":  # gRPC hides it from the collector
            assert collector.headers["content-encoding"] == "gzip"


async def test_sampling_leaves_spans_out_and_metrics_in(monkeypatch):
    """A share of 0 sends no span at all; what is counted is counted."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    async with grpc_collector() as collector:
        async with gateway(telemetry=TelemetryTable(collector.endpoint)) as pictor:
            await draw(pictor)

        assert collector.spans == set()
        assert "pictor.cost" in collector.metric_names


async def test_exports_come_as_often_as_they_are_asked_for(monkeypatch):
    """Spans and metrics arrive while the gateway runs, long before the usual 5 and 60 seconds."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    async with grpc_collector() as collector, gateway(telemetry=TelemetryTable(collector.endpoint)) as pictor:
        async with asyncio.timeout(4):
            await draw(pictor)
            await collector.came["traces"].wait()
            await collector.came["metrics"].wait()


async def test_opentelemetry_can_be_switched_off(monkeypatch):
    """Calls are served, nothing leaves, and the page of metrics holds none of ours."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with grpc_collector() as collector:
        telemetry = TelemetryTable(collector.endpoint)
        async with gateway(telemetry=telemetry, admin_listen="127.0.0.1:0") as pictor:
            await draw(pictor)
            page = f"http://{pictor.app.admin_address}/metrics"
            async with aiohttp.ClientSession() as http, http.get(page) as answer:
                shown = await answer.text()

        assert (collector.traces, collector.metric_names) == ([], set())
        assert "pictor_" not in shown


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("protocol", COLLECTORS)
@pytest.mark.parametrize("collector", [nobody, silence], ids=["unreachable", "silent"])
async def test_a_missing_collector_holds_nobody_up(protocol, collector, caplog, monkeypatch):
    """Calls go on while exports fail around them, and the gateway still ends in seconds; the log says it seldom."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5")  # milliseconds: exports are under way during the calls
    with caplog.filtering(Seldom("opentelemetry", SELDOM_S)):
        async with collector() as endpoint, gateway(telemetry=TelemetryTable(endpoint, protocol)) as pictor:
            async with asyncio.timeout(20):
                for _ in range(20):
                    await draw(pictor)
            began = time.monotonic()
        took_s = time.monotonic() - began

    assert took_s < 15
    said = [record for record in caplog.get_records("call") if record.name.startswith("opentelemetry")]
    assert len(said) <= 4, caplog.text
    assert not [record for record in caplog.records if record.exc_info]


def test_a_family_of_loggers_speaks_once_in_a_while():
    """One line for each logger and level in ten minutes; everybody else passes."""
    now = 0.0
    seldom = Seldom("opentelemetry", 600, clock=lambda: now)

    def passes(name: str, level: int) -> bool:
        return seldom.filter(logging.LogRecord(name, level, "", 0, "text", None, None))

    first = [passes("opentelemetry.x", logging.ERROR), passes("opentelemetry.x", logging.WARNING)]
    second = [passes("opentelemetry.x", logging.ERROR), passes("pictord.x", logging.ERROR)]
    now = 600.0
    later = passes("opentelemetry.x", logging.ERROR)

    assert (first, second, later) == ([True, True], [False, True], True)
