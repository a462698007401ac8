"""One user of a daemon, over real HTTP: waits by event stream, as asking again and again would take the daemon's time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

PATIENCE = 900.0
"""Seconds without a word from the daemon, after which the row is given up."""

ALL = {
    "includeOriginalImages": True,
    "includeVisualizations": True,
    "includeDocumentation": True,
    "annotationFormats": ["coco", "yolo", "json", "labels", "imagej", "geojson", "cvat", "labelme"],
    "metricsFormats": ["excel", "csv", "json", "parquet"],
    "intensityMetrics": True,
}
"""Everything that can be asked for."""

ORIGINALS = {"includeOriginalImages": True}

ENDS = ("export:completed", "export:failed", "export:cancelled")


class Ended(NamedTuple):
    """An export that completed: from the start's request to the event, in seconds, and its archive's size."""

    job: str
    seconds: float
    size: int


class Failed(Exception):
    """The daemon did not do what it was asked for: there is nothing to measure."""


class Session:
    """A user and a project."""

    def __init__(self, url: str, token: str, project: str) -> None:
        self.url, self.token = url, token
        self.base = f"/api/projects/{project}/export"
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE, trust_env=False)

    def start(self, options: dict[str, Any]) -> str:
        answer = self.http.post(self.base, json={"options": options})
        if answer.status_code != 200:
            raise Failed(f"an export was refused: {answer.status_code} {answer.text[:300]}")
        return str(answer.json()["jobId"])

    def export(self, options: dict[str, Any]) -> Ended:
        """One export to its end. Raises `Failed` for any end but a completed one."""
        with self.http.stream("GET", "/api/exports/events") as answer:
            lines = answer.iter_lines()
            next(lines)  # connected
            began = time.perf_counter()
            job = self.start(options)
            for event, data in _ends(lines):
                if data["jobId"] == job:
                    took = time.perf_counter() - began
                    if event != "export:completed":
                        raise Failed(f"an export ended with {event}: {data.get('error')}")
                    return Ended(job, took, data["fileSize"])
        raise Failed("the event stream ended before the export did")

    def delete(self, job: str) -> None:
        self.http.delete(f"{self.base}/{job}").raise_for_status()


def _ends(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The last events of jobs, whatever job it is."""
    event = ""
    for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: ") and event in ENDS:
            yield event, json.loads(line.removeprefix("data: "))["data"]


@contextmanager
def session(url: str, token: str, project: str) -> Iterator[Session]:
    user = Session(url, token, project)
    with user.http:
        yield user
