"""Decision: one generation with everything that is known of it: why this engine, who else, what each attempt cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from pictord.catalog.model import Model
from pictord.console.page import Page, PageRoute, Visit
from pictord.console.pages import history, live
from pictord.console.templates import ago
from pictord.console.words import SPANS, why_row
from pictord.domain.comparison import compare
from pictord.domain.generation import Attempt, Generation
from pictord.errors import GatewayError, generation_error
from pictord.jobs.history import Family


@dataclass(frozen=True, slots=True)
class Engine:
    """A model as it is shown: `title` for people."""

    model: str
    title: str
    provider: str


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt, and how long it took from the first byte sent, if it got that far."""

    attempt: Attempt
    engine: Engine
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the time that a generation took: in seconds, and where it lies in the whole, in hundredths."""

    name: str
    seconds: float
    start: float
    width: float


async def show(visit: Visit) -> Response:
    """The page of one generation."""
    ground = visit.ground
    generation = await ground.served.jobs.get(visit.caller, visit.request.path_params["generation_id"])
    models, now = ground.models, ground.served.now()
    family = await _family(visit, generation)
    return visit.page(
        "decision.html",
        generation=generation,
        run=None if generation.state.is_final else live.Run.of(generation),
        error=generation_error(generation),
        sentence=sentence(generation, models),
        engines={each: engine(each, models) for each in _models(generation)},
        attempts=tried(generation, models),
        spans=spans(generation),
        asked=asked(generation),
        relatives=[
            tile
            for member in family.members
            if member.id != generation.id
            for tile in history.hung(member, models, ground.small_url, now)
        ],
        age=ago(generation.create_time, now),
        picture_url=ground.picture_url,
        models=models,
    )


def sentence(generation: Generation, models: Mapping[str, Model]) -> str:
    """Why this engine, in one sentence."""
    plan, name = generation.plan, generation.plan.row.replace("_", " ")
    first = plan.candidates[0].model
    begin = f"Row {name} matched ({why_row(plan.row)}), so {engine(first, models).title} comes first"
    drew = dict.fromkeys(image.model for image in generation.images)
    others = " and ".join(engine(each, models).title for each in drew if each != first)
    if others and first in drew:
        return f"{begin}; where it brought nothing, {others} drew."
    if others:
        return f"{begin}; it brought nothing, so {others} drew."
    return f"{begin}, and drew." if drew else f"{begin}."


def engine(model: str, models: Mapping[str, Model]) -> Engine:
    """A model by id; one that the catalog has lost since is called by its id."""
    known = models.get(model)
    return Engine(model, known.title if known else model, known.provider if known else "")


def tried(generation: Generation, models: Mapping[str, Model]) -> list[Tried]:
    """The attempts, by output and in order."""
    attempts = sorted(generation.attempts, key=lambda each: (each.output_index, each.index))
    return [Tried(each, engine(each.model, models), _seconds(each)) for each in attempts]


def spans(generation: Generation) -> list[Span]:
    """Where the time went; nothing before the end."""
    timings = generation.timings
    seconds_of = [timings.queue_s, timings.provider_s, timings.store_s, timings.overhead_s]
    whole, found, start = sum(seconds_of), [], 0.0
    if generation.finish_time is None or not whole:
        return []
    for name, seconds in zip(SPANS, seconds_of, strict=True):
        width = 100 * seconds / whole
        found.append(Span(name, seconds, start, width))
        start += width
    return found


def asked(generation: Generation) -> list[tuple[str, str]]:
    """What was asked for, besides the prompt: names as in the contract, and values."""
    facts = {field.path: field.values[0] for field in compare([generation])}
    return [
        (path.removeprefix("request."), value)
        for path, value in facts.items()
        if path.startswith("request.") and (path, value) not in _USUAL and path != "request.prompt"
    ]


_USUAL = {("request.high_quality", "false"), ("request.count", "1"), ("request.operation", "generate")}
"""What is so unless it was asked for otherwise: no news."""


async def _family(visit: Visit, generation: Generation) -> Family:
    """Those of the same set, else of the same lineage; what is no longer kept is left out."""
    lineage = generation.request.lineage
    try:
        if lineage.set_id and not lineage.reroll_of:
            return await visit.ground.history.of_set(visit.caller, lineage.set_id)
        return await visit.ground.history.lineage(visit.caller, generation.id)
    except GatewayError:
        return Family(())


def _models(generation: Generation) -> Sequence[str]:
    plan = generation.plan
    considered = [*(each.model for each in plan.candidates), *(each.model for each in plan.exclusions)]
    used = [*(each.model for each in generation.attempts), *(each.model for each in generation.images)]
    return list(dict.fromkeys([*considered, *used]))


def _seconds(attempt: Attempt) -> float | None:
    if attempt.sent_time is None or attempt.finish_time is None:
        return None
    return (attempt.finish_time - attempt.sent_time).total_seconds()


PAGE = Page("Decision", "/generations", (PageRoute("/generations/{generation_id}", show),))
