"""Bodies and pictures: parsed or refused for a reason, never half believed."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictord.providers.bytes.arriving_json import Decoded
from pictord.providers.bytes.json_body import (
    BadBase64,
    EmptyBody,
    ErrorInBody,
    HtmlBody,
    NotJson,
    TruncatedJson,
    b64_image,
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


LONG = base64.b64encode(bytes(range(256)) * 100)


def test_long_pictures_are_decoded():
    """Every long text under a picture's key comes back as its bytes, the rest as ever, wherever it stands."""
    body = (
        b'{"candidates": [{"parts": [{"thoughtSignature":"%b"}, {"inlineData" : {"data"\n:\t"%b", "mimeType": "i"}}]}],'
    )
    body = (body + b'"data": [{"b64_json": "%b"}, {"b64_json": "c2hvcnQ="}], "usage": 7}') % (LONG, LONG, LONG)

    answer = parse_json(body)

    signature, picture = answer["candidates"][0]["parts"]
    first, second = answer["data"]
    for found in (signature["thoughtSignature"], picture["inlineData"]["data"], first["b64_json"]):
        assert found == Decoded(base64.b64decode(LONG))
    assert picture["inlineData"]["mimeType"] == "i"
    assert (second["b64_json"], answer["usage"]) == ("c2hvcnQ=", 7)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"data": "%b\\/"}' % LONG, {"data": LONG.decode() + "/"}),
        (b'{"other": "%b"}' % LONG, {"other": LONG.decode()}),
        (b'{"text": "\\"data\\": \\"%b"}' % LONG, {"text": '"data": "' + LONG.decode()}),
        (b'{"data": ["data"], "text": "%b"}' % LONG, {"data": ["data"], "text": LONG.decode()}),
    ],
    ids=["escaped", "another key", "a key inside a text", "a value like a key"],
)
def test_other_long_texts_are_parsed_as_ever(body, expected):
    """Only what is surely a picture's text is lifted out."""
    assert parse_json(body) == expected


@pytest.mark.parametrize("cut", [1, 2, 3, 1000, len(LONG)])
def test_a_long_picture_that_breaks_off_is_truncated(cut):
    """A body that ends within or right behind a picture is no answer."""
    with pytest.raises(TruncatedJson):
        parse_json((b'{"data": [{"b64_json": "%b"}]}' % LONG)[:-cut])


def test_a_mark_in_a_text_is_only_a_text():
    """What looks like our own mark, and is none, stays."""
    answer = parse_json(b'{"data": "%b", "text": "<lifted 1>"}' % LONG)

    assert answer["text"] == "<lifted 1>"


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
    assert b64_image(base64.b64encode(data).decode()).data == data
    assert b64_image(base64.urlsafe_b64encode(data).decode()).data == data
    assert b64_image(memoryview(base64.b64encode(data))).data == data
    assert b64_image(memoryview(base64.urlsafe_b64encode(data))).data == data


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        7,
        b"aGk=",
        "aGk",
        "aG k=",
        "aGk=\n",
        "äöü=",
        "aGk=aGk=",
        "+-==",
        "+_8=",
        "a\0==",
        memoryview(b""),
        memoryview(b"aGk"),
    ],
)
def test_anything_but_base64_is_refused(text):
    """No character too many or too few passes, and the text is not quoted."""
    with pytest.raises(BadBase64) as error:
        b64_image(text)

    assert "aGk" not in str(error.value)
