"""A replay is the router's decisions added up: nothing is priced by other rules than those of real calls."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pictord.catalog import catalog
from pictord.domain.plan import AdaptationKind
from pictord.domain.reason import Reason
from pictord.domain.request import Fidelity, Quality, Tier, Workflow
from pictord.routing import router
from pictord.whatif import policies
from pictord.whatif.failure import ReplayError
from pictord.whatif.record import Recorded, Unread
from pictord.whatif.replay import Fate, replay
from router_world import BANANA, CATALOG, EVERYTHING_UP, GPT, POLICY, draw, edit, mask, picture, plan_of

TODAY = date(2026, 11, 22)
ONLY_GPT = policies.load("only-gpt-image-2-high", CATALOG)
ONLY_BANANA = policies.load("only-nano-banana-2", CATALOG)

REQUESTS = [
    draw(),
    draw("a blue jay", count=3),
    draw(tier=Tier.PRO, preview_count=2),
    draw(tier=Tier.PRO, resolution="2k", count=2),
    draw(high_quality=True),
    draw(workflow=Workflow.AD),
    draw(workflow=Workflow.QUOTE_GRAPHIC, tier=Tier.FREE),
    draw(form="linkedin/link"),
    draw(model=GPT),
    draw(model="nano-banana-2", tier=Tier.PRO),
    draw(references=(picture(), picture())),
    edit(),
    edit(mask=mask()),
]
REFUSED = [
    draw(tier=Tier.PRO, ratio="8:1", fidelity=Fidelity.EXACT),
    draw(max_cost_nanos=1),
]
"""Refused by the shipped policy: no engine draws 8:1 at `high`; nothing costs so little."""


def replayed(requests, policy=POLICY, **given):
    """What one policy does with requests."""
    records = [each if isinstance(each, Recorded) else Recorded(each) for each in requests]
    report = replay(records, {"it": policy}, CATALOG, backends=EVERYTHING_UP.backends, today=TODAY, **given)
    return report.replayed[0]


def candidates(requests, policy=POLICY):
    """The first choice of the router for each request."""
    return [plan_of(request, policy=policy).candidates[0] for request in requests]


@pytest.mark.parametrize("policy", [POLICY, ONLY_GPT], ids=["shipped", "only gpt-image-2"])
def test_the_report_is_the_sum_of_the_plans(policy):
    """Money, pictures and times are those of each request's first candidate, added up."""
    chosen = candidates(REQUESTS, policy)
    counts = [request.count for request in REQUESTS]

    drawn = replayed(REQUESTS, policy).drawn

    assert drawn.requests == len(REQUESTS)
    assert drawn.pictures == sum(counts) == 16
    assert drawn.expected_nanos == sum(c.expected_nanos * n for c, n in zip(chosen, counts, strict=True))
    assert drawn.worst_nanos == sum(c.worst_case_nanos * n for c, n in zip(chosen, counts, strict=True))
    assert drawn.p50_s == pytest.approx(sum(c.expected_p50_s for c in chosen))
    assert drawn.p90_s == pytest.approx(sum(c.expected_p90_s for c in chosen))
    assert drawn.adapted == sum(bool(c.adaptations) for c in chosen)
    assert drawn.adaptations == Counter(each.kind for c in chosen for each in c.adaptations)


def test_each_row_and_model_has_its_own_sum():
    """What a row spends with a model is what its own requests cost there."""
    by_fate = replayed(REQUESTS).by_fate
    expected: Counter[tuple[str, str]] = Counter()
    for request in REQUESTS:
        plan = plan_of(request)
        expected[str(plan.row), plan.candidates[0].model] += plan.candidates[0].expected_nanos * request.count

    assert {(fate.row, fate.model): tally.expected_nanos for fate, tally in by_fate.items()} == expected
    assert {fate.row for fate in by_fate} == {"explicit", "edit", "four_k", "pro", "text_in_image", "standard"}


def test_rows_come_in_the_order_in_which_they_are_tried():
    """However the requests were shuffled, the report reads like the decision table."""
    rows = [fate.row for fate in replayed(reversed(REQUESTS)).by_fate]

    assert list(dict.fromkeys(rows)) == [row.name for row in POLICY.rows]


def test_within_a_row_the_most_frequent_comes_first():
    """What a row mostly does is read first, whoever came first in the log; refusals come last."""
    by_fate = replayed([*[REFUSED[1]] * 3, draw(), *[draw(form="linkedin/link")] * 2]).by_fate

    assert [(fate.model, tally.requests) for fate, tally in by_fate.items()] == [(GPT, 2), (BANANA, 1), (None, 3)]


def test_by_model_is_the_same_money():
    """Stacked by model, the sums are those of the rows."""
    it = replayed(REQUESTS)

    assert set(it.by_model()) == {GPT, BANANA}
    assert sum(tally.expected_nanos for tally in it.by_model().values()) == it.drawn.expected_nanos


# --- refusals


def test_refused_requests_are_counted_and_not_priced():
    """A refusal has its row and its reason, and no money, no picture and no time."""
    it = replayed([*REQUESTS, *REFUSED])
    refusals = {fate: tally for fate, tally in it.by_fate.items() if fate.refused}

    assert it.refused == len(REFUSED)
    assert it.total.requests == len(REQUESTS) + len(REFUSED)
    assert it.total.expected_nanos == replayed(REQUESTS).total.expected_nanos
    assert {fate: tally.requests for fate, tally in refusals.items()} == {
        Fate("pro", None, Reason.NO_EXACT_CANDIDATE): 1,
        Fate("standard", None, Reason.PRICE_CEILING): 1,
    }
    assert {(t.pictures, t.expected_nanos, t.worst_nanos, t.p50_s, t.p90_s) for t in refusals.values()} == {
        (0, 0, 0, 0.0, 0.0)
    }


