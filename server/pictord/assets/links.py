"""Links to pictures that work in an `<img>` tag: whoever has one may fetch that one picture until it expires.

The object store signs them where it can. For what lies in a folder, or still waits in the spool, they lead to our own
HTTP listener and carry an HMAC-SHA-256 over the image's id and the expiry; nothing about them is stored.
"""

import base64
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pictord.domain.generation import Image

PATH = "/images/"
LIFETIME = timedelta(hours=1)

_STEP_S = 600
"""Expiries are whole steps, so that a page that lists pictures again gets the links that its browser has cached."""

_KEY_LABEL = b"pictor download links"


@dataclass(frozen=True, slots=True)
class Link:
    """Where a picture can be fetched, and until when."""

    url: str
    expire_time: datetime


class LinkRefused(Exception):
    """A link that is not, or no longer, one of ours; its text is for people."""


class LinkSigner:
    """Signs the path of an image, and knows its own signatures.

    Args:
        secret: of the configuration; the key is derived from it, so that it serves for nothing else.
        now: UTC.
    """

    def __init__(self, secret: bytes, now: Callable[[], datetime]) -> None:
        self._key = hmac.digest(secret, _KEY_LABEL, "sha256")
        self._now = now

    def sign(self, image_id: str, lifetime: timedelta) -> tuple[str, datetime]:
        """The path with its query, good for `lifetime` and up to ten minutes more; and when it expires."""
        expiry = math.ceil((self._now() + lifetime).timestamp() / _STEP_S) * _STEP_S
        path = f"{PATH}{image_id}?exp={expiry}&sig={self._signature(image_id, str(expiry))}"
        return path, datetime.fromtimestamp(expiry, UTC)

    def check(self, image_id: str, expiry: str, signature: str) -> float:
        """How many seconds the link is still good for.

        Raises:
            LinkRefused: the signature is not ours, or its time is over.
        """
        if not hmac.compare_digest(self._signature(image_id, expiry).encode(), signature.encode()):
            raise LinkRefused("this link was changed, or is none of ours; ask for a new one")
        left_s = int(expiry) - self._now().timestamp()
        if left_s <= 0:
            raise LinkRefused("this link has expired; ask for a new one")
        return left_s

    def _signature(self, image_id: str, expiry: str) -> str:
        digest = hmac.digest(self._key, f"{image_id}\n{expiry}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class DownloadLinks:
    """Gives each picture its link."""

    sign: Callable[[str, timedelta], str | None]
    """The object store's own, by SHA-256; see `AssetStore.sign`."""

    signer: LinkSigner
    base_url: str | None
    """Where our HTTP listener is reached; None if it is off."""

    lifetime: timedelta
    now: Callable[[], datetime]

    def link(self, image: Image) -> Link | None:
        """Where the picture can be fetched; None if there is no such place."""
        url = self.sign(image.sha256, self.lifetime)
        if url is not None:
            return Link(url, self.now() + self.lifetime)
        if self.base_url is None:
            return None
        path, expire_time = self.signer.sign(image.id, self.lifetime)
        return Link(self.base_url + path, expire_time)
