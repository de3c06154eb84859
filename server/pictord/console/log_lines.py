"""The log lines of `pictord serve`: whose, and in which form.

Only our own loggers follow the level that is asked for. The libraries stay at WARNING whatever is asked: what an SDK
writes at DEBUG is its own affair (openai 3.54 is discreet, older ones wrote whole requests), and a prompt must never be
among it. OpenTelemetry speaks once in a while: a collector that cannot be reached would fill the log.
"""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from opentelemetry import trace

OURS = "pictord"
TALKATIVE = ("openai", "google_genai", "httpx", "httpx2", "aiohttp", "urllib3", "grpc", "asyncio")
"""Libraries whose own switches (OPENAI_LOG …) must not make them talk."""

EXPORTERS = "opentelemetry"
SELDOM_S = 600.0


class LogLevel(StrEnum):
    """What is logged: this and everything worse."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


def configure(level: LogLevel, form: LogFormat, stream: TextIO | None = None) -> None:
    """Set up logging for this process, to standard error unless another stream is given."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLine() if form is LogFormat.JSON else logging.Formatter(_TEXT))
    handler.addFilter(Seldom(EXPORTERS, SELDOM_S))
    # By force: with OPENAI_LOG in the environment the SDK has put a handler of its own there already.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLine(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the record's `fields`, and the trace it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Seldom(logging.Filter):
    """Lets a family of loggers say something of one level once in a while; all others pass.

    Args:
        prefix: the family's name.
        every_s: seconds of silence after each line, for each logger and level.
        clock: seconds, monotonic.
    """

    def __init__(self, prefix: str, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._prefix = prefix
        self._every_s = every_s
        self._clock = clock
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if not record.name.startswith(self._prefix):
            return True
        kind, now = (record.name, record.levelno), self._clock()
        if now - self._said.get(kind, float("-inf")) < self._every_s:
            return False
        self._said[kind] = now
        return True
