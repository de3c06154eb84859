"""Generations side by side: which facts there are, and which of them differ."""

from dataclasses import replace
from datetime import timedelta

import pytest

import samples
from pictord.domain.comparison import ComparedField, compare
from pictord.domain.generation import Generation, Output, State, Timings
from pictord.domain.money import Cost, CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.plan import Adaptation, AdaptationKind
from pictord.domain.reason import Reason
from pictord.domain.request import (
    Background,
    Canvas,
    Fidelity,
    InputImage,
    Lineage,
    Operation,
    OutputFormat,
    Quality,
    Ratio,
    Resolution,
    Tier,
    Workflow,
)

CUT = Adaptation(AdaptationKind.QUALITY_REDUCED, "high", "none")


def drawn(**changes) -> Generation:
    """A success with one picture."""
    values = {
        "state": State.SUCCEEDED,
        "outputs": (Output(0, State.SUCCEEDED, samples.image()),),
        "attempts": (samples.finished(samples.attempt()),),
        "cost": Cost(53_000_000),
        "timings": Timings(queue_s=1.5, provider_s=30, store_s=0.25, overhead_s=0.002),
        "finish_time": samples.NOON + timedelta(seconds=32),
    }
    return samples.generation(**(values | changes))


def picture(sha: str) -> InputImage:
    return InputImage(b"", "image/png", 512, 512, has_alpha=False, sha256=sha)


def with_image(**changes) -> dict:
    return {"outputs": (Output(0, State.SUCCEEDED, samples.image(**changes)),)}


def asked(**changes) -> dict:
    return {"request": samples.request(**changes)}


def planned(**changes) -> dict:
    return {"plan": replace(samples.plan(), **changes)}


CASES = [
    ("state", {"state": State.FAILED, "reason": Reason.CONTENT_POLICY}, ("succeeded", "failed")),
    ("reason", {"state": State.FAILED, "reason": Reason.CONTENT_POLICY}, ("", "content_policy")),
    ("images.model", with_image(model="gemini-3.1-flash-image"), ("gpt-image-2", "gemini-3.1-flash-image")),
    ("images.served_model", with_image(served_model="other"), ("gpt-image-2", "other")),
    ("images.model_version", with_image(served_version="v9"), ("gpt-image-2-2026-04-21", "v9")),
    ("images.count", {"outputs": (Output(0, State.FAILED),)}, ("1", "0")),
    ("images.size_px", with_image(width_px=512), ("1024x1024", "512x1024")),
    ("images.size_bytes", with_image(size_bytes=7), ("1000", "7")),
    ("images.mime_type", with_image(mime="image/webp"), ("image/png", "image/webp")),
    ("images.has_c2pa", with_image(has_c2pa=True), ("false", "true")),
    ("decision.row", planned(row="pro"), ("standard", "pro")),
    (
        "decision.candidates",
        planned(candidates=(samples.candidate(), samples.candidate(model="nano", quality=None))),
        ("gpt-image-2 medium", "gpt-image-2 medium, nano"),
    ),
    ("decision.fidelity", planned(fidelity=Fidelity.EXACT), ("adapt", "exact")),
    ("decision.policy_version", planned(policy_version="policy-2"), ("policy-1", "policy-2")),
    ("decision.catalog_version", planned(catalog_version="catalog-2"), ("catalog-1", "catalog-2")),
    ("request.prompt", asked(prompt="a blue fox"), ("a red fox", "a blue fox")),
    ("request.operation", asked(operation=Operation.EDIT), ("generate", "edit")),
    ("request.canvas.ratio", asked(canvas=Canvas(ratio=Ratio.parse("16:9"))), ("", "16:9")),
    ("request.canvas.format", asked(canvas=Canvas(format="x/post")), ("", "x/post")),
    ("request.canvas.resolution", asked(canvas=Canvas(resolution=Resolution.R4K)), ("", "4k")),
    ("request.tier", asked(tier=Tier.PRO), ("standard", "pro")),
    ("request.high_quality", asked(high_quality=True), ("false", "true")),
    ("request.workflow", asked(workflow=Workflow.HERO), ("", "hero")),
    ("request.count", asked(count=2), ("1", "2")),
    ("request.model", asked(model="gpt-image-2"), ("", "gpt-image-2")),
    ("request.excluded_models", asked(excluded_models=("a", "b")), ("", "a, b")),
    ("request.quality", asked(quality=Quality.LOW), ("", "low")),
    ("request.output_format", asked(output_format=OutputFormat.JPEG), ("", "jpeg")),
    ("request.output_compression", asked(output_compression=0), ("", "0")),
    ("request.background", asked(background=Background.TRANSPARENT), ("", "transparent")),
    ("request.seed", asked(seed=0), ("", "0")),
    ("request.preview_count", asked(preview_count=2), ("", "2")),
    ("request.allow_fallback", asked(allow_fallback=False), ("", "false")),
    ("request.max_cost_usd", asked(max_cost_nanos=1), ("", "0.000000001")),
    ("request.image_sha256", asked(image=picture("cd")), ("", "cd")),
    ("request.mask_sha256", asked(mask=picture("ef")), ("", "ef")),
    ("request.reference_sha256s", asked(references=(picture("1"), picture("2"))), ("", "1, 2")),
    ("lineage.reroll_of", asked(lineage=Lineage(reroll_of="gen_0")), ("", "gen_0")),
    ("lineage.item_key", asked(lineage=Lineage(set_id="set_1", item_key="a")), ("", "a")),
    ("labels.team", asked(labels={"team": "ads"}), ("", "ads")),
    (
        "adaptations",
        {"attempts": (samples.finished(samples.attempt(adaptations=(CUT,))),)},
        ("", "quality_reduced (high → none)"),
    ),
    (
        "attempts",
        {"attempts": (samples.finished(samples.attempt(), outcome=Outcome.RATE_LIMITED), samples.attempt(model="b"))},
        ("gpt-image-2 image", "gpt-image-2 rate_limited, b intent"),
    ),
    ("cost.amount_usd", {"cost": Cost(120_000_000)}, ("0.053", "0.12")),
    ("cost.basis", {"cost": Cost(53_000_000, CostBasis.UNKNOWN)}, ("reported", "unknown")),
    ("timings.total_s", {"finish_time": samples.NOON + timedelta(seconds=2)}, ("32.000", "2.000")),
    ("timings.queue_s", {"timings": Timings(0, 30, 0.25, 0.002)}, ("1.500", "0.000")),
    ("timings.provider_s", {"timings": Timings(1.5, 3, 0.25, 0.002)}, ("30.000", "3.000")),
    ("timings.store_s", {"timings": Timings(1.5, 30, 0, 0.002)}, ("0.250", "0.000")),
    ("timings.overhead_s", {"timings": Timings(1.5, 30, 0.25, 0.1)}, ("0.002", "0.100")),
]


