"""An httpx2 transport on aiohttp: what both SDKs send and receive through.

The SDKs' own transports cost several times the CPU for a picture of a MiB (64 KiB reads through h11, or 16 KiB reads
through a vendored adapter). This one hands over what arrives, and has the pictures in it decoded on the way.

What it never does: send a request twice, follow a redirect, keep a cookie, decompress, or wait for a free connection.
"""

import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
import httpx2
from multidict import CIMultiDict
from yarl import URL

from pictord.providers.bytes.arriving_json import ArrivedJson, ArrivingJson, arrived
from pictord.providers.bytes.exchange import Exchange, watching_exchange
from pictord.providers.bytes.failure import translated_failures
from pictord.providers.bytes.request_body import RequestBody, splice

_READ_BUFFER_BYTES = 256 * 1024
"""Unread bytes after which aiohttp stops reading the socket (it does so at twice this): what the processor's cache
still holds when it is decoded. Of many answers that come at once the rest waits with the kernel."""

_JSON = {"Content-Type": "application/json"}

_KEEPALIVE_OPTIONS = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""Seconds, seconds, probes: a NAT that forgets a silent connection (a picture takes minutes) must not hang us."""


@dataclass(frozen=True, slots=True)
class Head:
    """All of a request but its body, in aiohttp's words; `request` is what it was made from, for errors."""

    request: httpx2.Request
    url: URL
    headers: CIMultiDict[str] = field(repr=False)
    timeout: aiohttp.ClientTimeout
    write_timeout: float | None
    proxy: str | None


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Carries requests over kept-alive HTTP/1.1 connections, as many at once as are asked for.

    Timeouts come with the request (`extensions["timeout"]`, seconds): `connect` spans name lookup, TCP and TLS; `write`
    is per 256 KiB; `read` and `pool` mean nothing. None of them bounds the whole call, or its silence: that is the
    caller's `asyncio.timeout`. (aiohttp's own clock for silence may start anew after a large answer, on a connection
    that is back in the pool, and breaks whatever call takes it next; 3.14.5, `ResponseHandler.resume_reading`.)

    Inside `watched_by`, the `Exchange` learns what happened, and the body of a 200 goes to it instead of the SDK.

    Args:
        connect_timeout: Upper bound on the request's own `connect`; one SDK sends its whole deadline there.
        keepalive: Seconds for which an idle connection is kept for reuse.
        max_body_bytes: A longer answer fails with RemoteProtocolError.
        ssl_context: What to trust; None means the operating system's authorities.
        trust_env: Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY apply, as they are now.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        keepalive: float = 60.0,
        max_body_bytes: int = 128 * 1024 * 1024,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = False,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._keepalive = keepalive
        self._max_body_bytes = max_body_bytes
        self._ssl = True if ssl_context is None else ssl_context
        self._proxies = urllib.request.getproxies() if trust_env else {}
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` once; return when the answer's headers are here (a watched 200: when all of it is).

        Raises:
            httpx2.TransportError: ConnectError, ConnectTimeout and ProxyError mean that nothing was sent; for the
                others `Exchange.sent` tells.
        """
        watcher = watching_exchange()
        exchange = watcher or Exchange()
        _require_unsent(exchange, request)
        with translated_failures(request):
            head = self.head(request)
            answer = await self._send(head, *_body_and_headers(head, exchange), exchange)
        return await self._received(answer, request, exchange, is_watched=watcher is not None) or _placeholder(request)

    def head(self, request: httpx2.Request) -> Head:
        """Take over an SDK's request, without its body, so that it can stand for many."""
        timeout: Mapping[str, float | None] = request.extensions.get("timeout", {})
        connect = min(timeout.get("connect") or self._connect_timeout, self._connect_timeout)
        headers = CIMultiDict([(name.decode(), value.decode()) for name, value in request.headers.raw])
        # Undoing a provider's gzip would cost 7 ms a MiB.
        headers["Accept-Encoding"] = "identity"
        return Head(
            request,
            URL(str(request.url), encoded=True),
            headers,
            aiohttp.ClientTimeout(connect=connect, sock_connect=connect),
            timeout.get("write"),
            self._proxy_for(request.url),
        )

    async def post(
        self, head: Head, content: bytes, exchange: Exchange, more_headers: Mapping[str, str]
    ) -> httpx2.Response | None:
        """Send `content` under a head once; the answer, or None for a 200 whose body the exchange has.

        Raises:
            httpx2.TransportError: as `handle_async_request`.
        """
        _require_unsent(exchange, head.request)
        with translated_failures(head.request):
            pieces = splice(content, exchange.attachments) if exchange.attachments else [content]
            size = sum(map(len, pieces))
            headers = head.headers.copy()
            headers.update(more_headers)
            headers["Content-Length"] = str(size)
            body = RequestBody(_Pieces(pieces), size_bytes=size, write_timeout=head.write_timeout, exchange=exchange)
            answer = await self._send(head, body, headers, exchange)
        response = await self._received(answer, head.request, exchange, is_watched=True)
        if response is not None:
            await response.aread()
        return response

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail."""
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, head: Head, body: RequestBody, headers: CIMultiDict[str], exchange: Exchange
    ) -> aiohttp.ClientResponse:
        answer = await self._opened_session().request(
            head.request.method,
            head.url,
            headers=headers,
            data=body,
            allow_redirects=False,
            timeout=head.timeout,
            proxy=head.proxy,
        )
        exchange.status, exchange.headers = answer.status, _headers(answer)
        return answer

    async def _received(
        self, answer: aiohttp.ClientResponse, request: httpx2.Request, exchange: Exchange, *, is_watched: bool
    ) -> httpx2.Response | None:
        """The answer in httpx2's words; None for a watched 200, whose body goes to the exchange."""
        body = _AnswerBody(answer, request, self._max_body_bytes)
        is_kept = is_watched and answer.status == 200 and not body.is_event_stream
        if is_kept and "Content-Encoding" not in answer.headers:
            exchange.body = await body.arrived()
            return None
        response = httpx2.Response(
            answer.status,
            headers=exchange.headers,
            stream=body,
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (answer.reason or "").encode()},
        )
        if not is_kept:
            return response
        exchange.body = arrived(await response.aread(), hashing=True)  # decompresses it
        return None

    def _opened_session(self) -> aiohttp.ClientSession:
        # Made at the first request, because aiohttp binds it to the running event loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=self._keepalive,
                    ssl=self._ssl,
                    socket_factory=_socket_with_keepalive,
                ),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER_BYTES,
            )
        return self._session

    def _proxy_for(self, url: httpx2.URL) -> str | None:
        # Not aiohttp's trust_env: it asks a thread for each request, and puts passwords from ~/.netrc into them.
        proxy = self._proxies.get(url.scheme)
        if proxy is None or urllib.request.proxy_bypass_environment(url.host, self._proxies):  # type: ignore[attr-defined]
            return None
        return proxy


class _AnswerBody(httpx2.AsyncByteStream):
    """An answer's body: events as they arrive, JSON with its pictures decoded, anything else in one piece."""

    def __init__(self, answer: aiohttp.ClientResponse, request: httpx2.Request, max_bytes: int) -> None:
        self._answer = answer
        self._request = request
        self._max_bytes = max_bytes
        self.is_event_stream = answer.content_type == "text/event-stream"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not self.is_event_stream:
            yield await self.whole()
            return
        while True:
            with translated_failures(self._request):
                chunk = await self._answer.content.readany()
            if not chunk:
                return
            yield chunk

    async def whole(self) -> bytes:
        """All of it, joined once."""
        return b"".join([chunk async for chunk in self._limited()])

    async def arrived(self) -> ArrivedJson:
        """All of it, as JSON."""
        arriving = ArrivingJson(hashing=True)
        async for chunk in self._limited():
            arriving.feed(chunk)
        return arriving.end()

    async def _limited(self) -> AsyncIterator[bytes]:
        """All chunks; then, or if this fails, the connection is given up."""
        try:
            room = self._max_bytes
            while True:
                with translated_failures(self._request):
                    chunk = await self._answer.content.readany()
                room -= len(chunk)
                if room < 0:
                    text = f"the answer is longer than {self._max_bytes} bytes"
                    raise httpx2.RemoteProtocolError(text, request=self._request)
                if not chunk:
                    return
                yield chunk
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Give the connection back; aiohttp closes it if the answer was not read to its end."""
        self._answer.release()


def _require_unsent(exchange: Exchange, request: httpx2.Request) -> None:
    if exchange.sent:
        raise httpx2.LocalProtocolError("this exchange has had its one request", request=request)


def _body_and_headers(head: Head, exchange: Exchange) -> tuple[RequestBody, CIMultiDict[str]]:
    request, headers = head.request, head.headers
    is_chunked = headers.pop("Transfer-Encoding", None) is not None  # aiohttp frames the chunks
    size = None if is_chunked else int(headers.get("Content-Length", 0))
    pieces = request.stream
    if not isinstance(pieces, httpx2.AsyncByteStream):
        raise TypeError("the request's body cannot be read asynchronously")
    if exchange.attachments:
        spliced = splice(request.content, exchange.attachments)
        size = sum(map(len, spliced))
        headers["Content-Length"] = str(size)
        pieces = _Pieces(spliced)
    return RequestBody(pieces, size_bytes=size, write_timeout=head.write_timeout, exchange=exchange), headers


class _Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def _placeholder(request: httpx2.Request) -> httpx2.Response:
    """What the SDK gets in a kept body's place."""
    return httpx2.Response(200, headers=_JSON, content=b"{}", request=request)


def _headers(answer: aiohttp.ClientResponse) -> httpx2.Headers:
    # Without cookies: an httpx2 client would keep them and show them to the provider again.
    return httpx2.Headers([header for header in answer.raw_headers if header[0].lower() != b"set-cookie"])


def _socket_with_keepalive(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE_OPTIONS.items():
        if hasattr(socket, name):  # not every operating system has all three
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
