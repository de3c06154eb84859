"""The form of Create as text: read into a request, written back, and every problem at its field."""

from dataclasses import replace

import pytest

from pictord.console.request_form import FIELDS, Typed, problems_at, read, typed, written
from pictord.domain.caller import LOCAL, Caller, CallerPolicy
from pictord.domain.reason import Reason
from pictord.domain.request import (
    Canvas,
    Fidelity,
    GenerationRequest,
    OnDisconnect,
    OutputFormat,
    Quality,
    Ratio,
    Resolution,
    Tier,
    Workflow,
)
from pictord.errors import FieldViolation

FULL = GenerationRequest(
    prompt="a fox\nin two lines",
    canvas=Canvas(Ratio.parse("1.91:1"), None, Resolution.R2K),
    tier=Tier.PRO,
    high_quality=True,
    workflow=Workflow.QUOTE_GRAPHIC,
    count=3,
    quality=Quality.HIGH,
    output_format=OutputFormat.WEBP,
    fidelity=Fidelity.EXACT,
    allow_fallback=True,
    model="gpt-image-2",
    max_cost_nanos=250_000_001,
    request_id="press_1",
    on_disconnect=OnDisconnect.FINISH,
)
BARE = GenerationRequest(prompt="a fox", request_id="press_1", on_disconnect=OnDisconnect.FINISH)


@pytest.mark.parametrize(
    "request_",
    [FULL, BARE, replace(BARE, canvas=Canvas(format="x/post")), replace(BARE, max_cost_nanos=2_000_000_000)],
    ids=["full", "bare", "format", "whole dollars"],
)
def test_what_was_asked_is_asked_again(request_):
    """The form of a request reads as that request."""
    assert read(written(request_, {}), LOCAL, "press_1") == (request_, [])


def test_an_empty_form_asks_with_the_callers_defaults():
    """Nothing is made up: what is not typed is not said."""
    caller = Caller("web", policy=CallerPolicy(default_tier=Tier.FREE))

    request, problems = read(Typed(), caller, None)

    assert problems == []
    assert request == GenerationRequest(prompt="", tier=Tier.FREE, on_disconnect=OnDisconnect.FINISH)


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("canvas.ratio", "wide", Reason.RATIO_INVALID),
        ("canvas.ratio", "0:1", Reason.RATIO_INVALID),
        ("canvas.resolution", "8k", Reason.INVALID_FIELD),
        ("tier", "gold", Reason.INVALID_FIELD),
        ("workflow", "spam", Reason.INVALID_FIELD),
        ("count", "two", Reason.COUNT_OUT_OF_RANGE),
        ("count", "²", Reason.COUNT_OUT_OF_RANGE),
        ("count", "9" * 5000, Reason.COUNT_OUT_OF_RANGE),
        ("quality", "best", Reason.INVALID_FIELD),
        ("output_format", "gif", Reason.INVALID_FIELD),
        ("fidelity", "rough", Reason.INVALID_FIELD),
        ("allow_fallback", "perhaps", Reason.INVALID_FIELD),
        ("max_cost", "ten cents", Reason.INVALID_FIELD),
        ("max_cost", "-1", Reason.INVALID_FIELD),
        ("max_cost", "NaN", Reason.INVALID_FIELD),
        ("max_cost", "1e30", Reason.INVALID_FIELD),
    ],
)
def test_what_cannot_be_read_is_told_at_its_field(field, text, reason):
    """And nothing else is."""
    _, problems = read(Typed({"prompt": "a fox", field: text}), LOCAL, None)

    assert [(each.field, each.reason) for each in problems] == [(field, reason)]


def test_a_browsers_form_keeps_the_pictures_once_and_in_order():
    """A line break is one character, whatever a browser sends."""
    form = {"prompt": ["a\r\nfox"], "references": ["img_2", "img_1", "img_2"], "other": ["x"]}

    asked = typed(form)

    assert asked.pictures == {"image": (), "mask": (), "references": ("img_2", "img_1")}
    assert read(asked, LOCAL, None)[0].prompt == "a\nfox"


def test_every_problem_finds_a_field():
    """Parts of a field count as the field; what is none stands alone and names itself."""
    found = problems_at(
        [
            FieldViolation("prompt", "must not be empty"),
            FieldViolation("references[2]", "is too large"),
            FieldViolation("references", "at most 8"),
            FieldViolation("seed", "is odd"),
        ]
    )

    assert set(found) == {*FIELDS, ""}
    assert found["prompt"] == "Must not be empty"
    assert found["references"] == "Is too large; at most 8"
    assert found[""] == "Seed: is odd"
    assert found["mask"] == ""
