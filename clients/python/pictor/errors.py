"""What went wrong, as one exception read from the gateway's `google.rpc.Status`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from pictor.amounts import seconds

DOMAIN = "pictor"
SHUTTING_DOWN = "SHUTTING_DOWN"
UNREACHABLE = "UNREACHABLE"
"""The reason of our own: nobody answered, or the connection broke."""

NOBODY = "nothing answers"
NO_NAME = "nobody knows its name"
NO_TLS = "something answers, but without TLS"
NO_TRUST = "something answers, but TLS with it fails"
LOST = "the connection was lost"
NO_ANSWER = "no answer in time"
_BROKEN_OFF = "the call broke off"

_PLAIN = (
    (NO_TLS, ("WRONG_VERSION_NUMBER",)),
    (NO_TRUST, ("handshake failed", "Handshake failed")),
    (NO_NAME, ("errors resolving", "DNS resolution failed")),
    (NOBODY, ("refused", "failed to connect")),
    (LOST, ("Socket closed", "onnection reset", "Broken pipe", "recvmsg", "GOAWAY", "goaway", "RST_STREAM", "removed")),
    (_BROKEN_OFF, ("from Core",)),
)
"""What gRPC's own texts mean (grpcio 1.85.1), the most telling first; others, e.g. a proxy's, stay as they are."""

_ID_KEY = "pictor-generation-id"
_SET_ID_KEY = "pictor-set-id"
_GENERATION_ID = "generation_id"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong, by its path in the request message, with what would work."""

    field: str
    text: str


@dataclass(slots=True, eq=False)
class PictorError(Exception):
    """The gateway refused, failed, or did not answer.

    `reason` is a name of the contract's ErrorReason without prefix. If the gateway itself said nothing, it is
    `UNREACHABLE` (nobody answered, or the connection broke) or else the name of gRPC's code, e.g. `DEADLINE_EXCEEDED`
    for one that passed here; gRPC's own text is in `__cause__`. `paid` says that money may be spent: repeat such a call
    only with the same `request_id`.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after_s: float | None = None
    generation_id: str | None = None
    paid: bool = False
    request_id: str | None = None
    """Of the call that failed, if it was one that makes pictures."""
    _is_told: bool = False
    """Whether the gateway itself gave the reason."""

    def __post_init__(self) -> None:
        if not self.reason:
            self.reason = UNREACHABLE if self.code is grpc.StatusCode.UNAVAILABLE else self.code.name

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def is_lost(self) -> bool:
        """Whether only the connection ended, or this server goes away: accepted work goes on and can be followed."""
        goes_away = self.reason == SHUTTING_DOWN and not self.is_end
        return self.code is grpc.StatusCode.UNAVAILABLE and (self.reason == UNREACHABLE or goes_away)

    @property
    def is_end(self) -> bool:
        """Whether the gateway tells how a generation ended, and does not only refuse this call."""
        return _GENERATION_ID in self.metadata

    @classmethod
    def from_rpc(cls, error: grpc.aio.AioRpcError) -> "PictorError":
        """Read everything that a failed call tells: code, status details, metadata of either end."""
        found = cls(error.code(), error.details() or "no details")
        for detail in _status(error).details:
            found._read(detail)
        if not found._is_told:
            found.message = _in_plain_words(found.code, found.message)
        ends = (error.initial_metadata(), error.trailing_metadata())
        entries = {key: str(value) for end in ends for key, value in end or () if isinstance(value, str)}
        if _SET_ID_KEY in entries:
            found.metadata = {"set_id": entries[_SET_ID_KEY], **found.metadata}
        found.generation_id = entries.get(_ID_KEY) or found.metadata.get(_GENERATION_ID)
        found.paid = found.metadata.get("paid") == "true"
        return found

    def about(self, request_id: str | None, waited_s: float) -> None:
        """Add what only the caller's side knows: which request it was, and how long it waited for an answer."""
        self.request_id = request_id
        if self.message == NO_ANSWER:
            self.message = f"no answer within {f'{waited_s:.1f}'.removesuffix('.0')} s"

    def _read(self, detail: "error_details_pb2.Any") -> None:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            self.reason, self.metadata, self._is_told = info.reason, dict(info.metadata), True
        elif detail.Unpack(bad):
            self.violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
        elif detail.Unpack(retry):
            self.retry_after_s = seconds(retry.retry_delay)


def _in_plain_words(code: grpc.StatusCode, text: str) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return NO_ANSWER
    return next((plain for plain, parts in _PLAIN if any(part in text for part in parts)), text)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The status in the trailers; empty if there is none, or one that contradicts the call's own code."""
    try:
        return rpc_status.from_call(error) or status_pb2.Status()
    except (ValueError, DecodeError):
        return status_pb2.Status()
