"""Outcomes: one table drives breaker, limiter, fallback and money.

An adapter reduces whatever happened to a `Signal`; `classify` names the outcome, and `RULES` says what the outcome
means. The first match wins: the body's code goes before the HTTP status, which goes before the transport, because
providers put refusals into HTTP 200, spent accounts into 429 and billing limits into 400.

| outcome          | breaker      | limiter           | fall back | money               |
|------------------|--------------|-------------------|-----------|---------------------|
| IMAGE            | ok or slow   | -                 | -         | settle              |
| REFUSED          | ignore       | -                 | no        | settle, or release  |
| NO_IMAGE         | ignore       | -                 | yes       | settle, or unknown  |
| UNUSABLE         | fail         | -                 | yes       | unknown             |
| UNFUNDED         | unfunded     | -                 | yes       | release             |
| KEY_REFUSED      | provider off | -                 | yes       | release             |
| MODEL_REFUSED    | trip model   | -                 | yes       | release             |
| RATE_LIMITED     | ignore       | freeze and shrink | yes       | release             |
| OVERLOADED       | fail         | shrink            | yes       | release             |
| SERVER_ERROR     | fail         | -                 | once      | unknown             |
| BAD_REQUEST      | ignore       | -                 | no        | release             |
| UNREACHABLE      | fail         | refund            | yes, and once more on the same engine | release |
| NOT_ADMITTED     | ignore       | -                 | yes       | release (never sent) |
| CANCELLED        | ignore       | refund            | no        | release (never sent) |
| SHUTDOWN         | ignore       | -                 | no        | unknown once sent   |

Sources: help.openai.com/articles/5955604 (OpenAI's error codes), google-genai 3.4.0 `types.py` (Gemini's finish and
block reasons), read 2026-11-22.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum


class Outcome(StrEnum):
    """How one attempt ended."""

    IMAGE = "image"
    REFUSED = "refused"
    NO_IMAGE = "no_image"
    UNUSABLE = "unusable"
    UNFUNDED = "unfunded"
    KEY_REFUSED = "key_refused"
    MODEL_REFUSED = "model_refused"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    UNREACHABLE = "unreachable"
    NOT_ADMITTED = "not_admitted"
    """Our own breaker, limiter or queue did not let it through."""
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"


class BreakerVerdict(Enum):
    """What an outcome says to the breaker or to the provider's switch."""

    OK = "ok"
    FAIL = "fail"
    IGNORE = "ignore"
    TRIP_MODEL = "trip_model"
    PROVIDER_OFF = "provider_off"
    UNFUNDED = "unfunded"


class LimiterEffect(Enum):
    """What an outcome does to the provider account's limiter and concurrency."""

    NONE = "none"
    FREEZE_AND_SHRINK = "freeze_and_shrink"
    SHRINK = "shrink"
    REFUND = "refund"


class FallBack(Enum):
    """Whether the next candidate may be tried."""

    NO = "no"
    YES = "yes"
    ONCE = "once"
    """Once, and only if money and deadline hold a second full call: the first may be billed."""


class MoneyEffect(Enum):
    """What happens to the attempt's hold."""

    SETTLE = "settle"
    SETTLE_OR_RELEASE = "settle_or_release"
    SETTLE_OR_UNKNOWN = "settle_or_unknown"
    UNKNOWN = "unknown"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Rule:
    """The consequences of one outcome."""

    breaker: BreakerVerdict
    limiter: LimiterEffect
    fall_back: FallBack
    money: MoneyEffect
    retry_same_once: bool = False


