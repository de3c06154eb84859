"""aiohttp's exceptions in httpx2's words, which both SDKs know how to treat."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx2

_TRANSLATIONS: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    # First match wins; subclasses stand before their bases.
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ClientProxyConnectionError, httpx2.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx2.ProxyError),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),  # refused, no route, DNS, TLS, certificate
    (aiohttp.ServerFingerprintMismatch, httpx2.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx2.RemoteProtocolError),
    (aiohttp.ClientConnectionResetError, httpx2.WriteError),
    (aiohttp.ClientOSError, httpx2.ReadError),
    (aiohttp.ClientPayloadError, httpx2.RemoteProtocolError),  # the body ended early or is ill framed
    (aiohttp.ClientResponseError, httpx2.RemoteProtocolError),  # not HTTP
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx2.UnsupportedProtocol),
    (aiohttp.ClientError, httpx2.NetworkError),
    (TimeoutError, httpx2.WriteTimeout),  # every other timeout of aiohttp has a class of its own
    (ValueError, httpx2.LocalProtocolError),  # headers that cannot be sent
)


@contextmanager
def translated_failures(request: httpx2.Request) -> Iterator[None]:
    """Raise what fails inside as a subclass of `httpx2.TransportError` that knows its `request`."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        for theirs, ours in _TRANSLATIONS:
            if isinstance(error, theirs):
                raise ours(str(error) or type(error).__name__, request=request) from error
        raise
