"""Every way in which the providers are known to fail, and what the gateway takes it for.

These tables are the documentation of design section 6 from the provider's side: a fault of the sandbox (its module
`faults` says what each sends), and the outcome that drives breaker, limiter, fallback and money.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from contract.adapter_rig import KEY, adapter_to, call_of, drawn
from pictord.domain.money import Usage
from pictord.domain.outcome import Outcome, Transport, Unusable
from pictord.sandbox import Sandbox, SandboxSettings, run
from pictord.sandbox.faults import KINDS


@dataclass(frozen=True)
class Case:
    """A fault by its header, and what is expected; None means that it is not looked at."""

    fault: str
    outcome: Outcome
    why: Unusable | Transport | None = None
    retry_after_s: float | None = None
    text: str = ""
    """Must be in the failure's text."""
    previews: int = 0
    """Asked for; more than none makes the call a stream."""
    previews_seen: int | None = 0
    timeout_s: float = 30.0

    def __str__(self) -> str:
        return f"{self.fault}{' streamed' if self.previews else ''} is {self.outcome}"


QUOTA_CODES = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
)
OPENAI = [
    # errors with a status
    Case("rate_limit", Outcome.RATE_LIMITED, text="input-images per min"),
    Case("rate_limit;retry_after=7", Outcome.RATE_LIMITED, retry_after_s=7.0),
    Case("rate_limit;retry_after_ms=250;retry_after=7", Outcome.RATE_LIMITED, retry_after_s=0.25),
    Case("rate_limit;retry_after=600", Outcome.RATE_LIMITED, retry_after_s=600.0),
    Case("rate_limit;text=15ms", Outcome.RATE_LIMITED, retry_after_s=0.015),
    Case("rate_limit;text=1m2.5s", Outcome.RATE_LIMITED, retry_after_s=62.5, previews=1),
    Case("slow_down;retry_after=3", Outcome.RATE_LIMITED, retry_after_s=3.0),
    *[Case(code, Outcome.UNFUNDED, text="exceeded your current quota") for code in QUOTA_CODES],
    Case("billing_hard_limit", Outcome.UNFUNDED),
    Case("payment_required_html", Outcome.UNFUNDED, text="HTML page: 402 Payment Required"),
    Case("invalid_api_key", Outcome.KEY_REFUSED),
    Case("org_unverified", Outcome.MODEL_REFUSED, text="must be verified"),
    Case("model_not_found", Outcome.MODEL_REFUSED),
    Case("moderation_blocked", Outcome.REFUSED, text="safety_violations=[violence]"),
    Case("moderation_blocked", Outcome.REFUSED, previews=1),
    Case("content_policy_violation", Outcome.REFUSED),
    Case("bad_request", Outcome.BAD_REQUEST),
    Case("request_timeout", Outcome.SERVER_ERROR),
    Case("server_error;should_retry=true", Outcome.SERVER_ERROR),
    Case("bad_gateway_html", Outcome.SERVER_ERROR, text="HTML page: 502 Bad Gateway"),
    Case("gateway_timeout_html", Outcome.SERVER_ERROR),
    Case("overloaded", Outcome.OVERLOADED),
    # connections that break, and calls that take too long
    Case("refuse", Outcome.SERVER_ERROR, Transport.RESET),
    Case("reset_before_response", Outcome.SERVER_ERROR, Transport.RESET),
    Case("reset_before_response", Outcome.SERVER_ERROR, Transport.RESET, previews=2),
    Case("reset_mid_body", Outcome.SERVER_ERROR, Transport.RESET),
    # a reset may overtake what was sent before it
    Case("reset_mid_body;after=1", Outcome.SERVER_ERROR, Transport.RESET, previews=2, previews_seen=None),
    Case("stall", Outcome.SERVER_ERROR, Transport.TIMEOUT, timeout_s=0.25),
    Case("stall_mid_body", Outcome.SERVER_ERROR, Transport.TIMEOUT, timeout_s=0.25),
    Case("stall_mid_body;after=0", Outcome.SERVER_ERROR, Transport.TIMEOUT, previews=1, timeout_s=0.5),
    # answers with 200 that are no picture
    Case("error_in_200", Outcome.RATE_LIMITED),
    Case("error_in_200;code=insufficient_quota", Outcome.UNFUNDED),
    Case("error_in_200;code=server_error", Outcome.SERVER_ERROR, previews=1),
    Case("error_in_200;code=moderation_blocked", Outcome.REFUSED),
    Case("error_in_200;code=bad_request", Outcome.BAD_REQUEST),
    Case("html_in_200", Outcome.UNUSABLE, Unusable.NOT_JSON, text="HTML"),
    Case("html_in_200", Outcome.UNUSABLE, Unusable.NOT_JSON, previews=1),
    Case("truncated_json", Outcome.UNUSABLE, Unusable.TRUNCATED),
    Case("truncated_json", Outcome.UNUSABLE, Unusable.TRUNCATED, previews=1, previews_seen=1),
    Case("truncated_image", Outcome.UNUSABLE, Unusable.TRUNCATED),
    Case("truncated_image", Outcome.UNUSABLE, Unusable.TRUNCATED, previews=1),
    Case("wrong_image_type", Outcome.UNUSABLE, Unusable.WRONG_TYPE),
    Case("bad_base64", Outcome.UNUSABLE, Unusable.BAD_BASE64),
    Case("bad_base64", Outcome.UNUSABLE, Unusable.BAD_BASE64, previews=2),
    Case("empty_data", Outcome.NO_IMAGE, Unusable.EMPTY),
    # streams that go wrong
    Case("eof_before_completed", Outcome.UNUSABLE, Unusable.NO_FINAL, previews=2, previews_seen=2),
    Case("error_event", Outcome.SERVER_ERROR, previews=2, previews_seen=1, text="Sorry about that"),
    Case("error_event;code=moderation_blocked", Outcome.REFUSED, previews=2, previews_seen=1),
    Case("error_event;code=rate_limit_exceeded;after=0", Outcome.RATE_LIMITED, previews=2),
    Case("untyped_error_event", Outcome.SERVER_ERROR, previews=2, previews_seen=1, text="Sorry about that"),
    Case("untyped_error_event;code=insufficient_quota", Outcome.UNFUNDED, previews=2, previews_seen=1),
    # odd, but a picture
    Case("missing_usage", Outcome.IMAGE),
    Case("missing_usage", Outcome.IMAGE, previews=1, previews_seen=1),
    Case("missing_output_details", Outcome.IMAGE),
    Case("fewer_partials;count=1", Outcome.IMAGE, previews=3, previews_seen=1),
    Case("non_sse_200", Outcome.IMAGE, previews=2),
    Case("sse_comments", Outcome.IMAGE, previews=2, previews_seen=2),
    Case("done_marker", Outcome.IMAGE, previews=2, previews_seen=2),
]
REFUSALS = (
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "PROHIBITED_CONTENT",
    "SAFETY",
    "BLOCKLIST",
    "SPII",
    "MODEL_ARMOR",
)
WITHOUT_IMAGE = (
    "NO_IMAGE",
    "IMAGE_OTHER",
    "IMAGE_RECITATION",
    "RECITATION",
    "MAX_TOKENS",
    "OTHER",
    "LANGUAGE",
    "A_REASON_OF_TOMORROW",
)
GEMINI = [
    # errors with a status
    Case("rate_limit", Outcome.RATE_LIMITED, retry_after_s=26.0, text="exceeded your current quota"),
    Case("rate_limit;retry_delay=45.837906927s", Outcome.RATE_LIMITED, retry_after_s=45.837906927),
    Case("rate_limit_bare", Outcome.RATE_LIMITED, text="Resource exhausted"),
    Case("quota_per_day;retry_delay=39600s", Outcome.UNFUNDED, retry_after_s=39600.0),
    Case("api_key_invalid", Outcome.KEY_REFUSED),
    Case("unauthenticated", Outcome.KEY_REFUSED),
    Case("permission_denied", Outcome.KEY_REFUSED),
    Case("failed_precondition", Outcome.KEY_REFUSED, text="location is not supported"),
    Case("failed_precondition;message=Please enable billing on your project", Outcome.UNFUNDED),
    Case("failed_precondition;message=Precondition check failed.", Outcome.BAD_REQUEST),
    Case("not_found", Outcome.MODEL_REFUSED),
    Case("invalid_argument", Outcome.BAD_REQUEST),
    Case("internal", Outcome.SERVER_ERROR),
    Case("bad_gateway_html", Outcome.SERVER_ERROR, text="HTML page: 502 Bad Gateway"),
    Case("deadline_exceeded", Outcome.SERVER_ERROR),
    Case("unavailable", Outcome.OVERLOADED),
    Case("unavailable;reason=MODEL_CAPACITY_EXHAUSTED", Outcome.OVERLOADED),
    Case("overloaded", Outcome.OVERLOADED),
    # connections that break, and calls that take too long
    Case("refuse", Outcome.SERVER_ERROR, Transport.RESET),
    Case("reset_before_response", Outcome.SERVER_ERROR, Transport.RESET),
    Case("reset_mid_body", Outcome.SERVER_ERROR, Transport.RESET),
    Case("stall", Outcome.SERVER_ERROR, Transport.TIMEOUT, timeout_s=0.25),
    Case("stall_mid_body", Outcome.SERVER_ERROR, Transport.TIMEOUT, timeout_s=0.25),
    # answers with 200 that are no picture
    *[Case(f"finish_reason;reason={reason}", Outcome.REFUSED, text=reason) for reason in REFUSALS],
    *[
        Case(f"block_reason;reason={reason}", Outcome.REFUSED, text=reason)
        for reason in ("PROHIBITED_CONTENT", "JAILBREAK", "OTHER", "A_REASON_OF_TOMORROW")
    ],
    *[Case(f"finish_reason;reason={reason}", Outcome.NO_IMAGE, Unusable.EMPTY) for reason in WITHOUT_IMAGE],
    Case("finish_reason;parts=absent;message=Nein.", Outcome.REFUSED, text="Nein."),
    Case("finish_reason;parts=empty", Outcome.REFUSED),
    Case("text_only", Outcome.NO_IMAGE, Unusable.EMPTY, text="Here is the picture you asked for."),
    Case("no_candidates", Outcome.NO_IMAGE, Unusable.EMPTY),
    Case("continuation", Outcome.NO_IMAGE, Unusable.EMPTY),
    Case("error_in_200", Outcome.RATE_LIMITED, retry_after_s=26.0),
    Case("error_in_200;status=unavailable", Outcome.OVERLOADED),
    Case("error_in_200;status=invalid_argument", Outcome.BAD_REQUEST),
    Case("html_in_200", Outcome.UNUSABLE, Unusable.NOT_JSON, text="HTML"),
    Case("truncated_json", Outcome.UNUSABLE, Unusable.TRUNCATED),
    Case("truncated_image", Outcome.UNUSABLE, Unusable.TRUNCATED),
    Case("wrong_image_type", Outcome.UNUSABLE, Unusable.WRONG_TYPE),
    Case("bad_base64", Outcome.UNUSABLE, Unusable.BAD_BASE64),
    # odd, but a picture
    Case("missing_usage", Outcome.IMAGE),
    Case("several_images;count=3", Outcome.IMAGE),
    Case("thought_images", Outcome.IMAGE),
    Case("thought_image_only", Outcome.IMAGE),
    Case("mislabelled_mime", Outcome.IMAGE),
    Case("odd_pixels", Outcome.IMAGE),
    Case("big_signatures", Outcome.IMAGE),
    Case("served_version;model_version=gemini-3.1-flash-image-2026-10", Outcome.IMAGE),
]
CASES = [("openai", case) for case in OPENAI] + [("gemini", case) for case in GEMINI]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with run(SandboxSettings(time_scale=0)) as sandbox:
        yield sandbox


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_no_fault_is_forgotten(provider: str) -> None:
    """The tables name every fault that the sandbox can play."""
    named = {case.fault.split(";")[0] for api, case in CASES if api == provider}

    assert named == set(KINDS[provider])


