"""The gRPC server: its options, the services it offers, and how it comes up and goes down."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.metrics import Meter
from opentelemetry.trace import Tracer
from starlette.types import ASGIApp

from pictor.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    history_service_pb2,
    history_service_pb2_grpc,
    image_service_pb2,
    image_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from pictord.auth.callers import Callers
from pictord.jobs.served import Served
from pictord.rpc.catalog_service import CatalogRpcs
from pictord.rpc.convert_out import Linker, no_link
from pictord.rpc.deliveries import Deliveries
from pictord.rpc.history_service import HistoryRpcs
from pictord.rpc.image_service import Answering, ImageRpcs
from pictord.rpc.interceptors import MAX_REQUEST_BYTES, CallInterceptor
from pictord.rpc.page_token import PageTokens
from pictord.rpc.stream import StreamSettings
from pictord.rpc.usage_service import UsageParts, UsageRpcs

_SERVICES: tuple[ServiceDescriptor, ...] = (
    image_service_pb2.DESCRIPTOR.services_by_name["ImageService"],
    history_service_pb2.DESCRIPTOR.services_by_name["HistoryService"],
    usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"],
    catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
)
SERVICES = tuple(service.full_name for service in _SERVICES)

OPTIONS: tuple[tuple[str, int], ...] = (
    # Ours refuses larger requests with a reason; this bounds what is received at all.
    ("grpc.max_receive_message_length", 2 * MAX_REQUEST_BYTES),
    # Otherwise a second server on the same port binds silently and takes half of the connections.
    ("grpc.so_reuseport", 0),
    # Find dead peers, and let clients ping through idle minutes without being sent away (too_many_pings).
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.max_connection_idle_ms", 15 * 60_000),
    # No maximum age: it would cut pictures that take minutes.
    ("grpc.max_concurrent_streams", 1000),
)

Handlers: TypeAlias = 'Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]'
"""Of one service, by the method's name."""

STOP_GRACE_S = 2.0
"""Once all jobs have ended and all pictures are delivered, answers that are still on their way get this long."""


class RpcServer:
    """Serves the contract, health and reflection on one port."""

    def __init__(
        self,
        listen: str,
        served: Served,
        callers: Callers,
        *,
        page_token_key: bytes,
        tracer: Tracer,
        meter: Meter,
        streams: StreamSettings | None = None,
        sandbox: bool = False,
        link: Linker = no_link,
    ) -> None:
        """Prepare; nothing is bound before `start`.

        Args:
            listen: `host:port`, port 0 takes a free one; or `unix:path`.
            served: what the RPCs stand on.
            callers: who may call.
            page_token_key: signs page tokens; replicas share it.
            tracer: where spans go.
            meter: where measurements go.
            streams: how streams behave.
            sandbox: whether simulated engines answer.
            link: where pictures can be fetched; counts if `streams` is not given, as `sandbox` does.
        """
        self._listen = listen
        self._port: int | None = None
        self._is_serving = False
        host = listen if listen.startswith("unix") else listen.rpartition(":")[0]
        self._deliveries = Deliveries()
        self._callers = callers
        self._interceptor = CallInterceptor(
            callers, sandbox=sandbox, server_address=host, tracer=tracer, meter=meter, deliveries=self._deliveries
        )
        self._server = grpc.aio.server(interceptors=[self._interceptor], options=OPTIONS)
        self._health = health.aio.HealthServicer()
        self._handlers: dict[str, Handlers] = {}
        self._register(served, PageTokens(page_token_key), streams or StreamSettings(sandbox=sandbox, link=link))

    @property
    def address(self) -> str:
        """Where it listens, with the port that was bound."""
        if self._listen.startswith("unix"):
            return self._listen
        return f"{self._listen.rpartition(':')[0]}:{self._port}"

    @property
    def is_serving(self) -> bool:
        """Whether health says SERVING."""
        return self._is_serving

    def over_http(self) -> ASGIApp | None:
        """The same services for browsers and curl; None if what that needs is not installed."""
        try:
            from pictord.rpc.connect import ConnectSite  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("connectrpc"):
                raise
            return None
        services = {service: self._handlers[service.full_name] for service in _SERVICES}
        return ConnectSite(services, self._interceptor, self._callers)

    async def start(self) -> None:
        """Bind, serve, and then say so.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        self._port = self._server.add_insecure_port(self._listen)
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        self._is_serving = True

    async def enter_lame_duck(self, lame_duck_s: float) -> None:
        """Say NOT_SERVING for good and wait until balancers have looked; calls are still answered."""
        self._is_serving = False
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(lame_duck_s)

    async def delivered(self, timeout_s: float) -> None:
        """Wait for those who are still being sent a picture or its events, `timeout_s` seconds at most."""
        await self._deliveries.ended(timeout_s)

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Close the port and end the calls that are open, after `grace_s` seconds at most."""
        self._is_serving = False
        await self._server.stop(grace_s)

    def _register(self, served: Served, tokens: PageTokens, streams: StreamSettings) -> None:
        server: Any = _ByName(self._server, self._handlers)
        answering = Answering(served.pictures, served.now, streams)
        image_service_pb2_grpc.add_ImageServiceServicer_to_server(
            ImageRpcs(served.jobs, answering, served.new_id), server
        )
        history_service_pb2_grpc.add_HistoryServiceServicer_to_server(
            HistoryRpcs(served.jobs, served.pictures.store, answering, tokens), server
        )
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(
            CatalogRpcs(served.routing, served.guards, served.facts, served.now, sandbox=streams.sandbox), server
        )
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(UsageRpcs(_usage_parts(served), tokens), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        # Reflection looks what kind of server it is given.
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for name in ("", *SERVICES):
            await self._health.set(name, status)


class _ByName:
    """The server as the generated code sees it: it finds a call's method by its name.

    Registered one by one, each method would have a task of its own that waits for its next call, and grpc.aio would go
    through all thirty of them at every call, whoever is called (grpcio 1.85.1: 2 % of a small picture, 2026-11-28).
    """

    def __init__(self, server: grpc.aio.Server, handlers: "dict[str, Handlers]") -> None:
        self._server = server
        self._handlers = handlers

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add a service."""
        self._server.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: "Handlers") -> None:
        """Only remember them: the service has been added."""
        self._handlers[service_name] = method_handlers


def _usage_parts(served: Served) -> UsageParts:
    ratings = served.pictures.store.ratings
    return UsageParts(served.budgets, ratings, served.routing, served.facts, served.now)
