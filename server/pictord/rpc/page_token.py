"""Page tokens: opaque, signed, and good only for the query that they came from.

A token holds where the next page begins. It grants nothing: the query is authorised again for every page.
"""

import base64
import binascii
import hashlib
import hmac

from pictord.domain.reason import Reason
from pictord.errors import FieldViolation, GatewayError, invalid

_SIGNATURE_BYTES = 16


class PageTokens:
    """Issues and reads page tokens under one key."""

    def __init__(self, key: bytes) -> None:
        """Sign with `key`, at least 16 random bytes; replicas that share a history share it."""
        self._key = key

    def issue(self, last_id: str, query: bytes) -> str:
        """A token for the page after the record `last_id` of `query` (any bytes that identify it)."""
        signed = self._signature(last_id.encode(), query) + last_id.encode()
        return base64.urlsafe_b64encode(signed).decode()

    def read(self, token: str, query: bytes) -> str | None:
        """The record after which the page begins; None for an empty token, which is the first page.

        Raises:
            GatewayError: PAGE_TOKEN_INVALID: not one of ours, or of another query.
        """
        if not token:
            return None
        try:
            signed = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
            signature, last_id = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
            if last_id and hmac.compare_digest(signature, self._signature(last_id, query)):
                return last_id.decode()
        except (binascii.Error, UnicodeError):
            pass  # answered below, like any other token that is not ours
        raise _invalid()

    def _signature(self, last_id: bytes, query: bytes) -> bytes:
        bound = hashlib.sha256(query).digest() + last_id
        return hmac.new(self._key, bound, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _invalid() -> GatewayError:
    text = "not a token of this query; take it from the last answer and leave the other fields as they were"
    return invalid([FieldViolation("page_token", text, Reason.PAGE_TOKEN_INVALID)])
