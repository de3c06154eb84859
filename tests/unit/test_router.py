"""The router: every row of the decision table, and every rule beside it."""

from dataclasses import replace
from datetime import date

import pytest

from pictord.catalog.catalog import load as load_catalog
from pictord.domain.caller import CallerPolicy
from pictord.domain.plan import ExclusionReason, Row
from pictord.domain.reason import Reason
from pictord.domain.request import (
    Background,
    Fidelity,
    OutputFormat,
    Quality,
    Ratio,
    Resolution,
    Tier,
    Workflow,
)
from pictord.errors import GatewayError
from pictord.routing import router
from pictord.routing.availability import Availability, Engine
from pictord.routing.policy import load as load_policy
from router_world import (
    BANANA,
    CATALOG,
    EVERYTHING_UP,
    GPT,
    candidate,
    draw,
    edit,
    exclusion,
    kinds,
    mask,
    models,
    picture,
    plan_of,
    reasons,
    up,
)

# Rows


@pytest.mark.parametrize(
    ("request_", "row", "order"),
    [
        pytest.param(draw(model=GPT), Row.EXPLICIT, [GPT], id="explicit gpt-image-2"),
        pytest.param(draw(model=BANANA), Row.EXPLICIT, [BANANA], id="explicit Nano Banana 2"),
        pytest.param(draw(model="nano-banana-2"), Row.EXPLICIT, [BANANA], id="explicit by alias"),
        pytest.param(edit(), Row.EDIT, [BANANA, GPT], id="edit"),
        pytest.param(edit(mask=mask(), fidelity=Fidelity.ADAPT), Row.EDIT, [BANANA, GPT], id="masked edit"),
        pytest.param(edit(tier=Tier.FREE), Row.EDIT, [BANANA, GPT], id="free edit"),
        pytest.param(draw(resolution="4k"), Row.FOUR_K, [BANANA, GPT], id="4K"),
        pytest.param(draw(workflow=Workflow.AD), Row.FOUR_K, [BANANA, GPT], id="ads are 4K"),
        pytest.param(draw(workflow=Workflow.LANDING_PAGE), Row.FOUR_K, [BANANA, GPT], id="landing pages are 4K"),
        pytest.param(draw(tier=Tier.PRO), Row.PRO, [GPT, BANANA], id="pro"),
        pytest.param(draw(high_quality=True), Row.PRO, [GPT, BANANA], id="high quality"),
        pytest.param(draw(workflow=Workflow.ON_IMAGE_TEXT), Row.TEXT_IN_IMAGE, [BANANA, GPT], id="text in the image"),
        pytest.param(draw(workflow=Workflow.QUOTE_GRAPHIC), Row.TEXT_IN_IMAGE, [BANANA, GPT], id="quote"),
        pytest.param(draw(workflow=Workflow.MULTILINGUAL_LABEL), Row.TEXT_IN_IMAGE, [BANANA, GPT], id="labels"),
        pytest.param(draw(), Row.STANDARD, [BANANA, GPT], id="standard"),
        pytest.param(draw(tier=Tier.FREE), Row.STANDARD, [BANANA, GPT], id="free"),
        pytest.param(draw(workflow=Workflow.CAROUSEL), Row.STANDARD, [BANANA, GPT], id="carousel"),
        pytest.param(draw(workflow=Workflow.PLATFORM_VARIANT), Row.STANDARD, [BANANA, GPT], id="platform variant"),
        pytest.param(draw(workflow=Workflow.MULTI_SUBJECT), Row.STANDARD, [BANANA, GPT], id="many subjects"),
        pytest.param(draw(workflow=Workflow.HERO), Row.STANDARD, [BANANA, GPT], id="hero"),
    ],
)
def test_rows(request_, row, order):
    """Every row of the decision table picks its first choice, then its fallback."""
    plan = plan_of(request_)

    assert plan.row == row
    assert models(plan) == order


