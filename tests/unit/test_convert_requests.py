"""From the contract to the domain: what is read, what is refused, and the path that names it."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictord.domain.caller import Caller, CallerPolicy
from pictord.domain.reason import Reason
from pictord.domain.request import (
    Background,
    Canvas,
    Fidelity,
    GenerationRequest,
    InputImage,
    OnDisconnect,
    Operation,
    OutputFormat,
    Quality,
    Ratio,
    Resolution,
    Tier,
    Workflow,
)
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.jobs.sets import SetItem
from pictord.rpc import convert_in, convert_out, enums
from pictord.rpc.convert_in import Paths, RequestReader


class Shelf:
    """Pictures as the reader asks for them: it notes which, and hands out a plain one."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    async def input_image(self, caller, *, data, image_id, field):
        self.asked.append((field, image_id))
        return InputImage(data or b"stored", "image/png", 8, 8, has_alpha=False, sha256=image_id or "given")


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def reader(shelf):
    return RequestReader(Caller("studio", policy=CallerPolicy(default_tier=Tier.PRO)), shelf)


async def violations(awaitable) -> list[tuple[str, Reason]]:
    with pytest.raises(GatewayError) as caught:
        await awaitable
    return [(each.field, each.reason) for each in caught.value.violations]


async def test_a_prompt_alone_is_a_request(reader):
    """`{prompt}` gets the caller's default tier and leaves everything else unsaid."""
    request = await reader.generate(service.GenerateRequest(prompt=" a fox \n"), convert_in.GENERATE)

    assert request.prompt == " a fox \n"
    assert (request.operation, request.tier, request.count) == (Operation.GENERATE, Tier.PRO, 1)
    assert request.canvas == Canvas()
    assert request.on_disconnect is OnDisconnect.FINISH_IF_SENT
    unsaid = ("workflow", "quality", "preview_count", "output_format", "output_compression", "background", "seed")
    unsaid += ("fidelity", "model", "allow_fallback", "max_cost_nanos", "request_id", "end_user", "max_inline_bytes")
    assert [name for name in unsaid if getattr(request, name) is not None] == []


async def test_every_field_is_read(reader):
    """Nothing that the contract has is lost on the way in."""
    message = service.GenerateRequest(
        prompt="a fox",
        canvas=image.Canvas(ratio="16:9", resolution=image.RESOLUTION_2K),
        tier=image.TIER_FREE,
        high_quality=True,
        workflow=image.WORKFLOW_HERO,
        references=[image.ImageInput(data=b"1"), image.ImageInput(image_id="img_2")],
        count=3,
        model="gpt-image-2",
        excluded_models=["a", "b", "a"],
        allow_fallback=False,
        quality=image.QUALITY_LOW,
        fidelity=image.FIDELITY_EXACT,
        max_cost=image.Money(units=1, nanos=500_000_000),
        preview_count=0,
        request_id="r1",
        output_format=image.OUTPUT_FORMAT_WEBP,
        output_compression=0,
        background=image.BACKGROUND_TRANSPARENT,
        seed=0,
        end_user="u1",
        labels={"team": "blue"},
        max_inline_bytes=0,
        on_disconnect=image.ON_DISCONNECT_FINISH,
    )
    assert not [f.name for f in message.DESCRIPTOR.fields if f not in dict(message.ListFields())], "a field is not set"
    request = await reader.generate(message, convert_in.GENERATE)

    assert (request.canvas, request.tier, request.high_quality, request.workflow, request.count) == (
        Canvas(Ratio.parse("16:9"), None, Resolution.R2K),
        Tier.FREE,
        True,
        Workflow.HERO,
        3,
    )
    assert [each.sha256 for each in request.references] == ["given", "img_2"]
    assert (request.model, request.excluded_models, request.allow_fallback) == ("gpt-image-2", ("a", "b"), False)
    assert (request.quality, request.fidelity, request.background) == (
        Quality.LOW,
        Fidelity.EXACT,
        Background.TRANSPARENT,
    )
    assert (request.max_cost_nanos, request.preview_count, request.seed) == (1_500_000_000, 0, 0)
    assert (request.output_format, request.output_compression) == (OutputFormat.WEBP, 0)
    assert (request.request_id, request.end_user, request.labels) == ("r1", "u1", {"team": "blue"})
    assert (request.max_inline_bytes, request.on_disconnect) == (0, OnDisconnect.FINISH)


async def test_a_picture_that_is_named_again_is_loaded_once(reader, shelf):
    """Sixteen references to one upload are one picture in memory, whatever role it has beside them."""
    named = {"image_id": "img_1"}
    prompt = service.GenerateRequest(prompt="x", references=[named] * 15 + [{"image_id": "img_2"}])

    request = await reader.edit(service.EditRequest(request=prompt, image=named), convert_in.EDIT)

    assert [image_id for _, image_id in shelf.asked] == ["img_1", "img_2"]
    assert len({id(picture) for picture in request.all_pictures}) == 2
    assert [each.sha256 for each in request.references] == ["img_1"] * 15 + ["img_2"]


