"""A generation while it is drawn: its events as fragments of the page, its previews, and the way to stop it.

The stream replays the job's log, so a reader who comes late or again sees the same. Each event becomes one fragment for
one place of `run.html`, by its name: `stage-N` for the picture of an output, `progress`, and `completed` for the end.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.responses import RedirectResponse, Response, StreamingResponse

from pictord.console.page import Page, PageRoute, Visit
from pictord.domain.events import (
    Accepted,
    AttemptFailed,
    AttemptStarted,
    Completed,
    ImageReady,
    LoggedEvent,
    PreviewReady,
    Queued,
)
from pictord.domain.generation import Generation, Image
from pictord.domain.plan import Candidate, Plan
from pictord.domain.reason import Reason
from pictord.errors import GatewayError, generation_error
from pictord.jobs.silences import closable, with_silences

SILENCE_S = 10.0
LOOK_AGAIN_S = 1.0
"""Between two looks whether another replica has finished."""


@dataclass(frozen=True, slots=True)
class Run:
    """A generation on the easel."""

    id: str
    size_px: tuple[int, int]
    """Of one picture, as the first candidate would draw it."""
    count: int

    @classmethod
    def of(cls, generation: Generation) -> "Run":
        """A generation that has just been accepted, or is being drawn."""
        return cls(generation.id, generation.plan.candidates[0].size_px, generation.request.count)


@dataclass(frozen=True, slots=True)
class Fragment:
    """One event of the stream: the place that it fills, the template, and what that shows."""

    place: str
    template: str
    view: Mapping[str, Any]


async def events(visit: Visit) -> Response:
    """The stream of a generation's events, from the beginning or past the last one that the browser has seen."""
    generation = await visit.ground.served.jobs.get(visit.caller, visit.request.path_params["generation_id"])
    last = visit.request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(visit, generation, after), media_type="text/event-stream", headers=headers)


async def preview(visit: Visit) -> Response:
    """An unfinished picture, as long as the log has its bytes."""
    generation = await visit.ground.served.jobs.get(visit.caller, visit.request.path_params["generation_id"])
    log = visit.ground.served.jobs.log(generation.id)
    sequence = visit.request.path_params["sequence"]
    if log is not None and 1 <= sequence <= log.last_sequence:
        data = log.payload(sequence)  # before reading: an ended log lets go of its bytes with its last reader
        async with aclosing(closable(log.read(sequence - 1))) as entries:
            event = (await anext(entries)).event
        if isinstance(event, PreviewReady) and data is not None:
            return Response(data, media_type=event.mime, headers={"Cache-Control": "no-store"})
    raise GatewayError(Reason.NOT_FOUND, "this preview is no longer kept")


async def cancel(visit: Visit) -> Response:
    """Stop what was not sent; what was sent runs to its end and is kept."""
    generation = await visit.ground.served.jobs.cancel(visit.caller, visit.request.path_params["generation_id"])
    if not visit.is_partial:
        return RedirectResponse(f"/generations/{generation.id}", 303)
    return visit.part("cancelled.html", generation=generation)


async def _told(visit: Visit, generation: Generation, after: int) -> AsyncIterator[str]:
    log = visit.ground.served.jobs.log(generation.id)
    if log is None:
        # Another replica draws it, or it has ended long ago: there is nothing to tell but the end.
        while not generation.state.is_final:
            yield ": still drawing\n\n"
            await asyncio.sleep(LOOK_AGAIN_S)
            generation = await visit.ground.served.jobs.get(visit.caller, generation.id)
        yield _event(visit, 1, _ended(visit, generation))
        return
    after = min(after, log.last_sequence - 1) if log.is_complete else min(after, log.last_sequence)
    async with aclosing(with_silences(closable(log.read(after)), SILENCE_S)) as entries:
        async for entry in entries:
            if entry is None:
                yield ": still drawing\n\n"
                continue
            for fragment in told(entry, generation, visit):
                yield _event(visit, entry.sequence, fragment)


def told(entry: LoggedEvent, generation: Generation, visit: Visit) -> Iterator[Fragment]:
    """The fragments of one event."""
    ground, plan = visit.ground, generation.plan
    models, now = ground.models, ground.served.now()

    def engine(model: str) -> str:
        return models[model].title if model in models else model

    match entry.event:
        case Accepted():
            yield Fragment("progress", "progress.html", {"kind": "accepted"})
        case Queued() as event:
            yield Fragment("progress", "progress.html", {"kind": "queued", "event": event})
        case AttemptStarted() as event:
            yield _stage(generation, event.output_index, _candidate(plan, event.model).size_px)
            view = {"event": event, "engine": engine(event.model), "elapsed_s": _elapsed_s(entry.time, now)}
            yield Fragment("progress", "progress.html", {"kind": "started", **view})
        case AttemptFailed() as event:
            view = {"kind": "failed", "event": event, "engine": engine(event.model)}
            yield Fragment("progress", "progress.html", view)
        case PreviewReady() as event:
            size_px = plan.candidates[0].size_px
            yield _stage(generation, event.output_index, size_px, sequence=entry.sequence)
        case ImageReady(image=image):
            size_px = image.width_px, image.height_px
            yield _stage(generation, image.output_index, size_px, image=image, url=ground.picture_url(image))
        case Completed(generation=ended):
            yield _ended(visit, ended)


def _ended(visit: Visit, generation: Generation) -> Fragment:
    return Fragment("completed", "drawn.html", ended_view(visit, generation))


def ended_view(visit: Visit, generation: Generation) -> dict[str, Any]:
    """What is said of a generation that has ended."""
    return {
        "generation": generation,
        "error": generation_error(generation),
        "models": visit.ground.models,
        "picture_url": visit.ground.picture_url,
        "request_id": visit.ground.served.new_id("press"),
    }


def _stage(
    generation: Generation,
    output_index: int,
    size_px: tuple[int, int],
    *,
    sequence: int | None = None,
    image: Image | None = None,
    url: str = "",
) -> Fragment:
    """What stands in the place of one output: an empty canvas, a preview by its sequence, or the picture."""
    view = {"size_px": size_px, "generation_id": generation.id, "sequence": sequence, "image": image, "url": url}
    return Fragment(f"stage-{output_index}", "stage.html", view)


def _event(visit: Visit, sequence: int, fragment: Fragment) -> str:
    text = visit.text(fragment.template, **fragment.view)
    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
    return f"id: {sequence}\nevent: {fragment.place}\n{lines}\n"


def _candidate(plan: Plan, model: str) -> Candidate:
    return next((each for each in plan.candidates if each.model == model), plan.candidates[0])


def _elapsed_s(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())


PAGE = Page(
    "Drawing",
    "/generations",
    (
        PageRoute("/generations/{generation_id}/events", events),
        PageRoute("/generations/{generation_id}/previews/{sequence:int}", preview),
        PageRoute("/generations/{generation_id}/cancel", cancel, "POST"),
    ),
)
