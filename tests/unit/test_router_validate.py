"""Validation: every bad field is named by its path, with a reason and what would work."""

from dataclasses import replace

import pytest

from pictord.domain.reason import Reason
from pictord.domain.request import Background, OutputFormat, Quality
from pictord.errors import invalid
from pictord.routing.validate import violations
from router_world import BANANA, CATALOG, GPT, draw, edit, mask, picture


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    [
        pytest.param(draw(""), "prompt", Reason.PROMPT_EMPTY, id="empty prompt"),
        pytest.param(draw(" \n"), "prompt", Reason.PROMPT_EMPTY, id="blank prompt"),
        pytest.param(draw("x" * 32_001), "prompt", Reason.PROMPT_TOO_LONG, id="prompt longer than any limit"),
        pytest.param(draw(ratio="8.1:1"), "canvas.ratio", Reason.RATIO_INVALID, id="wider than 8:1"),
        pytest.param(draw(ratio="1:9"), "canvas.ratio", Reason.RATIO_INVALID, id="narrower than 1:8"),
        pytest.param(draw(ratio="1:1", form="x/post"), "canvas.format", Reason.INVALID_FIELD, id="ratio and format"),
        pytest.param(draw(form="myspace/page"), "canvas.format", Reason.FORMAT_UNKNOWN, id="unknown format"),
        pytest.param(draw(model="gpt-9"), "model", Reason.MODEL_UNKNOWN, id="unknown model"),
        pytest.param(
            draw(excluded_models=(GPT, "gpt-9")),
            "excluded_models[1]",
            Reason.MODEL_UNKNOWN,
            id="unknown excluded model",
        ),
        pytest.param(
            draw(model=BANANA, excluded_models=("nano-banana-2",)),
            "excluded_models[0]",
            Reason.INVALID_FIELD,
            id="named and excluded",
        ),
        pytest.param(draw(count=0), "count", Reason.COUNT_OUT_OF_RANGE, id="count 0"),
        pytest.param(draw(count=11), "count", Reason.COUNT_OUT_OF_RANGE, id="count 11"),
        pytest.param(draw(references=(picture(),) * 17), "references", Reason.TOO_MANY_REFERENCES, id="17 references"),
        pytest.param(
            edit(references=(picture(),) * 16), "references", Reason.TOO_MANY_REFERENCES, id="16 beside the picture"
        ),
        pytest.param(draw(mask=mask()), "mask", Reason.MASK_WITHOUT_IMAGE, id="mask without image"),
        pytest.param(edit(mask=mask(1023, 1024)), "mask", Reason.MASK_INVALID, id="mask of other size"),
        pytest.param(edit(mask=mask(mime="image/jpeg")), "mask", Reason.MASK_INVALID, id="mask not PNG"),
        pytest.param(edit(mask=mask(has_alpha=False)), "mask", Reason.MASK_INVALID, id="mask without alpha"),
        pytest.param(draw(image=picture()), "image", Reason.INVALID_FIELD, id="image on generate"),
        pytest.param(draw(quality=Quality.LOW), "quality", Reason.INVALID_FIELD, id="quality without model"),
        pytest.param(draw(preview_count=4), "preview_count", Reason.INVALID_FIELD, id="4 previews"),
        pytest.param(draw(preview_count=-1), "preview_count", Reason.INVALID_FIELD, id="-1 previews"),
        pytest.param(draw(max_cost_nanos=-1), "max_cost", Reason.INVALID_FIELD, id="negative max_cost"),
        pytest.param(draw(max_inline_bytes=-1), "max_inline_bytes", Reason.INVALID_FIELD, id="negative bytes"),
        pytest.param(draw(seed=-1), "seed", Reason.INVALID_FIELD, id="negative seed"),
        pytest.param(draw(seed=2**31), "seed", Reason.INVALID_FIELD, id="seed too large"),
        pytest.param(
            draw(output_format=OutputFormat.JPEG, output_compression=101),
            "output_compression",
            Reason.INVALID_FIELD,
            id="compression 101",
        ),
        pytest.param(draw(output_compression=50), "output_compression", Reason.INVALID_FIELD, id="no format"),
        pytest.param(
            draw(output_format=OutputFormat.PNG, output_compression=50),
            "output_compression",
            Reason.INVALID_FIELD,
            id="compressed PNG",
        ),
        pytest.param(
            draw(output_format=OutputFormat.JPEG, background=Background.TRANSPARENT),
            "background",
            Reason.INVALID_FIELD,
            id="transparent JPEG",
        ),
        pytest.param(draw(labels={str(n): "" for n in range(17)}), "labels", Reason.INVALID_FIELD, id="17 labels"),
        pytest.param(draw(labels={"k": "v" * 257}), "labels[k]", Reason.INVALID_FIELD, id="long label"),
        pytest.param(draw(labels={"": "v"}), "labels[]", Reason.INVALID_FIELD, id="empty label key"),
        pytest.param(draw(end_user="é" * 129), "end_user", Reason.INVALID_FIELD, id="long end user"),
        pytest.param(draw(request_id="x" * 129), "request_id", Reason.INVALID_FIELD, id="long request id"),
    ],
)
def test_a_bad_field_is_named(request_, field, reason):
    """One bad field gives one violation with its path and reason, and a sentence."""
    found = violations(request_, CATALOG)

    assert [(v.field, v.reason) for v in found] == [(field, reason)]
    assert found[0].text


def test_an_edit_needs_a_picture():
    """An edit without its picture is IMAGE_MISSING."""
    found = violations(replace(edit(), image=None), CATALOG)

    assert [(v.field, v.reason) for v in found] == [("image", Reason.IMAGE_MISSING)]


@pytest.mark.parametrize(
    "request_",
    [
        draw(),
        draw("x" * 32_000),
        draw(ratio="8:1"),
        draw(ratio="1:8"),
        draw(count=10, seed=2**31 - 1, preview_count=3, max_cost_nanos=0),
        draw(references=(picture(),) * 16),
        draw(model="nano-banana-2", excluded_models=(GPT,)),
        draw(model=GPT, quality=Quality.HIGH),
        draw(output_format=OutputFormat.WEBP, output_compression=0),
        draw(background=Background.TRANSPARENT),
        draw(labels={"campaign": "spring"}, end_user="u-1", request_id="r-1"),
        edit(mask=mask(), references=(picture(),) * 15),
    ],
)
def test_good_requests_pass(request_):
    """Values at their limits are valid."""
    assert violations(request_, CATALOG) == []


def test_all_violations_are_listed():
    """Several bad fields are all named; the first gives the reason."""
    error = invalid(violations(draw("", count=0, seed=-1), CATALOG))

    assert error.reason is Reason.PROMPT_EMPTY
    assert [v.field for v in error.violations] == ["prompt", "count", "seed"]


def test_unknown_names_say_what_there_is():
    """A misspelt format or model is answered with the known ones."""
    [form] = violations(draw(form="x/pots"), CATALOG)
    [model] = violations(draw(model="gpt-image"), CATALOG)

    assert "x/post" in form.text
    assert GPT in model.text