async def test_an_edit_brings_its_pictures(reader, shelf):
    """Image, mask and references are looked up under the paths of the RPC."""
    message = service.EditRequest(
        request=service.GenerateRequest(prompt="hat", references=[image.ImageInput(image_id="ref")]),
        image=image.ImageInput(data=b"1"),
        mask=image.ImageInput(image_id="mask"),
    )
    request = await reader.edit(message, convert_in.EDIT_STREAM)

    assert request.operation is Operation.EDIT
    assert request.image.data == b"1"
    assert request.mask.sha256 == "mask"
    assert shelf.asked == [
        ("request.image", None),
        ("request.mask", "mask"),
        ("request.request.references[0]", "ref"),
    ]


BAD = [
    pytest.param({"tier": 99}, "tier", Reason.INVALID_FIELD, id="unknown tier"),
    pytest.param({"workflow": -1}, "workflow", Reason.INVALID_FIELD, id="unknown workflow"),
    pytest.param({"quality": 99}, "quality", Reason.INVALID_FIELD, id="unknown quality"),
    pytest.param({"fidelity": 99}, "fidelity", Reason.INVALID_FIELD, id="unknown fidelity"),
    pytest.param({"output_format": 99}, "output_format", Reason.INVALID_FIELD, id="unknown output format"),
    pytest.param({"background": 99}, "background", Reason.INVALID_FIELD, id="unknown background"),
    pytest.param({"on_disconnect": 99}, "on_disconnect", Reason.INVALID_FIELD, id="unknown on_disconnect"),
    pytest.param({"canvas": {"resolution": 99}}, "canvas.resolution", Reason.INVALID_FIELD, id="unknown resolution"),
    pytest.param({"canvas": {"ratio": "wide"}}, "canvas.ratio", Reason.RATIO_INVALID, id="no ratio"),
    pytest.param({"canvas": {"ratio": "0:1"}}, "canvas.ratio", Reason.RATIO_INVALID, id="a ratio of nothing"),
    pytest.param({"canvas": {"ratio": "-4:3"}}, "canvas.ratio", Reason.RATIO_INVALID, id="a negative ratio"),
    pytest.param({"canvas": {"ratio": ""}}, "canvas.ratio", Reason.RATIO_INVALID, id="an empty ratio"),
    pytest.param({"canvas": {"format": ""}}, "canvas.format", Reason.FORMAT_UNKNOWN, id="an empty format"),
    pytest.param({"max_cost": {"units": -1}}, "max_cost", Reason.INVALID_FIELD, id="negative max_cost"),
    pytest.param({"max_cost": {"nanos": -1}}, "max_cost", Reason.INVALID_FIELD, id="slightly negative max_cost"),
    pytest.param({"max_cost": {"nanos": 10**9}}, "max_cost", Reason.INVALID_FIELD, id="too many nanos"),
    pytest.param({"max_cost": {"units": 1, "nanos": -1}}, "max_cost", Reason.INVALID_FIELD, id="two signs"),
    pytest.param({"max_cost": {"currency_code": "EUR"}}, "max_cost", Reason.INVALID_FIELD, id="not dollars"),
    pytest.param({"max_cost": {"units": 2**63 - 1}}, "max_cost", Reason.INVALID_FIELD, id="more than all money"),
    pytest.param({"references": [{}] * 17}, "references", Reason.TOO_MANY_REFERENCES, id="17 references"),
    pytest.param(
        {"excluded_models": [str(n) for n in range(65)]}, "excluded_models", Reason.INVALID_FIELD, id="65 exclusions"
    ),
]

PLACES = [
    pytest.param(convert_in.GENERATE, "", id="Generate"),
    pytest.param(convert_in.GENERATE_STREAM, "request.", id="GenerateStream"),
    pytest.param(convert_in.PLAN_GENERATE, "generate.", id="Plan"),
]


@pytest.mark.parametrize(("fields", "path", "reason"), BAD)
@pytest.mark.parametrize(("paths", "prefix"), PLACES)
async def test_a_wrong_field_is_named_by_its_path(reader, shelf, fields, path, reason, paths, prefix):  # noqa: PLR0917 - two tables
    """A field that cannot be read is refused under its path in the RPC's message, before any picture is looked up."""
    message = service.GenerateRequest(prompt="a fox", **fields)

    assert await violations(reader.generate(message, paths)) == [(prefix + path, reason)]
    assert shelf.asked == []


