"""The gateway's errors as gRPC statuses: one table gives the code, one function the details and trailers.

Nothing above or below this file chooses a code. Details follow AIP-193: ErrorInfo always, BadRequest, QuotaFailure and
RetryInfo where they apply.

Everything sent back stays under 8 KiB: beyond that grpc rejects the trailers and the details are lost
(grpc/grpc#37852; measured with grpcio 1.85.1, 2026-11-22). The message travels percent-encoded (three bytes for one at
worst) and once more, with the details, in base64.
"""

from collections.abc import Mapping
from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2

from pictord.domain.reason import Reason
from pictord.errors import GatewayError

DOMAIN = "pictor"
GENERATION_ID_KEY = "pictor-generation-id"
SET_ID_KEY = "pictor-set-id"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
DETAILS_KEY = "grpc-status-details-bin"

CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PROMPT_EMPTY: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PROMPT_TOO_LONG: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.RATIO_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.COUNT_OUT_OF_RANGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MODEL_UNKNOWN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.FORMAT_UNKNOWN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.IMAGE_MISSING: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.IMAGE_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.IMAGE_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MASK_WITHOUT_IMAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MASK_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_MANY_REFERENCES: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.METADATA_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.IDEMPOTENCY_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.TIER_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.EXPIRED: grpc.StatusCode.NOT_FOUND,
    Reason.NO_EXACT_CANDIDATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_CAPABLE_MODEL: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_CONFIGURED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PRICE_CEILING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.MAX_COST: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DAILY_CAP: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.BUDGET_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.NOT_RATABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_TOO_SHORT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CONTENT_POLICY: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_IMAGE: grpc.StatusCode.ABORTED,
    Reason.PROVIDERS_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.PROVIDER_FAILED: grpc.StatusCode.ABORTED,
    Reason.PROVIDER_REJECTED: grpc.StatusCode.INTERNAL,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.STORE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}

INTERNAL_TEXT = "the gateway failed; the operators find this call in their log by its trace or generation id"

_LONGEST_PUSHBACK_S = 5.0
"""A client library may wait this long by itself; a longer wait is the application's decision (RetryInfo tells it)."""

_TEXT_BYTES = 768
_FIELD_BYTES = 128
_VIOLATIONS = 6
_VIOLATION_TEXT_BYTES = 160
_METADATA_ENTRIES = 10
_METADATA_KEY_BYTES = 64
_METADATA_VALUE_BYTES = 96


class Ending(NamedTuple):
    """What ends a call: the arguments of `ServicerContext.abort`."""

    code: grpc.StatusCode
    text: str
    trailers: tuple[tuple[str, str | bytes], ...]


def ending(error: GatewayError) -> Ending:
    """Write an error as a status.

    The details are among the trailers: `abort_with_status` would drop every other trailer.
    """
    code = CODES[error.reason]
    text = shorten(error.text, _TEXT_BYTES)
    trailers: list[tuple[str, str | bytes]] = [(DETAILS_KEY, _details(error, code, text).SerializeToString())]
    if error.generation_id is not None:
        trailers.append((GENERATION_ID_KEY, error.generation_id))
    pushback = _pushback_ms(error)
    if pushback is not None:
        trailers.append((PUSHBACK_KEY, str(pushback)))
    return Ending(code, text, tuple(trailers))


def shorten(text: str, limit_bytes: int) -> str:
    """Cut a text to at most `limit_bytes` of UTF-8, with an ellipsis if something is missing."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    return encoded[: limit_bytes - 3].decode("utf-8", "ignore") + "…"


def _pushback_ms(error: GatewayError) -> int | None:
    """What generic retrying clients must do: wait that many milliseconds, never retry (-1), or as they like (None).

    Source: gRFC A6, https://github.com/grpc/proposal/blob/master/A6-client-retries.md, read 2026-11-22.
    """
    if error.paid or error.reason is Reason.INTERNAL:
        return -1
    if error.retry_after_s is not None:
        # Never 0: grpcio 1.85.1 clients hang on it until their deadline.
        return max(1, int(error.retry_after_s * 1000)) if error.retry_after_s <= _LONGEST_PUSHBACK_S else -1
    # Nobody knows when the engines come back, so hammering helps nobody; a server that shuts down has a neighbour.
    return -1 if error.reason is Reason.PROVIDERS_UNAVAILABLE else None


def _details(error: GatewayError, code: grpc.StatusCode, text: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=text)
    status.details.append(_packed(_error_info(error)))
    if error.violations:
        status.details.append(_packed(_bad_request(error)))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        status.details.append(_packed(_quota_failure(error)))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        status.details.append(_packed(details_pb2.RetryInfo(retry_delay=delay)))
    return status


def _packed(
    message: details_pb2.ErrorInfo | details_pb2.BadRequest | details_pb2.QuotaFailure | details_pb2.RetryInfo,
) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _error_info(error: GatewayError) -> details_pb2.ErrorInfo:
    metadata = dict(error.metadata)
    if error.generation_id is not None:
        metadata.setdefault("generation_id", error.generation_id)
    if error.paid:
        metadata["paid"] = "true"  # the pushback says -1 in other cases too
    kept = list(metadata.items())[:_METADATA_ENTRIES]
    short = {shorten(k, _METADATA_KEY_BYTES): shorten(v, _METADATA_VALUE_BYTES) for k, v in kept}
    return details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=short)


def _bad_request(error: GatewayError) -> details_pb2.BadRequest:
    return details_pb2.BadRequest(
        field_violations=[
            details_pb2.BadRequest.FieldViolation(
                field=shorten(violation.field, _FIELD_BYTES),
                description=shorten(violation.text, _VIOLATION_TEXT_BYTES),
                reason=violation.reason.name,
            )
            for violation in list(error.violations)[:_VIOLATIONS]
        ]
    )


def _quota_failure(error: GatewayError) -> details_pb2.QuotaFailure:
    subject = error.metadata.get("scope", error.reason.value)
    violation = details_pb2.QuotaFailure.Violation(
        subject=shorten(subject, _FIELD_BYTES), description=shorten(error.text, _VIOLATION_TEXT_BYTES)
    )
    return details_pb2.QuotaFailure(violations=[violation])
