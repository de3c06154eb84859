"""Our machine-readable reasons for every refusal and failure; `error_reason.proto` mirrors this list name for name."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a call was refused or failed. Stable: callers switch on it."""

    # the request itself; nothing was spent
    INVALID_FIELD = "invalid_field"
    PROMPT_EMPTY = "prompt_empty"
    PROMPT_TOO_LONG = "prompt_too_long"
    RATIO_INVALID = "ratio_invalid"
    COUNT_OUT_OF_RANGE = "count_out_of_range"
    MODEL_UNKNOWN = "model_unknown"
    FORMAT_UNKNOWN = "format_unknown"
    IMAGE_MISSING = "image_missing"
    IMAGE_INVALID = "image_invalid"
    IMAGE_TOO_LARGE = "image_too_large"
    MASK_WITHOUT_IMAGE = "mask_without_image"
    MASK_INVALID = "mask_invalid"
    TOO_MANY_REFERENCES = "too_many_references"
    METADATA_INVALID = "metadata_invalid"
    REQUEST_TOO_LARGE = "request_too_large"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    PAGE_TOKEN_INVALID = "page_token_invalid"  # noqa: S105 - a reason, not a password
    # who asks
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    TIER_NOT_ALLOWED = "tier_not_allowed"
    # what does not exist (any more)
    NOT_FOUND = "not_found"
    EXPIRED = "expired"
    # no engine can, or may
    NO_EXACT_CANDIDATE = "no_exact_candidate"
    NO_CAPABLE_MODEL = "no_capable_model"
    NOT_CONFIGURED = "not_configured"
    PRICE_CEILING = "price_ceiling"
    # limits
    MAX_COST = "max_cost"
    DAILY_CAP = "daily_cap"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    DEADLINE_TOO_SHORT = "deadline_too_short"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    # the engines
    CONTENT_POLICY = "content_policy"
    NO_IMAGE = "no_image"
    PROVIDERS_UNAVAILABLE = "providers_unavailable"
    PROVIDER_FAILED = "provider_failed"
    PROVIDER_REJECTED = "provider_rejected"
    # us
    CANCELLED = "cancelled"
    SHUTTING_DOWN = "shutting_down"
    STORE_FULL = "store_full"
    INTERNAL = "internal"
    STORE_UNAVAILABLE = "store_unavailable"
    BUDGET_EXHAUSTED = "budget_exhausted"
    NOT_RATABLE = "not_ratable"
