"""GatewayError → gRPC status: one table, honest details, small trailers."""

import base64
import re
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from pictor.v1 import error_reason_pb2
from pictord.domain.reason import Reason
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.rpc.status import CODES, DETAILS_KEY, GENERATION_ID_KEY, PUSHBACK_KEY, Ending, ending, shorten

PROTO = Path(__file__).parents[2] / "protos/pictor/v1/error_reason.proto"


def details(end: Ending) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(end.trailers)[DETAILS_KEY])


def unpacked(end: Ending, kind):
    for packed in details(end).details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def documented_codes() -> dict[str, str]:
    return {
        name: code
        for code, name in re.findall(
            r"// ([A-Z_]+): [^\n]*\n(?:  //[^\n]*\n)*?  ERROR_REASON_([A-Z_]+) = \d+;", PROTO.read_text()
        )
    }


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_a_reason_ends_with_the_code_that_the_contract_documents(reason):
    """Every reason has exactly the gRPC code that error_reason.proto names."""
    assert documented_codes()[reason.name] == CODES[reason].name


def test_the_contract_and_the_domain_know_the_same_reasons():
    """error_reason.proto lists every reason of the domain, and no other."""
    values = set(error_reason_pb2.ErrorReason.keys())

    assert {f"ERROR_REASON_{reason.name}" for reason in Reason} | {"ERROR_REASON_UNSPECIFIED"} == values


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_error_carries_error_info(reason):
    """ErrorInfo with reason, domain and metadata is always there, whatever went wrong."""
    end = ending(GatewayError(reason, "no", {"model": "gpt-image-2"}, generation_id="gen_1"))
    info = unpacked(end, error_details_pb2.ErrorInfo)

    assert (info.reason, info.domain) == (reason.name, "pictor")
    assert dict(info.metadata) == {"model": "gpt-image-2", "generation_id": "gen_1"}
    assert details(end).code == end.code.value[0]
    assert details(end).message == end.text == "no"


def test_bad_input_lists_every_field_with_its_own_reason():
    """BadRequest names each wrong field by its path, and why."""
    error = invalid(
        [
            FieldViolation("request.prompt", "is empty", Reason.PROMPT_EMPTY),
            FieldViolation("request.seed", "is odd"),
        ]
    )
    end = ending(error)
    bad = unpacked(end, error_details_pb2.BadRequest)

    assert end.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [(v.field, v.description, v.reason) for v in bad.field_violations] == [
        ("request.prompt", "is empty", "PROMPT_EMPTY"),
        ("request.seed", "is odd", "INVALID_FIELD"),
    ]


def test_a_used_up_limit_says_whose():
    """RESOURCE_EXHAUSTED carries QuotaFailure with the scope that is full."""
    end = ending(GatewayError(Reason.DAILY_CAP, "the cap of $10 is reached", {"scope": "day:2026-11-22"}))
    quota = unpacked(end, error_details_pb2.QuotaFailure)

    assert [(v.subject, v.description) for v in quota.violations] == [("day:2026-11-22", "the cap of $10 is reached")]


def test_a_limit_without_a_scope_names_itself():
    """QuotaFailure's subject is never empty."""
    quota = unpacked(ending(GatewayError(Reason.QUEUE_FULL, "full")), error_details_pb2.QuotaFailure)

    assert quota.violations[0].subject == "queue_full"


@pytest.mark.parametrize(
    ("error", "pushback"),
    [
        pytest.param(GatewayError(Reason.PROVIDER_FAILED, "x", paid=True), "-1", id="money may be spent: never retry"),
        pytest.param(
            GatewayError(Reason.PROVIDERS_UNAVAILABLE, "x", paid=True, retry_after_s=1),
            "-1",
            id="money goes before a good time to retry",
        ),
        pytest.param(GatewayError(Reason.INTERNAL, "x"), "-1", id="our fault: nobody knows what was spent"),
        pytest.param(GatewayError(Reason.RATE_LIMITED, "x", retry_after_s=0.7), "700", id="a short wait is told"),
        pytest.param(GatewayError(Reason.RATE_LIMITED, "x", retry_after_s=0), "1", id="at once"),
        pytest.param(GatewayError(Reason.RATE_LIMITED, "x", retry_after_s=60), "-1", id="no library waits a minute"),
        pytest.param(GatewayError(Reason.PROVIDERS_UNAVAILABLE, "x"), "-1", id="nobody knows when"),
        pytest.param(GatewayError(Reason.SHUTTING_DOWN, "x"), None, id="another server answers at once"),
        pytest.param(GatewayError(Reason.NOT_FOUND, "x"), None, id="nothing to retry"),
    ],
)
def test_clients_are_told_whether_to_retry(error, pushback):
    """The pushback trailer steers generic retrying clients."""
    assert dict(ending(error).trailers).get(PUSHBACK_KEY) == pushback


def test_a_wait_that_helps_is_in_retry_info():
    """RetryInfo holds the delay, however long."""
    retry = unpacked(ending(GatewayError(Reason.RATE_LIMITED, "x", retry_after_s=61.5)), error_details_pb2.RetryInfo)

    assert retry.retry_delay.ToMilliseconds() == 61_500


def test_no_wait_means_no_retry_info():
    """RetryInfo is absent when waiting does not help."""
    assert unpacked(ending(GatewayError(Reason.DAILY_CAP, "x")), error_details_pb2.RetryInfo) is None


def test_an_error_after_acceptance_repeats_the_generation_id():
    """The trailer names the generation, so that its result can be fetched."""
    end = ending(GatewayError(Reason.NO_IMAGE, "x", generation_id="gen_1"))

    assert dict(end.trailers)[GENERATION_ID_KEY] == "gen_1"


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=3000)


@settings(max_examples=200, deadline=None)
@given(
    reason=st.sampled_from(Reason),
    message=text,
    metadata=st.dictionaries(text.filter(bool), text, max_size=20),
    violations=st.lists(st.builds(FieldViolation, text, text), max_size=30),
    wait=st.none() | st.floats(0, 1e6),
)
def test_trailers_stay_small(reason, message, metadata, violations, wait):
    """However long texts, metadata and violations are, what is sent stays under 8 KiB as it travels."""
    end = ending(
        GatewayError(reason, message, metadata, violations, retry_after_s=wait, paid=True, generation_id="g" * 40)
    )
    sent = len(quote(end.text, safe="")) + sum(
        len(key) + (len(base64.b64encode(value)) if isinstance(value, bytes) else len(value))
        for key, value in end.trailers
    )

    assert sent < 8000


@given(text, st.integers(4, 200))
def test_shortening_keeps_whole_characters(message, limit):
    """A shortened text is valid UTF-8 within the limit, and a prefix of the original."""
    short = shorten(message, limit)

    assert len(short.encode()) <= limit
    assert short == message or message.startswith(short.removesuffix("…"))


def test_lone_surrogates_do_not_break_an_error():
    """A text that is no valid Unicode still becomes a status."""
    assert ending(GatewayError(Reason.INTERNAL, "\ud800")).text == "?"
