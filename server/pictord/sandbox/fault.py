"""The words in which faults are said: what is asked, what a kind means, and an answer that is an error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FaultKind:
    """How a kind of fault behaves unless its arguments say otherwise."""

    billed: bool = False
    after_s: float = 0.0
    """Simulated seconds before an error answer (scaled by `time_scale`)."""


@dataclass(frozen=True)
class Fault:
    """One failure that a call shall suffer."""

    kind: str
    args: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return ";".join([self.kind, *(f"{name}={value}" for name, value in self.args.items())])

    def number(self, name: str, default: float) -> float:
        """The argument `name` as a number."""
        return float(self.args.get(name, default))

    def flag(self, name: str, *, default: bool) -> bool:
        """The argument `name` as yes or no."""
        return self.args.get(name, str(default)).lower() in ("true", "1", "yes")


class Refusal(Exception):
    """An HTTP answer that says no."""

    def __init__(self, status: int, body: Mapping[str, Any] | str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        """JSON, or a string of HTML."""
        self.headers = dict(headers or {})

    @property
    def why(self) -> str:
        """A word for the charge log."""
        if isinstance(self.body, str):
            return f"refused: {self.status} HTML" if self.body else "refused: connection reset"
        error = self.body.get("error", {})
        return f"refused: {self.status} {error.get('code') or error.get('status') or error.get('type')}"


def html(status: int, title: str) -> Refusal:
    """The page of a proxy in front of the provider."""
    page = f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1>"
    return Refusal(status, page + "</center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n")