async def test_all_wrong_fields_are_listed_at_once(reader):
    """A caller sees everything that is wrong in one answer."""
    message = service.GenerateRequest(tier=99, canvas={"ratio": "x"}, max_cost={"units": -1})

    assert [field for field, _ in await violations(reader.generate(message, convert_in.GENERATE))] == [
        "canvas.ratio",
        "tier",
        "max_cost",
    ]


async def test_an_edit_without_a_picture(reader):
    """Without a picture there is nothing to edit."""
    message = service.EditRequest(request=service.GenerateRequest(prompt="hat"))

    assert await violations(reader.edit(message, convert_in.PLAN_EDIT)) == [("edit.image", Reason.IMAGE_MISSING)]


async def test_a_mask_without_a_picture(reader):
    """A mask alone is named as the mistake."""
    message = service.EditRequest(request=service.GenerateRequest(prompt="hat"), mask=image.ImageInput(data=b"1"))

    assert await violations(reader.edit(message, convert_in.EDIT)) == [
        ("mask", Reason.MASK_WITHOUT_IMAGE),
        ("image", Reason.IMAGE_MISSING),
    ]


async def test_an_edit_names_the_fields_of_its_request_one_level_deeper(reader):
    """EditRequest wraps GenerateRequest, and the paths say so."""
    message = service.EditRequest(request=service.GenerateRequest(tier=99), image=image.ImageInput(data=b"1"))

    assert await violations(reader.edit(message, convert_in.EDIT)) == [("request.tier", Reason.INVALID_FIELD)]
    assert await violations(reader.edit(message, convert_in.EDIT_STREAM)) == [
        ("request.request.tier", Reason.INVALID_FIELD)
    ]


@pytest.mark.parametrize(
    ("field", "paths", "path"),
    [
        ("prompt", convert_in.GENERATE, "prompt"),
        ("prompt", convert_in.EDIT, "request.prompt"),
        ("prompt", convert_in.EDIT_STREAM, "request.request.prompt"),
        ("mask", convert_in.EDIT, "mask"),
        ("mask", convert_in.EDIT_STREAM, "request.mask"),
        ("image", convert_in.PLAN_EDIT, "edit.image"),
        ("canvas.ratio", convert_in.PLAN_GENERATE, "generate.canvas.ratio"),
        ("references[2]", convert_in.PLAN_EDIT, "edit.request.references[2]"),
        ("max_cost", convert_in.REROLL, "max_cost"),
        ("prompt", convert_in.SET, "brief.prompt"),
    ],
)
def test_the_routers_findings_get_the_rpcs_paths(field, paths, path):
    """What the router finds is told under the path in the message that the caller sent."""
    error = paths.relocated(invalid([FieldViolation(field, "no", Reason.MASK_INVALID)]))

    assert [(each.field, each.reason) for each in error.violations] == [(path, Reason.MASK_INVALID)]
    assert error.metadata == {"field": path}
    assert error.text == f"{path}: no"


def test_other_errors_keep_their_words():
    """Errors that name no field pass unchanged."""
    error = GatewayError(Reason.QUEUE_FULL, "full", retry_after_s=3)

    assert Paths("x.").relocated(error) is error


async def test_a_set_is_read_item_by_item(reader):
    """Items keep what is their own and leave the rest to the brief."""
    message = service.GenerateSetRequest(
        brief=service.GenerateRequest(prompt="a fox"),
        items=[
            service.SetItem(key="story", canvas=image.Canvas(format="instagram/story")),
            service.SetItem(key="slide", prompt="a den", workflow=image.WORKFLOW_CAROUSEL),
        ],
        models=["gpt-image-2"],
    )
    wanted = await reader.set(message)

    assert wanted.brief.prompt == "a fox"
    assert wanted.items == (
        SetItem("story", canvas=Canvas(format="instagram/story")),
        SetItem("slide", "a den", workflow=Workflow.CAROUSEL),
    )
    assert wanted.models == ("gpt-image-2",)


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        pytest.param({"items": []}, "items", Reason.COUNT_OUT_OF_RANGE, id="no item"),
        pytest.param({"items": [{"key": "a"}] * 41}, "items", Reason.COUNT_OUT_OF_RANGE, id="41 items"),
        pytest.param({"items": [{}]}, "items[0].key", Reason.INVALID_FIELD, id="no key"),
        pytest.param({"items": [{"key": "k" * 65}]}, "items[0].key", Reason.INVALID_FIELD, id="a long key"),
        pytest.param(
            {"items": [{"key": "a"}, {"key": "b", "canvas": {"ratio": "x"}}]},
            "items[1].canvas.ratio",
            Reason.RATIO_INVALID,
            id="an item's ratio",
        ),
        pytest.param(
            {"items": [{"key": "a", "workflow": 99}]},
            "items[0].workflow",
            Reason.INVALID_FIELD,
            id="an item's workflow",
        ),
        pytest.param({"items": [{"key": "a"}], "brief": {"tier": 99}}, "brief.tier", Reason.INVALID_FIELD, id="brief"),
        pytest.param(
            {"items": [{"key": "a"}], "models": ["m"] * 41}, "models", Reason.INVALID_FIELD, id="too many models"
        ),
    ],
)
async def test_a_wrong_set_is_named_by_its_path(reader, fields, path, reason):
    """What is wrong in a set is named down to the item."""
    assert await violations(reader.set(service.GenerateSetRequest(**fields))) == [(path, reason)]


