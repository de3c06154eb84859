"""OpenAI's errors and odd answers.

Error answers (not billed unless `billed=true`; those marked * are billed unless `billed=false`):

| kind | HTTP | arguments |
|---|---|---|
| rate_limit | 429 rate_limit_exceeded | retry_after, retry_after_ms (headers), text ("15ms", in the message) |
| slow_down | 429 slow_down | retry_after |
| insufficient_quota | 429 | code (any of the quota codes) |
| credit_balance_exhausted, organization_spend_limit_exceeded | 429 type insufficient_quota | |
| project_spend_limit_exceeded, organization_usage_limit_exceeded | 429 type insufficient_quota | |
| billing_hard_limit | 400 billing_hard_limit_reached | |
| payment_required_html | 402 page | |
| invalid_api_key | 401 | |
| org_unverified | 403, code null | |
| model_not_found | 404 | |
| moderation_blocked, content_policy_violation | 400 | |
| bad_request | 400 | message, code, param |
| request_timeout | 408 | |
| server_error | 500 | should_retry (x-should-retry) |
| bad_gateway_html | 502 page | |
| overloaded | 503 server_is_overloaded | |
| gateway_timeout_html * | 524 page after 100 s | |

Odd answers (billed): missing_output_details, empty_data. Odd streams: eof_before_completed (billed), error_event and
untyped_error_event (not billed; `after` partial images, default 1), fewer_partials (`count`, default one less),
non_sse_200, sse_comments, done_marker (all billed, a valid picture comes).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pictord.sandbox.fault import Fault, FaultKind, Refusal, html

QUOTA_CODES = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
)
QUOTA_TEXT = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)


def error(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """OpenAI's error envelope."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def rate_limit(fault: Fault, _model: str) -> Refusal:
    """429 for images per minute, with the hint asked for: a header, a text, or none.

    Source: community.openai.com/t/1382726.
    """
    headers = {}
    if "retry_after" in fault.args:
        headers["retry-after"] = fault.args["retry_after"]
    if "retry_after_ms" in fault.args:
        headers["retry-after-ms"] = fault.args["retry_after_ms"]
    hint = f" Please try again in {fault.args['text']}." if "text" in fault.args else ""
    return rate_limited(int(fault.number("limit", 5)), hint, headers)


