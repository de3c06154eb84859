"""The router over random requests in random worlds: promises that hold for all of them."""

from dataclasses import replace

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pictord.domain.caller import CallerPolicy
from pictord.domain.plan import AdaptationKind, ExclusionReason, Row
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
from pictord.routing import router
from pictord.routing.availability import Availability, Engine
from pictord.routing.refusal import refusal
from pictord.routing.validate import violations
from router_world import BANANA, CATALOG, GPT, POLICY, draw, edit, mask, models, picture

# Drawn from where decisions change, and mostly from a world in which something can be served.

names = st.sampled_from([GPT, BANANA, "nano-banana-2", "gpt-image-2-2026-04-21"])
sides = st.sampled_from([1, 100, 700, 768, 1000, 1024, 1376, 1910, 3000, 8192])
pictures = st.builds(picture, sides, sides)
written = ["1:1", "16:9", "9:16", "1.79:1", "0.68:1", "1.91:1", "3:1", "3.05:1", "4:1", "1:8", "5:1", "3:2", "7:5"]
ratios = st.one_of(
    st.none(), st.sampled_from(written), st.builds("{}:{}".format, st.integers(1, 40), st.integers(1, 40))
)
cents = [5, 7, 8, 10, 15, 20, 25, 40, 70, 250]
nanos = st.sampled_from([None, None, None, 0, *(each * 10_000_000 for each in cents)])
canvases = st.one_of(
    st.fixed_dictionaries({"ratio": ratios}), st.fixed_dictionaries({"form": st.sampled_from(sorted(CATALOG.formats))})
)
options = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["a red fox", "x" * 32_000, "ein süßer Hund", "猫"])},
    optional={
        "resolution": st.sampled_from(Resolution),
        "tier": st.sampled_from(Tier),
        "high_quality": st.booleans(),
        "workflow": st.sampled_from(Workflow),
        "count": st.integers(1, 10),
        "preview_count": st.integers(0, 3),
        "output_format": st.sampled_from(OutputFormat),
        "background": st.sampled_from(Background),
        "seed": st.just(7),
        "fidelity": st.sampled_from(Fidelity),
        "allow_fallback": st.booleans(),
        "max_cost_nanos": nanos,
        "references": st.sampled_from([0, 1, 13, 14, 15]).map(lambda count: (picture(),) * count),
    },
)
choices = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"model": names}, optional={"quality": st.sampled_from(Quality)}),
    st.fixed_dictionaries({"excluded_models": st.lists(names, min_size=1, max_size=2).map(tuple)}),
)


@st.composite
def requests(pick):
    """Any valid request."""
    given_ = pick(options) | pick(canvases) | pick(choices)
    if pick(st.booleans()):
        given_["image"] = pick(pictures)
        if pick(st.booleans()):
            given_["mask"] = mask(given_["image"].width_px, given_["image"].height_px)
    request = edit(**given_) if "image" in given_ else draw(**given_)
    assume(not violations(request, CATALOG))
    return request


obstacles = st.sampled_from([None] * 18 + sorted(router.MOMENTARY - {ExclusionReason.DEADLINE}))
engines = st.builds(Engine, obstacles, st.just("so"), st.sampled_from([0.0, 5.0, 60.0]), st.sampled_from([None, 7.0]))
accounts = st.sampled_from(
    [{"openai": "default", "gemini": "developer"}] * 3
    + [{"openai": "default", "gemini": "vertex"}, {"openai": "default"}, {"gemini": "developer"}, {}]
)
worlds = st.builds(
    Availability,
    accounts,
    st.dictionaries(st.sampled_from([GPT, BANANA]), engines),
    st.one_of(st.none(), st.integers(-1, 250).map(float)),
)
callers = st.builds(
    CallerPolicy,
    models=st.sampled_from([None, None, frozenset(), frozenset({GPT}), frozenset({BANANA})]),
    max_picture_nanos=nanos,
)
good_world = Availability({"openai": "default", "gemini": "developer"})


@settings(max_examples=300)
@given(requests(), worlds, callers)
def test_a_plan_is_total(request, world, caller):
    """A valid request always has a plan in which every model is once a candidate or once an exclusion."""
    plan = router.plan(request, POLICY, CATALOG, world, caller)

    named = [c.model for c in plan.candidates] + [e.model for e in plan.exclusions]
    assert sorted(named) == sorted(CATALOG.models)
    assert all(exclusion.text for exclusion in plan.exclusions)
    assert (refusal(plan, request) is None) == bool(plan.candidates)


@given(requests(), worlds)
def test_a_plan_is_a_pure_function(request, world):
    """The same question has the same answer."""
    one, other = (router.plan(request, POLICY, CATALOG, world) for _ in range(2))

    assert one == other


@settings(max_examples=300)
@given(requests(), worlds)
def test_a_standard_request_never_runs_at_high(request, world):
    """Without PRO, high_quality or a quality given with a model, nothing runs at high, first choice or fallback."""
    standard = replace(
        request, tier=Tier.STANDARD if request.tier is Tier.PRO else request.tier, high_quality=False, quality=None
    )

    plan = router.plan(standard, POLICY, CATALOG, world)

    assert all(candidate.quality is not Quality.HIGH for candidate in plan.candidates)