@pytest.mark.parametrize(
    ("request_", "row"),
    [
        pytest.param(edit(model=GPT, tier=Tier.PRO), Row.EXPLICIT, id="a named model goes before everything"),
        pytest.param(edit(tier=Tier.PRO, resolution="4k"), Row.EDIT, id="edit goes before 4K and pro"),
        pytest.param(draw(tier=Tier.PRO, resolution="4k"), Row.FOUR_K, id="4K goes before pro"),
        pytest.param(draw(tier=Tier.PRO, workflow=Workflow.ON_IMAGE_TEXT), Row.PRO, id="pro goes before text"),
        pytest.param(draw(tier=Tier.PRO, workflow=Workflow.AD, resolution="1k"), Row.PRO, id="an ad asked at 1K"),
    ],
)
def test_order_of_rows(request_, row):
    """Where several rows match, the first decides."""
    assert plan_of(request_).row == row


@pytest.mark.parametrize(("provider", "order"), [("gemini", [BANANA, GPT]), ("openai", [GPT, BANANA])])
def test_edits_go_to_the_configured_edit_provider(provider, order):
    """IMAGE_EDIT_PROVIDER decides who edits first, and nothing else."""
    policy = load_policy(CATALOG, edit_provider=provider)

    assert models(plan_of(edit(), policy=policy)) == order
    assert models(plan_of(draw(), policy=policy)) == [BANANA, GPT]


# The named tests of the design


def test_pro_plus_4k_is_four_k():
    """PRO + 4K goes to row four_k: Nano Banana 2 first, and it says that this is not gpt-image-2 at high."""
    plan = plan_of(draw(tier=Tier.PRO, ratio="16:9", resolution="4k"))

    assert (plan.row, models(plan)) == (Row.FOUR_K, [BANANA, GPT])
    assert kinds(plan, BANANA) == ["quality_reduced"]
    assert candidate(plan, GPT).quality is Quality.HIGH


def test_pro_plus_edit_is_edit():
    """PRO + edit goes to row edit."""
    plan = plan_of(edit(tier=Tier.PRO))

    assert (plan.row, models(plan)) == (Row.EDIT, [BANANA, GPT])
    assert kinds(plan, BANANA) == ["quality_reduced"]


def test_pro_plus_text_is_pro():
    """PRO + text goes to row pro: gpt-image-2 at high."""
    plan = plan_of(draw(tier=Tier.PRO, workflow=Workflow.QUOTE_GRAPHIC))

    assert (plan.row, models(plan)) == (Row.PRO, [GPT, BANANA])
    assert candidate(plan, GPT).quality is Quality.HIGH


@pytest.mark.parametrize("ratio", ["4:1", "1:4", "8:1", "1:8"])
def test_pro_beyond_three_to_one_keeps_the_ratio(ratio):
    """Pro in a ratio outside 1:3 to 3:1 goes to Nano Banana 2: the ratio is kept, the quality is reduced."""
    plan = plan_of(draw(tier=Tier.PRO, ratio=ratio))

    assert models(plan) == [BANANA]
    assert candidate(plan, BANANA).ratio == Ratio.parse(ratio)
    assert kinds(plan, BANANA) == ["quality_reduced"]
    assert reasons(plan) == {GPT: "ratio_unsupported"}


@pytest.mark.parametrize(
    "request_",
    [draw(), draw(tier=Tier.PRO), edit(), draw(resolution="4k"), draw(workflow=Workflow.QUOTE_GRAPHIC)],
    ids=["standard", "pro", "edit", "four_k", "text_in_image"],
)
def test_without_an_openai_key_every_row_is_nano_banana_2(request_):
    """Without OPENAI_API_KEY every row goes to Nano Banana 2, and the plan says why."""
    plan = plan_of(request_, up(backends={"gemini": "developer"}))

    assert models(plan) == [BANANA]
    assert reasons(plan) == {GPT: "not_configured"}
    assert "openai" in exclusion(plan, GPT).text


@pytest.mark.parametrize(
    "obstacle",
    [
        ExclusionReason.DISABLED,
        ExclusionReason.KEY_REFUSED,
        ExclusionReason.UNFUNDED,
        ExclusionReason.MODEL_TRIPPED,
        ExclusionReason.BREAKER_OPEN,
        ExclusionReason.RATE_LIMITED,
    ],
)
def test_an_engine_out_of_service_is_passed_over(obstacle):
    """An engine out of service leaves the plan, with its reason in the guards' own words, and the other serves."""
    down = Engine(obstacle, "so it is", retry_after_s=12)
    plan = plan_of(draw(tier=Tier.PRO), up(engines={GPT: down}))

    assert models(plan) == [BANANA]
    assert (exclusion(plan, GPT).reason, exclusion(plan, GPT).text) == (obstacle, "so it is")
    assert exclusion(plan, GPT).retry_after_s == 12


