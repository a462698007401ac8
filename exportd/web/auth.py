"""Who asks: the identity that a request or a WebSocket handshake carries."""

from __future__ import annotations

import re
from collections.abc import Mapping

from quart.wrappers import Request, Websocket
from werkzeug.datastructures import Headers

from exportd.core.users import User
from exportd.errors import OriginRefused, Unauthenticated
from exportd.settings import Settings
from exportd.tokens import Bearers

COOKIE = "access_token"
TLS = "https://"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Auth:
    """Reads identities by one secret."""

    def __init__(self, secret: bytes, settings: Settings) -> None:
        self._bearers, self._settings = Bearers(secret, settings), settings

    def user(self, request: Request) -> User:
        """Who asks. Raises `Unauthenticated`, and `OriginRefused` for another site's page that uses the cookie."""
        token, by_cookie = _token(request.headers, request.cookies)
        user = self._bearers.user(token)
        if by_cookie and request.method not in SAFE_METHODS:
            self._check_origin(request)
        return user

    def watcher(self, websocket: Websocket) -> User:
        """Who connects. No browser restrains a WebSocket by its origin: we do, whatever the identity came with."""
        token, _ = _token(websocket.headers, websocket.cookies)
        user = self._bearers.user(token)
        self._check_origin(websocket)
        return user

    def visitor(self, asked: Request | Websocket) -> User | None:
        """Who connects, None when the request does not tell: then a token may follow. Raises `OriginRefused`."""
        self._check_origin(asked)
        try:
            return self.bearer(_token(asked.headers, asked.cookies)[0])
        except Unauthenticated:
            return None

    def bearer(self, token: str) -> User:
        """Who the token names. Raises `Unauthenticated`."""
        return self._bearers.user(token)

    def _check_origin(self, asked: Request | Websocket) -> None:
        origin = asked.headers.get("Origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        # Where people come by TLS, a page that came without it may be anybody's.
        if origin != own_origin(asked) or comes_by_tls(asked, self._settings):
            raise OriginRefused("A page of this origin may not use the export service.")


def comes_by_tls(asked: Request | Websocket, settings: Settings) -> bool:
    """Whether a browser came by TLS: to a proxy, as the settings name an https origin with this host. What else a request
    says of it, anybody may have written. Ports do not count: they do not for cookies."""
    host = _host(asked.headers.get("Host", ""))
    known = (origin.removeprefix(TLS) for origin in settings.allowed_origins if origin.startswith(TLS))
    return any(_host(address) == host for address in known)


def _host(address: str) -> str:
    """Without its port."""
    return re.sub(r":\d*$", "", address).lower()


def own_origin(asked: Request | Websocket) -> str:
    """The origin of our own pages as the client calls us."""
    scheme = {"ws": "http", "wss": "https"}.get(asked.scheme, asked.scheme)
    return f"{scheme}://{asked.headers.get('Host', '')}"


def _token(headers: Headers, cookies: Mapping[str, str]) -> tuple[str, bool]:
    """The token, and whether a cookie brought it. A header wins: a bad one is not made good by a cookie. Of two headers a
    proxy may have looked at the other one, so they are none."""
    given = headers.getlist("Authorization")
    if given:
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Only one bearer token is taken.")
        return token.strip(), False
    if cookie := cookies.get(COOKIE):
        return cookie, True
    raise Unauthenticated("Log in first: no access token came with the request.")
