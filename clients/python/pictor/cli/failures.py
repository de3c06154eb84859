"""Failures as one clear sentence and an exit code."""

import errno
import shlex
from collections.abc import Collection

import grpc

from pictor.cli.files import is_full, remedy
from pictor.cli.options import named
from pictor.cli.text import printable, span
from pictor.errors import (
    LOST,
    UNREACHABLE,
    BudgetExhausted,
    Busy,
    Denied,
    Failed,
    InvalidRequest,
    NotFound,
    PictorError,
    Refused,
    TooLate,
    Unavailable,
    kind,
)

OK, BAD_INPUT, FAILED, UNAVAILABLE, NOT_FOUND, LIMIT, DENIED, INTERRUPTED = 0, 2, 3, 4, 5, 6, 7, 130

_EXIT_CODES = {
    InvalidRequest: BAD_INPUT,
    Refused: FAILED,
    Failed: FAILED,
    Unavailable: UNAVAILABLE,
    TooLate: UNAVAILABLE,
    NotFound: NOT_FOUND,
    BudgetExhausted: LIMIT,
    Busy: LIMIT,
    Denied: DENIED,
}

_TAKES_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

_HELP = {
    "MODEL_UNKNOWN": "`pictor models` lists them",
    "FORMAT_UNKNOWN": "`pictor formats` lists them",
    "UNAUTHENTICATED": "set PICTOR_API_KEY to a key of this gateway; its operator gives them out",
    "PERMISSION_DENIED": "ask an operator",
    "TIER_NOT_ALLOWED": "take another --tier, or ask an operator",
    "CONTENT_POLICY": "change the prompt or the pictures",
    "NO_IMAGE": "change the prompt",
    "BUDGET_EXHAUSTED": "wait for its next window, or ask an operator to raise it (`pictor budget set`)",
    "DAILY_CAP": "wait for the next UTC day, or ask an operator to raise it (PICTOR_DAILY_CAP_USD)",
    "STORE_FULL": "ask an operator to make room",
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
    return _EXIT_CODES[kind(error.reason, error.code)]


def shared_code(reasons: Collection[str]) -> int:
    """The class that several failures have in common; FAILED if there is none."""
    codes = {_EXIT_CODES[kind(reason)] for reason in reasons}
    return codes.pop() if len(codes) == 1 else FAILED


def interrupted(generation_id: str, set_id: str) -> PictorError:
    """What Ctrl-C leaves behind, and where to look for it."""
    where = f"pictor watch {generation_id}" if generation_id else _listed(set_id)
    text = f"interrupted; what was sent to an engine finishes and is stored, see `{where}`"
    return PictorError(grpc.StatusCode.CANCELLED, text, reason="INTERRUPTED", generation_id=generation_id or None)


def is_of_output(error: OSError) -> bool:
    """Whether it is stdout that takes no more, and not the command line that is wrong."""
    return error.filename is None and error.errno in _TAKES_NO_MORE


def not_saved(error: OSError, generation_id: str, set_id: str, image_id: str) -> PictorError:
    """What the gateway has and could not be written here, and how to get it all the same."""
    helps = remedy(error) if error.filename or is_full(error) else "send it elsewhere"
    out = " --out FOLDER" if error.filename and not is_full(error) else ""
    if generation_id:
        then = f"it is paid and kept by the gateway: {helps}, then `pictor watch {generation_id}{out}` saves it"
    elif set_id:
        then = f"what was drawn is paid and kept by the gateway: {helps}, then see `{_listed(set_id)}`"
    elif image_id:
        then = f"it is kept by the gateway: {helps}, then `pictor download {image_id}{out}` saves it"
    else:
        then = "make room, or send it elsewhere" if is_full(error) else helps
    text, is_paid = (
        f"{error.filename or 'what is printed here'}: {error.strerror}; {then}",
        bool(generation_id or set_id),
    )
    return PictorError(
        grpc.StatusCode.ABORTED, text, reason="NOT_SAVED", generation_id=generation_id or None, paid=is_paid
    )


def _listed(set_id: str) -> str:
    return f"pictor history --set {set_id}" if set_id else "pictor history"


def bad_input(text: str) -> PictorError:
    """What is wrong with the command line, found before anything was sent."""
    return PictorError.of(grpc.StatusCode.INVALID_ARGUMENT, text, "INVALID_FIELD")


def sentence(error: PictorError, address: str) -> str:
    """What went wrong, with reason and field, and what helps."""
    return printable("; ".join([_what(error, address), *_help(error)]))


def _what(error: PictorError, address: str) -> str:
    message = _without_id(error)
    if error.is_absent or error.is_forgotten:
        return message
    if error.is_lost and (error.generation_id or error.reason == UNREACHABLE):
        why = message.removeprefix(LOST).removeprefix("; ")
        return f"the connection to {address} was lost" + (f" ({why})" if why else "")
    fields = ", ".join(each.field for each in error.violations if each.field not in message)
    return f"{named(message)} ({error.reason}{': ' + fields if fields else ''})"


def _without_id(error: PictorError) -> str:
    """The message without the `request_id` that a library must name; here the help does, as the option to repeat."""
    if not error.paid:
        return error.message
    name = f"request_id {error.request_id}"
    return error.message.removesuffix(f" ({name})").removesuffix(f": look for its {name}")


def _help(error: PictorError) -> list[str]:
    helps = [_HELP[error.reason]] if error.reason in _HELP else []
    if (
        error.reason == "PRICE_CEILING" and "max_cost" in error.message
    ):  # the caller's own ceiling is not theirs to raise
        helps.append("raise --max-cost")
    if error.retry_after_s is not None:
        helps.append(f"try again in {span(error.retry_after_s)}")
    if error.paid and error.reason == "CONTENT_POLICY":  # the same again is refused again
        helps.append("money may be spent")
    elif error.paid:
        which = f" {shlex.quote(error.request_id)}" if error.request_id else ""
        helps.append(f"money may be spent, repeat it only with its --request-id{which}")
    if error.is_forgotten:  # nobody who is asked could tell
        return helps
    if error.paid and (set_id := error.metadata.get("set_id")):
        helps.append(f"see `{_listed(set_id)}`")
    if error.generation_id and error.reason == "DEADLINE_EXCEEDED" and not error.is_end:
        helps.append(f"the generation goes on: pictor watch {error.generation_id}")
    elif error.generation_id and error.code is not grpc.StatusCode.NOT_FOUND:
        helps.append(f"see `pictor {'watch' if error.is_lost else 'show'} {error.generation_id}`")
    return helps