def test_a_standard_fallback_is_never_high():
    """When Nano Banana 2 is down, a standard request runs on gpt-image-2 at medium, and that is no adaptation."""
    plan = plan_of(draw(), up(engines={BANANA: Engine(ExclusionReason.BREAKER_OPEN)}))

    assert models(plan) == [GPT]
    assert candidate(plan, GPT).quality is Quality.MEDIUM
    assert kinds(plan, GPT) == []


def test_free_high_quality_is_pro_where_permitted():
    """FREE + high_quality goes to row pro at high once the caller's policy has permitted it."""
    plan = plan_of(draw(tier=Tier.FREE, high_quality=True), caller=CallerPolicy(allow_free_high_quality=True))

    assert (plan.row, candidate(plan, GPT).quality) == (Row.PRO, Quality.HIGH)


# Quality


@pytest.mark.parametrize(
    ("request_", "quality"),
    [
        pytest.param(draw(tier=Tier.FREE), Quality.MEDIUM, id="free"),
        pytest.param(draw(tier=Tier.STANDARD), Quality.MEDIUM, id="standard"),
        pytest.param(draw(tier=Tier.PRO), Quality.HIGH, id="pro"),
        pytest.param(draw(high_quality=True), Quality.HIGH, id="high quality"),
        pytest.param(edit(tier=Tier.PRO), Quality.HIGH, id="pro edit"),
        pytest.param(draw(ratio="16:9", resolution="4k"), Quality.MEDIUM, id="standard 4K"),
        pytest.param(draw(model=GPT), Quality.MEDIUM, id="named, standard"),
        pytest.param(draw(model=GPT, tier=Tier.PRO), Quality.HIGH, id="named, pro"),
        pytest.param(draw(model=GPT, quality=Quality.LOW), Quality.LOW, id="given with a model"),
        pytest.param(draw(model=GPT, quality=Quality.HIGH), Quality.HIGH, id="high given with a model"),
        pytest.param(draw(model=GPT, quality=Quality.LOW, tier=Tier.PRO), Quality.LOW, id="given goes before pro"),
    ],
)
def test_quality_is_no_rows_business(request_, quality):
    """gpt-image-2 runs at high for PRO or high_quality, else at medium, unless quality comes with a model."""
    plan = plan_of(request_)

    assert candidate(plan, GPT).quality is quality
    assert kinds(plan, GPT) == []


def test_nano_banana_2_has_no_quality():
    """An engine without qualities has none in the plan."""
    assert candidate(plan_of(draw()), BANANA).quality is None


def test_quality_for_an_engine_without_is_unsupported():
    """Naming Nano Banana 2 with a quality is an exclusion, not a silent default."""
    assert reasons(plan_of(draw(model=BANANA, quality=Quality.LOW)))[BANANA] == "quality_unsupported"


def test_a_substitute_without_qualities_serves_what_was_asked_of_the_named():
    """A quality belongs to the named model; its substitute says what is lost, which for low is nothing."""
    low = plan_of(draw(model=GPT, quality=Quality.LOW, allow_fallback=True))
    high = plan_of(draw(model=GPT, quality=Quality.HIGH, allow_fallback=True))

    assert kinds(low, BANANA) == ["model_substituted"]
    assert kinds(high, BANANA) == ["quality_reduced", "model_substituted"]


# Named and excluded models, fallback


def test_the_explicit_row_has_no_fallback_unless_asked():
    """A named model is not replaced by another."""
    plan = plan_of(draw(model=GPT))

    assert models(plan) == [GPT]
    assert reasons(plan) == {BANANA: "fallback_not_allowed"}


def test_a_named_model_with_fallback_is_substituted_visibly():
    """With allow_fallback the other model follows, and carries MODEL_SUBSTITUTED."""
    plan = plan_of(draw(model=GPT, allow_fallback=True))

    assert models(plan) == [GPT, BANANA]
    assert kinds(plan, GPT) == []
    assert kinds(plan, BANANA) == ["model_substituted"]


def test_a_named_model_that_is_unable_is_not_replaced():
    """A named model that cannot do it leaves nobody, unless fallback is allowed."""
    assert models(plan_of(draw(model=GPT, ratio="4:1"))) == []
    assert models(plan_of(draw(model=GPT, ratio="4:1", allow_fallback=True))) == [BANANA]


