"""The demo holds every step to its promise: a gateway that does something else does not get away with a picture."""

from dataclasses import replace

import pytest

from gateway import GPT, NANO, gateway
from pictord.demo.__main__ import tour
from pictord.demo.promise import Promise
from pictord.demo.report import Step

PROMISE = Promise("pro", (f"{GPT} rate_limited", f"{NANO} image"), adaptations=("quality_reduced",), previews=1)
KEPT = Step(
    "failover",
    "tier=pro while OpenAI answers 429",
    row="pro",
    model=NANO,
    attempts=2,
    tried=[f"{GPT} rate_limited", f"{NANO} image"],
    adaptations=["quality_reduced"],
    files=["failover.jpg"],
    previews=["failover-preview-1.png"],
)
OTHERWISE = {
    "refused": ({"error": "CONTENT_POLICY"}, "error should be none, came CONTENT_POLICY"),
    "another row": ({"row": "standard"}, "row should be pro, came standard"),
    "no failover": (
        {"tried": [f"{GPT} image"]},
        f"tried should be {GPT} rate_limited -> {NANO} image, came {GPT} image",
    ),
    "a hidden attempt": ({"attempts": 3}, "attempts should be 2, came 3"),
    "another engine": ({"model": GPT}, f"model should be {NANO}, came {GPT}"),
    "silent loss": ({"adaptations": []}, "adaptations should be quality_reduced, came none"),
    "no picture": ({"files": []}, "pictures should be 1, came none"),
    "no preview": ({"previews": []}, "previews should be 1, came none"),
}


def test_a_kept_promise_has_nothing_to_say():
    """What came is what was promised."""
    assert PROMISE.broken_by(KEPT) == ""


@pytest.mark.parametrize(("changes", "says"), OTHERWISE.values(), ids=OTHERWISE)
def test_whatever_comes_otherwise_is_told(changes, says):
    """One sentence with what was promised and what came."""
    assert PROMISE.broken_by(replace(KEPT, **changes)) == says


def test_a_refusal_is_promised_with_its_reason_and_no_picture():
    """The right reason is needed, and a picture beside it is one too many."""
    refused = Step("refusal", "", "standard", NANO, attempts=1, tried=[f"{NANO} refused"], error="CONTENT_POLICY")
    promise = Promise("standard", (f"{NANO} refused",), error="CONTENT_POLICY")

    assert promise.broken_by(refused) == ""
    assert promise.broken_by(replace(refused, error="NO_IMAGE")) == "error should be CONTENT_POLICY, came NO_IMAGE"
    assert promise.broken_by(replace(refused, files=["a.jpg"])) == "pictures should be none, came 1"


async def test_a_gateway_that_routes_otherwise_fails_the_demo(tmp_path, capsys):
    """Edits on the other engine bring pictures too: the step is named in one line, the others are well."""
    async with gateway(edit_provider="openai") as pictor:
        code = await tour(pictor.app.address, tmp_path)

    assert code == 1
    assert capsys.readouterr().err.splitlines() == [
        f"demo: edit-gemini is not as promised: tried should be {NANO} image, came {GPT} image"
    ]


async def test_without_the_first_picture_the_demo_ends_with_its_reason(tmp_path, capsys):
    """Engines that are down are told in one line, not in a traceback."""
    async with gateway() as pictor:
        pictor.sandbox.faults.add("overloaded")
        code = await tour(pictor.app.address, tmp_path)

    said = capsys.readouterr()
    assert code == 1
    assert said.err.splitlines() == [
        "demo: standard is not as promised: error should be none, came PROVIDERS_UNAVAILABLE"
    ]
    assert "PROVIDERS_UNAVAILABLE" in said.out