@settings(max_examples=300)
@given(requests(), worlds)
def test_best_quality_is_high_or_says_that_it_is_not(request, world):
    """PRO or high_quality is served at high, or the candidate carries QUALITY_REDUCED."""
    pro = replace(request, tier=Tier.PRO, quality=None)

    for candidate in router.plan(pro, POLICY, CATALOG, world).candidates:
        reduced = AdaptationKind.QUALITY_REDUCED in {a.kind for a in candidate.adaptations}
        assert reduced is (candidate.quality is not Quality.HIGH)


@settings(max_examples=300)
@given(requests(), worlds)
def test_exact_candidates_carry_no_adaptation(request, world):
    """EXACT means as it was asked."""
    plan = router.plan(replace(request, fidelity=Fidelity.EXACT), POLICY, CATALOG, world)

    assert all(not candidate.adaptations for candidate in plan.candidates)


@given(requests())
def test_exact_only_removes(request):
    """What EXACT leaves is what ADAPT would serve without adaptations, in the same order."""
    request = replace(request, allow_fallback=True)
    adapt = router.plan(replace(request, fidelity=Fidelity.ADAPT), POLICY, CATALOG, good_world)
    exact = router.plan(replace(request, fidelity=Fidelity.EXACT), POLICY, CATALOG, good_world)

    assert list(exact.candidates) == [c for c in adapt.candidates if not c.adaptations]


@settings(max_examples=300)
@given(requests(), worlds, callers)
def test_no_limit_is_passed(request, world, caller):
    """No candidate can cost more than max_cost for all pictures, or than the caller's ceiling for one."""
    for candidate in router.plan(request, POLICY, CATALOG, world, caller).candidates:
        assert request.max_cost_nanos is None or candidate.worst_case_nanos * request.count <= request.max_cost_nanos
        assert caller.max_picture_nanos is None or candidate.worst_case_nanos <= caller.max_picture_nanos
        assert 0 < candidate.expected_nanos <= candidate.worst_case_nanos


@settings(max_examples=300)
@given(requests(), worlds)
@example(draw(model=GPT, allow_fallback=True), good_world)
def test_candidates_keep_the_rows_order(request, world):
    """Adapted or not, candidates stand in the order of their row; a named model stands first."""
    plan = router.plan(replace(request, fidelity=Fidelity.ADAPT), POLICY, CATALOG, world)
    row = next(row for row in POLICY.rows if row.name == plan.row)

    order = list(row.candidates)
    if plan.row == Row.EXPLICIT:
        order.sort(key=lambda model: model != CATALOG.model_id(request.model))
    assert models(plan) == [model for model in order if model in models(plan)]


@given(requests(), worlds)
def test_no_fallback_means_one_candidate_at_most(request, world):
    """allow_fallback = false never leaves two engines."""
    plan = router.plan(replace(request, allow_fallback=False), POLICY, CATALOG, world)

    assert len(plan.candidates) <= 1


@settings(max_examples=300)
@given(requests(), st.integers(0, 60), st.integers(0, 250))
def test_candidates_fit_the_deadline(request, wait_s, remaining_s):
    """Whoever is in the plan is expected to be done in time, the wait for its turn included."""
    engine = Engine(wait_s=wait_s)
    world = Availability(good_world.backends, {GPT: engine, BANANA: engine}, remaining_s)

    for candidate in router.plan(request, POLICY, CATALOG, world).candidates:
        assert wait_s + candidate.expected_p50_s + POLICY.limits.deadline_margin_s <= remaining_s


@settings(max_examples=300)
@given(requests())
def test_a_ratio_is_kept_within_two_percent(request):
    """An asked ratio is served within 2 %, and exactly if nothing is said."""
    asked = CATALOG.format(request.canvas.format).ratio if request.canvas.format else request.canvas.ratio
    assume(asked is not None)

    for candidate in router.plan(request, POLICY, CATALOG, good_world).candidates:
        off = abs(float(candidate.ratio.value / asked.value) - 1)
        snapped = AdaptationKind.RATIO_SNAPPED in {a.kind for a in candidate.adaptations}
        assert off <= 0.0201
        assert snapped is (candidate.ratio != asked)


@given(requests(), worlds)
def test_excluded_models_are_never_used(request, world):
    """What the caller excludes is no candidate, under whatever name."""
    excluded = {CATALOG.model_id(name) for name in request.excluded_models}

    assert not excluded & set(models(router.plan(request, POLICY, CATALOG, world)))


@given(st.integers(1, 8192), st.integers(1, 8192))
def test_an_edit_without_a_ratio_is_never_unable_for_its_shape(width, height):
    """Any picture can be edited by both engines, whatever its shape."""
    plan = router.plan(edit(image=picture(width, height)), POLICY, CATALOG, good_world)

    assert models(plan) == [BANANA, GPT]
    assert all(isinstance(candidate.ratio, Ratio) for candidate in plan.candidates)