async def test_a_reroll_brings_only_what_it_says(reader):
    """Prompt and canvas stay the earlier ones; ids, bounds and previews are the new call's."""
    earlier = await reader.generate(
        service.GenerateRequest(prompt="a fox", request_id="old", preview_count=3, max_inline_bytes=7),
        convert_in.GENERATE,
    )
    message = service.RerollRequest(generation_id="gen_1", request_id="new", max_cost=image.Money(units=1))
    request = convert_in.rerolled(earlier, message)

    assert (request.prompt, request.request_id, request.max_cost_nanos) == ("a fox", "new", 1_000_000_000)
    assert (request.preview_count, request.max_inline_bytes) == (None, None)


def test_a_wrong_reroll_is_named_by_its_path():
    """RerollRequest's own fields are checked like everybody's."""
    message = service.RerollRequest(generation_id="gen_1", max_cost=image.Money(units=-1), on_disconnect=9)

    with pytest.raises(GatewayError) as caught:
        convert_in.rerolled(GenerationRequest("a fox"), message)
    assert [each.field for each in caught.value.violations] == ["max_cost", "on_disconnect"]


@given(st.integers(0, 2**63 - 1))
def test_money_survives_both_ways(nanos):
    """Any amount that is taken comes out as it went in."""
    assert convert_in.money_nanos(convert_out.money_message(nanos)) == nanos


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_money_is_read_or_refused(units, nanos):
    """There is no Money that breaks the reader: it is exact or a ValueError."""
    try:
        read = convert_in.money_nanos(image.Money(units=units, nanos=nanos))
    except ValueError:
        return
    assert read == units * 10**9 + nanos


ENUMS = [each for each in vars(enums).values() if isinstance(each, enums.EnumMap)]


@pytest.mark.parametrize("mapping", ENUMS, ids=lambda mapping: mapping.domain.__name__)
def test_enums_survive_both_ways(mapping):
    """Every word of the domain has its number in the contract, and UNSPECIFIED is None."""
    assert [mapping.from_proto(mapping.to_proto(member)) for member in mapping.domain] == list(mapping.domain)
    assert mapping.from_proto(mapping.to_proto(None)) is None


@pytest.mark.parametrize("mapping", ENUMS, ids=lambda mapping: mapping.domain.__name__)
def test_the_contract_has_no_word_that_the_domain_lacks(mapping):
    """Every number of the contract is read."""
    numbers = mapping.wrapper.values()

    assert len(numbers) == len(mapping.domain) + 1
    assert [number for number in numbers if number and mapping.from_proto(number) is None] == []


@given(
    st.one_of(st.none(), st.sampled_from(["16:9", "1:1", "1.91:1", "4:5"])),
    st.one_of(st.none(), st.sampled_from(Resolution)),
)
def test_a_canvas_survives_both_ways(ratio, resolution):
    """The echo of a canvas is the canvas."""
    canvas = Canvas(Ratio.parse(ratio) if ratio else None, None if ratio else "x/post", resolution)
    message = convert_out.canvas_message(canvas)

    assert convert_in._canvas(message, "canvas", convert_in.Check()) == canvas


@pytest.mark.parametrize(
    ("duration", "seconds"), [(Duration(), 0.0), (Duration(seconds=90), 90.0), (Duration(nanos=500_000_000), 0.5)]
)
def test_durations_are_seconds(duration, seconds):
    """A span of time is read in seconds."""
    assert convert_in.seconds(duration) == seconds


@pytest.mark.parametrize("duration", [Duration(seconds=-1), Duration(nanos=-1), Duration(nanos=10**9)])
def test_malformed_durations_are_refused(duration):
    """Negative and malformed spans are no spans."""
    with pytest.raises(ValueError, match="not negative"):
        convert_in.seconds(duration)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_timestamp_is_read_or_refused(seconds, nanos):
    """There is no Timestamp that breaks the reader."""
    try:
        time = convert_in.timestamp(Timestamp(seconds=seconds, nanos=nanos))
    except ValueError:
        return
    assert time.utcoffset().total_seconds() == 0


@given(st.floats(0, 1e7))
def test_seconds_survive_to_the_microsecond(seconds):
    """Durations leave with microseconds."""
    assert abs(convert_in.seconds(convert_out.duration_message(seconds)) - seconds) < 1e-6
