"""Who somebody is, signed: bearer tokens of the platform, download tokens of one archive, and one-time login tickets."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt

from exportd.core.users import User
from exportd.errors import InvalidToken, SettingsError, Unauthenticated
from exportd.settings import Settings

ALGORITHM = "HS256"
SECRET_NAME = "secret"  # noqa: S105 - the file's name
DOWNLOAD_AUDIENCE = "exportd-download"
DOWNLOAD_SECONDS = 600
TICKET_SECONDS = 600.0
MAX_TOKEN = 8192
"""Characters; a longer one is nobody's token."""

REMEMBERED = 4096
"""Good tokens that need not be verified again; with one more it begins anew."""


def load_secret(settings: Settings) -> bytes:
    """The secret that signs: the configured one, else the file in the data directory, made when it is missing.

    Raises `SettingsError` for one that is none: what is empty, or a public key, others know as well.
    """
    if settings.jwt_secret is not None:
        mend = "EXPORTD_JWT_SECRET is no secret; set it to one: openssl rand -base64 48"
        return _checked(settings.jwt_secret.get_secret_value().encode(), mend)
    path = settings.data / SECRET_NAME
    mend = f"{path} holds no secret; remove the file, and a new one is made."
    with suppress(FileNotFoundError):
        return _checked(path.read_bytes().strip(), mend)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make_secret(path)
    return _checked(path.read_bytes().strip(), mend)


def _checked(secret: bytes, mend: str) -> bytes:
    try:
        jwt.get_algorithm_by_name(ALGORITHM).prepare_key(secret.strip())
    except jwt.InvalidKeyError:
        raise SettingsError(mend) from None
    return secret


def _make_secret(path: Path) -> None:
    """Writes a secret to `path` unless there is one. A link, not a rename: the first of two processes wins."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_urlsafe(48).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


# --- bearer tokens --------------------------------------------------------------------------------------------------


def make_token(secret: bytes, settings: Settings, user: User, ttl: float) -> str:
    """A bearer token that says for `ttl` seconds that its holder is `user`."""
    now = int(time.time())
    claims = {
        "userId": user.id,
        "email": user.email,
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": now,
        "exp": now + max(1, int(ttl)),
    }
    return jwt.encode(claims, secret, ALGORITHM)


class Bearers:
    """Reads bearer tokens by one secret.

    A good one is not verified again before it expires: nothing else can make it a bad one. It is known by its digest, so
    that no token is kept.
    """

    def __init__(self, secret: bytes, settings: Settings) -> None:
        self._secret, self._settings = secret, settings
        self._known: dict[bytes, tuple[User, float]] = {}

    def user(self, token: str) -> User:
        """Who the token names. Raises `Unauthenticated`."""
        try:
            digest = _digest(_short(token))
            known = self._known.get(digest)
            if known is None or known[1] <= time.time():
                known = self._verify(digest, token)
        except (jwt.PyJWTError, ValueError):
            raise Unauthenticated("The access token is invalid or has expired; log in again.") from None
        return known[0]

    def _verify(self, digest: bytes, token: str) -> tuple[User, float]:
        self._known.pop(digest, None)
        claims = _claims(self._secret, token, self._settings.jwt_audience, self._settings.jwt_issuer)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        known = self._known[digest] = (_user(claims), float(claims["exp"]))
        return known


def read_token(secret: bytes, settings: Settings, token: str) -> User:
    """Who the token names. Raises `Unauthenticated`."""
    return Bearers(secret, settings).user(token)


def _claims(secret: bytes, token: str, audience: str, issuer: str | None) -> dict[str, Any]:
    required = ["exp", "aud"] if issuer is None else ["exp", "aud", "iss"]
    claims: dict[str, Any] = jwt.decode(
        _short(token), secret, algorithms=[ALGORITHM], audience=audience, issuer=issuer, options={"require": required}
    )
    return claims


def _short(token: str) -> str:
    if len(token) > MAX_TOKEN:
        raise ValueError("too long")
    return token


def _user(claims: dict[str, Any]) -> User:
    user_id, email = claims.get("userId"), claims.get("email")
    if not isinstance(user_id, str) or not user_id:
        raise ValueError("no userId")
    return User(user_id, email if isinstance(email, str) else "")


# --- download tokens ------------------------------------------------------------------------------------------------


def make_download_token(secret: bytes, user: User, project_id: str, job_id: str) -> tuple[str, int]:
    """A token for one archive and one user, and when it expires in epoch milliseconds."""
    expires = int(time.time()) + DOWNLOAD_SECONDS
    claims = {
        "aud": DOWNLOAD_AUDIENCE,
        "userId": user.id,
        "email": user.email,
        "projectId": project_id,
        "jobId": job_id,
        "exp": expires,
    }
    return jwt.encode(claims, _download_key(secret), ALGORITHM), expires * 1000


def read_download_token(secret: bytes, token: str, project_id: str, job_id: str) -> User:
    """Whose download it is. Raises `InvalidToken` when it is not for this archive, too."""
    try:
        claims = _claims(_download_key(secret), token, DOWNLOAD_AUDIENCE, None)
        if claims.get("projectId") != project_id or claims.get("jobId") != job_id:
            raise ValueError("for something else")
        return _user(claims)
    except (jwt.PyJWTError, ValueError):
        raise InvalidToken("The download link is invalid or has expired; ask for a new one.") from None


def _download_key(secret: bytes) -> bytes:
    """A key of its own: a download token can never pass for a bearer token, nor the other way round."""
    return hmac.digest(secret, b"exportd download token", hashlib.sha256)


# --- login tickets --------------------------------------------------------------------------------------------------


class Tickets:
    """Login tickets of this process: each opens the page once, within `TICKET_SECONDS`. Kept and compared as digests, in
    a time that tells nothing of any."""

    def __init__(self) -> None:
        self._expiry: dict[bytes, float] = {}

    def issue(self) -> str:
        """A new ticket."""
        now = time.monotonic()
        self._expiry = {digest: end for digest, end in self._expiry.items() if end > now}
        ticket = secrets.token_urlsafe(32)
        self._expiry[_digest(ticket)] = now + TICKET_SECONDS
        return ticket

    def redeem(self, ticket: str) -> bool:
        """Whether the ticket was good; it is not any more."""
        given = _digest(ticket)
        found = [digest for digest in self._expiry if hmac.compare_digest(digest, given)]
        ends = [self._expiry.pop(digest) for digest in found]
        return max(ends, default=0.0) > time.monotonic()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