@pytest.mark.parametrize("request_", [draw(), draw(tier=Tier.PRO), edit(), draw(resolution="4k")])
def test_no_fallback_keeps_the_first_choice_alone(request_):
    """allow_fallback = false leaves one candidate, the row's first choice, in every row."""
    both = plan_of(request_)
    alone = plan_of(replace(request_, allow_fallback=False))

    assert models(alone) == models(both)[:1]
    assert list(reasons(alone).values()) == ["fallback_not_allowed"]


def test_no_fallback_means_none_when_the_choice_is_down():
    """A caller who wants no fallback is told that its engine is down, not served by the other."""
    plan = plan_of(draw(allow_fallback=False), up(engines={BANANA: Engine(ExclusionReason.BREAKER_OPEN)}))

    assert reasons(plan) == {BANANA: "breaker_open", GPT: "fallback_not_allowed"}


def test_who_can_never_serve_is_not_the_choice():
    """A first choice that cannot do this ratio leaves the row, so the second is no fallback."""
    assert models(plan_of(draw(tier=Tier.PRO, ratio="4:1", allow_fallback=False))) == [BANANA]


@pytest.mark.parametrize(
    ("request_", "row", "left"),
    [
        (draw(excluded_models=(BANANA,)), Row.STANDARD, [GPT]),
        (draw(tier=Tier.PRO, excluded_models=(GPT,)), Row.PRO, [BANANA]),
        (edit(excluded_models=("nano-banana-2",)), Row.EDIT, [GPT]),
    ],
)
def test_excluded_models_leave_whichever_row_matches(request_, row, left):
    """Trying a different model is no row: the excluded model leaves the row that matches anyway."""
    plan = plan_of(request_)

    assert (plan.row, models(plan)) == (row, left)
    assert list(reasons(plan).values()) == ["caller_excluded"]


# Fidelity


def test_unset_fidelity_is_adapt():
    """Nothing said means ADAPT."""
    assert plan_of(draw()).fidelity is Fidelity.ADAPT
    assert plan_of(edit()).fidelity is Fidelity.ADAPT


def test_a_masked_edit_is_exact_unless_said_otherwise():
    """Protected pixels are never repainted unasked: a masked edit goes to gpt-image-2."""
    plan = plan_of(edit(mask=mask()))

    assert plan.fidelity is Fidelity.EXACT
    assert models(plan) == [GPT]
    assert reasons(plan) == {BANANA: "needs_adaptation"}


def test_a_masked_edit_with_adapt_sends_the_mask_as_a_picture():
    """With ADAPT Nano Banana 2 takes the mask as a picture with an instruction, and says so."""
    plan = plan_of(edit(mask=mask(), fidelity=Fidelity.ADAPT))

    assert models(plan) == [BANANA, GPT]
    assert kinds(plan, BANANA) == ["mask_as_prompt"]
    assert kinds(plan, GPT) == []


def test_exact_removes_whoever_needs_an_adaptation():
    """EXACT keeps only candidates that deliver what was asked."""
    request = draw(fidelity=Fidelity.EXACT, seed=7)

    assert models(plan_of(request)) == [BANANA]
    assert [a.kind.value for a in exclusion(plan_of(request), GPT).adaptations] == ["seed_ignored"]


def test_exact_removes_reduced_quality():
    """PRO + 4K under EXACT is gpt-image-2 at high, where it reaches 4K."""
    plan = plan_of(draw(tier=Tier.PRO, ratio="16:9", resolution="4k", fidelity=Fidelity.EXACT))

    assert models(plan) == [GPT]


def test_adapt_keeps_row_order():
    """An adapted first choice stays before an exact second one."""
    plan = plan_of(draw(tier=Tier.PRO, seed=7))

    assert models(plan) == [GPT, BANANA]
    assert kinds(plan, GPT) == ["seed_ignored"]


# Ratio and format


@pytest.mark.parametrize(
    ("ratio", "served", "adapted"),
    [
        pytest.param("16:9", "16:9", [], id="equal"),
        pytest.param("32:18", "16:9", [], id="equal by value"),
        pytest.param("1.79:1", "16:9", ["ratio_snapped"], id="within two percent"),
        pytest.param("0.68:1", "2:3", ["ratio_snapped"], id="exactly two percent"),
    ],
)
def test_ratios_are_snapped_within_two_percent(ratio, served, adapted):
    """An equal ratio is exact, the nearest within 2 % is snapped and said."""
    plan = plan_of(draw(ratio=ratio))

    assert candidate(plan, BANANA).ratio.text == served
    assert kinds(plan, BANANA) == adapted


