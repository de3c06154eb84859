"""JSON bodies of many MiB and the pictures in them, at the speed of SIMD.

Provider-neutral: what the fields mean is the adapters' business. Nothing here decodes a string that nobody asked for
(a Gemini answer can be two thirds thought signature: take the picture out of the tree and let the tree go).
"""

import binascii
from contextlib import suppress
from typing import Any

import jiter
import pybase64


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


def parse_json(body: bytes) -> Any:
    """Parse one JSON value.

    Raises:
        NotJson: As EmptyBody, HtmlBody, TruncatedJson, or itself for anything else. The text never quotes the body.
    """
    try:
        # Short strings are cached by default; in these bodies only the keys repeat.
        return jiter.from_json(body, cache_mode="keys", allow_inf_nan=False)
    except ValueError as error:
        start = body[:256].lstrip()
        if not start:
            raise EmptyBody("the body is empty") from None
        if start.startswith(b"<"):
            raise HtmlBody("the body is HTML, not JSON") from None
        if str(error).startswith("EOF while parsing"):
            raise TruncatedJson(f"the JSON breaks off after {len(body)} bytes") from None
        raise NotJson("the body is not JSON") from None


def parse_answer(body: bytes) -> dict[str, Any]:
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


def b64_image(text: object) -> bytes:
    """Decode a picture's base64, in the standard or the URL-safe alphabet, padded.

    Raises:
        BadBase64: Not text, empty, or with any character too many or too few. The text never quotes the input.
    """
    if not isinstance(text, str) or not text:
        raise BadBase64("there is no base64 text")
    # Validating is faster than not: it skips the pass that discards foreign characters.
    with suppress(binascii.Error, ValueError):
        return pybase64.b64decode(text, validate=True)
    if "+" not in text and "/" not in text:
        with suppress(binascii.Error, ValueError):
            return pybase64.b64decode(text, altchars=b"-_", validate=True)
    raise BadBase64(f"the {len(text)} characters are not base64")


def encode_b64(data: bytes) -> str:
    """The base64 text of `data`, in the standard alphabet, padded."""
    return pybase64.b64encode(data).decode("ascii")
