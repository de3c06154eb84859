"""JSON bodies of many MiB and the pictures in them, at the speed of SIMD.

Provider-neutral: what the fields mean is the adapters' business. A picture's text is never parsed: it has been lifted
out and decoded before (`arriving_json`).
"""

import binascii
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import jiter
import pybase64

from pictord.providers.bytes.arriving_json import ArrivedJson, Decoded, Lifted, arrived


class NotJson(Exception):
    """The body is not what a JSON API answers; the subclass says what it is instead."""


class EmptyBody(NotJson):
    """There is nothing in the body."""


class HtmlBody(NotJson):
    """A page, as proxies and load balancers send in a provider's name."""


class TruncatedJson(NotJson):
    """JSON that breaks off."""


class BadBase64(Exception):
    """A picture's text is missing, empty or not base64."""


class ErrorInBody(Exception):
    """A body that reports an error, whatever the HTTP status said.

    Args:
        error: What stands under `error`: an object (both providers), or whatever else was there.
    """

    def __init__(self, error: Any) -> None:
        super().__init__("the body carries an error")
        self.error = error


def parse_json(body: bytes | ArrivedJson) -> Any:
    """Parse one JSON value; long base64 text in it is `Decoded`, or a `memoryview` if it is not base64 after all.

    Raises:
        NotJson: As EmptyBody, HtmlBody, TruncatedJson, or itself for anything else. The text never quotes the body.
    """
    whole = body if isinstance(body, ArrivedJson) else arrived(body, hashing=False)
    value = _parse(whole)
    return _put_back(value, whole.lifted) if whole.lifted else value


def _put_back(value: Any, lifted: Mapping[str, Lifted]) -> Any:
    if isinstance(value, dict):
        return {name: _put_back(each, lifted) for name, each in value.items()}
    if isinstance(value, list):
        return [_put_back(each, lifted) for each in value]
    return lifted.get(value, value) if isinstance(value, str) else value


def _parse(body: ArrivedJson) -> Any:
    try:
        # Short strings are cached by default; in these bodies only the keys repeat.
        return jiter.from_json(body.text, cache_mode="keys", allow_inf_nan=False)
    except ValueError as error:
        start = body.text[:256].lstrip()
        if not start:
            raise EmptyBody("the body is empty") from None
        if start.startswith(b"<"):
            raise HtmlBody("the body is HTML, not JSON") from None
        if str(error).startswith("EOF while parsing"):
            raise TruncatedJson(f"the JSON breaks off after {body.size_bytes} bytes") from None
        raise NotJson("the body is not JSON") from None


def parse_answer(body: bytes | ArrivedJson) -> dict[str, Any]:
    """Parse a body that must be one JSON object and no error; a list of one object counts as that object.

    Raises:
        NotJson: As `parse_json`; also for JSON that is no object.
        ErrorInBody: The object has an `error`.
    """
    answer = parse_json(body)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        raise NotJson("the body is not a JSON object")
    if answer.get("error"):
        raise ErrorInBody(answer["error"])
    return answer


def b64_image(text: object) -> Decoded:
    """Decode a picture's base64, in the standard or the URL-safe alphabet, padded; what is decoded stays as it is.

    Args:
        text: `str`, or what `parse_json` gives for long text.

    Raises:
        BadBase64: Not text, empty, or with any character too many or too few. The text never quotes the input.
    """
    if isinstance(text, Decoded):
        return text
    if not isinstance(text, str | memoryview) or not text:
        raise BadBase64("there is no base64 text")
    # Validating is faster than not: it skips the pass that discards foreign characters.
    with suppress(binascii.Error, ValueError):
        return Decoded(pybase64.b64decode(text, validate=True))
    plain = text.encode() if isinstance(text, str) else bytes(text)
    if b"+" not in plain and b"/" not in plain:
        with suppress(binascii.Error, ValueError):
            return Decoded(pybase64.b64decode(plain, altchars=b"-_", validate=True))
    raise BadBase64(f"the {len(text)} characters are not base64")
