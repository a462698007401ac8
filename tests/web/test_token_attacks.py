"""Tokens that are not what they say are taken nowhere: each of them is tried at every door, over HTTP of a real daemon."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from cast import UNKNOWN, Cast, performing
from conftest import make_world
from served import world

from exportd import tokens
from exportd.core.users import User
from exportd.errors import InvalidToken, SettingsError, Unauthenticated
from exportd.settings import Settings
from exportd.store.embedded import ShareStatus
from exportd.tokens import Tickets, load_secret, make_download_token, make_token, read_download_token, read_token

SECRET = b"test-" + b"0123456789abcdef" * 3
OTHER = b"other" + b"0123456789abcdef" * 3
USER = User("u1", "u1@example.org")
SETTINGS = Settings()
PUBLIC = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA4NVKQX+9kBlyVBAqtGvLHrlyvrDnuDFkXmj4dXBbby4=
-----END PUBLIC KEY-----
"""
"""A public key: what everybody knows can be no secret."""
POLLING = "/socket.io/?EIO=4&transport=polling"


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: object, claims: object, key: bytes, digest: str = "sha256") -> str:
    """A token as an attacker makes it, whatever is in it."""
    text = f"{coded(json.dumps(header).encode())}.{coded(json.dumps(claims).encode())}"
    return f"{text}.{coded(hmac.digest(key, text.encode(), digest))}"


def claims(user: User = USER, **changes: Any) -> dict[str, Any]:
    """Those of a good token; None takes a claim away."""
    now = int(time.time())
    good = {
        "userId": user.id,
        "email": user.email,
        "iss": SETTINGS.jwt_issuer,
        "aud": SETTINGS.jwt_audience,
        "iat": now,
        "exp": now + 600,
    }
    return {k: v for k, v in {**good, **changes}.items() if v is not None}


HS = {"alg": "HS256", "typ": "JWT"}


def without_signature(alg: str | None, user: User) -> str:
    header = {"typ": "JWT"} | ({} if alg is None else {"alg": alg})
    return f"{coded(json.dumps(header).encode())}.{coded(json.dumps(claims(user)).encode())}."


def jwk() -> dict[str, str]:
    return {"kty": "oct", "k": coded(OTHER), "alg": "HS256"}