@pytest.mark.parametrize(("api", "case"), CASES, ids=[f"{api} {case}" for api, case in CASES])
async def test_every_fault_has_its_outcome(api: str, case: Case, sandbox: Sandbox) -> None:
    """One request, whatever happens; never an exception of an SDK; never a picture that is none."""
    call = call_of(api, headers={"x-sandbox-fault": case.fault}, previews=case.previews, timeout_s=case.timeout_s)

    async with adapter_to(api, sandbox) as adapter:
        result = await drawn(adapter, call)
    sandbox.release_stalls()

    assert (len(sandbox.requests), result.sent) == (1, 1)
    assert case.previews_seen in (None, len(result.previews))
    if case.outcome is Outcome.IMAGE:
        assert result.failure is None
        assert result.image.data
        return
    assert not result.images
    assert result.failure is not None
    assert case.outcome is result.failure.outcome
    if case.why is not None:
        assert case.why in (result.failure.signal.unusable, result.failure.signal.transport)
    assert case.retry_after_s == result.failure.retry_after_s
    assert case.text in result.failure.text
    assert KEY not in result.failure.text


@pytest.mark.parametrize(("fault", "billed"), [("finish_reason;reason=IMAGE_SAFETY", True), ("rate_limit", False)])
async def test_a_failure_tells_what_it_cost(fault: str, *, billed: bool, sandbox: Sandbox) -> None:
    """A refusal with usage is settled at it: the prompt is charged, the picture is not."""
    async with adapter_to("gemini", sandbox) as adapter:
        result = await drawn(adapter, call_of("gemini", headers={"x-sandbox-fault": fault}))

    assert result.failure is not None
    charged = sandbox.charges[0].usage
    assert (Usage(text_in_tokens=charged.text_in) if billed else None) == result.failure.usage
    assert result.failure.provider_request_id == (sandbox.charges[0].request_id if billed else "")


