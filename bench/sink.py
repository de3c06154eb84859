"""Child process: an OTLP collector that counts spans and measurements and keeps nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.worker import Service, serve

_EMPTY_ANSWER = b""
"""Both Export responses, with nothing rejected."""


class Sink:
    """Counts what arrives."""

    def __init__(self) -> None:
        self._spans = 0
        self._metrics = 0

    async def counted(self) -> dict[str, int]:
        """Spans and metrics so far."""
        return {"spans": self._spans, "metrics": self._metrics}

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The two services of OTLP that the gateway speaks to."""
        return (
            _exporting("trace", "Trace", ExportTraceServiceRequest.FromString, self._take_spans),
            _exporting("metrics", "Metrics", ExportMetricsServiceRequest.FromString, self._take_metrics),
        )

    async def _take_spans(self, request: ExportTraceServiceRequest, _context: Any) -> bytes:
        self._spans += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        return _EMPTY_ANSWER

    async def _take_metrics(self, request: ExportMetricsServiceRequest, _context: Any) -> bytes:
        scopes = [scope for resource in request.resource_metrics for scope in resource.scope_metrics]
        self._metrics += sum(len(scope.metrics) for scope in scopes)
        return _EMPTY_ANSWER


def _exporting(package: str, name: str, read: Any, take: Any) -> grpc.GenericRpcHandler:
    service = f"opentelemetry.proto.collector.{package}.v1.{name}Service"
    return grpc.method_handlers_generic_handler(
        service, {"Export": grpc.unary_unary_rpc_method_handler(take, request_deserializer=read)}
    )


@asynccontextmanager
async def sink() -> AsyncIterator[Service]:
    """Listen on a free port of loopback."""
    counting = Sink()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(counting.handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Service({"endpoint": f"http://127.0.0.1:{port}"}, {"counted": counting.counted})
    finally:
        await server.stop(None)


if __name__ == "__main__":
    serve(sink)
