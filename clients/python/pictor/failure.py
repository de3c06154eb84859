"""Reads a failed call: code, `google.rpc.Status` from the trailers, metadata, and what gRPC's own words mean."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from pictor.amounts import seconds
from pictor.channel import Target
from pictor.errors import LOST, NO_ANSWER, PictorError, Violation
from pictor.status_pb2 import BadRequest, ErrorInfo, RetryInfo, Status

DOMAIN = "pictor"

_OURS = "start it with `make serve`, or set PICTOR_ADDRESS"
_NOBODY = f"nothing answers at {{address}}; {_OURS}"
_NO_NAME = f"nothing answers at {{address}} (nobody knows its name); {_OURS}"
_NO_TLS = "something answers at {address}, but without TLS; leave out {tls}"
_NO_TRUST = (
    "something answers at {address}, but TLS with it fails; if its certificate is of your own authority, "
    "name that in GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
)
_NO_GRPC = "something answers at {address}, but it does not speak gRPC; look at the port in PICTOR_ADDRESS"
_HANGS_UP = "something answers at {address}, and hangs up; if it speaks TLS, say https://{address}"
_HANGS_UP_ON_TLS = "something answers at {address}, and hangs up; if it speaks no TLS, leave out {tls}"
_UNREACHED = f"{{address}} cannot be reached ({{why}}); {_OURS}"

_ABSENT = (
    (_NO_TLS, ("WRONG_VERSION_NUMBER",)),
    (_NO_TRUST, ("handshake failed", "Handshake failed")),
    (_NO_NAME, ("errors resolving", "DNS resolution failed")),
    (_NO_GRPC, ("Failed parsing HTTP/2",)),
    (_NOBODY, ("refused",)),
    (_HANGS_UP_ON_TLS, ("Handshake read failed",)),
    (_HANGS_UP, ("failed to connect to all addresses; last error: UNAVAILABLE",)),
    (_UNREACHED, ("failed to connect",)),
)
"""What gRPC's own texts mean (grpcio 1.85.1) when no gateway was reached, the most telling first."""

_BROKEN_OFF = "the call broke off"
_BROKEN = (
    (LOST, ("Socket closed", "onnection reset", "Broken pipe", "recvmsg", "GOAWAY", "goaway", "RST_STREAM", "removed")),
    (_BROKEN_OFF, ("from Core",)),
)
"""The same of connections that there were; others' texts, e.g. a proxy's, stay as they are."""

_NO_GRPC_STATUS = "Received http2 header with status: 4"
_OTHER_SERVICE = "something else than a gateway of this version answers at {address} ({text}); look at PICTOR_ADDRESS"

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


def read(failure: grpc.RpcError, target: Target) -> PictorError:
    """Turn a failed call to a target into an error that tells everything of it."""
    call = cast("_Ended", failure)
    trailers = call.trailing_metadata() or ()
    status = _status(trailers, call.code())
    info = next((each for each in _unpacked(status, ErrorInfo) if each.domain == DOMAIN), None)
    metadata = dict(info.metadata) if info else {}
    entries = {key: value for key, value in (*(call.initial_metadata() or ()), *trailers) if isinstance(value, str)}
    if _SET_ID_KEY in entries:
        metadata = {"set_id": entries[_SET_ID_KEY], **metadata}
    text = call.details() or "no details"
    absence = None if info else _absence(call.code(), text, target)
    return PictorError.of(
        call.code(),
        absence or (text if info else _in_plain_words(call.code(), text, target)),
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
        is_absent=absence is not None,
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


def _absence(code: grpc.StatusCode, text: str, target: Target) -> str | None:
    """Why no gateway could be reached, and what to do; None if one was."""
    plain = _meaning(_ABSENT, text) if code is grpc.StatusCode.UNAVAILABLE else None
    tls = "https://" if target.is_tls else "tls"
    return None if plain is None else plain.format(address=target.address, tls=tls, why=text.rpartition(": ")[2])


def _in_plain_words(code: grpc.StatusCode, text: str, target: Target) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return NO_ANSWER
    if code is grpc.StatusCode.UNIMPLEMENTED or _NO_GRPC_STATUS in text:
        return _OTHER_SERVICE.format(address=target.address, text=text)
    return _meaning(_BROKEN, text) or text


def _meaning(known: Sequence[tuple[str, Sequence[str]]], text: str) -> str | None:
    return next((plain for plain, parts in known if any(part in text for part in parts)), None)