Attack = Callable[[bytes, User], str]
ATTACKS: dict[str, Attack] = {
    "alg none": lambda _, u: without_signature("none", u),
    "alg None": lambda _, u: without_signature("None", u),
    "alg NONE": lambda _, u: without_signature("NONE", u),
    "alg empty": lambda _, u: without_signature("", u),
    "no alg": lambda _, u: without_signature(None, u),
    "alg none, signed": lambda s, u: signed({"alg": "none"}, claims(u), s),
    "alg HS256, not signed": lambda _, u: without_signature("HS256", u),
    "alg HS384": lambda s, u: signed({"alg": "HS384"}, claims(u), s, "sha384"),
    "alg HS512": lambda s, u: signed({"alg": "HS512"}, claims(u), s, "sha512"),
    "alg says HS256, signed by HS512": lambda s, u: signed(HS, claims(u), s, "sha512"),
    "alg is a list": lambda s, u: signed({"alg": ["HS256"]}, claims(u), s),
    "alg RS256": lambda _, u: signed({"alg": "RS256"}, claims(u), PUBLIC, "sha512"),
    "alg ES256": lambda _, u: signed({"alg": "ES256"}, claims(u), PUBLIC, "sha512"),
    "RS256 taken for HS256": lambda _, u: signed(HS, claims(u), PUBLIC),
    "alg RS256, signed by HMAC": lambda s, u: signed({"alg": "RS256"}, claims(u), s),
    "another key": lambda _, u: signed(HS, claims(u), OTHER),
    "an empty key": lambda _, u: signed(HS, claims(u), b""),
    "a key of its own in the header": lambda _, u: signed(HS | {"jwk": jwk()}, claims(u), OTHER),
    "a key by its name": lambda _, u: signed(HS | {"kid": "../../../dev/null"}, claims(u), b""),
    "a key by its address": lambda _, u: signed(HS | {"jku": "http://127.0.0.1:9/keys"}, claims(u), OTHER),
    "an extension that is critical": lambda s, u: signed(HS | {"crit": ["exp-not"], "exp-not": 1}, claims(u), s),
    "a payload that is detached": lambda s, u: signed(HS | {"b64": False, "crit": ["b64"]}, claims(u), s),
    "the key of download links": lambda s, u: signed(HS, claims(u), tokens._download_key(s)),
    "a download link's token": lambda s, u: make_download_token(s, u, UNKNOWN, UNKNOWN)[0],
    "another issuer": lambda s, u: signed(HS, claims(u, iss="somebody"), s),
    "no issuer": lambda s, u: signed(HS, claims(u, iss=None), s),
    "issuers": lambda s, u: signed(HS, claims(u, iss=[SETTINGS.jwt_issuer]), s),
    "another audience": lambda s, u: signed(HS, claims(u, aud="somebody"), s),
    "no audience": lambda s, u: signed(HS, claims(u, aud=None), s),
    "part of the audience": lambda s, u: signed(HS, claims(u, aud=SETTINGS.jwt_audience[:-1]), s),
    "expired": lambda s, u: signed(HS, claims(u, exp=int(time.time()) - 1), s),
    "never expires": lambda s, u: signed(HS, claims(u, exp=None), s),
    "expires some day": lambda s, u: signed(HS, claims(u, exp="never"), s),
    "not yet valid": lambda s, u: signed(HS, claims(u, nbf=int(time.time()) + 60), s),
    "issued in the future": lambda s, u: signed(HS, claims(u, iat=int(time.time()) + 60), s),
    "no user": lambda s, u: signed(HS, claims(u, userId=None), s),
    "a user without id": lambda s, u: signed(HS, claims(u, userId=""), s),
    "a number of a user": lambda s, u: signed(HS, claims(u, userId=1), s),
    "users": lambda s, u: signed(HS, claims(u, userId=[u.id]), s),
    "claims that are none": lambda s, u: signed(HS, [claims(u)], s),
    "claims that are deep": lambda _, __: f"{coded(json.dumps(HS).encode())}.{coded(b'[' * 3000)}.x",
    "longer than any": lambda s, u: signed(HS, claims(u, x="x" * tokens.MAX_TOKEN), s),
    "cut": lambda s, u: signed(HS, claims(u), s)[:-1],
    "half": lambda s, u: ".".join(signed(HS, claims(u), s).split(".")[:2]),
    "one part more": lambda s, u: signed(HS, claims(u), s) + ".x",
    "another one's claims": lambda s, u: _spliced(signed(HS, claims(u), s), signed(HS, claims(User("nobody", "")), s)),
}


def _spliced(claims_of: str, signature_of: str) -> str:
    """The claims of the one under the signature of the other."""
    return claims_of.rpartition(".")[0] + "." + signature_of.rpartition(".")[2]


GOOD: dict[str, Attack] = {
    "the platform's": lambda s, u: signed(HS, claims(u), s),
    "our own": lambda s, u: make_token(s, SETTINGS, u, 60),
    "with a name for the key": lambda s, u: signed(HS | {"kid": "1"}, claims(u), s),
    "with more audiences": lambda s, u: signed(HS, claims(u, aud=["x", SETTINGS.jwt_audience]), s),
    "valid since now": lambda s, u: signed(HS, claims(u, nbf=int(time.time())), s),
}


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with performing(make_world(tmp_path_factory.mktemp("tokens") / "data")) as cast:
        yield cast


@pytest.fixture(scope="module")
def done(cast: Cast) -> str:
    return cast.finished("job's user")


