"""Reads a failed call: code, `google.rpc.Status` from the trailers, metadata of either end, gRPC's own words."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from pictor.amounts import seconds
from pictor.errors import (
    HANGS_UP,
    LOST,
    NO_ANSWER,
    NO_GRPC,
    NO_NAME,
    NO_TLS,
    NO_TRUST,
    NOBODY,
    PictorError,
    Violation,
)
from pictor.status_pb2 import BadRequest, ErrorInfo, RetryInfo, Status

DOMAIN = "pictor"

_BROKEN_OFF = "the call broke off"

_PLAIN = (
    (NO_TLS, ("WRONG_VERSION_NUMBER",)),
    (NO_TRUST, ("handshake failed", "Handshake failed")),
    (NO_NAME, ("errors resolving", "DNS resolution failed")),
    (NO_GRPC, ("Failed parsing HTTP/2",)),
    (NOBODY, ("refused",)),
    (HANGS_UP, ("failed to connect to all addresses; last error: UNAVAILABLE",)),
    (NOBODY, ("failed to connect",)),
    (LOST, ("Socket closed", "onnection reset", "Broken pipe", "recvmsg", "GOAWAY", "goaway", "RST_STREAM", "removed")),
    (_BROKEN_OFF, ("from Core",)),
)
"""What gRPC's own texts mean (grpcio 1.85.1), the most telling first; others, e.g. a proxy's, stay as they are."""

_STATUS_KEY = "grpc-status-details-bin"
_ID_KEY = "pictor-generation-id"
_SET_ID_KEY = "pictor-set-id"

Metadata = Sequence[tuple[str, str | bytes]]
Detail = TypeVar("Detail", bound=Message)


class _Ended(Protocol):
    """What every failed call is, on asyncio or blocking; gRPC types only the first."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def initial_metadata(self) -> Metadata | None: ...
    def trailing_metadata(self) -> Metadata | None: ...


def read(failure: grpc.RpcError) -> PictorError:
    """Turn a failed call into an error that tells everything of it."""
    call = cast("_Ended", failure)
    trailers = call.trailing_metadata() or ()
    status = _status(trailers, call.code())
    info = next((each for each in _unpacked(status, ErrorInfo) if each.domain == DOMAIN), None)
    metadata = dict(info.metadata) if info else {}
    entries = {key: value for key, value in (*(call.initial_metadata() or ()), *trailers) if isinstance(value, str)}
    if _SET_ID_KEY in entries:
        metadata = {"set_id": entries[_SET_ID_KEY], **metadata}
    text = call.details() or "no details"
    return PictorError.of(
        call.code(),
        text if info else _in_plain_words(call.code(), text),
        info.reason if info else "",
        metadata=metadata,
        violations=tuple(
            Violation(each.field, each.description)
            for bad in _unpacked(status, BadRequest)
            for each in bad.field_violations
        ),
        retry_after_s=next((seconds(each.retry_delay) for each in _unpacked(status, RetryInfo)), None),
        generation_id=entries.get(_ID_KEY) or metadata.get("generation_id"),
        paid=metadata.get("paid") == "true",
    )


def _status(trailers: Metadata, code: grpc.StatusCode) -> Status:
    """The status in the trailers; empty if there is none, it is damaged, or it contradicts the call's own code."""
    packed = next((value for key, value in trailers if key == _STATUS_KEY), b"")
    try:
        status = Status.FromString(cast("bytes", packed))
    except DecodeError:
        return Status()
    number: Any = code.value[0]
    return status if status.code == number else Status()


def _unpacked(status: Status, kind: type[Detail]) -> Iterator[Detail]:
    for detail in status.details:
        if detail.type_url.endswith(f"/google.rpc.{kind.DESCRIPTOR.name}"):
            try:
                yield kind.FromString(detail.value)
            except DecodeError:
                continue


def _in_plain_words(code: grpc.StatusCode, text: str) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return NO_ANSWER
    return next((plain for plain, parts in _PLAIN if any(part in text for part in parts)), text)
