"""The real daemon beside the platform: its database, read by the role of the README."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from conftest import World
from postgres import PATIENCE, Platform

from exportd.tokens import load_secret, make_token

pytestmark = pytest.mark.e2e

ORDER = {"options": {"includeOriginalImages": True, "annotationFormats": ["coco"], "metricsFormats": ["csv"]}}


@pytest.fixture
def http(tiny_world: World, beside: Callable[[World], World], platform: Platform, role: str) -> Iterator[httpx.Client]:
    """A client of a daemon whose projects stand in the platform's database."""
    settings = beside(tiny_world).settings
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")}
    environment["EXPORTD_DATABASE_URL"] = platform.address(role, schema="public", connection_limit="5")
    command = [sys.executable, "-m", "exportd", "serve", "--port", "0", "--data", str(settings.data)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        url = daemon.stdout.readline().split()[-1]
        token = make_token(load_secret(settings), settings, tiny_world.alice, 600)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE) as client:
            yield client
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0


def export(http: httpx.Client, base: str) -> dict[str, Any]:
    """A job, at its end."""
    job = http.post(base, json=ORDER).raise_for_status().json()["jobId"]
    end = time.monotonic() + PATIENCE
    while (found := http.get(f"{base}/{job}/status").json())["status"] in ("pending", "processing"):
        assert time.monotonic() < end
    return dict(found)


def test_it_exports_as_the_role_of_the_readme_and_outlives_its_database(
    http: httpx.Client, tiny_world: World, platform: Platform
) -> None:
    base = f"/api/projects/{tiny_world.project_id}/export"
    assert [project["imageCount"] for project in http.get("/api/projects").json()] == [2]
    first = export(http, base)
    assert first["status"] == "completed"
    platform.server.stop(at_once=True)
    try:
        for answer in (http.post(base, json=ORDER), http.get(f"{base}/history")):
            assert (answer.status_code, answer.json()["code"]) == (503, "SOURCE_UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) > 0
        assert http.get("/healthz").status_code == 200
    finally:
        platform.server.start()
    assert export(http, base)["sha256"] == first["sha256"]
