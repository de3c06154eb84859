"""Valid domain objects for tests that need one and care about little of it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pictord.domain.generation import Attempt, AttemptState, Generation, Image, Output, State, Timings
from pictord.domain.money import Cost, CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Candidate, Plan
from pictord.domain.request import SQUARE, Fidelity, GenerationRequest, OutputFormat, Quality, Resolution
from pictord.store.base import Ending, Store

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def request(**changes: Any) -> GenerationRequest:
    return GenerationRequest(**{"prompt": "a red fox", **changes})


def candidate(**changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "model": "gpt-image-2",
        "provider": "openai",
        "snapshot": "gpt-image-2-2026-04-21",
        "quality": Quality.MEDIUM,
        "ratio": SQUARE,
        "resolution": Resolution.R1K,
        "size_px": (1024, 1024),
        "output_format": OutputFormat.PNG,
        "previews": 0,
        "adaptations": (),
        "worst_case_nanos": 60_000_000,
        "expected_nanos": 53_000_000,
        "expected_p50_s": 35.0,
        "expected_p90_s": 70.0,
        "timeout_s": 180.0,
    }
    return Candidate(**(values | changes))


def plan(*candidates: Candidate) -> Plan:
    return Plan("standard", candidates or (candidate(),), (), Fidelity.ADAPT, "policy-1", "catalog-1")


def generation(id: str = "gen_1", **changes: Any) -> Generation:  # noqa: A002 - the field's name
    values: dict[str, Any] = {
        "id": id,
        "caller": "studio",
        "request": request(),
        "plan": plan(),
        "create_time": NOON,
    }
    values |= changes
    count = values["request"].count
    values.setdefault("outputs", tuple(Output(index) for index in range(count)))
    return Generation(**values)


def attempt(id: str = "att_1", **changes: Any) -> Attempt:  # noqa: A002 - the field's name
    values: dict[str, Any] = {
        "id": id,
        "output_index": 0,
        "index": 0,
        "provider": "openai",
        "model": "gpt-image-2",
        "quality": Quality.MEDIUM,
        "estimated_nanos": 60_000_000,
        "cost": Cost(60_000_000, CostBasis.ESTIMATED),
        "create_time": NOON,
    }
    return Attempt(**(values | changes))


def finished(opened: Attempt, nanos: int = 53_000_000, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "state": AttemptState.FINISHED,
        "outcome": Outcome.IMAGE,
        "cost": Cost(nanos, CostBasis.REPORTED),
        "sent_time": NOON,
        "finish_time": NOON,
    }
    return replace(opened, **(values | changes))


def image(id: str = "img_1", **changes: Any) -> Image:  # noqa: A002 - the field's name
    values: dict[str, Any] = {
        "id": id,
        "output_index": 0,
        "mime": "image/png",
        "width_px": 1024,
        "height_px": 1024,
        "size_bytes": 1000,
        "sha256": "ab" * 32,
        "model": "gpt-image-2",
        "served_model": "gpt-image-2",
        "served_version": "gpt-image-2-2026-04-21",
        "has_c2pa": False,
    }
    return Image(**(values | changes))


SUCCESS = Ending(State.SUCCEEDED, None, "", Timings(), NOON)


async def finish_one_by_one(store: Store, generation_id: str, attempt: Attempt, drawn: Image) -> Generation:
    """The end of a generation of several pictures: its last attempt, then the whole."""
    await store.finish_attempt(generation_id, attempt, drawn, Output(0, State.SUCCEEDED, drawn))
    return await store.finish(generation_id, SUCCESS, keep=True)


async def finish_at_once(store: Store, generation_id: str, attempt: Attempt, drawn: Image) -> Generation:
    """The end of a generation of one picture."""
    return await store.finish_drawn(generation_id, attempt, drawn, Output(0, State.SUCCEEDED, drawn), SUCCESS)
