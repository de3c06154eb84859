"""Bodies of generateContent as they were seen in the wild, and what is believed of them."""

from typing import Any

import pytest

from pictord.domain.money import Usage
from pictord.domain.outcome import Outcome, Unusable
from pictord.providers.base import ProviderFailure
from pictord.providers.gemini_answer import Finished, finished, refused, reported

RECORDED_USAGE = {
    "promptTokenCount": 14,
    "candidatesTokenCount": 1283,
    "thoughtsTokenCount": 174,
    "totalTokenCount": 1471,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 14}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
"""pydantic-ai's cassette test_google_image_generation_with_text: the fields do not add up, the total does."""


def picture(data: str, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/jpeg", "data": data}, **more}


def answer(*parts: Any, finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0}
    return {"candidates": [candidate], "modelVersion": "v", "responseId": "r", **more}


def test_a_recorded_answer() -> None:
    """Thoughts and text come before the picture; signatures are left where they are."""
    body = answer(
        {"text": "**Composing**", "thought": True},
        {"text": "Here.", "thoughtSignature": "EoClMgr8"},
        picture("AAAA", thoughtSignature="EoClMgr8"),
        usageMetadata=RECORDED_USAGE,
    )

    assert finished(body) == Finished("AAAA", Usage(14, 0, 337, 1120), 0, "v", "r")


@pytest.mark.parametrize(
    ("parts", "data", "extra"),
    [
        ([picture("A"), picture("B"), picture("C")], "C", 2),
        ([picture("A", thought=True), picture("B"), picture("C", thought=True)], "B", 0),
        ([picture("A", thought=True), picture("B", thought=True)], "B", 0),
        ([picture("A"), {"text": "There you are."}], "A", 0),
        ([None, "?", {"inlineData": None}, {"inlineData": {"data": ""}}, picture("A")], "A", 0),
    ],
    ids=["drafts", "thoughts around", "only thoughts", "picture first", "nonsense around"],
)
def test_the_final_picture_among_several(parts: list[Any], data: str, extra: int) -> None:
    """The last picture that is no thought, else the last one."""
    final = finished(answer(*parts))

    assert (data, extra) == (final.picture, final.extra_images)


def test_a_draft_of_a_refused_picture_is_no_picture() -> None:
    """Thoughts count as the picture only if the model ended well."""
    with pytest.raises(ProviderFailure) as caught:
        finished(answer(picture("A", thought=True), finish="IMAGE_SAFETY"))

    assert caught.value.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"candidates": None},
        {"candidates": []},
        {"candidates": ["?"]},
        {"candidates": [{}]},
        {"candidates": [{"content": None}]},
        {"candidates": [{"content": {"parts": None}}]},
        {"candidates": [{"content": {"parts": [{"text": 5}]}, "finishReason": 3}]},
        {"promptFeedback": "?"},
    ],
)
def test_no_picture_is_no_success(body: dict[str, Any]) -> None:
    """Whatever is missing or of a wrong type, the answer is a failure and not an exception."""
    with pytest.raises(ProviderFailure) as caught:
        finished(body)

    assert caught.value.signal.unusable is Unusable.EMPTY
    assert caught.value.outcome is Outcome.NO_IMAGE
    assert caught.value.text


def test_a_refusal_tells_reason_cost_and_version() -> None:
    """Everything a refused call says of itself is kept."""
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 700, "thoughtsTokenCount": 700, "totalTokenCount": 709}

    with pytest.raises(ProviderFailure) as caught:
        finished(
            {
                "promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "Not this."},
                "usageMetadata": usage,
                "modelVersion": "v",
                "responseId": "r",
            }
        )

    failure = caught.value
    assert (failure.outcome, failure.text) == (Outcome.REFUSED, "Not this.")
    assert failure.usage == Usage(text_in_tokens=9, text_out_tokens=700)
    assert (failure.provider_request_id, failure.served_version) == ("r", "v")


@pytest.mark.parametrize(
    ("usage", "drew", "tokens"),
    [
        (RECORDED_USAGE, True, Usage(14, 0, 337, 1120)),
        ({"promptTokenCount": 9, "totalTokenCount": 1129, "candidatesTokenCount": 1120}, True, Usage(9, 0, 0, 1120)),
        ({"promptTokenCount": 9, "totalTokenCount": 709, "candidatesTokenCount": 700}, False, Usage(9, 0, 700, 0)),
        (
            {
                "promptTokenCount": 1130,
                "totalTokenCount": 2250,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 10},
                    {"modality": "IMAGE", "tokenCount": 1120},
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
            },
            True,
            Usage(10, 1120, 0, 1120),
        ),
        ({"promptTokenCount": 9, "totalTokenCount": 5}, False, Usage(9, 0, 0, 0)),
        (None, True, None),
        ({}, True, None),
        ({"totalTokenCount": "9"}, True, None),
        ({"totalTokenCount": 10**30}, True, None),
    ],
    ids=[
        "recorded",
        "no details",
        "refused",
        "with input picture",
        "total too small",
        "none",
        "empty",
        "nonsense",
        "more than there can be",
    ],
)
def test_usage_is_what_the_total_says(usage: object, *, drew: bool, tokens: Usage | None) -> None:
    """Fields are not added up; a picture that the details forget is counted at the dearer kind."""
    assert tokens == reported(usage, drew=drew)


def test_no_picture_is_free() -> None:
    """Usage that forgets the picture is none: the estimate counts, and people are told."""
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}

    assert finished(answer(picture("AAAA"), usageMetadata=usage)).usage is None


@pytest.mark.parametrize(
    ("status", "body", "codes", "retry_after_s"),
    [
        (
            429,
            {
                "error": {
                    "code": 429,
                    "status": "RESOURCE_EXHAUSTED",
                    "message": "Please retry in 26.66s.",
                    "details": [
                        {"violations": [{"quotaId": "PerMinute"}, {"quotaId": "PerDay"}]},
                        {"retryDelay": "45.5s"},
                    ],
                }
            },
            ("PerMinute", "PerDay", "RESOURCE_EXHAUSTED"),
            45.5,
        ),
        (429, {"error": {"status": "A", "message": "Please retry in 26.66s."}}, ("A",), 26.66),
        (503, {"error": {"status": "A", "details": [{"reason": "X"}, "?", {"retryDelay": "soon"}]}}, ("X", "A"), None),
        (502, {"message": "<html>", "status": "Bad Gateway"}, ("Bad Gateway",), None),
        (500, None, (), None),
        (500, {"error": "text", "message": 5}, (), None),
    ],
    ids=["per minute and per day", "hint in words", "reason first", "page", "nothing", "nonsense"],
)
def test_an_error_body_gives_its_codes_and_its_wait(
    status: int, body: object, codes: tuple[str, ...], retry_after_s: float | None
) -> None:
    """The most specific word comes first, and RetryInfo goes before words."""
    failure = refused(status, body)

    assert (status, codes, retry_after_s) == (failure.signal.status, failure.signal.codes, failure.retry_after_s)
    assert failure.text


def test_an_error_inside_a_200_brings_its_own_status() -> None:
    """The body's code stands for the status that HTTP does not tell."""
    assert refused(200, {"code": 401, "message": "no"}).outcome is Outcome.KEY_REFUSED
