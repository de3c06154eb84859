"""Masked edits in the router: what a mask protects stays where it is, or the plan says that it does not."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictord.catalog import pricing
from pictord.catalog.pricing import Draw
from pictord.domain.plan import AdaptationKind, Plan
from pictord.domain.request import Canvas, Fidelity, GenerationRequest, Quality, Ratio, Resolution, Workflow
from pictord.routing.policy import load as load_policy
from pictord.routing.refusal import refusal
from router_world import (
    BANANA,
    CATALOG,
    GPT,
    candidate,
    edit,
    exclusion,
    kinds,
    mask,
    models,
    picture,
    plan_of,
    reasons,
)

STATUS_TEXT_BYTES = 768
"""What a gRPC status carries of a text (`rpc/status.py`): the help at its end must be within."""


def masked(width: int, height: int, **changes) -> GenerationRequest:
    """An edit with a mask, adapted if need be."""
    given_ = {"image": picture(width, height), "mask": mask(width, height), "fidelity": Fidelity.ADAPT}
    return edit(**given_ | changes)


def said_size(plan: Plan, model: str) -> tuple[str, str] | None:
    """What the plan says of the size: asked and delivered."""
    found = [each for each in candidate(plan, model).adaptations if each.kind is AdaptationKind.SIZE_CHANGED]
    return (found[0].asked, found[0].delivered) if found else None


def text(px: tuple[int, int]) -> str:
    return f"{px[0]}x{px[1]}"


# Which pixels


@pytest.mark.parametrize(
    ("size", "canvas", "gpt", "banana"),
    [
        pytest.param((1024, 1024), {}, (1024, 1024), (1024, 1024), id="both draw it"),
        pytest.param((1376, 768), {}, (1376, 768), (1376, 768), id="a picture of Nano Banana 2"),
        pytest.param((1696, 2528), {}, (1696, 2528), (1696, 2528), id="its 2K"),
        pytest.param((1024, 640), {}, (1024, 640), (1264, 848), id="smallest on the grid, off the table"),
        pytest.param((1000, 1000), {}, (992, 992), (1024, 1024), id="off the grid"),
        pytest.param((1024, 1000), {}, (1024, 1008), (1024, 1024), id="one side off the grid"),
        pytest.param((1920, 1080), {}, (1920, 1088), (1376, 768), id="full HD"),
        pytest.param((512, 512), {}, (816, 816), (512, 512), id="too few pixels for the grid"),
        pytest.param((2048, 512), {}, (1776, 592), (2048, 512), id="too long for the grid"),
        pytest.param((3840, 2160), {}, (2736, 1536), (2752, 1536), id="4K, and nobody asked to pay for it"),
        pytest.param((3840, 2160), {"resolution": "4k"}, (3840, 2160), (5504, 3072), id="4K asked"),
        pytest.param((2880, 2880), {"resolution": "4k"}, (2880, 2880), (4096, 4096), id="4K asked, a square one"),
        pytest.param((3840, 2160), {"workflow": Workflow.AD}, (3840, 2160), (2752, 1536), id="4K meant"),
        pytest.param((1024, 1024), {"workflow": Workflow.AD}, (1024, 1024), (1024, 1024), id="4K meant at most"),
        pytest.param((1024, 640), {"resolution": "1k"}, (1024, 640), (1264, 848), id="its own class asked"),
        pytest.param((1024, 1024), {"resolution": "2k"}, (2048, 2048), (2048, 2048), id="another class asked"),
        pytest.param((1000, 1000), {"resolution": "1k"}, (1024, 1024), (1024, 1024), id="off the grid, class asked"),
        pytest.param((1376, 768), {"ratio": "16:9"}, (1376, 768), (1376, 768), id="its own ratio asked"),
        pytest.param((1376, 768), {"form": "x/post"}, (1376, 768), (1376, 768), id="a format of its own ratio asked"),
        pytest.param((1024, 1024), {"ratio": "16:9"}, (1360, 768), (1376, 768), id="another ratio asked"),
    ],
)
def test_the_pixels_of_a_masked_edit(size, canvas, gpt, banana):
    """Its picture's own where they can be drawn, else the nearest; and whenever they differ, it is said."""
    plan = plan_of(masked(*size, **canvas))

    drawn = {GPT: candidate(plan, GPT).size_px, BANANA: candidate(plan, BANANA).size_px}
    assert drawn == {GPT: gpt, BANANA: banana}
    for model, px in drawn.items():
        assert said_size(plan, model) == (None if px == size else (text(size), text(px)))