@pytest.mark.parametrize(("path", "changes", "values"), [pytest.param(*case, id=case[0]) for case in CASES])
def test_a_difference_is_told_by_its_path(path, changes, values):
    """Whatever differs between two generations is a field that differs, with the value of each in its place."""
    fields = {field.path: field for field in compare([drawn(), drawn(**changes)])}

    assert fields[path] == ComparedField(path, values)
    assert fields[path].differs


def test_every_fact_has_its_case():
    """The table above knows every path that a comparison can have."""
    everything = asked(
        canvas=Canvas(Ratio.parse("1:1"), "x/post", Resolution.R1K),
        workflow=Workflow.AD,
        model="m",
        excluded_models=("x",),
        quality=Quality.LOW,
        output_format=OutputFormat.PNG,
        output_compression=1,
        background=Background.OPAQUE,
        seed=1,
        preview_count=1,
        allow_fallback=True,
        max_cost_nanos=1,
        image=picture("1"),
        mask=picture("2"),
        references=(picture("3"),),
        lineage=Lineage("gen_0", "set_1", "a"),
        labels={"team": "ads"},
    )
    adapted = samples.finished(samples.attempt(adaptations=(CUT,)))
    fields = compare([drawn(**everything, attempts=(adapted,), reason=Reason.NO_IMAGE)])

    assert {field.path for field in fields} == {case[0] for case in CASES}


def test_twins_differ_in_nothing():
    """Ids and times of day are no difference, and what nobody has is not told."""
    later = timedelta(hours=1)
    twin = drawn(id="gen_2", create_time=samples.NOON + later, finish_time=samples.NOON + later + timedelta(seconds=32))

    fields = compare([drawn(), twin])

    assert not any(field.differs for field in fields)
    assert "request.seed" not in {field.path for field in fields}


def test_what_still_runs_has_no_times_yet():
    """A running generation stands beside a finished one with empty places."""
    fields = {field.path: field.values for field in compare([drawn(), samples.generation()])}

    assert fields["timings.total_s"] == ("32.000", "")
    assert fields["images.model"] == ("gpt-image-2", "")
    assert fields["attempts"] == ("gpt-image-2 image", "")


def test_pictures_of_two_engines_name_both():
    """Where an output fell back, the generation was drawn by two models, each named once."""
    images = [samples.image(model=model) for model in ("a", "b", "a")]
    several = drawn(outputs=tuple(Output(index, State.SUCCEEDED, image) for index, image in enumerate(images)))

    fields = {field.path: field.values for field in compare([several])}

    assert fields["images.model"] == ("a, b",)
    assert fields["images.size_bytes"] == ("1000, 1000, 1000",)
