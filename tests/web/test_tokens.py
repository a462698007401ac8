"""What is signed can be read by whom it is for, and by nobody else."""

from __future__ import annotations

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import jwt
import pytest

from exportd import tokens
from exportd.core.users import User
from exportd.errors import InvalidToken, Unauthenticated
from exportd.settings import Settings
from exportd.tokens import (
    Bearers,
    Tickets,
    load_secret,
    make_download_token,
    make_token,
    read_download_token,
    read_token,
)

SECRET = b"test-" + b"0123456789abcdef" * 3
USER = User("u1", "u1@example.org")
SETTINGS = Settings()


def test_secret_is_made_once(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "new")
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: load_secret(settings), range(64)))
    path = settings.data / tokens.SECRET_NAME
    assert found == {path.read_bytes().strip()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in settings.data.iterdir()] == [tokens.SECRET_NAME]


def test_configured_secret_wins(tmp_path: Path) -> None:
    assert load_secret(Settings(data=tmp_path, jwt_secret="given")) == b"given"
    assert not list(tmp_path.iterdir())


def test_round_trip() -> None:
    assert read_token(SECRET, SETTINGS, make_token(SECRET, SETTINGS, USER, 60)) == USER


def claims(**changes: object) -> dict[str, object]:
    now = int(time.time())
    good = {"userId": "u1", "iss": SETTINGS.jwt_issuer, "aud": SETTINGS.jwt_audience, "iat": now, "exp": now + 60}
    return {k: v for k, v in {**good, **changes}.items() if v is not None}


def test_email_may_be_missing() -> None:
    assert read_token(SECRET, SETTINGS, jwt.encode(claims(), SECRET, "HS256")) == User("u1", "")


@pytest.mark.parametrize(
    "changes",
    [{"userId": None}, {"userId": ""}, {"userId": 7}, {"iss": None}, {"iss": "x"}, {"aud": None}, {"aud": "x"},
     {"exp": None}, {"exp": 1}, {"exp": "soon"}],
)  # fmt: skip
def test_refused_claims(changes: dict[str, object]) -> None:
    # Claims that PyJWT itself would not encode are signed by hand.
    token = jwt.PyJWS().encode(json.dumps(claims(**changes)).encode(), SECRET, "HS256")
    with pytest.raises(Unauthenticated):
        read_token(SECRET, SETTINGS, token)


def test_a_token_that_was_good_is_refused_once_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    bearers = Bearers(SECRET, SETTINGS)
    token = make_token(SECRET, SETTINGS, USER, 60)
    assert bearers.user(token) == bearers.user(token) == USER

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=60)

    monkeypatch.setattr("jwt.api_jwt.datetime", Later)
    monkeypatch.setattr("time.time", lambda: Later.now().timestamp())
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            bearers.user(token)


def test_a_good_token_makes_no_other_one_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED", 3)
    bearers = Bearers(SECRET, SETTINGS)
    good = [jwt.encode(claims(userId=f"u{n}"), SECRET, "HS256") for n in range(10)]
    for _ in range(2):
        assert [bearers.user(token).id for token in good] == [f"u{n}" for n in range(10)]
        assert len(bearers._known) <= 3
    for token in good:
        with pytest.raises(Unauthenticated):
            bearers.user(token[:-1])
        with pytest.raises(Unauthenticated):
            Bearers(b"another-" + SECRET, SETTINGS).user(token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", "\ud800", "." * 9000, jwt.encode(claims(), None, "none")])
def test_refused_text(token: str) -> None:
    with pytest.raises(Unauthenticated):
        read_token(SECRET, SETTINGS, token)
    with pytest.raises(InvalidToken):
        read_download_token(SECRET, token, "p", "j")


def test_download_token_is_for_one_archive() -> None:
    token, expires = make_download_token(SECRET, USER, "p", "j")
    assert read_download_token(SECRET, token, "p", "j") == USER
    assert abs(expires / 1000 - time.time() - 600) < 5
    for project, job in (("p", "k"), ("q", "j")):
        with pytest.raises(InvalidToken):
            read_download_token(SECRET, token, project, job)


def test_kinds_of_tokens_do_not_mix() -> None:
    with pytest.raises(Unauthenticated):
        read_token(SECRET, SETTINGS, make_download_token(SECRET, USER, "p", "j")[0])
    with pytest.raises(InvalidToken):
        read_download_token(SECRET, make_token(SECRET, SETTINGS, USER, 60), "p", "j")


def test_download_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "DOWNLOAD_SECONDS", -1)
    with pytest.raises(InvalidToken):
        read_download_token(SECRET, make_download_token(SECRET, USER, "p", "j")[0], "p", "j")


def test_ticket_works_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = Tickets()
    first, second = tickets.issue(), tickets.issue()
    assert first != second
    assert tickets.redeem(first)
    assert not tickets.redeem(first)
    assert not tickets.redeem("")
    later = time.monotonic() + tokens.TICKET_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not tickets.redeem(second)