def rate_limited(limit: int, hint: str, headers: dict[str, str] | None = None) -> Refusal:
    """The answer to one picture too many within a minute."""
    message = (
        "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-sandbox on "
        f"input-images per min: Limit {limit}, Used {limit}, Requested 1.{hint} "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    return Refusal(429, error(message, kind="input-images", code="rate_limit_exceeded"), headers)


def _slow_down(fault: Fault, _model: str) -> Refusal:
    headers = {"retry-after": fault.args["retry_after"]} if "retry_after" in fault.args else {}
    message = "Slow down: your traffic grew too quickly. Please reduce your request rate and increase it gradually."
    return Refusal(429, error(message, kind="rate_limit_error", code="slow_down"), headers)


def _quota(fault: Fault, _model: str) -> Refusal:
    code = fault.args.get("code", fault.kind)
    return Refusal(429, error(QUOTA_TEXT, kind="insufficient_quota", code=code))


def _account(fault: Fault, model: str) -> Refusal:
    match fault.kind:
        case "billing_hard_limit":
            text = "Billing hard limit has been reached"
            return Refusal(400, error(text, kind="billing_limit_user_error", code="billing_hard_limit_reached"))
        case "invalid_api_key":
            return invalid_key()
        case "org_unverified":
            text = (
                f"Your organization must be verified to use the model `{model}`. Please go to: "
                "https://platform.openai.com/settings/organization/general and click on Verify Organization."
            )
            return Refusal(403, error(text))
        case _:
            return model_not_found(model)


def invalid_key() -> Refusal:
    """401 for a key that OpenAI does not know."""
    text = "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys."
    return Refusal(401, error(text, code="invalid_api_key"))


def model_not_found(model: str) -> Refusal:
    """404 for a model that does not exist."""
    text = f"The model '{model}' does not exist or you do not have access to it."
    return Refusal(404, error(text, param="model", code="model_not_found"))


def _content(fault: Fault, _model: str) -> Refusal:
    """A prompt or picture that the safety system rejects. Source: jeffstric/ZJT#480, pollinations#12067."""
    if fault.kind == "content_policy_violation":
        text = "Your request was rejected as a result of our safety system. Your prompt may contain disallowed text."
        return Refusal(400, error(text, kind="image_generation_user_error", code="content_policy_violation"))
    text = (
        "Your request was rejected by the safety system. If you believe this is an error, contact us at "
        "help.openai.com and include the request ID req_sandbox. safety_violations=[violence]."
    )
    return Refusal(400, error(text, kind="image_generation_user_error", code="moderation_blocked"))


def _bad_request(fault: Fault, _model: str) -> Refusal:
    text = fault.args.get("message", "Invalid request.")
    return Refusal(400, error(text, param=fault.args.get("param"), code=fault.args.get("code", "invalid_value")))


def _server(fault: Fault, _model: str) -> Refusal:
    headers = {"x-should-retry": fault.args["should_retry"]} if "should_retry" in fault.args else {}
    match fault.kind:
        case "request_timeout":
            return Refusal(408, error("Request timed out.", kind="request_timeout"), headers)
        case "overloaded":
            text = "The server is currently overloaded with other requests. Please try again later."
            body = error(text, kind="service_unavailable_error", code="server_is_overloaded")
            return Refusal(503, body, headers)
        case _:
            text = (
                "An error occurred while processing your request. You can retry your request, or contact us through "
                "our help center at help.openai.com if the error persists."
            )
            return Refusal(500, error(text, kind="server_error", code="server_error"), headers)


def _page(fault: Fault, _model: str) -> Refusal:
    pages = {
        "payment_required_html": (402, "Payment Required"),
        "bad_gateway_html": (502, "Bad Gateway"),
        "gateway_timeout_html": (524, "A timeout occurred"),
    }
    return html(*pages[fault.kind])


REFUSALS: dict[str, Callable[[Fault, str], Refusal]] = {
    "rate_limit": rate_limit,
    "slow_down": _slow_down,
    **dict.fromkeys(QUOTA_CODES, _quota),
    **dict.fromkeys(("billing_hard_limit", "invalid_api_key", "org_unverified", "model_not_found"), _account),
    **dict.fromkeys(("moderation_blocked", "content_policy_violation"), _content),
    "bad_request": _bad_request,
    **dict.fromkeys(("request_timeout", "server_error", "overloaded"), _server),
    **dict.fromkeys(("payment_required_html", "bad_gateway_html", "gateway_timeout_html"), _page),
}
KINDS: dict[str, FaultKind] = {
    **dict.fromkeys(REFUSALS, FaultKind()),
    "moderation_blocked": FaultKind(after_s=4.0),
    "content_policy_violation": FaultKind(after_s=4.0),
    "gateway_timeout_html": FaultKind(billed=True, after_s=100.0),
    "missing_output_details": FaultKind(billed=True),
    "empty_data": FaultKind(billed=True),
    "eof_before_completed": FaultKind(billed=True),
    "error_event": FaultKind(),
    "untyped_error_event": FaultKind(),
    "fewer_partials": FaultKind(billed=True),
    "non_sse_200": FaultKind(billed=True),
    "sse_comments": FaultKind(billed=True),
    "done_marker": FaultKind(billed=True),
}


def spoil_answer(fault: Fault, payload: dict[str, Any]) -> dict[str, Any]:
    """What the JSON answer looks like under `fault`."""
    match fault.kind:
        case "missing_usage":
            return {name: value for name, value in payload.items() if name != "usage"}
        case "missing_output_details":
            usage = {name: value for name, value in payload["usage"].items() if name != "output_tokens_details"}
            return payload | {"usage": usage}
        case "empty_data":
            return payload | {"data": []}
        case "error_in_200":
            return in_200(fault)
        case _:
            return payload


def in_200(fault: Fault) -> dict[str, Any]:
    """An error body that comes with HTTP 200; `code` is that of a fault kind or of an error."""
    code = fault.args.get("code", "rate_limit_exceeded")
    kind = {"rate_limit_exceeded": "rate_limit", "billing_hard_limit_reached": "billing_hard_limit"}.get(code, code)
    refuse = REFUSALS.get(kind, _bad_request)
    body = refuse(Fault(kind, fault.args), "gpt-image-2").body
    return dict(body) if not isinstance(body, str) else error(body)


@dataclass(frozen=True)
class StreamShape:
    """How an event stream runs."""

    partials: int
    completed: bool = True
    error: dict[str, Any] | None = None
    """The event that comes instead of the completed one."""
    error_name: str | None = None
    comments: bool = False
    done_marker: bool = False


def shape_stream(faults: list[Fault], partials: int) -> StreamShape:
    """The stream under `faults`, asked for `partials` partial images."""
    shape = {"partials": partials}
    for fault in faults:
        shape |= _stream_changes(fault, partials)
    return StreamShape(**shape)  # type: ignore[arg-type]  # a dict of its own fields


def _stream_changes(fault: Fault, partials: int) -> dict[str, Any]:
    sent = min(partials, int(fault.number("after", 1)))
    text = "The server had an error while processing your request. Sorry about that!"
    match fault.kind:
        case "eof_before_completed":
            return {"completed": False}
        case "error_event":
            code = fault.args.get("code", "server_error")
            body = {"type": "error", **error(text, kind=fault.args.get("type", code), code=code)}
            return {"completed": False, "partials": sent, "error": body, "error_name": "error"}
        case "untyped_error_event":
            code = fault.args.get("code", "server_error")
            body = {"type": "error", "message": text, "code": code, "param": None}
            return {"completed": False, "partials": sent, "error": body, "error_name": "error"}
        case "fewer_partials":
            return {"partials": min(partials, int(fault.number("count", max(0, partials - 1))))}
        case "sse_comments":
            return {"comments": True}
        case "done_marker":
            return {"done_marker": True}
        case _:
            return {}