def test_a_request_that_was_never_valid_is_refused_before_any_row():
    """A model or format that the catalog has lost does not end the replay."""
    by_fate = replayed([draw(model="gpt-image-1"), draw(form="no/such"), draw()]).by_fate

    assert [fate for fate in by_fate if fate.refused] == [
        Fate("", None, Reason.FORMAT_UNKNOWN),
        Fate("", None, Reason.MODEL_UNKNOWN),
    ]
    assert sum(tally.requests for tally in by_fate.values()) == 3


def test_a_picture_that_is_too_large_is_refused_by_its_number_of_bytes():
    """Of a recorded picture only the size is known, and that is enough for the engines' limits."""
    heavy = replayed([edit(image=picture(data=Unread(80_000_000)))])
    light = replayed([edit(image=picture(data=Unread(1_000_000)))])

    assert [fate.refused for fate in heavy.by_fate] == [Reason.NO_CAPABLE_MODEL]
    assert [fate.model for fate in light.by_fate] == [BANANA]


def test_nothing_to_replay_is_said():
    """A table of nothing would look like a policy that costs nothing."""
    with pytest.raises(ReplayError, match="no requests"):
        replayed([])


# --- one engine alone


@pytest.mark.parametrize(("policy", "model"), [(ONLY_GPT, GPT), (ONLY_BANANA, BANANA)], ids=[GPT, BANANA])
def test_one_engine_alone_costs_what_that_engine_costs(policy, model):
    """Every request that is drawn costs what naming that engine would cost it, at the same quality."""
    unnamed = [request for request in REQUESTS if request.model is None]
    quality = Quality.HIGH if model == GPT else None
    direct = 0
    for request in unnamed:
        named = draw_by(request, model, quality)
        plan = router.plan(named, POLICY, CATALOG, EVERYTHING_UP)
        direct += plan.candidates[0].expected_nanos * request.count if plan.candidates else 0

    it = replayed(unnamed, policy)

    assert set(it.by_model()) == {model}
    assert it.drawn.expected_nanos == direct


def draw_by(request, model, quality):
    """The same request with a model named, and nobody to fall back on."""
    return replace(request, model=model, quality=quality, allow_fallback=False)


def test_an_engine_that_is_named_is_not_there_when_locked_into_the_other():
    """Who has one engine only gives that one, and says that another was asked for."""
    by_banana = replayed([draw(model=GPT)], ONLY_BANANA)

    assert [(fate.row, fate.model) for fate in by_banana.by_fate] == [("named", BANANA)]
    assert by_banana.drawn.adaptations == {AdaptationKind.MODEL_SUBSTITUTED: 1}


def test_only_gpt_image_2_is_at_high():
    """Whatever the tier, unless the request itself says a quality."""
    (free,) = candidates([draw(tier=Tier.FREE)], ONLY_GPT)
    (own,) = candidates([draw(model=GPT, quality=Quality.LOW)], ONLY_GPT)

    assert (free.model, free.quality) == (GPT, Quality.HIGH)
    assert own.quality is Quality.LOW


def test_a_masked_edit_is_refused_by_the_engine_without_masks():
    """What is cheaper alone is cheaper also because it refuses."""
    it = replayed([edit(mask=mask())], ONLY_BANANA)

    assert list(it.by_fate) == [Fate("edit", None, Reason.NO_EXACT_CANDIDATE)]


# --- what really happened


def test_what_was_really_spent_is_set_against_what_would_be():
    """Only records with a cost take part, and an alias is the same model."""
    records = [
        Recorded(draw(), cost_nanos=70_000_000, model="nano-banana-2"),
        Recorded(draw(tier=Tier.PRO), cost_nanos=60_000_000, model=BANANA),
        Recorded(draw()),
    ]

    drawn = replayed(records).drawn

    assert (drawn.known, drawn.spent_nanos) == (2, 130_000_000)
    assert drawn.known_nanos == sum(c.expected_nanos for c in candidates([draw(), draw(tier=Tier.PRO)]))
    assert drawn.moved == 1


NEW_PRICE = """
[models."gemini-3.1-flash-image".prices.2026-12-01]
text_in = 1
image_in = 1
text_out = 6
image_out = 120
source = "a test"
date = 2026-11-22
"""


def test_a_record_is_priced_at_the_prices_of_its_day(tmp_path: Path):
    """What was spent last month is compared at last month's prices; without a time today's count."""
    (tmp_path / "models.toml").write_text(NEW_PRICE)
    dearer = catalog.load(tmp_path)

    def nanos(time, today):
        report = replay(
            [Recorded(draw(), time=time)], {"it": POLICY}, dearer, backends=EVERYTHING_UP.backends, today=today
        )
        return report.replayed[0].drawn.expected_nanos

    before, after = datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    (now,) = candidates([draw()])
    assert nanos(before, after.date()) == now.expected_nanos
    assert nanos(after, before.date()) == 2 * now.expected_nanos
    assert nanos(None, before.date()) == now.expected_nanos
    assert nanos(None, after.date()) == 2 * now.expected_nanos
