"""The transport under both SDKs: what was sent is known, nothing is sent twice, nothing is leaked."""

import asyncio
import base64
import gzip
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import httpx2
import pytest

from pictord.providers.bytes.arriving_json import arrived
from pictord.providers.bytes.client import DirectClient
from pictord.providers.bytes.exchange import Exchange, watched_by
from pictord.providers.bytes.json_body import parse_answer
from pictord.providers.bytes.transport import AiohttpTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Upstream:
    """A server that answers as the test says, and counts."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed_by_client: asyncio.Event = field(default_factory=asyncio.Event)


async def read_request(reader):
    """One request, head and body; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.split(b":")[1]))
    return head


@asynccontextmanager
async def listening(handle):
    """Serve on loopback with `handle(reader, writer)`; yields the port, and closes everything afterwards."""
    open_ones = []

    async def connection(reader, writer):
        open_ones.append((asyncio.current_task(), writer))
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=256)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in open_ones:
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*(task for task, _ in open_ones), return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for _, writer in open_ones), return_exceptions=True)


@asynccontextmanager
async def upstream(answer):
    """Serve HTTP; `answer(reader, writer, number)` gets each request after it was read and counted."""
    seen = Upstream()

    async def handle(reader, writer):
        seen.connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                seen.requests.append(request)
                if await answer(reader, writer, len(seen.requests)) == "close":
                    return
        finally:
            seen.closed_by_client.set()

    async with listening(handle) as port:
        seen.url = f"http://127.0.0.1:{port}/v1/images"
        yield seen


def says(*parts):
    """An upstream that answers every request with these bytes."""

    async def answer(_reader, writer, _number):
        writer.write(b"".join(parts))
        await writer.drain()

    return answer


@asynccontextmanager
async def client(**options):
    """A client on the transport, timeouts of ten seconds."""
    transport = AiohttpTransport(**options)
    async with DirectClient(transport, timeout=httpx2.Timeout(10)) as direct:
        direct.transport = transport
        yield direct


def connections_in_use(direct):
    """How many connections the pool believes to be lent out."""
    return len(direct.transport._session.connector._acquired)


async def failure_of(direct, url, exchange, **options):
    """The transport error that a watched POST ends with."""
    with pytest.raises(httpx2.TransportError) as error, watched_by(exchange):
        await direct.post(url, **{"content": b"prompt", **options})
    assert error.value.request.url == url
    return error.value


# What was sent


async def test_a_refused_connection_is_provably_unsent():
    """Nobody listens: ConnectError, and not a byte has left."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/"
        told = []
        exchange = Exchange(on_first_byte=lambda: told.append(1))

        async with client() as direct:
            error = await failure_of(direct, url, exchange)

    assert isinstance(error, httpx2.ConnectError)
    assert not exchange.sent
    assert told == []


async def test_a_name_that_does_not_resolve_is_provably_unsent():
    """DNS failure: ConnectError, unsent."""
    exchange = Exchange()

    async with client() as direct:
        error = await failure_of(direct, "http://nowhere.invalid/", exchange)

    assert isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    assert not exchange.sent


async def test_a_failed_tls_handshake_is_provably_unsent():
    """TLS failure: ConnectError, unsent."""

    async def not_tls(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    exchange = Exchange()
    async with listening(not_tls) as port, client() as direct:
        error = await failure_of(direct, f"https://127.0.0.1:{port}/", exchange)

    assert isinstance(error, httpx2.ConnectError)
    assert not exchange.sent


async def test_a_handshake_that_never_ends_is_a_connect_timeout():
    """The transport's own bound on connecting holds even if the request allows more; unsent."""

    async def silent(reader, _writer):
        await reader.read()

    exchange = Exchange()
    async with listening(silent) as port, client(connect_timeout=0.05) as direct:
        error = await failure_of(direct, f"https://127.0.0.1:{port}/", exchange)

    assert isinstance(error, httpx2.ConnectTimeout)
    assert not exchange.sent