def doors(cast: Cast, token: str, done: str) -> dict[str, int | str]:
    """How every place that takes an identity answers this one."""
    bearer, cookie = {"Authorization": f"Bearer {token}"}, {"Cookie": f"access_token={token}"}
    base = cast.daemon.base
    answers: dict[str, int | str] = {}
    for name, headers in (("header", bearer), ("cookie", cookie)):
        answers[f"call, {name}"] = cast.ask("nobody", "GET", "/api/projects", headers=headers).status_code
        answers[f"download, {name}"] = cast.ask("nobody", "GET", f"{base}/{done}/download", headers=headers).status_code
        answers[f"SSE, {name}"] = cast.ask("nobody", "GET", "/api/exports/events", headers=headers).status_code
        answers[f"/ws, {name}"] = cast.shake_hands("nobody", "/ws", **headers)
        answers[f"Socket.IO, {name}"] = _connect(cast, "40", **headers)
    answers["Socket.IO, packet"] = _connect(cast, f"40{json.dumps({'token': token})}")
    answers["link"] = cast.ask("nobody", "GET", f"{base}/{done}/download", params={"token": token}).status_code
    return answers


def _connect(cast: Cast, packet: str, **headers: str) -> str:
    """`40` when who says this is let in, `44` when not."""
    opening = cast.ask("nobody", "GET", POLLING, headers=headers).text
    at = f"{POLLING}&sid={json.loads(opening[1:])['sid']}"
    cast.ask("nobody", "POST", at, headers=headers, content=packet)
    answer = cast.ask("nobody", "GET", at, headers=headers).text
    cast.ask("nobody", "POST", at, headers=headers, content="1")
    return answer[:2]


