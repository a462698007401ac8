"""No title, file name or address writes into the head of an answer: whatever the letters, it has the lines it always has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote, unquote

import pytest
from cast import QUICK, Cast, performing
from conftest import make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from exportd.formats.naming import DOWNLOAD_BYTES
from exportd.web.downloads import disposition, file_name

ODD = [
    "a\r\nSet-Cookie: evil=1",
    "a\nX: y",
    "a\rX: y",
    'a"; filename="evil.exe',
    "a\\",
    '\\"',
    "a'b''c",
    "a;b=c, d",
    "a%0d%0ab",
    "a%22b",
    "\x00\x01\x7f\x80\x85",
    "a\u2028b\u2029c",
    "ends in gnp\u202egpj.zip",  # looks like .jpg
    "\u2066isolated\u2069 \u200b\ufeff",
    "ünïcödé 核 🧬",
    "e\u0301",
    "../../etc/passwd",
    "C:\\con",
    "=?utf-8?q?evil?=",
    "a" * 300,
    "核" * 300,
    " . ",
    "",
]
names = (
    st.sampled_from(ODD) | st.text(max_size=80) | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "P", "S"]))
)
_QUOTED = re.compile(r"""attachment; filename="[ !#$&-\[\]-~]*"; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]+""")


def check(header: str) -> str:
    """The name in a Content-Disposition, which is one of RFC 6266 to the letter and safe on every system."""
    assert _QUOTED.fullmatch(header), header
    kind, parameters = parse_options_header(header)
    name = unquote(header.rpartition("''")[2], errors="strict")
    assert (kind, parameters["filename"]) == ("attachment", name), "as another reader has it"
    assert not [c for c in name if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} or c in '/\\<>:"|?*']
    assert name.endswith(".zip")
    assert len(name.encode()) <= DOWNLOAD_BYTES
    return name


@given(names, names)
def test_a_name_is_safe_whatever_was_asked_for(asked: str, title: str) -> None:
    name = file_name(asked, title)
    assert check(disposition(name)) == name


@given(names.filter(bool))
def test_a_name_that_is_not_safe_writes_no_header_either(name: str) -> None:
    """Whoever makes names safe: what is written holds by itself."""
    header = disposition(name)
    assert _QUOTED.fullmatch(header), header
    assert unquote(header.rpartition("''")[2], errors="strict") == name


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with performing(make_world(tmp_path_factory.mktemp("headers") / "data")) as cast:
        yield cast


@pytest.fixture(scope="module")
def done(cast: Cast) -> str:
    return cast.finished("owner")


@settings(max_examples=60)
@given(asked=names)
def test_a_name_that_is_asked_for_adds_nothing_to_a_download(cast: Cast, done: str, asked: str) -> None:
    at = f"{cast.daemon.base}/{done}/download"
    plain = cast.ask("owner", "HEAD", at)
    # httpx would not send it raw; a server decodes it all the same.
    came = cast.ask("owner", "HEAD", f"{at}?filename={quote(asked.encode(errors='surrogatepass'))}")
    assert came.status_code == 200
    assert [name for name, _ in came.headers.multi_items()] == [name for name, _ in plain.headers.multi_items()]
    check(came.headers["content-disposition"])


@settings(max_examples=15)
@given(title=names.filter(lambda text: len(text.strip()) > 0 and len(text) < 150))
def test_a_title_adds_nothing_either(cast: Cast, title: str) -> None:
    answer = cast.ask("owner", "POST", cast.daemon.base, json={"options": QUICK, "projectName": title})
    if answer.status_code == 400:  # not every text is a title
        return
    job = answer.json()["jobId"]
    assert cast.daemon.wait_ended(job)["status"] == "completed"
    came = cast.ask("owner", "GET", f"{cast.daemon.base}/{job}/download")
    assert came.status_code == 200
    assert "set-cookie" not in came.headers
    check(came.headers["content-disposition"])
    assert cast.ask("owner", "DELETE", f"{cast.daemon.base}/{job}").status_code == 204


@settings(max_examples=60)
@given(text=names)
def test_an_address_adds_nothing_to_any_answer(cast: Cast, done: str, text: str) -> None:
    """Nor do ids, ids of events or sessions, tickets, tokens and what a retry is known by."""
    part = quote(text.encode(errors="surrogatepass"), safe="")
    known = {name for name, _ in cast.ask("owner", "GET", "/api/projects/x/images").headers.multi_items()}
    extra = {"www-authenticate", "allow", "access-control-allow-origin", "cache-control", "transfer-encoding"}
    for method, path in (
        ("GET", f"/{part}"),
        ("GET", f"/static/{part}"),
        ("GET", f"/login?ticket={part}"),
        ("GET", f"/api/projects/{part}/images?search={part}"),
        ("GET", f"{cast.daemon.base}/{part}/status"),
        ("POST", f"{cast.daemon.base}/{part}/cancel"),
        ("GET", f"{cast.daemon.base}/{done}/download?token={part or 'x'}"),
        ("GET", f"/api/exports/events?jobId={part}x"),
        ("GET", f"/socket.io/?EIO={part}&transport=polling&sid={part}"),
    ):
        answer = cast.ask("owner", method, path)
        assert answer.status_code < 500, path
        if answer.status_code >= 400:
            assert {name for name, _ in answer.headers.multi_items()} <= known | extra
