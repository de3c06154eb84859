"""From plain values and command lines to the contract's messages."""

import dataclasses
import json
from decimal import Decimal

import pytest

from pictor import enums
from pictor.amounts import duration, money, seconds, usd
from pictor.cli.options import WORDS, Asked, pairs, picture, span_s
from pictor.cli.set_file import build
from pictor.generation import Picture
from pictor.messages import RequestOptions, edit_request, image_input, request, set_item
from pictor.v1 import image_pb2
from pictor.v1.image_pb2 import Image, ImageInput, Money
from pictor.v1.image_service_pb2 import EditRequest, GenerateRequest

ENUMS = {
    "tier": image_pb2.Tier,
    "workflow": image_pb2.Workflow,
    "resolution": image_pb2.Resolution,
    "quality": image_pb2.Quality,
    "fidelity": image_pb2.Fidelity,
    "output_format": image_pb2.OutputFormat,
    "background": image_pb2.Background,
    "on_disconnect": image_pb2.OnDisconnect,
}


def test_a_prompt_alone_leaves_everything_else_unset():
    """`{prompt}` alone is a valid request; the client adds nothing to it."""
    assert request("a red fox", ratio=None, references=None) == GenerateRequest(prompt="a red fox")


def test_every_option_reaches_its_field():
    """All options at once."""
    message = request(
        "a red fox",
        ratio="16:9",
        resolution="4k",
        tier="pro",
        high_quality=True,
        workflow="on-image-text",
        references=[b"png", "img_1"],
        count=0,
        model="gpt-image-2",
        excluded_models=["other"],
        allow_fallback=False,
        quality="HIGH",
        fidelity="FIDELITY_EXACT",
        max_cost="0.25",
        preview_count=0,
        request_id="mine",
        output_format="webp",
        output_compression=80,
        background=image_pb2.BACKGROUND_TRANSPARENT,
        seed=-1,
        end_user="u",
        labels={"a": "b"},
        max_inline_bytes=0,
        on_disconnect="finish",
    )

    assert message == GenerateRequest(
        prompt="a red fox",
        canvas=image_pb2.Canvas(ratio="16:9", resolution=image_pb2.RESOLUTION_4K),
        tier=image_pb2.TIER_PRO,
        high_quality=True,
        workflow=image_pb2.WORKFLOW_ON_IMAGE_TEXT,
        references=[ImageInput(data=b"png"), ImageInput(image_id="img_1")],
        count=0,
        model="gpt-image-2",
        excluded_models=["other"],
        allow_fallback=False,
        quality=image_pb2.QUALITY_HIGH,
        fidelity=image_pb2.FIDELITY_EXACT,
        max_cost=Money(currency_code="USD", nanos=250_000_000),
        preview_count=0,
        request_id="mine",
        output_format=image_pb2.OUTPUT_FORMAT_WEBP,
        output_compression=80,
        background=image_pb2.BACKGROUND_TRANSPARENT,
        seed=-1,
        end_user="u",
        labels={"a": "b"},
        max_inline_bytes=0,
        on_disconnect=image_pb2.ON_DISCONNECT_FINISH,
    )


def test_the_options_are_the_fields_of_the_contract():
    """A field added to GenerateRequest or Canvas is missed here until it has an option."""
    fields = {f.name for m in (GenerateRequest, image_pb2.Canvas) for f in m.DESCRIPTOR.fields} - {"prompt", "canvas"}

    assert set(RequestOptions.__annotations__) == fields


def test_options_go_on_top_of_a_given_request():
    """A prepared request is copied, not changed."""
    prepared = request("a red fox", tier="free", ratio="1:1")

    message = request(prepared, tier="pro")

    assert (message.tier, message.canvas.ratio, prepared.tier) == (image_pb2.TIER_PRO, "1:1", image_pb2.TIER_FREE)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tier": "gold"}, "tier: `gold` is none of free, standard, pro"),
        ({"tier": "unspecified"}, "tier: `unspecified` is none of"),
        ({"max_cost": "cheap"}, "max_cost: `cheap` is not an amount"),
        ({"max_cost": "NaN"}, "max_cost: `NaN` is not an amount"),
        ({"count": 2**40}, "count: "),
        ({"ratio": 16}, "ratio: "),
        ({"labels": 5}, "labels: "),
        ({"ratio": "1:1", "format": "x/post"}, "format: a format has a ratio of its own"),
        ({"colour": "red"}, "colour: no such option"),
    ],
)
def test_what_does_not_fit_names_its_field(options, text):
    """A value that cannot be put into the message is a ValueError that begins with the option."""
    with pytest.raises(ValueError, match=text):
        request("a red fox", **options)


