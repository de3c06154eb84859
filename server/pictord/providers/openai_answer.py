"""What the Images API answers, read without believing it: bodies, events and errors, to pictures and failures.

Source: openai 3.54.0 `types/images_response.py`, `types/image_gen_*_event.py`, `_exceptions.py`;
help.openai.com/articles/5955604 (error codes); read 2026-11-22.
"""

from collections.abc import Mapping
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
    extra_images: int = 0


@dataclass(frozen=True, slots=True)
class Partial:
    """An unfinished picture; `index` counts from 0, the picture is `Decoded`, or still text."""

    index: int
    picture: object = field(repr=False)


def finished(answer: Mapping[str, Any]) -> Finished:
    """Read the body of a whole answer.

    Raises:
        ProviderFailure: there is no picture in it.
    """
    usage = reported(answer.get("usage"))
    data = answer.get("data")
    if not isinstance(data, list) or not data or not isinstance(data[0], dict) or not data[0].get("b64_json"):
        raise ProviderFailure(Signal(200, unusable=Unusable.EMPTY), "OpenAI answered without a picture", usage=usage)
    return Finished(data[0]["b64_json"], of_picture(usage), extra_images=len(data) - 1)


def event(content: Mapping[str, Any], name: str | None) -> Partial | Finished | None:
    """Read one server-sent event; None for kinds nobody has told us of.

    Args:
        content: the event's data; its `type` goes before `name`.
        name: the event's `event` line.

    Raises:
        ProviderFailure: an error event, in either of its two shapes.
    """
    kind = content.get("type") or name or ""
    if kind == "error":
        raise refused(200, content)
    if kind in ("image_generation.partial_image", "image_edit.partial_image"):
        index = content.get("partial_image_index")
        return Partial(index if isinstance(index, int) else 0, content.get("b64_json"))
    if kind in ("image_generation.completed", "image_edit.completed"):
        return Finished(content.get("b64_json"), of_picture(reported(content.get("usage"))))
    return None


def refused(status: int, error: object, headers: Mapping[str, str] = NO_HEADERS) -> ProviderFailure:
    """The failure that an error object, or whatever else came with an error status, stands for."""
    said = error if isinstance(error, Mapping) else {"message": error}
    message = said.get("message")
    text = message if isinstance(message, str) else ""
    codes = tuple(code for code in (said.get("code"), said.get("type")) if isinstance(code, str) and code != "error")
    return ProviderFailure(
        Signal(status, codes, text),
        text or f"OpenAI answered HTTP {status} {' '.join(codes)}".rstrip(),
        retry_after_s=retry_after_s(headers, text),
    )


def reported(usage: object) -> Usage | None:
    """Tokens by kind; None if nothing usable was reported.

    Output tokens without details (streams never have them) are all image tokens.
    """
    if not isinstance(usage, Mapping):
        return None
    image_in = _count(usage.get("input_tokens_details"), "image_tokens")
    text_out = _count(usage.get("output_tokens_details"), "text_tokens")
    tokens = Usage(
        text_in_tokens=max(0, _count(usage, "input_tokens") - image_in),
        image_in_tokens=image_in,
        text_out_tokens=text_out,
        image_out_tokens=max(0, _count(usage, "output_tokens") - text_out),
    )
    return tokens if 0 < tokens.total_tokens <= MOST_TOKENS else None


def version_of(model: str, snapshot: str) -> str:
    """The dated part of a snapshot: `2026-04-21` of `gpt-image-2-2026-04-21`."""
    return snapshot.removeprefix(model).lstrip("-") or snapshot


def _count(tokens: object, name: str) -> int:
    count = tokens.get(name) if isinstance(tokens, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 0