def test_without_a_mask_an_edit_is_drawn_at_the_default_resolution():
    """Nothing is to be kept, so the picture gives its ratio only, and a large upload costs what any edit does."""
    for size in ((1024, 640), (1000, 1000), (3840, 2160)):
        with_mask, without = plan_of(masked(*size)), plan_of(replace(masked(*size), mask=None))

        assert "size_changed" not in kinds(without, GPT) + kinds(without, BANANA)
        assert candidate(without, GPT).resolution is Resolution.R1K
        assert candidate(without, GPT).ratio == candidate(with_mask, GPT).ratio


def test_a_masked_edit_is_priced_by_the_pixels_that_are_drawn():
    """A 2K picture costs a 2K picture, on both engines, at worst and probably."""
    plan = plan_of(masked(2048, 2048))

    for model, quality in ((GPT, Quality.MEDIUM), (BANANA, None)):
        draw = Draw(9, (2048, 2048), Resolution.R2K, quality, input_images=1, masked=True)
        found, prices = candidate(plan, model), pricing.estimate(CATALOG.models[model], draw)
        assert (found.worst_case_nanos, found.expected_nanos) == (prices.worst_nanos, prices.expected_nanos)
        assert found.expected_p90_s == CATALOG.models[model].times(quality, Resolution.R2K).p90_s


def test_how_large_own_pixels_may_be_is_policy(tmp_path):
    """An operator may let every masked edit keep its picture's size, or only small ones."""
    sizes = {}
    for limit in ("1k", "4k"):
        (tmp_path / "policy.toml").write_text(f'[rules.resolution]\nmasked_up_to = "{limit}"\n')
        plan = plan_of(masked(3840, 2160), policy=load_policy(CATALOG, tmp_path))
        sizes[limit] = candidate(plan, GPT).size_px

    assert sizes == {"1k": (1360, 768), "4k": (3840, 2160)}


# EXACT, which a mask means unless told otherwise


def test_exact_excludes_who_would_move_protected_pixels():
    """A picture off the grid is refused rather than rescaled, with the adaptation and what would help."""
    request = masked(1000, 1000, fidelity=None)
    plan = plan_of(request)
    error = refusal(plan, request)

    assert reasons(plan) == {BANANA: "needs_adaptation", GPT: "needs_adaptation"}
    assert [each.kind for each in exclusion(plan, GPT).adaptations] == [AdaptationKind.SIZE_CHANGED]
    assert "SIZE_CHANGED (1000x1000 → 992x992)" in error.text
    assert (
        "naming gpt-image-2 with fidelity ADAPT would let it serve this, or a picture and mask of 992x992" in error.text
    )


@pytest.mark.parametrize(("size", "first"), [((3840, 2160), "resolution 4k"), ((1920, 1080), "naming gpt-image-2")])
def test_what_protects_most_is_advised_first(size, first):
    """The picture's own pixels, then the engine that has masks, and an engine without masks last; all of it is true."""
    request = masked(*size, fidelity=None)
    helps = refusal(plan_of(request), request).text.partition("What would help: ")[2]

    assert helps.startswith(first)
    assert helps.endswith(f"; fidelity ADAPT would let {BANANA} serve it")
    assert models(plan_of(masked(*size, model=GPT, fidelity=Fidelity.ADAPT))) == [GPT]


def test_whoever_named_an_engine_is_not_told_to_name_it():
    """ADAPT is all that is missing then."""
    request = masked(1920, 1080, model=GPT, fidelity=None)

    text = refusal(plan_of(request), request).text

    assert "What would help: fidelity ADAPT would let gpt-image-2 serve it, or a picture and mask of 1920x1088" in text