@pytest.mark.parametrize("ratio", ["1.91:1", "2:1", "0.681:1", "5:7"])
def test_ratios_beyond_two_percent_are_unable(ratio):
    """A ratio that Nano Banana 2 misses by more than 2 % goes to gpt-image-2, exactly."""
    plan = plan_of(draw(ratio=ratio))

    assert reasons(plan) == {BANANA: "ratio_unsupported"}
    assert kinds(plan, GPT) == []
    assert candidate(plan, GPT).ratio == Ratio.parse(ratio)


def test_the_grid_is_no_adaptation():
    """Rounding to gpt-image-2's 16-pixel grid is not an adaptation."""
    plan = plan_of(draw(tier=Tier.PRO, ratio="9:16"))

    assert candidate(plan, GPT).size_px == (768, 1360)
    assert kinds(plan, GPT) == []


def test_just_beyond_three_to_one_is_snapped():
    """3.05:1 becomes 3:1 on gpt-image-2."""
    plan = plan_of(draw(tier=Tier.PRO, ratio="3.05:1"))

    assert candidate(plan, GPT).ratio == Ratio.parse("3:1")
    assert kinds(plan, GPT) == ["ratio_snapped"]


@pytest.mark.parametrize(
    ("form", "first"), [("instagram/story", BANANA), ("pinterest/pin", BANANA), ("linkedin/link", GPT)]
)
def test_named_formats_ask_for_their_ratio(form, first):
    """A named format is its ratio; who cannot draw that ratio is unable."""
    plan = plan_of(draw(form=form))

    assert models(plan)[0] == first
    assert plan.candidates[0].ratio == CATALOG.format(form).ratio


def test_unset_ratio_is_square():
    """Nothing said means 1:1 at 1K."""
    plan = plan_of(draw())

    assert {c.size_px for c in plan.candidates} == {(1024, 1024)}
    assert {c.resolution for c in plan.candidates} == {Resolution.R1K}


@pytest.mark.parametrize(
    ("width", "height", "served", "adapted"),
    [
        pytest.param(1600, 900, "16:9", [], id="equal"),
        pytest.param(1376, 768, "16:9", [], id="within two percent"),
        pytest.param(1910, 1000, "16:9", ["ratio_snapped"], id="beyond: said, never unable"),
        pytest.param(4000, 100, "8:1", ["ratio_snapped"], id="a banner"),
    ],
)
def test_an_edit_without_ratio_is_like_the_picture(width, height, served, adapted):
    """An edit that says no ratio gets the nearest one; more than 2 % off is said."""
    plan = plan_of(edit(image=picture(width, height)))

    assert candidate(plan, BANANA).ratio.text == served
    assert kinds(plan, BANANA) == adapted
    assert GPT in models(plan)


def test_an_edit_with_a_ratio_is_strict():
    """A ratio that is asked for an edit is as strict as for drawing."""
    assert reasons(plan_of(edit(ratio="2:1"))) == {BANANA: "ratio_unsupported"}


# Resolution


def test_gpt_image_2_reaches_4k_when_wide():
    """gpt-image-2 is able at 4K when its longest edge is 3840."""
    plan = plan_of(draw(ratio="16:9", resolution="4k"))

    assert candidate(plan, GPT).size_px == (3840, 2160)
    assert kinds(plan, GPT) == []


def test_gpt_image_2_reduces_square_4k():
    """A square 4K is reduced on gpt-image-2 to the largest square it draws."""
    plan = plan_of(draw(resolution="4k"))

    assert candidate(plan, GPT).size_px == (2880, 2880)
    assert kinds(plan, GPT) == ["resolution_reduced"]
    assert candidate(plan, GPT).adaptations[0].delivered == "2880x2880"


def test_gpt_image_2_has_no_512():
    """512 is below gpt-image-2's minimum."""
    plan = plan_of(draw(resolution="512"))

    assert models(plan) == [BANANA]
    assert reasons(plan) == {GPT: "resolution_unsupported"}


