"""Recorded requests: what a line may hold, and what is said about one that cannot be used."""

from dataclasses import fields
from datetime import UTC, datetime

import pytest

from pictord.domain.request import (
    Background,
    Canvas,
    Fidelity,
    GenerationRequest,
    InputImage,
    Lineage,
    OnDisconnect,
    Operation,
    OutputFormat,
    Quality,
    Ratio,
    Resolution,
    Tier,
    Unread,
    Workflow,
)
from pictord.whatif.failure import ReplayError
from pictord.whatif.record import Recorded, line_of, read, read_file

PICTURE = InputImage(Unread(1500), "image/png", 1024, 768, has_alpha=False, sha256="")
MASK = InputImage(Unread(15), "image/png", 1024, 768, has_alpha=True, sha256="")
FULL = GenerationRequest(
    prompt="ein Fuchs im Schnee ❄",
    operation=Operation.EDIT,
    canvas=Canvas(ratio=Ratio.parse("1.91:1"), resolution=Resolution.R2K),
    tier=Tier.PRO,
    high_quality=True,
    workflow=Workflow.HERO,
    image=PICTURE,
    mask=MASK,
    references=(PICTURE, PICTURE),
    count=2,
    quality=Quality.HIGH,
    preview_count=0,
    output_format=OutputFormat.JPEG,
    output_compression=80,
    background=Background.OPAQUE,
    seed=7,
    fidelity=Fidelity.EXACT,
    model="gpt-image-2",
    excluded_models=("nano-banana-2",),
    allow_fallback=False,
    max_cost_nanos=10**9,
    request_id="r-1",
    end_user="u-1",
    labels={"team": "web"},
    max_inline_bytes=0,
    on_disconnect=OnDisconnect.FINISH,
    lineage=Lineage("gen_1", "set_1", "a"),
)


def read_one(line: str) -> Recorded:
    """The only record of a line."""
    (record,) = read([line.encode()])
    return record


def values(of):
    """A dataclass as plain values, so that a record's own spelling of a class makes no difference."""
    if isinstance(of, bytes):
        return len(of)
    if isinstance(of, tuple):
        return [values(each) for each in of]
    if hasattr(of, "__dataclass_fields__") and not isinstance(of, Ratio):
        return {each.name: values(getattr(of, each.name)) for each in fields(of)}
    return of


def test_the_example_uses_every_field():
    """A field that is new in the domain must be thought of here."""
    bare = GenerationRequest("x")

    assert [each.name for each in fields(FULL) if getattr(FULL, each.name) == getattr(bare, each.name)] == []


@pytest.mark.parametrize("request_", [FULL, GenerationRequest("x")], ids=["everything", "a prompt alone"])
def test_what_is_written_is_read_again(request_):
    """Every field of a request survives, and of its pictures all but the bytes."""
    recorded = Recorded(request_, 216_800_000, "gpt-image-2", datetime(2026, 11, 22, 12, tzinfo=UTC))

    again = read_one(line_of(recorded))

    assert values(again) == values(recorded)
    assert line_of(again) == line_of(recorded)


def test_a_picture_is_described_and_never_there():
    """Not a byte of a picture is in a record, only how many there were."""
    line = line_of(Recorded(FULL))

    assert '"size_bytes":1500' in line
    assert '"data"' not in line
    assert bytes(Unread(1500)) == b""
    assert len(Unread(1500)) == 1500


def test_a_prompt_alone_is_a_record():
    """What is not said has the domain's default; empty lines are nothing."""
    lines = [b'{"request": {"prompt": "x"}}\n', b"\n", b'{"request": {"prompt": "y", "tier": "free"}}']

    first, second = read(lines)

    assert (first.request.tier, first.cost_nanos, first.model, first.time) == (Tier.STANDARD, None, None, None)
    assert (second.request.prompt, second.request.tier) == ("y", Tier.FREE)


BAD = {
    "not JSON": ("a red fox", "the line: Invalid JSON"),
    "not UTF-8": (b'{"request": {"prompt": "\xff"}}', "the line: Invalid JSON"),
    "a list": ("[]", "the line: must be an object"),
    "no request": ("{}", "request: is missing"),
    "no prompt": ('{"request": {}}', "request.prompt: is missing"),
    "an unknown field": ('{"request": {"prompt": "x", "promt": 1}}', "request.promt: there is no such field"),
    "a picture's bytes": (
        '{"request": {"prompt": "x", "image": {"width_px": 1, "height_px": 1, "mime": "image/png", "data": "aGk="}}}',
        "request.image.data: there is no such field",
    ),
    "an unknown tier": ('{"request": {"prompt": "x", "tier": "gold"}}', "request.tier: Input should be 'free'"),
    "no ratio": ('{"request": {"prompt": "x", "canvas": {"ratio": "wide"}}}', "request.canvas.ratio: Value error"),
    "a flat picture": (
        '{"request": {"prompt": "x", "image": {"width_px": 0, "height_px": 1, "mime": "image/png"}}}',
        "request.image.width_px: Input should be greater than 0",
    ),
    "negative bytes": (
        '{"request": {"prompt": "x", "mask": {"width_px":1,"height_px":1,"mime":"image/png","size_bytes":-1}}}',
        "not a number of bytes",
    ),
    "a count in words": ('{"request": {"prompt": "x", "count": "2"}}', "request.count: Input should be a valid int"),
    "a negative cost": ('{"request": {"prompt": "x"}, "cost_nanos": -1}', "cost_nanos: Input should be greater"),
    "dollars": ('{"request": {"prompt": "x"}, "cost_nanos": 0.07}', "cost_nanos: Input should be a valid integer"),
    "a time of nowhere": ('{"request": {"prompt": "x"}, "time": "2026-11-22T12:00:00"}', "time: Input should have"),
}


@pytest.mark.parametrize(("line", "says"), BAD.values(), ids=BAD)
def test_a_bad_line_is_refused_by_its_number(line, says):
    """One sentence with the line's number and the field, and none of the request's own words."""
    good = b'{"request": {"prompt": "x"}}'
    bad = line if isinstance(line, bytes) else line.encode()

    with pytest.raises(ReplayError) as refused:
        list(read([good, b"", bad], "log.jsonl"))

    assert str(refused.value).startswith("log.jsonl, line 3: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_said(tmp_path):
    """By its name."""
    with pytest.raises(ReplayError, match=r"nowhere\.jsonl: No such file"):
        list(read_file(tmp_path / "nowhere.jsonl"))