@pytest.mark.parametrize(
    ("amount", "units", "nanos"),
    [
        ("0.25", 0, 250_000_000),
        (Decimal("12.000000001"), 12, 1),
        (0.1, 0, 100_000_000),
        (3, 3, 0),
        ("-1.5", -1, -500_000_000),
        ("1e-9", 0, 1),
    ],
)
def test_money_is_exact(amount, units, nanos):
    """Dollars in every form, there and back; a negative amount is the gateway's to refuse."""
    message = money(amount)

    assert (message.units, message.nanos) == (units, nanos)
    assert usd(message) == Decimal(str(amount))


@pytest.mark.parametrize("amount", ["0.0000000001", "Infinity", "", "1,5"])
def test_money_finer_than_a_nano_or_no_number_is_refused(amount):
    """Nothing is rounded."""
    with pytest.raises(ValueError, match="is not an amount of US dollars"):
        money(amount)


def test_spans_survive_the_way_there_and_back():
    """Seconds to a Duration and back."""
    assert seconds(duration(90.5)) == 90.5


def test_pictures_are_named_in_every_way(tmp_path):
    """Bytes, a file, an id, a picture of ours, a message."""
    file = tmp_path / "cat.png"
    file.write_bytes(b"cat")

    found = [image_input(each) for each in (b"png", file, "img_1", Picture(Image(id="img_2"), None))]

    assert found == [
        ImageInput(data=b"png"),
        ImageInput(data=b"cat"),
        ImageInput(image_id="img_1"),
        ImageInput(image_id="img_2"),
    ]
    assert image_input(found[0]) == found[0]


def test_an_edit_without_a_picture_is_left_to_the_gateway():
    """A mask alone makes an EditRequest, so that the gateway refuses it with its reason."""
    assert edit_request("blue", mask=b"m") == EditRequest(
        request=GenerateRequest(prompt="blue"), mask=ImageInput(data=b"m")
    )


@pytest.mark.parametrize("enum", ENUMS.values(), ids=ENUMS)
def test_short_names_go_there_and_back(enum):
    """Every value of every enum has a short name that is read again."""
    for word in enums.words(enum.DESCRIPTOR):
        assert enums.word(enum.DESCRIPTOR, enums.number(enum.DESCRIPTOR, word)) == word


def test_a_newer_value_is_shown_as_its_number():
    """A value that this client does not know yet does not end in an error."""
    assert enums.word(image_pb2.Tier.DESCRIPTOR, 99) == "99"


@pytest.mark.parametrize("option", WORDS)
def test_the_help_lists_the_words_of_the_contract(option):
    """The words in `--help` are written by hand, so that help needs no protobuf; they must be those of the enum."""
    assert tuple(WORDS[option].split(", ")) == enums.words(ENUMS[option].DESCRIPTOR)


def test_a_command_line_becomes_a_request():
    """Options of the command, one by one, in the words of the command line."""
    asked = Asked(
        tier="pro",
        exclude=["a,b", "c"],
        max_cost="0.25",
        label=["k=v=w"],
        previews=1,
        format="instagram/story",
        allow_fallback=True,
        on_disconnect="finish",
    )

    assert asked.request("a red fox") == request(
        "a red fox",
        tier="pro",
        excluded_models=["a", "b", "c"],
        max_cost="0.25",
        labels={"k": "v=w"},
        preview_count=1,
        format="instagram/story",
        allow_fallback=True,
        on_disconnect="finish",
    )


def test_every_option_of_a_request_has_one_on_the_command_line():
    """Only what makes no sense there is missing."""
    other_names = {
        "references": "reference",
        "excluded_models": "exclude",
        "preview_count": "previews",
        "labels": "label",
    }
    missing = {"max_inline_bytes"}

    wanted = {other_names.get(name, name) for name in RequestOptions.__annotations__ if name not in missing}

    assert wanted <= {field.name for field in dataclasses.fields(Asked)}


@pytest.mark.parametrize(
    ("asked", "always_edit", "kind"),
    [
        (Asked(), False, GenerateRequest),
        (Asked(), True, EditRequest),
        (Asked(edit="img_1"), False, EditRequest),
        (Asked(mask="img_1"), False, EditRequest),
    ],
    ids=["a prompt", "the command edit", "a picture", "a mask"],
)
def test_a_picture_or_a_mask_makes_an_edit(asked, always_edit, kind):
    """What is asked for follows from what is given."""
    assert isinstance(asked.request("x", always_edit=always_edit), kind)


