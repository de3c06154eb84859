"""Where spans and metrics go: the OpenTelemetry SDK, set up from the `[telemetry]` table."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from prometheus_client import CollectorRegistry

from pictord import __version__
from pictord.settings import TelemetryTable

EXPORT_TIMEOUT_S = 3.0
"""How long one export may take, retries included: an unreachable collector must not hold up the end of the process."""


@dataclass(frozen=True, slots=True)
class Observability:
    """What makes tracers and meters."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider


@asynccontextmanager
async def observed(
    table: TelemetryTable,
    registry: CollectorRegistry | None,
    *,
    span_exporter: SpanExporter | None,
    metric_reader: MetricReader | None,
) -> AsyncIterator[Observability]:
    """Open everything that takes spans and metrics; what is left of them is sent when the block is left.

    Args:
        table: where the collector is, if there is one.
        registry: for the Prometheus page; None if nobody serves it.
        span_exporter: gets every span at once, beside the configured exporters.
        metric_reader: the same for metrics.
    """
    resource = Resource.create({"service.name": table.service_name, "service.version": __version__})
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if span_exporter is not None:
        tracer_provider.add_span_processor(SimpleSpanProcessor(span_exporter))
    # Each reader keeps its own sums, and every measurement pays for every reader.
    readers: list[MetricReader] = []
    if registry is not None:
        readers.append(PrometheusMetricReader(registry=registry))
    if metric_reader is not None:
        readers.append(metric_reader)
    if table.otlp_endpoint:
        tracer_provider.add_span_processor(BatchSpanProcessor(_span_exporter(table, table.otlp_endpoint)))
        readers.append(PeriodicExportingMetricReader(_metric_exporter(table, table.otlp_endpoint)))
    meter_provider = MeterProvider(readers, resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False)
    try:
        yield Observability(tracer_provider, meter_provider)
    finally:
        # What is left is sent now, and waits for the collector: not on the loop.
        ends = (tracer_provider.shutdown, meter_provider.shutdown)
        await asyncio.gather(*(asyncio.to_thread(end) for end in ends))


def _span_exporter(table: TelemetryTable, endpoint: str) -> SpanExporter:
    if table.otlp_protocol == "http":
        return HttpSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    return GrpcSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=EXPORT_TIMEOUT_S)


def _metric_exporter(table: TelemetryTable, endpoint: str) -> GrpcMetricExporter | HttpMetricExporter:
    if table.otlp_protocol == "http":
        return HttpMetricExporter(f"{endpoint.rstrip('/')}/v1/metrics", timeout=EXPORT_TIMEOUT_S)
    return GrpcMetricExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=EXPORT_TIMEOUT_S)