@pytest.mark.parametrize(
    ("workflow", "resolution"), [(Workflow.AD, "4k"), (Workflow.LANDING_PAGE, "4k"), (Workflow.HERO, "1k")]
)
def test_unset_resolution_by_workflow(workflow, resolution):
    """Ads and landing pages are 4K unless said otherwise, everything else 1K."""
    assert plan_of(draw(workflow=workflow)).candidates[0].resolution == resolution


# Encoding, background, seed, previews


@pytest.mark.parametrize(
    ("asked", "backend", "given", "adapted"),
    [
        (None, "developer", "jpeg", []),
        (None, "vertex", "png", []),
        (OutputFormat.JPEG, "developer", "jpeg", []),
        (OutputFormat.PNG, "developer", "jpeg", ["format_changed"]),
        (OutputFormat.WEBP, "developer", "jpeg", ["format_changed"]),
        (OutputFormat.PNG, "vertex", "png", []),
        (OutputFormat.JPEG, "vertex", "jpeg", []),
        (OutputFormat.WEBP, "vertex", "png", ["format_changed"]),
    ],
)
def test_formats_depend_on_the_api_behind_gemini(asked, backend, given, adapted):
    """Unset is PNG where we may choose and native elsewhere; only an asked format can be changed."""
    world = up(backends={"openai": "default", "gemini": backend})
    plan = plan_of(draw(output_format=asked), world)

    assert candidate(plan, BANANA).output_format == given
    assert kinds(plan, BANANA) == adapted


@pytest.mark.parametrize("asked", [None, *OutputFormat])
def test_gpt_image_2_gives_every_format(asked):
    """gpt-image-2 delivers PNG, JPEG and WEBP, PNG if nothing is asked."""
    plan = plan_of(draw(output_format=asked))

    assert candidate(plan, GPT).output_format == (asked or OutputFormat.PNG)
    assert kinds(plan, GPT) == []


def test_compression_that_cannot_be_chosen_is_said():
    """The Developer API gives JPEG, but not at a compression of the caller's choice."""
    plan = plan_of(draw(output_format=OutputFormat.JPEG, output_compression=60))

    assert kinds(plan, BANANA) == ["format_changed"]
    assert kinds(plan, GPT) == []


def test_a_transparent_background_is_opaque_here():
    """Neither engine promises transparency as shipped, and both say so."""
    plan = plan_of(draw(background=Background.TRANSPARENT))

    assert kinds(plan, BANANA) == ["background_opaque"]
    assert kinds(plan, GPT) == ["background_opaque"]


def test_transparency_is_switched_on_by_data(tmp_path):
    """An account with the preview feature gets it by one line of overlay."""
    (tmp_path / "models.toml").write_text("[models.gpt-image-2.can]\ntransparent_background = true\n")
    catalog = load_catalog(tmp_path)
    request = draw(background=Background.TRANSPARENT, model=GPT)

    plan = router.plan(request, load_policy(catalog), catalog, EVERYTHING_UP)

    assert kinds(plan, GPT) == []
    assert candidate(plan, GPT).output_format is OutputFormat.PNG


def test_a_seed_is_ignored_visibly():
    """gpt-image-2 has no seed, Nano Banana 2 has one."""
    plan = plan_of(draw(seed=42))

    assert kinds(plan, BANANA) == []
    assert kinds(plan, GPT) == ["seed_ignored"]


@pytest.mark.parametrize(("asked", "shown"), [(None, 0), (0, 0), (2, 2), (3, 3)])
def test_previews_are_what_the_engine_shows(asked, shown):
    """gpt-image-2 shows up to three previews, Nano Banana 2 none, whatever was asked."""
    plan = plan_of(draw(preview_count=asked))

    assert candidate(plan, GPT).previews == shown
    assert candidate(plan, BANANA).previews == 0


def test_previews_are_in_the_estimate():
    """Two previews cost 200 output tokens more on gpt-image-2 and nothing on Nano Banana 2."""
    without, with_two = plan_of(draw()), plan_of(draw(preview_count=2))

    assert candidate(with_two, GPT).worst_case_nanos - candidate(without, GPT).worst_case_nanos == 6_000_000
    assert candidate(with_two, BANANA).worst_case_nanos == candidate(without, BANANA).worst_case_nanos


# Inputs


