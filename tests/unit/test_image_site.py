"""`/images/{id}` as browsers and download managers see it, over a real connection."""

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import httpx2
import pytest

import samples
from pictord.app import INPUT_LIMITS
from pictord.assets.links import LinkSigner
from pictord.assets.objects import in_folder
from pictord.assets.store import AssetsDown
from pictord.console.http import HttpListener
from pictord.console.images import asked_range, image_site
from pictord.jobs.pictures import Pictures
from pictord.store.base import OwnedImage

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(1_500_000)
ETAG = f'"{hashlib.sha256(PNG).hexdigest()}"'
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Records:
    """The records of two images; one of them was dropped."""

    def __init__(self, **images):
        self._images = images

    async def image(self, image_id):
        found = self._images.get(image_id)
        return OwnedImage("web", found) if found else None

    async def expired(self, image_id):
        return "web" if image_id == "img_dropped" else None


class Site:
    """A running listener, and links that it takes."""

    def __init__(self, records, assets, small):
        self.now = NOW
        self._signer = LinkSigner(b"secret", lambda: self.now)

        async def thumbnail(sha256):
            return small.get(sha256)

        pictures = Pictures(records, assets, INPUT_LIMITS, thumbnail=thumbnail)
        self.listener = HttpListener("127.0.0.1:0", image_site(pictures, self._signer))

    def link(self, image_id="img_1"):
        path, _ = self._signer.sign(image_id, timedelta(hours=1))
        return f"http://{self.listener.address}{path}"

    async def ask(self, url, method="GET", **headers):
        async with httpx2.AsyncClient() as client:
            return await client.request(method, url, headers={k.replace("_", "-"): v for k, v in headers.items()})


@asynccontextmanager
async def running(records, assets, small=MappingProxyType({})):
    site = Site(records, assets, small)
    await site.listener.start()
    try:
        yield site
    finally:
        await site.listener.stop()


@pytest.fixture
async def assets(tmp_path):
    return in_folder(tmp_path)


@pytest.fixture
async def site(assets):
    sha256 = await assets.put(PNG)
    image = samples.image("img_1", size_bytes=len(PNG), sha256=sha256)
    lost = samples.image("img_lost", sha256="0" * 64)
    async with running(Records(img_1=image, img_lost=lost), assets) as running_site:
        yield running_site


async def test_a_picture_comes_byte_for_byte(site):
    """With its type and length, and nothing in it can be run or guessed to be something else."""
    answer = await site.ask(site.link())

    assert (answer.status_code, answer.content) == (200, PNG)
    assert dict(answer.headers) | {"date": ""} == {
        "date": "",
        "content-type": "image/png",
        "content-length": str(len(PNG)),
        "accept-ranges": "bytes",
        "etag": ETAG,
        "cache-control": "private, immutable, max-age=3600",
        "content-security-policy": "default-src 'none'",
        "x-content-type-options": "nosniff",
    }


async def test_the_same_link_gives_a_thumbnail(assets):
    """To be kept by a browser as long as the picture itself, and known again by a name of its own."""
    sha256 = await assets.put(PNG)
    image = samples.image("img_1", size_bytes=len(PNG), sha256=sha256)
    small = b"RIFF: the small one"
    async with running(Records(img_1=image), assets, {sha256: small}) as site:
        url = site.link() + "&size=small"
        whole, got, head = await site.ask(site.link()), await site.ask(url), await site.ask(url, "HEAD")
        again = await site.ask(url, If_None_Match=got.headers["etag"])
        other = await site.ask(url, If_None_Match=whole.headers["etag"])
        forged = await site.ask(site.link()[:-4] + "&size=small")

        assert (got.status_code, got.content, other.status_code) == (200, small, 200)
        assert dict(got.headers) | {"date": ""} == {
            "date": "",
            "content-type": "image/webp",
            "content-length": str(len(small)),
            "accept-ranges": "none",
            "etag": f'"small-{sha256}"',
            "cache-control": "private, immutable, max-age=3600",
            "content-security-policy": "default-src 'none'",
            "x-content-type-options": "nosniff",
        }
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", got.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
        assert forged.status_code == 403


@pytest.mark.parametrize("fields", [{}, {"size_bytes": 40_000}, {"width_px": 500, "height_px": 512}])
async def test_where_there_is_no_thumbnail_the_picture_comes(assets, fields):
    """Because none can be made, or because it would save nothing."""
    sha256 = await assets.put(PNG)
    image = samples.image("img_1", **{"size_bytes": len(PNG), "sha256": sha256} | fields)
    async with running(Records(img_1=image), assets, {sha256: b"small"} if fields else {}) as site:
        answer = await site.ask(site.link() + "&size=small")

        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.content == PNG[: image.size_bytes]


