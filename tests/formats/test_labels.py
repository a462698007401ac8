"""Label images as tifffile 2026.3.3, Pillow 12.3.0 and scikit-image 0.26.0 see them, against COCO's masks."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import exporting
import numpy as np
import orjson
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow
from pycocotools import mask as reader
from skimage import measure

from exportd.core.dataset import Annotation, Image, MemoryDataset, Points, Polygon, Polyline, Project
from exportd.core.geometry import Regions, region_areas
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.formats import labels as module
from exportd.formats import raster
from exportd.formats.labels import colours, labels
from exportd.formats.member import Member
from exportd.formats.rle import compressed, run_lengths

Array = NDArray[Any]

regionprops: Any = measure.regionprops  # has no types

OPTIONS = ExportOptions(annotation_formats=("labels",))
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WIDTH, HEIGHT = 20, 15


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def circle(x: float, y: float, radius: float, vertices: int = 40) -> Points:
    angles = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def dataset(annotation: Annotation, size: tuple[int | None, int | None] = (WIDTH, HEIGHT)) -> MemoryDataset:
    image = Image("i", "a.png", "A.png", *size, "image/png", 1)
    return MemoryDataset(Project("p", "T", "spheroid", "u"), (image,), {"i": annotation})


def export(source: MemoryDataset) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Members by path, images that were counted, warnings."""
    done = exporting.export(labels, source)
    return done.members, done.counted, done.warnings


def read(body: bytes) -> Array:
    return tifffile.imread(io.BytesIO(body))


