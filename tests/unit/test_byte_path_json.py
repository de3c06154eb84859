"""Bodies and pictures: parsed or refused for a reason, never half believed."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictord.providers.bytes.json_body import (
    BadBase64,
    EmptyBody,
    ErrorInBody,
    HtmlBody,
    NotJson,
    TruncatedJson,
    b64_image,
    encode_b64,
    parse_answer,
    parse_json,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", EmptyBody),
        (b" \r\n", EmptyBody),
        (b"<html><title>502 Bad Gateway</title>", HtmlBody),
        (b"\n<!DOCTYPE html>", HtmlBody),
        (b'{"data": [{"b64_json": "iVBORw0', TruncatedJson),
        (b'{"data": [', TruncatedJson),
        (b"{", TruncatedJson),
        (b"upstream connect error", NotJson),
        (b'{"a": 1} trailing', NotJson),
        (b'{"a": NaN}', NotJson),
        (b'{"a": "\xff"}', NotJson),
        (b"[" * 100_000, NotJson),
    ],
)
def test_a_body_that_is_no_json_is_refused_by_what_it_is(body, expected):
    """Empty, page, broken off, or anything else: each has its class, and no text quotes the body."""
    with pytest.raises(NotJson) as error:
        parse_json(body)

    assert type(error.value) is expected
    assert "iVBORw0" not in str(error.value)


@given(whole=st.dictionaries(st.text(), st.text() | st.lists(st.integers())), cut=st.integers(1, 50))
def test_json_that_breaks_off_is_never_taken_for_whole(whole, cut):
    """Every cut of an object is refused."""
    body = json.dumps(whole).encode()

    assert parse_json(body) == whole
    with pytest.raises(NotJson):
        parse_json(body[: max(0, len(body) - cut)])


def test_an_answer_is_an_object():
    """One object is taken, also from a list of one."""
    assert parse_answer(b'{"data": []}') == {"data": []}
    assert parse_answer(b'[{"data": []}]') == {"data": []}


@pytest.mark.parametrize("body", [b"[]", b"[1]", b"[{}, {}]", b'"text"', b"null", b"1"])
def test_json_that_is_no_object_is_no_answer(body):
    """Well-formed JSON of another shape is refused."""
    with pytest.raises(NotJson):
        parse_answer(body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error": {"code": "rate_limit_exceeded"}}', {"code": "rate_limit_exceeded"}),
        (b'[{"error": {"code": 503}}]', {"code": 503}),
        (b'{"error": "no", "data": []}', "no"),
    ],
)
def test_an_error_inside_a_200_is_an_error(body, error):
    """A body with an `error` is never an answer, whatever else it holds."""
    with pytest.raises(ErrorInBody) as raised:
        parse_answer(body)

    assert raised.value.error == error


def test_an_error_that_is_null_is_none():
    """Some compatible servers send `error: null` beside the data."""
    assert parse_answer(b'{"error": null, "data": [1]}')["data"] == [1]


@given(data=st.binary(min_size=1, max_size=2000))
def test_base64_is_read_in_both_alphabets(data):
    """What either alphabet says comes back byte for byte."""
    assert b64_image(base64.b64encode(data).decode()) == data
    assert b64_image(base64.urlsafe_b64encode(data).decode()) == data
    assert b64_image(encode_b64(data)) == data


@pytest.mark.parametrize(
    "text", [None, "", 7, b"aGk=", "aGk", "aG k=", "aGk=\n", "äöü=", "aGk=aGk=", "+-==", "+_8=", "a\0=="]
)
def test_anything_but_base64_is_refused(text):
    """No character too many or too few passes, and the text is not quoted."""
    with pytest.raises(BadBase64) as error:
        b64_image(text)

    assert "aGk" not in str(error.value)
