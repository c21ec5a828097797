"""HTTP answers in the forms a real server uses: header names, pages, who closes the connection."""

from __future__ import annotations

from html import escape

from aiohttp import web

_CROSS_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "X-Requested-With",
}


def result(request: web.Request, body: bytes, content_type: str) -> web.Response:
    """A call's answer, API failures included: always 200. ``content_type`` is sent exactly as
    given: a JSON client of the field takes ``application/json; charset=…`` for "no JSON here"."""
    headers = {"content-length": str(len(body))} | _connection(keep_alive=request.keep_alive)
    headers |= {"content-type": content_type} | _CROSS_ORIGIN
    return web.Response(body=body, headers=headers)


def options(request: web.Request) -> web.Response:
    """Browsers ask before they post; the answer is empty."""
    headers = {"content-length": "0"} | _connection(keep_alive=request.keep_alive)
    headers |= _CROSS_ORIGIN | {"Access-Control-Allow-Methods": "PUT"}
    return web.Response(headers=headers)


def forbidden() -> web.Response:
    """Every method but POST and OPTIONS, whatever the path."""
    return _page(403, "Forbidden", "HTTP 403 forbidden", "This is not served here.")


def internal_error(text: str) -> web.Response:
    """A request that is no call: ``text`` names the parser's exception."""
    detail = f"The request was not understood.<h1> Additional information </h1>{escape(text)}"
    return _page(500, "Internal Error", "HTTP 500 internal server error", detail)


async def strip_additions(_request: web.Request, response: web.StreamResponse) -> None:
    """Removes the headers that aiohttp adds and a real server does not send."""
    for name in ("Date", "Server"):
        response.headers.popall(name, None)


def _page(status: int, reason: str, title: str, detail: str) -> web.Response:
    body = f"<html><body><h1>{title}</h1>{detail}</body></html>".encode()
    headers = {"content-length": str(len(body)), "content-type": "text/html"}
    page = web.Response(
        status=status, reason=reason, body=body, headers=headers | _connection(keep_alive=False)
    )
    page.force_close()
    return page


def _connection(*, keep_alive: bool) -> dict[str, str]:
    return {
        "connection": "keep-alive" if keep_alive else "close",
        "cache-control": "no-cache, no-store",
    }
