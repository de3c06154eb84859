"""What generateContent answers, read without believing it: bodies and errors, to pictures and failures.

The body is read as it came, not through the SDK: on the Developer API the SDK drops the finish message, decodes
thought signatures of a MB each, and warns of every word that is newer than itself.

Source: google-genai 3.4.0 `types.py` (`GenerateContentResponse`) and `errors.py`,
ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11-22.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pictord.domain.money import MOST_TOKENS, Usage
from pictord.domain.outcome import Signal, Unusable
from pictord.providers.base import ProviderFailure, of_picture
from pictord.providers.provider_words import retry_after_s

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Finished:
    """A final answer; the picture is `Decoded`, or still text."""

    picture: object = field(repr=False)
    usage: Usage | None
    extra_images: int
    model_version: str
    response_id: str


def finished(answer: Mapping[str, Any]) -> Finished:
    """Read the body of a whole answer.

    The picture is the last one that is no thought; drafts come as thoughts or as ordinary parts. A model that ends
    well with nothing but thoughts has put its final picture there (Lixpi/lixpi#135).

    Raises:
        ProviderFailure: there is no picture in it; also for refusals, which come with HTTP 200.
    """
    candidate = _first_candidate(answer)
    parts = list(_parts(candidate))
    pictures = [part for part in parts if _data(part)]
    final = [part for part in pictures if not part.get("thought")]
    if not final and candidate.get("finishReason") == "STOP":
        final = pictures[-1:]
    usage = reported(answer.get("usageMetadata"), drew=bool(final))
    if not final:
        raise _without_picture(answer, candidate, parts, usage)
    names = _word(answer, "modelVersion"), _word(answer, "responseId")
    return Finished(_data(final[-1]), of_picture(usage), len(final) - 1, *names)


def refused(status: int, body: object, headers: Mapping[str, str] = NO_HEADERS) -> ProviderFailure:
    """The failure that a `google.rpc.Status` in JSON, or whatever else came with an error status, stands for.

    Args:
        status: of HTTP; an error inside a 200 has its own in `code`.
        body: the error object, with or without its envelope.
        headers: of the answer, lower case.
    """
    said: Mapping[str, Any] = body if isinstance(body, Mapping) else {"message": body}
    if isinstance(said.get("error"), Mapping):
        said = said["error"]
    if status == 200:
        status = _count(said, "code") or status
    text = _word(said, "message")
    details = [detail for detail in _list(said, "details") if isinstance(detail, Mapping)]
    codes = (*_reasons(details), *_quota_ids(details), _word(said, "status"))
    delay = _retry_delay_s(details)
    return ProviderFailure(
        Signal(status, tuple(code for code in codes if code), text),
        text or f"Gemini answered HTTP {status}",
        retry_after_s=retry_after_s(headers, text) if delay is None else delay,
    )


def reported(usage: object, *, drew: bool) -> Usage | None:
    """Tokens by kind; None if nothing usable was reported.

    The total is right, the other fields do not add up: a refusal repeats its thoughts as candidates, and the details
    leave out what is billed as text. So text out is what the total leaves. If a picture came and the details say
    nothing of it, the candidates are all counted as picture, the dearer kind.
    """
    if not isinstance(usage, Mapping) or not _count(usage, "totalTokenCount"):
        return None
    prompt = _count(usage, "promptTokenCount")
    image_in = min(prompt, _of_images(usage, "promptTokensDetails"))
    image_out = _of_images(usage, "candidatesTokensDetails") or (_count(usage, "candidatesTokenCount") if drew else 0)
    tokens = Usage(
        text_in_tokens=prompt - image_in,
        image_in_tokens=image_in,
        text_out_tokens=max(0, _count(usage, "totalTokenCount") - prompt - image_out),
        image_out_tokens=image_out,
    )
    return tokens if tokens.total_tokens <= MOST_TOKENS else None


def _without_picture(
    answer: Mapping[str, Any], candidate: Mapping[str, Any], parts: list[Mapping[str, Any]], usage: Usage | None
) -> ProviderFailure:
    feedback = answer.get("promptFeedback")
    blocked = _word(feedback, "blockReason")
    finish = _word(candidate, "finishReason")
    if blocked:
        # Our word first: a block is a refusal whatever its reason, and OTHER is no refusal as a finish reason.
        codes: tuple[str, ...] = ("PROMPT_BLOCKED", blocked)
        text = _word(feedback, "blockReasonMessage") or f"the prompt was blocked: {blocked}"
    else:
        codes = (finish,) if finish else ()
        spoken = " ".join(_word(part, "text") for part in parts if not part.get("thought"))
        text = _word(candidate, "finishMessage") or spoken or f"Gemini answered without a picture: {finish or 'empty'}"
    return ProviderFailure(
        Signal(200, codes, text, unusable=Unusable.EMPTY),
        text,
        usage=usage,
        provider_request_id=_word(answer, "responseId"),
        served_version=_word(answer, "modelVersion"),
    )


def _first_candidate(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    candidates = _list(answer, "candidates")
    return candidates[0] if candidates and isinstance(candidates[0], Mapping) else {}


def _parts(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (part for part in _list(candidate.get("content"), "parts") if isinstance(part, Mapping))


def _data(part: Mapping[str, Any]) -> object:
    inline = part.get("inlineData")
    return inline.get("data") if isinstance(inline, Mapping) else None


def _reasons(details: list[Mapping[str, Any]]) -> Iterator[str]:
    return (_word(detail, "reason") for detail in details)


def _quota_ids(details: list[Mapping[str, Any]]) -> Iterator[str]:
    return (_word(violation, "quotaId") for detail in details for violation in _list(detail, "violations"))


def _retry_delay_s(details: list[Mapping[str, Any]]) -> float | None:
    for detail in details:
        try:
            seconds = float(_word(detail, "retryDelay").removesuffix("s"))
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _of_images(usage: Mapping[str, Any], details: str) -> int:
    counts = _list(usage, details)
    return sum(_count(count, "tokenCount") for count in counts if _word(count, "modality") == "IMAGE")


def _count(tokens: object, name: str) -> int:
    count = tokens.get(name) if isinstance(tokens, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 0


def _word(holder: object, name: str) -> str:
    word = holder.get(name) if isinstance(holder, Mapping) else None
    return word if isinstance(word, str) else ""


def _list(holder: object, name: str) -> list[Any]:
    items = holder.get(name) if isinstance(holder, Mapping) else None
    return items if isinstance(items, list) else []
