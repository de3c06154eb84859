"""Refusals: why a plan without candidates refuses, with what would help; and who may ask at all."""

import re
from decimal import ROUND_CEILING

import pytest

from pictord.domain.caller import CallerPolicy
from pictord.domain.money import format_usd, parse_usd
from pictord.domain.plan import ExclusionReason, NoRoom
from pictord.domain.reason import Reason
from pictord.domain.request import Fidelity, Quality, Tier
from pictord.errors import GatewayError
from pictord.routing.availability import Availability, Engine
from pictord.routing.permission import check_caller
from pictord.routing.refusal import refusal
from router_world import BANANA, EVERYTHING_UP, GPT, draw, edit, mask, plan_of, up

GEMINI_ONLY = up(backends={"gemini": "developer"})
FROZEN = Engine(ExclusionReason.RATE_LIMITED, "frozen", retry_after_s=7)
OPEN = Engine(ExclusionReason.BREAKER_OPEN, "open", retry_after_s=30)
FULL = NoRoom("openai-day", "usd/2026-11-22/provider/openai", "$0.2400", "$0.0100", "budget 'openai-day': full")
OFF = Engine(ExclusionReason.DISABLED, "off")


def refused(request, world=EVERYTHING_UP, caller=None) -> GatewayError:
    error = refusal(plan_of(request, world, caller), request)
    assert error is not None
    return error


def test_a_plan_with_candidates_refuses_nothing():
    """Whoever can be served is not refused."""
    assert refusal(plan_of(draw()), draw()) is None


@pytest.mark.parametrize(
    ("request_", "world", "caller", "reason", "said"),
    [
        pytest.param(
            edit(mask=mask()), GEMINI_ONLY, None, Reason.NO_EXACT_CANDIDATE, "fidelity ADAPT", id="mask without OpenAI"
        ),
        pytest.param(
            draw(tier=Tier.PRO, ratio="4:1", fidelity=Fidelity.EXACT),
            EVERYTHING_UP,
            None,
            Reason.NO_EXACT_CANDIDATE,
            "QUALITY_REDUCED",
            id="exact pro at 4:1",
        ),
        pytest.param(draw(ratio="5:1"), EVERYTHING_UP, None, Reason.NO_CAPABLE_MODEL, "8:1", id="between the ratios"),
        pytest.param(
            draw(model=GPT, ratio="4:1"), EVERYTHING_UP, None, Reason.NO_CAPABLE_MODEL, "allow_fallback", id="named"
        ),
        pytest.param(
            draw(excluded_models=(GPT, BANANA)),
            EVERYTHING_UP,
            None,
            Reason.NO_CAPABLE_MODEL,
            "excluding",
            id="excluded",
        ),
        pytest.param(
            draw(model=BANANA, quality=Quality.LOW),
            EVERYTHING_UP,
            None,
            Reason.NO_CAPABLE_MODEL,
            "no quality",
            id="quality of an engine without",
        ),
        pytest.param(draw(), Availability({}), None, Reason.NOT_CONFIGURED, "credentials", id="no credentials"),
        pytest.param(draw(model=GPT), GEMINI_ONLY, None, Reason.NOT_CONFIGURED, "openai", id="named, not configured"),
        pytest.param(
            draw(max_cost_nanos=10_000_000),
            EVERYTHING_UP,
            None,
            Reason.PRICE_CEILING,
            "a max_cost of $0",
            id="max_cost",
        ),
        pytest.param(
            draw(), EVERYTHING_UP, CallerPolicy(max_picture_nanos=1), Reason.PRICE_CEILING, "may spend", id="ceiling"
        ),
        pytest.param(
            draw(),
            EVERYTHING_UP,
            CallerPolicy(models=frozenset()),
            Reason.PERMISSION_DENIED,
            "may not use",
            id="models",
        ),
        pytest.param(draw(), up(remaining_s=5), None, Reason.DEADLINE_TOO_SHORT, "needs 14 s, has 5 s", id="deadline"),
        pytest.param(
            draw(), up(engines={GPT: FROZEN, BANANA: FROZEN}), None, Reason.RATE_LIMITED, "frozen", id="all frozen"
        ),
        pytest.param(
            draw(), up(engines={GPT: OPEN, BANANA: FROZEN}), None, Reason.PROVIDERS_UNAVAILABLE, "open", id="mixed"
        ),
        pytest.param(
            draw(), up(engines={GPT: OFF, BANANA: OFF}), None, Reason.PROVIDERS_UNAVAILABLE, "off", id="disabled"
        ),
        pytest.param(
            draw(), up(engines={BANANA: OFF}, remaining_s=5), None, Reason.DEADLINE_TOO_SHORT, "37 s", id="time first"
        ),
        pytest.param(
            edit(mask=mask()), up(engines={GPT: OPEN}), None, Reason.PROVIDERS_UNAVAILABLE, "open", id="exact one down"
        ),
    ],
)
def test_the_reason_is_the_nearest_to_a_picture(request_, world, caller, reason, said):
    """Time, waiting and money go before another request, and that before what an operator must do."""
    error = refused(request_, world, caller)

    assert error.reason is reason
    assert said in error.text


@pytest.mark.parametrize(
    ("engines", "retry_after_s"),
    [({GPT: OPEN, BANANA: FROZEN}, 7), ({GPT: OPEN, BANANA: OFF}, 30), ({GPT: OFF, BANANA: OFF}, None)],
)
def test_when_to_try_again(engines, retry_after_s):
    """The soonest engine says when to try again; if only people can help, nothing does."""
    assert refused(draw(), up(engines=engines)).retry_after_s == retry_after_s