async def test_a_picture_without_usage_says_so(sandbox: Sandbox) -> None:
    """Unknown usage is None, never zero tokens."""
    headers = {"x-sandbox-fault": "missing_usage"}
    for api in ("openai", "gemini"):
        async with adapter_to(api, sandbox) as adapter:
            result = await drawn(adapter, call_of(api, headers=headers))

        assert result.image.usage is None


async def test_the_last_of_several_pictures_is_the_picture(sandbox: Sandbox) -> None:
    """Drafts that come as ordinary parts are paid for, counted and dropped."""
    async with adapter_to("gemini", sandbox) as adapter:
        result = await drawn(adapter, call_of("gemini", headers={"x-sandbox-fault": "several_images;count=3"}))
        alone = await drawn(adapter, call_of("gemini"))

    assert result.image.extra_images == 2
    assert result.image.usage is not None
    assert alone.image.usage is not None
    assert result.image.usage.image_out_tokens == 3 * alone.image.usage.image_out_tokens
    assert result.image.data != alone.image.data


async def test_thoughts_are_no_pictures_unless_there_is_nothing_else(sandbox: Sandbox) -> None:
    """The picture outside the thoughts wins; alone, the last thought is the picture."""
    async with adapter_to("gemini", sandbox) as adapter:
        usual = await drawn(adapter, call_of("gemini"))
        thoughtful = await drawn(adapter, call_of("gemini", headers={"x-sandbox-fault": "thought_images;count=2"}))
        only = await drawn(adapter, call_of("gemini", headers={"x-sandbox-fault": "thought_image_only"}))

    assert thoughtful.image.data == usual.image.data
    assert only.image.data != usual.image.data
    assert {result.image.extra_images for result in (usual, thoughtful, only)} == {0}


async def test_what_is_served_is_read_from_the_answer(sandbox: Sandbox) -> None:
    """The version, the true type and the true size are the delivered ones, not the asked ones."""
    faults = "gemini:served_version;model_version=gemini-3.1-flash-image-2026-10, gemini:mislabelled_mime, "
    async with adapter_to("gemini", sandbox) as adapter:
        result = await drawn(adapter, call_of("gemini", headers={"x-sandbox-fault": faults + "gemini:odd_pixels"}))

    assert result.image.served_version == "gemini-3.1-flash-image-2026-10"
    assert result.image.mime == "image/jpeg"
    assert (result.image.width_px, result.image.height_px) == (544, 512)