def test_two_prompts_are_one_too_many():
    """Neither wins in silence."""
    with pytest.raises(ValueError, match="prompt: give it once"):
        Asked(prompt="a").request("b")


def test_a_file_that_is_not_there_is_no_id(tmp_path):
    """Something that looks like a file must exist; anything else is the id of a picture."""
    file = tmp_path / "cat.png"
    file.write_bytes(b"cat")

    assert picture(str(file)) == file
    assert picture("img_1") == "img_1"
    with pytest.raises(OSError, match=r"`dog\.png` is no file that can be read: there is none"):
        image_input(picture("dog.png"))


@pytest.mark.parametrize(
    ("text", "span"), [("30m", 1800), ("45s", 45), ("1h30m", 5400), ("2d", 172800), ("0.5h", 1800)]
)
def test_spans_are_read_as_people_write_them(text, span):
    """Minutes, hours, days, and sums of them."""
    assert span_s(text) == span


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "1x", "-5m"])
def test_other_spans_are_refused(text):
    """No unit, no number."""
    with pytest.raises(ValueError, match="not a span of time"):
        span_s(text)


@pytest.mark.parametrize("text", ["novalue", "=v"])
def test_pairs_need_a_key_and_an_equals_sign(text):
    """KEY=VALUE, the value may be empty."""
    assert pairs(["k="]) == {"k": ""}
    with pytest.raises(ValueError, match="not of the form KEY=VALUE"):
        pairs([text])


def built(asked=None, argument=None, **given):
    return build(asked or Asked(), argument, **{"items": (), "formats": (), "models": (), "file": None, **given})


def test_a_set_from_the_command_line():
    """Items, formats and models, with what all share in the brief."""
    message = built(Asked(tier="pro"), "a fox", items=["cat=a cat"], formats=["x/post,instagram/story"], models=["a,b"])

    assert message.brief == request("a fox", tier="pro")
    assert list(message.items) == [
        set_item("cat", "a cat"),
        set_item("x/post", format="x/post"),
        set_item("instagram/story", format="instagram/story"),
    ]
    assert message.models == ["a", "b"]


def test_models_alone_draw_the_brief_on_each():
    """No item: the brief itself is one."""
    assert [item.key for item in built(argument="a fox", models=["a", "b"]).items] == ["picture"]


TOML = """
models = ["gpt-image-2"]
[brief]
prompt = "a fox"
tier = "pro"
[[items]]
key = "slide-1"
prompt = "a fox at dawn"
ratio = "4:5"
"""
TABLES = {
    "models": ["gpt-image-2"],
    "brief": {"prompt": "a fox", "tier": "pro"},
    "items": [{"key": "slide-1", "prompt": "a fox at dawn", "ratio": "4:5"}],
}


@pytest.mark.parametrize(("name", "text"), [("set.toml", TOML), ("set.json", json.dumps(TABLES))])
def test_a_set_from_a_file(tmp_path, name, text):
    """TOML and JSON say the same; the command line goes before them."""
    file = tmp_path / name
    file.write_text(text)

    message = built(Asked(tier="free"), file=file, items=["b=two"])

    assert message.brief == request("a fox", tier="free")
    assert list(message.items) == [set_item("slide-1", "a fox at dawn", ratio="4:5"), set_item("b", "two")]
    assert message.models == ["gpt-image-2"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "set.toml"),
        ("colour = 1", "`colour` is none of brief, items, models"),
        ("[[items]]\nkey = 'a'\nsize = 1", "`size` is none of key, prompt"),
        ("[brief]\ncolour = 1", "colour: no such option"),
        ("items = 5", "set.toml: "),
        ("items = ['a']", "set.toml: `a` is none of key"),
        ("models = 5", "set.toml: "),
        ("[[items]]\nkey = 5", "set.toml: "),
        ("", "a set needs"),
    ],
)
def test_a_file_that_cannot_be_understood_says_where(tmp_path, text, complaint):
    """A typing mistake is named, not ignored."""
    file = tmp_path / "set.toml"
    file.write_text(text)

    with pytest.raises(ValueError, match=complaint):
        built(file=file)


def test_a_set_does_not_edit():
    """A picture to change makes no sense in a set; it is refused, not ignored."""
    with pytest.raises(ValueError, match="a set draws new pictures"):
        built(Asked(edit="img_1"), items=["a=b"])
