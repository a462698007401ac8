"""The images of a project to choose from, over the real application."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import PIL.Image
import pytest
from conftest import World
from quart_trio import QuartTrio

from exportd.core.users import User
from exportd.jobs import gallery
from exportd.store.embedded import ShareStatus
from exportd.tokens import Tickets, make_token
from exportd.web.app import create_app

SECRET = b"test-" + b"0123456789abcdef" * 3
STRANGER = User("nobody", "nobody@example.org")


async def no_login() -> None:
    return None


@asynccontextmanager
async def served(world: World) -> AsyncIterator[QuartTrio]:
    async with world.service() as service:
        yield create_app(service, world.settings, SECRET, Tickets(), no_login)


class Caller:
    """Somebody who asks for images."""

    def __init__(self, world: World, app: QuartTrio, user: User | None = None) -> None:
        token = make_token(SECRET, world.settings, user or world.alice, 60)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._client = app.test_client()
        self._at = f"/api/projects/{world.project_id}/images"

    async def get(self, path: str = "", **headers: str):  # type: ignore[no-untyped-def]
        return await self._client.get(self._at + path, headers=self._headers | headers)

    async def ids(self, query: str = "") -> list[str]:
        return [row["id"] for row in (await (await self.get(query)).get_json())["images"]]


async def test_pages_make_up_the_list(world: World) -> None:
    async with served(world) as app:
        caller = Caller(world, app)
        whole = await (await caller.get()).get_json()
        assert whole["total"] == len(whole["images"]) == 3
        assert {"id", "name", "width", "height", "size"} == set(whole["images"][0])
        assert (whole["images"][0]["width"], whole["images"][0]["height"]) == (512, 512)
        ids = [row["id"] for row in whole["images"]]
        assert await caller.ids("?limit=2") + await caller.ids("?limit=2&offset=2") == ids
        assert await caller.ids("?offset=3") == []


async def test_a_search_looks_at_names_in_either_case(world: World) -> None:
    async with served(world) as app:
        found = await (await Caller(world, app).get("?search=NUCLEI_002")).get_json()
        assert (found["total"], [row["name"] for row in found["images"]]) == (1, ["nuclei_002.png"])


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "offset=x", "search=" + "x" * 201])
async def test_what_is_no_page_is_refused_with_its_place(world: World, query: str) -> None:
    async with served(world) as app:
        answer = await Caller(world, app).get(f"?{query}")
        assert answer.status_code == 400
        assert (await answer.get_json())["errors"][0]["path"] == query.partition("=")[0]


async def test_a_picture_is_small_and_kept_until_the_file_changes(world: World) -> None:
    async with served(world) as app:
        caller = Caller(world, app)
        path = f"/{(await caller.ids())[0]}/thumbnail"
        first = await caller.get(path)
        assert (first.status_code, first.content_type) == (200, "image/jpeg")
        assert PIL.Image.open(io.BytesIO(await first.get_data())).size == (256, 256)
        assert first.headers["Cache-Control"] == "private, no-cache"
        again = await caller.get(path, **{"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, await again.get_data(), again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        for file in world.settings.uploads_directory.rglob("*.png"):
            PIL.Image.new("L", (700, 90), 128).save(file)
        changed = await caller.get(path, **{"If-None-Match": first.headers["ETag"]})
        assert changed.status_code == 200
        assert PIL.Image.open(io.BytesIO(await changed.get_data())).size == (256, 33)


async def test_who_has_no_access_sees_neither_list_nor_picture(world: World) -> None:
    async with served(world) as app:
        path = f"/{(await Caller(world, app).ids())[0]}/thumbnail"
        tag = (await Caller(world, app, world.bob).get(path)).headers["ETag"]
        world.share(world.bob.email, ShareStatus.REVOKED)
        for user in (STRANGER, world.bob):
            for asked in ("", path):
                assert (await Caller(world, app, user).get(asked, **{"If-None-Match": tag})).status_code == 404
        assert (await app.test_client().get(f"/api/projects/{world.project_id}/images")).status_code == 401


async def test_an_image_of_another_project_and_one_that_is_none_are_not_there(world: World, tiny_world: World) -> None:
    async with served(tiny_world) as app:
        other = (await Caller(tiny_world, app).ids())[0]
    async with served(world) as app:
        for image in (other, "nope", "%2e%2e"):
            answer = await Caller(world, app).get(f"/{image}/thumbnail")
            assert (answer.status_code, (await answer.get_json())["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("limit", ["MAX_PIXELS", "SECONDS"])
async def test_what_is_too_large_or_takes_too_long_has_no_picture(
    world: World, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(world) as app:
        path = f"/{(await Caller(world, app).ids())[0]}/thumbnail"
        monkeypatch.setattr(gallery, limit, 0)
        assert (await Caller(world, app).get(path)).status_code == 404
        monkeypatch.undo()
        assert (await Caller(world, app).get(path)).status_code == 200


async def test_a_file_that_is_damaged_or_gone_has_no_picture(world: World) -> None:
    async with served(world) as app:
        caller = Caller(world, app)
        files = sorted(world.settings.uploads_directory.rglob("*.png"))
        files[0].write_bytes(files[0].read_bytes()[:4000])
        files[1].unlink()
        answers = [(await caller.get(f"/{image}/thumbnail")).status_code for image in await caller.ids()]
        assert sorted(answers) == [200, 404, 404]
