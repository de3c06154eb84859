"""What each call must bring: the sandbox's picture for the tag in the call's prompt, to the last byte."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pictord.sandbox.fast import expected_picture, expected_sha256

_HEAD_BYTES = 256
"""A picture's tag stands within these; the rest is the same for every picture of a size."""


def prompt(size_bytes: int, tag: str) -> str:
    """What makes the sandbox's fast mode answer a picture of this size that carries the tag."""
    return f"bench {size_bytes} {tag}"


@dataclass(slots=True)
class Checker:
    """Compares pictures with what was asked for, for next to no CPU; hashes are compared afterwards.

    Hashing 1.5 MiB takes a millisecond, as much as the echo's whole call, so while the clock runs a picture's bytes are
    compared instead, which is stricter. Of the gateway's pictures the SHA-256 it reported is checked too, in `finish`.

    Args:
        provider: `openai` (PNG) or `gemini` (JPEG).
        size_bytes: of every picture.
        tags: of the calls to come.
        partials: how many partial images come before each picture of a stream.
    """

    provider: str
    size_bytes: int
    tags: Iterable[str]
    partials: int = 0
    checked: int = 0
    wrong: int = 0
    _tail: bytes = b""
    _heads: dict[tuple[str, int | None], bytes] = field(default_factory=dict)
    _reported: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tail = expected_picture(self.size_bytes, "any", self.provider)[_HEAD_BYTES:]
        for tag in self.tags:
            for partial in (*range(self.partials), None):
                picture = expected_picture(self.size_bytes, tag, self.provider, partial)
                self._heads[tag, partial] = picture[:_HEAD_BYTES]

    def take(self, tag: str, data: bytes, *, partial: int | None = None, sha256: str = "") -> None:
        """Check one picture; `sha256` is what was said of it, if anything was."""
        self.checked += 1
        whole = len(data) == self.size_bytes and data.startswith(self._heads[tag, partial])
        self.wrong += not (whole and data.endswith(self._tail))
        if sha256:
            self._reported.append((tag, sha256))

    def finish(self) -> None:
        """Compare the reported hashes; the clock has stopped."""
        for tag, sha256 in self._reported:
            self.wrong += sha256 != expected_sha256(self.size_bytes, tag, self.provider)
        self._reported.clear()
