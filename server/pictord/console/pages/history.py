"""History: a wall of pictures, the newest first, each with its label; filters, and more as one scrolls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from pictord.catalog.model import Model
from pictord.console.line_up import FEWEST
from pictord.console.page import Page, PageRoute, Visit
from pictord.console.templates import ago, shortened, words
from pictord.domain.caller import Caller
from pictord.domain.generation import Generation, Image, Output, State
from pictord.domain.money import Cost, total
from pictord.domain.request import Tier, Workflow
from pictord.jobs.history import EVERYBODY, MAX_NAMED, whose
from pictord.store.base import ListFilter

PAGE_SIZE = 24
_ALT_CHARS = 160
_PERIODS = {"day": ("Last 24 hours", timedelta(days=1)), "week": ("Last 7 days", timedelta(days=7))} | {
    "month": ("Last 30 days", timedelta(days=30))
}
_STATES = {
    State.SUCCEEDED: "Finished",
    State.RUNNING: "Running",
    State.FAILED: "Failed",
    State.CANCELLED: "Cancelled",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One output of a generation as it hangs on the wall; `image` is None where there is none, `note` says why."""

    generation_id: str
    prompt: str
    alt: str
    image: Image | None
    url: str
    note: str
    is_running: bool
    engine: str
    provider: str
    model: str
    version: str
    cost: Cost
    age: str
    time: datetime
    caller: str


@dataclass(frozen=True, slots=True)
class Filter:
    """One choice above the wall: its options by value, of which the first, empty, is all of them."""

    name: str
    title: str
    options: Mapping[str, str]
    chosen: str


async def show(visit: Visit) -> Response:
    """The wall, or its next rows."""
    ground, params = visit.ground, visit.request.query_params
    now, models = ground.served.now(), ground.models
    filters = wanted(dict(params), visit.caller, models)
    page = await ground.history.page(query(filters, params.get("before"), visit.caller, now))
    tiles = [each for generation in page.generations for each in hung(generation, models, ground.small_url, now)]
    chosen = {each.name: each.chosen for each in filters if each.chosen}
    view: dict[str, Any] = {
        "filters": filters,
        "tiles": tiles,
        "more": "/history?" + urlencode({**chosen, "before": page.next_before}) if page.next_before else "",
        "is_filtered": bool(chosen.keys() - {"caller"}),
        "shows_caller": visit.caller.may_read_others,
        "is_first": not params.get("before"),
        "can_pick": True,
        "fewest": FEWEST,
        "most": MAX_NAMED,
    }
    return visit.part("wall.html", **view) if visit.is_partial else visit.page("history.html", **view)


def wanted(asked: Mapping[str, str], caller: Caller, models: Mapping[str, Model]) -> list[Filter]:
    """The filters as they are set; a value that is no option (but a caller's name) counts as not set."""
    offered = {
        "model": ("Engine", {"": "Every engine", **{each.id: each.title for each in models.values()}}),
        "state": ("State", {"": "Every state", **{each.value: title for each, title in _STATES.items()}}),
        "tier": ("Tier", {"": "Every tier", **{each.value: each.value.capitalize() for each in Tier}}),
        "workflow": ("Workflow", {"": "Every workflow", **{each.value: _title(each) for each in Workflow}}),
        "since": ("Time", {"": "Any time", **{name: title for name, (title, _) in _PERIODS.items()}}),
    }
    filters = [
        Filter(name, title, options, asked.get(name, "") if asked.get(name, "") in options else "")
        for name, (title, options) in offered.items()
    ]
    if caller.may_read_others:
        options = {"": "Every caller", caller.name: f"Only {caller.name}"}
        named = asked.get("caller", "")
        filters.append(Filter("caller", "Caller", options | ({named: f"Only {named}"} if named else {}), named))
    return filters


def query(filters: Sequence[Filter], before: str | None, caller: Caller, now: datetime) -> ListFilter:
    """What the store is asked for."""
    chosen = {each.name: each.chosen for each in filters if each.chosen}
    everybody = EVERYBODY if caller.may_read_others else ""
    return ListFilter(
        caller=whose(chosen.get("caller", everybody), caller),
        model=chosen.get("model"),
        state=State(chosen["state"]) if "state" in chosen else None,
        tier=Tier(chosen["tier"]) if "tier" in chosen else None,
        workflow=Workflow(chosen["workflow"]) if "workflow" in chosen else None,
        since=now - _PERIODS[chosen["since"]][1] if "since" in chosen else None,
        before=before,
        limit=PAGE_SIZE,
    )


def hung(
    generation: Generation, models: Mapping[str, Model], url: Callable[[Image], str], now: datetime
) -> Iterator[Tile]:
    """The tiles of a generation: one for each output."""
    for output in generation.outputs:
        image, model = output.image, _model(generation, output)
        known = models.get(model)
        yield Tile(
            generation_id=generation.id,
            prompt=generation.request.prompt,
            alt=shortened(generation.request.prompt, _ALT_CHARS),
            image=image,
            url=url(image) if image else "",
            note="" if image else _note(generation, output),
            is_running=not generation.state.is_final,
            engine=known.title if known else model,
            provider=known.provider if known else "",
            model=image.model if image else model,
            version=image.served_version if image else "",
            cost=total(each.cost for each in generation.attempts if each.output_index == output.index),
            age=ago(generation.create_time, now),
            time=generation.create_time,
            caller=generation.caller,
        )


def _model(generation: Generation, output: Output) -> str:
    """Who drew, who tried last, or who is asked first."""
    if output.image is not None:
        return output.image.model
    tried = [each.model for each in generation.attempts if each.output_index == output.index]
    return tried[-1] if tried else generation.plan.candidates[0].model


def _note(generation: Generation, output: Output) -> str:
    if not generation.state.is_final:
        return "Is being drawn"
    reason = output.reason or generation.reason
    return words(reason or generation.state).capitalize()


def _title(workflow: Workflow) -> str:
    return words(workflow).capitalize()


PAGE = Page("History", "/history", (PageRoute("/history", show),), icon="history")
