"""The outcome table: what an adapter saw, and what the gateway makes of it."""

import pytest

from pictord.domain.outcome import (
    RULES,
    BreakerVerdict,
    FallBack,
    LimiterEffect,
    MoneyEffect,
    Outcome,
    Signal,
    Transport,
    Unusable,
    classify,
)

SIGNALS = [
    # refusals: a body code decides, whatever the status
    ("OpenAI moderation", Signal(400, ("moderation_blocked", "image_generation_user_error")), Outcome.REFUSED),
    ("older OpenAI moderation", Signal(400, ("content_policy_violation",)), Outcome.REFUSED),
    *[
        (f"Gemini {reason} in a 200", Signal(200, (reason,), unusable=Unusable.EMPTY), Outcome.REFUSED)
        for reason in (
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "PROHIBITED_CONTENT",
            "SAFETY",
            "BLOCKLIST",
            "SPII",
            "MODEL_ARMOR",
            "JAILBREAK",
        )
    ],
    ("any blocked prompt", Signal(200, ("PROMPT_BLOCKED", "OTHER"), unusable=Unusable.EMPTY), Outcome.REFUSED),
    # finished without a picture
    *[
        (f"Gemini {reason}", Signal(200, (reason,), unusable=Unusable.EMPTY), Outcome.NO_IMAGE)
        for reason in ("NO_IMAGE", "IMAGE_OTHER", "IMAGE_RECITATION", "RECITATION", "MAX_TOKENS", "OTHER", "STOP")
    ],
    ("an empty list of pictures", Signal(200, unusable=Unusable.EMPTY), Outcome.NO_IMAGE),
    # a 200 carrying an error: by its code
    ("rate limit in a 200", Signal(200, ("rate_limit_exceeded", "input-images")), Outcome.RATE_LIMITED),
    ("spent account in a 200", Signal(200, ("insufficient_quota",)), Outcome.UNFUNDED),
    ("bad argument in a 200", Signal(200, ("invalid_value", "invalid_request_error")), Outcome.BAD_REQUEST),
    ("Gemini argument in a 200", Signal(200, ("INVALID_ARGUMENT",)), Outcome.BAD_REQUEST),
    ("Gemini 503 in a 200", Signal(200, ("UNAVAILABLE",)), Outcome.OVERLOADED),
    ("an error nobody knows in a 200", Signal(200, ("quux",)), Outcome.SERVER_ERROR),
    # a 200 that is no picture
    *[(f"200 {why}", Signal(200, unusable=why), Outcome.UNUSABLE) for why in Unusable if why is not Unusable.EMPTY],
    # money is out
    ("402 page", Signal(402), Outcome.UNFUNDED),
    *[
        (f"429 {code}", Signal(429, (code, "insufficient_quota")), Outcome.UNFUNDED)
        for code in (
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "a_quota_code_of_tomorrow",
        )
    ],
    ("400 billing hard limit", Signal(400, ("billing_hard_limit_reached",)), Outcome.UNFUNDED),
    (
        "429 quota per day",
        Signal(429, ("GenerateRequestsPerDayPerProjectPerModel-PaidTier", "RESOURCE_EXHAUSTED")),
        Outcome.UNFUNDED,
    ),
    (
        "400 Gemini without billing",
        Signal(400, ("FAILED_PRECONDITION",), "Please enable billing on your project in Google AI Studio."),
        Outcome.UNFUNDED,
    ),
    # keys
    ("401", Signal(401, ("invalid_api_key", "invalid_request_error")), Outcome.KEY_REFUSED),
    ("401 with a general type only", Signal(401, ("invalid_request_error",)), Outcome.KEY_REFUSED),
    ("403 key", Signal(403, ("PERMISSION_DENIED",)), Outcome.KEY_REFUSED),
    ("400 Gemini key", Signal(400, ("API_KEY_INVALID", "INVALID_ARGUMENT")), Outcome.KEY_REFUSED),
    (
        "400 Gemini from a wrong country",
        Signal(400, ("FAILED_PRECONDITION",), "User location is not supported for the API use."),
        Outcome.KEY_REFUSED,
    ),
    # models
    ("404 OpenAI", Signal(404, ("model_not_found", "invalid_request_error")), Outcome.MODEL_REFUSED),
    ("404 Gemini", Signal(404, ("NOT_FOUND",)), Outcome.MODEL_REFUSED),
    (
        "403 unverified organisation",
        Signal(403, ("invalid_request_error",), "Your organization must be verified to use the model"),
        Outcome.MODEL_REFUSED,
    ),
    # rates and load
    ("429 rate", Signal(429, ("rate_limit_exceeded", "input-images")), Outcome.RATE_LIMITED),
    ("429 slow down", Signal(429, ("slow_down", "rate_limit_error")), Outcome.RATE_LIMITED),
    ("429 per minute", Signal(429, ("GenerateRequestsPerMinute", "RESOURCE_EXHAUSTED")), Outcome.RATE_LIMITED),
    ("429 without a word", Signal(429), Outcome.RATE_LIMITED),
    ("503", Signal(503), Outcome.OVERLOADED),
    ("503 OpenAI", Signal(503, ("server_is_overloaded",)), Outcome.OVERLOADED),
    ("503 capacity", Signal(503, ("MODEL_CAPACITY_EXHAUSTED", "UNAVAILABLE")), Outcome.OVERLOADED),
    ("529", Signal(529), Outcome.OVERLOADED),
    # server errors and lost answers
    *[(str(status), Signal(status), Outcome.SERVER_ERROR) for status in (408, 500, 502, 504, 524)],
    ("504 Gemini", Signal(504, ("DEADLINE_EXCEEDED",)), Outcome.SERVER_ERROR),
    ("timeout after sending", Signal(transport=Transport.TIMEOUT), Outcome.SERVER_ERROR),
    ("reset after sending", Signal(transport=Transport.RESET), Outcome.SERVER_ERROR),
    ("reset in the middle of a 200", Signal(200, transport=Transport.RESET), Outcome.SERVER_ERROR),
    ("a 429 whose body was lost", Signal(429, transport=Transport.RESET), Outcome.RATE_LIMITED),
    ("connect, DNS or TLS failure", Signal(transport=Transport.UNSENT), Outcome.UNREACHABLE),
    # our fault or the caller's
    *[(str(status), Signal(status), Outcome.BAD_REQUEST) for status in (400, 409, 413, 422)],
    ("400 with codes", Signal(400, ("invalid_value", "image_generation_user_error")), Outcome.BAD_REQUEST),
]