def painted(*polygons: Polygon, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Array:
    members, _, _ = export(dataset(Annotation(polygons), size))
    return read(members["annotations/labels/a.tif"])


def coco_mask(polygon: Polygon, width: int, height: int) -> NDArray[np.bool_]:
    runs = run_lengths(polygon.points, polygon.holes, width, height)
    found: NDArray[np.bool_] = reader.decode({"size": [height, width], "counts": compressed(runs)}).astype(bool)
    return found


def expected(polygons: Sequence[Polygon], width: int, height: int) -> Array:
    """One whole mask after the other, the largest first."""
    areas = region_areas(Regions.of(polygons))
    picture = np.zeros((height, width), np.int64)
    for i in sorted(range(len(polygons)), key=lambda i: (-areas[i], polygons[i].number)):
        picture[coco_mask(polygons[i], width, height)] = polygons[i].number
    return picture


def test_each_object_has_the_pixels_of_its_coco_mask_and_its_number() -> None:
    crescent = np.concatenate([circle(30, 30, 20)[5:36], circle(36, 30, 14)[35:4:-1]])
    ring = Polygon("ring", 2, circle(80, 30, 20.3), (circle(80, 30, 12.7),))
    island = Polygon("island", 3, circle(80, 30, 6.2))
    members, ticks, warnings = export(dataset(Annotation((Polygon("c", 1, crescent), ring, island)), (120, 60)))
    picture = read(members["annotations/labels/a.tif"])
    assert picture.dtype == np.uint16
    found = {region.label: int(region.area) for region in regionprops(picture)}
    wanted = (Polygon("c", 1, crescent), ring, island)
    assert found == {polygon.number: int(coco_mask(polygon, 120, 60).sum()) for polygon in wanted}
    assert picture[30, 80] == 3
    assert picture[30, 80 + 9] == 0
    assert (ticks, warnings) == (["a.png"], [])


def test_other_readers_see_the_same_numbers_and_a_preview_in_colours() -> None:
    polygons = (Polygon("a", 1, square(1, 1, 9)), Polygon("b", 2, square(12, 3, 6)))
    members, _, _ = export(dataset(Annotation(polygons)))
    assert list(members) == ["annotations/labels/a.tif", "annotations/labels/a_preview.png"]
    with Pillow.open(io.BytesIO(members["annotations/labels/a.tif"])) as picture:
        seen = np.asarray(picture)
    assert (seen == read(members["annotations/labels/a.tif"])).all()
    with Pillow.open(io.BytesIO(members["annotations/labels/a_preview.png"])) as picture:
        assert picture.mode == "P"
        preview = np.asarray(picture.convert("RGB"))
    assert (preview == colours(2)[seen]).all()
    assert not preview[seen == 0].any()
    assert preview[seen > 0].any(axis=1).all()


def test_the_smaller_of_two_objects_lies_on_top_and_of_equals_the_later() -> None:
    small, large = Polygon("s", 1, square(4, 4, 3)), Polygon("l", 2, square(1, 1, 12))
    assert painted(small, large)[5, 5] == 1
    assert painted(Polygon("a", 1, square(2, 2, 5)), Polygon("b", 2, square(4, 4, 5)))[5, 5] == 2


def test_objects_that_fill_the_image_do_not_run_into_each_other() -> None:
    whole = np.array([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], np.float64)
    assert (painted(Polygon("a", 1, whole), Polygon("b", 2, whole)) == 2).all()


def test_what_has_no_pixel_is_told_with_a_count() -> None:
    polygons = (
        Polygon("far", 1, square(100, 100, 5)),
        Polygon("tiny", 2, square(3.1, 3.1, 0.2)),
        Polygon("covered", 3, square(5, 5, 4)),
        Polygon("cover", 4, square(5, 5, 4)),
    )
    line = Polyline("l", np.array([(0.0, 0.0), (5.0, 5.0)]))
    members, _, warnings = export(dataset(Annotation(polygons, (line,))))
    assert np.unique(read(members["annotations/labels/a.tif"])).tolist() == [0, 4]
    assert len(warnings) == 2
    assert "1 polyline" in warnings[0]
    assert "3 polygons have no pixel" in warnings[1]


@pytest.mark.parametrize("size", [(None, None), (0, 0), (40, None)])
def test_an_image_of_unknown_size_is_left_out_with_a_warning(size: tuple[int | None, int | None]) -> None:
    members, ticks, warnings = export(dataset(Annotation((Polygon("a", 1, square(1, 1, 5)),)), size))
    assert (members, ticks, len(warnings)) == ({}, ["a.png"], 1)


def test_an_image_without_objects_is_all_background() -> None:
    members, _, warnings = export(dataset(Annotation()))
    picture = read(members["annotations/labels/a.tif"])
    assert picture.shape == (HEIGHT, WIDTH)
    assert not picture.any()
    assert not warnings


def test_more_objects_than_16_bits_can_count_are_all_there() -> None:
    count, width, height = 70_000, 500, 140
    polygons = tuple(Polygon("x", n + 1, square(n % width, n // width, 1)) for n in range(count))
    picture = painted(*polygons, size=(width, height))
    assert picture.dtype == np.uint32
    assert (picture.ravel() == np.arange(1, count + 1)).all()


coordinates = st.tuples(
    st.integers(-16, 4 * WIDTH + 16).map(lambda n: n / 4) | st.floats(-4, WIDTH + 4),
    st.integers(-16, 4 * HEIGHT + 16).map(lambda n: n / 4) | st.floats(-4, HEIGHT + 4),
)
rings = st.lists(coordinates, min_size=3, max_size=9).map(lambda points: np.array(points, np.float64))
shapes = st.tuples(rings, st.lists(rings, max_size=2))


@given(st.lists(shapes, max_size=6), st.sampled_from([1, WIDTH, 3 * WIDTH, 1000]), st.sampled_from([0, 60, 1 << 15]))
def test_any_polygons_are_painted_as_their_masks_whatever_the_strips(
    drawn: list[tuple[Points, list[Points]]], strip: int, together: int
) -> None:
    polygons = [Polygon("x", n, points, tuple(holes)) for n, (points, holes) in enumerate(drawn, start=1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STRIP_PIXELS", strip)
        patch.setattr(raster, "TOGETHER", together)
        patch.setattr(module, "STEP_RUNS", together or 1)
        found = painted(*polygons)
    assert (found == expected(polygons, WIDTH, HEIGHT)).all()


def test_the_same_project_gives_the_same_labels_in_many_steps_with_a_place_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    polygons = tuple(Polygon(f"{n}", n, square(n % 900, n % 1900, 9)) for n in range(1, 2001))
    source = dataset(Annotation(polygons), (1000, 2000))
    one = export(source)[0]
    monkeypatch.setattr(raster, "TOGETHER", 1000)
    monkeypatch.setattr(module, "STEP_RUNS", 1000)
    two = export(source)[0]
    assert one["annotations/labels/a.tif"] == two["annotations/labels/a.tif"]
    members = [value for value in labels(source, OPTIONS) if isinstance(value, Member)]
    steps = [chunk for chunk in members[0].chunks if isinstance(chunk, bytes)]
    assert len(steps) > 2000 * 9 // 1000
    assert not any(steps[:-1])


def test_a_file_tells_nothing_of_time_or_software() -> None:
    members, _, _ = export(dataset(Annotation((Polygon("a", 1, square(1, 1, 5)),))))
    with tifffile.TiffFile(io.BytesIO(members["annotations/labels/a.tif"])) as file:
        tags = {tag.name for tag in file.pages.first.tags}
    assert not tags & {"DateTime", "Software", "ImageDescription"}


def test_more_objects_than_colours_take_turns_and_none_is_background() -> None:
    polygons = tuple(Polygon(str(n), n, square(n % 20 * 3, n // 20 * 3, 2)) for n in range(1, 300))
    members, _, _ = export(dataset(Annotation(polygons), (60, 45)))
    seen = read(members["annotations/labels/a.tif"])
    with Pillow.open(io.BytesIO(members["annotations/labels/a_preview.png"])) as picture:
        preview = np.asarray(picture.convert("RGB"))
    palette = colours(255)
    assert set(np.unique(seen)) == set(range(300))
    for number in (1, 2, 254, 255, 256, 299):
        assert (preview[seen == number] == palette[(number - 1) % 255 + 1]).all()
    assert (preview.any(axis=2) == (seen > 0)).all()


def test_colours_are_apart_from_those_of_the_next_numbers_and_from_the_background() -> None:
    palette = colours(1000).astype(int)
    assert not palette[0].any()
    assert palette[1:].max(axis=1).min() > 100
    for distance in range(1, 9):
        apart = np.abs(palette[1 + distance :] - palette[1:-distance]).sum(axis=1)
        assert apart.min() > 40
    assert len(np.unique(palette, axis=0)) > 900


def test_real_outlines_have_the_pixels_of_their_masks() -> None:
    source = SHARED / "nuclei" / "project.json"
    if not source.exists():
        pytest.skip("the real images are not here")
    rows = [row for row in orjson.loads(source.read_bytes())["images"] if row["segmentation"]][::6]
    images = tuple(Image(r["id"], f"{r['id']}.png", "", r["width"], r["height"], "image/png", 1) for r in rows)
    annotations = {
        r["id"]: parse_annotation(orjson.dumps(r["segmentation"]["polygons"]), r["width"], r["height"]) for r in rows
    }
    project = MemoryDataset(Project("p", "T", "spheroid", "u"), images, annotations)
    members, ticks, warnings = export(project)
    assert len(ticks) == len(images)
    objects = seen = 0
    for image, annotation in project.annotated():
        picture = read(members[f"annotations/labels/{image.stem}.tif"])
        assert image.width
        assert image.height
        assert (picture == expected(annotation.polygons, image.width, image.height)).all()
        objects += len(annotation.polygons)
        seen += len(np.unique(picture[picture > 0]))
    assert objects > 300
    hidden = sum(int(word) for warning in warnings for word in warning.split() if word.isdigit())
    assert seen + hidden == objects


@pytest.mark.parametrize("file", exporting.ODD_PROJECTS, ids=lambda file: file.stem)
def test_odd_projects_are_painted_as_far_as_their_images_have_a_size(file: Path) -> None:
    project, _ = exporting.odd_project(file)
    members, ticks, _ = export(project)
    assert ticks == [image.name for image in project.images]
    for image, annotation in project.annotated():
        if image.width and image.height:
            picture = read(members.pop(f"annotations/labels/{image.stem}.tif"))
            assert (picture == expected(annotation.polygons, image.width, image.height)).all()
            assert members.pop(f"annotations/labels/{image.stem}_preview.png")
    assert not members
