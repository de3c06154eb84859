"""A body cut anywhere is read as if it had come in one piece, and no picture in it is half believed."""

import base64
import hashlib
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictord.providers.bytes.arriving_json import ArrivingJson, Decoded, arrived
from pictord.providers.bytes.json_body import BadBase64, NotJson, TruncatedJson, b64_image, parse_json

PICTURE = bytes(range(256)) * 80 + b"end"
TEXT = base64.b64encode(PICTURE)
OTHER = base64.b64encode(PICTURE[:-1])
BODY = (
    b'{"data": [{"b64_json": "%b"}, {"b64_json":"c2hvcnQ="}], "usage": {"data": 7}, '
    b'"text": "\\"data\\": \\"<lifted 9>", "parts": [{"inlineData": {"data"\n:\t"%b"}, "thoughtSignature" : "%b"}]}'
) % (TEXT, OTHER, TEXT)


def fed(body, cuts, *, hashing=True):
    """A body that came in chunks."""
    arriving = ArrivingJson(hashing=hashing)
    places = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    for start, end in pairwise(places):
        arriving.feed(body[start:end])
    return arriving.end()


def every(size):
    """The places of cuts so many bytes apart."""
    return range(size, len(BODY), size)


def check(answer):
    """Whether everything in BODY was read."""
    first, second = answer["data"]
    part = answer["parts"][0]
    assert first["b64_json"] == Decoded(PICTURE, hashlib.sha256(PICTURE).hexdigest())
    assert part["inlineData"]["data"] == Decoded(PICTURE[:-1], hashlib.sha256(PICTURE[:-1]).hexdigest())
    assert part["thoughtSignature"] == Decoded(PICTURE), "nobody asks for the hash of a signature"
    assert second["b64_json"] == "c2hvcnQ="
    assert (answer["usage"], answer["text"]) == ({"data": 7}, '"data": "<lifted 9>')


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, len(BODY) - 1), max_size=30))
def test_it_does_not_matter_where_a_body_is_cut(cuts):
    """Keys, quotes, groups of four characters: all may be cut."""
    check(parse_json(fed(BODY, cuts)))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000])
def test_chunks_of_any_size_give_the_same(size):
    """Down to single bytes."""
    body = fed(BODY, every(size))

    assert body.size_bytes == len(BODY)
    check(parse_json(body))


def test_without_hashing_nothing_is_hashed():
    """Previews need none."""
    assert parse_json(fed(BODY, every(1000), hashing=False))["data"][0]["b64_json"] == Decoded(PICTURE)


BROKEN = {
    "a character too few": TEXT[:-1],
    "a character too many": TEXT + b"A",
    "padding inside": TEXT[:16_400] + b"=" + TEXT[16_401:],
    "padding at the end of a group, and more": TEXT[:16_398] + b"==" + TEXT[16_400:],
    "a whole text behind another": TEXT + TEXT,
    "a blank": TEXT[:16_500] + b" " + TEXT[16_501:],
    "both alphabets": TEXT[:17_000] + b"-_+/" + TEXT[17_004:],
    "no base64": b"not base64!" * 2000,
}


@pytest.mark.parametrize("how", BROKEN)
@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 40_000), max_size=10))
def test_what_is_not_base64_is_refused_wherever_it_breaks(how, cuts):
    """It comes back as the text that it was, and `b64_image` refuses it."""
    text = BROKEN[how]
    found = parse_json(fed(b'{"b64_json": "%b", "usage": 7}' % text, cuts))

    assert found["usage"] == 7
    assert bytes(found["b64_json"]) == text
    with pytest.raises(BadBase64):
        b64_image(found["b64_json"])


def test_text_behind_the_padding_is_refused_where_the_chunk_ends_with_it():
    """Each of the two chunks alone is base64; the whole is not."""
    before = b'{"b64_json": "'
    body = before + BROKEN["padding at the end of a group, and more"] + b'"}'

    with pytest.raises(BadBase64):
        b64_image(parse_json(fed(body, [len(before) + 16_400]))["b64_json"])


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 40_000), max_size=10))
def test_the_other_alphabet_is_read_too(cuts):
    """URL-safe text is kept as it is, and decoded when it is asked for."""
    picture = bytes(13_000) + PICTURE
    text = base64.urlsafe_b64encode(picture)

    assert b64_image(parse_json(fed(b'{"data": "%b"}' % text, cuts))["data"]).data == picture


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 40_000), max_size=10))
def test_an_escape_leaves_the_text_to_the_parser(cuts):
    """JSON may write a slash, or an equals sign, in other words."""
    escaped = TEXT[:20_000].replace(b"/", b"\\/") + b'\\u003d\\"'

    assert parse_json(fed(b'{"data": "%b"}' % escaped, cuts)) == {"data": json.loads(b'"%b"' % escaped)}


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, len(BODY) - 1), max_size=10), end=st.integers(1, len(BODY) - 1))
def test_a_body_that_breaks_off_is_truncated(cuts, end):
    """Wherever it ends too early, inside a picture too, it is no answer."""
    with pytest.raises(TruncatedJson):
        parse_json(fed(BODY[:end], cuts))


def test_a_body_that_is_only_a_picture_s_text_is_no_json():
    """Nothing is lifted from what has no key."""
    with pytest.raises(NotJson):
        parse_json(arrived(TEXT, hashing=True))
