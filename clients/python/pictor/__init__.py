"""Pictor's client: `async with pictor.Client() as client: await client.generate("a red fox")`.

Names are imported when they are first used, so that `pictor --help` need not wait for gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pictor.amounts import money, usd
    from pictor.client import Client
    from pictor.errors import PictorError, Violation
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

_HOMES = {
    "amounts": ("money", "usd"),
    "client": ("Client",),
    "errors": ("PictorError", "Violation"),
    "events": ("Accepted", "AttemptFailed", "AttemptStarted", "Completed", "Event", "Image", "Preview", "Queued"),
    "generation": ("Generation", "Picture"),
    "messages": ("HistoryFilter", "RequestOptions", "edit_request", "request", "set_item"),
    "sets": ("SetAccepted", "SetEvent", "SetItemFailed", "SetStep", "SetSummary"),
}

__all__ = [
    "Accepted",
    "AttemptFailed",
    "AttemptStarted",
    "Client",
    "Completed",
    "Event",
    "Generation",
    "HistoryFilter",
    "Image",
    "PictorError",
    "Picture",
    "Preview",
    "Queued",
    "RequestOptions",
    "SetAccepted",
    "SetEvent",
    "SetItemFailed",
    "SetStep",
    "SetSummary",
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
