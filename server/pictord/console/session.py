"""Who sits at the browser: a signed cookie that marks a key, and a token that every POST must bring.

Nothing is stored, so replicas that share the secret share the sessions. A session ends with its time, with its key
(which must still be a caller's whenever it is read), and with the secret.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.responses import Response

from pictord.auth.callers import Callers
from pictord.domain.caller import LOCAL, Caller

COOKIE = "pictor_session"
LIFETIME = timedelta(hours=12)

_KEY_LABEL = b"pictor console sessions"


@dataclass(frozen=True, slots=True)
class Session:
    """One browser: `mark` stands for the key that was pasted and is empty before; `expiry` is seconds since 1970."""

    nonce: str
    mark: str
    expiry: int
    caller: Caller | None


class Sessions:
    """Opens sessions and knows its own again.

    Args:
        callers: whose keys are good; with nobody configured everybody is `LOCAL`.
        secret: of the configuration; the key is derived from it, so that it serves for nothing else.
        now: UTC.
        is_https: whether browsers come by HTTPS, and the cookie may go no other way.
        token: a new unguessable text.
    """

    def __init__(
        self,
        callers: Callers,
        secret: bytes,
        now: Callable[[], datetime],
        *,
        is_https: bool = False,
        token: Callable[[], str] = lambda: secrets.token_urlsafe(24),
    ) -> None:
        self._callers = callers
        self._key = hmac.digest(secret, _KEY_LABEL, "sha256")
        self._now = now
        self._is_https = is_https
        self._token = token

    @property
    def needs_key(self) -> bool:
        """Whether people must sign in."""
        return self._callers.has_keys

    def fresh(self) -> Session:
        """A session of somebody who has not signed in."""
        return self._opened("", None if self.needs_key else LOCAL)

    def sign_in(self, key: str) -> Session | None:
        """A new session of whoever has this key; None if nobody has."""
        mark = self._mark(self._callers.hashed(key.strip()))
        caller = self._holder(mark)
        return None if caller is None else self._opened(mark, caller)

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie; None if it is not, or no longer, one of ours."""
        nonce, _, rest = cookie.partition(".")
        expiry, _, rest = rest.partition(".")
        mark, _, signature = rest.partition(".")
        if not hmac.compare_digest(self._signed("cookie", nonce, expiry, mark).encode(), signature.encode()):
            return None
        caller = self._holder(mark)
        if int(expiry) <= self._now().timestamp() or (mark and caller is None):
            return None
        return Session(nonce, mark, int(expiry), caller)

    def cookie(self, session: Session) -> str:
        """The text of a session's cookie."""
        signature = self._signed("cookie", session.nonce, str(session.expiry), session.mark)
        return f"{session.nonce}.{session.expiry}.{session.mark}.{signature}"

    def remember(self, response: Response, session: Session) -> None:
        """Give the browser its session."""
        response.set_cookie(
            COOKIE,
            self.cookie(session),
            max_age=int(LIFETIME.total_seconds()),
            secure=self._is_https,
            httponly=True,
            samesite="strict",
        )

    def form_token(self, session: Session) -> str:
        """What every POST of this session must bring."""
        return self._signed("form", session.nonce)

    def is_form_token(self, session: Session, token: str) -> bool:
        """Whether a POST comes from one of our own pages."""
        return hmac.compare_digest(self.form_token(session).encode(), token.encode())

    def _opened(self, mark: str, caller: Caller | None) -> Session:
        return Session(self._token(), mark, int((self._now() + LIFETIME).timestamp()), caller)

    def _holder(self, mark: str) -> Caller | None:
        if not self.needs_key:
            return LOCAL
        return self._callers.holder(lambda digest: hmac.compare_digest(self._mark(digest), mark))

    def _mark(self, digest: str) -> str:
        return self._signed("key", digest)

    def _signed(self, purpose: str, *parts: str) -> str:
        return hmac.new(self._key, "\n".join((purpose, *parts)).encode(), "sha256").hexdigest()
