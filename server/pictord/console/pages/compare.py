"""Compare: generations side by side with what differs marked, a re-roll beside them, and which one is the winner."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from starlette.responses import RedirectResponse, Response

from pictord.catalog.model import Model
from pictord.console.compared import rows
from pictord.console.line_up import FEWEST, PATH, Line, Numbered, read_line, side_by_side
from pictord.console.page import Page, PageRoute, Visit
from pictord.console.pages import history, live
from pictord.console.status import UNPROCESSABLE, status_of
from pictord.domain.caller import Caller
from pictord.domain.comparison import compare
from pictord.domain.generation import Generation, Image
from pictord.domain.plan import Adaptation
from pictord.domain.rating import Rating, Score, is_ratable
from pictord.domain.reason import Reason
from pictord.domain.request import GenerationRequest, OnDisconnect
from pictord.errors import GatewayError
from pictord.jobs.history import MAX_NAMED, Family
from pictord.jobs.planning import with_previews
from pictord.jobs.usage import SCORECARD_SPAN, scores, whose

_RECENT = 100
_MOST_RECENT_LINES = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a lineage or set that is too large to stand side by side; `url` puts it there, or takes it away."""

    number: int
    tile: history.Tile
    is_shown: bool
    url: str


@dataclass(frozen=True, slots=True)
class Member:
    """One of those that stand side by side, by its number in the whole, from 1.

    `tile` is its first picture, or what there is instead.
    """

    number: int
    tile: history.Tile
    more_pictures: int
    run: live.Run | None
    seconds: float | None
    is_ratable: bool
    is_winner: bool
    others_picked: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What a re-roll would be; costs are nano-USD for all its pictures, None if it is refused."""

    generation_id: str
    prompt: str
    engines: Mapping[str, str]
    model: str
    request_id: str
    expected_nanos: int | None
    worst_nanos: int | None
    expected_s: float
    adaptations: tuple[Adaptation, ...]
    refusal: str


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One workflow drawn by one model, as it is read."""

    workflow: str
    engine: str
    provider: str
    score: Score
    share: str


async def show(visit: Visit) -> Response:
    """The page; with `reroll` also what a re-roll of that one would be."""
    params = visit.request.query_params
    line = read_line(params.multi_items())
    if not line.fields:
        view = {**_nothing(line), "recent": await _recent(visit)}
        return visit.page("compare.html", **view, **await _beside(visit))
    offer = None
    if reroll := params.get("reroll"):
        offer = await _offer(visit, reroll, params.get("model") or None)
    return await _page(visit, line, offer)


async def offer(visit: Visit) -> Response:
    """What a re-roll would be, as a part of the page; each has a request id of its own."""
    params = visit.request.query_params
    line = read_line(params.multi_items())
    found = await _offer(visit, params.get("generation_id", ""), params.get("model") or None)
    return visit.part("offer.html", offer=found, line=line)


async def reroll(visit: Visit) -> Response:
    """Draw one again; whoever presses twice gets the same one."""
    form = await visit.texts()
    line = read_line((name, each) for name, values in form.items() for each in values)
    generation_id, model = form.get("generation_id", [""])[0], form.get("model", [""])[0]
    jobs = visit.ground.served.jobs
    request = await _request(visit, generation_id, model or None)
    most = form.get("most_nanos", [""])[0]
    request = replace(
        request,
        request_id=form.get("request_id", [""])[0] or visit.ground.served.new_id("press"),
        max_cost_nanos=int(most) if most.isascii() and most.isdigit() and len(most) < 19 else None,
    )
    try:
        submission = await jobs.submit(visit.caller, request, remaining_s=None, streaming=True)
    except GatewayError as error:
        text = error.text
        if error.reason is Reason.IDEMPOTENCY_MISMATCH:
            text = "An earlier press was taken with another engine. Press again to draw with this one too."
        found = replace(await _offer(visit, generation_id, request.model), refusal=text)
        return await _page(visit, line, found, status=status_of(error))
    submission.leave()  # it is asked to finish: nobody has to wait for it
    return RedirectResponse(line.with_reroll(generation_id, submission.generation_id).url, 303)


