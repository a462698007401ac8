"""The files of the page belong together, keep to its own policy, and ask nothing of another host."""

from __future__ import annotations

import re

import pytest
from conftest import World

from exportd.tokens import Tickets
from exportd.web.app import create_app
from exportd.web.defences import HEADERS
from exportd.web.static import PAGE, assets

TEXTS = {name: asset.content.decode() for name, asset in assets().items()}


def test_every_file_that_is_named_is_there_and_every_file_is_named() -> None:
    named = set(re.findall(r"/static/([\w.]+)", "".join(TEXTS.values())))
    named |= {name for text in TEXTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert named | {PAGE, "docs.css"} == set(TEXTS)


def test_every_picture_that_is_used_is_drawn() -> None:
    script = "".join(text for name, text in TEXTS.items() if name.endswith(".js"))
    drawn = set(re.findall(r'<symbol id="(\w+)"', TEXTS["icons.svg"]))
    tables = re.findall(r"const ICONS = {(.*?)}", script, re.DOTALL)
    used = set(re.findall(r'icon\("(\w+)"\)', script)) | {n for t in tables for n in re.findall(r': "(\w+)"', t)}
    assert used | {"alert", "check"} == drawn


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_file_needs_no_other_host_and_nothing_inline(name: str) -> None:
    hosts = set(re.findall(r"https?://([\w.:-]+)", TEXTS[name]))
    assert hosts <= {"www.w3.org", "127.0.0.1:8765"}  # names of namespaces, and what a login link looks like
    if name.endswith(".html"):
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", TEXTS[name])
    if name.endswith(".js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|document\.write", TEXTS[name])
    assert "unsafe" not in HEADERS["content-security-policy"]


async def no_login() -> None:
    return None


async def test_a_file_is_sent_once_and_asked_about_each_time(world: World) -> None:
    async with world.service() as service:
        client = create_app(service, world.settings, b"x" * 40, Tickets(), no_login).test_client()
        for path in ("/", "/static/app.js", "/static/icon.svg"):
            first = await client.get(path)
            assert (first.status_code, first.headers["Cache-Control"]) == (200, "no-cache")
            again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
            assert (again.status_code, await again.get_data()) == (304, b"")
        for path in ("/static/nope.js", "/static/__init__.py", "/static/..%2fapp.py"):
            assert (await client.get(path)).status_code == 404
