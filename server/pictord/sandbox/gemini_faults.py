"""Gemini's errors and odd answers.

Error answers (not billed unless `billed=true`; those marked * are billed unless `billed=false`):

| kind | HTTP and status | arguments |
|---|---|---|
| rate_limit | 429 RESOURCE_EXHAUSTED with Help, QuotaFailure per minute and RetryInfo | retry_delay ("26s") |
| rate_limit_bare | 429 RESOURCE_EXHAUSTED without details (Vertex) | |
| quota_per_day | 429 with a PerDay quotaId and RetryInfo | retry_delay |
| api_key_invalid | 400 INVALID_ARGUMENT, reason API_KEY_INVALID | |
| unauthenticated | 401 | |
| permission_denied | 403 | |
| not_found | 404 | |
| failed_precondition, invalid_argument | 400 | message |
| internal | 500 | |
| bad_gateway_html | 502 page | |
| unavailable | 503 | reason (MODEL_CAPACITY_EXHAUSTED) |
| overloaded | 529 | |
| deadline_exceeded * | 504 after 60 s | |

Answers with HTTP 200 whose usage is reported and billed, with or without a picture: finish_reason (`reason`,
`parts` = null or absent or empty, `message`), block_reason (`reason`), text_only, no_candidates, several_images
(`count`), thought_images (`count` drafts, then the picture), thought_image_only, mislabelled_mime (`mime`), odd_pixels,
big_signatures (`bytes`), continuation, served_version (`model_version`). Refused pictures bill the prompt and the
thinking only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pictord.sandbox.fault import Fault, FaultKind, Refusal, html

GOOGLE_TYPE = "type.googleapis.com/google.rpc."
QUOTA_TEXT = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def status_error(
    code: int, message: str, *, status: str | None = None, details: list[dict[str, Any]] | None = None
) -> Refusal:
    """A google.rpc.Status as JSON."""
    body: dict[str, Any] = {"code": code, "message": message, "status": status or STATUS[code]}
    if details:
        body["details"] = details
    return Refusal(code, {"error": body})


def rate_limited(retry_delay: str, window: str, model: str) -> Refusal:
    """429 as the Developer API says it; `window` is PerMinute or PerDay.

    Source: gemini-cli#8437, Roo-Code#3883, python-genai#2044.
    """
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model",
        "quotaId": f"GenerateRequests{window}PerProjectPerModel-PaidTier",
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": "10",
    }
    link = {
        "description": "Learn more about Gemini API quotas",
        "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
    }
    details: list[dict[str, Any]] = [
        {"@type": GOOGLE_TYPE + "Help", "links": [link]},
        {"@type": GOOGLE_TYPE + "QuotaFailure", "violations": [violation]},
        {"@type": GOOGLE_TYPE + "RetryInfo", "retryDelay": retry_delay},
    ]
    return status_error(429, f"{QUOTA_TEXT}\nPlease retry in {retry_delay}.", details=details)


def rate_limited_bare() -> Refusal:
    """429 as Vertex says it: no number, no hint. Source: googlecodelabs#1709."""
    text = (
        "Resource exhausted. Please try again later. Please refer to "
        "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details."
    )
    return status_error(429, text)


def _quota(fault: Fault, model: str) -> Refusal:
    if fault.kind == "rate_limit_bare":
        return rate_limited_bare()
    window = "PerDay" if fault.kind == "quota_per_day" else "PerMinute"
    return rate_limited(fault.args.get("retry_delay", "26s"), window, model)


