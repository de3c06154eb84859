"""The httpx2 client that the SDKs are given: their request in, the transport's answer out, nothing in between."""

from functools import lru_cache
from typing import Any

import httpx2

from pictord.providers.bytes.transport import AiohttpTransport


class DirectClient(httpx2.AsyncClient):
    """An AsyncClient without cookies, redirects, authentication flows, hooks, base URL and default headers.

    An SDK brings its own headers and absolute URLs, and must not be redirected with a key in its hand. Leaving the
    merging and the generators around each request out saves a seventh of a small picture's cost.

    Args:
        transport: Carries every request; closed together with the client.
        timeout: For requests that name none.
    """

    def __init__(self, transport: AiohttpTransport, *, timeout: httpx2.Timeout) -> None:
        super().__init__(transport=transport, timeout=timeout, trust_env=False)
        self._direct = transport

    def build_request(
        self,
        method: str,
        url: httpx2.URL | str,
        *,
        content: Any = None,
        data: Any = None,
        files: Any = None,
        json: Any = None,
        params: Any = None,
        headers: Any = None,
        cookies: Any = None,  # noqa: ARG002  # never sent
        timeout: Any = httpx2.USE_CLIENT_DEFAULT,
        extensions: Any = None,
    ) -> httpx2.Request:
        """Make a request of just these parts."""
        limits = self.timeout if timeout is httpx2.USE_CLIENT_DEFAULT else httpx2.Timeout(timeout)
        return httpx2.Request(
            method,
            _parsed(str(url)),
            content=content,
            data=data,
            files=files,
            json=json,
            params=params,
            headers=headers,
            extensions={"timeout": limits.as_dict(), **(extensions or {})},
        )

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = None,  # noqa: ARG002  # the SDK's headers hold it
        follow_redirects: Any = None,  # noqa: ARG002  # never
    ) -> httpx2.Response:
        """Send `request` once; with `stream` the body is left to be read, and the response to be closed."""
        if self.is_closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        response = await self._direct.handle_async_request(request)
        if not stream:
            await response.aread()  # gives the connection back by itself, whether it succeeds or not
        return response


@lru_cache(maxsize=256)
def _parsed(url: str) -> httpx2.URL:
    # An SDK asks for the same few addresses again and again; parsing one is a tenth of the transport's own cost.
    return httpx2.URL(url)
