"""The contract over HTTP/1.1 for browsers and curl: Connect, gRPC-Web, and plain JSON.

`connectrpc` speaks the protocols. What is called is what gRPC calls: the same servicers inside the same interceptor,
with a context of ours in place of gRPC's. So keys, errors, deadlines, metadata and telemetry are those of gRPC.

- Names in JSON are those of ProtoJSON: lowerCamelCase, and the contract's own are taken too. A field that does not
  exist is refused, for nobody else would tell who typed `max_csot` that nothing bounds the cost.
- An error's details are readable in JSON: Connect's optional `debug` beside the encoded message.
- Only POST: no call of ours is safe for a link.
- A key is asked for before a body is read.

Source: https://connectrpc.com/docs/protocol, read 2026-11-28.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.interceptor import MetadataInterceptor
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from protobuf.wkt import Any as ConnectAny
from protobuf.wkt import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pictord.auth.callers import Callers
from pictord.domain.reason import Reason
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.rpc.framing import Framed
from pictord.rpc.http_door import sentence
from pictord.rpc.interceptors import MAX_REQUEST_BYTES, CallInterceptor, Unreadable, reader, too_large
from pictord.rpc.status import DETAILS_KEY, ending

M = TypeVar("M", bound=Message)

_CODES = {
    code: Code(code.value[1].replace("cancelled", "canceled").replace(" ", "_"))
    for code in grpc.StatusCode
    if code.value[0]
}
"""gRPC's codes as Connect spells them; OK is none."""

_PLAIN = ("application/json", "application/proto")
_STREAMED = ("application/connect+json", "application/connect+proto")
_GRPC_WEB = ("application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json")

Ctx: TypeAlias = RequestContext[Any, Any]
Handlers: TypeAlias = Mapping[str, Any]
"""gRPC's handlers of one service, by the method's name."""


