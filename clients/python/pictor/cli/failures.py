"""Failures as one clear sentence and an exit code."""

import shlex
from collections.abc import Collection

import grpc

from pictor.cli.text import printable, span
from pictor.errors import LOST, NO_NAME, NO_TLS, NO_TRUST, NOBODY, UNREACHABLE, PictorError

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

_ABSENT = (NOBODY, NO_NAME, NO_TLS, NO_TRUST)
"""How a message begins if nobody was reached; a connection that broke has the same code."""

_NO_GATEWAY = "start it with `make serve`, or set PICTOR_ADDRESS"

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


def interrupted(generation_id: str, set_id: str) -> PictorError:
    """What Ctrl-C leaves behind, and where to look for it."""
    where = f"pictor watch {generation_id}" if generation_id else _listed(set_id)
    text = f"interrupted; what was sent to an engine finishes and is stored, see `{where}`"
    return PictorError(grpc.StatusCode.CANCELLED, text, reason="INTERRUPTED", generation_id=generation_id or None)


def not_saved(error: OSError, generation_id: str, set_id: str) -> PictorError:
    """A picture that the gateway has and that could not be written here."""
    where = f"pictor watch {generation_id}" if generation_id else _listed(set_id)
    text = f"{error}; what was drawn is paid and kept by the gateway, see `{where}`"
    return PictorError(
        grpc.StatusCode.ABORTED, text, reason="NOT_SAVED", generation_id=generation_id or None, paid=True
    )


def _listed(set_id: str) -> str:
    return f"pictor history --set {set_id}" if set_id else "pictor history"


def bad_input(error: ValueError | OSError) -> PictorError:
    """What is wrong with the command line, found before anything was sent."""
    return PictorError(grpc.StatusCode.INVALID_ARGUMENT, str(error), reason="INVALID_FIELD")


def sentence(error: PictorError, address: str) -> str:
    """What went wrong, with reason and field, and what helps."""
    return printable("; ".join([_what(error, address), *_help(error)]))


def _what(error: PictorError, address: str) -> str:
    if _is_absent(error):
        return _absent(error.message, address)
    if error.is_lost and (error.generation_id or error.reason == UNREACHABLE):
        why = error.message.removeprefix(LOST).removeprefix("; ")
        return f"the connection to {address} was lost" + (f" ({why})" if why else "")
    fields = ", ".join(each.field for each in error.violations if each.field not in error.message)
    return f"{error.message} ({error.reason}{': ' + fields if fields else ''})"


def _absent(message: str, address: str) -> str:
    if message.startswith(NOBODY):
        return f"nothing answers at {address}; {_NO_GATEWAY}"
    if message.startswith(NO_NAME):
        return f"nothing answers at {address} ({NO_NAME}); {_NO_GATEWAY}"
    if message.startswith(NO_TLS):
        return f"something answers at {address}, but without TLS; leave out https://"
    return f"something answers at {address}, but TLS with it fails; its certificate must be one that is trusted here"


def text(error: PictorError, address: str) -> str:
    """What went wrong, for programs that have the reason already."""
    return _absent(error.message, address) if _is_absent(error) else error.message


def is_unsure(error: PictorError) -> bool:
    """Whether money may be spent, as far as one can tell; not if nobody could be reached at all."""
    return error.paid and not _is_absent(error)


def _is_absent(error: PictorError) -> bool:
    return error.reason == UNREACHABLE and not error.generation_id and error.message.startswith(_ABSENT)


def _help(error: PictorError) -> list[str]:
    helps = [_HELP[error.reason]] if error.reason in _HELP else []
    if (
        error.reason == "PRICE_CEILING" and "max_cost" in error.message
    ):  # the caller's own ceiling is not theirs to raise
        helps.append("raise --max-cost")
    if error.retry_after_s is not None:
        helps.append(f"try again in {span(error.retry_after_s)}")
    if is_unsure(error):
        which = f" {shlex.quote(error.request_id)}" if error.request_id else ""
        helps.append(f"money may be spent, repeat it only with its --request-id{which}")
    if error.generation_id and error.reason == "DEADLINE_EXCEEDED" and not error.is_end:
        helps.append(f"the generation goes on: pictor watch {error.generation_id}")
    elif error.generation_id and error.code is not grpc.StatusCode.NOT_FOUND:
        helps.append(f"see `pictor {'watch' if error.is_lost else 'show'} {error.generation_id}`")
    return helps
