"""Pictor's clients: `await pictor.Client().generate("a red fox")`, or the same without `await` by `pictor.SyncClient`.

Names are imported when they are first used, so that `pictor --help` need not wait for gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pictor.amounts import money, usd
    from pictor.client import Client
    from pictor.errors import (
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
        Violation,
    )
    from pictor.events import (
        Accepted,
        AttemptFailed,
        AttemptStarted,
        Completed,
        Event,
        Image,
        Preview,
        Queued,
    )
    from pictor.generation import Generation, Picture
    from pictor.messages import HistoryFilter, RequestOptions, edit_request, request, set_item
    from pictor.sets import SetAccepted, SetEvent, SetItemFailed, SetStep, SetSummary
    from pictor.sync_client import SyncClient

_HOMES = {
    "amounts": ("money", "usd"),
    "client": ("Client",),
    "errors": (
        "BudgetExhausted",
        "Busy",
        "Denied",
        "Failed",
        "InvalidRequest",
        "NotFound",
        "PictorError",
        "Refused",
        "TooLate",
        "Unavailable",
        "Violation",
    ),
    "events": ("Accepted", "AttemptFailed", "AttemptStarted", "Completed", "Event", "Image", "Preview", "Queued"),
    "generation": ("Generation", "Picture"),
    "messages": ("HistoryFilter", "RequestOptions", "edit_request", "request", "set_item"),
    "sets": ("SetAccepted", "SetEvent", "SetItemFailed", "SetStep", "SetSummary"),
    "sync_client": ("SyncClient",),
}

__all__ = [
    "Accepted",
    "AttemptFailed",
    "AttemptStarted",
    "BudgetExhausted",
    "Busy",
    "Client",
    "Completed",
    "Denied",
    "Event",
    "Failed",
    "Generation",
    "HistoryFilter",
    "Image",
    "InvalidRequest",
    "NotFound",
    "PictorError",
    "Picture",
    "Preview",
    "Queued",
    "Refused",
    "RequestOptions",
    "SetAccepted",
    "SetEvent",
    "SetItemFailed",
    "SetStep",
    "SetSummary",
    "SyncClient",
    "TooLate",
    "Unavailable",
    "Violation",
    "edit_request",
    "money",
    "request",
    "set_item",
    "usd",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"pictor.{home}"), name)
    raise AttributeError(f"module 'pictor' has no attribute {name!r}")