async def test_the_first_byte_is_reported_once_and_before_the_server_has_it():
    """`on_first_byte` fires once, when the request stops being provably unsent."""
    order = []

    async def answer(_reader, writer, _number):
        order.append("received")
        writer.write(OK)

    exchange = Exchange(on_first_byte=lambda: order.append("first byte"))
    async with upstream(answer) as up, client() as direct:
        with watched_by(exchange):
            await direct.post(up.url, content=b"x" * 1_000_000)

    assert order == ["first byte", "received"]
    assert exchange.sent


LOST = {
    "closed before an answer": (b"", httpx2.RemoteProtocolError),
    "closed inside the headers": (b"HTTP/1.1 200 OK\r\nContent-", httpx2.RemoteProtocolError),
    "closed inside a sized body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1", httpx2.RemoteProtocolError),
    "closed inside a chunked body": (CHUNKED + b"5\r\n12", httpx2.RemoteProtocolError),
    "closed before the last chunk": (CHUNKED + b"2\r\n12\r\n", httpx2.RemoteProtocolError),
    "ill-framed chunks": (CHUNKED + b"zz\r\n12\r\n", httpx2.RemoteProtocolError),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", httpx2.RemoteProtocolError),
}


@pytest.mark.parametrize(("said", "expected"), LOST.values(), ids=LOST)
async def test_a_lost_answer_counts_as_sent(said, expected):
    """Whatever happens after the body went out, it may have been billed."""

    async def answer(_reader, writer, _number):
        writer.write(said)
        await writer.drain()
        return "close"

    exchange = Exchange()
    async with upstream(answer) as up, client() as direct:
        error = await failure_of(direct, up.url, exchange)
        assert connections_in_use(direct) == 0

    assert type(error) is expected
    assert exchange.sent
    assert exchange.body is None


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"])
async def test_a_reset_counts_as_sent(said):
    """A reset before or inside the answer is a network error after sending."""

    async def answer(_reader, writer, _number):
        writer.write(said)
        await writer.drain()
        raw = writer.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return "close"

    exchange = Exchange()
    async with upstream(answer) as up, client() as direct:
        error = await failure_of(direct, up.url, exchange)

    assert isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError)
    assert exchange.sent


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"])
async def test_silence_ends_with_the_callers_deadline(said):
    """No byte, before or inside the answer: the caller's timeout, sent, connection closed."""
    exchange = Exchange()

    async with upstream(says(said)) as up, client() as direct:
        with pytest.raises(TimeoutError), watched_by(exchange):
            async with asyncio.timeout(0.05):
                await direct.post(up.url, content=b"prompt")
        await up.closed_by_client.wait()
        assert connections_in_use(direct) == 0

    assert exchange.sent


async def test_no_clock_outlives_an_answer():
    """The clock for silence may go on for a connection that is back in the pool, and breaks the call that is next."""
    async with client() as direct:
        asked = direct.build_request("POST", "http://engine.example/", content=b"prompt", timeout=httpx2.Timeout(20))

        assert direct.transport.head(asked).timeout == aiohttp.ClientTimeout(total=None, connect=10, sock_connect=10)


async def test_an_upload_that_nobody_reads_is_a_write_timeout():
    """The server takes no more bytes: WriteTimeout, and it may have seen a part."""

    async def deaf(_reader, writer):
        writer.transport.pause_reading()
        await asyncio.Event().wait()

    exchange = Exchange()
    async with listening(deaf) as port, client() as direct:
        options = {"content": bytes(32_000_000), "timeout": httpx2.Timeout(10, write=0.05)}
        error = await failure_of(direct, f"http://127.0.0.1:{port}/", exchange, **options)
        assert connections_in_use(direct) == 0

    assert isinstance(error, httpx2.WriteTimeout)
    assert exchange.sent