async def pick(visit: Visit) -> Response:
    """Say that one won over the others that have a picture; what was said of it before stays."""
    form = await visit.texts()
    line = read_line((name, each) for name, values in form.items() for each in values)
    winner_id = form.get("winner", [""])[0]
    family = await _family(visit, line)
    beside = side_by_side(family.members, line)
    losers = [each.id for _, each in beside if each.id != winner_id and is_ratable(each)]
    ratings = await visit.ground.history.ratings(visit.caller, family)
    said = next((each for each in ratings if _is_mine(each, visit.caller) and _is_of(each, winner_id)), None)
    thumb, text = (said.thumb, said.text) if said else (None, "")
    await visit.ground.history.rate(visit.caller, winner_id, thumb, losers, text)
    return RedirectResponse(line.url, 303)


async def _page(visit: Visit, line: Line, found: Offer | None, status: int = 200) -> Response:
    try:
        family = await _family(visit, line)
    except GatewayError as error:
        if error.reason is not Reason.INVALID_FIELD:
            raise
        problem = f"Pick 2 to {MAX_NAMED} pictures in History; these are {len(line.ids)}."
        view = {**_nothing(line), "problem": problem, "recent": await _recent(visit)}
        return visit.page("compare.html", status=UNPROCESSABLE, **view, **await _beside(visit))
    ratings = await visit.ground.history.ratings(visit.caller, family)
    now, models, url = visit.ground.served.now(), visit.ground.models, visit.ground.picture_url
    beside = side_by_side(family.members, line)
    differing, alike = rows(compare([each for _, each in beside]))
    view = {
        "members": members(beside, ratings, visit.caller, _hang(models, url, now)),
        "strip": strip(family.members, beside, line, _hang(models, visit.ground.small_url, now)),
        "differing": differing,
        "alike": alike,
        "is_truncated": family.truncated,
        "offer": found,
    }
    return visit.page("compare.html", status=status, **{**_nothing(line), **view}, **await _beside(visit))


def _nothing(line: Line) -> dict[str, Any]:
    empty: dict[str, Any] = {"members": (), "strip": (), "differing": (), "alike": (), "is_truncated": False}
    return {**empty, "line": line, "offer": None, "problem": "", "recent": ()}


async def _beside(visit: Visit) -> dict[str, Any]:
    """What stands on the page whatever is compared: the scorecard."""
    served = visit.ground.served
    now, caller = served.now(), whose("", visit.caller)
    found = await scores(
        served.budgets.books,
        served.pictures.store.ratings,
        now - SCORECARD_SPAN,
        now + timedelta(microseconds=1),
        caller,
    )
    return {"scores": score_rows(found, visit.ground.models), "is_everybodys": caller is None}


async def _recent(visit: Visit) -> Sequence[history.Tile]:
    """The newest re-rolls, one of each lineage."""
    filters = history.wanted({}, visit.caller, visit.ground.models)
    now, models = visit.ground.served.now(), visit.ground.models
    query = replace(history.query(filters, None, visit.caller, now), limit=_RECENT)
    lines: dict[str, Generation] = {}
    for generation in (await visit.ground.history.page(query)).generations:
        if generation.request.lineage.reroll_of:
            lines.setdefault(generation.request.lineage.reroll_of, generation)
    hang = _hang(models, visit.ground.small_url, now)
    return [hang(each) for each in list(lines.values())[:_MOST_RECENT_LINES]]


async def _family(visit: Visit, line: Line) -> Family:
    found, caller = visit.ground.history, visit.caller
    if line.lineage_of:
        return await found.lineage(caller, line.lineage_of)
    if line.set_id:
        return await found.of_set(caller, line.set_id)
    return await found.named(caller, line.ids)


async def _request(visit: Visit, generation_id: str, model: str | None) -> GenerationRequest:
    """A re-roll that is drawn to its end whoever goes away, with previews."""
    request = await visit.ground.served.jobs.reroll_request(visit.caller, generation_id, model=model)
    return with_previews(replace(request, on_disconnect=OnDisconnect.FINISH), streaming=True)


async def _offer(visit: Visit, generation_id: str, model: str | None) -> Offer:
    served, catalog = visit.ground.served, visit.ground.served.routing().catalog
    request = await _request(visit, generation_id, model)
    refusal, candidate = "", None
    try:
        planned = await served.jobs.dry_run(visit.caller, request, remaining_s=None)
        refusal = planned.refusal.text if planned.refusal else ""
        candidate = planned.plan.candidates[0] if planned.plan.candidates else None
    except GatewayError as error:
        refusal = error.text
    priced = candidate if not refusal else None
    return Offer(
        generation_id=generation_id,
        prompt=request.prompt,
        engines=engines(visit.ground.models, visit.caller, set(served.facts())),
        model=catalog.model_id(request.model or ""),
        request_id=served.new_id("press"),
        expected_nanos=priced.expected_nanos * request.count if priced else None,
        worst_nanos=priced.worst_case_nanos * request.count if priced else None,
        expected_s=priced.expected_p50_s if priced else 0.0,
        adaptations=priced.adaptations if priced else (),
        refusal=refusal,
    )


