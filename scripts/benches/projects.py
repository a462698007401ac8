"""Projects of a size that is asked for: bright blobs with outlines on noise. Deterministic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

_SEED = 20260131
_DIFFERENT = 8
"""Pictures that are drawn; a project of more images has each of them several times, every one a file of its own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a project has. `noise` is the standard deviation in grey values: at 9, a picture of 1024 × 1024 has 0.7 MB."""

    images: int
    side: int
    """Width and height in pixels."""
    polygons: int
    vertices: int = 60
    noise: float = 9.0
    packing: int = 6
    """Of zlib, 0 to 9: with 0 a file is as large as its pixels."""


def draw(folder: Path, plan: Plan) -> Path:
    """Draws pictures and their project.json into an empty folder; the path of the latter."""
    outlines = [list(_blobs(plan, number)) for number in range(min(plan.images, _DIFFERENT))]
    for number, rings in enumerate(outlines):
        _write(folder / f"picture_{number}.png", plan, rings, number)
    shapes = [orjson.dumps([_polygon(place, ring) for place, ring in enumerate(rings)]) for rings in outlines]
    project = folder / "project.json"
    with project.open("wb") as file:
        file.write(b'{"title":"Bench","type":"spheroid","images":[')
        for number in range(plan.images):
            file.write((b",\n" if number else b"\n") + _entry(plan, number, shapes[number % len(shapes)]))
        file.write(b"]}")
    return project


def _entry(plan: Plan, number: int, polygons: bytes) -> bytes:
    about = {
        "name": f"plate_{number:05}.png",
        "originalPath": f"picture_{number % _DIFFERENT}.png",
        "width": plan.side,
        "height": plan.side,
        "mimeType": "image/png",
    }
    size = b'"imageWidth":%d,"imageHeight":%d' % (plan.side, plan.side)
    return orjson.dumps(about)[:-1] + b',"segmentation":{' + size + b',"polygons":' + polygons + b"}}"


def _write(path: Path, plan: Plan, rings: list[NDArray[np.float64]], number: int) -> None:
    pixels = np.full((plan.side, plan.side), 20, np.uint8)
    cv2.fillPoly(pixels, [np.rint(ring).astype(np.int32) for ring in rings], 150)
    pixels = cv2.blur(pixels, (3, 3)).astype(np.uint8)
    if plan.noise:
        noise = np.random.default_rng([_SEED, number]).standard_normal(pixels.shape, np.float32)
        pixels = np.clip(pixels + noise * plan.noise, 0, 255).astype(np.uint8)
    _, file = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, plan.packing])
    path.write_bytes(file.tobytes())


def _blobs(plan: Plan, number: int) -> Iterator[NDArray[np.float64]]:
    """Outlines that do not touch, each in a cell of its own."""
    rng = np.random.default_rng([_SEED, number, plan.polygons])
    columns = max(1, int(np.ceil(np.sqrt(plan.polygons))))
    cell = plan.side / columns
    angle = np.linspace(0, 2 * np.pi, plan.vertices, endpoint=False)
    for place in range(plan.polygons):
        centre = (np.array(divmod(place, columns))[::-1] + 0.5) * cell
        radius = cell * rng.uniform(0.28, 0.38)
        distance = radius * (1 + 0.12 * np.cos(2 * angle + rng.uniform(0, 6)) + 0.06 * np.cos(3 * angle))
        yield np.round(np.stack([np.cos(angle), np.sin(angle)], axis=1) * distance[:, None] + centre, 2)


def _polygon(place: int, ring: NDArray[np.float64]) -> dict[str, object]:
    return {"id": f"o{place}", "type": "external", "points": [{"x": x, "y": y} for x, y in ring.tolist()]}
