"""Follows what is being drawn: saves pictures, tells of progress, and says at the end what came out."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from pictor.amounts import usd
from pictor.cli.failures import FAILED, OK, shared_code
from pictor.cli.files import Folder
from pictor.cli.options import named
from pictor.cli.printing import print_json, print_line
from pictor.cli.progress import Progress
from pictor.cli.text import at_most, cost, pictures, result
from pictor.events import Accepted, Completed, Event, Image
from pictor.generation import Generation
from pictor.sets import SetAccepted, SetEvent, SetItemFailed, SetStep, SetSummary
from pictor.v1.generation_pb2 import GenerationEvent
from pictor.v1.image_pb2 import Money


@dataclass(slots=True)
class UnderWay:
    """What is being drawn or saved, as soon as it has an id: where to look for it if it does not come to its end."""

    generation_id: str = ""
    set_id: str = ""
    image_id: str = ""


async def draw(
    events: AsyncIterator[Event],
    folder: Folder,
    under_way: UnderWay,
    *,
    each: Callable[[GenerationEvent], Message] | None = None,
    last: Callable[[Generation], Message] | None = None,
    show: Callable[[Path], None] | None = None,
) -> int:
    """Follow one generation to its end.

    Args:
        events: From the client.
        folder: For pictures and previews.
        under_way: Gets the generation's id; has it, if it is known before `accepted`.
        each: Makes the JSON message of every event; None prints none.
        last: Makes the JSON message of the finished generation; None prints none.
        show: Shows a saved picture; None shows none.

    Returns:
        The exit code: OK if every picture that was asked for is there.
    """
    files = dict[int, Path]()
    generation: Generation | None = None
    is_json = each is not None or last is not None
    with Progress(has_clock=not is_json) as progress:
        async for event in events:
            if isinstance(event, Accepted):
                under_way.generation_id = event.generation_id
            path = folder.save(event, under_way.generation_id)
            progress.show(event, path)
            if path is not None and isinstance(event, Image):
                files[event.picture.message.output_index] = path
            if each is not None:
                print_json(each(event.raw), line=True)
            if isinstance(event, Completed):
                generation = event.generation
    if generation is None:
        return FAILED
    if last is not None:
        print_json(last(generation))
    for line in result(generation, files):
        progress.say(line) if is_json else print_line(line)
    if show is not None:
        for path in files.values():
            show(path)
    return OK if generation.is_complete else FAILED


async def draw_set(
    steps: AsyncIterator[SetEvent], folder: Folder, under_way: UnderWay, *, as_json: bool, max_cost: Money | None = None
) -> int:
    """Follow a set to its end and answer the exit code.

    Returns:
        OK if every picture is there, FAILED if some are; if there is none, the class that all reasons share.
    """
    files: dict[str, dict[int, Path]] = {}
    missing: dict[tuple[str, str], list[str]] = {}
    has_pictures = False
    with Progress(has_clock=False) as progress:
        async for step in steps:
            if as_json:
                print_json(step.raw, line=True)
            tell = progress.say if as_json else print_line
            who = step.item_key + (f" on {step.model}" if step.model else "")
            match step:
                case SetAccepted():
                    accepted = step.raw.set_accepted
                    under_way.set_id = step.set_id
                    held = at_most(_lower(accepted.estimated_cost, max_cost))
                    progress.say(f"{step.set_id}: {pictures(accepted.output_count)}, at most {held}")
                case SetStep(event=Completed(generation=generation)):
                    has_pictures |= bool(generation.pictures)
                    missing[step.item_key, step.model] = _missing(generation)
                    for line in result(generation, files.get(step.generation_id, {})):
                        tell(f"{who}: {line}")
                case SetStep():
                    path = folder.save(step.event, step.generation_id, step.item_key)
                    progress.show(step.event, path, who)
                    if path is not None and isinstance(step.event, Image):
                        files.setdefault(step.generation_id, {})[step.event.picture.message.output_index] = path
                case SetItemFailed():
                    missing[step.item_key, step.model] = [step.reason]
                    tell(f"{who}: none, {named(step.text)} ({step.reason})")
                case SetSummary():
                    end = step.raw.summary
                    counts = f"{pictures(end.succeeded_count)}, {end.failed_count} missing"
                    tell(f"{end.set_id}: {counts}, cost {cost(end.cost)}")
    reasons = [reason for each in missing.values() for reason in each]
    if not reasons:
        return OK
    return FAILED if has_pictures else shared_code(reasons)


def _missing(generation: Generation) -> list[str]:
    """Why pictures are missing; nothing if none is."""
    if generation.is_complete:
        return []
    reasons = [each.reason for each in generation.message.outputs if not each.HasField("image")]
    return reasons or [generation.message.reason]


def _lower(estimated: Money, limit: Money | None) -> Money:
    """What can be spent at most: the gateway's estimate knows prices, not the limit that it will hold."""
    return estimated if limit is None else min(estimated, limit, key=usd)
