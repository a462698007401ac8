"""COCO as the outsiders' reader sees it: masks, holes, areas, ids; and the RLE against a slow reference."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as reader
from pycocotools.coco import COCO

from exportd.core.dataset import Annotation, Image, MemoryDataset, Points, Polygon, Polyline, Project
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.formats.classes import CLASSES
from exportd.formats.coco import PATH, coco
from exportd.formats.member import Member, Tick, Warn
from exportd.formats.rle import compressed, run_lengths

WIDTH, HEIGHT = 20, 15
OPTIONS = ExportOptions(annotation_formats=("coco",))
quarters = st.tuples(st.integers(-16, 4 * WIDTH + 16), st.integers(-16, 4 * HEIGHT + 16))
rings = st.lists(quarters, min_size=3, max_size=9)


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def dataset(*annotations: Annotation, size: tuple[int | None, int | None] = (40, 30)) -> MemoryDataset:
    images = tuple(Image(f"i{n}", f"{n}.png", f"{n}.png", *size, "image/png", 1) for n in range(len(annotations)))
    by_id = {image.id: annotation for image, annotation in zip(images, annotations, strict=True)}
    return MemoryDataset(Project("p", "Title", "spheroid", "u"), images, by_id)


def export(source: MemoryDataset) -> tuple[dict[str, Any], list[str], list[str]]:
    """The document, the images that were counted, the warnings."""
    (member,) = coco(source, OPTIONS)
    assert isinstance(member, Member)
    assert member.path == PATH
    values = list(member.chunks)
    document = orjson.loads(b"".join(v for v in values if isinstance(v, bytes)))
    return (
        document,
        [v.item for v in values if isinstance(v, Tick)],
        [v.sentence for v in values if isinstance(v, Warn)],
    )


def annotated(*polygons: Polygon, polylines: tuple[Polyline, ...] = ()) -> Annotation:
    return Annotation(polygons, polylines, segmented=True)


def test_an_outside_reader_finds_each_object_with_its_holes_open(tmp_path: Path) -> None:
    source = dataset(
        annotated(Polygon("a", 1, square(5, 5, 20), (square(10, 10, 5),)), Polygon("b", 2, square(30, 2, 4))),
        annotated(),
        annotated(Polygon("c", 1, square(0, 0, 10), part_class="core")),
    )
    document, counted, warnings = export(source)
    (tmp_path / "c.json").write_bytes(orjson.dumps(document))
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO(str(tmp_path / "c.json"))
    assert [image["file_name"] for image in found.imgs.values()] == ["0.png", "1.png", "2.png"]
    assert list(found.anns) == [1, 2, 3]
    assert [int(found.annToMask(a).sum()) for a in found.anns.values()] == [375, 16, 100]
    assert [a["area"] for a in found.anns.values()] == [375, 16, 100]
    assert [a["image_id"] for a in found.anns.values()] == [1, 1, 3]
    assert found.anns[1]["bbox"] == [5, 5, 20, 20]
    assert {a["iscrowd"] for a in found.anns.values()} == {0}
    assert found.loadCats([found.anns[3]["category_id"]])[0]["name"] == "core"
    assert not found.annToMask(found.anns[1])[10:15, 10:15].any()
    assert (counted, warnings) == (["0.png", "1.png", "2.png"], [])


def test_ids_of_categories_never_shift() -> None:
    assert [row.name for row in CLASSES][:5] == ["object", "core", "head", "midpiece", "tail"]
    document, _, _ = export(dataset(annotated()))
    assert [(c["id"], c["name"]) for c in document["categories"]] == [
        (i, row.name) for i, row in enumerate(CLASSES, start=1)
    ]


def test_what_the_format_cannot_hold_is_told_with_a_count() -> None:
    line = Polyline("l", np.array([(0.0, 0.0), (5.0, 5.0)]))
    outside = Polygon("far", 1, square(100, 100, 5))
    partly = Polygon("partly", 2, square(-5, -5, 10))
    document, counted, warnings = export(dataset(annotated(outside, partly, polylines=(line,))))
    assert [a["bbox"] for a in document["annotations"]] == [[0, 0, 5, 5]]
    assert counted == ["0.png"]
    assert len(warnings) == 2
    assert all("1 " in warning for warning in warnings)


@pytest.mark.parametrize("size", [(None, None), (0, 0), (40, None)])
def test_an_image_of_unknown_size_is_left_out_with_a_warning(size: tuple[int | None, int | None]) -> None:
    document, counted, warnings = export(dataset(annotated(Polygon("a", 1, square(1, 1, 5))), size=size))
    assert document["images"] == document["annotations"] == []
    assert counted == ["0.png"]
    assert len(warnings) == 1


def test_the_same_project_gives_the_same_bytes_in_chunks_of_bounded_size() -> None:
    source = dataset(annotated(*(Polygon(f"{n}", n, square(n % 30, n % 20, 3)) for n in range(1, 5001))))
    (one,), (two,) = coco(source, OPTIONS), coco(source, OPTIONS)
    chunks = [c for c in one.chunks if isinstance(c, bytes)]
    assert b"".join(chunks) == b"".join(c for c in two.chunks if isinstance(c, bytes))
    assert max(map(len, chunks)) < 100_000
    assert len(chunks) < 100


def odd(x: int, y: int, ring: Sequence[tuple[int, int]]) -> bool | None:
    """The even-odd rule at a point, by a ray to the right in whole numbers; None on the outline."""
    inside = False
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        if side == 0 and min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1):
            return None
        if (y0 > y) != (y1 > y) and (side > 0) == (y1 > y0):
            inside = not inside
    return inside


@given(rings, st.lists(rings, max_size=2))
def test_a_pixel_belongs_to_the_object_when_its_centre_does(
    outline: list[tuple[int, int]], holes: list[list[tuple[int, int]]]
) -> None:
    runs = run_lengths(np.array(outline) / 4, [np.array(hole) / 4 for hole in holes], WIDTH, HEIGHT)
    assert runs.sum() == WIDTH * HEIGHT
    assert (runs[1:] > 0).all()
    found = reader.decode({"size": [HEIGHT, WIDTH], "counts": compressed(runs).encode()})
    for row in range(HEIGHT):
        for column in range(WIDTH):
            places = [odd(4 * column + 2, 4 * row + 2, ring) for ring in (outline, *holes)]
            if None not in places:  # a centre on an outline may go either way
                assert bool(found[row, column]) == (places[0] and not any(places[1:]))
    assert reader.encode(np.asfortranarray(found))["counts"] == compressed(runs).encode()


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_runs_are_packed_as_the_outside_reader_packs_them(counts: list[int]) -> None:
    height = sum(counts)
    theirs = reader.frPyObjects({"size": [height, 1], "counts": counts}, height, 1)
    assert theirs["counts"] == compressed(np.array(counts)).encode()


def test_real_outlines_agree_with_the_masks_of_the_outside_reader() -> None:
    source = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei" / "project.json"
    if not source.exists():
        pytest.skip("the real images are not here")
    images = [i for i in orjson.loads(source.read_bytes())["images"] if i["segmentation"]][:20]
    compared = 0
    for image in images:
        width, height = image["width"], image["height"]
        annotation = parse_annotation(orjson.dumps(image["segmentation"]["polygons"]), width, height)
        for polygon in annotation.polygons:
            runs = run_lengths(polygon.points, polygon.holes, width, height)
            ours = reader.decode({"size": [height, width], "counts": compressed(runs).encode()})
            theirs = painted(polygon.points, width, height)
            for hole in polygon.holes:
                theirs &= 1 - painted(hole, width, height)
            # Theirs paints borders a little wider; small objects feel it most.
            if theirs.sum() > 200:
                compared += 1
                assert (ours & theirs).sum() / (ours | theirs).sum() > 0.93
    assert compared


def painted(ring: Points, width: int, height: int) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = reader.decode(reader.merge(reader.frPyObjects([ring.ravel().tolist()], height, width)))
    return found