async def test_head_says_the_same_without_the_bytes(site):
    """A client can look before it fetches."""
    head, got = await site.ask(site.link(), "HEAD"), await site.ask(site.link())

    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) | {"date": ""} == dict(got.headers) | {"date": ""}


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=1000000-", 1_000_000, len(PNG)),
        ("bytes=-5", len(PNG) - 5, len(PNG)),
        ("bytes=5-99999999", 5, len(PNG)),
        ("bytes=-99999999", 0, len(PNG)),
        ("BYTES=1-2", 1, 3),
    ],
)
async def test_one_range_is_answered_with_that_range(site, header, start, stop):
    """A broken download goes on where it broke."""
    answer = await site.ask(site.link(), Range=header)

    assert (answer.status_code, answer.content) == (206, PNG[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(PNG)}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize("header", [f"bytes={len(PNG)}-", "bytes=99999999-99999999", "bytes=-0"])
async def test_a_range_behind_the_end_is_said_to_be_one(site, header):
    """416 names the length."""
    answer = await site.ask(site.link(), Range=header)

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(PNG)}"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=9-3", "bytes=-", "bytes=a-b", "lines=0-1", "bytes 0-1"])
async def test_ranges_that_are_not_served_are_ignored(site, header):
    """Several at once, or what is no range at all, brings the whole picture, as the standard has it."""
    answer = await site.ask(site.link(), Range=header)

    assert (answer.status_code, len(answer.content)) == (200, len(PNG))


async def test_a_range_of_another_version_brings_the_whole_picture(site):
    """If-Range protects from gluing two pictures together."""
    same = await site.ask(site.link(), Range="bytes=0-1", If_Range=ETAG)
    other = await site.ask(site.link(), Range="bytes=0-1", If_Range='"other"')

    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize("header", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
async def test_what_the_browser_has_is_not_sent_again(site, header):
    """304 without a body."""
    answer = await site.ask(site.link(), If_None_Match=header)

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        (lambda site: site.link().replace("img_1", "img_2"), 403, "was changed, or is none of ours"),
        (lambda site: site.link().partition("?")[0], 403, "was changed, or is none of ours"),
        (lambda site: site.link("img_2"), 404, "no image 'img_2'"),
        (lambda site: site.link("img_dropped"), 410, "no longer kept"),
        (lambda site: site.link("img_lost"), 410, "is not in this gateway's picture store: dropped just now, "),
        (lambda site: f"http://{site.listener.address}/images/", 404, "nothing here"),
        (lambda site: f"http://{site.listener.address}/images", 404, "nothing here"),
        (lambda site: site.link("img_1").replace("?", "/?"), 404, "nothing here"),
        (lambda site: f"http://{site.listener.address}/", 404, "nothing here"),
        (lambda site: f"http://{site.listener.address}/images/../images/img_1", 403, "none of ours"),
        (lambda site: f"http://{site.listener.address}/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "nothing here"),
    ],
    ids=[
        "tampered",
        "unsigned",
        "unknown",
        "dropped",
        "lost",
        "folder",
        "no slash",
        "one slash too many",
        "root",
        "dots",
        "escaped dots",
    ],
)
async def test_what_is_not_served_is_said_in_a_sentence(site, url, status, says):
    """No folder is listed, no reason is hidden, and no refusal is cached."""
    answer = await site.ask(url(site))

    assert answer.status_code == status
    assert says in answer.text
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_expired_link_is_refused(site):
    """Whoever comes too late is told to ask for a new one."""
    link = site.link()
    site.now += timedelta(hours=2)

    answer = await site.ask(link)

    assert (answer.status_code, answer.text) == (403, "this link has expired; ask for a new one\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_pictures_are_only_read(site, method):
    """Every other method is refused, and says what would work."""
    answer = await site.ask(site.link(), method)

    assert (answer.status_code, answer.text) == (405, "only GET and HEAD are answered\n")


class Down:
    """A picture store that does not answer."""

    async def chunks(self, sha256, offset, chunk_bytes, *, end):
        raise AssetsDown
        yield b""


async def test_a_store_that_is_down_is_no_missing_picture():
    """503: the client may come back."""
    async with running(Records(img_1=samples.image("img_1")), Down()) as site:
        answer = await site.ask(site.link())

    assert answer.status_code == 503


class Counted:
    """A picture of 64 MiB that counts what is asked of it."""

    size_bytes = 64 * 2**20
    sent_bytes = 0

    async def chunks(self, sha256, offset, chunk_bytes, *, end):
        while offset < end:
            piece = bytes(min(chunk_bytes, end - offset))
            self.sent_bytes += len(piece)
            offset += len(piece)
            yield piece


async def test_a_slow_reader_keeps_no_picture_in_memory():
    """What nobody reads is not fetched from the store either."""
    assets = Counted()
    image = samples.image("img_1", size_bytes=assets.size_bytes)
    async with running(Records(img_1=image), assets) as site:
        host, _, port = site.listener.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"GET {site.link().partition(port)[2]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(5_000):  # turns of the loop, in which an unbridled server would have sent it all
            await asyncio.sleep(0)
        held_back = assets.sent_bytes
        writer.close()
        await writer.wait_closed()

    assert held_back < assets.size_bytes / 4


def test_only_plain_numbers_make_a_range():
    """Every number that fits in a range is taken as one, and no other text is."""
    assert asked_range("bytes=" + "9" * 18 + "-", 10) == range(int("9" * 18), 10)
    assert asked_range("bytes=" + "9" * 19 + "-", 10) is None
    assert asked_range("bytes=\u0661-", 10) is None