# From the domain to what is shown


def strip(
    family: Sequence[Generation], beside: Sequence[Numbered], line: Line, hang: Callable[[Generation], history.Tile]
) -> Sequence[Choice]:
    """The whole of a family that is too large, to choose from; nothing if all of it stands side by side."""
    if len(family) <= MAX_NAMED:
        return ()
    shown = [each.id for _, each in beside]

    def chosen(each: Generation) -> Choice:
        is_shown = each.id in shown
        others = [shown_id for shown_id in shown if shown_id != each.id]
        if not is_shown:
            others = [*others[-(MAX_NAMED - 1) :], each.id]  # for one more than fit, the first one steps back
        url = replace(line, shown=tuple(others)).url if len(others) >= FEWEST else ""
        return Choice(family.index(each) + 1, hang(each), is_shown, url)

    return [chosen(each) for each in family]


def engines(models: Mapping[str, Model], caller: Caller, configured: set[str]) -> Mapping[str, str]:
    """What can be drawn with: models of configured providers that the caller may use, by id."""
    allowed = caller.policy.models
    return {
        each.id: each.title
        for each in models.values()
        if each.provider in configured and (allowed is None or each.id in allowed)
    }


def _hang(
    models: Mapping[str, Model], url: Callable[[Image], str], now: datetime
) -> Callable[[Generation], history.Tile]:
    def hang(generation: Generation) -> history.Tile:
        tiles = list(history.hung(generation, models, url, now))
        first = next((each for each in tiles if each.image), tiles[0])
        return replace(first, cost=generation.cost)

    return hang


def members(
    beside: Sequence[Numbered],
    ratings: Iterable[Rating],
    caller: Caller,
    hang: Callable[[Generation], history.Tile],
) -> tuple[Member, ...]:
    """The line-up; the winner is the one that the visitor has last picked over another of it."""
    here = {each.id for _, each in beside}
    picked = [each for each in ratings if here & {loser.generation_id for loser in each.losers}]
    mine = [each for each in picked if _is_mine(each, caller)]
    last = max(mine, key=lambda each: each.rate_time, default=None)
    return tuple(
        Member(
            number=number,
            tile=hang(each),
            more_pictures=max(0, len(each.images) - 1),
            run=None if each.state.is_final else live.Run.of(each),
            seconds=(each.finish_time - each.create_time).total_seconds() if each.finish_time else None,
            is_ratable=is_ratable(each),
            is_winner=last is not None and _is_of(last, each.id),
            others_picked=sum(not _is_mine(rating, caller) and _is_of(rating, each.id) for rating in picked),
        )
        for number, each in beside
    )


def _is_mine(rating: Rating, caller: Caller) -> bool:
    return rating.caller == caller.name


def _is_of(rating: Rating, generation_id: str) -> bool:
    return rating.subject.generation_id == generation_id


def score_rows(found: Iterable[Score], models: Mapping[str, Model]) -> Sequence[ScoreRow]:
    """The scorecard by workflow, then the most won."""
    rows_found = [
        ScoreRow(
            workflow=each.workflow.replace("_", " ").capitalize() if each.workflow else "No workflow",
            engine=models[each.model].title if each.model in models else each.model,
            provider=models[each.model].provider if each.model in models else "",
            score=each,
            share=_share(each),
        )
        for each in found
    ]
    return sorted(rows_found, key=lambda each: (each.score.workflow, -each.score.votes.wins, each.engine))


def _share(score: Score) -> str:
    verdicts = score.votes.wins + score.votes.losses
    return f"{100 * score.votes.wins / verdicts:.0f} %" if verdicts else ""


PAGE = Page(
    "Compare",
    PATH,
    (
        PageRoute(PATH, show),
        PageRoute(f"{PATH}/offer", offer),
        PageRoute(f"{PATH}/reroll", reroll, "POST"),
        PageRoute(f"{PATH}/winner", pick, "POST"),
    ),
    icon="compare",
)
