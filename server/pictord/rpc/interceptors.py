"""What surrounds every RPC, outside-in: telemetry and guard, then authentication, then what came in the metadata.

One interceptor runs all three, so that their order stands in one place. It also turns every streaming answer into
explicit writes: grpc.aio's own loop leaves a generator behind when a client goes away during a write, and its `finally`
would run some time later in another task.

What the guard promises:
- an exception inside never leaks its text: it is logged, and the client sees INTERNAL with a fixed sentence;
- a `CancelledError` of our own making never leaves the client hanging: grpc.aio would send no status at all
  (grpc/grpc#29248, still so in grpcio 1.85.1, measured 2026-11-22). It is told from a real one by `Task.cancelling()`;
- a real cancellation or a passed deadline goes through (`context.cancelled()` cannot tell: grpc/grpc#36193);
- `AbortError` is left alone: after it nothing may be sent;
- a message that is too large or no message at all is refused with a reason, before it is parsed.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pictord import telemetry
from pictord.auth.callers import Callers
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.rpc import call as calls
from pictord.rpc import framing
from pictord.rpc.call import Call
from pictord.rpc.deliveries import Deliveries
from pictord.rpc.status import CODES, INTERNAL_TEXT, ending

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""Largest request message, input pictures included; more goes through UploadImage, picture by picture."""

