"""What the command says to people: one sentence for each event, one line for each finished picture."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from pictor import enums
from pictor.amounts import money, usd
from pictor.events import Accepted, AttemptFailed, AttemptStarted, Event, Image, Preview, Queued
from pictor.generation import Generation, Picture
from pictor.v1 import generation_pb2, history_service_pb2, image_pb2

SANDBOX = "SANDBOX (no real engine, no real money)"
IN_PROGRESS = (generation_pb2.Generation.STATE_PENDING, generation_pb2.Generation.STATE_RUNNING)


_PLACES = Decimal("0.0001")


def dollars(amount: Decimal, *, rounding: str = ROUND_HALF_UP) -> str:
    """US dollars with four decimals, as the gateway writes them too; what is less, but not nothing, says so."""
    if 0 < amount < _PLACES:
        return f"< ${_PLACES}"
    rounded = amount.quantize(_PLACES, rounding=rounding)
    return f"-${-rounded}" if rounded < 0 else f"${rounded}"


def price(amount: image_pb2.Money) -> str:
    """US dollars of a message."""
    return dollars(usd(amount))


def at_most(amount: image_pb2.Money) -> str:
    """US dollars that must be allowed: rounded up, so that who takes the text at its word has enough."""
    return dollars(usd(amount), rounding=ROUND_CEILING)


def cost(paid: image_pb2.Cost) -> str:
    """An amount, and how sure it is unless the provider reported it."""
    basis = enums.word(image_pb2.CostBasis.DESCRIPTOR, paid.basis)
    return price(paid.amount) + (f" ({basis})" if basis not in ("", "reported") else "")


def span(seconds: float) -> str:
    """Seconds, with a decimal only below ten."""
    return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"


def adaptations(listed: "list[generation_pb2.Adaptation]") -> str:
    """What differs, each with what was asked and what is delivered."""
    kind = generation_pb2.Adaptation.Kind.DESCRIPTOR
    return ", ".join(f"{enums.word(kind, a.kind)} ({a.asked} → {a.delivered})" for a in listed)


def told(event: Event, path: Path | None) -> str | None:
    """What an event says; None if there is nothing to say. `path` is where its picture was saved."""
    where = f" → {path}" if path else ""
    match event:
        case Accepted():
            first = event.plan.candidates[0].model if event.plan.candidates else "no model"
            held = at_most(event.raw.accepted.estimated_cost)
            return f"{event.generation_id}: row {event.plan.row}, first {first}, at most {held}"
        case Queued():
            return (
                f"picture {event.output_index} waits about {span(event.predicted_wait_s)}, {event.position} before it"
            )
        case AttemptStarted():
            return f"picture {event.output_index}: calling {event.model}, {expected(event)}, {_previews(event)}"
        case AttemptFailed():
            then = "trying again" if event.goes_on else "nothing left to try"
            text = f" {event.text};" if event.text else ""
            return f"picture {event.output_index}: {event.model} brought none ({event.outcome}):{text} {then}"
        case Preview() if event.data is None:
            return f"picture {event.output_index}: preview {event.index + 1} was left out: a newer picture was there"
        case Preview():
            return f"picture {event.output_index}: preview {event.index + 1}{where}"
        case Image():
            return f"picture {event.picture.message.output_index}: {size(event.picture)}{where}"
    return None


def expected(event: AttemptStarted) -> str:
    """How long such a call takes."""
    return f"usually {span(event.expected_p50_s)}, nine in ten within {span(event.expected_p90_s)}"


def _previews(event: AttemptStarted) -> str:
    return f"up to {event.preview_count} previews" if event.preview_count else "no previews"


def pictures(count: int) -> str:
    """So many pictures."""
    return f"{count} picture" if count == 1 else f"{count} pictures"


def size(picture: Picture) -> str:
    """Pixels, encoding and length of a picture."""
    image = picture.message
    return f"{image.width_px}x{image.height_px} {picture.extension} {image.size_bytes / 2**20:.2f} MiB"


def result(generation: Generation, files: Mapping[int, Path]) -> list[str]:
    """The last lines: one for each picture asked for, with everything that explains it, and the sum of several."""
    outputs = generation.message.outputs
    if not outputs:
        return [_line(generation, generation.state, generation.message.reason, generation.message.text)]
    lines = [_line(generation, *_output(generation, output, files)) for output in outputs]
    if len(outputs) > 1:
        counts = f"{len(generation.pictures)} of {len(outputs)} pictures"
        lines.append(f"{_head(generation)}{counts}, cost {cost(generation.message.cost)}")
    return lines


def _output(generation: Generation, output: generation_pb2.Output, files: Mapping[int, Path]) -> list[str]:
    attempts = [attempt for attempt in generation.message.attempts if attempt.output_index == output.index]
    image = output.image
    what = (
        [
            str(files.get(output.index, f"image {image.id}")),
            f"{image.width_px}x{image.height_px}",
            f"model {image.model}",
            f"version {image.model_version or 'unknown'}",
            *([image.download_url] if image.download_url and output.index not in files else []),
        ]
        if output.HasField("image")
        else [f"picture {output.index}: {_missing(output, attempts)}"]
    )
    return [*what, f"attempts {len(attempts)}", f"cost {cost(_spent(attempts))}"]


def _missing(output: generation_pb2.Output, attempts: list[generation_pb2.Attempt]) -> str:
    """Why a picture is not there: not yet, or for good."""
    if output.state in IN_PROGRESS:
        return "running" if attempts else enums.word(generation_pb2.Generation.State.DESCRIPTOR, output.state)
    why = ": ".join(part for part in (output.reason, output.text) if part)
    return f"none · {why}" if why else "none"


def _spent(attempts: list[generation_pb2.Attempt]) -> image_pb2.Cost:
    """The sum of attempts; as sure as the least sure of them."""
    surest_first = (image_pb2.COST_BASIS_REPORTED, image_pb2.COST_BASIS_ESTIMATED, image_pb2.COST_BASIS_UNKNOWN)
    bases = [attempt.cost.basis for attempt in attempts if attempt.cost.basis in surest_first]
    total = sum((usd(attempt.cost.amount) for attempt in attempts), Decimal(0))
    return image_pb2.Cost(amount=money(total), basis=max(bases, key=surest_first.index, default=surest_first[0]))


def _line(generation: Generation, *parts: str) -> str:
    all_parts = [
        f"row {generation.row}",
        *parts,
        f"adaptations {adaptations(list(generation.message.adaptations)) or 'none'}",
        *([SANDBOX] if generation.is_sandbox else []),
    ]
    return _head(generation) + " · ".join(part for part in all_parts if part)


def _head(generation: Generation) -> str:
    """Which generation, and before all else that it is an old answer: its cost was paid then, and nothing now."""
    return f"{generation.id}: " + ("replayed, nothing paid now · " if generation.message.replayed else "")


def rated(rating: history_service_pb2.Rating) -> str:
    """What somebody thinks of a generation."""
    thumb = enums.word(history_service_pb2.Thumb.DESCRIPTOR, rating.thumb)
    said = [f"thumbs {thumb}"] if thumb else []
    if rating.won_over_ids:
        said.append(f"won over {', '.join(rating.won_over_ids)}")
    words = f": {shortened(rating.text)}" if rating.text else ""
    return f"{rating.generation_id}: {' and '.join(said) or 'no rating'}, says {rating.caller}{words}"


def to_delete(ids: Sequence[str], end_user: str, caller: str) -> str:
    """What somebody is about to delete."""
    whose = f" of caller {caller}" if caller else ""
    if ids:
        return ", ".join(ids)
    return f"all that was made for end user {end_user}{whose}" if end_user else f"everything{whose or ' of yours'}"


def deleted(answer: history_service_pb2.DeleteGenerationsResponse) -> str:
    """What went."""
    return f"deleted: {answer.generation_count:,} generations, {answer.upload_count:,} uploads"


def second(time: Timestamp) -> str:
    """A moment in UTC, to the second."""
    return f"{time.ToDatetime():%Y-%m-%dT%H:%M:%S}Z"


def minute(time: Timestamp) -> str:
    """A moment in UTC, to the minute, as `--since` takes it."""
    return f"{time.ToDatetime():%Y-%m-%dT%H:%M}Z"


def shortened(text: str, length: int = 60) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def printable(text: str) -> str:
    """Text from elsewhere without characters that could steer a terminal."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)
