"""Signed links: who can make them, how long they last, and where they lead."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

import samples
from pictord.assets.links import DownloadLinks, LinkRefused, LinkSigner

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    """UTC, set by the test."""

    def __init__(self):
        self.time = NOON

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


def signer(clock, secret=b"secret"):
    return LinkSigner(secret, clock)


def parts(path):
    """Image id, expiry and signature of a link."""
    split = urlsplit(path)
    query = parse_qs(split.query)
    return split.path.removeprefix("/images/"), query["exp"][0], query["sig"][0]


def test_a_link_is_good_until_it_expires(clock):
    """One second before its expiry it is taken, then no more."""
    path, expire_time = signer(clock).sign("img_1", HOUR)

    clock.time = expire_time - timedelta(seconds=1)
    assert signer(clock).check(*parts(path)) == 1

    clock.time = expire_time
    with pytest.raises(LinkRefused, match="has expired"):
        signer(clock).check(*parts(path))


def test_a_link_outlives_a_restart_with_the_same_secret(clock):
    """Every replica and every later process knows it; another secret does not."""
    path, _ = signer(clock).sign("img_1", HOUR)

    assert signer(clock, b"secret").check(*parts(path)) == 3600
    with pytest.raises(LinkRefused, match="none of ours"):
        signer(clock, b"another").check(*parts(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda image, expiry, sig: ("img_2", expiry, sig),
        lambda image, expiry, sig: (image, str(int(expiry) + 1), sig),
        lambda image, expiry, sig: (image, "0" + expiry, sig),
        lambda image, expiry, sig: (image, expiry, sig[:-1]),
        lambda image, expiry, sig: (image, expiry, sig.swapcase()),
        lambda image, expiry, sig: (image, expiry, ""),
        lambda image, expiry, sig: (image, "", ""),
        lambda image, expiry, sig: (image, "soon", "ü\ud800"[:1]),
        lambda image, expiry, sig: (f"{image}\n{expiry}", "", sig),
    ],
    ids=["image", "expiry", "zeros", "short", "case", "unsigned", "empty", "no ASCII", "shifted"],
)
def test_a_changed_link_is_refused(clock, change):
    """No part of it can be exchanged, and nothing that stands there breaks the check."""
    path, _ = signer(clock).sign("img_1", HOUR)

    with pytest.raises(LinkRefused, match="none of ours"):
        signer(clock).check(*change(*parts(path)))


def test_a_link_stays_the_same_for_a_while(clock):
    """A page that lists pictures again gets what its browser has cached, good for an hour to seventy minutes."""
    links = set()
    for minutes in range(1, 10):
        clock.time = NOON + timedelta(minutes=minutes)
        path, expire_time = signer(clock).sign("img_1", HOUR)
        assert HOUR <= expire_time - clock.time <= HOUR + timedelta(minutes=10)
        links.add(path)

    assert len(links) == 1


@pytest.mark.parametrize(
    ("store", "base_url", "url"),
    [
        ("https://bucket/x?sig=1", "http://pictor", "https://bucket/x?sig=1"),
        (None, "http://pictor", "http://pictor/images/img_1?exp="),
        (None, None, None),
    ],
    ids=["the store signs", "it cannot", "nor do we serve"],
)
def test_the_object_store_signs_if_it_can(clock, store, base_url, url):
    """Only what it does not sign is served here, if anything is."""
    asked = []

    def sign(sha256, lifetime):
        asked.append((sha256, lifetime))
        return store

    image = samples.image("img_1")
    link = DownloadLinks(sign, signer(clock), base_url, HOUR, clock).link(image)

    assert asked == [(image.sha256, HOUR)]
    assert (link and link.url.startswith(url)) == (True if url else None)
    assert link is None or link.expire_time == NOON + HOUR