@pytest.mark.parametrize(
    ("count", "able"), [(1, [BANANA, GPT]), (14, [BANANA, GPT]), (15, [GPT]), (16, [GPT]), (17, [])]
)
def test_references(count, able):
    """Nano Banana 2 takes 14 pictures, gpt-image-2 takes 16."""
    assert models(plan_of(draw(references=(picture(),) * count))) == able


def test_the_picture_to_edit_and_a_mask_are_counted():
    """An edit's picture is one of the 16, and a mask that goes as a picture is one of the 14."""
    thirteen = (picture(),) * 13

    assert models(plan_of(edit(references=thirteen))) == [BANANA, GPT]
    assert reasons(plan_of(edit(references=thirteen, mask=mask(), fidelity=Fidelity.ADAPT))) == {
        BANANA: "too_many_references"
    }
    assert models(plan_of(edit(references=(picture(),) * 16))) == []


def test_unreadable_and_oversized_inputs():
    """HEIC is for Gemini only, and Vertex takes 7 MB for a file."""
    heic = plan_of(edit(image=picture(mime="image/heic")))
    large = plan_of(edit(image=picture(data=b"0" * 7_000_001)), up(backends={"openai": "", "gemini": "vertex"}))

    assert reasons(heic) == {GPT: "input_unsupported"}
    assert reasons(large) == {BANANA: "input_unsupported"}


def test_a_mask_over_4_mb_is_unsupported():
    """gpt-image-2 takes masks of up to 4 MB."""
    plan = plan_of(edit(mask=mask(data=b"0" * 4_000_001)))

    assert reasons(plan)[GPT] == "input_unsupported"


def test_prompts_that_are_too_long():
    """A prompt beyond the limit is an exclusion that says the limit."""
    plan = plan_of(draw("x" * 32_001))

    assert set(reasons(plan).values()) == {"prompt_too_long"}
    assert "32000" in exclusion(plan, GPT).text


def test_an_engine_that_cannot_edit(tmp_path):
    """A model without an operation is excluded from it."""
    (tmp_path / "models.toml").write_text("[models.gpt-image-2.can]\noperations = ['generate']\n")
    catalog = load_catalog(tmp_path)

    plan = router.plan(edit(), load_policy(catalog), catalog, EVERYTHING_UP)

    assert reasons(plan) == {GPT: "operation_unsupported"}


# Callers and money


def test_a_caller_with_a_list_of_models():
    """A model outside the caller's list is not used."""
    plan = plan_of(draw(), caller=CallerPolicy(models=frozenset({GPT})))

    assert models(plan) == [GPT]
    assert reasons(plan) == {BANANA: "model_not_allowed"}


def test_max_cost_bounds_all_pictures_at_worst():
    """max_cost bounds the worst case of all pictures together, to the nano-dollar."""
    worst = candidate(plan_of(draw()), BANANA).worst_case_nanos

    assert models(plan_of(draw(count=3, max_cost_nanos=3 * worst)))[0] == BANANA
    dear = plan_of(draw(count=3, max_cost_nanos=3 * worst - 1))
    assert reasons(dear)[BANANA] == "price_ceiling"
    assert exclusion(dear, BANANA).worst_case_nanos == 3 * worst


def test_quality_is_never_lowered_to_fit():
    """A limit that high does not fit excludes gpt-image-2 instead of making it medium."""
    plan = plan_of(draw(tier=Tier.PRO, max_cost_nanos=100_000_000))

    assert reasons(plan) == {GPT: "price_ceiling"}
    assert kinds(plan, BANANA) == ["quality_reduced"]


def test_a_callers_ceiling_for_each_picture():
    """A caller's own ceiling holds for each picture, however many."""
    ceiling = CallerPolicy(max_picture_nanos=100_000_000)

    assert models(plan_of(draw(count=10), caller=ceiling)) == [BANANA, GPT]
    assert reasons(plan_of(draw(tier=Tier.PRO), caller=ceiling)) == {GPT: "price_ceiling"}


