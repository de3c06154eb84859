"""The decision table as data: what ships, what an operator lays over it, and what is refused."""

from pathlib import Path

import pytest

from pictord.catalog.catalog import load as load_catalog
from pictord.catalog.overlay import CatalogError
from pictord.domain.plan import Row
from pictord.domain.request import Quality, Resolution, Tier, Workflow
from pictord.routing import router
from pictord.routing.policy import Policy, load
from router_world import BANANA, CATALOG, EVERYTHING_UP, GPT, draw, kinds, models, reasons

NEWER = Path(__file__).with_name("test_catalog_newer")


def overlaid(tmp_path: Path, text: str) -> Policy:
    (tmp_path / "policy.toml").write_text(text)
    return load(CATALOG, tmp_path)


def test_the_shipped_rows_in_their_order():
    """The rows are those of the design, in its order."""
    assert [row.name for row in load(CATALOG).rows] == list(Row)


def test_the_shipped_rules():
    """Snap within 2 %, and a call ends two seconds before its caller's deadline."""
    limits = load(CATALOG).limits

    assert (limits.snap_tolerance, limits.deadline_margin_s) == (0.02, 2.0)


def test_the_version_follows_data_and_edit_provider(tmp_path):
    """The version changes with the data and with the edit provider, and with nothing else."""
    version = load(CATALOG).version

    assert load(CATALOG).version == version
    assert load(CATALOG, edit_provider="openai").version != version
    assert overlaid(tmp_path, "[rows.standard]\ncandidates = ['gpt-image-2']\n").version != version


def test_an_overlay_changes_a_row(tmp_path):
    """An operator's row keeps the keys that it does not mention."""
    policy = overlaid(tmp_path, "[rows.pro]\ncandidates = ['gemini-3.1-flash-image']\n")
    plan = router.plan(draw(tier=Tier.PRO), policy, CATALOG, EVERYTHING_UP)

    assert models(plan) == [BANANA]
    assert reasons(plan) == {GPT: "not_in_row"}


def test_an_own_row_comes_before_another(tmp_path):
    """An operator's own row is tried where it says, and names itself in the plan."""
    own = "[rows.heroes]\nwhen = [{ workflow = ['hero'] }]\ncandidates = ['gpt-image-2']\nbefore = 'four_k'\n"
    policy = overlaid(tmp_path, own)
    plan = router.plan(draw(workflow=Workflow.HERO, resolution="4k"), policy, CATALOG, EVERYTHING_UP)

    assert [row.name for row in policy.rows][:3] == ["explicit", "edit", "heroes"]
    assert (plan.row, models(plan)) == ("heroes", [GPT])


def test_newer_models_are_routed_by_data():
    """Models of an overlay become first choices by data alone: rows, qualities, sizes and prices are their own."""
    catalog = load_catalog(NEWER)
    policy = load(catalog, NEWER)

    standard = router.plan(draw(), policy, catalog, EVERYTHING_UP)
    pro = router.plan(draw(tier=Tier.PRO), policy, catalog, EVERYTHING_UP)
    poster = router.plan(draw(workflow=Workflow.HERO, resolution="2k"), policy, catalog, EVERYTHING_UP)
    named = router.plan(draw(model="flare", resolution="512"), policy, catalog, EVERYTHING_UP)

    assert models(standard) == ["gemini-nano-banana-2.1", BANANA, GPT]
    assert reasons(standard) == {"gpt-image-2.5-flare": "not_in_row"}
    assert models(pro)[0] == "gpt-image-2.5-flare"
    assert pro.candidates[0].quality is Quality.HIGH
    assert kinds(pro, "gpt-image-2.5-flare") == []
    assert (poster.row, models(poster)) == ("posters", ["gpt-image-2.5-flare"])
    assert models(named) == ["gpt-image-2.5-flare"]


def test_a_newer_model_without_512_is_unable():
    """What a newer model cannot do is known from its data."""
    catalog = load_catalog(NEWER)
    plan = router.plan(draw(resolution="512"), load(catalog, NEWER), catalog, EVERYTHING_UP)

    assert models(plan) == [BANANA]
    assert reasons(plan)["gemini-nano-banana-2.1"] == "resolution_unsupported"


def test_a_resolution_above_the_largest_is_reduced(tmp_path):
    """An engine that stops at 1K serves a 4K request at 1K and says so."""
    (tmp_path / "models.toml").write_text("[models.gpt-image-2.sizes]\nresolutions = ['1k']\n")
    catalog = load_catalog(tmp_path)
    plan = router.plan(draw(model=GPT, resolution="4k"), load(catalog), catalog, EVERYTHING_UP)

    assert plan.candidates[0].resolution is Resolution.R1K
    assert kinds(plan, GPT) == ["resolution_reduced"]