IN = {"/ws": 101, "Socket.IO": "40"}
OUT = {"Socket.IO": "44"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token_that_is_not_good_opens_no_door(cast: Cast, done: str, attack: str) -> None:
    token = ATTACKS[attack](cast.secret, cast.users["owner"])
    came = doors(cast, token, done)
    assert came == {door: OUT.get(door.partition(",")[0], 401) for door in came}


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_token_opens_every_door_but_that_of_links(cast: Cast, done: str, kind: str) -> None:
    came = doors(cast, GOOD[kind](cast.secret, cast.users["owner"]), done)
    assert came == {door: IN.get(door.partition(",")[0], 200) for door in came} | {"link": 401}


# --- more than one at once -----------------------------------------------------------------------------------------------


def test_of_several_identities_the_header_decides_and_two_headers_are_none(cast: Cast) -> None:
    """SPEC §3 knows the cookie and the header. A bad one is never made good by another."""
    good, bad = (f"Bearer {cast.token(who)}" for who in ("owner", "bad token"))
    cookies = {text: f"access_token={text.removeprefix('Bearer ')}" for text in (good, bad)}
    cases: list[tuple[list[tuple[str, str]], int]] = [
        ([("Authorization", good), ("Cookie", cookies[bad])], 200),
        ([("Authorization", bad), ("Cookie", cookies[good])], 401),
        ([("Authorization", "Basic dTpw"), ("Cookie", cookies[good])], 401),
        ([("Authorization", "Bearer"), ("Cookie", cookies[good])], 401),
        ([("Authorization", ""), ("Cookie", cookies[good])], 401),
        ([("Authorization", good), ("Authorization", bad)], 401),
        ([("Authorization", bad), ("Authorization", good)], 401),
        ([("Authorization", good), ("Authorization", good)], 401),
        ([("Authorization", f"{good}, {good}")], 401),
        ([("Authorization", good.replace("Bearer", "bearer"))], 200),
        ([("Cookie", f"{cookies[good]}; {cookies[bad]}")], 200),
        ([("Cookie", f"{cookies[bad]}; {cookies[good]}")], 401),  # a browser sends the closer one first
        ([("X-Access-Token", good), ("X-Forwarded-User", cast.users["owner"].id)], 401),
    ]
    for headers, status in cases:
        answer = cast.http.get("/api/projects", headers=headers)
        assert answer.status_code == status, headers
    for name in ("token", "access_token", "jwt"):
        assert cast.http.get("/api/projects", params={name: good[7:]}).status_code == 401


def test_a_links_token_stands_for_the_identity_good_or_bad(cast: Cast, done: str) -> None:
    at, link = f"{cast.daemon.base}/{done}/download", cast.link("job's user", done)
    for who, token, status in (
        ("nobody", link, 200),
        ("bad token", link, 200),
        ("stranger", link, 200),
        ("owner", link[:-1], 401),
        ("owner", cast.token("owner"), 401),
        ("owner", "", 200),
        ("nobody", "", 401),
    ):
        assert cast.ask(who, "GET", at, params={"token": token}).status_code == status, (who, token)
    for twice in (f"token={link}&token=x", f"token=x&token={link}", f"token={link}&token={link}"):
        assert cast.http.get(f"{at}?{twice}").status_code == 401
    for path in (f"{at}-token", f"{cast.daemon.base}/{done}/cancel"):
        assert cast.http.post(path, params={"token": link}).status_code == 401
    assert cast.http.get(f"{cast.daemon.base}/{done}/status", params={"token": link}).status_code == 401


# --- links ---------------------------------------------------------------------------------------------------------------


def test_a_bit_of_a_token_that_is_another_makes_it_none() -> None:
    link, bearer = make_download_token(SECRET, USER, "p", "j")[0], make_token(SECRET, SETTINGS, USER, 60)
    for place in range(len(link)):
        for bit in range(8):
            with pytest.raises(InvalidToken):
                read_download_token(SECRET, _flipped(link, place, bit), "p", "j")
    for place in range(len(bearer)):
        for bit in range(8):
            with pytest.raises(Unauthenticated):
                read_token(SECRET, SETTINGS, _flipped(bearer, place, bit))


def _flipped(token: str, place: int, bit: int) -> str:
    return token[:place] + chr(ord(token[place]) ^ (1 << bit)) + token[place + 1 :]


def test_a_link_with_another_letter_is_refused(cast: Cast, done: str) -> None:
    at, link = f"{cast.daemon.base}/{done}/download", cast.link("job's user", done)
    for place in range(0, len(link), 3):
        answer = cast.http.get(at, params={"token": _flipped(link, place, place % 5)})
        assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN"), place
    assert cast.http.get(at, params={"token": link}).status_code == 200


def linked(cast: Cast, job: str, **changes: Any) -> dict[str, str]:
    """A link's token with other claims, signed by the daemon's own key."""
    user = cast.users["job's user"]
    given = {"aud": tokens.DOWNLOAD_AUDIENCE, "userId": user.id, "email": user.email, "exp": int(time.time()) + 60}
    given |= {"projectId": cast.world.project_id, "jobId": job} | changes
    kept = {k: v for k, v in given.items() if v is not None}
    return {"token": signed(HS, kept, tokens._download_key(cast.secret))}


@pytest.mark.parametrize(
    "changes",
    [{"exp": 1}, {"exp": None}, {"aud": SETTINGS.jwt_audience}, {"aud": None}, {"jobId": UNKNOWN}, {"jobId": None},
     {"projectId": UNKNOWN}, {"projectId": None}, {"userId": None}, {"userId": ""}, {"nbf": int(time.time()) + 3600}],
)  # fmt: skip
def test_a_link_for_something_else_is_refused(cast: Cast, done: str, changes: dict[str, Any]) -> None:
    at = f"{cast.daemon.base}/{done}/download"
    assert cast.http.get(at, params=linked(cast, done)).status_code == 200
    answer = cast.http.get(at, params=linked(cast, done, **changes))
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")


def test_links_do_not_swap(cast: Cast, done: str) -> None:
    """Between jobs, projects and users: neither whole nor in parts."""
    other = cast.finished("owner")
    mine, theirs = cast.link("job's user", done), cast.link("owner", other)
    base, elsewhere = cast.daemon.base, cast.daemon.base.replace(cast.world.project_id, UNKNOWN)
    stranger = cast.link("stranger", done)
    for at, token, status in (
        (f"{base}/{done}", mine, 200),
        (f"{base}/{other}", mine, 401),
        (f"{base}/{done}", theirs, 401),
        (f"{elsewhere}/{done}", mine, 401),
        (f"{base}/{done}", _spliced(mine, theirs), 401),
        (f"{base}/{done}", stranger, 404),  # well signed, and its user has no access
        (f"{base}/{done}", _spliced(mine, stranger), 401),
        (f"{base}/{done}", _spliced(stranger, mine), 401),
    ):
        assert cast.http.get(f"{at}/download", params={"token": token}).status_code == status


def test_a_link_ends_with_what_it_leads_to(cast: Cast) -> None:
    base = cast.daemon.base
    ended, deleted, left = cast.cancelled("job's user"), cast.finished("job's user"), cast.finished("accepted")
    for job, who, status in ((ended, "job's user", 410), (deleted, "job's user", 200), (left, "accepted", 200)):
        assert cast.http.get(f"{base}/{job}/download", params={"token": cast.link(who, job)}).status_code == status
    links = {job: cast.link(who, job) for job, who in ((deleted, "job's user"), (left, "accepted"))}
    cast.ask("owner", "DELETE", f"{base}/{deleted}")
    with _revoked(cast, "accepted"):
        for job, token in links.items():
            answer = cast.http.get(f"{base}/{job}/download", params={"token": token})
            assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert cast.http.get(f"{base}/{left}/download", params={"token": links[left]}).status_code == 200


@contextmanager
def _revoked(cast: Cast, who: str) -> Iterator[None]:
    cast.world.share(cast.users[who].email, ShareStatus.REVOKED)
    yield
    cast.world.share(cast.users[who].email, ShareStatus.ACCEPTED)


# --- login tickets -------------------------------------------------------------------------------------------------------


async def test_of_many_who_come_with_one_ticket_at_once_one_gets_in(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as client:
        ticket, other = w.tickets.issue(), w.tickets.issue()
        answers: list[httpx.Response] = []

        async def come(given: str) -> None:
            answers.append(await client.get("/login", params={"ticket": given}))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(come, ticket)
            for wrong in ("", "x", ticket[:-1], f"{ticket}x", ticket.lower(), f"{ticket}, {other}"):
                nursery.start_soon(come, wrong)
        assert sorted(answer.status_code for answer in answers) == [303] + [401] * 25
        assert all(ticket not in f"{answer.headers}{answer.text}" for answer in answers)
        assert (await client.get("/login", params={"ticket": other})).status_code == 303


# --- secrets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [b"", b"\n", PUBLIC, json.dumps(jwk()).encode()])
def test_a_secret_that_others_know_is_refused_at_the_start(tmp_path: Path, secret: bytes) -> None:
    """An empty one, or a public key: whoever knows it could sign links."""
    path = tmp_path / tokens.SECRET_NAME
    path.write_bytes(secret)
    with pytest.raises(SettingsError, match="secret"):
        load_secret(Settings(data=tmp_path))
    with pytest.raises(SettingsError, match="EXPORTD_JWT_SECRET"):
        load_secret(Settings(data=tmp_path, jwt_secret=secret.decode()))


def test_signatures_and_tickets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for read in (
        lambda: read_token(SECRET, SETTINGS, signed(HS, claims(), OTHER)),
        lambda: read_download_token(SECRET, make_download_token(OTHER, USER, "p", "j")[0], "p", "j"),
        lambda: Tickets().redeem("x"),
        lambda: _with_ticket().redeem("x"),
    ):
        with suppress(Unauthenticated, InvalidToken):
            read()
    assert [len(one) == len(other) == hashlib.sha256().digest_size for one, other in compared] == [True] * 3


def _with_ticket() -> Tickets:
    tickets = Tickets()
    tickets.issue()
    return tickets