# Nothing twice


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_a_request_on_a_dropped_keep_alive_connection_is_not_sent_again(method):
    """The server drops the kept connection with the second request on it: it has seen two requests, not three."""

    async def answer(_reader, writer, number):
        if number == 2:
            return "close"
        writer.write(OK)
        return None

    exchange = Exchange()
    async with upstream(answer) as up, client() as direct:
        await direct.request(method, up.url)
        with pytest.raises(httpx2.RemoteProtocolError), watched_by(exchange):
            await direct.request(method, up.url)

    assert len(up.requests) == 2
    assert up.connections == 1
    assert exchange.sent


async def test_a_kept_connection_that_died_while_idle_is_replaced():
    """A connection that the server has closed meanwhile is noticed before anything is written to it."""

    async def answer(_reader, writer, _number):
        writer.write(OK)
        return "close"

    async with upstream(answer) as up, client() as direct:
        await direct.post(up.url)
        (idle,) = direct.transport._session.connector._conns.values()
        await idle[0][0].closed
        response = await direct.post(up.url)

    assert response.status_code == 200
    assert up.connections == 2


async def test_an_exchange_carries_one_request_only():
    """A retry hidden anywhere above is refused, once the first request may have been seen."""
    exchange = Exchange()

    async with upstream(says(OK)) as up, client() as direct:
        with watched_by(exchange):
            await direct.post(up.url)
        error = await failure_of(direct, up.url, exchange)

    assert isinstance(error, httpx2.LocalProtocolError)
    assert len(up.requests) == 1


async def test_an_exchange_whose_request_was_unsent_may_try_again():
    """After a refused connection the same exchange is still unused."""
    exchange = Exchange()

    async with upstream(says(OK)) as up, client() as direct:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            await failure_of(direct, f"http://127.0.0.1:{held.getsockname()[1]}/", exchange)
        with watched_by(exchange):
            await direct.post(up.url)

    assert exchange.body.text == b"{}"