RULES: Mapping[Outcome, Rule] = {
    Outcome.IMAGE: Rule(BreakerVerdict.OK, LimiterEffect.NONE, FallBack.NO, MoneyEffect.SETTLE),
    Outcome.REFUSED: Rule(BreakerVerdict.IGNORE, LimiterEffect.NONE, FallBack.NO, MoneyEffect.SETTLE_OR_RELEASE),
    Outcome.NO_IMAGE: Rule(BreakerVerdict.IGNORE, LimiterEffect.NONE, FallBack.YES, MoneyEffect.SETTLE_OR_UNKNOWN),
    Outcome.UNUSABLE: Rule(BreakerVerdict.FAIL, LimiterEffect.NONE, FallBack.YES, MoneyEffect.UNKNOWN),
    Outcome.UNFUNDED: Rule(BreakerVerdict.UNFUNDED, LimiterEffect.NONE, FallBack.YES, MoneyEffect.RELEASE),
    Outcome.KEY_REFUSED: Rule(BreakerVerdict.PROVIDER_OFF, LimiterEffect.NONE, FallBack.YES, MoneyEffect.RELEASE),
    Outcome.MODEL_REFUSED: Rule(BreakerVerdict.TRIP_MODEL, LimiterEffect.NONE, FallBack.YES, MoneyEffect.RELEASE),
    Outcome.RATE_LIMITED: Rule(
        BreakerVerdict.IGNORE, LimiterEffect.FREEZE_AND_SHRINK, FallBack.YES, MoneyEffect.RELEASE
    ),
    Outcome.OVERLOADED: Rule(BreakerVerdict.FAIL, LimiterEffect.SHRINK, FallBack.YES, MoneyEffect.RELEASE),
    Outcome.SERVER_ERROR: Rule(BreakerVerdict.FAIL, LimiterEffect.NONE, FallBack.ONCE, MoneyEffect.UNKNOWN),
    Outcome.BAD_REQUEST: Rule(BreakerVerdict.IGNORE, LimiterEffect.NONE, FallBack.NO, MoneyEffect.RELEASE),
    Outcome.UNREACHABLE: Rule(
        BreakerVerdict.FAIL, LimiterEffect.REFUND, FallBack.YES, MoneyEffect.RELEASE, retry_same_once=True
    ),
    Outcome.NOT_ADMITTED: Rule(BreakerVerdict.IGNORE, LimiterEffect.NONE, FallBack.YES, MoneyEffect.RELEASE),
    Outcome.CANCELLED: Rule(BreakerVerdict.IGNORE, LimiterEffect.REFUND, FallBack.NO, MoneyEffect.RELEASE),
    Outcome.SHUTDOWN: Rule(BreakerVerdict.IGNORE, LimiterEffect.NONE, FallBack.NO, MoneyEffect.UNKNOWN),
}


class Transport(Enum):
    """How a call ended below HTTP."""

    UNSENT = "unsent"
    """Connect, DNS or TLS failure: not one byte of the request left us."""
    TIMEOUT = "timeout"
    RESET = "reset"
    """Connection lost after the request was, or may have been, sent."""


class Unusable(StrEnum):
    """Why a 200 is no picture."""

    EMPTY = "empty"
    """Well formed, but no picture inside."""
    NOT_JSON = "not_json"
    TRUNCATED = "truncated"
    BAD_BASE64 = "bad_base64"
    WRONG_TYPE = "wrong_type"
    TOO_LARGE = "too_large"
    NO_FINAL = "no_final"
    """A stream that ended after previews only."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What an adapter saw, reduced to what `classify` needs.

    `codes` are the body's machine-readable words, most specific first (OpenAI `code` and `type`; Gemini finish reason,
    block reason, ErrorInfo reason, quota id, status), as the provider writes them.
    """

    status: int | None = None
    codes: tuple[str, ...] = ()
    message: str = ""
    unusable: Unusable | None = None
    transport: Transport | None = None


