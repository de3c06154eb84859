"""Bodies and events of the Images API as they were seen in the wild, and what is believed of them."""

from typing import Any

import pytest

from pictord.domain.money import Usage
from pictord.domain.outcome import Outcome, Unusable
from pictord.providers.base import ProviderFailure
from pictord.providers.openai_answer import Finished, Partial, event, finished, refused, reported, version_of

USAGE = {
    "input_tokens": 1043,
    "input_tokens_details": {"image_tokens": 1024, "text_tokens": 19},
    "output_tokens": 196,
    "output_tokens_details": {"image_tokens": 190, "text_tokens": 6},
    "total_tokens": 1239,
}
STREAM_USAGE = {name: count for name, count in USAGE.items() if name != "output_tokens_details"}


def test_a_picture_with_its_usage() -> None:
    """Tokens are told apart by kind; further pictures are counted."""
    answer = finished({"created": 1, "data": [{"b64_json": "AAAA"}, {"b64_json": "BBBB"}], "usage": USAGE})

    assert answer == Finished("AAAA", Usage(19, 1024, 6, 190), extra_images=1)


@pytest.mark.parametrize(
    "data", [None, [], {}, [None], [{}], [{"b64_json": None}], [{"b64_json": ""}], [{"url": "https://x"}]]
)
def test_no_picture_is_no_success(data: Any) -> None:
    """An answer without a picture is a failure that still tells its usage."""
    with pytest.raises(ProviderFailure) as caught:
        finished({"data": data, "usage": USAGE})

    assert caught.value.signal.unusable is Unusable.EMPTY
    assert caught.value.usage == Usage(19, 1024, 6, 190)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (STREAM_USAGE, Usage(19, 1024, 0, 196)),
        ({"input_tokens": 9, "output_tokens": 196}, Usage(9, 0, 0, 196)),
        (None, None),
        ({}, None),
        ("many", None),
        ({"input_tokens": -5, "output_tokens": "196"}, None),
        ({"input_tokens": 9, "output_tokens": 10**30}, None),
    ],
    ids=["no output details", "no details", "none", "empty", "a word", "nonsense", "more than there can be"],
)
def test_usage_is_read_or_unknown(usage: object, tokens: Usage | None) -> None:
    """Without details all output is picture, the dearest kind; what is not reported is unknown, not zero."""
    assert tokens == reported(usage)


def test_no_picture_is_free() -> None:
    """Usage that forgets the picture is none: the estimate counts, and people are told."""
    usage = {"input_tokens": 9, "output_tokens": 0}

    assert finished({"data": [{"b64_json": "aaaa"}], "usage": usage}).usage is None
    streamed = event({"type": "image_generation.completed", "b64_json": "aaaa", "usage": usage}, None)
    assert isinstance(streamed, Finished)
    assert streamed.usage is None


@pytest.mark.parametrize("family", ["image_generation", "image_edit"])
def test_events_are_told_apart_by_their_type(family: str) -> None:
    """The type in the data goes before the name of the event."""
    partial = {"type": f"{family}.partial_image", "partial_image_index": 2, "b64_json": "AAAA"}
    completed = {"type": f"{family}.completed", "b64_json": "BBBB", "usage": STREAM_USAGE}

    assert event(partial, "message") == Partial(2, "AAAA")
    assert event(completed, None) == Finished("BBBB", Usage(19, 1024, 0, 196))
    assert event({"b64_json": "BBBB"}, f"{family}.completed") == Finished("BBBB", None)


def test_an_event_of_tomorrow_is_passed_over() -> None:
    """A kind that nobody told us of is neither a preview nor a picture."""
    assert event({"type": "image_generation.progress", "b64_json": "AAAA"}, None) is None


@pytest.mark.parametrize(
    ("error", "codes", "outcome"),
    [
        ({"code": "a", "type": "b", "message": "Slow"}, ("a", "b"), Outcome.RATE_LIMITED),
        ({"code": None, "type": "insufficient_quota", "message": None}, ("insufficient_quota",), Outcome.UNFUNDED),
        ({"code": 7, "type": ["x"], "message": {"a": 1}}, (), Outcome.RATE_LIMITED),
        ("<html><head><title>429 Too Many</title></head></html>", (), Outcome.RATE_LIMITED),
        (None, (), Outcome.RATE_LIMITED),
        ([{"message": "x"}], (), Outcome.RATE_LIMITED),
    ],
    ids=["code and type", "type only", "nonsense", "page", "nothing", "list"],
)
def test_whatever_comes_with_an_error_status_is_a_failure(
    error: object, codes: tuple[str, ...], outcome: Outcome
) -> None:
    """An error body may be anything; the status is enough."""
    failure = refused(429, error)

    assert (codes, outcome) == (failure.signal.codes, failure.outcome)
    assert failure.text


def test_the_version_is_the_dated_part_of_the_snapshot() -> None:
    """A model that is its own snapshot is its own version."""
    assert version_of("gpt-image-2", "gpt-image-2-2026-04-21") == "2026-04-21"
    assert version_of("gpt-image-2", "gpt-image-2") == "gpt-image-2"