async def test_a_redirect_is_not_followed():
    """A 302 is an answer like any other: a key must not travel."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"

    async with upstream(says(moved)) as up, client() as direct:
        response = await direct.post(up.url, follow_redirects=True)

    assert response.status_code == 302
    assert len(up.requests) == 1


# Nothing leaked


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"])
async def test_cancelling_closes_the_connection(said):
    """A cancelled call leaves no connection behind, neither lent out nor kept."""
    arrived = asyncio.Event()

    async def answer(_reader, writer, _number):
        writer.write(said)
        await writer.drain()
        arrived.set()

    exchange = Exchange()
    async with upstream(answer) as up, client() as direct:

        async def call():
            with watched_by(exchange):
                await direct.post(up.url)

        task = asyncio.create_task(call())
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await up.closed_by_client.wait()

        assert connections_in_use(direct) == 0
        assert not direct.transport._session.connector._conns
    assert exchange.sent


async def test_two_hundred_calls_at_once_keep_their_answers_apart():
    """There is no queue for a connection, each caller gets its own answer, and the connections are kept."""
    everyone = asyncio.Barrier(200)

    async def answer(_reader, writer, _number):
        await everyone.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def echo(_reader, writer, number):
        body = up.requests[number - 1].partition(b"\r\n\r\n")[2] * 1000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with upstream(lambda *a: answer(*a) if not warm.is_set() else echo(*a)) as up, client() as direct:
        warm = asyncio.Event()
        await asyncio.gather(*(direct.post(up.url) for _ in range(200)))
        warm.set()
        up.requests.clear()
        answers = await asyncio.gather(*(direct.post(up.url, content=b"%04d" % i) for i in range(200)))

        assert [a.content for a in answers] == [b"%04d" % i * 1000 for i in range(200)]
        assert up.connections == 200
        assert connections_in_use(direct) == 0


async def test_a_response_closed_half_read_closes_its_connection():
    """Leaving a stream early does not hand a dirty connection to the next caller."""
    event = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\ndata: 1\n\n"

    async with upstream(says(event)) as up, client() as direct:
        response = await direct.send(direct.build_request("POST", up.url), stream=True)
        async for _ in response.aiter_bytes():
            break
        await response.aclose()
        await up.closed_by_client.wait()

        assert connections_in_use(direct) == 0


# Bodies


async def test_the_body_of_a_watched_200_goes_beside_the_sdk():
    """The exchange holds the bytes, status and headers; whoever called gets an empty object."""
    body = b'{"b64_json": "%s"}' % (b"A" * 3_000_000)
    head = b"HTTP/1.1 200 OK\r\nX-Request-Id: req_1\r\nContent-Length: %d\r\n\r\n" % len(body)
    exchange = Exchange()

    async with upstream(says(head, body)) as up, client() as direct:
        with watched_by(exchange):
            response = await direct.post(up.url)

    assert response.json() == {}
    assert exchange.body == arrived(body, hashing=True)
    assert parse_answer(exchange.body)["b64_json"].data == base64.b64decode(b"A" * 3_000_000)
    assert exchange.status == 200
    assert exchange.headers["x-request-id"] == "req_1"


async def test_an_error_goes_through_to_the_sdk():
    """Only a 200 is kept beside: the SDK types everything else."""
    exchange = Exchange()

    async with upstream(says(b"HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\nno")) as up, client() as direct:
        with watched_by(exchange):
            response = await direct.post(up.url)

    assert (response.status_code, response.content, response.reason_phrase) == (429, b"no", "Slow")
    assert exchange.status == 429
    assert exchange.body is None


async def test_an_unwatched_call_gets_its_body():
    """Without an exchange the transport is an ordinary one."""
    async with upstream(says(OK)) as up, client() as direct:
        assert (await direct.post(up.url)).content == b"{}"


async def test_events_are_passed_on_as_they_arrive():
    """The first event is here before the second is written."""
    first_read = asyncio.Event()

    async def answer(_reader, writer, _number):
        writer.write(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"))
        writer.write(b"3\r\none\r\n")
        await first_read.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    exchange = Exchange()
    seen = []
    async with upstream(answer) as up, client() as direct:
        with watched_by(exchange):
            response = await direct.send(direct.build_request("POST", up.url), stream=True)
        async for chunk in response.aiter_bytes():
            seen.append(chunk)
            first_read.set()

    assert seen == [b"one", b"two"]
    assert exchange.body is None


async def test_an_answer_compressed_against_our_wish_is_still_read():
    """`identity` is asked for; gzip that comes anyway is a paid picture, and is unpacked."""
    packed = gzip.compress(b'{"data": []}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    exchange = Exchange()

    async with upstream(says(head, packed)) as up, client() as direct:
        with watched_by(exchange):
            await direct.post(up.url, headers={"Accept-Encoding": "gzip"})

    assert exchange.body.text == b'{"data": []}'
    assert b"accept-encoding: identity" in up.requests[0].lower()


async def test_an_answer_without_end_is_given_up():
    """A body over the cap is a protocol error, not an ever-growing buffer."""
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(10_000)
    exchange = Exchange()

    async with upstream(says(endless)) as up, client(max_body_bytes=9_999) as direct:
        error = await failure_of(direct, up.url, exchange)
        await up.closed_by_client.wait()

    assert isinstance(error, httpx2.RemoteProtocolError)
    assert "9999 bytes" in str(error)


async def test_cookies_are_neither_kept_nor_passed_on():
    """A cookie of the provider's edge is dropped."""
    baked = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: __cf_bm=1; Path=/\r\n\r\n")

    async with upstream(says(baked)) as up, client() as direct:
        response = await direct.post(up.url)
        await direct.post(up.url)

    assert "set-cookie" not in response.headers
    assert not any(b"cookie" in request.lower() for request in up.requests)


