"""ROI sets as roifile 2026.2.10 and the ZIP reader of Python see them. ImageJ 1.53t read the same files when this was made."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import exporting
import numpy as np
import orjson
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from roifile import ROI_TYPE, ImagejRoi

from exportd.core.dataset import Annotation, Image, MemoryDataset, Points, Polygon, Polyline, Project
from exportd.core.geometry import Rings, shapes
from exportd.core.options import ExportOptions
from exportd.core.polygons import parse_annotation
from exportd.formats.classes import CLASSES
from exportd.formats.imagej import HIGHEST, LOWEST, imagej, roi_names
from exportd.formats.member import Member
from exportd.formats.zipping import ENTRY_BUFFER

OPTIONS = ExportOptions(annotation_formats=("imagej",))
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def square(x: float, y: float, side: float) -> Points:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], dtype=np.float64)


def circle(x: float, y: float, radius: float, vertices: int = 40) -> Points:
    angles = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def dataset(*annotations: Annotation, project_type: str = "spheroid") -> MemoryDataset:
    images = tuple(Image(f"i{n}", f"{n}.png", f"{n}.png", None, None, "image/png", 1) for n in range(len(annotations)))
    by_id = {image.id: annotation for image, annotation in zip(images, annotations, strict=True)}
    return MemoryDataset(Project("p", "T", project_type, "u"), images, by_id)


def export(source: MemoryDataset) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Members by path, images that were counted, warnings."""
    done = exporting.export(imagej, source)
    return done.members, done.counted, done.warnings