@pytest.mark.parametrize(("signal", "outcome"), [case[1:] for case in SIGNALS], ids=[case[0] for case in SIGNALS])
def test_every_signal_has_its_outcome(signal: Signal, outcome: Outcome) -> None:
    """The body's code goes before the HTTP status, which goes before the transport."""
    assert classify(signal) is outcome


V, L, F, M = BreakerVerdict, LimiterEffect, FallBack, MoneyEffect
CONSEQUENCES = {
    Outcome.IMAGE: (V.OK, L.NONE, F.NO, M.SETTLE),
    Outcome.REFUSED: (V.IGNORE, L.NONE, F.NO, M.SETTLE_OR_RELEASE),
    Outcome.NO_IMAGE: (V.IGNORE, L.NONE, F.YES, M.SETTLE_OR_UNKNOWN),
    Outcome.UNUSABLE: (V.FAIL, L.NONE, F.YES, M.UNKNOWN),
    Outcome.UNFUNDED: (V.UNFUNDED, L.NONE, F.YES, M.RELEASE),
    Outcome.KEY_REFUSED: (V.PROVIDER_OFF, L.NONE, F.YES, M.RELEASE),
    Outcome.MODEL_REFUSED: (V.TRIP_MODEL, L.NONE, F.YES, M.RELEASE),
    Outcome.RATE_LIMITED: (V.IGNORE, L.FREEZE_AND_SHRINK, F.YES, M.RELEASE),
    Outcome.OVERLOADED: (V.FAIL, L.SHRINK, F.YES, M.RELEASE),
    Outcome.SERVER_ERROR: (V.FAIL, L.NONE, F.ONCE, M.UNKNOWN),
    Outcome.BAD_REQUEST: (V.IGNORE, L.NONE, F.NO, M.RELEASE),
    Outcome.UNREACHABLE: (V.FAIL, L.REFUND, F.YES, M.RELEASE),
    Outcome.CANCELLED: (V.IGNORE, L.REFUND, F.NO, M.RELEASE),
    Outcome.NOT_ADMITTED: (V.IGNORE, L.NONE, F.YES, M.RELEASE),
    Outcome.SHUTDOWN: (V.IGNORE, L.NONE, F.NO, M.UNKNOWN),
}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_consequences(outcome: Outcome) -> None:
    """Breaker, limiter, fallback and money follow the table, and nothing but a lost connection is sent again."""
    rule = RULES[outcome]

    assert CONSEQUENCES[outcome] == (rule.breaker, rule.limiter, rule.fall_back, rule.money)
    assert rule.retry_same_once is (outcome is Outcome.UNREACHABLE)