_OPEN_SERVICES = ("grpc.health.v1.Health/", "grpc.reflection.v1alpha.ServerReflection/")
_SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that make a server span an error: docs/rpc/grpc.md of the semantic conventions, read 2026-11-22."""

_DEADLINE_SLACK_S = 0.25
"""The client's clock started earlier by the request's way here, so its cancellation at the deadline may come early."""

_CODES_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_propagator = TraceContextTextMapPropagator()
_TRACE_KEYS = _propagator.fields

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Takes the place of a request that cannot be read."""

    error: GatewayError


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Observes, guards and authenticates every RPC."""

    def __init__(
        self,
        callers: Callers,
        *,
        sandbox: bool,
        tracer: Tracer,
        meter: Meter,
        deliveries: Deliveries | None = None,
        server_address: str = "",
        max_request_bytes: int = MAX_REQUEST_BYTES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Surround calls.

        Args:
            callers: who may call.
            sandbox: whether `x-sandbox-*` metadata is taken.
            tracer: where spans go.
            meter: where measurements go.
            deliveries: is told of every call.
            server_address: the configured name of this server, for telemetry.
            max_request_bytes: largest request message in bytes.
            clock: seconds, monotonic.
        """
        self._callers = callers
        self._sandbox = sandbox
        self._deliveries = deliveries or Deliveries()
        self._server_address = server_address
        self._max_request_bytes = max_request_bytes
        self._clock = clock
        self._tracer = tracer
        self._wrapped_handlers: dict[str, Handler] = {}
        self._duration = meter.create_histogram(
            telemetry.RPC_SERVER_CALL_DURATION,
            unit="s",
            description="Duration of the calls that this server answered.",
            explicit_bucket_boundaries_advisory=telemetry.SECONDS_BUCKETS,
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler of one call; an unknown method has none."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        wrapped = self._wrapped_handlers.get(method)
        if wrapped is None:
            wrapped = self._wrapped_handlers[method] = self.wrapped(handler, method.removeprefix("/"))
        return wrapped

    def wrapped(self, handler: Any, method: str) -> Handler:
        """The handler of a method (`package.Service/Method`), surrounded by all that this file promises."""
        read = reader(handler.request_deserializer, self._max_request_bytes)
        write = framing.serializer(handler.response_serializer)
        if handler.response_streaming:
            behavior = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(self._writing(behavior, method), read, write)
        behavior = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(self._answering(behavior, method), read, write)

    def _answering(self, behavior: Any, method: str) -> Any:
        async def answer(request: Any, context: Context) -> Any:
            return await self._surrounded(context, method, lambda: behavior(_readable(request), context))

        return answer

    def _writing(self, behavior: Any, method: str) -> Any:
        async def write(request: Any, context: Context) -> None:
            answers = behavior(_readable(request), context)
            if not hasattr(answers, "__aiter__"):
                await answers  # it writes by itself (the health service does)
                return
            async with aclosing(answers):
                async for message in answers:
                    await context.write(message)
                    self._deliveries.taken()

        async def surrounded(request: Any, context: Context) -> None:
            await self._surrounded(context, method, lambda: write(request, context))

        return surrounded

    async def _surrounded(self, context: Context, method: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do one call's work. Plain calls instead of context managers: each of those is a generator for every call."""
        call = Call(method, tuple(context.invocation_metadata() or ()))
        calls.enter(call)
        self._deliveries.enter(context, method)
        started, span = self._clock(), self._span(call)
        scope = attach(trace.set_span_in_context(span))
        code = grpc.StatusCode.INTERNAL
        try:
            if not method.startswith(_OPEN_SERVICES):
                call.caller = self._callers.authenticate(call.metadata)
                call.headers = calls.sandbox_headers(call.metadata, sandbox=self._sandbox)
            answer = await work()
            code = _code(context, grpc.StatusCode.OK)
        except grpc.aio.AbortError:
            code = _code(context, grpc.StatusCode.UNKNOWN)
            raise
        except GatewayError as error:
            code = CODES[error.reason]
            span.set_attribute(telemetry.REASON, error.reason.name)
            await _abort(context, call, error)
        except grpc.aio.InternalError as error:
            # grpc.aio could not send: the client went away a moment before we are cancelled for it.
            code = _code_of_cancellation(context)
            raise asyncio.CancelledError from error
        except asyncio.CancelledError:
            if _is_cancelled():
                code = _code_of_cancellation(context)
                raise
            logger.exception("%s cancelled itself (generation %s)", call.method, call.generation_id)
            await _abort(context, call, _internal())
        except Exception:
            # The last frame before the client: nothing of what happened may reach it, and all of it the log.
            logger.exception("%s failed (generation %s)", call.method, call.generation_id)
            await _abort(context, call, _internal())
        else:
            return answer
        finally:
            detach(scope)
            self._record(span, call, code, self._clock() - started)

    def _span(self, call: Call) -> Span:
        carrier = {name: value for name, value in call.metadata if name in _TRACE_KEYS and isinstance(value, str)}
        attributes = _of_method(call)
        if self._server_address:
            attributes[telemetry.SERVER_ADDRESS] = self._server_address
        return self._tracer.start_span(
            call.method, _propagator.extract(carrier) if carrier else None, kind=SpanKind.SERVER, attributes=attributes
        )

    def _record(self, span: Span, call: Call, code: grpc.StatusCode, seconds: float) -> None:
        ended = {telemetry.RPC_STATUS_CODE: code.name}
        if code is not grpc.StatusCode.OK:
            ended[telemetry.ERROR_TYPE] = code.name
        known = {
            telemetry.CALLER: call.caller.name if call.caller is not None else None,
            telemetry.GENERATION_ID: call.generation_id,
        }
        span.set_attributes(ended | {name: value for name, value in known.items() if value is not None})
        if code in _SERVER_FAULTS:
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        self._duration.record(seconds, _of_method(call) | ended)


def _of_method(call: Call) -> dict[str, str]:
    return {telemetry.RPC_SYSTEM_NAME: telemetry.RPC_SYSTEM_GRPC, telemetry.RPC_METHOD: call.method}


def reader(deserialize: Callable[[bytes], Any] | None, max_bytes: int) -> Callable[[bytes], Any]:
    """What a request is read with; one that cannot be read is `Unreadable`."""

    def read(raw: bytes) -> Any:
        if len(raw) > max_bytes:
            return Unreadable(too_large(len(raw), max_bytes))
        try:
            return deserialize(raw) if deserialize else raw
        except DecodeError:
            return Unreadable(GatewayError(Reason.INVALID_FIELD, "the request is not a message of this RPC's type"))

    return read


def _readable(request: Any) -> Any:
    """Hand on a request, or the messages of a request stream, and raise for one that could not be read."""
    if hasattr(request, "__aiter__"):
        return _readable_each(request)
    if isinstance(request, Unreadable):
        raise request.error
    return request


async def _readable_each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


def too_large(size: int, limit: int) -> GatewayError:
    """The refusal of a request by its size in bytes."""
    return GatewayError(
        Reason.REQUEST_TOO_LARGE,
        f"the request has {size} bytes, at most {limit} are taken: upload pictures with UploadImage and name their ids",
        {"size_bytes": str(size), "limit_bytes": str(limit)},
    )


def _internal() -> GatewayError:
    return GatewayError(Reason.INTERNAL, INTERNAL_TEXT)


async def _abort(context: Context, call: Call, error: GatewayError) -> NoReturn:
    if error.generation_id is None:
        error.generation_id = call.generation_id
    end = ending(error)
    await context.abort(end.code, end.text, end.trailers)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _code_of_cancellation(context: Context) -> grpc.StatusCode:
    left_s: float | None = context.time_remaining()  # None without a deadline, whatever the stubs say
    is_over = left_s is not None and left_s < _DEADLINE_SLACK_S
    return grpc.StatusCode.DEADLINE_EXCEEDED if is_over else grpc.StatusCode.CANCELLED


def _code(context: Context, default: grpc.StatusCode) -> grpc.StatusCode:
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return _CODES_BY_NUMBER.get(code, default) if code else default
