"""Server-sent events of many MiB, split without looking at their text, their pictures decoded while they arrive.

The SDKs' decoders scan each line several times (13 ms for an event of 1.5 MiB). Here a chunk is searched for line ends
once, and what it has of an event's data is read at once (`arriving_json`): with the event's end the work is done too.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6, as known on 2026-11-22.
Departures: a lone CR ends no line (no provider sends one, and JSON cannot hold one); `id` and `retry` are dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pictord.providers.bytes.arriving_json import ArrivedJson, ArrivingJson

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

    data: ArrivedJson
    """Its `data` lines, joined by LF; the pictures in them are not hashed."""


class EventSplitter:
    """Splits a stream, however it is cut into chunks, into its events; `[DONE]` is one like any other.

    Comments, and events without data, yield nothing.

    Args:
        max_event_bytes: Limit on what is kept of one event.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._is_first_line = True
        self._line = bytearray()
        self._line_bytes = 0
        self._long_data: _LongData | None = None
        """Takes what comes of a line once that has proved to be long and data."""
        self._event: str | None = None
        self._data: ArrivingJson | None = None
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Take the next chunk; yields the events that end in it.

        Raises:
            EventTooBig: Before more than `max_event_bytes` of one event were kept.
        """
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._take(chunk[start:end])
            start = end + 1
            ended = self._end_line()
            if ended is not None:
                yield ended
        self._take(chunk[start:])

    def close(self) -> None:
        """Say that no chunk follows.

        Raises:
            StreamCutShort: A line or an event was left unfinished.
        """
        if self._line_bytes or self._data or self._event is not None:
            kept = self._data_bytes + self._line_bytes
            raise StreamCutShort(f"the stream ends {kept} bytes into an event")

    def _take(self, piece: bytes) -> None:
        self._line_bytes += len(piece)
        if self._data_bytes + self._line_bytes > self._max_event_bytes:
            raise EventTooBig(f"an event is bigger than {self._max_event_bytes} bytes")
        if self._long_data is not None:
            self._long_data.take(piece)
            return
        missing = max(0, _START_BYTES - len(self._line))
        self._line += piece[:missing]
        if missing and len(self._line) == _START_BYTES:
            name, value = _field(self._without_mark())
            if name == b"data":
                self._line.clear()
                self._long_data = _LongData(self._next_data_line())
                self._long_data.take(value)
                self._long_data.take(piece[missing:])
                return
        self._line += piece[missing:]

    def _end_line(self) -> ServerSentEvent | None:
        """End a line, and the event with it if the line is empty."""
        line = self._without_mark().removesuffix(b"\r")
        is_long_data, line_bytes = self._long_data is not None, self._line_bytes
        self._line.clear()
        self._line_bytes, self._long_data, self._is_first_line = 0, None, False
        if is_long_data:
            self._data_bytes += line_bytes
            return None
        if not line:
            return self._end_event()
        name, value = _field(line)
        if name == b"data":
            self._data_bytes += line_bytes
            self._next_data_line().feed(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        return None

    def _without_mark(self) -> bytes:
        return bytes(self._line).removeprefix(_BOM if self._is_first_line else b"")

    def _next_data_line(self) -> ArrivingJson:
        if self._data is None:
            self._data = ArrivingJson(hashing=False)
        else:
            self._data.feed(b"\n")
        return self._data

    def _end_event(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data, self._data_bytes = None, None, 0
        return ServerSentEvent(event or None, data.end()) if data else None


class _LongData:
    """The rest of a line of data, without the CR at its end, which is known to be that only when nothing follows."""

    def __init__(self, data: ArrivingJson) -> None:
        self._data = data
        self._has_cr = False

    def take(self, piece: bytes) -> None:
        """Take the next piece."""
        if not piece:
            return
        if self._has_cr:
            self._data.feed(b"\r")
        self._has_cr = piece.endswith(b"\r")
        self._data.feed(piece[:-1] if self._has_cr else piece)


def _field(line: bytes) -> tuple[bytes, bytes]:
    """A line's name and value."""
    name, _, value = line.partition(b":")
    return name, value.removeprefix(b" ")
