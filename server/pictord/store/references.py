"""Which stored pictures records refer to: each takes room once, however many refer to it."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Referred:
    size_bytes: int
    count: int = 0


class References:
    """Counts references by SHA-256, and the bytes of all that is referred to."""

    def __init__(self) -> None:
        self._referred: dict[str, _Referred] = {}
        self.size_bytes = 0

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._referred

    def add(self, sha256: str, size_bytes: int) -> None:
        """One more refers to a picture of `size_bytes`."""
        if sha256 not in self._referred:
            self._referred[sha256] = _Referred(size_bytes)
            self.size_bytes += size_bytes
        self._referred[sha256].count += 1

    def remove(self, sha256: str) -> bool:
        """One fewer refers to it; whether that was the last."""
        referred = self._referred[sha256]
        referred.count -= 1
        if referred.count:
            return False
        del self._referred[sha256]
        self.size_bytes -= referred.size_bytes
        return True