class ConnectSite(ConnectASGIApplication[Mapping[ServiceDescriptor, Handlers]]):
    """The services as an ASGI application: `/{package}.{Service}/{Method}`.

    Args:
        services: each with its handlers.
        interceptor: surrounds every call.
        callers: who may call.
    """

    path = "/"

    def __init__(
        self, services: Mapping[ServiceDescriptor, Handlers], interceptor: CallInterceptor, callers: Callers
    ) -> None:
        super().__init__(
            service=services,
            endpoints=lambda given: _endpoints(given, interceptor),
            interceptors=[_KeyFirst(callers)],
            # Ours refuses larger messages with a reason; this bounds what is received at all, as on the gRPC port.
            read_max_bytes=2 * MAX_REQUEST_BYTES,
            codecs=[_Proto(), _Json()],
            compressions=(),  # pictures do not shrink, and the loop has better things to do
        )
        self._streams = {
            f"/{service.full_name}/{method.name}": method.server_streaming or method.client_streaming
            for service in services
            for method in service.methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        refusal = self._refusal(scope["path"], scope["method"], scope["headers"])
        if refusal is not None:
            await refusal(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def _refusal(self, path: str, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Response | None:
        """What `connectrpc` would answer without a word, or fail over."""
        if path not in self._streams:
            return sentence(404, f"there is no RPC {path}")
        if method != "POST":
            return sentence(405, "RPCs are called with POST")
        given = ""
        for name, value in headers:
            try:
                text = value.decode()
            except UnicodeDecodeError:
                return sentence(400, "a header holds bytes that are no text")
            if name == b"content-type":
                given = text.partition(";")[0].strip().lower()
        if given.startswith("application/grpc") and given not in _GRPC_WEB:
            return sentence(415, "gRPC itself is spoken on the gRPC port; here are Connect, JSON and gRPC-Web")
        taken = _STREAMED if self._streams[path] else _PLAIN
        if given not in (*taken, *_GRPC_WEB):
            return sentence(415, f"{path} takes content-type {' or '.join(taken)}, or gRPC-Web's")
        return None


class _KeyFirst(MetadataInterceptor[None]):
    """Refuses strangers before anything of their body is read."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    async def on_start(self, ctx: Ctx) -> None:
        """The headers have come."""
        try:
            self._callers.authenticate(_metadata(ctx))
        except GatewayError as error:
            end = ending(error)
            _refuse(end.code, end.text, end.trailers, ctx)


# Messages


class _Proto:
    """The wire format, as gRPC reads and writes it."""

    def name(self) -> str:
        return "proto"

    def encode(self, message: Message | Framed) -> bytes:
        return message.wire if isinstance(message, Framed) else message.SerializeToString()

    def decode(self, data: bytes | bytearray, message_class: type[M]) -> M | Unreadable:
        read: Callable[[bytes], M | Unreadable] = reader(message_class.FromString, MAX_REQUEST_BYTES)
        return read(bytes(data))


class _Json:
    """ProtoJSON."""

    def name(self) -> str:
        return "json"

    def encode(self, message: Message | Framed) -> bytes:
        whole = message.kind.FromString(message.wire) if isinstance(message, Framed) else message
        return json.dumps(json_format.MessageToDict(whole), ensure_ascii=False, separators=(",", ":")).encode()

    def decode(self, data: bytes | bytearray, message_class: type[M]) -> M | Unreadable:
        if len(data) > MAX_REQUEST_BYTES:
            return Unreadable(too_large(len(data), MAX_REQUEST_BYTES))
        try:
            return json_format.Parse(bytes(data), message_class())
        except (json_format.ParseError, ValueError, RecursionError) as error:
            return Unreadable(_not_json(error))


_WHERE = re.compile(r' at "\w+\.([^"]+)"')


def _not_json(error: Exception) -> GatewayError:
    """The refusal of what is not JSON of this message, with the path if protobuf says one."""
    text = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
    where = _WHERE.search(text)
    if where is not None:
        return invalid([FieldViolation(where[1], text)])
    return GatewayError(Reason.INVALID_FIELD, f"the request is not JSON of this RPC's message: {text}")


# Calls


def _endpoints(services: Mapping[ServiceDescriptor, Handlers], interceptor: CallInterceptor) -> dict[str, Any]:
    return {
        f"/{service.full_name}/{method.name}": _endpoint(
            method, interceptor.wrapped(handlers[method.name], f"{service.full_name}/{method.name}")
        )
        for service, handlers in services.items()
        for method in service.methods
    }


def _endpoint(method: MethodDescriptor, handler: Any) -> Endpoint[Any, Any]:
    def info(kind: StreamType) -> MethodInfo[Any, Any]:
        return MethodInfo(
            name=method.name,
            service_name=method.containing_service.full_name,
            input=GetMessageClass(method.input_type),
            output=GetMessageClass(method.output_type),
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=kind,
        )

    if method.server_streaming:
        return Endpoint.server_stream(info(StreamType.SERVER_STREAM), _streaming(handler.unary_stream))
    if method.client_streaming:
        return Endpoint.client_stream(info(StreamType.CLIENT_STREAM), _unary(handler.stream_unary))
    return Endpoint.unary(info(StreamType.UNARY), _unary(handler.unary_unary))


def _unary(behavior: Any) -> Any:
    async def answer(request: Any, ctx: Ctx) -> Any:
        context = _Context(ctx)
        try:
            return await behavior(request, context)
        finally:
            context.done()

    return answer


def _streaming(behavior: Any) -> Any:
    async def answers(request: Any, ctx: Ctx) -> AsyncGenerator[Any]:
        context = _Context(ctx)
        call = asyncio.create_task(behavior(request, context))
        try:
            async for message in context.written(call):
                yield message
            await call
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait({call})
            context.done()

    return answers


class _Context:
    """What the servicers and the interceptor ask of gRPC's context, and no more."""

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._written: asyncio.Queue[Any] = asyncio.Queue(1)
        self._when_done: list[Callable[[Any], None]] = []

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The HTTP headers."""
        return _metadata(self._ctx)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        left_ms = self._ctx.timeout_ms
        return None if left_ms is None else left_ms / 1000

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Keep response headers; they go with the first message."""
        for name, value in metadata:
            self._ctx.response_headers.add(name, value)

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Keep trailers."""
        for name, value in metadata:
            self._ctx.response_trailers.add(name, value)

    def code(self) -> None:
        """No code was set by hand."""

    async def abort(self, code: grpc.StatusCode, text: str, trailers: tuple[tuple[str, str | bytes], ...]) -> NoReturn:
        """End the call with an error."""
        _refuse(code, text, trailers, self._ctx)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have something told when the call is over."""
        self._when_done.append(callback)

    def done(self) -> None:
        """The call is over."""
        for callback in self._when_done:
            callback(self)

    async def write(self, message: Any) -> None:
        """Hand a message of a stream on; returns when there is room for it."""
        await self._written.put(message)

    async def written(self, call: asyncio.Task[None]) -> AsyncIterator[Any]:
        """What the call writes, until it has ended and everything was taken."""
        while True:
            taking = asyncio.create_task(self._written.get())
            try:
                await asyncio.wait({taking, call}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    return
                yield taking.result()
            finally:
                taking.cancel()


def _metadata(ctx: Ctx) -> tuple[tuple[str, str | bytes], ...]:
    """HTTP headers as gRPC's metadata: by the name's end, a value is text or bytes."""
    return tuple(
        (name, value.encode() if name.endswith("-bin") else value) for name, value in ctx.request_headers.allitems()
    )


# Errors


def _refuse(code: grpc.StatusCode, text: str, trailers: tuple[tuple[str, str | bytes], ...], ctx: Ctx) -> NoReturn:
    details: list[ErrorDetail] = []
    for name, value in trailers:
        if name == DETAILS_KEY and isinstance(value, bytes):
            details += map(_Detail, status_pb2.Status.FromString(value).details)
        elif isinstance(value, str):
            ctx.response_trailers[name] = value
    raise ConnectError(_CODES[code], text, details)


class _Detail(ErrorDetail):
    """A detail of google.rpc, which people can read in JSON."""

    def __init__(self, packed: AnyMessage) -> None:
        super().__init__(ConnectAny(type_url=packed.type_url, value=packed.value))
        shown = json_format.MessageToDict(packed)
        shown.pop("@type")
        self._shown = json.dumps(shown)

    def value(self, *_: Any) -> Any:
        """What `debug` shows."""
        return Struct.from_json(self._shown)
