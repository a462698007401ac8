"""A drawn project for `exportd demo`: fluorescent nuclei and their outlines. Deterministic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIZE = 512
"""Width and height in pixels."""

TITLE = "Sample: nuclei"

_PROJECT_ID = "5ab1e000-0000-4000-8000-000000000001"
_SEED = 20240229
_FINE = 2
"""Pixels drawn per pixel in each direction, for soft edges."""

_POINTS = 48
_OF_A_HOLE = 20
_MOST = 26
"""Nuclei that an image may have."""

Ring = NDArray[np.float64]
"""Shape (n, 2), pixels."""


@dataclass(frozen=True, slots=True)
class _Nucleus:
    outline: Ring
    hole: Ring | None
    brightness: float


def draw_project(folder: Path, images: int) -> Path:
    """Draws `images` images and their project.json into an empty folder; the path of the latter."""
    project = folder / "project.json"
    with project.open("wb") as file:
        about = {"id": _PROJECT_ID, "title": TITLE, "type": "spheroid"}
        file.write(orjson.dumps(about)[:-1] + b',"images":[')
        for number in range(images):
            file.write(b",\n" if number else b"\n")
            file.write(orjson.dumps(_draw(folder, number)))
        file.write(b"]}")
    return project


def _draw(folder: Path, number: int) -> dict[str, object]:
    """Draws one image into the folder; its entry in the project.json."""
    rng = np.random.default_rng([_SEED, number])
    nuclei = list(_nuclei(rng))
    name = f"nuclei_{number + 1:03}.png"
    Image.fromarray(_pixels(rng, nuclei)).save(folder / name, compress_level=1)
    return {
        "id": f"5ab1e000-0000-4000-8001-{number:012x}",
        "name": name,
        "originalPath": name,
        "width": SIZE,
        "height": SIZE,
        "mimeType": "image/png",
        "segmentation": {
            "polygons": list(_polygons(nuclei)),
            "model": "drawn",
            "threshold": 0.5,
            "confidence": 0.9,
            "imageWidth": SIZE,
            "imageHeight": SIZE,
        },
    }


def _nuclei(rng: np.random.Generator) -> Iterator[_Nucleus]:
    """Nuclei that do not touch, whole within the image."""
    taken: list[tuple[float, float, float]] = []
    for _ in range(400):
        radius = rng.uniform(16, 38)
        x, y = rng.uniform(radius * 1.4 + 4, SIZE - radius * 1.4 - 4, 2)
        if any(np.hypot(x - a, y - b) < 1.3 * (radius + r) for a, b, r in taken):
            continue
        taken.append((x, y, radius))
        hole = None
        if radius > 24 and rng.random() < 0.3:
            shift = rng.uniform(-0.15, 0.15, 2) * radius
            hole = _blob(rng, (x + shift[0], y + shift[1]), radius * rng.uniform(0.2, 0.32), _OF_A_HOLE)
        yield _Nucleus(_blob(rng, (x, y), radius, _POINTS), hole, rng.uniform(90, 190))
        if len(taken) == _MOST:
            return


def _blob(rng: np.random.Generator, centre: tuple[float, float], radius: float, points: int) -> Ring:
    """An ellipse with a few waves on it, all within 1.3 radii."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    distance = np.full(points, radius)
    for waves, strength in ((2, 0.12), (3, 0.06), (5, 0.025)):
        distance *= 1 + rng.uniform(0, strength) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * distance[:, None] + centre
    rounded: Ring = np.round(ring, 1)
    return rounded


def _pixels(rng: np.random.Generator, nuclei: list[_Nucleus]) -> NDArray[np.uint8]:
    """8-bit grey, shape (SIZE, SIZE): nuclei on a dim, uneven background, with texture and noise."""
    canvas = Image.new("L", (SIZE * _FINE, SIZE * _FINE), 0)
    pen = ImageDraw.Draw(canvas)
    for nucleus in nuclei:
        pen.polygon(_corners(nucleus.outline), fill=int(nucleus.brightness))
        if nucleus.hole is not None:
            pen.polygon(_corners(nucleus.hole), fill=14)
    drawn = canvas.filter(ImageFilter.GaussianBlur(1.6 * _FINE)).resize((SIZE, SIZE), Image.Resampling.BOX)
    light = np.asarray(drawn, dtype=np.float64)
    light *= 1 + 0.16 * _clouds(rng, 32)
    background = 16 + 7 * _clouds(rng, 4)
    return np.clip(light + background + rng.normal(0, 3.0, light.shape), 0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Smooth noise between about -1 and 1."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float64)


def _corners(ring: Ring) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in ring * _FINE]


def _polygons(nuclei: list[_Nucleus]) -> Iterator[dict[str, object]]:
    for number, nucleus in enumerate(nuclei, 1):
        yield {"id": f"n{number}", "type": "external", "points": _xy(nucleus.outline)}
        if nucleus.hole is not None:
            yield {"id": f"n{number}-hole", "type": "internal", "points": _xy(nucleus.hole)}


def _xy(ring: Ring) -> list[dict[str, float]]:
    return [{"x": float(x), "y": float(y)} for x, y in ring]