def _access(fault: Fault, model: str) -> Refusal:
    match fault.kind:
        case "api_key_invalid":
            info = {"@type": GOOGLE_TYPE + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            return status_error(400, "API key not valid. Please pass a valid API key.", details=[info])
        case "unauthenticated":
            return unauthenticated()
        case "permission_denied":
            return status_error(403, "Permission denied on resource project sandbox.")
        case _:
            return not_found(model, "v1beta")


def unauthenticated() -> Refusal:
    """401 for a call without credentials, or with broken ones."""
    text = (
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other "
        "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    return status_error(401, text)


def not_found(model: str, version: str) -> Refusal:
    """404 for a model that is unknown or shut down."""
    text = (
        f"models/{model} is not found for API version {version}, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods."
    )
    return status_error(404, text)


def _argument(fault: Fault, _model: str) -> Refusal:
    if fault.kind == "failed_precondition":
        text = "User location is not supported for the API use."
        return status_error(400, fault.args.get("message", text), status="FAILED_PRECONDITION")
    return status_error(400, fault.args.get("message", "Request contains an invalid argument."))


def _server(fault: Fault, _model: str) -> Refusal:
    match fault.kind:
        case "internal":
            text = (
                "An internal error has occurred. Please retry or report in "
                "https://developers.generativeai.google/guide/troubleshooting"
            )
            return status_error(500, text)
        case "unavailable":
            info = {"@type": GOOGLE_TYPE + "ErrorInfo", "reason": fault.args.get("reason", "")}
            text = "The model is overloaded. Please try again later."
            return status_error(503, text, details=[info] if info["reason"] else None)
        case "overloaded":
            return status_error(529, "The service is temporarily overloaded.", status="UNAVAILABLE")
        case "deadline_exceeded":
            return status_error(504, "Deadline expired before operation could complete.")
        case _:
            return html(502, "Bad Gateway")


REFUSALS: dict[str, Callable[[Fault, str], Refusal]] = {
    **dict.fromkeys(("rate_limit", "rate_limit_bare", "quota_per_day"), _quota),
    **dict.fromkeys(("api_key_invalid", "unauthenticated", "permission_denied", "not_found"), _access),
    **dict.fromkeys(("failed_precondition", "invalid_argument"), _argument),
    **dict.fromkeys(("internal", "unavailable", "overloaded", "deadline_exceeded", "bad_gateway_html"), _server),
}
ODD_ANSWERS = (
    "finish_reason",
    "block_reason",
    "text_only",
    "no_candidates",
    "several_images",
    "thought_images",
    "thought_image_only",
    "mislabelled_mime",
    "odd_pixels",
    "big_signatures",
    "continuation",
    "served_version",
)
KINDS: dict[str, FaultKind] = {
    **dict.fromkeys(REFUSALS, FaultKind()),
    "deadline_exceeded": FaultKind(billed=True, after_s=60.0),
    **dict.fromkeys(ODD_ANSWERS, FaultKind(billed=True)),
}


def in_200(fault: Fault) -> dict[str, Any]:
    """An error body that comes with HTTP 200; `status` names a fault kind or a status."""
    kind = fault.args.get("status", "rate_limit").lower()
    kind = "rate_limit" if kind == "resource_exhausted" else kind
    body = REFUSALS.get(kind, _argument)(Fault(kind, fault.args), "gemini-3.1-flash-image").body
    return dict(body) if not isinstance(body, str) else {"error": {"code": 500, "message": body, "status": "INTERNAL"}}


@dataclass(frozen=True)
class Shape:
    """What an answer with HTTP 200 holds."""

    images: int = 1
    """Pictures without the thought flag."""
    thought_images: int = 0
    finish_reason: str = "STOP"
    finish_message: str | None = None
    parts: str = "as drawn"
    """`as drawn`, or `null`, `absent`, `empty` for the parts of a candidate without picture."""
    text: bool | None = None
    """Whether a text part comes; None leaves it to the modalities."""
    candidates: bool = True
    block_reason: str | None = None
    mime: str | None = None
    """The declared type, if it is not the true one."""
    odd_pixels: bool = False
    signature_bytes: int | None = None
    continuation_token: str | None = None
    model_version: str | None = None

    @property
    def refused(self) -> bool:
        """Whether no picture comes at all."""
        return self.images + self.thought_images == 0


def shape_answer(faults: list[Fault]) -> Shape:
    """The answer under `faults`."""
    shape = Shape()
    for fault in faults:
        shape = _changed(shape, fault)
    return shape


def _changed(shape: Shape, fault: Fault) -> Shape:
    match fault.kind:
        case "finish_reason":
            reason = fault.args.get("reason", "IMAGE_SAFETY")
            message = fault.args.get("message", f"Unable to show the generated image. Reason: {reason}.")
            parts = fault.args.get("parts", "null")
            return replace(shape, images=0, finish_reason=reason, finish_message=message, parts=parts, text=False)
        case "block_reason":
            return replace(
                shape, images=0, candidates=False, block_reason=fault.args.get("reason", "PROHIBITED_CONTENT")
            )
        case "no_candidates":
            return replace(shape, images=0, candidates=False)
        case "text_only":
            return replace(shape, images=0, text=True)
        case "several_images":
            return replace(shape, images=int(fault.number("count", 3)))
        case "thought_images":
            return replace(shape, thought_images=int(fault.number("count", 2)))
        case "thought_image_only":
            return replace(shape, images=0, thought_images=1)
        case "mislabelled_mime":
            return replace(shape, mime=fault.args.get("mime", "image/png"))
        case "odd_pixels":
            return replace(shape, odd_pixels=True)
        case "big_signatures":
            return replace(shape, signature_bytes=int(fault.number("bytes", 825_000)))
        case "continuation":
            return replace(shape, images=0, finish_reason="CONTINUATION", continuation_token="sandbox-1", parts="empty")  # noqa: S106 - no secret
        case "served_version":
            return replace(shape, model_version=fault.args.get("model_version", "gemini-3.1-flash-image-2026-10"))
        case _:
            return shape