_BY_CODE: Mapping[str, Outcome] = {
    # refusals by OpenAI
    "moderation_blocked": Outcome.REFUSED,
    "content_policy_violation": Outcome.REFUSED,
    # OpenAI: out of credit
    "insufficient_quota": Outcome.UNFUNDED,
    "credit_balance_exhausted": Outcome.UNFUNDED,
    "organization_spend_limit_exceeded": Outcome.UNFUNDED,
    "project_spend_limit_exceeded": Outcome.UNFUNDED,
    "organization_usage_limit_exceeded": Outcome.UNFUNDED,
    "billing_hard_limit_reached": Outcome.UNFUNDED,
    "billing_not_active": Outcome.UNFUNDED,
    # OpenAI: keys, models, rates
    "invalid_api_key": Outcome.KEY_REFUSED,
    "model_not_found": Outcome.MODEL_REFUSED,
    "rate_limit_exceeded": Outcome.RATE_LIMITED,
    "slow_down": Outcome.RATE_LIMITED,
    "rate_limit_error": Outcome.RATE_LIMITED,
    "server_is_overloaded": Outcome.OVERLOADED,
    "service_unavailable_error": Outcome.OVERLOADED,
    "server_error": Outcome.SERVER_ERROR,
    # Gemini: refusals (finish reasons and block reasons)
    "IMAGE_SAFETY": Outcome.REFUSED,
    "IMAGE_PROHIBITED_CONTENT": Outcome.REFUSED,
    "PROHIBITED_CONTENT": Outcome.REFUSED,
    "SAFETY": Outcome.REFUSED,
    "BLOCKLIST": Outcome.REFUSED,
    "SPII": Outcome.REFUSED,
    "MODEL_ARMOR": Outcome.REFUSED,
    "JAILBREAK": Outcome.REFUSED,
    "PROMPT_BLOCKED": Outcome.REFUSED,  # our word for any other blockReason
    # Gemini: finished, but without a picture
    "NO_IMAGE": Outcome.NO_IMAGE,
    "IMAGE_OTHER": Outcome.NO_IMAGE,
    "IMAGE_RECITATION": Outcome.NO_IMAGE,
    "RECITATION": Outcome.NO_IMAGE,
    "MAX_TOKENS": Outcome.NO_IMAGE,
    "OTHER": Outcome.NO_IMAGE,
    # Gemini: google.rpc reasons and statuses
    "API_KEY_INVALID": Outcome.KEY_REFUSED,
    "API_KEY_EXPIRED": Outcome.KEY_REFUSED,
    "MODEL_CAPACITY_EXHAUSTED": Outcome.OVERLOADED,
    "UNAUTHENTICATED": Outcome.KEY_REFUSED,
    "NOT_FOUND": Outcome.MODEL_REFUSED,
    "PERMISSION_DENIED": Outcome.KEY_REFUSED,
    "RESOURCE_EXHAUSTED": Outcome.RATE_LIMITED,
    "UNAVAILABLE": Outcome.OVERLOADED,
    "DEADLINE_EXCEEDED": Outcome.SERVER_ERROR,
    "INTERNAL": Outcome.SERVER_ERROR,
}

_BY_MESSAGE: tuple[tuple[int, str, Outcome], ...] = (
    # Failures of the account that have no code of their own, by HTTP status and words in the message.
    (403, "must be verified", Outcome.MODEL_REFUSED),  # OpenAI, openai-php/client#565
    (400, "enable billing", Outcome.UNFUNDED),  # Gemini FAILED_PRECONDITION, ai.google.dev troubleshooting
    (400, "location is not supported", Outcome.KEY_REFUSED),  # the same
)

_BY_GENERAL_CODE: Mapping[str, Outcome] = {
    # Words that come with many statuses: the status says more, they count only without one (an error inside a 200).
    "invalid_request_error": Outcome.BAD_REQUEST,
    "image_generation_user_error": Outcome.BAD_REQUEST,
    "INVALID_ARGUMENT": Outcome.BAD_REQUEST,
    "FAILED_PRECONDITION": Outcome.BAD_REQUEST,
}

_BY_STATUS: Mapping[int, Outcome] = {
    401: Outcome.KEY_REFUSED,
    402: Outcome.UNFUNDED,
    403: Outcome.KEY_REFUSED,
    404: Outcome.MODEL_REFUSED,
    408: Outcome.SERVER_ERROR,
    429: Outcome.RATE_LIMITED,
    503: Outcome.OVERLOADED,
    529: Outcome.OVERLOADED,
}


def classify(signal: Signal) -> Outcome:
    """Name the outcome of an attempt that brought no valid image."""
    return (
        _by_code(signal)
        or _by_status(signal)
        or _first(signal.codes, _BY_GENERAL_CODE)
        or _by_body(signal)
        or _by_transport(signal)
    )


def _by_code(signal: Signal) -> Outcome | None:
    if any("PerDay" in code for code in signal.codes):
        return Outcome.UNFUNDED
    for status, words, outcome in _BY_MESSAGE:
        if signal.status == status and words in signal.message:
            return outcome
    return _first(signal.codes, _BY_CODE)


def _first(codes: tuple[str, ...], table: Mapping[str, Outcome]) -> Outcome | None:
    return next((table[code] for code in codes if code in table), None)


def _by_status(signal: Signal) -> Outcome | None:
    if signal.status is None or signal.status < 400:
        return None
    if signal.status in _BY_STATUS:
        return _BY_STATUS[signal.status]
    return Outcome.SERVER_ERROR if signal.status >= 500 else Outcome.BAD_REQUEST


def _by_body(signal: Signal) -> Outcome | None:
    if signal.unusable is None:
        return None
    return Outcome.NO_IMAGE if signal.unusable is Unusable.EMPTY else Outcome.UNUSABLE


def _by_transport(signal: Signal) -> Outcome:
    return Outcome.UNREACHABLE if signal.transport is Transport.UNSENT else Outcome.SERVER_ERROR
