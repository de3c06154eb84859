"""The event splitter: however a stream is cut, the same events come out."""

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from pictord.providers.bytes.json_body import parse_answer
from pictord.providers.bytes.sse import EventSplitter, EventTooBig, StreamCutShort


def events(chunks, max_event_bytes=2**30):
    """The events of a stream that comes in these chunks, as soon as each is there."""
    splitter = EventSplitter(max_event_bytes)
    for chunk in chunks:
        for event in splitter.feed(chunk):
            yield event.event, event.data.text
    splitter.close()


async def split(chunks, **options):
    """All of them."""
    return list(events(chunks, **options))


def at_once(stream):
    """The events of a stream that comes in one piece."""
    return [(event.event, event.data.text) for event in EventSplitter(2**30).feed(stream)]


def cut(stream, places):
    """`stream` cut at these places."""
    edges = [0, *sorted(p % (len(stream) + 1) for p in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


STREAMS = {
    "one event": (b"event: a\ndata: 1\n\n", [("a", b"1")]),
    "two events": (b"event: a\ndata: 1\n\ndata: 2\n\n", [("a", b"1"), (None, b"2")]),
    "CRLF": (b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [("a", b"1"), (None, b"2")]),
    "CR inside the data": (b"data: a\rb\n\n", [(None, b"a\rb")]),
    "several data lines": (b"data: 1\ndata:\ndata: 2\n\n", [(None, b"1\n\n2")]),
    "no space behind the colon": (b"event:a\ndata:1\n\n", [("a", b"1")]),
    "two spaces behind the colon": (b"data:  1\n\n", [(None, b" 1")]),
    "a colon in the data": (b"data: a: b\n\n", [(None, b"a: b")]),
    "a field without a colon": (b"data\n\n", [(None, b"")]),
    "empty data": (b"data:\n\ndata: \r\n\r\n", [(None, b""), (None, b"")]),
    "comments": (b": keepalive\n\n:\ndata: 1\n: in between\ndata: 2\n\n", [(None, b"1\n2")]),
    "other fields": (b"id: 7\nretry: 10\ndatax: 0\nfoo\ndata: 1\n\n", [(None, b"1")]),
    "an event without data": (b"event: ping\n\ndata: 1\n\n", [(None, b"1")]),
    "the last event name counts": (b"event: a\nevent: b\ndata: 1\n\n", [("b", b"1")]),
    "[DONE]": (b"data: [DONE]\n\n", [(None, b"[DONE]")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", [(None, b"1"), (None, b"2")]),
    "a byte order mark before an empty line": (b"\xef\xbb\xbf\ndata: 1\n\n", [(None, b"1")]),
    "a byte order mark later is text": (b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [(None, b"1")]),
    "bytes that are no UTF-8": (b"event: \xff\ndata: \xff\n\n", [("\ufffd", b"\xff")]),
    "a long line without a colon": (b"d" * 200 + b"\ndata: 1\n\n", [(None, b"1")]),
    "a long name": (b"data" * 16 + b": 0\ndata: 1\n\n", [(None, b"1")]),
    "long data": (b"event: a\ndata: " + b"A" * 5000 + b"\r\n\r\n", [("a", b"A" * 5000)]),
    "long data with CR in it": (b"data: " + b"A\r" * 100 + b"\r\n\r\n", [(None, b"A\r" * 100)]),
    "several long data lines": (
        b"data: " + b"A" * 100 + b"\ndata:" + b"B" * 100 + b"\n\n",
        [(None, b"A" * 100 + b"\n" + b"B" * 100)],
    ),
    "a long comment": (b":" + b"A" * 100 + b"\ndata: 1\n\n", [(None, b"1")]),
    "a long name of an event": (b"event: " + b"a" * 100 + b"\ndata: 1\n\n", [("a" * 100, b"1")]),
    "empty lines only": (b"\n\r\n\n", []),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("stream", "expected"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_gives_its_events_in_one_piece_and_byte_by_byte(stream, expected):
    """Each form of a stream is read alike whole and in single bytes."""
    assert await split([stream]) == expected
    assert await split([stream[i : i + 1] for i in range(len(stream))]) == expected


LINES = st.sampled_from(
    [b"event: image", b"data: {}", b"data:", b"data: " + b"x" * 100, b": ping", b"", b"", b"id: 1", b"\xef\xbb\xbf"]
)


@given(
    lines=st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n"])), max_size=20),
    places=st.lists(st.integers(0, 10_000), max_size=10),
)
async def test_any_cut_of_any_stream_gives_the_same_events(lines, places):
    """Chunk boundaries mean nothing."""
    stream = b"".join(line + end for line, end in lines) + b"\n\n"

    assert await split(cut(stream, places)) == at_once(stream)


@given(stream=st.binary(max_size=400), places=st.lists(st.integers(0, 10_000), max_size=10))
async def test_any_cut_of_any_bytes_gives_the_same_events(stream, places):
    """The same for bytes that are no stream at all."""
    splitter = EventSplitter(2**30)
    found = [each for chunk in cut(stream, places) for each in splitter.feed(chunk)]

    assert [(each.event, each.data.text) for each in found] == at_once(stream)


@given(
    sent=st.lists(
        st.tuples(st.sampled_from([None, "image_generation.completed"]), st.dictionaries(st.text(), st.text())),
        max_size=8,
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    places=st.lists(st.integers(0, 10_000), max_size=10),
)
async def test_ordinary_streams_are_read_as_the_openai_sdk_reads_them(sent, end, places):
    """JSON events with and without names come out as they do from the SDK's decoder."""
    stream = "".join(
        (f"event: {name}{end}" if name else "") + f": ping{end}data: {json.dumps(body)}{end}{end}"
        for name, body in sent
    ).encode()

    theirs = list(SSEDecoder().iter_bytes(iter([stream])))

    assert [(e, data.decode()) for e, data in await split(cut(stream, places))] == [(e.event, e.data) for e in theirs]


@pytest.mark.parametrize("rest", [b"data: 1", b"data: 1\n", b"event: a\n", b"dat", b": ping"])
async def test_an_end_in_the_middle_of_an_event_is_noticed(rest):
    """Complete events come out first, then StreamCutShort."""
    stream = events([b"data: 0\n\n" + rest])

    assert next(stream) == (None, b"0")
    with pytest.raises(StreamCutShort):
        next(stream)


async def test_an_end_after_a_comment_is_an_end():
    """A last keepalive, ended by a line feed, leaves no event open."""
    assert await split([b"data: 0\n\n: ping\n"]) == [(None, b"0")]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 95],
        [b"data: ", b"x" * 50, b"x" * 45],
        [b"data: " + b"x" * 50 + b"\n", b"data: " + b"x" * 45],
    ],
    ids=["one chunk", "several chunks", "several lines"],
)
async def test_an_event_over_the_cap_is_given_up(chunks):
    """More than the cap is never kept of one event, finished or not."""
    with pytest.raises(EventTooBig):
        await split(chunks, max_event_bytes=100)


async def test_the_cap_is_for_one_event():
    """Any number of events and comments below the cap pass."""
    chunks = [b": " + b"x" * 90 + b"\n" + b"data: " + b"x" * 90 + b"\n\n"] * 10

    assert len(await split(chunks, max_event_bytes=100)) == 10


PICTURE = bytes(range(256)) * 200
PARTIAL = b'event: image\ndata: {"b64_json": "' + base64.b64encode(PICTURE) + b'", "index": 3}\r\n\r\n'


@given(places=st.lists(st.integers(0, 100_000), max_size=10))
async def test_a_picture_in_an_event_is_decoded_however_it_is_cut(places):
    """It comes out as bytes, in its place among the rest."""
    splitter = EventSplitter(2**30)
    (event,) = [each for chunk in cut(PARTIAL + b"data: 1\n\n", places) for each in splitter.feed(chunk)][:1]

    answer = parse_answer(event.data)

    assert (event.event, answer["index"], answer["b64_json"].data) == ("image", 3, PICTURE)
