"""From the domain to the contract: nothing is lost, and bytes go only where they are wanted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pictor.v1 import generation_pb2, image_pb2
from pictord.assets.links import Link
from pictord.domain import events
from pictord.domain.generation import Image, Output, State, Timings
from pictord.domain.money import Cost, CostBasis, Usage
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Adaptation, AdaptationKind, Exclusion, ExclusionReason
from pictord.domain.reason import Reason
from pictord.domain.request import Canvas, Lineage, Quality, Ratio, Resolution, Tier, Workflow
from pictord.rpc import convert_out
from samples import NOON, attempt, candidate, finished, generation, plan, request

IMAGE = Image(
    id="img_1",
    output_index=0,
    mime="image/png",
    width_px=1024,
    height_px=1536,
    size_bytes=3,
    sha256="ab" * 32,
    model="gpt-image-2",
    served_model="gpt-image-2-2026-04-21",
    served_version="2026-04-21",
    has_c2pa=True,
)
SNAPPED = Adaptation(AdaptationKind.RATIO_SNAPPED, "1.9:1", "1.91:1")


def full_generation():
    tried = finished(
        attempt(provider_request_id="req_9", adaptations=(SNAPPED,)),
        served_model=IMAGE.served_model,
        served_version=IMAGE.served_version,
        usage=Usage(1, 2, 3, 4),
    )
    asked = request(
        canvas=Canvas(Ratio.parse("1.9:1"), resolution=Resolution.R2K),
        tier=Tier.PRO,
        workflow=Workflow.HERO,
        count=2,
        seed=0,
        max_cost_nanos=250_000_000,
        request_id="r1",
        labels={"team": "blue"},
        lineage=Lineage("gen_0", "set_1", "story"),
    )
    return generation(
        request=asked,
        plan=replace(
            plan(candidate(adaptations=(SNAPPED,))),
            exclusions=(Exclusion("other", ExclusionReason.NOT_CONFIGURED, "no key"),),
        ),
        state=State.SUCCEEDED,
        outputs=(
            Output(0, State.SUCCEEDED, IMAGE),
            Output(1, State.FAILED, reason=Reason.CONTENT_POLICY, text="refused"),
        ),
        attempts=(tried,),
        cost=Cost(53_000_000, CostBasis.REPORTED),
        timings=Timings(0.5, 30.0, 0.01, 0.002),
        finish_time=NOON + timedelta(seconds=31),
        replayed=True,
    )


def unset_fields(message, *, but=()) -> list[str]:
    """Names of fields that are not set, all the way down."""
    found = []
    present = dict(message.ListFields())
    for field in message.DESCRIPTOR.fields:
        if field.name in but:
            continue
        if field not in present:
            if field.containing_oneof is None or message.WhichOneof(field.containing_oneof.name) is None:
                found.append(field.full_name)
            continue
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.message_type.full_name.startswith("google."):
            continue
        children = present[field] if field.is_repeated else [present[field]]
        found += [name for child in children for name in unset_fields(child, but=but)]
    return found


def test_no_field_of_a_generation_is_forgotten():
    """Every field of the contract's Generation is filled from a generation that has everything.

    Zeros are not sent, and what only failures or edits have is named here.
    """
    link = Link("http://pictor/images/img_1", NOON)
    message = convert_out.generation_message(full_generation(), sandbox=True, link=lambda _: link)
    message.outputs[0].image.data = b"png"  # put in when it is framed

    assert set(unset_fields(message)) <= {
        "pictor.v1.Generation.reason",  # it succeeded
        "pictor.v1.Generation.text",
        "pictor.v1.RequestEcho.high_quality",
        "pictor.v1.RequestEcho.model",
        "pictor.v1.RequestEcho.excluded_models",
        "pictor.v1.RequestEcho.quality",
        "pictor.v1.RequestEcho.output_format",
        "pictor.v1.RequestEcho.background",
        "pictor.v1.RequestEcho.image_sha256",
        "pictor.v1.RequestEcho.mask_sha256",
        "pictor.v1.RequestEcho.reference_sha256s",
        "pictor.v1.Output.index",  # 0
        "pictor.v1.Output.image",  # the failed one
        "pictor.v1.Output.reason",  # the good one
        "pictor.v1.Output.text",
        "pictor.v1.Image.output_index",  # 0
        "pictor.v1.Attempt.output_index",  # 0
        "pictor.v1.Attempt.index",  # 0
        "pictor.v1.Attempt.detail",
        "pictor.v1.Candidate.preview_count",  # 0
        "pictor.v1.Money.units",  # less than a dollar
    }
    assert message.outputs[0].image.data == b"png"
    assert message.outputs[1].reason == "CONTENT_POLICY"
    assert (message.cost.amount.nanos, message.cost.price_version) == (53_000_000, "catalog-1")
    assert message.finish_time.ToDatetime(UTC) == NOON + timedelta(seconds=31)
    assert message.sandbox
    assert message.request.HasField("seed")


def test_pictures_leave_without_bytes_unless_they_are_given():
    """A generation carries descriptions; bytes are put in one by one."""
    message = convert_out.generation_message(full_generation(), sandbox=False)

    assert message.outputs[0].image.data == b""
    assert message.outputs[0].image.size_bytes == 3
    assert not message.sandbox


def test_an_unfinished_generation_has_no_end():
    """Times that are not known are not set."""
    message = convert_out.generation_message(generation(), sandbox=False)

    assert not message.HasField("finish_time")
    assert message.state == generation_pb2.Generation.STATE_PENDING
    assert not message.request.HasField("max_cost")
    assert not message.request.HasField("seed")


def test_a_failed_generation_says_why():
    """State, reason and text are there."""
    failed = generation(state=State.FAILED, reason=Reason.NO_IMAGE, text="no engine drew")
    message = convert_out.generation_message(failed, sandbox=False)

    assert (message.state, message.reason, message.text) == (
        generation_pb2.Generation.STATE_FAILED,
        "NO_IMAGE",
        "no engine drew",
    )


def event_message(event, sequence=1, **options) -> generation_pb2.GenerationEvent:
    message = generation_pb2.GenerationEvent()
    convert_out.fill_event(message, events.LoggedEvent(sequence, NOON, event), sandbox=False, **options)
    return message


EVENTS = [
    (events.Accepted("gen_1", plan(), 60_000_000), "accepted"),
    (events.Queued(1, 4, 2.5), "queued"),
    (events.AttemptStarted(1, 0, "openai", "gpt-image-2", 35.0, 70.0, 2), "attempt_started"),
    (events.AttemptFailed(1, 2, "gpt-image-2", Outcome.RATE_LIMITED, "slow down", goes_on=True), "attempt_failed"),
    (events.PreviewReady(1, 2, 1, events.PreviewKind.PARTIAL, "image/png", 9), "preview"),
    (events.ImageReady(IMAGE), "image"),
    (events.Completed(full_generation()), "completed"),
]


@pytest.mark.parametrize(("event", "kind"), EVENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_event_has_its_kind(event, kind):
    """Each event of the log becomes its kind, with its place and time."""
    message = event_message(event, 7)

    assert (message.WhichOneof("event"), message.sequence) == (kind, 7)
    assert message.event_time.ToDatetime(UTC) == NOON


def test_all_events_of_the_domain_are_converted():
    """No event kind is missing from the table above."""
    assert {type(event) for event, _ in EVENTS} == set(events.Event.__args__)


def test_an_events_fields_arrive():
    """Indices, waits, outcomes and flags are those of the event."""
    queued, started, failed, preview = (event_message(event, omitted=True) for event, _ in EVENTS[1:5])

    assert (queued.queued.output_index, queued.queued.position, queued.queued.predicted_wait.ToMilliseconds()) == (
        1,
        4,
        2500,
    )
    assert (started.attempt_started.preview_count, started.attempt_started.expected_p90.seconds) == (2, 70)
    assert (failed.attempt_failed.outcome, failed.attempt_failed.goes_on) == ("rate_limited", True)
    assert (preview.preview.index, preview.preview.size_bytes, preview.preview.omitted) == (1, 9, True)


def test_candidates_show_what_they_would_do():
    """A plan's candidate carries quality, pixels and price."""
    message = convert_out.plan_message(plan(candidate(quality=Quality.HIGH, size_px=(3840, 2160)))).candidates[0]

    assert (message.quality, message.width_px, message.height_px) == ("high", 3840, 2160)
    assert message.worst_case_cost == image_pb2.Money(currency_code="USD", nanos=60_000_000)


@pytest.mark.parametrize(
    ("nanos", "units", "rest"), [(0, 0, 0), (1_500_000_000, 1, 500_000_000), (-1_500_000_000, -1, -500_000_000)]
)
def test_units_and_nanos_have_one_sign(nanos, units, rest):
    """google.type.Money's rule holds for refunds too."""
    message = convert_out.money_message(nanos)

    assert (message.units, message.nanos) == (units, rest)


def test_a_time_in_another_zone_is_the_same_time():
    """Timestamps are UTC whatever the clock's zone."""
    from datetime import timezone  # noqa: PLC0415 - for this one test

    local = datetime(2026, 11, 22, 13, tzinfo=timezone(timedelta(hours=1)))

    assert convert_out.timestamp_message(local) == convert_out.timestamp_message(NOON)
