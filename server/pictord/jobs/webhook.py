"""Tells an alert to whoever listens at an address, signed, and again if nobody was there.

The body is JSON whose `text` an incoming webhook of Slack shows as it is (https://docs.slack.dev/messaging/
sending-messages-using-incoming-webhooks, read 2026-11-22); the other fields are for programs. With a key, the header
`pictor-signature: t=<seconds since 1970>,v1=<hex>` holds the HMAC-SHA-256 of `<seconds>.<body>`: a receiver compares it
and refuses what is old.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from pictord.domain.alert import Alert

logger = logging.getLogger(__name__)

SIGNATURE_HEADER = "pictor-signature"
_WORTH_ANOTHER_TRY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where to, and how patiently; the address is a secret, for with Slack it is all that a sender needs."""

    url: str = field(repr=False)
    signing_key: bytes | None = field(default=None, repr=False)
    timeout_s: float = 10.0
    waits_s: tuple[float, ...] = (2.0, 10.0, 60.0, 300.0)
    """Before the second try, the third, and so on; after the last one it is given up."""
    preface: str = ""
    """Said before every text: `SANDBOX: ` where nothing is real."""


class Webhook:
    """Posts alerts to one address."""

    def __init__(
        self, settings: WebhookSettings, *, now: Callable[[], datetime], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._now = now
        self._sleep = sleep

    @property
    def longest_s(self) -> float:
        """After how long an alert is either taken or given up."""
        waits_s = self._settings.waits_s
        return sum(waits_s) + self._settings.timeout_s * (len(waits_s) + 1)

    async def tell(self, alert: Alert) -> bool:
        """Post an alert until it is taken; False if it never was."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for wait_s in (*self._settings.waits_s, None):
                status = await self._post(session, alert)
                if status is not None and status < HTTPStatus.MULTIPLE_CHOICES:
                    return True
                is_final = status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR
                if wait_s is None or (is_final and status not in _WORTH_ANOTHER_TRY):
                    logger.error("alert %s: the webhook did not take it (%s)", alert.id, status or "no answer")
                    return False
                await self._sleep(wait_s)
        return False

    async def _post(self, session: aiohttp.ClientSession, alert: Alert) -> int | None:
        """The answer's status; None without an answer."""
        body = self._body(alert)
        headers = {"content-type": "application/json", **self._signature(body)}
        try:
            url, proxy = self._settings.url, _proxy_for(self._settings.url)
            async with session.post(url, data=body, headers=headers, proxy=proxy, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError, ValueError):
            return None  # its text names the address, which may be none (ValueError)

    def _body(self, alert: Alert) -> bytes:
        return json.dumps(
            {
                "text": f"{self._settings.preface}{alert.text}",
                "id": alert.id,
                "kind": alert.kind,
                "subject": alert.subject,
                "create_time": alert.create_time.isoformat(),
            }
        ).encode()

    def _signature(self, body: bytes) -> dict[str, str]:
        key = self._settings.signing_key
        if key is None:
            return {}
        at = int(self._now().timestamp())
        return {SIGNATURE_HEADER: f"t={at},v1={signature(key, at, body)}"}


def _proxy_for(url: str) -> str | None:
    """The environment's proxy; not by aiohttp's `trust_env`, which would send passwords from ~/.netrc too."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy  # as curl reads it


def signature(key: bytes, at: int, body: bytes) -> str:
    """What a receiver computes and compares, in hexadecimal."""
    return hmac.new(key, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