def read(body: bytes) -> dict[str, ImagejRoi]:
    """ROIs by the name of their file."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == len(archive.namelist())
        return {name: ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()}


def rois(*objects: Polygon | Polyline, project_type: str = "spheroid") -> list[ImagejRoi]:
    annotation = Annotation(
        tuple(item for item in objects if isinstance(item, Polygon)),
        tuple(item for item in objects if isinstance(item, Polyline)),
    )
    members, _, _ = export(dataset(annotation, project_type=project_type))
    return list(read(members["annotations/imagej/0_RoiSet.zip"]).values())


def rings_of(roi: ImagejRoi) -> list[Points]:
    """As read; those of a composite without the vertex that closes them."""
    rings = [np.asarray(ring, np.float64) for ring in roi.coordinates(multi=True)]
    return [ring[:-1] for ring in rings] if roi.composite else rings


def even_odd(rings: Sequence[Points]) -> shapely.Geometry:
    covered: shapely.Geometry = shapely.Polygon()
    for shape in shapes(Rings.of(rings)):
        covered = shapely.symmetric_difference(covered, shape)
    return covered


def test_a_polygon_comes_back_to_a_thousandth_of_a_pixel_with_number_class_and_group() -> None:
    outline = circle(500.37, 4000.12, 33.3)
    (roi,) = rois(Polygon("polygon_7", 7, outline, part_class="core", instance_id="sperm 1"))
    assert roi.roitype == ROI_TYPE.POLYGON
    assert roi.subpixelresolution
    assert np.abs(rings_of(roi)[0] - outline).max() < 1e-3
    assert roi.name == "polygon_7"
    assert roi.properties == {"class": "core", "number": 7, "instance": "sperm 1"}
    assert CLASSES[roi.group - 1].name == "core"
    assert (roi.position, roi.c_position, roi.z_position, roi.t_position) == (0, 0, 0, 0)
    assert (roi.left, roi.top, roi.right, roi.bottom) == (467, 3966, 534, 4034)


def test_whole_numbers_beside_the_floats_are_the_same_place() -> None:
    outline = circle(70.4, 90.2, 20)
    (roi,) = rois(Polygon("a", 1, outline))
    assert roi.integer_coordinates is not None
    corner = np.array([roi.left, roi.top])
    assert np.abs(roi.integer_coordinates + corner - outline).max() <= 0.5


def test_holes_are_open_in_a_composite() -> None:
    holes = (circle(45, 50, 10), circle(65, 50, 4))
    (roi,) = rois(Polygon("a", 1, circle(50, 50, 30), holes))
    assert roi.composite
    rings = rings_of(roi)
    assert [len(ring) for ring in rings] == [40, 40, 40]
    wanted = shapely.Polygon(circle(50, 50, 30), holes)
    assert even_odd(rings).area == pytest.approx(wanted.area, abs=1e-2)


def test_holes_that_overlap_each_other_or_the_outline_do_not_fill_each_other() -> None:
    outline, holes = square(0, 0, 20), (square(2, 2, 8), square(6, 6, 8), square(18, 18, 4))
    (roi,) = rois(Polygon("a", 1, outline, holes))
    assert even_odd(rings_of(roi)).area == pytest.approx(400 - (64 + 64 - 16) - 4)


def test_polylines_are_open_and_where_imagej_measures_lines_from_pixel_centres() -> None:
    points = np.array([(1.5, 2.5), (5, 8), (9, 4.25)])
    (roi,) = rois(Polyline("l", points, instance_id="MT1", track_id="t4"), project_type="microtubules")
    assert roi.roitype == ROI_TYPE.POLYLINE
    assert np.abs(rings_of(roi)[0] + 0.5 - points).max() < 1e-3
    assert roi.properties == {"class": "microtubule", "instance": "MT1", "track": "t4"}
    assert CLASSES[roi.group - 1].name == "microtubule"


@pytest.mark.parametrize("place", [(-100, -7000), (40_000, 33_000), (90_000, 70_000), (-40_000, 65_530)])
@pytest.mark.parametrize("holed", [False, True])
def test_coordinates_that_16_bits_cannot_hold_are_not_wrapped(place: tuple[int, int], holed: bool) -> None:
    outline, hole = circle(*place, 30), circle(*place, 9)
    (roi,) = rois(Polygon("a", 1, outline, (hole,) if holed else ()))
    assert np.abs(rings_of(roi)[0].mean(axis=0) - place).max() < 0.1
    assert even_odd(rings_of(roi)).area == pytest.approx(even_odd([outline, hole][: 1 + holed]).area, rel=0.01)
    raw = np.array([roi.left, roi.top, roi.right, roi.bottom])
    low, high = np.floor(outline.min(axis=0)), np.ceil(outline.max(axis=0))
    assert (raw % 65536 == np.clip(np.concatenate([low, high]), LOWEST, HIGHEST) % 65536).all()


@pytest.mark.parametrize("vertices", [65535, 65536, 70001])
def test_very_many_vertices_are_all_there(vertices: int) -> None:
    outline = circle(5000, 5000, 3000, vertices)
    area, line = rois(Polygon("a", 1, outline), Polyline("l", outline))
    assert np.abs(rings_of(area)[0] - outline).max() < 1e-3
    assert np.abs(rings_of(line)[0] + 0.5 - outline).max() < 1e-3


def test_what_is_stored_tells_its_size_first_as_java_reads_no_other() -> None:
    objects = tuple(Polygon(str(n), n, circle(9, 9, 5, n)) for n in (4, 400_000))
    (body,) = export(dataset(Annotation(objects)))[0].values()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        small, large = archive.infolist()
    descriptor = 1 << 3
    assert (small.compress_type, small.flag_bits & descriptor) == (zipfile.ZIP_STORED, 0)
    assert (large.compress_type, large.file_size > ENTRY_BUFFER) == (zipfile.ZIP_DEFLATED, True)


def test_names_are_safe_and_apart_whatever_the_ids() -> None:
    ids = ["a/b", "a_b", "A_B", "..", "", "x" * 400, "x" * 400, "é😀", "con", "p.1", "p.2", "a\\b", "a\nb", "n.roi"]
    names = roi_names(ids)
    assert len({name.casefold() for name in names}) == len(ids)
    assert all(len(f"{name}.roi".encode()) <= 255 and not set(name) & set('/\\:*?"<>|\n') for name in names)
    found = rois(*(Polygon(name, n, square(n, n, 3)) for n, name in enumerate(ids, start=1)))
    assert len(found) == len(ids)
    plain = [name for name in names if name.isascii()]
    assert [roi.name for roi in found if roi.name.isascii()] == plain
    assert "é😀" in names
    assert "p.1" in names


def test_the_name_in_the_file_is_that_of_the_file_also_beyond_16_bits() -> None:
    members, _, _ = export(dataset(Annotation((Polygon("é😀\\", 1, square(0, 0, 3), instance_id="x\\y\nz 😀"),))))
    ((name, roi),) = read(members["annotations/imagej/0_RoiSet.zip"]).items()
    assert name == f"{roi.name}.roi" == "é😀_.roi"
    assert roi.properties["instance"] == "x\\\\y z 😀"
    assert roi.properties["number"] == 1


def test_images_without_objects_have_no_set_and_are_told() -> None:
    members, ticks, warnings = export(
        dataset(Annotation(), Annotation((Polygon("a", 1, square(1, 1, 5)),)), Annotation())
    )
    assert list(members) == ["annotations/imagej/1_RoiSet.zip"]
    assert ticks == ["0.png", "1.png", "2.png"]
    assert len(warnings) == 1
    assert "2 images" in warnings[0]


def test_a_polygon_of_which_holes_leave_nothing_is_told() -> None:
    filled = Polygon("f", 1, square(0, 0, 9), (square(-1, -1, 11),))
    members, _, warnings = export(dataset(Annotation((filled, Polygon("a", 2, square(1, 1, 5))))))
    assert list(read(members["annotations/imagej/0_RoiSet.zip"])) == ["a.roi"]
    assert len(warnings) == 1
    assert "1 polygon" in warnings[0]


def test_the_same_project_gives_the_same_bytes_in_chunks_of_bounded_size() -> None:
    source = dataset(Annotation(tuple(Polygon("p", n, circle(n, n, 9)) for n in range(1, 2001))))
    assert export(source) == export(source)
    (member, *_) = imagej(source, OPTIONS)
    assert isinstance(member, Member)
    chunks = [chunk for chunk in member.chunks if isinstance(chunk, bytes)]
    assert len(chunks) > 10
    assert max(map(len, chunks)) < 200_000


coordinate = st.integers(-40, 400).map(lambda n: n / 4) | st.floats(-10, 100, width=32)
rings = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9).map(lambda p: np.array(p, np.float64))


@given(st.lists(st.tuples(rings, st.lists(rings, max_size=2)), min_size=1, max_size=4))
def test_any_polygons_cover_what_they_cover_without_their_holes(drawn: list[tuple[Points, list[Points]]]) -> None:
    polygons = [Polygon(f"{n}", n, points, tuple(holes)) for n, (points, holes) in enumerate(drawn, start=1)]
    members, _, _ = export(dataset(Annotation(tuple(polygons))))
    found = read(members["annotations/imagej/0_RoiSet.zip"])
    for polygon in polygons:
        (wanted,) = shapes(Rings.of([polygon.points]))
        if polygon.holes:
            wanted = shapely.difference(wanted, shapely.union_all(shapes(Rings.of(polygon.holes))))
        roi = found.get(f"{polygon.id}.roi")
        covered = even_odd(rings_of(roi)) if roi else shapely.Polygon()
        assert covered.area == pytest.approx(wanted.area, abs=0.02)
        assert shapely.symmetric_difference(covered, wanted).area < 0.02


def check(project: MemoryDataset) -> int:
    """Objects of the project; there is a ROI for each, where it is."""
    members, ticks, warnings = export(project)
    assert ticks == [image.name for image in project.images]
    assert all(" left out" not in warning for warning in warnings)
    objects = 0
    for image, annotation in project.annotated():
        wanted: tuple[Polygon | Polyline, ...] = (*annotation.polygons, *annotation.polylines)
        body = members.pop(f"annotations/imagej/{image.stem}_RoiSet.zip", None)
        assert (body is None) == (not wanted)
        for item, roi in zip(wanted, read(body).values() if body else (), strict=True):
            objects += 1
            if isinstance(item, Polyline) or not item.holes:
                moved = 0.5 if isinstance(item, Polyline) else 0
                assert np.abs(rings_of(roi)[0] + moved - item.points).max() < 1e-3
            assert roi.properties.get("number") == (item.number if isinstance(item, Polygon) else None)
    assert not members
    return objects


@pytest.mark.parametrize("file", exporting.ODD_PROJECTS, ids=lambda file: file.stem)
def test_odd_projects_keep_every_object(file: Path) -> None:
    project, _ = exporting.odd_project(file)
    found = [annotation for _, annotation in project.annotated()]
    check(dataset(*found, project_type=project.project.type))


def test_real_outlines_are_all_there() -> None:
    source = SHARED / "nuclei" / "project.json"
    if not source.exists():
        pytest.skip("the real images are not here")
    rows = [row["segmentation"] for row in orjson.loads(source.read_bytes())["images"] if row["segmentation"]]
    found = [parse_annotation(orjson.dumps(row["polygons"]), None, None) for row in rows]
    assert check(dataset(*found)) == sum(len(annotation.polygons) for annotation in found) > 1000
