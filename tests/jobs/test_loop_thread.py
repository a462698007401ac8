"""What grows with the images of a project is done in worker threads, never in the event loop."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from conftest import World

from exportd.core.options import FORMAT_IDS, METRICS_IDS, ExportOptions, StartRequest
from exportd.jobs import runner
from exportd.jobs.dataset import ProjectDataset
from exportd.store.rows import Rows

EVERYTHING = StartRequest(
    options=ExportOptions(
        include_original_images=True,
        include_visualizations=True,
        annotation_formats=FORMAT_IDS,
        metrics_formats=METRICS_IDS,
        include_documentation=True,
    )
)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(ProjectDataset, "shared"), (ProjectDataset, "notes"), (Rows, "__iter__"), (runner, "turn_of"), (runner, "sizes")],
)
async def test_the_event_loop_walks_no_list_of_images_or_members(
    owner: Any, name: str, tiny_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[int] = set()
    original = getattr(owner, name)
    real: Any = original.fget if isinstance(original, property) else original

    def noted(*given: Any, **named: Any) -> Any:
        used.add(threading.get_ident())
        return real(*given, **named)

    monkeypatch.setattr(owner, name, property(noted) if isinstance(original, property) else noted)
    async with tiny_world.service() as service:
        job = await service.start(tiny_world.alice, tiny_world.project_id, EVERYTHING)
        with trio.fail_after(60):
            job = await service._supervisor.wait_concluded(job.id)
    assert job.status == "completed"
    assert used, "it was walked"
    assert threading.get_ident() not in used