async def test_a_multipart_body_arrives_byte_for_byte():
    """Small pieces are joined and big ones cut, and nothing changes on the way."""
    pictures = [bytes([i]) * (700_000 * i + 5) for i in range(4)]
    files = [("image[]", (f"{i}.png", picture, "image/png")) for i, picture in enumerate(pictures)]

    async with upstream(says(OK)) as up, client() as direct:
        request = direct.build_request("POST", up.url, data={"prompt": "a cat"}, files=files)
        expected = b"".join(request.stream)
        await direct.send(request)

    assert up.requests[0].partition(b"\r\n\r\n")[2] == expected


async def test_a_body_of_unknown_length_is_sent_chunked():
    """Without a length the body goes out in chunks, framed once."""

    async def pieces():
        yield b"one"
        yield b"two" * 10_000

    async def answer(reader, writer, _number):
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert body.count(b"two") == 10_000
        writer.write(OK)

    async with upstream(answer) as up, client() as direct:
        assert (await direct.post(up.url, content=pieces())).status_code == 200

    assert up.requests[0].lower().count(b"transfer-encoding: chunked") == 1


async def test_an_attachment_goes_out_in_its_placeholders_stead():
    """The SDK serialises a short placeholder; the wire has the picture's base64, and the right length."""
    exchange = Exchange()
    big = b"\xfb\xff" * 400_000
    first, second = exchange.attach(big), exchange.attach(b"second")
    body = b'{"a": "%s", "b": ["%s"]}' % (second.encode(), first.encode())

    async with upstream(says(OK)) as up, client() as direct:
        with watched_by(exchange):
            await direct.post(up.url, content=body)

    sent = up.requests[0].partition(b"\r\n\r\n")[2]
    assert sent == b'{"a": "%s", "b": ["%s"]}' % (base64.b64encode(b"second"), base64.b64encode(big))


@pytest.mark.parametrize("body", [b"{}", b'["%(p)s", "%(p)s"]'], ids=["missing", "twice"])
async def test_an_attachment_that_would_get_lost_is_not_sent(body):
    """An SDK that drops or repeats the placeholder is found out before a byte leaves."""
    exchange = Exchange()
    placeholder = exchange.attach(b"picture")

    async with upstream(says(OK)) as up, client() as direct:
        error = await failure_of(direct, up.url, exchange, content=body % {b"p": placeholder.encode()})

    assert isinstance(error, httpx2.LocalProtocolError)
    assert not exchange.sent
    assert up.requests == []


async def test_a_header_that_would_smuggle_another_is_not_sent():
    """A line break inside a header is refused before anything leaves."""
    exchange = Exchange()

    async with upstream(says(OK)) as up, client() as direct:
        error = await failure_of(direct, up.url, exchange, headers={"X-A": "1\r\nX-B: 2"})

    assert isinstance(error, httpx2.LocalProtocolError)
    assert up.requests == []


# Surroundings


async def test_a_proxy_from_the_environment_is_used_only_on_request(monkeypatch):
    """`trust_env` brings HTTP_PROXY and NO_PROXY; without it they are ignored."""
    async with upstream(says(OK)) as proxy, upstream(says(OK)) as up:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1/images"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with client(trust_env=True) as trusting, client() as plain:
            await trusting.post("http://images.example/v1")
            await trusting.post(up.url)
            await plain.post(up.url)

    assert [r.split(b"\r\n")[0] for r in proxy.requests] == [b"POST http://images.example/v1 HTTP/1.1"]
    assert len(up.requests) == 2


async def test_connections_are_probed_while_they_are_silent():
    """TCP keepalive is on: a picture takes minutes, and a NAT forgets a silent connection."""
    async with upstream(says(OK)) as up, client() as direct:
        await direct.post(up.url)
        (idle,) = direct.transport._session.connector._conns.values()
        raw = idle[0][0].transport.get_extra_info("socket")

        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_closed_client_sends_nothing():
    """After closing, a call fails like any httpx2 client's."""
    async with upstream(says(OK)) as up:
        async with client() as direct:
            await direct.post(up.url)
        with pytest.raises(RuntimeError, match="closed"):
            await direct.post(up.url)
