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

    `reason` is a name of the contract's ErrorReason without prefix; it is empty if the gateway itself said nothing,
    because nobody answered, the connection broke, or the deadline passed here. `paid` says that money may be spent:
    repeat such a call only with the same `request_id`.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after_s: float | None = None
    generation_id: str | None = None
    paid: bool = False

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"

    @property
    def is_lost(self) -> bool:
        """Whether only the connection ended, or this server goes away: accepted work goes on and can be followed."""
        goes_away = self.reason == SHUTTING_DOWN and not self.is_end
        return self.code is grpc.StatusCode.UNAVAILABLE and (not self.reason or goes_away)

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
        ends = (error.initial_metadata(), error.trailing_metadata())
        entries = {key: str(value) for end in ends for key, value in end or () if isinstance(value, str)}
        if _SET_ID_KEY in entries:
            found.metadata = {"set_id": entries[_SET_ID_KEY], **found.metadata}
        found.generation_id = entries.get(_ID_KEY) or found.metadata.get(_GENERATION_ID)
        found.paid = found.metadata.get("paid") == "true"
        return found

    def _read(self, detail: "error_details_pb2.Any") -> None:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            self.reason, self.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            self.violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
        elif detail.Unpack(retry):
            self.retry_after_s = seconds(retry.retry_delay)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The status in the trailers; empty if there is none, or one that contradicts the call's own code."""
    try:
        return rpc_status.from_call(error) or status_pb2.Status()
    except (ValueError, DecodeError):
        return status_pb2.Status()