def test_a_lasting_refusal_says_nothing_of_trying_again():
    """What only another request mends is not worth repeating."""
    error = refused(edit(mask=mask()), GEMINI_ONLY)

    assert error.retry_after_s is None
    assert not error.paid


def test_what_is_in_the_text_is_in_the_metadata():
    """Reasons by model, missing seconds and missing money can be read by machines."""
    late = refused(draw(), up(remaining_s=5)).metadata
    dear = refused(draw(max_cost_nanos=1)).metadata

    assert late == {
        "row": "standard",
        f"excluded.{BANANA}": "deadline",
        f"excluded.{GPT}": "deadline",
        "needs_seconds": "14.0",
    }
    assert int(dear["needs_nanos"]) == min(c.worst_case_nanos for c in plan_of(draw()).candidates)


def test_a_callers_own_ceiling_is_no_matter_of_max_cost():
    """Whoever may not spend that much on a picture is sent to an operator, not told to offer more."""
    text = refused(draw(count=2, max_cost_nanos=1), caller=CallerPolicy(max_picture_nanos=1)).text

    assert "for a picture, this caller may spend $0.0000 on a picture" in text
    assert re.search(
        rf"an operator's leave for this caller to spend \$0\.\d+ on a picture of {BANANA} \(max_pict", text
    )
    assert "max_cost" not in text


def test_every_price_that_would_help_has_its_engine():
    """A caller's script can pick the engine by its price, each once and with what that one may cost."""
    served = plan_of(draw()).candidates
    prices = [format_usd(each.worst_case_nanos, rounding=ROUND_CEILING) for each in served]

    text = refused(draw(max_cost_nanos=1)).text

    helps = "; ".join(f"a max_cost of {price} for {each.model}" for price, each in zip(prices, served, strict=True))
    assert {each.model for each in served} == {BANANA, GPT}
    assert text.endswith(f". What would help: {helps}")


@pytest.mark.parametrize("prompt", ["a red fox", "a red fox in fresh snow", "x" * 77])
def test_the_limit_that_would_help_helps(prompt):
    """Whoever gives the limit of the text is served, and whoever gives a hair less is told so without contradiction."""
    (worst,) = {c.worst_case_nanos for c in plan_of(draw(prompt)).candidates if c.model == BANANA}

    text = refused(draw(prompt, max_cost_nanos=worst - 1, model=BANANA)).text
    limit = re.search(r"a max_cost of \$([0-9.]+)", text)
    said = re.search(r"may cost \$([0-9.]+) for a picture, max_cost is \$([0-9.]+)", text)

    assert limit
    assert said
    assert plan_of(draw(prompt, max_cost_nanos=parse_usd(limit[1]), model=BANANA)).candidates
    assert parse_usd(said[1]) >= worst > parse_usd(said[2])


@pytest.mark.parametrize(
    ("request_", "caller", "allowed"),
    [
        (draw(tier=Tier.FREE), CallerPolicy(), True),
        (draw(tier=Tier.FREE, high_quality=True), CallerPolicy(), False),
        (draw(tier=Tier.FREE, high_quality=True), CallerPolicy(allow_free_high_quality=True), True),
        (draw(tier=Tier.FREE, model=GPT, quality=Quality.HIGH), CallerPolicy(), False),
        (draw(tier=Tier.FREE, model=GPT, quality=Quality.MEDIUM), CallerPolicy(), True),
        (draw(tier=Tier.STANDARD, high_quality=True), CallerPolicy(), True),
        (draw(tier=Tier.PRO), CallerPolicy(tiers=frozenset({Tier.FREE})), False),
        (draw(tier=Tier.PRO), CallerPolicy(tiers=frozenset({Tier.PRO})), True),
    ],
)
def test_what_a_caller_may_ask(request_, caller, allowed):
    """A tier must be the caller's, and free users get the best quality only where the policy permits."""
    if allowed:
        check_caller(request_, caller)
        return
    with pytest.raises(GatewayError) as caught:
        check_caller(request_, caller)
    assert caught.value.reason is Reason.TIER_NOT_ALLOWED


@pytest.mark.parametrize(
    ("engines", "full", "reason", "retry_after_s"),
    [
        pytest.param({}, {GPT: FULL, BANANA: FULL}, Reason.BUDGET_EXHAUSTED, None, id="both accounts are full"),
        pytest.param({BANANA: OPEN}, {GPT: FULL}, Reason.PROVIDERS_UNAVAILABLE, 30, id="the other comes back"),
        pytest.param({BANANA: FROZEN}, {GPT: FULL}, Reason.RATE_LIMITED, 7, id="the other is frozen"),
    ],
)
def test_a_full_account_refuses_only_if_nothing_else_will_pass(engines, full, reason, retry_after_s):
    """What passes by itself goes before what an operator must raise; the budget is named in any case."""
    told = refused(draw(tier=Tier.PRO), up(engines=engines, full=full))

    assert (told.reason, told.retry_after_s) == (reason, retry_after_s)
    assert "budget 'openai-day': full" in told.text
    assert (told.metadata["budget"], told.metadata["needed"]) == ("openai-day", "$0.2400")


def test_a_full_account_is_no_reason_to_fall_back_unasked():
    """A model that may only step in stays out, as when the first one is out of service."""
    told = refused(draw(model=GPT), up(full={GPT: FULL}))

    assert told.reason is Reason.BUDGET_EXHAUSTED
    assert told.metadata[f"excluded.{BANANA}"] == "fallback_not_allowed"
