"""The webhook: signed, patient, bounded; against a real server on loopback."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

import samples
from pictord.domain.alert import Alert
from pictord.jobs.webhook import SIGNATURE_HEADER, Webhook, WebhookSettings

ALERT = Alert("alt_1", "budget/ten/2026-11-22/50", "budget", "ten", "budget 'ten' has reached 50 %", samples.NOON)
KEY = b"a key for tests"
WAITS = (2.0, 10.0, 60.0, 300.0)


@dataclass
class Receiver:
    """Answers with the statuses it was given, then 200; keeps what it was sent."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"location": self.url} if status == 302 else {})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    application = web.Application()
    application.router.add_post("/hook", made.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@pytest.fixture
def waited() -> list[float]:
    return []


def webhook(url: str, waited: list[float], **settings) -> Webhook:
    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    return Webhook(WebhookSettings(url, **settings), now=lambda: samples.NOON, sleep=sleep)


async def test_the_body_is_what_slack_takes_and_programs_read(receiver, waited):
    """`text` for people, the rest for programs."""
    assert await webhook(receiver.url, waited, preface="SANDBOX: ").tell(ALERT)

    ((headers, body),) = receiver.got
    assert json.loads(body) == {
        "text": "SANDBOX: budget 'ten' has reached 50 %",
        "id": "alt_1",
        "kind": "budget",
        "subject": "ten",
        "create_time": "2026-11-22T12:00:00+00:00",
    }
    assert headers["Content-Type"] == "application/json"
    assert SIGNATURE_HEADER not in {name.lower() for name in headers}


async def test_the_signature_is_over_time_and_body(receiver, waited):
    """A receiver that holds the key computes the same, and sees how old it is."""
    assert await webhook(receiver.url, waited, signing_key=KEY).tell(ALERT)

    ((headers, body),) = receiver.got
    at, signed = (part.partition("=")[2] for part in headers[SIGNATURE_HEADER].split(","))
    assert int(at) == samples.NOON.timestamp()
    assert signed == hmac.new(KEY, f"{at}.".encode() + body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_who_may_take_it_later_is_asked_again(receiver, waited, status):
    """Twice in vain, then taken."""
    receiver.statuses = [status, status]

    assert await webhook(receiver.url, waited).tell(ALERT)

    assert (len(receiver.got), waited) == (3, [2.0, 10.0])


@pytest.mark.parametrize("status", [302, 400, 403, 404, 410])
async def test_who_will_never_take_it_is_not_asked_again(receiver, waited, status):
    """A redirect is not followed either."""
    receiver.statuses = [status]

    assert not await webhook(receiver.url, waited).tell(ALERT)

    assert (len(receiver.got), waited) == (1, [])


async def test_tries_are_bounded_and_the_log_holds_no_address(receiver, waited, caplog):
    """Five, over some minutes; the address is a secret."""
    receiver.statuses = [500] * 9

    assert not await webhook(receiver.url, waited).tell(ALERT)

    assert (len(receiver.got), tuple(waited)) == (5, WAITS)
    assert webhook(receiver.url, waited, timeout_s=7.0).longest_s == sum(WAITS) + 5 * 7.0
    assert "alt_1" in caplog.text
    assert "hook" not in caplog.text.replace("webhook", "")


async def test_a_webhook_that_nobody_answers_is_tried_and_given_up(waited, caplog):
    """No answer at all is like one that may come later."""
    assert not await webhook(f"http://127.0.0.1:{unused_port()}/hook", waited).tell(ALERT)

    assert tuple(waited) == WAITS
    assert "no answer" in caplog.text


async def test_an_address_that_is_none_is_given_up_like_one_that_nobody_answers(waited):
    """A name with a part of 64 letters cannot even be asked for."""
    assert not await webhook(f"http://{'a' * 64}.example/hook", waited).tell(ALERT)


async def test_a_proxy_may_be_named_without_http(receiver, waited, monkeypatch):
    """As curl takes it."""
    monkeypatch.setenv("http_proxy", receiver.url.removeprefix("http://").removesuffix("/hook"))

    assert await webhook("http://far.example/hook", waited).tell(ALERT)

    assert len(receiver.got) == 1


def test_neither_address_nor_key_is_shown():
    """Not in a repr."""
    shown = repr(WebhookSettings("http://example.invalid/secret", KEY))

    assert "secret" not in shown
    assert "key for tests" not in shown
