"""Failures as one clear sentence and an exit code."""

from collections.abc import Collection

import grpc

from pictor.cli.text import printable, span
from pictor.errors import PictorError

OK, BAD_INPUT, FAILED, UNAVAILABLE, NOT_FOUND, LIMIT, DENIED, INTERRUPTED = 0, 2, 3, 4, 5, 6, 7, 130

_EXIT_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: BAD_INPUT,
    grpc.StatusCode.OUT_OF_RANGE: BAD_INPUT,
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LIMIT,
    grpc.StatusCode.UNAUTHENTICATED: DENIED,
    grpc.StatusCode.PERMISSION_DENIED: DENIED,
}
"""All other codes mean that the call was refused or failed."""

_REASONS = {
    BAD_INPUT: (
        "INVALID_FIELD PROMPT_EMPTY PROMPT_TOO_LONG RATIO_INVALID COUNT_OUT_OF_RANGE MODEL_UNKNOWN FORMAT_UNKNOWN "
        "IMAGE_MISSING IMAGE_INVALID IMAGE_TOO_LARGE MASK_WITHOUT_IMAGE MASK_INVALID TOO_MANY_REFERENCES "
        "METADATA_INVALID REQUEST_TOO_LARGE IDEMPOTENCY_MISMATCH PAGE_TOKEN_INVALID"
    ),
    UNAVAILABLE: "PROVIDERS_UNAVAILABLE SHUTTING_DOWN STORE_UNAVAILABLE DEADLINE_TOO_SHORT DEADLINE_EXCEEDED",
    NOT_FOUND: "NOT_FOUND EXPIRED",
    LIMIT: "PRICE_CEILING MAX_COST DAILY_CAP BUDGET_EXHAUSTED QUEUE_FULL RATE_LIMITED STORE_FULL",
    DENIED: "UNAUTHENTICATED PERMISSION_DENIED TIER_NOT_ALLOWED",
}
_CLASSES = {reason: code for code, reasons in _REASONS.items() for reason in reasons.split()}
"""Classes by reason, since a set's items have no gRPC code; all other reasons mean refused or failed."""

_ABSENT = ("refused", "failed to connect", "errors resolving", "DNS resolution failed")
"""Words of gRPC's by which nobody was reached; a connection that broke has the same code (grpcio 1.85.1)."""

_HELP = {
    "MODEL_UNKNOWN": "`pictor models` lists them",
    "FORMAT_UNKNOWN": "`pictor formats` lists them",
    "UNAUTHENTICATED": "set PICTOR_API_KEY",
    "NO_EXACT_CANDIDATE": "`pictor plan` says why; --fidelity adapt allows adaptations",
    "NO_CAPABLE_MODEL": "`pictor plan` says why",
    "NOT_CONFIGURED": "`pictor providers` shows which have credentials",
    "PRICE_CEILING": "`pictor plan` shows the prices",
    "MAX_COST": "`pictor plan` shows the prices; raise --max-cost",
    "PROVIDERS_UNAVAILABLE": "`pictor providers` shows how they are doing",
    "DEADLINE_TOO_SHORT": "raise --timeout",
    "IDEMPOTENCY_MISMATCH": "take another --request-id",
    "REQUEST_TOO_LARGE": "bring pictures with `pictor upload` and name them by id",
}


def exit_code(error: PictorError) -> int:
    """The class of a failure as the code that the process ends with."""
    return _CLASSES.get(error.reason, _EXIT_CODES.get(error.code, FAILED))


def shared_code(reasons: Collection[str]) -> int:
    """The class that several failures have in common; FAILED if there is none."""
    classes = {_CLASSES.get(reason, FAILED) for reason in reasons}
    return classes.pop() if len(classes) == 1 else FAILED


def sentence(error: PictorError, address: str) -> str:
    """What went wrong, with reason and field, and what helps."""
    return printable("; ".join([_what(error, address), *_help(error)]))


def _what(error: PictorError, address: str) -> str:
    if _is_absent(error):
        why = "" if "refused" in error.message else f" ({error.message})"
        return f"nothing answers at {address}{why}; start it with `make serve`, or set PICTOR_ADDRESS"
    if error.is_lost and (error.generation_id or not error.reason):
        return f"the connection to {address} was lost ({error.message})"
    fields = ", ".join(each.field for each in error.violations if each.field not in error.message)
    return f"{error.message} ({error.reason or error.code.name}{': ' + fields if fields else ''})"


def _is_absent(error: PictorError) -> bool:
    """Whether nobody could be reached at all, as far as one can tell."""
    is_bare = error.is_lost and not error.reason and not error.generation_id
    return is_bare and any(words in error.message for words in _ABSENT)


def _help(error: PictorError) -> list[str]:
    helps = [_HELP[error.reason]] if error.reason in _HELP else []
    if (
        error.reason == "PRICE_CEILING" and "max_cost" in error.message
    ):  # the caller's own ceiling is not theirs to raise
        helps.append("raise --max-cost")
    if error.retry_after_s is not None:
        helps.append(f"try again in {span(error.retry_after_s)}")
    if error.paid and not _is_absent(error):
        helps.append("money may be spent, repeat it only with its --request-id")
    if error.generation_id and error.code is not grpc.StatusCode.NOT_FOUND:
        follows = error.is_lost or error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        verb = "watch" if follows else "show"
        helps.append(f"see `pictor {verb} {error.generation_id}`")
    return helps
