"""Server-sent events of many MiB, split without looking at their text.

The SDKs' decoders scan each line several times (13 ms for an event of 1.5 MiB). Here a chunk is searched for line ends
once, lines are kept as views of the chunks they came in, and an event's data is joined once.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6, as known on 2026-11-22.
Departures: a lone CR ends no line (no provider sends one, and JSON cannot hold one); `id` and `retry` are dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
_START_BYTES = 64
"""More of a line's start than a BOM, a known field's name, the colon and the space take."""


class BadEventStream(Exception):
    """The stream cannot be read on; events before this one were fine."""


class EventTooBig(BadEventStream):
    """One event is bigger than allowed."""


class StreamCutShort(BadEventStream):
    """The stream ended in the middle of an event."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event."""

    event: str | None
    """Its `event` field; None if it has none."""

    data: bytes
    """Its `data` lines, joined by LF; not decoded."""


class EventSplitter:
    """Splits a stream, however it is cut into chunks, into its events; `[DONE]` is one like any other.

    Comments, and events without data, yield nothing.

    Args:
        max_event_bytes: Limit on what is kept of one event.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._line: list[memoryview] = []
        self._line_bytes = 0
        self._event: str | None = None
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._is_first_line = True

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Take the next chunk; yields the events that end in it.

        Raises:
            EventTooBig: Before more than `max_event_bytes` of one event were kept.
        """
        view = memoryview(chunk)
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._keep(view[start:end])
            start = end + 1
            ended = self._end_line()
            if ended is not None:
                yield ended
        self._keep(view[start:])

    def close(self) -> None:
        """Say that no chunk follows.

        Raises:
            StreamCutShort: A line or an event was left unfinished.
        """
        if self._line or self._data or self._event is not None:
            kept = self._data_bytes + self._line_bytes
            raise StreamCutShort(f"the stream ends {kept} bytes into an event")

    def _keep(self, piece: memoryview) -> None:
        self._line_bytes += len(piece)
        if self._data_bytes + self._line_bytes > self._max_event_bytes:
            raise EventTooBig(f"an event is bigger than {self._max_event_bytes} bytes")
        if piece:
            self._line.append(piece)

    def _end_line(self) -> ServerSentEvent | None:
        line, self._line, self._line_bytes = self._line, [], 0
        start = _start_of(line)
        skip = len(_BOM) if self._is_first_line and start.startswith(_BOM) else 0
        self._is_first_line = False
        field = start[skip:].removesuffix(b"\r") if len(start) < _START_BYTES else start[skip:]
        if not field:
            return self._end_event()
        name, _, value = field.partition(b":")
        skip += len(name) + 1 + value.startswith(b" ")
        if name == b"data":
            self._data.append(_joined(line, skip))
            self._data_bytes += len(self._data[-1])
        elif name == b"event":
            self._event = _joined(line, skip).decode("utf-8", "replace")
        return None

    def _end_event(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data, self._data_bytes = None, [], 0
        if not data:
            return None
        return ServerSentEvent(event or None, data[0] if len(data) == 1 else b"\n".join(data))


def _start_of(line: list[memoryview]) -> bytes:
    """The first bytes of a line, all of it if it is shorter than `_START_BYTES`."""
    start = b""
    for piece in line:
        start += piece[: _START_BYTES - len(start)]
        if len(start) == _START_BYTES:
            break
    return start


def _joined(line: list[memoryview], skip: int) -> bytes:
    """A line from its byte `skip` on, without the CR at its end, copied once."""
    rest: list[memoryview] = []
    for piece in line:
        rest.append(piece[skip:])
        skip = max(0, skip - len(piece))
    if rest and bytes(rest[-1][-1:]) == b"\r":
        rest[-1] = rest[-1][:-1]
    return b"".join(rest)
