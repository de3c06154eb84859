"""What is written down of a generation is read back the same, whatever it holds."""

from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samples
from pictord.domain.generation import Attempt, Image, Output
from pictord.domain.plan import Candidate, Exclusion, Plan
from pictord.domain.request import GenerationRequest, InputImage, Lineage, Ratio
from pictord.store import record, rows
from pictord.store.base import SpendLimit

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
WORDS = st.text().map(rows.storable)
RATIOS = st.tuples(st.integers(1, 99_999), st.integers(1, 99_999)).map(
    lambda sides: Ratio.parse(f"{sides[0]}:{sides[1]}")
)


def of(kind: type, **known: st.SearchStrategy) -> st.SearchStrategy:
    """Every value of a dataclass, with all of its fields drawn."""
    return st.builds(kind, **{name: st.from_type(kind.__annotations__[name]) for name in kind.__annotations__} | known)


PICTURES = of(InputImage, data=st.just(b""))
REQUESTS = of(
    GenerationRequest,
    canvas=st.builds(
        samples.request().canvas.__class__,
        ratio=st.none() | RATIOS,
        format=st.none() | st.text(),
        resolution=st.none() | st.from_type(type(samples.candidate().resolution)),
    ),
    image=st.none() | PICTURES,
    mask=st.none() | PICTURES,
    references=st.lists(PICTURES, max_size=2).map(tuple),
    labels=st.dictionaries(st.text(), st.text(), max_size=3),
    lineage=of(Lineage),
)
CANDIDATES = of(Candidate, ratio=RATIOS, expected_p50_s=FINITE, expected_p90_s=FINITE, timeout_s=FINITE)
EXCLUSIONS = of(Exclusion, needs_s=st.none() | FINITE, retry_after_s=st.none() | FINITE)
PLANS = of(
    Plan,
    candidates=st.lists(CANDIDATES, max_size=2).map(tuple),
    exclusions=st.lists(EXCLUSIONS, max_size=2).map(tuple),
)
ATTEMPTS = of(
    Attempt,
    served_model=WORDS,
    served_version=WORDS,
    provider_request_id=WORDS,
    detail=WORDS,
    create_time=TIMES,
    sent_time=st.none() | TIMES,
    finish_time=st.none() | TIMES,
)


@settings(max_examples=80, deadline=None)
@given(REQUESTS, PLANS)
def test_a_record_is_read_back_as_it_was_written(request, plan):
    """Every field of request and plan survives, the ratio with the words in which it was asked."""
    written = record.Record(request, plan)

    read = record.decode(record.encode(written))

    assert read == written
    assert str(read.request.canvas.ratio) == str(request.canvas.ratio)


@settings(max_examples=80, deadline=None)
@given(ATTEMPTS)
def test_an_attempt_is_read_back_as_it_was_written(attempt):
    """Every column of an attempt survives."""
    row = rows.attempt_row(attempt, {}, "gen_1")

    assert rows.attempt(SimpleNamespace(**row)) == attempt


@settings(max_examples=40, deadline=None)
@given(of(Image, served_model=WORDS, served_version=WORDS))
def test_an_image_and_its_output_are_read_back_as_they_were_written(image):
    """Every column of an image survives, and its output finds it again."""
    read = rows.image(SimpleNamespace(**rows.image_row("studio", image, generation_id="gen_1", kept_since=None)))
    output = Output(3, image=image)

    assert read == image
    assert rows.output(SimpleNamespace(**rows.output_row("gen_1", output)), {image.id: read}) == output


def test_labels_may_be_a_view_that_nobody_can_write():
    """A request without labels has such a view, and records like any other."""
    written = record.Record(samples.request(labels=MappingProxyType({"team": "ads"})), samples.plan())

    assert record.decode(record.encode(written)) == written


@pytest.mark.parametrize("text", ['{"version": 2, "request": {}, "plan": {}}', "{}", "no JSON"])
def test_a_record_of_an_unknown_version_is_refused(text):
    """A shape that this program does not know is never guessed at."""
    with pytest.raises(ValueError, match="validation error"):
        record.decode(text)


@given(st.lists(of(SpendLimit), max_size=3).map(tuple))
def test_limits_are_read_back_as_they_were_written(limits):
    """A further attempt must fit under the same limits as the first."""
    assert record.decode_limits(record.encode_limits(limits)) == limits


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        pytest.param("plain, ä", "plain, ä", id="as it is"),
        pytest.param("a\0b", "a\ufffdb", id="NUL, which PostgreSQL does not take"),
        pytest.param("a\ud800b", "a?b", id="half a surrogate pair, which is no UTF-8"),
    ],
)
def test_what_a_provider_says_can_always_be_stored(said, stored):
    """No answer may keep a settlement out of the ledger."""
    assert rows.storable(said) == stored