def test_a_negotiated_price_decides(tmp_path):
    """The price in force on the day decides what a limit allows."""
    cheap = "text_in = 1\nimage_in = 1\ntext_out = 1\nimage_out = 1\nsource = 'contract'\ndate = 2026-11-22\n"
    (tmp_path / "models.toml").write_text(f"[models.gpt-image-2.prices.2027-01-01]\n{cheap}")
    catalog = load_catalog(tmp_path)
    request = draw(model=GPT, tier=Tier.PRO, max_cost_nanos=20_000_000)

    def plan_on(day: date):
        return router.plan(request, load_policy(catalog), catalog.at(day), EVERYTHING_UP)

    assert models(plan_on(date(2026, 12, 31))) == []
    assert models(plan_on(date(2027, 1, 1))) == [GPT]


# Deadlines


def test_a_deadline_that_is_too_short():
    """An engine that probably does not finish in time is excluded, with the time it needs."""
    plan = plan_of(draw(tier=Tier.PRO), up(remaining_s=20.5))

    assert reasons(plan) == {GPT: "deadline"}
    assert exclusion(plan, GPT).text == f"{GPT} needs 112 s, has 20 s"
    assert exclusion(plan, GPT).needs_s == 112


@pytest.mark.parametrize(("remaining_s", "fits"), [(14.0, True), (13.99, False), (-1.0, False), (None, True)])
def test_the_deadline_holds_p50_and_margin(remaining_s, fits):
    """Expected time plus margin must fit; exactly is enough."""
    assert (BANANA in models(plan_of(draw(), up(remaining_s=remaining_s)))) is fits


@pytest.mark.parametrize(("wait_s", "fits"), [(5.0, True), (6.5, False), (float("inf"), False)])
def test_waiting_counts(wait_s, fits):
    """A predicted wait for the rate limit is part of the time that is needed."""
    world = up(remaining_s=20.0, engines={BANANA: Engine(wait_s=wait_s)})

    assert (BANANA in models(plan_of(draw(), world))) is fits


# One exclusion, the first that applies


@pytest.mark.parametrize(
    ("request_", "world", "reason"),
    [
        (draw(excluded_models=(GPT,), ratio="4:1"), EVERYTHING_UP, "caller_excluded"),
        (draw(ratio="4:1"), Availability({}), "ratio_unsupported"),
        (draw(seed=1, fidelity=Fidelity.EXACT), Availability({}), "needs_adaptation"),
        (draw(max_cost_nanos=1), Availability({}), "not_configured"),
        (draw(max_cost_nanos=1), up(engines={GPT: Engine(ExclusionReason.DISABLED)}), "price_ceiling"),
        (draw(), up(engines={GPT: Engine(ExclusionReason.DISABLED)}, remaining_s=1.0), "disabled"),
    ],
)
def test_the_first_reason_is_given(request_, world, reason):
    """Several reasons at once give the first in the order of the checks."""
    assert reasons(plan_of(request_, world))[GPT] == reason


def test_exclusions_speak_to_people():
    """Every exclusion says what is wrong in a sentence."""
    plan = plan_of(draw(ratio="4:1", max_cost_nanos=1))

    assert "from 1:3 to 3:1" in exclusion(plan, GPT).text
    assert "max_cost is $0.0000" in exclusion(plan, BANANA).text


# Versions, unknown names, the other engine


def test_a_plan_knows_its_data():
    """A plan carries the versions of policy and catalog."""
    plan = plan_of(draw())

    assert (plan.policy_version, plan.catalog_version) == (load_policy(CATALOG).version, CATALOG.version)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (draw(model="gpt-9"), Reason.MODEL_UNKNOWN),
        (draw(excluded_models=("gpt-9",)), Reason.MODEL_UNKNOWN),
        (draw(form="myspace/page"), Reason.FORMAT_UNKNOWN),
    ],
)
def test_unknown_names_are_errors(request_, reason):
    """A plan for a name that nobody knows is refused with its reason."""
    with pytest.raises(GatewayError) as caught:
        plan_of(request_)

    assert caught.value.reason is reason


@pytest.mark.parametrize(("drew", "other"), [(GPT, BANANA), (BANANA, GPT), ("nano-banana-2", GPT)])
def test_the_other_engine(drew, other):
    """A re-roll that names no model goes to the other engine."""
    assert router.other_model(drew, load_policy(CATALOG), CATALOG, {"openai", "gemini"}) == other


def test_no_other_engine():
    """With one provider configured there is no other engine."""
    with pytest.raises(GatewayError) as caught:
        router.other_model(BANANA, load_policy(CATALOG), CATALOG, {"gemini"})

    assert caught.value.reason is Reason.NOT_CONFIGURED
