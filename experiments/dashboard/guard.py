"""Who may ask: this machine alone, or whoever has the token; and no other site's page."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

_COOKIE = "evounet-token"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Whatever the page does, the browser fetches nothing from elsewhere and shows it in no frame.
# Plotly makes its WebGL calls with functions that it compiles.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK


def guard(server: Flask, host: str, token: str | None) -> None:
    """Check every request to a server that listens at ``host``.

    A page of another site could have its name point to this machine and then ask as if it were
    this page (DNS rebinding); so the name that was asked for has to be one of this server's, or an
    address as a number, which no name can stand for. A request that names another origin comes
    from another site's page.

    Args:
        server: to be guarded.
        host: that it listens at.
        token: that everyone has to know: once as ``?token=``, which leaves a cookie, or in every
            request as a bearer token. None for no such check.
    """

    def is_ours(name: str) -> bool:
        if is_loopback(host) or is_loopback(name):
            return is_loopback(name)
        return name == host or _is_number(name)

    @server.before_request
    def _check() -> AnyResponse | None:
        asked = urlsplit(f"//{request.host}").hostname or ""
        if not is_ours(asked):
            abort(403, f"this is not {asked}: open it by the address that evounet has printed")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            abort(403, f"pages of {origin} may not ask this server")
        return None if token is None else _check_token(token)

    @server.after_request
    def _close(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response


def _check_token(token: str) -> AnyResponse | None:
    given = request.args.get("token")
    if given is not None and request.method == "GET" and _same(given, token):
        # What stands in the address is seen by those who look on, and in the history.
        rest = [(name, v) for name, v in request.args.items(multi=True) if name != "token"]
        place = "/" + request.path.lstrip("/")  # another host could stand behind "//"
        response = redirect(f"{place}?{urlencode(rest)}" if rest else place)
        response.set_cookie(_COOKIE, token, httponly=True, samesite="Strict")
        return response
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not (_same(request.cookies.get(_COOKIE, ""), token) or _same(bearer, token)):
        abort(401, "this page needs its token: open the address that evounet has printed")
    return None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
