"""`/images/{id}`: pictures over HTTP for whoever has a signed link, whole or one range of them.

With `size=small` the same link gives its thumbnail instead, and where there is none the picture itself.

Sources: ranges and conditions, RFC 9110 sections 13 and 14; caching, RFC 9111 and RFC 8246 (`immutable`).
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pictord.assets.links import PATH, LinkRefused, LinkSigner
from pictord.assets.thumbnails import MIME
from pictord.domain.generation import Image
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.jobs.pictures import Pictures

CHUNK_BYTES = 256 * 1024
SMALL = "small"

_SAFE = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
_NOT_KEPT = {"Cache-Control": "no-store"}

_NOTHING = {404: "there is nothing here", 405: "only GET and HEAD are answered"}
_STATUS = {Reason.NOT_FOUND: 404, Reason.EXPIRED: 410, Reason.STORE_UNAVAILABLE: 503}


def image_site(pictures: Pictures, signer: LinkSigner) -> Starlette:
    """The application: GET and HEAD of one picture, and nothing else.

    Args:
        pictures: where they are found.
        signer: whose links are good.
    """

    async def image(request: Request) -> Response:
        image_id = request.path_params["image_id"]
        query = request.query_params
        try:
            good_for_s = signer.check(image_id, query.get("exp", ""), query.get("sig", ""))
            found = await pictures.linked(image_id)
            headers = _headers(found, good_for_s)
            small = await pictures.small(found) if query.get("size") == SMALL else None
            if small is not None:
                return _thumbnail(request, small, headers)
            return await _answer(request, pictures, found, headers)
        except LinkRefused as refused:
            return _sentence(403, str(refused))
        except GatewayError as error:
            if error.reason not in _STATUS:
                raise
            return _sentence(_STATUS[error.reason], error.text)

    async def nothing(_request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _sentence(error.status_code, _NOTHING[error.status_code], error.headers)
        return _sentence(500, "the gateway failed; the operators find this in their log")

    routes = [Route(f"{PATH}{{image_id}}", image, methods=["GET"])]
    site = Starlette(routes=routes, exception_handlers={404: nothing, 405: nothing, 500: nothing})
    site.router.redirect_slashes = False  # the way would lead to whatever host the request names
    return site


def _thumbnail(request: Request, data: bytes, headers: Mapping[str, str]) -> Response:
    own = {**headers, **_SAFE, "Content-Type": MIME, "Accept-Ranges": "none", "ETag": f'"small-{headers["ETag"][1:]}'}
    is_known = _names(request.headers.get("if-none-match", ""), own["ETag"])
    return Response(status_code=304, headers=own) if is_known else Response(data, headers=own)


async def _answer(request: Request, pictures: Pictures, image: Image, headers: dict[str, str]) -> Response:
    etag = headers["ETag"]
    if _names(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers={**headers, **_SAFE})
    if request.method == "HEAD":
        return Response(headers=headers | _SAFE | {"Content-Length": str(image.size_bytes)})
    wanted = None
    if request.headers.get("if-range", etag) == etag:
        wanted = asked_range(request.headers.get("range", ""), image.size_bytes)
    if wanted is None:
        return await _body(pictures, image, range(image.size_bytes), 200, headers)
    if not wanted:
        size = {"Content-Range": f"bytes */{image.size_bytes}"}
        return _sentence(416, f"the picture has {image.size_bytes} bytes", size)
    part = f"bytes {wanted.start}-{wanted.stop - 1}/{image.size_bytes}"
    return await _body(pictures, image, wanted, 206, headers | {"Content-Range": part})


async def _body(
    pictures: Pictures, image: Image, part: range, status: int, headers: Mapping[str, str]
) -> StreamingResponse:
    chunks = pictures.chunks(image, part.start, CHUNK_BYTES, end=part.stop)
    # Whether it can be read at all decides about the status, so the first piece comes before the headers.
    first = await anext(chunks, b"")

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(chunks) as rest:
            yield first
            async for chunk in rest:
                yield chunk

    return StreamingResponse(body(), status, {**headers, **_SAFE, "Content-Length": str(len(part))})


def _headers(image: Image, good_for_s: float) -> dict[str, str]:
    """What is said of a picture, whole or in parts; a cache may keep it as long as the link is good."""
    return {
        "Content-Type": image.mime,
        "ETag": f'"{image.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, immutable, max-age={int(good_for_s)}",
    }


_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE | re.ASCII)


def asked_range(header: str, size: int) -> range | None:
    """The positions that a Range header asks for, of `size` bytes.

    None if it is to be ignored: there is none, it is malformed, or it asks for several. Empty if there is nothing at
    those positions.
    """
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or match[0].endswith("=-"):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1 if last else size))


def _names(header: str, etag: str) -> bool:
    """Whether an If-None-Match header lists the tag, weakly or not."""
    listed = [each.strip().removeprefix("W/") for each in header.split(",")]
    return etag in listed or listed == ["*"]


def _sentence(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status, {**(headers or {}), **_SAFE, **_NOT_KEPT})