@pytest.mark.parametrize(
    ("qualities", "tier", "quality", "adapted"),
    [
        (["low"], Tier.STANDARD, Quality.LOW, []),
        (["low"], Tier.PRO, Quality.LOW, ["quality_reduced"]),
        (["low", "medium"], Tier.PRO, Quality.MEDIUM, ["quality_reduced"]),
    ],
)
def test_an_engine_without_high_runs_at_its_best_below(tmp_path, qualities, tier, quality, adapted):
    """An engine that lacks the wanted quality runs at the best one below it, and a PRO request is told."""
    (tmp_path / "models.toml").write_text(f"[models.gpt-image-2.can]\nqualities = {qualities}\n")
    catalog = load_catalog(tmp_path)
    plan = router.plan(draw(model=GPT, tier=tier), load(catalog), catalog, EVERYTHING_UP)

    assert plan.candidates[0].quality is quality
    assert kinds(plan, GPT) == adapted


def test_an_engine_with_high_only_never_serves_standard(tmp_path):
    """The cost floor holds for every engine: one that has only high is unable for a standard request."""
    (tmp_path / "models.toml").write_text("[models.gpt-image-2.can]\nqualities = ['high']\n")
    catalog = load_catalog(tmp_path)
    plan = router.plan(draw(), load(catalog), catalog, EVERYTHING_UP)

    assert reasons(plan) == {GPT: "quality_unsupported"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[rows.pro]\ncandidates = ['gpt-9']\n", ["'pro'", "candidates", "gpt-9"], id="unknown model"),
        pytest.param("[rows.pro]\ncandidates = []\n", ["'pro'", "candidates"], id="no candidates"),
        pytest.param("[rows.pro]\ncandidates = ['gpt-image-2', 'gpt-image-2']\n", ["'pro'", "once"], id="twice"),
        pytest.param("[rows.pro]\nwhen = [{ teir = ['pro'] }]\n", ["'pro'", "teir"], id="unknown condition"),
        pytest.param("[rows.pro]\nwhen = [{ tier = ['gold'] }]\n", ["'pro'", "tier"], id="unknown tier"),
        pytest.param(
            "[rows.own]\nwhen = [{}]\ncandidates = ['gpt-image-2']\n", ["'own'", "before"], id="own row without a place"
        ),
        pytest.param(
            "[rows.own]\nwhen = [{}]\ncandidates = ['gpt-image-2']\nbefore = 'x'\n",
            ["'own'", "'x'"],
            id="no such place",
        ),
        pytest.param("[rows.standard]\nwhen = [{ masked = true }]\n", ["'standard'", "everything"], id="not total"),
        pytest.param("[rows]\npro = 3\n", ["'pro'", "table"], id="no table"),
        pytest.param("[rules.speed]\nx = 1\n", ["'speed'", "quality"], id="unknown rule"),
        pytest.param("[rules.limits]\nsnap_tolerance = 0.5\n", ["'limits'", "snap_tolerance"], id="tolerance too wide"),
        pytest.param("[rules.limits]\ndeadline_margin_s = 'x'\n", ["'limits'", "deadline_margin_s"], id="wrong type"),
        # A refusal never falls back (design, section 6): the outcome table says so, and no setting.
        pytest.param("[rules.limits]\nrefusal_fallback = true\n", ["'limits'", "refusal_fallback"], id="unknown limit"),
        pytest.param("[rules.quality]\nstandard = 'high'\n", ["'quality'", "cost floor"], id="standard at high"),
        pytest.param("[row.pro]\n", ["'row'"], id="unknown section"),
    ],
)
def test_a_broken_policy_is_refused_by_file_row_and_key(tmp_path, text, said):
    """Whatever is wrong in a policy, the error names the file, the row or rule, and the key."""
    with pytest.raises(CatalogError) as caught:
        overlaid(tmp_path, text)

    assert all(word in str(caught.value) for word in ["policy.toml", *said]), str(caught.value)


def test_an_unknown_edit_provider_is_refused():
    """IMAGE_EDIT_PROVIDER must be a provider that serves a model."""
    with pytest.raises(CatalogError, match="midjourney"):
        load(CATALOG, edit_provider="midjourney")


def test_the_margin_scales_with_the_sandbox():
    """The sandbox's clock scales the deadline margin, and nothing else."""
    policy = load(CATALOG)

    assert policy.scaled(0.1).limits.deadline_margin_s == pytest.approx(policy.limits.deadline_margin_s / 10)
    assert policy.scaled(0.1).rows == policy.rows