@pytest.mark.parametrize(
    ("size", "asked", "keeps"),
    [((3840, 2160), None, "4k"), ((1024, 1024), "2k", "1k"), ((2048, 2048), "1k", "2k"), ((1000, 1000), "2k", None)],
)
def test_the_resolution_that_keeps_the_size_is_named(size, asked, keeps):
    """Where another resolution would let the picture keep its pixels, the exclusion says which, and it is true."""
    said = exclusion(plan_of(masked(*size, resolution=asked, fidelity=None)), GPT).text

    assert ("would keep" in said) == (keeps is not None)
    if keeps is not None:
        assert f"with resolution {keeps} it would keep the picture's own pixels" in said
        assert models(plan_of(masked(*size, resolution=keeps, fidelity=None))) == [GPT]


def test_the_help_is_not_cut_off():
    """The longest refusal of this kind fits a status."""
    request = masked(3840, 2160, fidelity=None)

    assert len(refusal(plan_of(request), request).text.encode()) <= STATUS_TEXT_BYTES


# For all pictures


@st.composite
def grid_sizes(pick):
    """Any size that gpt-image-2 draws: multiples of 16, 655,360 to 8,294,400 pixels, 1:3 to 3:1, at most 3840 long."""
    width = pick(st.integers(30, 240))
    least, most = max(-(-width // 3), -(-2560 // width)), min(3 * width, 240, 32_400 // width)
    return width * 16, 16 * pick(st.integers(least, most))


anything = st.tuples(st.integers(1, 8192), st.integers(1, 8192))
canvases = st.builds(
    Canvas,
    st.sampled_from([None, None, *map(Ratio.parse, ("1:1", "16:9", "4:5", "3:1"))]),
    st.none(),
    st.sampled_from([None, *Resolution]),
)


@settings(max_examples=300)
@given(grid_sizes())
def test_a_picture_on_the_grid_keeps_its_very_pixels(size):
    """gpt-image-2 serves such an edit exactly; above 2K, where it is dearer, if its class is asked for."""
    request = masked(*size, fidelity=None)
    plan = plan_of(request)
    if not plan.candidates:
        assert size[0] * size[1] > 2 * 2048 * 1024
        plan = plan_of(replace(request, canvas=Canvas(resolution=Resolution.R4K)))

    assert [(each.model, each.size_px, each.adaptations) for each in plan.candidates] == [(GPT, size, ())]


@settings(max_examples=300)
@given(st.one_of(grid_sizes(), anything), canvases, st.sampled_from([None, *Workflow]))
def test_other_pixels_than_a_masked_pictures_are_said(size, canvas, workflow):
    """Whatever is asked: who carries no SIZE_CHANGED draws the very pixels of the picture, and who does does not."""
    plan = plan_of(replace(masked(*size, workflow=workflow), canvas=canvas))

    for each in plan.candidates:
        assert said_size(plan, each.model) == (None if each.size_px == size else (text(size), text(each.size_px)))


@settings(max_examples=300)
@given(st.one_of(grid_sizes(), anything), canvases)
def test_the_size_that_would_help_helps(size, canvas):
    """A refusal that names a size for picture and mask is right: that one is served exactly."""
    plan = plan_of(replace(masked(*size, fidelity=None), canvas=canvas))
    for each in plan.exclusions:
        if [said.kind for said in each.adaptations] == [AdaptationKind.SIZE_CHANGED]:
            width, height = map(int, each.adaptations[0].delivered.split("x"))
            again = plan_of(replace(masked(width, height, fidelity=None), canvas=canvas))
            assert models(again) == [each.model]


@settings(max_examples=300)
@given(st.one_of(grid_sizes(), anything))
def test_an_upload_alone_never_multiplies_the_price(size):
    """With nothing asked, keeping the size costs at most three times what the same edit costs at 1K."""
    for model in (GPT, BANANA):
        kept = candidate(plan_of(masked(*size)), model)
        usual = candidate(plan_of(masked(*size, resolution="1k")), model)

        assert kept.expected_nanos <= 3 * usual.expected_nanos
